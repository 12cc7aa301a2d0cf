//! Groups that end: those of windows, and of other functions of a time column that has a watermark.
//!
//! No row of a group whose time lies behind the watermark comes any more. So it is forgotten, in memory and on disk;
//! what was emitted of it stays as it is.

use arrow::array::Array;
use weir_common::Result;

use super::{Aggregate, DIRTY};
use crate::state::TimeIndex;
use crate::state::native::int_values;

/// When the groups of an aggregate end.
pub(super) struct Closing {
    /// Position of the time among the group columns.
    column: usize,
    /// Groups of an earlier time have ended.
    pub watermark: i64,
    by_time: TimeIndex<u32>,
}

impl Closing {
    /// By the group column at this position.
    pub fn by(column: usize) -> Closing {
        Closing { column, watermark: i64::MIN, by_time: TimeIndex::default() }
    }

    /// No group is left.
    fn clear(&mut self) {
        self.by_time.clear();
    }

    /// The earliest time of a group, if one has a time.
    pub fn first_time(&self) -> Option<i64> {
        self.by_time.first()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.by_time.memory_bytes()
    }
}

impl Aggregate {
    /// Notes the time of the touched groups that were not there before the epoch.
    pub(super) fn note_new_groups(&mut self, touched: &[u32]) -> Result<()> {
        if self.closing.is_none() {
            return Ok(());
        }
        let rows = touched.iter().zip(&self.touched.present);
        let new: Vec<u32> =
            rows.filter(|(id, was)| !**was && self.rows[**id as usize] > 0).map(|(id, _)| *id).collect();
        self.note_groups(&new)
    }

    /// Notes the time of groups. A group without a time never ends.
    pub(super) fn note_groups(&mut self, ids: &[u32]) -> Result<()> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        closing.by_time.add_all(&self.keys.gather(ids)?[closing.column], ids)
    }

    /// Forgets the groups that have ended.
    pub(super) fn close_groups(&mut self) -> Result<()> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        let ids = closing.by_time.take_before(closing.watermark);
        if ids.is_empty() {
            return Ok(());
        }
        let (column, watermark) = (closing.column, closing.watermark);
        // An id may have gone to another group, which has not ended.
        let times = &self.keys.gather(&ids)?[column];
        let values = int_values(times)?;
        let has_ended = |row: usize| times.is_valid(row) && values[row] < watermark;
        let rows = ids.iter().enumerate().filter(|(row, id)| has_ended(*row) && self.rows[**id as usize] > 0);
        let closed: Vec<u32> = rows.map(|(_, id)| *id).collect();
        self.clear(&closed)
    }

    fn clear(&mut self, closed: &[u32]) -> Result<()> {
        let is_closed = |id: u32| closed.binary_search(&id).is_ok();
        self.calls.iter_mut().try_for_each(|call| call.clear(closed, &is_closed))?;
        for id in closed {
            self.rows[*id as usize] = 0;
            let flags = &mut self.flags[*id as usize];
            if *flags & DIRTY == 0 {
                *flags |= DIRTY;
                self.dirty.push(*id);
            }
        }
        Ok(())
    }

    /// Gives memory back when no group is left.
    pub(super) fn shrink(&mut self) -> Result<()> {
        if self.keys.is_empty() && self.keys.id_bound() > 0 {
            let mut closing = self.closing.take();
            closing.iter_mut().for_each(Closing::clear);
            *self = self.emptied()?;
            (self.closing, self.shedding.is_incomplete) = (closing, false);
        }
        Ok(())
    }
}
