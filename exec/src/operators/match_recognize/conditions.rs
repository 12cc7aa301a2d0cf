//! `Conditions`: whether a row fulfils the DEFINE of a variable.
//!
//! A condition that reads the row itself and rows at fixed distances from it (`price < PREV(price)`) depends on the row
//! alone. It is *local*: computed once for all rows, in one go. Any other depends on the match so far ([`Tracks`]) and is
//! evaluated when the matcher asks.
//!
//! No condition is evaluated that the matcher does not ask for, as far as a user can tell: if the computation of a local
//! one fails for some row, it is evaluated row by row instead, and only a row that is asked for fails.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use weir_common::{Error, Result};

use super::rows::{Rows, presence, truths};
use super::tracks::{Tracked, Tracks};
use crate::compile::{CompiledExpr, compile};
use crate::spec::{Logical, MatchExpr, MatchInput, Navigation, PatternVariable};

/// The conditions of all variables.
pub(super) struct Conditions {
    conditions: Vec<Condition>,
    /// The match so far.
    pub tracks: Tracks,
    /// The number that the match will have.
    pub match_number: i64,
}

enum Condition {
    /// Any row.
    Always,
    Local {
        condition: Compiled,
        /// Of each row, if they could be computed.
        truths: Option<BooleanBuffer>,
    },
    Navigating(Compiled),
}

struct Compiled {
    variable: u8,
    inputs: Vec<Input>,
    expr: CompiledExpr,
}

/// A value that a condition reads.
enum Input {
    /// Of the row itself, or of one at a fixed distance.
    Near {
        column: usize,
        offset: i64,
    },
    NearPresent(i64),
    Column {
        column: usize,
        at: Tracked,
    },
    Present(Tracked),
    /// The name of the condition's own variable.
    Name(String),
    MatchNumber,
    /// Number of a tracked aggregate.
    Aggregate(usize),
}

impl Conditions {
    /// The conditions of a pattern's variables over an input with columns of these types.
    pub fn new(variables: &[PatternVariable], input: &[DataType]) -> Result<Conditions> {
        let mut compiler = Compiler { input, tracks: Tracks::default() };
        let conditions = (0..).zip(variables).map(|(variable, definition)| match &definition.define {
            None => Ok(Condition::Always),
            Some(define) => compiler.condition(variable, &definition.name, define),
        });
        let conditions = conditions.collect::<Result<_>>()?;
        Ok(Conditions { conditions, tracks: compiler.tracks, match_number: 0 })
    }

    /// Whether none of them depends on the match so far.
    pub fn are_local(&self) -> bool {
        !self.conditions.iter().any(|condition| matches!(condition, Condition::Navigating(_)))
    }

    /// Goes to other rows: computes what depends on a row alone.
    pub fn look_at(&mut self, rows: &Rows) -> Result<()> {
        let all = UInt32Array::from_iter_values(0..rows.len as u32);
        for condition in &mut self.conditions {
            if let Condition::Local { condition, truths } = condition {
                let values = condition.evaluate(rows, &all, &mut self.tracks, self.match_number);
                *truths = values.ok();
            }
        }
        self.tracks.reset()
    }

    /// Whether a variable is true of a row after the match so far.
    pub fn test(&mut self, variable: u8, row: usize, rows: &Rows) -> Result<bool> {
        let condition = match self.conditions.get(usize::from(variable)) {
            None => return Err(Error::internal("a row pattern of an unknown variable")),
            Some(Condition::Always) => return Ok(true),
            Some(Condition::Local { truths: Some(truths), .. }) => return Ok(truths.value(row)),
            Some(Condition::Local { condition, .. } | Condition::Navigating(condition)) => condition,
        };
        let at = UInt32Array::from_value(row as u32, 1);
        let values = condition.evaluate(rows, &at, &mut self.tracks, self.match_number)?;
        Ok(values.value(0))
    }
}

impl Compiled {
    /// Which of the rows at some places fulfil the condition. More than one only of a local condition.
    fn evaluate(
        &self,
        rows: &Rows,
        at: &UInt32Array,
        tracks: &mut Tracks,
        match_number: i64,
    ) -> Result<BooleanBuffer> {
        let near = |offset: i64| -> UInt32Array {
            at.values().iter().map(|row| rows.offset(*row as usize, offset)).collect()
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let tracked = |tracked: &Tracked| -> UInt32Array {
                let row = at.value(0);
                let found = tracks.row(tracked, self.variable, row);
                [found.and_then(|found| rows.offset(found as usize, tracked.offset))].into_iter().collect()
            };
            columns.push(match input {
                // A column as it is, where all rows are meant.
                Input::Near { column, offset: 0 } if at.len() == rows.len => rows.columns[*column].clone(),
                Input::Near { column, offset } => rows.take(*column, &near(*offset))?,
                Input::NearPresent(offset) => presence(&near(*offset))?,
                Input::Column { column, at } => rows.take(*column, &tracked(at))?,
                Input::Present(at) => presence(&tracked(at))?,
                Input::Name(name) => Arc::new(StringArray::from(vec![name.as_str(); at.len()])),
                Input::MatchNumber => Arc::new(Int64Array::from_value(match_number, at.len())),
                Input::Aggregate(number) => tracks.aggregate(*number, self.variable, at.value(0), rows)?,
            });
        }
        let values = truths(&self.expr.evaluate(&columns, at.len())?)?;
        Ok(match values.nulls() {
            None => values.values().clone(),
            Some(nulls) => values.values() & nulls.inner(),
        })
    }
}

struct Compiler<'a> {
    input: &'a [DataType],
    tracks: Tracks,
}

impl Compiler<'_> {
    fn condition(&mut self, variable: u8, name: &str, define: &MatchExpr) -> Result<Condition> {
        let unknown = || Error::internal("a condition reads a column that is not there");
        let types = define.inputs.iter().map(|value| value.data_type(self.input));
        let types = types.collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
        let inputs = define.inputs.iter().map(|value| self.value(variable, name, value));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let is_local =
            |input: &Input| matches!(input, Input::Near { .. } | Input::NearPresent(_) | Input::Name(_));
        let is_local = inputs.iter().all(is_local);
        let condition = Compiled { variable, expr: compile(&define.expr, &types)?, inputs };
        Ok(match is_local {
            true => Condition::Local { condition, truths: None },
            false => Condition::Navigating(condition),
        })
    }

    fn value(&mut self, variable: u8, name: &str, value: &MatchInput) -> Result<Input> {
        // The current row is the last one of its variable.
        let is_near = |at: &Navigation| at.logical == Logical::Last(0) && at.set.contains(variable);
        Ok(match value {
            MatchInput::Column { column, at } if is_near(at) => {
                Input::Near { column: *column, offset: at.offset }
            }
            MatchInput::Present(at) if is_near(at) => Input::NearPresent(at.offset),
            MatchInput::Classifier(at) if is_near(at) && at.offset == 0 => Input::Name(name.to_owned()),
            MatchInput::Column { column, at } => {
                Input::Column { column: *column, at: self.tracks.tracked(at) }
            }
            MatchInput::Present(at) => Input::Present(self.tracks.tracked(at)),
            MatchInput::Classifier(_) => {
                return Err(Error::unsupported("CLASSIFIER() of another row in DEFINE"));
            }
            MatchInput::MatchNumber => Input::MatchNumber,
            MatchInput::Aggregate(aggregate) => {
                Input::Aggregate(self.tracks.add_aggregate(aggregate, self.input)?)
            }
        })
    }
}
