//! `Call`: one aggregate call: which rows count for it, and where they are summed up.
//!
//! ```text
//!   batch ─ FILTER is true, argument not NULL ─► [value counts: distinct?] ─► accumulator
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use weir_common::{ChangeBatch, Error, Result};

use super::accumulator::{Accumulator, Rows, accumulator, gather_i64};
use super::value_counts::ValueCounts;
use crate::spec::{AggregateCall, AggregateFunction, ChangelogMode};

/// A call and its running results for all groups.
pub(super) enum Call {
    /// `count(*)` without a FILTER: the number of rows of a group, which the operator keeps anyway.
    RowCount,
    Accumulated(Box<Accumulated>),
}

/// A call with an accumulator.
pub(super) struct Accumulated {
    arg: Option<usize>,
    filter: Option<usize>,
    pub values: Option<ValueCounts>,
    pub accumulator: Box<dyn Accumulator>,
}

impl Call {
    /// A call over an input with columns of the types `input`.
    pub fn new(call: &AggregateCall, mode: ChangelogMode, input: &[DataType]) -> Result<Call> {
        let extremum = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
        if call.arg.is_none() && call.filter.is_none() {
            return match call.function {
                AggregateFunction::Count => Ok(Call::RowCount),
                _ => Err(Error::internal("an aggregate other than count(*) has an argument")),
            };
        }
        let arg = call.arg.map(|column| &input[column]);
        let counted = if extremum { mode == ChangelogMode::Retract } else { call.distinct };
        Ok(Call::Accumulated(Box::new(Accumulated {
            arg: call.arg,
            filter: call.filter,
            values: arg.filter(|_| counted).map(ValueCounts::new).transpose()?,
            accumulator: accumulator(call, arg, mode)?,
        })))
    }

    /// Takes a batch in; `groups` has the group of each row.
    pub fn update(&mut self, groups: &[u32], batch: &ChangeBatch) -> Result<()> {
        let Call::Accumulated(call) = self else { return Ok(()) };
        let (groups, ops, values) = call.counting_rows(groups, batch)?;
        let rows = Rows { groups: &groups, ops: ops.as_deref(), values: values.as_ref() };
        match &mut call.values {
            None => call.accumulator.update(&rows),
            Some(counts) => {
                let transitions = counts.update(&rows)?;
                call.accumulator.update(&transitions.rows())
            }
        }
    }

    /// The results of these groups; `row_counts` has the rows of every group.
    pub fn evaluate(&self, groups: &[u32], row_counts: &[i64]) -> Result<ArrayRef> {
        match self {
            Call::RowCount => Ok(Arc::new(gather_i64(row_counts, groups))),
            Call::Accumulated(call) => call.accumulator.evaluate(groups),
        }
    }

    /// The call's accumulator, if it has one.
    pub fn accumulator(&self) -> Option<&dyn Accumulator> {
        match self {
            Call::RowCount => None,
            Call::Accumulated(call) => Some(call.accumulator.as_ref()),
        }
    }

    /// The call's accumulator, if it has one.
    pub fn accumulator_mut(&mut self) -> Option<&mut dyn Accumulator> {
        match self {
            Call::RowCount => None,
            Call::Accumulated(call) => Some(call.accumulator.as_mut()),
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Call::RowCount => 0,
            Call::Accumulated(call) => {
                call.accumulator.memory_bytes() + call.values.as_ref().map_or(0, ValueCounts::memory_bytes)
            }
        }
    }
}

/// Groups, ops and arguments of the rows that count.
type CountingRows<'a> = (Cow<'a, [u32]>, Option<Cow<'a, [i8]>>, Option<ArrayRef>);

impl Accumulated {
    fn counting_rows<'a>(&self, groups: &'a [u32], batch: &'a ChangeBatch) -> Result<CountingRows<'a>> {
        let values = self.arg.map(|arg| batch.columns()[arg].clone());
        let ops = batch.ops.as_deref();
        let Some(selected) = self.selected(batch, values.as_ref())? else {
            return Ok((groups.into(), ops.map(Cow::Borrowed), values));
        };
        let groups = selected.iter().map(|row| groups[*row as usize]).collect::<Vec<_>>();
        let ops = ops.map(|ops| selected.iter().map(|row| ops[*row as usize]).collect::<Vec<_>>());
        let selected = UInt32Array::from(selected);
        let values =
            values.map(|values| take(&values, &selected, None)).transpose().map_err(Error::internal)?;
        Ok((groups.into(), ops.map(Cow::Owned), values))
    }

    /// The rows that count; `None` when all do.
    fn selected(&self, batch: &ChangeBatch, values: Option<&ArrayRef>) -> Result<Option<Vec<u32>>> {
        let nulls = values.and_then(|values| values.nulls()).filter(|nulls| nulls.null_count() > 0);
        let not_null = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let rows = 0..batch.len();
        let Some(filter) = self.filter else {
            return Ok(nulls.map(|_| rows.filter(|row| not_null(*row)).map(|row| row as u32).collect()));
        };
        let mask = batch.columns()[filter].as_boolean_opt();
        let mask = mask.ok_or_else(|| Error::internal("a FILTER column is not boolean"))?;
        let counts = |row: &usize| mask.value(*row) && mask.is_valid(*row) && not_null(*row);
        Ok(Some(rows.filter(counts).map(|row| row as u32).collect()))
    }
}
