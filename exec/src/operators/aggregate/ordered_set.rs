//! `min` and `max` of an input that also deletes: the distinct values of each group, in order.
//!
//! How often a value occurs is counted by [`super::value_counts`] in front, which hands over only the first
//! occurrence of a value and the removal of the last one. Most groups are small: up to [`SMALL_MAX`] values
//! lie in a sorted vector, more in a B-tree.

use std::collections::BTreeSet;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use weir_common::Result;
use weir_common::key::KeyEncoder;

use super::accumulator::{Accumulator, Rows};
use super::ordered_value::{OrderedValue, Representation};
use crate::spec::AggregateFunction;

/// Most values that lie in a vector.
const SMALL_MAX: usize = 32;

/// Ordered values of groups.
struct OrderedSets<V> {
    sets: Vec<ValueSet<V>>,
    values: usize,
    heap_bytes: usize,
    function: AggregateFunction,
    ty: DataType,
    encoder: KeyEncoder,
}

/// The distinct values of a group.
#[derive(Clone)]
enum ValueSet<V> {
    Small(Vec<V>),
    Large(BTreeSet<V>),
}

/// `min` or `max` over distinct values that come and go.
pub(super) fn ordered_set(function: AggregateFunction, ty: &DataType) -> Result<Box<dyn Accumulator>> {
    Ok(match Representation::of(ty) {
        Representation::Int => Box::new(OrderedSets::<i64>::new(function, ty)?),
        Representation::Decimal => Box::new(OrderedSets::<i128>::new(function, ty)?),
        Representation::Bytes => Box::new(OrderedSets::<Box<[u8]>>::new(function, ty)?),
    })
}

impl<V: OrderedValue> ValueSet<V> {
    fn insert(&mut self, value: V) {
        match self {
            ValueSet::Small(values) => {
                if let Err(at) = values.binary_search(&value) {
                    values.insert(at, value);
                }
                if values.len() > SMALL_MAX {
                    *self = ValueSet::Large(std::mem::take(values).into_iter().collect());
                }
            }
            ValueSet::Large(values) => {
                values.insert(value);
            }
        }
    }

    fn remove(&mut self, value: &V) {
        match self {
            ValueSet::Small(values) => {
                if let Ok(at) = values.binary_search(value) {
                    values.remove(at);
                }
            }
            ValueSet::Large(values) => {
                values.remove(value);
                if values.is_empty() {
                    *self = ValueSet::Small(Vec::new());
                }
            }
        }
    }

    fn extreme(&self, function: AggregateFunction) -> Option<&V> {
        match (self, function) {
            (ValueSet::Small(values), AggregateFunction::Min) => values.first(),
            (ValueSet::Small(values), _) => values.last(),
            (ValueSet::Large(values), AggregateFunction::Min) => values.first(),
            (ValueSet::Large(values), _) => values.last(),
        }
    }
}

impl<V: OrderedValue> OrderedSets<V> {
    fn new(function: AggregateFunction, ty: &DataType) -> Result<OrderedSets<V>> {
        let encoder = KeyEncoder::new(std::slice::from_ref(ty))?.exact()?;
        Ok(OrderedSets { sets: Vec::new(), values: 0, heap_bytes: 0, function, ty: ty.clone(), encoder })
    }
}

impl<V: OrderedValue> Accumulator for OrderedSets<V> {
    fn resize(&mut self, bound: usize) {
        self.sets.resize(bound, ValueSet::Small(Vec::new()));
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let column = V::column(rows.values()?, &self.encoder)?;
        rows.try_for_each(|row, group, op| {
            let value = V::at(&column, row);
            if op > 0 {
                self.values += 1;
                self.heap_bytes += value.heap_bytes();
                self.sets[group].insert(value);
            } else {
                self.values -= 1;
                self.heap_bytes -= value.heap_bytes();
                self.sets[group].remove(&value);
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| self.sets[*group as usize].extreme(self.function);
        V::array(&groups.iter().map(value).collect::<Vec<_>>(), &self.ty, &self.encoder)
    }

    fn restore_values(&mut self, rows: &Rows<'_>) -> Result<()> {
        self.update(rows)
    }

    fn memory_bytes(&self) -> usize {
        self.sets.capacity() * size_of::<ValueSet<V>>()
            + self.values * size_of::<V>() * 3 / 2
            + self.heap_bytes
    }
}
