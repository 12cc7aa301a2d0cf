//! `ValueCounts`: how often each value occurs in each group.
//!
//! Stands in front of an accumulator that needs the values themselves. To one that wants distinct values (DISTINCT
//! calls, and min/max of an input that deletes) it hands on only a value's first occurrence (+1) and the removal of
//! its last (−1); to one that keeps them all in order it hands on everything. A value is all arguments together; to
//! accumulators that hand values out again, values that are equal and not the same are different ones.
//! The pairs (group, value) are keys of one table, so a value costs no allocation of its own.
//!
//! State on disk: group key ++ value, in the canonical and this table's key encoding → count, 8 bytes little-endian.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::{Error, KeyGroup, Result};

use super::accumulator::{Rows, Times};
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
    value_types: Vec<DataType>,
    value_encoder: KeyEncoder,
}

/// Rows whose value appears in or vanishes from its group.
struct Transitions {
    /// Positions of the rows.
    at: Vec<u32>,
    groups: Vec<u32>,
    ops: Vec<i8>,
}

impl ValueCounts {
    /// No occurrence of values of these types. Equal values are one.
    pub fn new(value_types: &[DataType]) -> Result<ValueCounts> {
        let pairs = KeyTable::new(&pair_types(value_types))?;
        Ok(ValueCounts::with_encoder(value_types, pairs, KeyEncoder::new(value_types)?))
    }

    /// No occurrence of values of these types, which are only the same if nothing tells them apart.
    pub fn exact(value_types: &[DataType]) -> Result<ValueCounts> {
        let pairs = KeyTable::exact(&pair_types(value_types))?;
        Ok(ValueCounts::with_encoder(value_types, pairs, KeyEncoder::new(value_types)?.exact()?))
    }

    fn with_encoder(value_types: &[DataType], pairs: KeyTable, value_encoder: KeyEncoder) -> ValueCounts {
        ValueCounts {
            pairs,
            counts: Vec::new(),
            flags: Vec::new(),
            dirty: Vec::new(),
            ids: Vec::new(),
            value_types: value_types.to_vec(),
            value_encoder,
        }
    }

    /// Counts rows and hands on those whose value appears or vanishes.
    pub fn update_distinct(
        &mut self,
        rows: &Rows<'_>,
        take_in: impl FnOnce(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let Transitions { at, groups, ops } = self.count(rows)?;
        let at = UInt32Array::from(at);
        let values = rows.values.iter().map(|column| take(column, &at, None));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        take_in(&Rows { groups: &groups, times: Times::Ops(&ops), values: &values })
    }

    /// Counts rows.
    pub fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        self.count(rows).map(|_| ())
    }

    fn count(&mut self, rows: &Rows<'_>) -> Result<Transitions> {
        self.look_up(rows.groups, rows.values)?;
        let mut transitions = Transitions { at: Vec::new(), groups: Vec::new(), ops: Vec::new() };
        rows.try_for_each(|row, group, times| {
            let pair = self.ids[row] as usize;
            let before = self.counts[pair] > 0;
            self.counts[pair] += times;
            if before != (self.counts[pair] > 0) {
                transitions.at.push(row as u32);
                transitions.groups.push(group as u32);
                transitions.ops.push(times.signum() as i8);
            }
            if self.flags[pair] & DIRTY == 0 {
                self.flags[pair] |= DIRTY;
                self.dirty.push(pair as u32);
            }
            Ok(())
        })?;
        Ok(transitions)
    }

    /// The pair of each row, in `ids`.
    fn look_up(&mut self, groups: &[u32], values: &[ArrayRef]) -> Result<()> {
        let group_ids: ArrayRef =
            Arc::new(groups.iter().map(|group| i64::from(*group)).collect::<Int64Array>());
        let columns: Vec<ArrayRef> = [group_ids].into_iter().chain(values.iter().cloned()).collect();
        self.pairs.upsert(&columns, groups.len(), &mut self.ids)?;
        self.counts.resize(self.pairs.id_bound(), 0);
        self.flags.resize(self.pairs.id_bound(), 0);
        Ok(())
    }

