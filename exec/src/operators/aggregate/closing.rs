//! Groups that end: those of windows, and of other functions of a time column that has a watermark.
//!
//! No row of a group whose time lies behind the watermark comes any more. So it is forgotten, in memory and on disk;
//! what was emitted of it stays as it is. A view may also say how long a group is remembered after its last row: one that
//! comes again after that begins anew.

use arrow::array::{Array, ArrayRef};
use weir_common::Result;

use super::{Aggregate, DIRTY};
use crate::spec::GroupTtl;
use crate::state::TimeIndex;
use crate::state::native::int_values;

/// When the groups of an aggregate end.
pub(super) struct Closing {
    by: By,
    /// Groups of an earlier time have ended.
    pub watermark: i64,
    /// Every group once. Of a group that ends after its last row, under the time of an earlier one.
    by_time: TimeIndex<u32>,
}

/// What the time of a group is.
#[derive(Clone, Copy)]
enum By {
    /// The group column at this position.
    Column(usize),
    /// When its last row came, and so much after that.
    LastRow(GroupTtl),
}

impl Closing {
    /// By the group column at this position.
    pub fn by(column: usize) -> Closing {
        Closing { by: By::Column(column), watermark: i64::MIN, by_time: TimeIndex::default() }
    }

    /// So long after the last row of the group.
    pub fn after(ttl: GroupTtl) -> Closing {
        Closing { by: By::LastRow(ttl), watermark: i64::MIN, by_time: TimeIndex::default() }
    }

    /// How long a group is kept after its time.
    fn keep_micros(&self) -> i64 {
        match self.by {
            By::Column(_) => 0,
            By::LastRow(ttl) => ttl.keep_micros,
        }
    }

    /// No group is left.
    fn clear(&mut self) {
        self.by_time.clear();
    }

    /// The earliest time at which a group may end, if there is one.
    pub fn first_time(&self) -> Option<i64> {
        Some(self.by_time.first()?.saturating_add(self.keep_micros()))
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
        let Some(closing) = &self.closing else { return Ok(()) };
        let times = self.times_of(closing.by, ids)?;
        self.closing.as_mut().map_or(Ok(()), |closing| closing.by_time.add_all(&times, ids))
    }

    fn times_of(&self, by: By, ids: &[u32]) -> Result<ArrayRef> {
        match by {
            By::Column(column) => Ok(self.keys.gather(ids)?[column].clone()),
            By::LastRow(ttl) => self.calls[ttl.call].evaluate(ids, &self.rows),
        }
    }

    /// Forgets the groups that have ended.
    pub(super) fn close_groups(&mut self) -> Result<()> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        let until = closing.watermark.saturating_sub(closing.keep_micros());
        let (by, ids) = (closing.by, closing.by_time.take_before(until));
        if ids.is_empty() {
            return Ok(());
        }
        // An id may have gone to another group, which has not ended; a group may have got rows since it was noted.
        let times = &self.times_of(by, &ids)?;
        let values = int_values(times)?;
        let has_ended = |row: usize| times.is_valid(row) && values[row] < until;
        let live = ids.iter().enumerate().filter(|(_, id)| self.rows[**id as usize] > 0);
        let (closed, going_on): (Vec<_>, Vec<_>) = live.partition(|(row, _)| has_ended(*row));
        let ids = |rows: Vec<(usize, &u32)>| rows.into_iter().map(|(_, id)| *id).collect::<Vec<u32>>();
        if let By::LastRow(_) = by {
            self.note_groups(&ids(going_on))?;
        }
        self.clear(&ids(closed))
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
