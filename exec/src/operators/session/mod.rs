//! `Session`: each row with the session that it is in, over changing input.
//!
//! Rows lie in [`OrderedRows`] by partition and time. A session is a run of rows none of which comes more than the gap
//! after the one before it, so a change reaches as far as the run of rows around it, those of before the epoch and
//! those of now together:
//!
//! ```text
//!   before   a b     d e          g        now   a b c d e        c is new: it merges two sessions, and all of
//!            [───)   [────)       [──)           [─────────)      a b d e are taken back and emitted anew; g is
//!                                                                 not even looked at
//! ```
//! The same the other way round when c goes: the session splits. Within the run both times are evaluated
//! ([`sessions`]), and rows whose bounds differ, or that came or went, are emitted. So an epoch costs the
//! sessions that it changes, however many rows the partition has, and state is the input's rows: those of sessions that
//! event time has left behind are forgotten (`closing.rs`).

mod closing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, IntervalMonthDayNano, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::closing::Closing;
use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::expr::{Literal, ScalarExpr};
use crate::functions::length_micros;
use crate::functions::session_window::{SessionBound, joins, sessions};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec, SortColumn, WindowCall};
use crate::state::native::{int_array, int_values};

/// Rows that are looked at first on each side of a change; then twice as many.
const FIRST_ROWS: usize = 16;

/// The streaming operator of session windows.
pub struct Session {
    project: Vec<usize>,
    time: usize,
    time_type: DataType,
    gap_micros: i64,
    bounds: Vec<SessionBound>,
    schema: SchemaRef,
    rows: OrderedRows,
    /// Rows that this epoch changed, in order; those before `done` have their runs emitted.
    changed: Option<Vec<u32>>,
    done: usize,
    changes: Changes,
    closing: Closing,
}

/// Rows to emit, with the bounds of their sessions.
#[derive(Default)]
struct Changes {
    slots: Vec<u32>,
    ops: Vec<i8>,
    sessions: Vec<(i64, i64)>,
}

/// Whether these window functions are sessions, which this operator is for.
pub fn are_sessions(calls: &[WindowCall]) -> bool {
    calls.iter().all(|call| SessionBound::of(&call.function).is_some()) && !calls.is_empty()
}

impl Session {
    /// The operator that a `Window` specification with session functions describes.
    pub fn new(spec: &NodeSpec) -> Result<Session> {
        let malformed = || Error::internal("sessions need a time, and a gap that is the same for all");
        let OperatorSpec::Window { partition, order, calls, project, .. } = &spec.operator else {
            return Err(malformed());
        };
        let [SortColumn { column: time, descending: false, .. }] = order.as_slice() else {
            return Err(malformed());
        };
        let (first, input) = (calls.first().ok_or_else(malformed)?, &spec.inputs[0]);
        let [
            ScalarExpr::Column(column),
            ScalarExpr::Literal(Literal::Interval { months: 0, days, nanos }, _),
        ] = first.args.as_slice()
        else {
            return Err(malformed());
        };
        if column != time || calls.iter().any(|call| call.args != first.args) {
            return Err(malformed());
        }
        let bounds = calls.iter().map(|call| SessionBound::of(&call.function).ok_or_else(malformed));
        Ok(Session {
            project: project.clone(),
            time: *time,
            time_type: input[*time].clone(),
            gap_micros: length_micros(IntervalMonthDayNano::new(0, *days, *nanos))?,
            bounds: bounds.collect::<Result<_>>()?,
            schema: positional_schema(&spec.output),
            rows: OrderedRows::new(partition, order, input)?,
            changed: None,
            done: 0,
            changes: Changes::default(),
            closing: Closing::default(),
        })
    }

    /// The rows of the run around a row, in order: before the epoch or now, or both.
    fn run_around(&self, slot: u32) -> Result<Vec<u32>> {
        let (list, place) = self.rows.place(slot)?;
        let mut run = self.linked(slot, list.before(place))?;
        run.reverse();
        run.push(slot);
        run.extend(self.linked(slot, list.after(place))?);
        Ok(run)
    }

    /// Rows that follow one another, away from `from`, no more than the gap apart.
    fn linked(&self, from: u32, mut others: impl Iterator<Item = u32>) -> Result<Vec<u32>> {
        let mut linked = Vec::new();
        let mut last = self.times(&[from])?[0];
        let mut rows = FIRST_ROWS;
        loop {
            let next: Vec<u32> = others.by_ref().take(rows).collect();
            if next.is_empty() {
                return Ok(linked);
            }
            for (slot, time) in next.iter().zip(self.times(&next)?.iter()) {
                if !joins(last.min(*time), last.max(*time), self.gap_micros) {
                    return Ok(linked);
                }
                linked.push(*slot);
                last = *time;
            }
            rows = (rows * 2).min(BATCH_ROWS);
        }
    }

