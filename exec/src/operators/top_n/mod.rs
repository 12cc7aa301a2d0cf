//! `TopN`: the first rows of each partition in an order, over changing input.
//!
//! `ORDER BY … LIMIT n OFFSET m` is a Top-N of one partition, `DISTINCT ON` one of a row a partition,
//! `row_number() OVER (PARTITION BY …) <= n` one that may show the number (Flink's deduplication and Top-N queries).
//! Rows equal in the ORDER BY are ordered by all their columns, so which of them are shown does not depend on when
//! they came, nor on restarts or the number of workers. All columns are those that the operator gets: what the query
//! does not read is dropped before.
//!
//! Rows lie in [`OrderedRows`]. At the end of an epoch each touched partition is walked once from its beginning to
//! where the shown rows end, numbering the rows as they were before the epoch and as they are now; the difference
//! is emitted (`walk.rs`). So an epoch costs each touched partition the rows it shows, and a lookup each change.
//!
//! An input that only grows cannot bring back a row that has dropped out: only the rows that are shown (and those
//! skipped before them) are kept, and a row behind them is not even stored.

#[cfg(test)]
mod tests;
mod walk;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::walk::Changes;
use super::ordered_rows::OrderedRows;
use super::{BATCH_ROWS, positional_schema};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{ChangelogMode, NodeSpec, Numbering, OperatorSpec, RowBounds};

/// The streaming Top-N operator.
pub struct TopN {
    bounds: RowBounds,
    project: Vec<usize>,
    numbered: bool,
    mode: ChangelogMode,
    schema: SchemaRef,
    rows: OrderedRows,
    /// Touched partitions that were walked already.
    walked: usize,
    /// Changes found and not emitted yet.
    changes: Changes,
}

impl TopN {
    /// The Top-N that a `TopN` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<TopN> {
        let OperatorSpec::TopN { partition, order, bounds, project, numbered, input_mode, closing } =
            &spec.operator
        else {
            return Err(Error::internal("a Top-N is built from a Top-N's specification"));
        };
        Ok(TopN {
            bounds: *bounds,
            project: project.clone(),
            numbered: *numbered,
            mode: *input_mode,
            schema: positional_schema(&spec.output),
            rows: OrderedRows::new(partition, order, &spec.inputs[0])?.closing_by(*closing),
            walked: 0,
            changes: Changes::default(),
        })
    }

    /// Of an input that only grows: the rows of a partition after which none will ever be shown, if they can be
    /// counted. Peers of the last one may be shown too where they share its number.
    fn rows_max(&self) -> Option<u64> {
        let grows = self.mode == ChangelogMode::AppendOnly;
        self.bounds.last.filter(|_| grows && self.bounds.numbering == Numbering::Row)
    }

    fn emit_changes(&mut self, out: &mut Output) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        for from in (0..changes.slots.len()).step_by(BATCH_ROWS) {
            let to = changes.slots.len().min(from + BATCH_ROWS);
            let slots = &changes.slots[from..to];
            let mut columns: Vec<ArrayRef> =
                self.project.iter().map(|c| self.rows.rows.gather(*c, slots)).collect::<Result<_>>()?;
            if self.numbered {
                columns.push(std::sync::Arc::new(Int64Array::from(changes.numbers[from..to].to_vec())));
            }
            let ops = ScalarBuffer::from(changes.ops[from..to].to_vec());
            out.push(ChangeBatch::new(record_batch(self.schema.clone(), columns, slots.len())?, ops));
        }
        Ok(())
    }
}

impl Operator for TopN {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        match self.rows_max() {
            Some(rows_max) => self.rows.apply_first(&batch, rows_max)?,
            None => self.rows.apply(&batch)?,
        }
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.rows.advance(watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        while let Some(partition) = self.rows.touched().get(self.walked).copied() {
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
            self.walk(partition);
            self.walked += 1;
            if self.changes.slots.len() >= BATCH_ROWS {
                self.emit_changes(out)?;
            }
        }
        self.emit_changes(out)?;
        self.walked = 0;
        self.rows.settle()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.changes.memory_bytes()
    }
}
