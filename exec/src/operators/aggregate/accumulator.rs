//! `Accumulator`: the running results of one aggregate call, for all groups, column by column.
//!
//! A group is a dense id; accumulators hold a vector with an entry for each. They see only rows that count:
//! those that pass the call's FILTER and whose argument is not NULL. Within an epoch results may be
//! meaningless, since a delete may come before its insert; they are read between epochs only.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use weir_common::{Error, Result};

use super::extremum::extremum;
use super::float_sum::FloatSums;
use super::ordered_set::ordered_set;
use super::sum::{decimal_sums, integer_sums};
use crate::spec::{AggregateCall, AggregateFunction, ChangelogMode};

/// Rows that count for a call.
pub(super) struct Rows<'a> {
    /// The group of each row.
    pub groups: &'a [u32],
    /// +1 or −1 for each row; `None` when all are inserts.
    pub ops: Option<&'a [i8]>,
    /// The argument of each row, without NULL; `None` for `count(*)`.
    pub values: Option<&'a ArrayRef>,
}

impl Rows<'_> {
    /// The argument column.
    pub fn values(&self) -> Result<&ArrayRef> {
        self.values.ok_or_else(|| Error::internal("an aggregate other than count(*) has an argument"))
    }

    /// Calls `visit` with (row, group, ±1) of every row.
    #[inline]
    pub fn try_for_each(&self, mut visit: impl FnMut(usize, usize, i64) -> Result<()>) -> Result<()> {
        match self.ops {
            None => {
                self.groups.iter().enumerate().try_for_each(|(row, group)| visit(row, *group as usize, 1))
            }
            Some(ops) => {
                let rows = self.groups.iter().zip(ops).enumerate();
                rows.into_iter()
                    .try_for_each(|(row, (group, op))| visit(row, *group as usize, i64::from(*op)))
            }
        }
    }
}

/// Running results of one call.
pub(super) trait Accumulator: Send {
    /// Makes room for groups below `bound`; new ones start empty.
    fn resize(&mut self, bound: usize);

    /// Takes rows in.
    fn update(&mut self, rows: &Rows<'_>) -> Result<()>;

    /// The results of these groups.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The epoch of these groups is over: clean up what rounding left behind.
    fn settle(&mut self, _groups: &[u32]) {}

    /// Types of the columns that `save` makes.
    fn state_types(&self) -> Vec<DataType>;

    /// The state of these groups as columns.
    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Sets the state of these groups from the columns that `save` made; NULL is the empty state.
    fn restore(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// Sees the distinct values of groups again when a checkpoint is restored; for accumulators whose state is
    /// just those values.
    fn restore_values(&mut self, _rows: &Rows<'_>) -> Result<()> {
        Ok(())
    }

    /// Bytes of memory.
    fn memory_bytes(&self) -> usize;
}

/// The accumulator of a call over an argument of type `arg`.
pub(super) fn accumulator(
    call: &AggregateCall,
    arg: Option<&DataType>,
    mode: ChangelogMode,
) -> Result<Box<dyn Accumulator>> {
    let average = call.function == AggregateFunction::Avg;
    match (call.function, arg) {
        (AggregateFunction::Count, _) => Ok(Box::<Counts>::default()),
        (_, None) => Err(Error::internal("an aggregate other than count(*) has an argument")),
        (AggregateFunction::Sum | AggregateFunction::Avg, Some(arg)) => match arg {
            DataType::Int16 | DataType::Int32 => Ok(integer_sums(average, &call.result)),
            DataType::Int64 | DataType::Decimal128(..) => decimal_sums(average, arg, &call.result),
            DataType::Float32 | DataType::Float64 => Ok(Box::new(FloatSums::new(average, &call.result))),
            other => Err(Error::internal(format!("sum of {other}"))),
        },
        (AggregateFunction::Min | AggregateFunction::Max, Some(arg)) => match mode {
            ChangelogMode::AppendOnly => extremum(call.function, arg),
            ChangelogMode::Retract => ordered_set(call.function, arg),
        },
    }
}

/// `count(x)`, and `count(*)` with a FILTER.
#[derive(Default)]
struct Counts(Vec<i64>);

impl Accumulator for Counts {
    fn resize(&mut self, bound: usize) {
        self.0.resize(bound, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let counts = &mut self.0;
        rows.try_for_each(|_, group, op| {
            counts[group] += op;
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(gather_i64(&self.0, groups)))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn restore(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        restore_i64(&state[0], groups, |group, count| self.0[group] = count);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}

/// The entries of `groups`.
pub(super) fn gather_i64(values: &[i64], groups: &[u32]) -> Int64Array {
    groups.iter().map(|group| values[*group as usize]).collect::<Vec<_>>().into()
}

/// Hands every (group, value) of a saved Int64 column to `set`, NULL as 0.
pub(super) fn restore_i64(saved: &ArrayRef, groups: &[u32], mut set: impl FnMut(usize, i64)) {
    let saved = saved.as_primitive::<Int64Type>();
    for (row, group) in groups.iter().enumerate() {
        set(*group as usize, if saved.is_valid(row) { saved.value(row) } else { 0 });
    }
}
