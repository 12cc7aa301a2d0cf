//! What computes: PostgreSQL's scalar functions and the streaming operators.
//!
//! Place in the flow: below the runtime (which hosts operators) and the planner (which resolves functions here
//! and writes operator specifications), above storage and common. Two halves:
//!
//! - [`functions`]: operators, casts, functions and aggregates with PostgreSQL's names, types, results and
//!   errors, as DataFusion UDFs; [`expr`] is an expression as data, [`compile`] makes it run.
//! - [`event_time`]: watermarks as data;
//! - [`operator`]: the contract of a streaming operator; [`spec`] is an operator as data.
//!
//! Invariants: no thread, no I/O, no clock; everything is a function of its arguments and state.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod build;
pub mod compile;
pub mod error;
pub mod event_time;
pub mod expr;
pub mod functions;
pub mod operator;
pub mod operators;
pub mod rejected;
pub mod spec;
pub mod state;
pub mod testing;
