//! `OperatorSpec`: an operator of a job as plain serialisable data; `build` makes the operator.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_common::ObjectId;

use crate::expr::{Literal, ScalarExpr};

mod aggregate;
mod row_pattern;

pub use aggregate::{AggregateCall, AggregateFunction, Estimate, Fraction, Regression, ValueOrder};
pub use row_pattern::{
    AfterMatch, Logical, MatchAggregate, MatchExpr, MatchInput, Measure, Navigation, Pattern,
    PatternVariable, RowPattern, RowsPerMatch, VARIABLES_MAX, VariableSet,
};

/// Whether an input may delete rows. What the planner proved lets operators keep less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChangelogMode {
    /// Inserts only.
    AppendOnly,
    /// Inserts and deletes.
    Retract,
}

/// Which rows a join makes. A row of one side *matches* those of the other with equal keys that pass the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// Pairs, and the left rows without a match beside NULLs.
    Left,
    /// Pairs, and the right rows without a match beside NULLs.
    Right,
    /// Pairs, and the rows of both sides without a match beside NULLs.
    Full,
    /// Left rows with a match.
    Semi,
    /// Left rows without a match.
    Anti,
    /// Left rows with a boolean column: whether there is a match.
    Mark,
    /// Each left row as often as it is there, at most as often as it has matches.
    IntersectAll,
    /// Each left row as often as it is there, less its matches.
    ExceptAll,
}

impl JoinKind {
    /// Whether matching pairs are rows of the output.
    pub fn emits_pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full)
    }

    /// Left and right: whether the rows of this side show or not by the number of their matches.
    pub fn preserves(self) -> [bool; 2] {
        match self {
            JoinKind::Inner => [false, false],
            JoinKind::Right => [false, true],
            JoinKind::Full => [true, true],
            _ => [true, false],
        }
    }
}

/// A column of an ORDER BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortColumn {
    /// Position in the input.
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// How the rows of a partition are numbered in their order, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Numbering {
    /// `row_number()`: each row has a number of its own.
    Row,
    /// `rank()`: the number of the first row of its peers.
    Rank,
    /// `dense_rank()`: how many sets of peers there are up to it.
    DenseRank,
}

/// Which rows of a partition a Top-N shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowBounds {
    pub numbering: Numbering,
    /// So many rows at the beginning are left out, whatever the numbering.
    pub skip: u64,
    /// Rows with a higher number are left out.
    pub last: Option<u64>,
}

/// Which rows of the right side a row of an ASOF join may be joined with, by time. It is joined with the nearest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Nearest {
    /// `left >= right`: the latest one that is not later.
    AtOrBefore,
    /// `left > right`: the latest one that is earlier.
    Before,
    /// `left <= right`: the earliest one that is not earlier.
    AtOrAfter,
    /// `left < right`: the earliest one that is later.
    After,
}

impl Nearest {
    /// Whether rows of equal time may be joined.
    pub fn includes_equal(self) -> bool {
        matches!(self, Nearest::AtOrBefore | Nearest::AtOrAfter)
    }

    /// Whether it is an earlier row, not a later one.
    pub fn looks_back(self) -> bool {
        matches!(self, Nearest::AtOrBefore | Nearest::Before)
    }

    /// The operator between the left side's time and the right side's.
    pub fn symbol(self) -> &'static str {
        match self {
            Nearest::AtOrBefore => ">=",
            Nearest::Before => ">",
            Nearest::AtOrAfter => "<=",
            Nearest::After => "<",
        }
    }
}

/// An ASOF join: each left row beside the right row with equal keys that is nearest by time, if there is one, and with
/// `outer` beside NULLs if not. A NULL key or time matches nothing. Of right rows of the same time it is the first in
/// the order of all columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsofJoinSpec {
    pub outer: bool,
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    pub left_time: usize,
    pub right_time: usize,
    pub nearest: Nearest,
    /// The output's columns, of (left columns, right columns).
    pub project: Vec<usize>,
}

/// A lookup join: each left row beside the right rows with equal keys that are there when it comes, whatever becomes of
/// them later; with `outer` beside NULLs if there are none. A NULL key matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupJoinSpec {
    pub outer: bool,
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    pub left_mode: ChangelogMode,
    /// The output's columns, of (left columns, right columns).
    pub project: Vec<usize>,
}

/// What the offsets of a window frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FrameUnits {
    Rows,
    /// Values of the ORDER BY column.
    Range,
    /// Sets of peers.
    Groups,
}

/// An end of a window frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FrameBound {
    UnboundedPreceding,
    Preceding(Literal, DataType),
    CurrentRow,
    Following(Literal, DataType),
    UnboundedFollowing,
}

/// The rows around a row that a window function sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub units: FrameUnits,
    pub start: FrameBound,
    pub end: FrameBound,
}

/// A call of a window function, or of an aggregate over a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowCall {
    /// Name in the registry of functions.
    pub function: String,
    /// Input columns and constants.
    pub args: Vec<ScalarExpr>,
    /// `FILTER (WHERE …)`: a boolean input column.
    pub filter: Option<usize>,
    pub frame: Frame,
    pub result: DataType,
}

