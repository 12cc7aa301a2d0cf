//! A source: `CREATE SOURCE … WITH (connector = …)`. A stream of rows from outside that is not stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_common::Column;

/// A source's columns, connector options and watermark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceDef {
    /// In the order of `SELECT *`.
    pub columns: Vec<Column>,
    /// `WITH (…)`, `connector` among them.
    pub options: BTreeMap<String, String>,
    /// `WATERMARK FOR column AS expression`.
    pub watermark: Option<WatermarkDef>,
}

/// How far event time has come, seen from a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatermarkDef {
    /// Id of the event-time column.
    pub column: u16,
    /// The expression over the source's columns, as SQL text.
    pub expression_sql: String,
    /// The most that event time advances in an epoch, in microseconds.
    pub max_jump_micros: Option<i64>,
    /// After so many microseconds without a row nobody waits for it.
    pub idle_timeout_micros: Option<i64>,
    /// The sources that wait for each other.
    pub alignment_group: Option<String>,
    /// How far it may be ahead of the last of its group, in microseconds.
    pub max_drift_micros: Option<i64>,
}

impl WatermarkDef {
    /// Of the expression alone.
    pub fn new(column: u16, expression_sql: impl Into<String>) -> WatermarkDef {
        let expression_sql = expression_sql.into();
        WatermarkDef {
            column,
            expression_sql,
            max_jump_micros: None,
            idle_timeout_micros: None,
            alignment_group: None,
            max_drift_micros: None,
        }
    }
}
