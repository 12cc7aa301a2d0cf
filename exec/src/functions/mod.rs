//! PostgreSQL's operators, casts, scalar functions, aggregates and window functions.
//!
//! The binder asks here what `a + b`, `f(x)` or `x::t` means for given SQL types ([`resolve_operator`],
//! [`resolve_function`], [`resolve_cast`], [`resolve_aggregate`], [`resolve_window`]) and gets a DataFusion
//! UDF, the types its arguments must be cast to first, and the SQL type of the result. A stored plan names
//! UDFs; [`by_name`] finds them again.
//!
//! Files: `resolve` is PostgreSQL's overload resolution over the table in `registry`; `coerce` knows type
//! categories and implicit casts; `call` and `kernels` are the frame every function runs in; each family of
//! functions is a file or folder that registers its overloads.
//!
//! Invariants: a UDF is determined by its name and the Arrow types of its arguments; functions check overflow
//! and never wrap; a function sees exactly the argument types it was resolved with, nothing is coerced later.

mod any_text;
mod array;
mod array_text;
mod bytes;
mod call;
mod canonical;
mod cast;
mod coerce;
mod compare;
mod counting;
mod datetime;
mod datetime_arithmetic;
mod datetime_fields;
mod float;
mod float_extreme;
mod float_frame;
mod format;
mod incremental;
mod integer;
mod json;
pub(crate) mod json_build;
mod json_sets;
mod kernels;
mod numeric;
mod ordered;
mod regex;
mod registry;
mod resolve;
mod series;
pub(crate) mod session_window;
mod string;
mod string_search;
mod subquery;
mod sum_avg;
mod time_template;
mod time_window;
mod to_char;
mod to_date;
mod type_code;
mod uuid;

pub mod aggregate;
pub mod window;

pub use aggregate::{least, resolve_aggregate};
pub use array::{ARRAY_CONTAINS, MAKE_ARRAY};
pub use canonical::{CANONICAL, holds_interval};
pub use cast::resolve_cast;
pub use coerce::common_type;
pub use compare::JSONB_SORT_KEY;
pub(crate) use datetime_arithmetic::between;
pub use datetime_fields::resolve_extract;
pub use incremental::Incremental;
pub use ordered::{ordered_set, resolve_ordered};
pub use registry::{by_name, is_list_maker, is_set_function, registry};
pub use resolve::{resolve_call, resolve_function, resolve_operator};
pub use series::ORDINALS;
pub use session_window::SESSION_END;
pub use session_window::SessionBound;
pub use subquery::SINGLE_ROW;
pub use time_window::{CUMULATE_ENDS, EPOCH_NOW, HOP_STARTS, PROCTIME, TUMBLE_START, length_micros};
pub use window::{resolve_window, window_function};

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, Operator, ScalarUDF, WindowFunctionDefinition};
use weir_common::SqlType;

/// What evaluates a resolved function.
#[derive(Clone, Debug)]
pub enum FunctionKind {
    /// A call of this UDF.
    Udf(Arc<ScalarUDF>),
    /// A comparison that Arrow's own kernels do as PostgreSQL does, on equal Arrow types.
    Native(Operator),
}

/// A function or operator chosen for given argument types.
#[derive(Clone, Debug)]
pub struct ResolvedFunction {
    pub kind: FunctionKind,
    /// The type each argument must be cast to first, with an implicit cast.
    pub arg_types: Vec<SqlType>,
    pub result: SqlType,
    /// NULL for any NULL argument.
    pub strict: bool,
    /// May differ between two calls with the same arguments; must not be folded.
    pub volatile: bool,
}

/// Where a cast is asked for; decides which casts are allowed (PostgreSQL's `pg_cast.castcontext`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastContext {
    /// In an expression.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// `CAST(x AS t)`, `x::t`.
    Explicit,
}

/// How a cast is done.
#[derive(Clone, Debug)]
pub enum CastKind {
    /// The representation is the same already.
    NoOp,
    /// Arrow's lossless cast to the target's Arrow type.
    Arrow,
    /// A call of this UDF with the value as only argument.
    Udf(Arc<ScalarUDF>),
}

/// An aggregate chosen for given argument types.
#[derive(Clone, Debug)]
pub struct ResolvedAggregate {
    pub udaf: Arc<AggregateUDF>,
    /// The type each argument must be cast to first.
    pub arg_types: Vec<SqlType>,
    pub result: SqlType,
}

/// A window function chosen for given argument types.
#[derive(Clone, Debug)]
pub struct ResolvedWindow {
    pub function: WindowFunctionDefinition,
    /// The type each argument must be cast to first.
    pub arg_types: Vec<SqlType>,
    pub result: SqlType,
}

/// Fills the table of overloads.
fn register_families(table: &mut registry::Table) {
    compare::register(table);
    integer::register(table);
    float::register(table);
    numeric::register(table);
    datetime_arithmetic::register(table);
    datetime_fields::register(table);
    datetime::register(table);
    to_char::register(table);
    to_date::register(table);
    string::register(table);
    string_search::register(table);
    regex::register(table);
    format::register(table);
    bytes::register(table);
    array::register(table);
    canonical::register(table);
    array_text::register(table);
    json::register(table);
    json_build::register(table);
    uuid::register(table);
    subquery::register(table);
    series::register(table);
    json_sets::register(table);
    time_window::register(table);
}

#[cfg(test)]
mod tests;
