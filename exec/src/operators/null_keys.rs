//! Rows that cannot match because a column that is compared is NULL: joins take them apart before anything else.

use arrow::array::{Array, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::not;
use weir_common::{ChangeBatch, Error, Result};

/// The rows that can match, and those that cannot: NULL equals nothing in these key columns.
pub(super) fn split_nulls(batch: ChangeBatch, keys: &[usize]) -> Result<(ChangeBatch, Option<ChangeBatch>)> {
    let nulls = |column: &usize| batch.columns()[*column].nulls().filter(|nulls| nulls.null_count() > 0);
    let valid = keys.iter().filter_map(nulls).map(|nulls| nulls.inner().clone());
    let Some(mask) = valid.reduce(|a: BooleanBuffer, b| &a & &b) else { return Ok((batch, None)) };
    let mask = BooleanArray::new(mask, None);
    let unmatched = batch.filter(&not(&mask).map_err(Error::internal)?)?;
    Ok((batch.filter(&mask)?, Some(unmatched)))
}
