//! An aggregate's state on disk.
//!
//! | table | key | value |
//! |---|---|---|
//! | 0 | group key | row: column 1 the row count, columns 16(c+1).. the state of call c |
//! | c + 1 | group key ++ value | count of the value for call c (DISTINCT, ordered, and min/max with deletes) |
//!
//! Keys are canonical; the key group of an entry is that of its group key, as in the exchange before the
//! operator, so that every entry lies with the worker that receives its rows.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use weir_common::key::KeyEncoder;
use weir_common::row::RowCodec;
use weir_common::{Error, KeyGroup, Result};

use super::accumulator::{Accumulator, Rows, Times, gather_i64, merge_i64};
use super::call::{Accumulated, Call};
use super::{ABSENT, Aggregate, GlobalRow, PERSISTED};
use crate::operator::{OpenContext, StateTable, StateWriter};
use crate::operators::checkpoint::{CHUNK_ROWS, scan_chunks, storage_order};

pub(super) const GROUPS: StateTable = StateTable(0);
const ROW_COUNT_COLUMN: u16 = 1;
/// Column ids of a call's state start at a multiple of this.
const CALL_COLUMNS: u16 = 16;

impl Aggregate {
    /// Writes the groups that changed since the last checkpoint.
    pub(super) fn persist(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        for (c, call) in self.calls.iter_mut().enumerate() {
            let Call::Accumulated(call) = call else { continue };
            if let Some(values) = &mut call.values {
                values.checkpoint(&self.keys, value_table(c)?, state)?;
            }
        }
        let (mut written, mut deleted) = (Vec::new(), Vec::new());
        // Groups that end are not read again: nothing has to wait until their entries are gone.
        match self.closing.is_some() || state.is_last_durable() {
            true => self.forget_deleted(),
            false => {
                (written, deleted) = (std::mem::take(&mut self.written), std::mem::take(&mut self.deleted))
            }
        }
        let dirty = std::mem::take(&mut self.dirty);
        let (live, dead): (Vec<u32>, Vec<u32>) = dirty.into_iter().partition(|id| self.is_live(*id));
        self.write_groups(&live, state)?;
        self.delete_groups(&dead, state)?;
        if self.closing.is_some() {
            self.deleted = dead;
            self.forget_deleted();
            return self.shrink();
        }
        let with = |mut ids: Vec<u32>, before: Vec<u32>, flag: u8| {
            ids.extend(before.into_iter().filter(|id| self.flags[*id as usize] == flag));
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let (written, deleted) = (with(live, written, PERSISTED), with(dead, deleted, ABSENT));
        (self.written, self.deleted) = (written, deleted);
        Ok(())
    }

    /// Frees the groups that the checkpoint before this one deleted, unless they have come back.
    fn forget_deleted(&mut self) {
        for id in std::mem::take(&mut self.deleted) {
            if self.flags[id as usize] == ABSENT {
                self.flags[id as usize] = 0;
                self.keys.remove(id);
            }
        }
    }

    fn is_live(&self, id: u32) -> bool {
        self.global != GlobalRow::Elsewhere || self.rows[id as usize] != 0
    }

    fn write_groups(&mut self, ids: &[u32], state: &mut dyn StateWriter) -> Result<()> {
        let keys = self.keys.encode(ids)?;
        let order = storage_order(&keys, |i| KeyGroup::of(keys.row(i)));
        let codec = self.codec()?;
        for chunk in order.chunks(CHUNK_ROWS) {
            let ordered: Vec<u32> = chunk.iter().map(|(_, at)| ids[*at as usize]).collect();
            let values = codec.encode(&self.saved(&ordered)?)?;
            for (i, (key_group, at)) in chunk.iter().enumerate() {
                state.put(GROUPS, *key_group, keys.row(*at as usize), values.row(i));
            }
        }
        ids.iter().for_each(|id| self.flags[*id as usize] = PERSISTED);
        Ok(())
    }

    /// The state of groups, in the columns of their entries.
    pub(super) fn saved(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(gather_i64(&self.rows, ids))];
        for accumulator in self.calls.iter().filter_map(Call::accumulator) {
            columns.extend(accumulator.save(ids)?);
        }
        Ok(columns)
    }

    fn delete_groups(&mut self, ids: &[u32], state: &mut dyn StateWriter) -> Result<()> {
        let keys = self.keys.encode(ids)?;
        for (key_group, at) in storage_order(&keys, |i| KeyGroup::of(keys.row(i))) {
            let id = ids[at as usize];
            if self.flags[id as usize] & PERSISTED != 0 {
                state.delete(GROUPS, key_group, keys.row(at as usize));
            }
            self.flags[id as usize] = ABSENT;
        }
        Ok(())
    }

    /// Loads the last checkpoint.
    pub(super) fn restore(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        let encoder = KeyEncoder::new(&self.group_types)?;
        let codec = self.codec()?;
        let mut ids = Vec::with_capacity(CHUNK_ROWS);
        scan_chunks(cx.state, GROUPS, &mut |keys, values| {
            if self.stays_on_disk(cx.state) {
                return Ok(());
            }
            let columns = if self.group.is_empty() { Vec::new() } else { encoder.decode(keys)? };
            self.keys.upsert(&columns, keys.len(), &mut ids)?;
            self.restore_groups(&ids, &codec.decode(values)?)
        })?;
        self.resize();
        self.restore_values(cx)?;
        let restored: Vec<u32> = (0..self.rows.len() as u32).collect();
        self.note_groups(&restored)?;
        if self.group.is_empty() && KeyGroup::of(&[]).owner(cx.workers) == cx.worker {
            self.global = if self.keys.id_bound() == 0 { GlobalRow::Pending } else { GlobalRow::Present };
        }
        Ok(())
    }

    pub(super) fn restore_groups(&mut self, ids: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.resize();
        merge_i64(&columns[0], ids, |id, count| self.rows[id] = count);
        ids.iter().for_each(|id| self.flags[*id as usize] = PERSISTED);
        let mut columns = &columns[1..];
        for accumulator in self.calls.iter_mut().filter_map(Call::accumulator_mut) {
            let (own, rest) = columns.split_at(accumulator.state_types().len());
            accumulator.merge(ids, own)?;
            columns = rest;
        }
        Ok(())
    }

    fn restore_values(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        for (c, call) in self.calls.iter_mut().enumerate() {
            let Call::Accumulated(call) = call else { continue };
            let Accumulated { values: Some(values), accumulator, distinct, .. } = call.as_mut() else {
                continue;
            };
            values.restore(&mut self.keys, &self.group_types, value_table(c)?, cx.state, &mut |rows| {
                let times = if *distinct { Times::Once } else { rows.times };
                accumulator.restore_values(&Rows { times, ..*rows })
            })?;
        }
        Ok(())
    }

    /// The format of a group's entry.
    pub(super) fn codec(&self) -> Result<RowCodec> {
        let mut columns = vec![(ROW_COUNT_COLUMN, DataType::Int64)];
        for (c, call) in self.calls.iter().enumerate() {
            let types = call.accumulator().map_or(Vec::new(), Accumulator::state_types);
            let first = u16::try_from(c + 1).ok().and_then(|c| c.checked_mul(CALL_COLUMNS));
            let first = first.ok_or_else(|| Error::unsupported("more than 4094 aggregates in one query"))?;
            columns.extend((first..).zip(types));
        }
        RowCodec::new(&columns)
    }
}

fn value_table(call: usize) -> Result<StateTable> {
    let table =
        u8::try_from(call + 1).map_err(|_| Error::unsupported("more than 255 aggregates in one query"))?;
    Ok(StateTable(table))
}
