//! `Window`: window functions over the ordered rows of each partition, over changing input.
//!
//! Rows lie in [`OrderedRows`]. At the end of an epoch each touched partition is evaluated twice, by DataFusion's own
//! window expressions as in a SELECT: over its rows as they were before the epoch and as they are now (`evaluate.rs`).
//! Rows whose results differ, or that came or went, are emitted.
//!
//! ```text
//!   list of a partition  r1 r2 r3 r4     r3 is new: before = [r1 r2 r4], now = [r1 r2 r3 r4]
//!   row_number before     1  2     3     paired row by row: r4 has another number
//!   row_number now        1  2  3  4     → −(r4, 3) +(r4, 4) +(r3, 3)
//! ```
//! So no result is kept: state is the input's rows. The results of before are those that were emitted, bit for bit,
//! since an evaluation depends on the rows of a partition alone, in a total order. The price is that an epoch costs
//! each touched partition all its rows: partitions should be small, or change seldom. Only where every function looks
//! at a limited number of rows around a row (`lag`, `ROWS 10 PRECEDING`), are the neighbours of changes evaluated
//! alone (`views.rs`).

mod evaluate;
#[cfg(test)]
mod tests;
mod views;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::evaluate::Evaluator;
use self::views::{View, Views};
use super::delta::{any_distinct, spliced};
use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec};

/// The streaming operator of window functions.
pub struct Window {
    project: Vec<usize>,
    schema: SchemaRef,
    evaluator: Evaluator,
    rows: OrderedRows,
    /// Touched partitions that were emitted already.
    emitted: usize,
}

impl Window {
    /// The operator that a `Window` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<Window> {
        let OperatorSpec::Window { partition, order, calls, project, closing } = &spec.operator else {
            return Err(Error::internal("a window is built from a window's specification"));
        };
        Ok(Window {
            project: project.clone(),
            schema: positional_schema(&spec.output),
            evaluator: Evaluator::new(calls, order, &spec.inputs[0])?,
            rows: OrderedRows::new(partition, order, &spec.inputs[0])?.closing_by(*closing),
            emitted: 0,
        })
    }

    /// The next touched partitions, as many as make a batch.
    fn next_views(&mut self) -> Views {
        let mut views = Views::default();
        while let Some(partition) = self.rows.touched().get(self.emitted) {
            views.add(&self.rows, *partition, self.evaluator.reach);
            self.emitted += 1;
            if views.before.slots.len() + views.now.slots.len() >= BATCH_ROWS {
                break;
            }
        }
        views
    }

    fn emit(&self, views: Views, out: &mut Output) -> Result<()> {
        let before = self.evaluator.evaluate(&self.rows.rows, &views.before.slots, &views.before.ends)?;
        let now = self.evaluator.evaluate(&self.rows.rows, &views.now.slots, &views.now.ends)?;
        let Views { pairs: [old, new], mut deletes, mut inserts, .. } = views;
        let (old, new) = (UInt32Array::from(old), UInt32Array::from(new));
        let differs = any_distinct(&taken(&before, &old)?, &taken(&now, &new)?, old.len());
        for pair in differs.set_indices() {
            deletes.push(old.value(pair));
            inserts.push(new.value(pair));
        }
        let rows_max = BATCH_ROWS / 2;
        for from in (0..deletes.len().max(inserts.len())).step_by(rows_max) {
            let part = |places: &[u32]| {
                UInt32Array::from(places[from.min(places.len())..places.len().min(from + rows_max)].to_vec())
            };
            let (deletes, inserts) = (part(&deletes), part(&inserts));
            let slot = |view: &View, at: &u32| view.slots[*at as usize];
            let slots: Vec<u32> = deletes.values().iter().map(|at| slot(&views.before, at)).collect();
            let slots: Vec<u32> =
                slots.into_iter().chain(inserts.values().iter().map(|at| slot(&views.now, at))).collect();
            let mut columns: Vec<ArrayRef> =
                self.project.iter().map(|c| self.rows.rows.gather(*c, &slots)).collect::<Result<_>>()?;
            for (before, now) in before.iter().zip(&now) {
                columns.push(spliced(before, &deletes, now, &inserts)?);
            }
            let ops: ScalarBuffer<i8> =
                (0..slots.len()).map(|row| if row < deletes.len() { -1 } else { 1 }).collect();
            out.push(ChangeBatch::new(record_batch(self.schema.clone(), columns, slots.len())?, ops));
        }
        Ok(())
    }
}

fn taken(columns: &[ArrayRef], places: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| take(column, places, None).map_err(Error::internal)).collect()
}

impl Operator for Window {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        self.rows.apply(&batch)?;
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.rows.advance(watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        while self.emitted < self.rows.touched().len() {
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
            let views = self.next_views();
            self.emit(views, out)?;
        }
        self.emitted = 0;
        self.rows.settle()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}
