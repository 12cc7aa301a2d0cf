//! A view: `CREATE VIEW`. It has no rows of its own; the binder expands it where it is named.

use serde::{Deserialize, Serialize};
use weir_common::Column;

/// A view's columns and query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewDef {
    /// In the order of `SELECT *`.
    pub columns: Vec<Column>,
    /// The query after `AS`, as SQL text.
    pub query_sql: String,
}
