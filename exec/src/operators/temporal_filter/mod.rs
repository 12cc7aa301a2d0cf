//! `TemporalFilter`: rows that show from one moment on until another, by the clock: `ts > now() - INTERVAL '5 minutes'`.
//!
//! The clock is that of epochs: all of an epoch happens at the time when it was closed, which the operator is told as a
//! watermark. A row shows while `from <= now < until`, of which either may be missing. It comes with the epoch that has
//! the row if its time is there already, else with the first one after; it goes likewise, also when nothing arrives: the
//! operator says when it has something to do next ([`Operator::next_deadline`]), and an epoch is closed then.
//!
//! ```text
//!   on_batch      what is over for good drops out; what is shown for good passes through; the rest → OrderedRows
//!   on_epoch_end  touched rows, and those whose from or until has come: what showed before, what shows now; emit both
//! ```
//! Whether a row shows follows from its columns and the clock, so nothing is kept but the rows that wait for a moment.

#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec};
use crate::state::TimeIndex;
use crate::state::native::int_values;

/// The operator of a comparison with now().
pub struct TemporalFilter {
    from: Option<usize>,
    until: Option<usize>,
    project: Vec<usize>,
    schema: SchemaRef,
    rows: OrderedRows,
    /// The time of the last epoch that is through, and of the one under way.
    before: i64,
    now: i64,
    /// Rows by the moments that they wait for; some may have gone, or be there twice.
    moments: TimeIndex<u32>,
    /// Rows that may show differently than before, while they are worked off.
    changed: Option<Vec<u32>>,
}

/// When rows show: from, until.
type Spans = Vec<(i64, i64)>;

impl TemporalFilter {
    /// The operator that a `TemporalFilter` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<TemporalFilter> {
        let OperatorSpec::TemporalFilter { partition, from, until, project } = &spec.operator else {
            return Err(Error::internal("a temporal filter needs its specification"));
        };
        Ok(TemporalFilter {
            from: *from,
            until: *until,
            project: project.clone(),
            schema: positional_schema(&spec.output),
            rows: OrderedRows::new(partition, &[], &spec.inputs[0])?,
            before: i64::MIN,
            now: i64::MIN,
            moments: TimeIndex::default(),
            changed: None,
        })
    }

    /// When rows show; a row without one of its moments never does.
    fn spans(&self, columns: &dyn Fn(usize) -> Result<ArrayRef>, rows: usize) -> Result<Spans> {
        let mut spans = vec![(i64::MIN, i64::MAX); rows];
        if let Some(from) = self.from {
            let column = columns(from)?;
            let values = int_values(&column)?;
            for (row, span) in spans.iter_mut().enumerate() {
                span.0 = if column.is_valid(row) { values[row] } else { i64::MAX };
            }
        }
        if let Some(until) = self.until {
            let column = columns(until)?;
            let values = int_values(&column)?;
            for (row, span) in spans.iter_mut().enumerate() {
                span.1 = if column.is_valid(row) { values[row] } else { i64::MIN };
            }
        }
        Ok(spans)
    }

    fn spans_of(&self, slots: &[u32]) -> Result<Spans> {
        self.spans(&|column| self.rows.rows.gather(column, slots), slots.len())
    }

    /// Notes the moments that rows wait for.
    fn note(&mut self, slots: &[u32]) -> Result<()> {
        for (slot, (from, until)) in slots.iter().zip(self.spans_of(slots)?) {
            let next = if from > self.before { from } else { until };
            self.moments.add(next, *slot);
        }
        Ok(())
    }

    /// The rows that may show differently than before the epoch.
    fn find_changed(&mut self) -> Result<Vec<u32>> {
        let mut changed = self.rows.touched_slots().to_vec();
        changed.extend(self.moments.take_before(self.now.saturating_add(1)));
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|slot| self.rows.copies(*slot) != [0, 0]);
        Ok(changed)
    }

    /// Emits what rows show now and did not before, and the other way round; forgets those that wait for nothing more.
    fn emit(&mut self, slots: &[u32], out: &mut Output) -> Result<()> {
        let spans = self.spans_of(slots)?;
        let (mut emitted, mut ops, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, (from, until)) in slots.iter().zip(spans) {
            let [old, new] = self.rows.copies(*slot);
            let shown = |now: i64, copies: u64| if from <= now && now < until { copies } else { 0 };
            let (old, shown) = (shown(self.before, old), shown(self.now, new));
            let op: i8 = if shown > old { 1 } else { -1 };
            let times = old.abs_diff(shown) as usize;
            emitted.extend(std::iter::repeat_n(*slot, times));
            ops.extend(std::iter::repeat_n(op, times));
            let is_done = until <= self.now || until == i64::MAX && from <= self.now;
            match new {
                0 => {}
                _ if is_done => self.rows.forget(*slot),
                _ => waiting.push((*slot, if from > self.now { from } else { until })),
            }
        }
        for (slot, moment) in waiting {
            self.moments.add(moment, slot);
        }
        if !emitted.is_empty() {
            let columns = self.project.iter().map(|column| self.rows.rows.gather(*column, &emitted));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let rows = record_batch(self.schema.clone(), columns, emitted.len())?;
            out.push(ChangeBatch::new(rows, ScalarBuffer::from(ops)));
        }
        Ok(())
    }
}

impl Operator for TemporalFilter {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)?;
        // Rows of a snapshot in steps are there before any time was told.
        self.before = cx.watermark.unwrap_or(i64::MIN);
        self.now = self.before;
        self.note(&self.rows.live_rows())
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let spans = self.spans(&|column| Ok(batch.columns()[column].clone()), batch.len())?;
        let is_for_good = |(from, until): &(i64, i64)| *until == i64::MAX && *from <= self.before;
        let mask = |keep: &dyn Fn(&(i64, i64)) -> bool| {
            spans.iter().map(|span| Some(keep(span))).collect::<BooleanArray>()
        };
        let shown = batch.filter(&mask(&is_for_good))?;
        if !shown.is_empty() {
            let rows = shown.rows.project(&self.project).map_err(Error::internal)?;
            let rows = record_batch(self.schema.clone(), rows.columns().to_vec(), shown.len())?;
            out.push(ChangeBatch { rows, ops: shown.ops });
        }
        let waits = |span: &(i64, i64)| span.1 > self.before && span.0 < span.1 && !is_for_good(span);
        let waiting = batch.filter(&mask(&waits))?;
        if !waiting.is_empty() {
            self.rows.apply(&waiting)?;
        }
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.changed = Some(self.find_changed()?);
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        while let Some(mut changed) = self.changed.take() {
            if out.fuel <= 0 {
                self.changed = Some(changed);
                return Ok(Flow::Yield);
            }
            let rest = changed.split_off(changed.len().min(BATCH_ROWS));
            self.emit(&changed, out)?;
            self.changed = (!rest.is_empty()).then_some(rest);
        }
        self.rows.settle()?;
        self.before = self.now;
        Ok(Flow::Done)
    }

    fn next_deadline(&self) -> Option<i64> {
        self.moments.first()
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.moments.memory_bytes()
    }
}
