//! EXPLAIN: every stage of planning as text lines and as JSON.
//!
//! Place in the flow: the session layer calls these for `EXPLAIN (STAGE logical | stream | job, FORMAT text | json)` and
//! `EXPLAIN (STATE)`.
//! Invariant: rendering reads plans and changes nothing; the text is for people and may change, the JSON of the
//! stream plan and the job is their serde form.

mod expr;
mod job;
mod logical;
pub(crate) mod row_pattern;
mod state;
mod stream;
mod window;

pub use expr::render_expr;
pub use job::{job_json, render_job};
pub use logical::{logical_json, render_intervals, render_logical};
pub use state::{STATE_COLUMNS, render_state, state_json};
pub use stream::{render_stream, stream_json};

/// The indent of a tree's level.
fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// `[1, 2]`.
fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}
