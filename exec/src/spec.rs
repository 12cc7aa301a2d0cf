//! `OperatorSpec`: an operator of a job as plain serialisable data; `build` makes the operator.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::expr::ScalarExpr;

/// What an aggregate call computes. The argument's type is the input column's; the result's is in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// `count(*)`; with an argument, of its non-NULL values. Int64.
    Count,
    /// int2/int4 → Int64; int8 → Decimal128(38,0); float → Float64 (float4 → Float32); decimal(s) → decimal(s).
    /// NULL over no value.
    Sum,
    /// Integers and decimals → Decimal128(38,20) rounded half away from zero; floats → Float64.
    Avg,
    Min,
    Max,
}

/// One aggregate call over an input column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Input column; `None` for `count(*)`.
    pub arg: Option<usize>,
    /// `FILTER (WHERE …)`: a boolean input column.
    pub filter: Option<usize>,
    pub distinct: bool,
    pub result: DataType,
}

/// Whether an input may delete rows. What the planner proved lets operators keep less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChangelogMode {
    /// Inserts only.
    AppendOnly,
    /// Inserts and deletes.
    Retract,
}

/// An operator of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperatorSpec {
    /// Filter, then projection; stateless.
    Calc { filter: Option<ScalarExpr>, project: Vec<ScalarExpr> },
    /// Output: group columns, then one column a call. Without group columns: always exactly one row.
    /// Also DISTINCT (no calls).
    Aggregate { group: Vec<usize>, calls: Vec<AggregateCall>, input_mode: ChangelogMode },
    /// Inner equi-join: rows with equal, non-NULL keys that pass `filter` (over left columns, then right ones).
    /// Output: the columns at `project` of (left columns, then right columns).
    HashJoin {
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        filter: Option<ScalarExpr>,
        project: Vec<usize>,
        left_mode: ChangelogMode,
        right_mode: ChangelogMode,
    },
    /// All rows of all inputs (UNION ALL).
    Union,
}

/// An operator with the types around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub operator: OperatorSpec,
    /// Column types of each input.
    pub inputs: Vec<Vec<DataType>>,
    /// Column types of the output.
    pub output: Vec<DataType>,
}