    fn times(&self, slots: &[u32]) -> Result<ScalarBuffer<i64>> {
        let times = self.rows.rows.gather(self.time, slots)?;
        if times.null_count() > 0 {
            return Err(Error::internal("a row without a time in a session"));
        }
        int_values(&times)
    }

    /// Adds what changes in a run.
    fn compare(&mut self, run: &[u32]) -> Result<()> {
        let times = self.times(run)?;
        let [before, now] = [0, 1].map(|view| self.sessions_of(run, &times, view));
        let (before, now) = (before?, now?);
        let mut kept = vec![0; run.len()];
        for (at, slot) in run.iter().enumerate() {
            let [old, new] = self.rows.copies(*slot);
            if self.shown(before[at]) == self.shown(now[at]) {
                kept[at] = old.min(new);
            }
            self.changes.push(*slot, -1, old - kept[at], before[at]);
        }
        for (at, slot) in run.iter().enumerate() {
            let [_, new] = self.rows.copies(*slot);
            self.changes.push(*slot, 1, new - kept[at], now[at]);
        }
        Ok(())
    }

    /// The session of each row of a run at one time; anything of a row that is not there.
    fn sessions_of(&self, run: &[u32], times: &[i64], view: usize) -> Result<Vec<(i64, i64)>> {
        let present: Vec<usize> = (0..run.len()).filter(|at| self.rows.copies(run[*at])[view] > 0).collect();
        let present_times: Vec<i64> = present.iter().map(|at| times[*at]).collect();
        let mut all = vec![(0, 0); run.len()];
        for (at, session) in present.into_iter().zip(sessions(&present_times, self.gap_micros)?) {
            all[at] = session;
        }
        Ok(all)
    }

    /// What of a session is in the output.
    fn shown(&self, (start, end): (i64, i64)) -> (Option<i64>, Option<i64>) {
        let has = |bound| self.bounds.contains(&bound);
        (has(SessionBound::Start).then_some(start), has(SessionBound::End).then_some(end))
    }

    fn emit_changes(&mut self, out: &mut Output) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        for from in (0..changes.slots.len()).step_by(BATCH_ROWS) {
            let part = from..changes.slots.len().min(from + BATCH_ROWS);
            let slots = &changes.slots[part.clone()];
            let mut columns: Vec<ArrayRef> =
                self.project.iter().map(|c| self.rows.rows.gather(*c, slots)).collect::<Result<_>>()?;
            for bound in &self.bounds {
                let values = changes.sessions[part.clone()].iter().map(|(start, end)| match bound {
                    SessionBound::Start => *start,
                    SessionBound::End => *end,
                });
                columns.push(int_array(values.collect(), None, &self.time_type)?);
            }
            let ops = ScalarBuffer::from(changes.ops[part].to_vec());
            out.push(ChangeBatch::new(record_batch(Arc::clone(&self.schema), columns, slots.len())?, ops));
        }
        Ok(())
    }
}

impl Changes {
    fn push(&mut self, slot: u32, op: i8, copies: u64, session: (i64, i64)) {
        for _ in 0..copies {
            self.slots.push(slot);
            self.ops.push(op);
            self.sessions.push(session);
        }
    }
}

impl Operator for Session {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)?;
        let partitions = self.rows.live_partitions();
        self.note_first_sessions(&partitions)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        self.rows.apply(&batch)?;
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.closing.watermark = Some(watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let changed = self.changed.take().unwrap_or_else(|| self.rows.changed_in_order());
        while let Some(slot) = changed.get(self.done).copied() {
            if out.fuel <= 0 {
                self.changed = Some(changed);
                return Ok(Flow::Yield);
            }
            let run = self.run_around(slot)?;
            self.compare(&run)?;
            // Both are in order: what else of the run has changed comes next.
            let mut rows = run.iter();
            while changed.get(self.done).is_some_and(|next| rows.any(|row| row == next)) {
                self.done += 1;
            }
            if self.changes.slots.len() >= BATCH_ROWS {
                self.emit_changes(out)?;
            }
        }
        self.emit_changes(out)?;
        self.done = 0;
        let touched = self.rows.touched().to_vec();
        self.rows.settle()?;
        self.note_first_sessions(&touched)?;
        self.close_sessions()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
            + self.changed.as_ref().map_or(0, |changed| changed.capacity() * size_of::<u32>())
            + self.changes.slots.capacity() * (size_of::<u32>() + 1 + size_of::<(i64, i64)>())
            + self.closing.memory_bytes()
    }
}
