//! Two inputs side by side: rows of one that are near a row of the other in a common order.
//!
//! Both are [`OrderedRows`] with partition and order columns of the same types, in the same order. Partitions of equal
//! keys are *mates*, and places in their lists are found by comparing order keys across.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef};
use weir_common::Result;
use weir_common::key::EncodedKeys;

use super::OrderedRows;
use crate::state::{NONE, Place};

impl OrderedRows {
    /// The partitions here with the keys of these partitions of `other`, in `mates` (overwritten), `NONE` where
    /// there is none.
    pub fn mates(&mut self, other: &OrderedRows, partitions: &[u32], mates: &mut Vec<u32>) -> Result<()> {
        let keys = other.partitions.gather(partitions)?;
        self.partitions_of(&keys, partitions.len(), mates)
    }

    /// The partitions with these keys, in `found` (overwritten), `NONE` where there is none.
    pub fn partitions_of(&mut self, keys: &[ArrayRef], rows: usize, found: &mut Vec<u32>) -> Result<()> {
        self.partitions.lookup(keys, rows, found)
    }

    /// The order of a row and a row of `other`, by the columns of the ORDER BY alone.
    #[inline]
    pub fn compare_across(&self, slot: u32, other: &OrderedRows, other_slot: u32) -> Ordering {
        self.sort.compare_across(slot, &other.sort, other_slot)
    }

    /// Where in the list of a partition the rows end that `is_before` is true of. It must be true of the first ones, and
    /// of none behind them.
    pub fn end_of(&self, partition: u32, is_before: impl Fn(u32) -> bool) -> Place {
        let order = |slot: u32| if is_before(slot) { Ordering::Less } else { Ordering::Greater };
        match self.lists[partition as usize].find(order) {
            Ok(place) | Err(place) => place,
        }
    }

    /// The order keys of such values of the ORDER BY columns, to compare rows with.
    pub fn order_keys(&self, order: &[ArrayRef]) -> Result<EncodedKeys> {
        let mut keys = EncodedKeys::default();
        self.sort.encode(order, order.first().map_or(0, |column| column.len()), &mut keys)?;
        Ok(keys)
    }

    /// The order of a row and an order key.
    #[inline]
    pub fn compare_to(&self, slot: u32, key: &[u8]) -> Ordering {
        self.sort.compare_encoded(key, slot).reverse()
    }

    /// For each row of another input, by its partition and order columns: the first row of its partition that `comes`
    /// for it, as a slot in `found` (overwritten), `NONE` without one. `comes` is given how the row of the list
    /// compares to the other one; it must be false of the first rows of a list and true of all others. Only while all
    /// rows of the lists are there.
    pub fn seek(
        &mut self,
        [partition, order]: [&[ArrayRef]; 2],
        rows: usize,
        comes: impl Fn(Ordering) -> bool,
        found: &mut Vec<u32>,
    ) -> Result<()> {
        let mut keys = std::mem::take(&mut self.scratch.keys);
        self.partitions.lookup(partition, rows, found)?;
        self.sort.encode(order, rows, &mut keys)?;
        for (row, slot) in found.iter_mut().enumerate().filter(|(_, partition)| **partition != NONE) {
            let place = self.end_of(*slot, |slot| !comes(self.compare_to(slot, keys.row(row))));
            *slot = self.list(*slot).from(place).next().unwrap_or(NONE);
        }
        self.scratch.keys = keys;
        Ok(())
    }
}
