//! `Call`: one aggregate call: which rows count for it, and where they are summed up.
//!
//! ```text
//!   rows ─ FILTER is true, arguments not NULL ─► [value counts: distinct?] ─► accumulator
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use weir_common::{ChangeBatch, Error, Result};

use super::accumulator::{Accumulator, Rows, Times, accumulator, gather_i64};
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
    args: Vec<usize>,
    /// As many of the first arguments must not be NULL for a row to count.
    not_null: usize,
    filter: Option<usize>,
    pub values: Option<ValueCounts>,
    /// Whether the accumulator is handed each value once.
    pub distinct: bool,
    pub accumulator: Box<dyn Accumulator>,
}

/// Rows as a call's input: `columns` are those that the call's positions mean.
pub(super) struct Input<'a> {
    pub columns: &'a [ArrayRef],
    /// Of a call without a FILTER column: which rows pass.
    pub filter: Option<&'a BooleanArray>,
    pub ops: Option<&'a [i8]>,
    pub rows: usize,
}

impl<'a> Input<'a> {
    /// A change batch.
    pub fn of(batch: &'a ChangeBatch) -> Input<'a> {
        Input { columns: batch.columns(), filter: None, ops: batch.ops.as_deref(), rows: batch.len() }
    }
}

impl Call {
    /// A call over an input with columns of the types `input`.
    pub fn new(call: &AggregateCall, mode: ChangelogMode, input: &[DataType]) -> Result<Call> {
        if call.function == AggregateFunction::Count && call.args.is_empty() && call.filter.is_none() {
            return Ok(Call::RowCount);
        }
        Ok(Call::Accumulated(Box::new(Accumulated::new(call, mode, input)?)))
    }

    /// Takes rows in; `groups` has the group of each.
    pub fn update(&mut self, groups: &[u32], input: &Input<'_>) -> Result<()> {
        match self {
            Call::RowCount => Ok(()),
            Call::Accumulated(call) => call.update(groups, input),
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

    /// Empties groups, all of which `is_closed` names.
    pub fn clear(&mut self, groups: &[u32], is_closed: &dyn Fn(u32) -> bool) -> Result<()> {
        let Call::Accumulated(call) = self else { return Ok(()) };
        let Accumulated { values, distinct, accumulator, .. } = call.as_mut();
        let Some(values) = values else {
            accumulator.clear(groups);
            return Ok(());
        };
        values.clear(is_closed, &mut |rows| {
            let once = vec![-1; rows.groups.len()];
            let times = if *distinct { Times::Ops(&once) } else { rows.times };
            accumulator.update(&Rows { times, ..*rows })
        })?;
        accumulator.settle(groups);
        Ok(())
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Call::RowCount => 0,
            Call::Accumulated(call) => call.memory_bytes(),
        }
    }
}

/// Groups, ops and arguments of the rows that count.
type CountingRows<'a> = (Cow<'a, [u32]>, Option<Cow<'a, [i8]>>, Vec<ArrayRef>);

impl Accumulated {
    /// A call over an input with columns of the types `input`.
    pub fn new(call: &AggregateCall, mode: ChangelogMode, input: &[DataType]) -> Result<Accumulated> {
        let args: Vec<DataType> = call.args.iter().map(|column| input[*column].clone()).collect();
        let extremum = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
        let distinct = if extremum { mode == ChangelogMode::Retract } else { call.distinct };
        let values = match call.function.is_ordered() || extremum && distinct {
            true => Some(ValueCounts::exact(&args)?),
            false if distinct && !args.is_empty() => Some(ValueCounts::new(&args)?),
            false => None,
        };
        Ok(Accumulated {
            args: call.args.clone(),
            not_null: call.function.arguments_not_null().min(args.len()),
            filter: call.filter,
            values,
            distinct,
            accumulator: accumulator(call, &args, mode)?,
        })
    }

    /// Takes rows in; `groups` has the group of each.
    pub fn update(&mut self, groups: &[u32], input: &Input<'_>) -> Result<()> {
        let (groups, ops, values) = self.counting_rows(groups, input)?;
        self.take_in(&Rows { groups: &groups, times: Times::of(ops.as_deref()), values: &values })
    }

    /// Takes in rows that count.
    pub fn take_in(&mut self, rows: &Rows<'_>) -> Result<()> {
        match &mut self.values {
            None => self.accumulator.update(rows),
            Some(counts) if self.distinct => {
                counts.update_distinct(rows, |distinct| self.accumulator.update(distinct))
            }
            Some(counts) => {
                counts.update(rows)?;
                self.accumulator.update(rows)
            }
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.accumulator.memory_bytes() + self.values.as_ref().map_or(0, ValueCounts::memory_bytes)
    }

    fn counting_rows<'a>(&self, groups: &'a [u32], input: &Input<'a>) -> Result<CountingRows<'a>> {
        let values: Vec<ArrayRef> = self.args.iter().map(|arg| input.columns[*arg].clone()).collect();
        let Some(selected) = self.selected(input, &values)? else {
            return Ok((groups.into(), input.ops.map(Cow::Borrowed), values));
        };
        let groups = selected.iter().map(|row| groups[*row as usize]).collect::<Vec<_>>();
        let ops = input.ops.map(|ops| selected.iter().map(|row| ops[*row as usize]).collect::<Vec<_>>());
        let selected = UInt32Array::from(selected);
        let values = values.iter().map(|column| take(column, &selected, None)).collect::<Result<_, _>>();
        Ok((groups.into(), ops.map(Cow::Owned), values.map_err(Error::internal)?))
    }

    /// The rows that count; `None` when all do.
    fn selected(&self, input: &Input<'_>, values: &[ArrayRef]) -> Result<Option<Vec<u32>>> {
        let nulls = values[..self.not_null].iter().filter_map(|values| values.nulls());
        let nulls: Vec<&NullBuffer> = nulls.filter(|nulls| nulls.null_count() > 0).collect();
        let not_null = |row: &usize| nulls.iter().all(|nulls| nulls.is_valid(*row));
        let rows = 0..input.rows;
        let column = self.filter.map(|filter| input.columns[filter].as_boolean_opt());
        let column = column.map(|mask| mask.ok_or_else(|| Error::internal("a FILTER column is not boolean")));
        let Some(mask) = column.transpose()?.or(input.filter) else {
            let all = nulls.is_empty();
            return Ok((!all).then(|| rows.filter(not_null).map(|row| row as u32).collect()));
        };
        let counts = |row: &usize| mask.value(*row) && mask.is_valid(*row) && not_null(row);
        Ok(Some(rows.filter(counts).map(|row| row as u32).collect()))
    }
}
