//! `bit_and`, `bit_or` and `bit_xor`.
//!
//! `bit_xor` takes a value back by folding it in again, and an input that only grows needs nothing but the result so
//! far ([`BitFolds`]). For the other two the values that have a bit are counted, bit by bit ([`BitCounts`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use weir_common::{Error, Result};

use super::accumulator::{Accumulator, Rows, gather_i64, merge_i64};
use crate::spec::AggregateFunction;
use crate::state::native::{int_array, int_values};

/// The result so far and how many values are in it.
pub(super) struct BitFolds {
    folds: Vec<i64>,
    counts: Vec<i64>,
    function: AggregateFunction,
    ty: DataType,
}

impl BitFolds {
    /// `bit_xor`, or another over an input that only grows.
    pub fn new(function: AggregateFunction, ty: &DataType) -> BitFolds {
        BitFolds { folds: Vec::new(), counts: Vec::new(), function, ty: ty.clone() }
    }

    /// What no value folds to.
    fn neutral(&self) -> i64 {
        if self.function == AggregateFunction::BitAnd { -1 } else { 0 }
    }

    fn fold(&mut self, group: usize, value: i64) {
        let fold = &mut self.folds[group];
        *fold = match self.function {
            AggregateFunction::BitAnd => *fold & value,
            AggregateFunction::BitOr => *fold | value,
            _ => *fold ^ value,
        };
    }
}

impl Accumulator for BitFolds {
    fn resize(&mut self, bound: usize) {
        self.folds.resize(bound, self.neutral());
        self.counts.resize(bound, 0);
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups.iter().map(|group| *group as usize) {
            (self.folds[group], self.counts[group]) = (self.neutral(), 0);
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = int_values(rows.values()?)?;
        rows.try_for_each(|row, group, times| {
            if times < 0 && self.function != AggregateFunction::BitXor {
                return Err(Error::internal("a row was deleted from an append-only input"));
            }
            self.counts[group] += times;
            if times % 2 != 0 || self.function != AggregateFunction::BitXor {
                self.fold(group, values[row]);
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| self.folds[*group as usize]).collect();
        int_array(values, some_counted(&self.counts, groups), &self.ty)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(gather_i64(&self.folds, groups)), Arc::new(gather_i64(&self.counts, groups))])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let folds = int_values(&state[0])?;
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| state[0].is_valid(*row)) {
            self.fold(*group as usize, folds[row]);
        }
        merge_i64(&state[1], groups, |group, count| self.counts[group] += count);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        (self.folds.capacity() + self.counts.capacity()) * size_of::<i64>()
    }
}

/// `bit_and` and `bit_or` with deletes: of each group, `width` counts of the values that have the bit.
pub(super) struct BitCounts {
    bits: Vec<i64>,
    counts: Vec<i64>,
    width: usize,
    function: AggregateFunction,
    ty: DataType,
}

impl BitCounts {
    /// `bit_and` or `bit_or`.
    pub fn new(function: AggregateFunction, ty: &DataType) -> BitCounts {
        let width = ty.primitive_width().unwrap_or(8) * 8;
        BitCounts { bits: Vec::new(), counts: Vec::new(), width, function, ty: ty.clone() }
    }

    fn bits(&self, group: u32) -> &[i64] {
        &self.bits[group as usize * self.width..][..self.width]
    }

    fn value(&self, group: u32) -> i64 {
        let all = self.counts[group as usize];
        let is_set = |count: i64| match self.function {
            AggregateFunction::BitAnd => count == all,
            _ => count > 0,
        };
        let set = self.bits(group).iter().enumerate().filter(|(_, count)| is_set(**count));
        let value: u64 = set.map(|(bit, _)| 1u64 << bit).sum();
        // The topmost bit is the sign: the bits above it are its copies.
        let unused = 64 - self.width as u32;
        (value << unused) as i64 >> unused
    }

    /// The counts of a group as bytes, little-endian.
    fn encode(&self, group: u32) -> Vec<u8> {
        self.bits(group).iter().flat_map(|count| count.to_le_bytes()).collect()
    }
}

impl Accumulator for BitCounts {
    fn resize(&mut self, bound: usize) {
        self.bits.resize(bound * self.width, 0);
        self.counts.resize(bound, 0);
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups.iter().map(|group| *group as usize) {
            self.bits[group * self.width..][..self.width].fill(0);
            self.counts[group] = 0;
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = int_values(rows.values()?)?;
        let (bits, counts, width) = (&mut self.bits, &mut self.counts, self.width);
        rows.try_for_each(|row, group, times| {
            counts[group] += times;
            for (bit, count) in bits[group * width..][..width].iter_mut().enumerate() {
                *count += times * (values[row] >> bit & 1);
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| self.value(*group)).collect();
        int_array(values, some_counted(&self.counts, groups), &self.ty)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary, DataType::Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let bits: BinaryArray = groups.iter().map(|group| Some(self.encode(*group))).collect();
        let counts: Int64Array = gather_i64(&self.counts, groups);
        Ok(vec![Arc::new(bits), Arc::new(counts)])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let saved = state[0].as_binary::<i32>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| saved.is_valid(*row)) {
            let (counts, rest) = saved.value(row).as_chunks::<8>();
            if counts.len() != self.width || !rest.is_empty() {
                return Err(Error::corrupted("the bit counts of an aggregate's state"));
            }
            let bits = &mut self.bits[*group as usize * self.width..][..self.width];
            bits.iter_mut().zip(counts).for_each(|(bit, count)| *bit += i64::from_le_bytes(*count));
        }
        merge_i64(&state[1], groups, |group, count| self.counts[group] += count);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        (self.bits.capacity() + self.counts.capacity()) * size_of::<i64>()
    }
}

/// Which groups have a value; `None` when all do.
fn some_counted(counts: &[i64], groups: &[u32]) -> Option<NullBuffer> {
    let nulls: NullBuffer = groups.iter().map(|group| counts[*group as usize] != 0).collect();
    Some(nulls).filter(|nulls| nulls.null_count() > 0)
}
