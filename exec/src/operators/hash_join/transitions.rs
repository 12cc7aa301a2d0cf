//! The end of an epoch: rows of a preserved side that show differently than before it.
//!
//! ```text
//!   keys whose matches came or went ─► their rows are touched too
//!   touched rows ─► shown(weight, matches) before and now ─► the difference, as inserts or deletes
//!   rows and keys of which nothing is left ─► gone
//! ```
//! A row that came and went, or lost its only match and got another, makes no change at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::buffer::ScalarBuffer;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Result};

use super::HashJoin;
use super::layout::{Lone, Place};
use crate::operator::{Flow, Output};
use crate::operators::BATCH_ROWS;
use crate::spec::JoinKind;
use crate::state::NONE;

/// How far the end of an epoch got.
#[derive(Default)]
pub(super) struct Transitions {
    side: usize,
    /// The touched key whose rows are visited next.
    key: usize,
    /// The row of that key that is visited next; `None` before the first.
    slot: Option<u32>,
    /// The touched row that is compared next.
    row: usize,
}

/// Rows of one side by slot, with what happens to them.
#[derive(Default)]
struct Lones {
    slots: Vec<u32>,
    marks: Vec<bool>,
    ops: Vec<i8>,
}

impl Lones {
    fn push(&mut self, slot: u32, mark: bool, times: i64) {
        let count = times.unsigned_abs() as usize;
        self.slots.extend(std::iter::repeat_n(slot, count));
        self.marks.extend(std::iter::repeat_n(mark, count));
        self.ops.extend(std::iter::repeat_n(times.signum() as i8, count));
    }
}

/// How often a row that is there `weight` times and has `matches` shows with this mark, pairs aside.
pub(super) fn shown(kind: JoinKind, weight: i64, matches: i64, mark: bool) -> i64 {
    let shows = match kind {
        JoinKind::Inner => false,
        JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::Anti => !mark && matches == 0,
        JoinKind::Semi => !mark && matches != 0,
        JoinKind::Mark => mark == (matches != 0),
        JoinKind::IntersectAll => return if mark { 0 } else { weight.min(matches) },
        JoinKind::ExceptAll => return if mark { 0 } else { (weight - matches).max(0) },
    };
    if shows { weight } else { 0 }
}

impl HashJoin {
    /// Goes on with the end of the epoch until all is emitted or the fuel is used up.
    pub(super) fn advance_transitions(&mut self, at: &mut Transitions, out: &mut Output) -> Result<Flow> {
        while at.side < self.sides.len() {
            if self.kind.preserves()[at.side] {
                if self.touch_rows(at, out) == Flow::Yield {
                    return Ok(Flow::Yield);
                }
                while self.compare(at, out)? {
                    if out.fuel <= 0 {
                        return Ok(Flow::Yield);
                    }
                }
            }
            *at = Transitions { side: at.side + 1, ..Transitions::default() };
        }
        self.end_epoch()?;
        Ok(Flow::Done)
    }

    /// Touches the rows of keys whose number of matches means something else now.
    fn touch_rows(&mut self, at: &mut Transitions, out: &mut Output) -> Flow {
        let exact = matches!(self.kind, JoinKind::IntersectAll | JoinKind::ExceptAll);
        let [left, right] = &mut self.sides;
        let (own, other) = if at.side == 0 { (left, right) } else { (right, left) };
        let Some(totals) = &other.totals else { return Flow::Done };
        while let Some((key, before)) = totals.touched.get(at.key) {
            let now = totals.now(*key);
            if if exact { *before == now } else { (*before == 0) == (now == 0) } {
                at.key += 1;
                continue;
            }
            let mut slot = at.slot.take().unwrap_or_else(|| own.head(*key));
            while slot != NONE {
                if out.fuel <= 0 {
                    at.slot = Some(slot);
                    return Flow::Yield;
                }
                out.fuel -= 1;
                let weight = own.weight(slot);
                own.preserved.iter_mut().for_each(|preserved| preserved.touch(slot, weight));
                slot = own.next(slot);
            }
            at.key += 1;
        }
        Flow::Done
    }

