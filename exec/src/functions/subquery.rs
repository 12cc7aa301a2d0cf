//! What a scalar subquery of a continuous query checks. No SQL names these functions, only stored plans do.

use std::sync::Arc;

use arrow::array::BooleanArray;
use weir_common::{Error, SqlState, SqlType};

use super::registry::{Returns, Table};

/// `single_row(n)`: true for at most one row, else an error.
pub const SINGLE_ROW: &str = "single_row";

pub(crate) fn register(t: &mut Table) {
    t.unnamed(SINGLE_ROW, 1, Returns::Is(SqlType::Bool), |call| {
        let rows = call.int8(0);
        if (0..call.rows).any(|row| !rows.is_null(row) && rows.at(row) > 1) {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message));
        }
        Ok(Arc::new(BooleanArray::from(vec![true; call.rows])))
    });
}
