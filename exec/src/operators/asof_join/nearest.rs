//! `NearestRows`: the right side of an ASOF join that does not change any more, for queries.
//!
//! Place in the flow: a SELECT fills it with all right rows and then asks for the matches of its left rows, batch by
//! batch. The order of the rows is the operator's, so a query and a view agree on every match.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use weir_common::{ChangeBatch, Result};

use super::ordered;
use crate::operators::null_keys::split_nulls;
use crate::operators::ordered_rows::OrderedRows;
use crate::spec::Nearest;
use crate::state::NONE;

/// Right rows by key and time.
pub struct NearestRows {
    nearest: Nearest,
    /// Columns in which NULL matches nothing.
    compared: Vec<usize>,
    rows: OrderedRows,
}

impl NearestRows {
    /// No rows yet, of these types, with these key columns and this time.
    pub fn new(keys: &[usize], time: usize, nearest: Nearest, types: &[DataType]) -> Result<NearestRows> {
        let compared = keys.iter().copied().chain([time]).collect();
        Ok(NearestRows { nearest, compared, rows: ordered(keys, time, nearest, types)? })
    }

    /// Takes right rows in.
    pub fn insert(&mut self, rows: RecordBatch) -> Result<()> {
        let (rows, _) = split_nulls(ChangeBatch::inserts(rows), &self.compared)?;
        self.rows.apply(&rows)
    }

    /// The matches of left rows, as slots in `found` (overwritten), [`NONE`] where there is none.
    pub fn find(&mut self, keys: &[ArrayRef], time: &ArrayRef, found: &mut Vec<u32>) -> Result<()> {
        let includes_equal = self.nearest.includes_equal();
        let comes = |order: Ordering| order.is_gt() || (order.is_eq() && includes_equal);
        self.rows.seek([keys, std::slice::from_ref(time)], time.len(), comes, found)?;
        if let Some(nulls) = time.nulls() {
            found.iter_mut().zip(nulls.iter()).filter(|(_, valid)| !valid).for_each(|(slot, _)| *slot = NONE);
        }
        Ok(())
    }

    /// A column of the rows at these slots; NULL at [`NONE`].
    pub fn gather(&self, column: usize, found: &[u32]) -> Result<ArrayRef> {
        self.rows.rows.gather_found(column, found)
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}
