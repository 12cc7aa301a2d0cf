//! What an aggregate emits at the end of an epoch.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::concat;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result};

use super::call::Call;
use super::{Aggregate, DIRTY, GlobalRow, TOUCHED};
use crate::operator::{Flow, Output};
use crate::operators::BATCH_ROWS;
use crate::operators::delta::{any_distinct, spliced};

/// The groups that an epoch touched, and their rows before it.
#[derive(Default)]
pub(super) struct TouchedGroups {
    pub ids: Vec<u32>,
    /// Whether the group had a row.
    pub present: Vec<bool>,
    /// Results of each call before the epoch, in chunks; one chunk after `seal`.
    pub old: Vec<Vec<ArrayRef>>,
    /// Groups that have emitted already.
    emitted: usize,
}

impl TouchedGroups {
    /// No group; there are `calls` calls.
    pub fn new(calls: usize) -> TouchedGroups {
        TouchedGroups { old: vec![Vec::new(); calls], ..TouchedGroups::default() }
    }

    /// The epoch is over: no more groups will be touched.
    pub fn seal(&mut self) -> Result<()> {
        for chunks in self.old.iter_mut().filter(|chunks| chunks.len() > 1) {
            let parts: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.as_ref()).collect();
            *chunks = vec![concat(&parts).map_err(Error::internal)?];
        }
        Ok(())
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let old = self.old.iter().flatten().map(|chunk| chunk.get_array_memory_size()).sum::<usize>();
        old + self.ids.capacity() * 4 + self.present.capacity()
    }
}

impl Aggregate {
    /// Emits the changes of touched groups until there are none left or the fuel is used up.
    pub(super) fn emit(&mut self, out: &mut Output) -> Result<Flow> {
        while self.touched.emitted < self.touched.ids.len() {
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
            let from = self.touched.emitted;
            let to = self.touched.ids.len().min(from + BATCH_ROWS / 2);
            self.emit_range(from, to, out)?;
            self.touched.emitted = to;
        }
        self.settle()?;
        self.close_groups()?;
        Ok(Flow::Done)
    }

    fn emit_range(&self, from: usize, to: usize, out: &mut Output) -> Result<()> {
        let ids = &self.touched.ids[from..to];
        let new = self.calls.iter().map(|call| call.evaluate(ids, &self.rows)).collect::<Result<Vec<_>>>()?;
        let old: Vec<ArrayRef> =
            self.touched.old.iter().map(|chunks| chunks[0].slice(from, to - from)).collect();
        let differs = any_distinct(&old, &new, ids.len());
        let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
        for (i, id) in ids.iter().enumerate() {
            let before = self.touched.present[from + i];
            let after = self.global != GlobalRow::Elsewhere || self.rows[*id as usize] > 0;
            let same = before && after && !differs.value(i);
            if before && !same {
                deletes.push(i as u32);
            }
            if after && !same {
                inserts.push(i as u32);
            }
        }
        self.emit_rows(ids, deletes, inserts, &old, &new, out)
    }

    fn emit_rows(
        &self,
        ids: &[u32],
        deletes: Vec<u32>,
        inserts: Vec<u32>,
        old: &[ArrayRef],
        new: &[ArrayRef],
        out: &mut Output,
    ) -> Result<()> {
        let rows = deletes.len() + inserts.len();
        if rows == 0 {
            return Ok(());
        }
        let emitted: Vec<u32> = deletes.iter().chain(&inserts).map(|i| ids[*i as usize]).collect();
        let ops: ScalarBuffer<i8> = (0..rows).map(|row| if row < deletes.len() { -1 } else { 1 }).collect();
        let (deletes, inserts) = (UInt32Array::from(deletes), UInt32Array::from(inserts));
        let mut columns = self.keys.gather(&emitted)?;
        for (old, new) in old.iter().zip(new) {
            columns.push(spliced(old, &deletes, new, &inserts)?);
        }
        out.push(ChangeBatch::new(record_batch(self.schema.clone(), columns, rows)?, ops));
        Ok(())
    }

    /// All is emitted: the touched groups become dirty ones.
    fn settle(&mut self) -> Result<()> {
        let ids = std::mem::take(&mut self.touched.ids);
        self.note_new_groups(&ids)?;
        for id in &ids {
            if self.rows[*id as usize] < 0 {
                return Err(Error::internal("a row was deleted that an aggregate never saw inserted"));
            }
            let flags = &mut self.flags[*id as usize];
            *flags &= !TOUCHED;
            if *flags & DIRTY == 0 {
                *flags |= DIRTY;
                self.dirty.push(*id);
            }
        }
        self.calls
            .iter_mut()
            .filter_map(Call::accumulator_mut)
            .for_each(|accumulator| accumulator.settle(&ids));
        self.touched = TouchedGroups::new(self.calls.len());
        if self.global == GlobalRow::Pending {
            self.global = GlobalRow::Present;
        }
        Ok(())
    }
}
