//! `min` and `max` of an input that only grows: the best value so far is all there is to keep. `lowest` and `highest` too,
//! whose input takes back only what it replaces by something better.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use weir_common::key::KeyEncoder;
use weir_common::{Error, Result};

use super::accumulator::{Accumulator, Rows};
use super::ordered_value::{OrderedValue, Representation};
use crate::spec::AggregateFunction;

/// Best values of groups.
struct Extremum<V> {
    best: Vec<V>,
    /// Whether there is a value.
    present: Vec<bool>,
    heap_bytes: usize,
    /// How a better value compares with the best one.
    better: Ordering,
    /// Whether values are taken back, only for better ones.
    is_replaced: bool,
    ty: DataType,
    encoder: KeyEncoder,
}

/// `min` or `max` over an append-only input, or `lowest` or `highest`.
pub(super) fn extremum(function: AggregateFunction, ty: &DataType) -> Result<Box<dyn Accumulator>> {
    Ok(match Representation::of(ty) {
        Representation::Int => Box::new(Extremum::<i64>::new(function, ty)?),
        Representation::Decimal => Box::new(Extremum::<i128>::new(function, ty)?),
        Representation::Bytes => Box::new(Extremum::<Box<[u8]>>::new(function, ty)?),
    })
}

impl<V: OrderedValue> Extremum<V> {
    fn new(function: AggregateFunction, ty: &DataType) -> Result<Extremum<V>> {
        use AggregateFunction::{Highest, Lowest, Min};
        let better = if matches!(function, Min | Lowest) { Ordering::Less } else { Ordering::Greater };
        Ok(Extremum {
            best: Vec::new(),
            present: Vec::new(),
            heap_bytes: 0,
            better,
            is_replaced: matches!(function, Lowest | Highest),
            ty: ty.clone(),
            encoder: KeyEncoder::new(std::slice::from_ref(ty))?.exact()?,
        })
    }

    /// Takes the value of a row if it is better than the best so far.
    fn offer(&mut self, group: usize, column: &V::Column, row: usize) {
        if self.present[group] && self.best[group].compare(column, row) != self.better.reverse() {
            return;
        }
        let value = V::at(column, row);
        self.heap_bytes += value.heap_bytes();
        self.heap_bytes -= self.best[group].heap_bytes();
        self.best[group] = value;
        self.present[group] = true;
    }
}

impl<V: OrderedValue> Accumulator for Extremum<V> {
    fn resize(&mut self, bound: usize) {
        self.best.resize(bound, V::default());
        self.present.resize(bound, false);
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups.iter().map(|group| *group as usize) {
            self.heap_bytes -= self.best[group].heap_bytes();
            (self.best[group], self.present[group]) = (V::default(), false);
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let column = V::column(rows.values()?, &self.encoder)?;
        rows.try_for_each(|row, group, op| {
            match op < 0 {
                true if self.is_replaced => {}
                true => return Err(Error::internal("a row was deleted from an append-only input")),
                false => self.offer(group, &column, row),
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| self.present[*group as usize].then(|| &self.best[*group as usize]);
        V::array(&groups.iter().map(value).collect::<Vec<_>>(), &self.ty, &self.encoder)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.ty.clone()]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let column = V::column(&state[0], &self.encoder)?;
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| state[0].is_valid(*row)) {
            self.offer(*group as usize, &column, row);
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.best.capacity() * size_of::<V>() + self.present.capacity() + self.heap_bytes
    }
}
