//! `ValueCounts`: how often each value occurs in each group.
//!
//! Stands in front of an accumulator that wants distinct values (DISTINCT calls, and min/max of an input that
//! deletes): it counts, and hands on only a value's first occurrence (+1) and the removal of its last (−1).
//! The pairs (group, value) are keys of one table, so a value costs no allocation of its own.
//!
//! State on disk: group key ++ value, both in the canonical key encoding → count, 8 bytes little-endian.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::{Error, KeyGroup, Result};

use super::accumulator::Rows;
use crate::operator::{StateReader, StateTable, StateWriter};
use crate::operators::checkpoint::{CHUNK_ROWS, scan_chunks, storage_order};
use crate::state::KeyTable;
use crate::state::native::int_values;

/// The count changed since the last checkpoint.
const DIRTY: u8 = 1;
/// The last checkpoint has an entry.
const PERSISTED: u8 = 2;

/// Occurrences of values by group.
pub(super) struct ValueCounts {
    /// (group id, value) → pair id.
    pairs: KeyTable,
    counts: Vec<i64>,
    flags: Vec<u8>,
    dirty: Vec<u32>,
    ids: Vec<u32>,
    value_type: DataType,
    value_encoder: KeyEncoder,
}

/// Rows whose value appears in or vanishes from its group.
pub(super) struct Transitions {
    pub groups: Vec<u32>,
    pub ops: Vec<i8>,
    pub values: ArrayRef,
}

impl Transitions {
    /// As input of an accumulator.
    pub fn rows(&self) -> Rows<'_> {
        Rows { groups: &self.groups, ops: Some(&self.ops), values: Some(&self.values) }
    }
}

impl ValueCounts {
    /// No occurrence of values of this type.
    pub fn new(value_type: &DataType) -> Result<ValueCounts> {
        Ok(ValueCounts {
            pairs: KeyTable::new(&[DataType::Int64, value_type.clone()])?,
            counts: Vec::new(),
            flags: Vec::new(),
            dirty: Vec::new(),
            ids: Vec::new(),
            value_type: value_type.clone(),
            value_encoder: KeyEncoder::new(std::slice::from_ref(value_type))?,
        })
    }

    /// Counts rows.
    pub fn update(&mut self, rows: &Rows<'_>) -> Result<Transitions> {
        self.look_up(rows.groups, rows.values()?)?;
        let (mut at, mut groups, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        rows.try_for_each(|row, group, op| {
            let pair = self.ids[row] as usize;
            let before = self.counts[pair] > 0;
            self.counts[pair] += op;
            if before != (self.counts[pair] > 0) {
                at.push(row as u32);
                groups.push(group as u32);
                ops.push(op as i8);
            }
            if self.flags[pair] & DIRTY == 0 {
                self.flags[pair] |= DIRTY;
                self.dirty.push(pair as u32);
            }
            Ok(())
        })?;
        let values = take(rows.values()?, &UInt32Array::from(at), None).map_err(Error::internal)?;
        Ok(Transitions { groups, ops, values })
    }

    /// The pair of each row, in `ids`.
    fn look_up(&mut self, groups: &[u32], values: &ArrayRef) -> Result<()> {
        let group_ids: ArrayRef =
            Arc::new(groups.iter().map(|group| i64::from(*group)).collect::<Int64Array>());
        self.pairs.upsert(&[group_ids, values.clone()], groups.len(), &mut self.ids)?;
        self.counts.resize(self.pairs.id_bound(), 0);
        self.flags.resize(self.pairs.id_bound(), 0);
        Ok(())
    }

    /// Writes the counts that changed; `groups` still has every group of them.
    pub fn checkpoint(
        &mut self,
        groups: &KeyTable,
        table: StateTable,
        state: &mut dyn StateWriter,
    ) -> Result<()> {
        let dirty = std::mem::take(&mut self.dirty);
        let (keys, key_groups) = self.encode(&dirty, groups)?;
        for (key_group, at) in storage_order(&keys, |i| key_groups[i]) {
            let pair = dirty[at as usize];
            let count = self.counts[pair as usize];
            let flags = std::mem::take(&mut self.flags[pair as usize]);
            if count != 0 {
                state.put(table, key_group, keys.row(at as usize), &count.to_le_bytes());
                self.flags[pair as usize] = PERSISTED;
                continue;
            }
            if flags & PERSISTED != 0 {
                state.delete(table, key_group, keys.row(at as usize));
            }
            self.pairs.remove(pair);
        }
        Ok(())
    }

    /// The keys on disk of pairs, and their key groups.
    fn encode(&self, pairs: &[u32], groups: &KeyTable) -> Result<(EncodedKeys, Vec<KeyGroup>)> {
        let columns = self.pairs.gather(pairs)?;
        let ids: Vec<u32> = int_values(&columns[0])?.iter().map(|id| *id as u32).collect();
        let (prefixes, values) = (groups.encode(&ids)?, self.value_encoder.encode(&columns[1..])?);
        let mut keys = EncodedKeys::default();
        for row in 0..pairs.len() {
            keys.bytes.extend_from_slice(prefixes.row(row));
            keys.bytes.extend_from_slice(values.row(row));
            keys.offsets.push(u32::try_from(keys.bytes.len()).map_err(Error::internal)?);
        }
        Ok((keys, (0..pairs.len()).map(|row| KeyGroup::of(prefixes.row(row))).collect()))
    }

    /// Reads the counts of a checkpoint and shows the values to `visit`. All groups are in `groups` already.
    pub fn restore(
        &mut self,
        groups: &mut KeyTable,
        group_types: &[DataType],
        table: StateTable,
        state: &dyn StateReader,
        visit: &mut dyn FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let types: Vec<DataType> = group_types.iter().chain([&self.value_type]).cloned().collect();
        let encoder = KeyEncoder::new(&types)?;
        let known = groups.id_bound();
        let mut group_ids = Vec::with_capacity(CHUNK_ROWS);
        scan_chunks(state, table, &mut |keys, counts| {
            let mut columns = encoder.decode(keys)?;
            let values = columns.pop().ok_or_else(|| Error::internal("a key with a value has a column"))?;
            groups.upsert(&columns, keys.len(), &mut group_ids)?;
            if groups.id_bound() != known {
                return Err(Error::corrupted("a value of an aggregate's state belongs to no group"));
            }
            self.look_up(&group_ids, &values)?;
            for (pair, count) in self.ids.iter().zip(counts) {
                let count = <[u8; 8]>::try_from(*count)
                    .map_err(|_| Error::corrupted("a count in an aggregate's state"))?;
                self.counts[*pair as usize] = i64::from_le_bytes(count);
                self.flags[*pair as usize] = PERSISTED;
            }
            visit(&Rows { groups: &group_ids, ops: None, values: Some(&values) })
        })
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.pairs.memory_bytes()
            + self.counts.capacity() * 8
            + self.flags.capacity()
            + (self.dirty.capacity() + self.ids.capacity()) * 4
    }
}
