//! `MATCH_RECOGNIZE` as plain serialisable data: a row pattern, the conditions of its variables, and what is computed of a
//! match.
//!
//! Conditions and measures are expressions over [`MatchInput`]s, each a value of some row of the match or around it. So an
//! expression knows nothing of patterns: what it reads is gathered, then it is evaluated as any other.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::{AggregateCall, SortColumn};
use crate::expr::ScalarExpr;

/// Most variables of a pattern: a set of them is a word.
pub const VARIABLES_MAX: usize = 64;

/// Some variables of a pattern: one, those of a SUBSET, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VariableSet(pub u64);

impl VariableSet {
    /// All variables; what a column without a variable means.
    pub const ALL: VariableSet = VariableSet(u64::MAX);

    /// One variable.
    pub fn one(variable: u8) -> VariableSet {
        VariableSet(1 << variable)
    }

    /// Whether a variable is one of them.
    #[inline]
    pub fn contains(self, variable: u8) -> bool {
        self.0 >> variable & 1 == 1
    }
}

/// A row pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pattern {
    /// A row that the variable is true of. One that is excluded (`{- A -}`) does not show in ALL ROWS PER MATCH.
    Variable { variable: u8, is_excluded: bool },
    /// `^`: before the first row of the partition.
    Start,
    /// `$`: after the last row of the partition.
    End,
    /// One after the other; none of them is the empty pattern `()`.
    Concat(Vec<Pattern>),
    /// The first that leads to a match.
    Alternation(Vec<Pattern>),
    /// So many times, as often as possible if greedy, else as seldom as possible. Without `max` there is no limit.
    Repeat { pattern: Box<Pattern>, min: u32, max: Option<u32>, is_greedy: bool },
}

impl Pattern {
    /// Whether another pattern is a part of it.
    pub fn contains(&self, part: &Pattern) -> bool {
        self == part
            || match self {
                Pattern::Variable { .. } | Pattern::Start | Pattern::End => false,
                Pattern::Concat(parts) | Pattern::Alternation(parts) => {
                    parts.iter().any(|one| one.contains(part))
                }
                Pattern::Repeat { pattern, .. } => pattern.contains(part),
            }
    }
}

/// A row among those of a match that are mapped to some variables, counted from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Logical {
    /// `FIRST(x, n)`
    First(u32),
    /// `LAST(x, n)`; `A.x` is `LAST(A.x, 0)`.
    Last(u32),
}

/// Which row a value is of: a row of the match, then so many rows of the partition on (`NEXT`) or back (`PREV`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Navigation {
    pub set: VariableSet,
    pub logical: Logical,
    pub offset: i64,
    /// Whether all rows of the match count (`FINAL`), or those up to the current one (`RUNNING`).
    pub is_final: bool,
}

impl Navigation {
    /// `A.x`.
    pub fn last(set: VariableSet) -> Navigation {
        Navigation { set, logical: Logical::Last(0), offset: 0, is_final: false }
    }
}

/// A value that a condition or measure reads. It is NULL where the row is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MatchInput {
    /// A column of the input.
    Column {
        column: usize,
        at: Navigation,
    },
    /// Whether the row is there.
    Present(Navigation),
    /// The name of the variable that the row is mapped to: `CLASSIFIER()`.
    Classifier(Navigation),
    /// Matches of a partition are counted from 1.
    MatchNumber,
    Aggregate(Box<MatchAggregate>),
}

/// An aggregate over the rows of a match that are mapped to some variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchAggregate {
    /// Its positions are those of `args`.
    pub call: AggregateCall,
    /// Columns of the input that `args` read.
    pub reads: Vec<usize>,
    /// Over those columns and, after them, a number that orders rows as they are in the partition (Int64), and the name of
    /// the variable that the row is mapped to (Utf8).
    pub args: Vec<ScalarExpr>,
    pub set: VariableSet,
    pub is_final: bool,
    /// The type that the result is cast to.
    pub result: DataType,
}

/// An expression over values of a match: its columns are `inputs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchExpr {
    pub inputs: Vec<MatchInput>,
    pub expr: ScalarExpr,
}

/// A variable of a pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternVariable {
    pub name: String,
    /// What a row fulfils that is mapped to it; any row if there is none.
    pub define: Option<MatchExpr>,
}

/// Where the next match may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AfterMatch {
    PastLastRow,
    ToNextRow,
    ToFirst(VariableSet),
    ToLast(VariableSet),
}

/// Which rows come out of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RowsPerMatch {
    One,
    /// All that are not excluded. An empty match is the row that it is before; with `unmatched` rows in no match come too,
    /// beside NULLs.
    All {
        empty: bool,
        unmatched: bool,
    },
}

/// A value computed for each output row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    pub name: String,
    pub value: MatchExpr,
    pub ty: DataType,
}

/// `MATCH_RECOGNIZE`. Output: the input's columns at `project`, then the measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowPattern {
    pub partition: Vec<usize>,
    /// Rows that are equal in it are ordered by all their columns.
    pub order: Vec<SortColumn>,
    pub pattern: Pattern,
    pub variables: Vec<PatternVariable>,
    /// `WITHIN`, in microseconds: the time from the first row to the last is shorter. The time is the first column of
    /// `order`.
    pub within_micros: Option<i64>,
    pub after_match: AfterMatch,
    pub rows: RowsPerMatch,
    pub project: Vec<usize>,
    pub measures: Vec<Measure>,
}

impl RowPattern {
    /// All expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &MatchExpr> {
        let defines = self.variables.iter().filter_map(|variable| variable.define.as_ref());
        defines.chain(self.measures.iter().map(|measure| &measure.value))
    }

    /// The time that rows are ordered by first: earlier ones first, those without a time last.
    pub fn time(&self, input: &[DataType]) -> Option<usize> {
        let first = self.order.first().filter(|key| !key.descending && !key.nulls_first)?;
        matches!(input.get(first.column)?, DataType::Timestamp(..)).then_some(first.column)
    }

    /// How long after the first row of an attempt no row that comes is looked at: `WITHIN`, if rows behind a match do not
    /// matter.
    pub fn over_after_micros(&self) -> Option<i64> {
        self.within_micros.filter(|_| self.margins().1 == 0 && !self.pattern.contains(&Pattern::End))
    }

    /// How many rows before and after the rows of a match are read.
    pub fn margins(&self) -> (usize, usize) {
        let offsets = self.expressions().flat_map(|expr| &expr.inputs).filter_map(MatchInput::navigation);
        offsets.fold((0, 0), |(back, on), at| {
            let rows = usize::try_from(at.offset.unsigned_abs()).unwrap_or(usize::MAX);
            if at.offset < 0 { (back.max(rows), on) } else { (back, on.max(rows)) }
        })
    }
}

impl MatchInput {
    /// Where its value is from, if it is one row's.
    pub fn navigation(&self) -> Option<&Navigation> {
        match self {
            MatchInput::Column { at, .. } | MatchInput::Present(at) | MatchInput::Classifier(at) => Some(at),
            MatchInput::MatchNumber | MatchInput::Aggregate(_) => None,
        }
    }

    /// The type of its values, over an input with columns of these types.
    pub fn data_type(&self, input: &[DataType]) -> Option<DataType> {
        match self {
            MatchInput::Column { column, .. } => input.get(*column).cloned(),
            MatchInput::Present(_) => Some(DataType::Boolean),
            MatchInput::Classifier(_) => Some(DataType::Utf8),
            MatchInput::MatchNumber => Some(DataType::Int64),
            MatchInput::Aggregate(aggregate) => Some(aggregate.result.clone()),
        }
    }
}