    /// Forgets all values of the groups that `is_closed` names, and shows them to `take_back`, each as often as it was
    /// there less.
    pub fn clear(
        &mut self,
        is_closed: &dyn Fn(u32) -> bool,
        take_back: &mut dyn FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let live: Vec<u32> =
            (0..self.counts.len() as u32).filter(|p| self.counts[*p as usize] != 0).collect();
        for chunk in live.chunks(CHUNK_ROWS) {
            let columns = self.pairs.gather(chunk)?;
            let owners = int_values(&columns[0])?;
            let closed: Vec<u32> =
                (0..chunk.len() as u32).filter(|row| is_closed(owners[*row as usize] as u32)).collect();
            if closed.is_empty() {
                continue;
            }
            let groups: Vec<u32> = closed.iter().map(|row| owners[*row as usize] as u32).collect();
            let mut times = Vec::with_capacity(closed.len());
            for pair in closed.iter().map(|row| chunk[*row as usize]) {
                times.push(-std::mem::take(&mut self.counts[pair as usize]));
                if self.flags[pair as usize] & DIRTY == 0 {
                    self.flags[pair as usize] |= DIRTY;
                    self.dirty.push(pair);
                }
            }
            let at = UInt32Array::from(closed);
            let values = columns[1..].iter().map(|column| take(column, &at, None));
            let values = values.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
            take_back(&Rows { groups: &groups, times: Times::Counts(&times), values: &values })?;
        }
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
        let encoder = KeyEncoder::new(group_types)?;
        let known = groups.id_bound();
        let mut group_ids = Vec::with_capacity(CHUNK_ROWS);
        scan_chunks(state, table, &mut |keys, counts| {
            let (columns, values) = encoder.decode_prefix(keys)?;
            let values = self.value_encoder.decode(&values)?;
            groups.upsert(&columns, keys.len(), &mut group_ids)?;
            if groups.id_bound() != known {
                return Err(Error::corrupted("a value of an aggregate's state belongs to no group"));
            }
            self.look_up(&group_ids, &values)?;
            let mut times = Vec::with_capacity(counts.len());
            for (pair, count) in self.ids.iter().zip(counts) {
                let count = <[u8; 8]>::try_from(*count)
                    .map_err(|_| Error::corrupted("a count in an aggregate's state"))?;
                times.push(i64::from_le_bytes(count));
                self.counts[*pair as usize] = i64::from_le_bytes(count);
                self.flags[*pair as usize] = PERSISTED;
            }
            visit(&Rows { groups: &group_ids, times: Times::Counts(&times), values: &values })
        })
    }

    /// The type of `lists`.
    pub fn list_type(&self) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Struct(self.entry_fields()), true)))
    }

    fn entry_fields(&self) -> Fields {
        let types = self.value_types.iter().chain([&DataType::Int64]);
        types.enumerate().map(|(i, ty)| Field::new(format!("v{i}"), ty.clone(), true)).collect()
    }

    /// For each of the groups from `first` to `end`: its values with their counts, as one list.
    pub fn lists(&self, first: u32, end: u32) -> Result<ArrayRef> {
        let live = |pair: &u32| self.counts[*pair as usize] != 0;
        let pairs: Vec<u32> = (0..self.counts.len() as u32).filter(live).collect();
        let columns = self.pairs.gather(&pairs)?;
        let groups = int_values(&columns[0])?;
        let mut rows: Vec<(i64, u32)> = groups.iter().copied().zip(0..).collect();
        rows.retain(|(group, _)| (i64::from(first)..i64::from(end)).contains(group));
        rows.sort_unstable();
        let mut lengths = vec![0usize; (end - first) as usize];
        rows.iter().for_each(|(group, _)| lengths[(*group - i64::from(first)) as usize] += 1);
        let at: UInt32Array = rows.iter().map(|(_, row)| Some(*row)).collect();
        let values = columns[1..].iter().map(|column| take(column, &at, None));
        let mut values = values.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        let counts: Int64Array =
            rows.iter().map(|(_, row)| Some(self.counts[pairs[*row as usize] as usize])).collect();
        values.push(Arc::new(counts));
        let entries = StructArray::try_new(self.entry_fields(), values, None).map_err(Error::internal)?;
        let field = Arc::new(Field::new_list_field(entries.data_type().clone(), true));
        let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), Arc::new(entries), None);
        Ok(Arc::new(lists.map_err(Error::internal)?))
    }

    /// Hands on what `lists` made, as rows of these groups.
    pub fn unlist(
        lists: &ArrayRef,
        groups: &[u32],
        take_in: &mut dyn FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let lists = lists.as_list::<i32>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| lists.is_valid(*row)) {
            let entries = lists.value(row);
            let mut values = entries.as_struct().columns().to_vec();
            let counts = values.pop().ok_or_else(|| Error::internal("counts come last"))?;
            let counts = counts.as_primitive::<Int64Type>().values();
            let groups = vec![*group; entries.len()];
            take_in(&Rows { groups: &groups, times: Times::Counts(counts), values: &values })?;
        }
        Ok(())
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.pairs.memory_bytes()
            + self.counts.capacity() * 8
            + self.flags.capacity()
            + (self.dirty.capacity() + self.ids.capacity()) * 4
    }
}

/// The columns of a pair: the group's id and the value's.
fn pair_types(value_types: &[DataType]) -> Vec<DataType> {
    [DataType::Int64].iter().chain(value_types).cloned().collect()
}