    /// Compares some touched rows with what they were; whether there are more.
    fn compare(&self, at: &mut Transitions, out: &mut Output) -> Result<bool> {
        let (own, other) = (&self.sides[at.side], &self.sides[1 - at.side]);
        let Some(preserved) = &own.preserved else { return Ok(false) };
        let end = preserved.touched.len().min(at.row + BATCH_ROWS);
        let mut lones = Lones::default();
        for touched in &preserved.touched[at.row..end] {
            let key = own.key_of(touched.slot);
            let (before, now) = match (&preserved.matches, &other.totals) {
                (Some(matches), _) => (touched.matches, matches[touched.slot as usize]),
                (None, Some(totals)) => (totals.before(key), totals.now(key)),
                (None, None) => (0, 0),
            };
            let (old_weight, weight) = (i64::from(touched.weight), i64::from(own.weight(touched.slot)));
            for mark in [false, true] {
                let change = shown(self.kind, weight, now, mark) - shown(self.kind, old_weight, before, mark);
                lones.push(touched.slot, mark, change);
            }
        }
        at.row = end;
        for from in (0..lones.slots.len()).step_by(BATCH_ROWS) {
            self.emit_lones(at.side, &lones, from, lones.slots.len().min(from + BATCH_ROWS), out)?;
        }
        Ok(end < preserved.touched.len())
    }

    fn emit_lones(&self, side: usize, lones: &Lones, from: usize, to: usize, out: &mut Output) -> Result<()> {
        let slots = &lones.slots[from..to];
        let column = |lone: &Lone| match lone {
            Lone::Own(column) => self.stored_column(side, *column, slots),
            Lone::Null(ty) => Ok(new_null_array(ty, slots.len())),
            Lone::Mark => Ok(Arc::new(BooleanArray::from(lones.marks[from..to].to_vec())) as ArrayRef),
        };
        let columns = self.layout.lone(side).iter().map(column).collect::<Result<_>>()?;
        let rows = record_batch(self.schema.clone(), columns, slots.len())?;
        out.push(ChangeBatch::new(rows, ScalarBuffer::from(lones.ops[from..to].to_vec())));
        Ok(())
    }

    /// One column of stored rows of a preserved side.
    pub(super) fn stored_column(&self, side: usize, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        match self.layout.place(side, column) {
            Place::Stored(stored) => self.sides[side].rows.gather(stored, slots),
            Place::Key(position) => {
                let ids: Vec<u32> = slots.iter().map(|slot| self.sides[side].key_of(*slot)).collect();
                Ok(self.keys.gather(&ids)?.swap_remove(position))
            }
        }
    }

    /// Rows that can match nothing, since a key is NULL: they show as rows without a match, and are not kept.
    pub(super) fn emit_unmatched(&self, side: usize, batch: &ChangeBatch, out: &mut Output) -> Result<()> {
        if !self.kind.preserves()[side] || shown(self.kind, 1, 0, false) == 0 || batch.is_empty() {
            return Ok(());
        }
        let column = |lone: &Lone| match lone {
            Lone::Own(column) => batch.columns()[*column].clone(),
            Lone::Null(ty) => new_null_array(ty, batch.len()),
            Lone::Mark => Arc::new(BooleanArray::from(vec![false; batch.len()])) as ArrayRef,
        };
        let columns = self.layout.lone(side).iter().map(column).collect();
        let rows = record_batch(self.schema.clone(), columns, batch.len())?;
        out.push(ChangeBatch { rows, ops: batch.ops.clone() });
        Ok(())
    }

    fn end_epoch(&mut self) -> Result<()> {
        self.sides.iter_mut().try_for_each(|side| side.end_epoch(&self.keys))
    }
}
