//! Rows of a partition as columns, and values of them by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, UInt32Array, new_null_array};
use arrow::compute::{is_not_null, take};
use weir_common::{Error, Result};

/// Consecutive rows of a partition, in order.
pub(super) struct Rows {
    /// All columns of the input.
    pub columns: Vec<ArrayRef>,
    pub len: usize,
    /// Whether the first of them is the first of the partition.
    pub is_from_start: bool,
}

impl Rows {
    /// A column of the rows at some places, NULL where there is none.
    pub fn take(&self, column: usize, at: &UInt32Array) -> Result<ArrayRef> {
        let values =
            self.columns.get(column).ok_or_else(|| Error::internal(format!("no column {column}")))?;
        if at.null_count() == at.len() {
            return Ok(new_null_array(values.data_type(), at.len()));
        }
        take(values, at, None).map_err(Error::internal)
    }

    /// The numbers of the rows at some places.
    pub fn numbers(&self, at: &UInt32Array) -> ArrayRef {
        Arc::new(at.iter().map(|row| row.map(i64::from)).collect::<Int64Array>())
    }

    /// The row so many rows on, if it is there.
    pub fn offset(&self, row: usize, offset: i64) -> Option<u32> {
        let row = i64::try_from(row).ok()?.checked_add(offset)?;
        usize::try_from(row).ok().filter(|row| *row < self.len).and_then(|row| u32::try_from(row).ok())
    }
}

/// Whether there is a row.
pub(super) fn presence(at: &UInt32Array) -> Result<ArrayRef> {
    Ok(Arc::new(is_not_null(at).map_err(Error::internal)?))
}

/// Which of a condition's values are true; NULL is not.
pub(super) fn truths(values: &ArrayRef) -> Result<BooleanArray> {
    let values = values.as_any().downcast_ref::<BooleanArray>();
    values.cloned().ok_or_else(|| Error::internal("a condition is not boolean"))
}
