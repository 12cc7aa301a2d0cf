//! Rows that a join forgets: no row of the other side that is on time can match them any more.
//!
//! The planner proves it from the condition: of `l.ts BETWEEN r.ts - a AND r.ts + b` a left row matches right rows up to
//! `l.ts + a`; once event time has passed that it can go, and what was emitted of it stays. Equal windows are the case of
//! `a = b = 0`. A row is noted under its time when it comes, with its number, by which it is known later that the slot is
//! still that row's.

use weir_common::Result;

use super::HashJoin;
use super::layout::Place;
use crate::spec::RowClosing;
use crate::state::TimeIndex;

/// When the rows of a side are forgotten.
pub(super) struct Closing {
    by: RowClosing,
    pub watermark: i64,
    /// Slots and numbers of rows by their time.
    by_time: TimeIndex<(u32, u64)>,
}

impl Closing {
    /// By a column of the side.
    pub fn of(by: RowClosing) -> Closing {
        Closing { by, watermark: i64::MIN, by_time: TimeIndex::default() }
    }

    /// The earliest time at which a row is forgotten, if there is one.
    pub fn first_time(&self) -> Option<i64> {
        Some(self.by_time.first()?.saturating_add(self.by.keep_micros))
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.by_time.memory_bytes()
    }
}

impl HashJoin {
    /// Notes the time of rows, by slot and number.
    pub(super) fn note_rows(&mut self, side: usize, rows: &[(u32, u64)]) -> Result<()> {
        let Some(closing) = &mut self.closing[side] else { return Ok(()) };
        let slots: Vec<u32> = rows.iter().map(|(slot, _)| *slot).collect();
        let times = match self.layout.place(side, closing.by.column) {
            Place::Stored(stored) => self.sides[side].rows.gather(stored, &slots)?,
            Place::Key(key) => {
                let ids: Vec<u32> = slots.iter().map(|slot| self.sides[side].key_of(*slot)).collect();
                self.keys.gather(&ids)?[key].clone()
            }
        };
        closing.by_time.add_all(&times, rows)
    }

    /// Forgets the rows whose time is over.
    pub(super) fn close_rows(&mut self) -> Result<()> {
        for side in 0..2 {
            let Some(closing) = &mut self.closing[side] else { continue };
            let until = closing.watermark.saturating_sub(closing.by.keep_micros);
            let rows = closing.by_time.take_before(until);
            if rows.is_empty() {
                continue;
            }
            let ids = self.sides[side].forget(&rows, &self.keys)?;
            self.residence.forgotten(&ids, self.keys.id_bound());
        }
        Ok(())
    }
}
