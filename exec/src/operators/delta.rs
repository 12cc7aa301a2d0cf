//! The difference of two columnar results, for operators that compare what they emitted with what holds now.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat, take};
use weir_common::{Error, Result};

/// `old` at `deletes`, then `new` at `inserts`.
pub(super) fn spliced(
    old: &ArrayRef,
    deletes: &UInt32Array,
    new: &ArrayRef,
    inserts: &UInt32Array,
) -> Result<ArrayRef> {
    let new = take(new, inserts, None).map_err(Error::internal)?;
    if deletes.is_empty() {
        return Ok(new);
    }
    let old = take(old, deletes, None).map_err(Error::internal)?;
    concat(&[&old, &new]).map_err(Error::internal)
}

/// Which rows differ in some column. Columns of a type without comparison count as different.
pub(super) fn any_distinct(old: &[ArrayRef], new: &[ArrayRef], rows: usize) -> BooleanBuffer {
    let mut differs = BooleanBuffer::new_unset(rows);
    for (old, new) in old.iter().zip(new) {
        let column =
            distinct(old, new).map_or(BooleanBuffer::new_set(rows), |column| column.values().clone());
        differs = &differs | &column;
    }
    differs
}
