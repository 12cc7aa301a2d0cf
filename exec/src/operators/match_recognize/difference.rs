//! What is emitted of a partition: the rows that came out before the epoch and those that come out now, without what both
//! have in common at their beginning and end. Changes are near one another most of the time, and matches before and
//! behind them stay.

use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Result};

use crate::operator::Output;
use crate::operators::BATCH_ROWS;
use crate::operators::delta::any_distinct;

/// Rows that come out of a partition.
pub(super) struct Outcome {
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
}

impl Outcome {
    fn slice(&self, from: usize, rows: usize) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| column.slice(from, rows)).collect()
    }
}

/// Takes back what came out before and emits what comes out now.
pub(super) fn emit_difference(
    schema: &SchemaRef,
    before: &Outcome,
    now: &Outcome,
    out: &mut Output,
) -> Result<()> {
    let shorter = before.rows.min(now.rows);
    let differs = any_distinct(&before.slice(0, shorter), &now.slice(0, shorter), shorter);
    let prefix = differs.set_indices().next().unwrap_or(shorter);
    let rest = shorter - prefix;
    let differs =
        any_distinct(&before.slice(before.rows - rest, rest), &now.slice(now.rows - rest, rest), rest);
    let suffix = differs.set_indices().last().map_or(rest, |last| rest - last - 1);
    for (outcome, op) in [(before, -1), (now, 1)] {
        let end = outcome.rows - suffix;
        for from in (prefix..end).step_by(BATCH_ROWS) {
            let rows = BATCH_ROWS.min(end - from);
            let columns = outcome.slice(from, rows);
            let ops = ScalarBuffer::from(vec![op; rows]);
            out.push(ChangeBatch::new(record_batch(schema.clone(), columns, rows)?, ops));
        }
    }
    Ok(())
}
