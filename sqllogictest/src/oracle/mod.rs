//! The oracle: random schemas, changes and queries, for which three answers must be the same — what a view maintains,
//! what Weir computes for the view's query now, and what PostgreSQL 15 computes for it.
//!
//! ```text
//! seed ─ scenario ─► steps ─ play ─► Weir and PostgreSQL ─ outcome ─► the same, or a failure ─ shrink ─ repro ─► .slt
//!           │ generator: expr predicate query from aggregate subquery window dml …, over types
//!           └ every statement is a tree, so that whoever shrinks needs no grammar
//! ```
//! What Weir answers with 0A000 is counted, and left out on PostgreSQL. Everything a seed decides comes from
//! its dice, so `weir-oracle --seed N` runs a scenario again.

pub mod aggregate;
pub mod circumstances;
pub mod dml;
pub mod expr;
pub mod expr_number;
pub mod expr_text;
pub mod from;
pub mod generator;
pub mod outcome;
pub mod play;
pub mod predicate;
pub mod query;
pub mod repro;
pub mod rng;
pub mod scenario;
pub mod set_function;
pub mod shrink;
pub mod subquery;
pub mod tree;
pub mod types;
pub mod window;
