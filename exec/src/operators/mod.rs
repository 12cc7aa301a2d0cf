//! The streaming operators, one file or folder each.
//!
//! Place in the flow: `build` makes them from an `OperatorSpec`, the runtime hosts them. Each keeps the
//! contract Σ output deltas = Q(Σ input deltas) for any batching of its inputs, in any order within an epoch:
//! a delete may come before the insert it cancels. State is in memory (`crate::state`) and is written, as far
//! as it is dirty, at checkpoints.

pub mod aggregate;
pub mod asof_join;
pub mod calc;
mod checkpoint;
#[cfg(test)]
mod closing_tests;
mod delta;
pub mod emit_on_close;
pub mod hash_join;
pub mod late_filter;
pub mod lookup_join;
pub mod match_recognize;
mod null_keys;
mod ordered_rows;
pub mod proc_time;
pub mod session;
pub mod temporal_filter;
pub mod tolerant_calc;
pub mod top_n;
pub mod union;
pub mod unnest;
pub mod window;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Most rows of a batch that an operator emits.
pub const BATCH_ROWS: usize = 8192;

/// The schema of a batch inside a job: positions are what counts, names carry no meaning.
pub(crate) fn positional_schema(types: &[DataType]) -> SchemaRef {
    let field = |(i, ty): (usize, &DataType)| Field::new(format!("c{i}"), ty.clone(), true);
    Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}
