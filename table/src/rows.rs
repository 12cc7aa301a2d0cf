//! Results that the session layer makes itself: SHOW, EXPLAIN. All columns are text.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use futures::StreamExt;
use weir_common::change::record_batch;
use weir_common::{Result, SqlType};
use weir_planner::OutputColumn;

use crate::outcome::{Outcome, RowsTag};
use crate::query::result_schema;

/// The columns of SHOW ALL.
pub const SHOW_ALL: [&str; 3] = ["name", "setting", "description"];
/// The columns of SHOW CREATE.
pub const SHOW_CREATE: [&str; 2] = ["name", "create_sql"];
/// The column of EXPLAIN.
pub const EXPLAIN: [&str; 1] = ["QUERY PLAN"];

/// Columns of type text with these names.
pub fn text_columns(names: &[&str]) -> Vec<OutputColumn> {
    let column = |name: &&str| OutputColumn { name: (*name).to_string(), ty: SqlType::Text, origin: None };
    names.iter().map(column).collect()
}

/// A result of these rows.
pub fn text_rows(names: &[&str], rows: Vec<Vec<String>>, tag: &'static str) -> Result<Outcome> {
    let columns = text_columns(names);
    let arrays = (0..names.len())
        .map(|i| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[i].as_str()))) as ArrayRef);
    let batch = record_batch(result_schema(&columns), arrays.collect(), rows.len())?;
    let stream = futures::stream::iter([Ok(batch)]).boxed();
    Ok(Outcome::Rows { columns, stream, tag: RowsTag::Plain(tag) })
}
