//! Output of an ASOF join: left rows beside their matches, or beside NULLs.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::buffer::ScalarBuffer;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Result};

use super::AsofJoin;
use crate::operator::Output;
use crate::operators::BATCH_ROWS;

/// Rows to emit, as slots of both sides; `NONE` where there is no match.
#[derive(Default)]
pub(super) struct Changes {
    left: Vec<u32>,
    right: Vec<u32>,
    ops: Vec<i8>,
}

impl Changes {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Adds copies of a row.
    pub fn push(&mut self, left: u32, right: u32, op: i8, copies: u64) {
        for _ in 0..copies {
            self.left.push(left);
            self.right.push(right);
            self.ops.push(op);
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        (self.left.capacity() + self.right.capacity()) * size_of::<u32>() + self.ops.capacity()
    }
}

impl AsofJoin {
    /// Emits what was found.
    pub(super) fn emit_changes(&mut self, out: &mut Output) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        for from in (0..changes.len()).step_by(BATCH_ROWS) {
            let part = from..changes.len().min(from + BATCH_ROWS);
            let rows = part.len();
            let (left, right) = (&changes.left[part.clone()], &changes.right[part.clone()]);
            let column = |column: &usize| match column.checked_sub(self.left_width()) {
                None => self.left.rows.gather(*column, left),
                Some(column) => self.right.rows.gather_found(column, right),
            };
            let columns = self.project.iter().map(column).collect::<Result<_>>()?;
            let ops = ScalarBuffer::from(changes.ops[part].to_vec());
            out.push(ChangeBatch::new(record_batch(Arc::clone(&self.schema), columns, rows)?, ops));
        }
        Ok(())
    }

    /// Emits left rows that can have no match.
    pub(super) fn emit_unmatched(&self, batch: &ChangeBatch, out: &mut Output) -> Result<()> {
        let column = |column: &usize| match column.checked_sub(self.left_width()) {
            None => Arc::clone(&batch.columns()[*column]),
            Some(column) => new_null_array(&self.right_types[column], batch.len()),
        };
        let columns: Vec<ArrayRef> = self.project.iter().map(column).collect();
        out.push(batch.with_columns(Arc::clone(&self.schema), columns)?);
        Ok(())
    }
}
