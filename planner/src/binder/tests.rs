//! Tests of the binder: values of expressions and queries, run on memory tables; errors; plans; clients' queries.

mod clients;
mod errors;
mod fixture;
mod plans;
mod statements;
mod values;
