//! `ChangeBatch`: Arrow columns plus, for each row, whether it is inserted or deleted.
//!
//! ```text
//!   columns  k: [1, 1, 2]  v: [a, b, c]        absent ops = all inserts
//!   ops         +1 -1 +1
//! ```
//! An update is a delete and an insert in one epoch, in any order and not adjacent. Every operator keeps the
//! contract Σ output deltas = Q(Σ input deltas), for any batching of its input.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{FieldRef, SchemaRef};

use crate::error::{Error, Result};

/// Rows that come (+1) and go (−1). The columns' names carry no meaning inside a job; positions do.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// The rows.
    pub rows: RecordBatch,
    /// +1 or −1 for each row; `None` when every row is an insert.
    pub ops: Option<ScalarBuffer<i8>>,
}

impl ChangeBatch {
    /// Rows that are all inserted.
    pub fn inserts(rows: RecordBatch) -> ChangeBatch {
        ChangeBatch { rows, ops: None }
    }

    /// Rows with their ops; `ops.len() == rows.num_rows()`.
    pub fn new(rows: RecordBatch, ops: ScalarBuffer<i8>) -> ChangeBatch {
        assert_eq!(rows.num_rows(), ops.len(), "an op for each row");
        let all_inserts = ops.iter().all(|op| *op > 0);
        ChangeBatch { rows, ops: (!all_inserts).then_some(ops) }
    }

    /// Rows that are all deleted.
    pub fn deletes(rows: RecordBatch) -> ChangeBatch {
        let ops = ScalarBuffer::from(vec![-1i8; rows.num_rows()]);
        ChangeBatch { rows, ops: Some(ops) }
    }

    /// What undoes these changes.
    pub fn inverse(&self) -> ChangeBatch {
        match &self.ops {
            None => ChangeBatch::deletes(self.rows.clone()),
            Some(ops) => ChangeBatch::new(self.rows.clone(), ops.iter().map(|op| -op).collect()),
        }
    }

    /// How many rows, of either op.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// +1 or −1 of row `i`.
    #[inline]
    pub fn op(&self, i: usize) -> i8 {
        self.ops.as_ref().map_or(1, |ops| ops[i])
    }

    /// The columns.
    pub fn columns(&self) -> &[ArrayRef] {
        self.rows.columns()
    }

    /// The Arrow schema.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// The same rows with other columns (same length); ops stay.
    pub fn with_columns(&self, schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<ChangeBatch> {
        Ok(ChangeBatch { rows: record_batch(schema, columns, self.len())?, ops: self.ops.clone() })
    }

    /// The rows with columns of exactly these types, where they were made for a version of the relation that had
    /// fewer columns, or more: a column that is missing at the end is NULL, one too many is left out.
    pub fn conform(&self, schema: &SchemaRef) -> Result<ChangeBatch> {
        let fits = |(column, field): (&ArrayRef, &FieldRef)| column.data_type() == field.data_type();
        if self.rows.num_columns() == schema.fields().len()
            && self.columns().iter().zip(schema.fields()).all(fits)
        {
            return Ok(self.clone());
        }
        let column = |(i, field): (usize, &FieldRef)| match self.columns().get(i) {
            Some(column) if fits((column, field)) => Ok(column.clone()),
            Some(column) if column.null_count() < column.len() => Err(Error::internal(format!(
                "column {i} is {}, not {}",
                column.data_type(),
                field.data_type()
            ))),
            _ => Ok(new_null_array(field.data_type(), self.len())),
        };
        let columns = schema.fields().iter().enumerate().map(column).collect::<Result<_>>()?;
        self.with_columns(schema.clone(), columns)
    }

    /// Only the rows where `mask` is true (NULL counts as false).
    pub fn filter(&self, mask: &BooleanArray) -> Result<ChangeBatch> {
        let rows = compute::filter_record_batch(&self.rows, mask).map_err(Error::internal)?;
        let ops = match &self.ops {
            None => None,
            Some(ops) => {
                let ops = Int8Array::new(ops.clone(), None);
                let kept = compute::filter(&ops, mask).map_err(Error::internal)?;
                Some(
                    arrow::array::AsArray::as_primitive::<arrow::datatypes::Int8Type>(&kept).values().clone(),
                )
            }
        };
        Ok(ChangeBatch { rows, ops })
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<ChangeBatch> {
        let rows = compute::take_record_batch(&self.rows, indices).map_err(Error::internal)?;
        let ops = self.ops.as_ref().map(|ops| indices.values().iter().map(|i| ops[*i as usize]).collect());
        Ok(ChangeBatch { rows, ops })
    }

    /// Rows `offset .. offset + len`, sharing memory.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> ChangeBatch {
        ChangeBatch {
            rows: self.rows.slice(offset, len),
            ops: self.ops.as_ref().map(|ops| ops.slice(offset, len)),
        }
    }

    /// Bytes of memory the batch holds alive.
    pub fn memory_size(&self) -> usize {
        self.rows.get_array_memory_size() + self.ops.as_ref().map_or(0, |ops| ops.len())
    }
}

/// A record batch of `rows` rows, which may have no column at all.
pub fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::internal)
}
