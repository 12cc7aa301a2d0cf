//! A materialized view: `CREATE MATERIALIZED VIEW`. Its rows are stored and kept up to date by a job that has
//! the view's number.

use serde::{Deserialize, Serialize};
use weir_common::RelationSchema;

/// A materialized view's columns, query and plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaterializedViewDef {
    /// Columns and stream key.
    pub schema: RelationSchema,
    /// The query after `AS`, as SQL text.
    pub query_sql: String,
    /// What it does with event time, as SQL text: `WITH (allowed_lateness = …)` before the query, and what stands behind
    /// it; empty when nothing.
    pub options_sql: String,
    pub emission_sql: String,
    /// Ids of the columns that have a watermark.
    pub watermarks: Vec<u16>,
    /// Whether its rows become ever more as long as the job runs.
    pub grows: bool,
    /// The encoded job graph; opaque here.
    pub plan: Vec<u8>,
}
