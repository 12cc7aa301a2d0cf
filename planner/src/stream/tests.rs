//! Plan snapshots: what a dozen queries become, and the error of each construct that has no streaming form.
//!
//! Most plans are built with DataFusion's builder over our relations, so that these tests stand on rules and
//! lowering alone; [`sql`] goes the whole way from the text.

mod aggregates;
mod fixture;
mod job;
mod ordered;
mod snapshots;
mod sql;
mod state;
mod temporal_joins;
mod time_windows;
mod unsupported;