/// An operator of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperatorSpec {
    /// Filter, then projection; stateless.
    Calc { filter: Option<ScalarExpr>, project: Vec<ScalarExpr> },
    /// Output: group columns, then one column a call. Without group columns: always exactly one row.
    /// Also DISTINCT (no calls).
    /// With `closing`, the position of a group column, groups end when event time has passed it, and are forgotten; with
    /// `ttl` when nothing of them has come for so long. One that comes again then begins anew.
    Aggregate {
        group: Vec<usize>,
        calls: Vec<AggregateCall>,
        input_mode: ChangelogMode,
        closing: Option<usize>,
        ttl: Option<GroupTtl>,
    },
    /// Join: rows with equal keys that pass `filter` (over left columns, then right ones). A NULL key equals
    /// nothing, where `null_equal` is set NULL. Output: the columns at `project` of (left columns, right columns,
    /// mark); only a join that makes pairs has right columns, only a mark join the mark.
    HashJoin {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        null_equal: Vec<bool>,
        filter: Option<ScalarExpr>,
        project: Vec<usize>,
        left_mode: ChangelogMode,
        right_mode: ChangelogMode,
        shared: Option<Box<SharedSide>>,
        /// Of each side: when its rows are forgotten.
        closing: [Option<RowClosing>; 2],
    },
    /// All rows of all inputs (UNION ALL).
    Union,
    /// A row for each element of the lists, side by side, the shorter ones padded with NULL; stateless. A row whose
    /// lists are all empty or NULL makes none, with `outer` one beside NULLs. Output: the columns at `project` of
    /// (input columns, an element of each list).
    Unnest { lists: Vec<ScalarExpr>, outer: bool, project: Vec<usize> },
    /// The first rows of each partition in an order; rows equal in it are ordered by all their columns. Output: the
    /// input's columns at `project`, then, if `numbered`, the row's number (Int64). With `closing`, the position of a
    /// partition column, partitions end when event time has passed it, and are forgotten.
    TopN {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        bounds: RowBounds,
        project: Vec<usize>,
        numbered: bool,
        input_mode: ChangelogMode,
        closing: Option<usize>,
    },
    /// Window functions over the rows of each partition in an order; rows equal in it are ordered by all their
    /// columns. Output: the input's columns at `project`, then one column a call. Calls of `session_start` and
    /// `session_end` (all or none of them) are SESSION windows, which have an operator of their own.
    Window {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        calls: Vec<WindowCall>,
        project: Vec<usize>,
        closing: Option<usize>,
    },
    /// Each row with one more column: when its epoch was closed, a timestamp with time zone. Of rows that are only added.
    ProcTime,
    /// Leaves out rows that event time has passed in a column.
    LateFilter { column: usize, letters: Option<Letters> },
    /// Rows that show from the moment in one column until that in another, by the clock. Output: the input's columns at
    /// `project`. Rows with equal columns at `partition` are on one worker.
    TemporalFilter { partition: Vec<usize>, from: Option<usize>, until: Option<usize>, project: Vec<usize> },
    /// Holds rows back until event time has passed their column `time`, then emits them for good. Rows with equal
    /// columns at `partition` are on one worker.
    EmitOnClose { partition: Vec<usize>, time: usize },
    /// `MATCH_RECOGNIZE` over the rows of each partition.
    MatchRecognize(Box<RowPattern>),
    /// Each left row beside the right row that is nearest by time.
    AsofJoin(AsofJoinSpec),
    /// Each left row beside the right rows that are there when it comes.
    LookupJoin(LookupJoinSpec),
    /// As Calc, of a job that leaves out rows whose expressions fail.
    TolerantCalc { filter: Option<ScalarExpr>, project: Vec<ScalarExpr>, letters: Letters },
}

/// A row is forgotten when event time has come more than so far beyond a column of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowClosing {
    pub column: usize,
    pub keep_micros: i64,
}

/// A group is forgotten when time has come more than so far beyond the result of a call, which is when its last row came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTtl {
    pub call: usize,
    pub keep_micros: i64,
}

/// Where rows that are left out go, and how they are written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letters {
    /// The table that gets them.
    pub target: ObjectId,
    /// What they are rows of, where that is one relation.
    pub relation: Option<ObjectId>,
    /// Names of the operator's input columns.
    pub columns: Vec<String>,
}

/// A side of a join that keeps no rows of its own: what it has are the rows of a relation, by the columns that lead the
/// relation's key, and all joins by these columns read the same ones. Its input is fed the relation's changes alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedSide {
    /// 0 is left, 1 is right. A side of which rows show by themselves cannot be shared.
    pub side: usize,
    pub relation: ObjectId,
    /// The relation's columns that are read, by position.
    pub columns: Vec<usize>,
    /// What makes the side's input of them: a `Calc`, or nothing.
    pub calc: Option<NodeSpec>,
    /// Which of the join's keys the first columns of the relation's key are, in their order; at least one.
    pub key: Vec<usize>,
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
