//! `Accumulator`: the running results of one aggregate call, for all groups, column by column.
//!
//! A group is a dense id; accumulators hold a vector with an entry for each. They see only rows that count:
//! those that pass the call's FILTER and whose argument is not NULL. Within an epoch results may be
//! meaningless, since a delete may come before its insert; they are read between epochs only.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use weir_common::{Error, Result};

use super::bits::{BitCounts, BitFolds};
use super::bool_counts::BoolCounts;
use super::exact_moments::ExactMoments;
use super::extremum::extremum;
use super::float_moments::FloatMoments;
use super::float_sum::FloatSums;
use super::ordered_bags::OrderedBags;
use super::ordered_set::ordered_set;
use super::sum::{decimal_sums, integer_sums};
use crate::spec::{AggregateCall, AggregateFunction, ChangelogMode};

/// Rows that count for a call.
pub(super) struct Rows<'a> {
    /// The group of each row.
    pub groups: &'a [u32],
    pub times: Times<'a>,
    /// The arguments of each row; none for `count(*)`. Those that the function skips NULLs of have none.
    pub values: &'a [ArrayRef],
}

/// How often each row is there more than before.
#[derive(Clone, Copy)]
pub(super) enum Times<'a> {
    /// Once: all are inserts.
    Once,
    /// +1 or −1.
    Ops(&'a [i8]),
    /// As often as this, which may be negative.
    Counts(&'a [i64]),
}

impl<'a> Times<'a> {
    /// Of the ops of a change batch.
    pub fn of(ops: Option<&'a [i8]>) -> Times<'a> {
        ops.map_or(Times::Once, Times::Ops)
    }
}

impl Rows<'_> {
    /// The first argument column.
    pub fn values(&self) -> Result<&ArrayRef> {
        self.column(0)
    }

    /// An argument column.
    pub fn column(&self, arg: usize) -> Result<&ArrayRef> {
        self.values.get(arg).ok_or_else(|| Error::internal("an aggregate lacks an argument"))
    }

    /// Calls `visit` with (row, group, how often) of every row.
    #[inline]
    pub fn try_for_each(&self, mut visit: impl FnMut(usize, usize, i64) -> Result<()>) -> Result<()> {
        let mut rows = self.groups.iter().map(|group| *group as usize).enumerate();
        match self.times {
            Times::Once => rows.try_for_each(|(row, group)| visit(row, group, 1)),
            Times::Ops(ops) => rows.try_for_each(|(row, group)| visit(row, group, i64::from(ops[row]))),
            Times::Counts(counts) => rows.try_for_each(|(row, group)| visit(row, group, counts[row])),
        }
    }
}

/// Running results of one call.
pub(super) trait Accumulator: Send + Sync {
    /// Makes room for groups below `bound`; new ones start empty.
    fn resize(&mut self, bound: usize);

    /// Takes rows in.
    fn update(&mut self, rows: &Rows<'_>) -> Result<()>;

    /// The results of these groups.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The epoch of these groups is over: clean up what rounding left behind.
    fn settle(&mut self, _groups: &[u32]) {}

    /// Empties these groups. An accumulator of values is emptied by taking all its values back.
    fn clear(&mut self, _groups: &[u32]) {}

    /// Types of the columns that `save` makes; none where the state is just the values, see `restore_values`.
    fn state_types(&self) -> Vec<DataType> {
        Vec::new()
    }

    /// The state of these groups as columns.
    fn save(&self, _groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    /// Adds the states in columns that `save` made to those of these groups; NULL is the empty state. A restored
    /// group is empty before.
    fn merge(&mut self, _groups: &[u32], _state: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    /// Sees the values of groups again when a checkpoint is restored; for accumulators whose state is just those
    /// values.
    fn restore_values(&mut self, _rows: &Rows<'_>) -> Result<()> {
        Ok(())
    }

    /// Bytes of memory.
    fn memory_bytes(&self) -> usize;
}

/// The accumulator of a call over arguments of these types.
pub(super) fn accumulator(
    call: &AggregateCall,
    args: &[DataType],
    mode: ChangelogMode,
) -> Result<Box<dyn Accumulator>> {
    use AggregateFunction as F;
    let arg = args.first();
    let arg = || arg.ok_or_else(|| Error::internal("an aggregate other than count(*) has an argument"));
    Ok(match call.function {
        F::Count => Box::<Counts>::default(),
        F::Sum | F::Avg => sums(call, arg()?)?,
        F::Min | F::Max if mode == ChangelogMode::AppendOnly => extremum(call.function, arg()?)?,
        F::Min | F::Max => ordered_set(call.function, arg()?)?,
        F::Lowest | F::Highest => extremum(call.function, arg()?)?,
        F::BoolAnd | F::BoolOr => Box::new(BoolCounts::new(call.function)),
        F::BitXor => Box::new(BitFolds::new(call.function, arg()?)),
        F::BitAnd | F::BitOr if mode == ChangelogMode::AppendOnly => {
            Box::new(BitFolds::new(call.function, arg()?))
        }
        F::BitAnd | F::BitOr => Box::new(BitCounts::new(call.function, arg()?)),
        F::Variance(_) | F::Deviation(_) => match arg()? {
            DataType::Float32 | DataType::Float64 => Box::new(FloatMoments::new(call.function)),
            other => Box::new(ExactMoments::new(call.function, other)?),
        },
        F::Regression(_) => Box::new(FloatMoments::new(call.function)),
        F::StringAgg | F::ArrayAgg | F::JsonbAgg | F::Mode | F::PercentileCont(_) | F::PercentileDisc(_) => {
            Box::new(OrderedBags::new(call, args)?)
        }
    })
}

fn sums(call: &AggregateCall, arg: &DataType) -> Result<Box<dyn Accumulator>> {
    let average = call.function == AggregateFunction::Avg;
    match arg {
        DataType::Int16 | DataType::Int32 => Ok(integer_sums(average, &call.result)),
        DataType::Int64 if call.result == DataType::Int64 => Ok(integer_sums(average, &call.result)),
        DataType::Int64 | DataType::Decimal128(..) => decimal_sums(average, arg, &call.result),
        DataType::Float32 | DataType::Float64 => Ok(Box::new(FloatSums::new(average, &call.result))),
        other => Err(Error::internal(format!("sum of {other}"))),
    }
}

/// `count(x)`, and `count(*)` with a FILTER.
#[derive(Default)]
struct Counts(Vec<i64>);

impl Accumulator for Counts {
    fn resize(&mut self, bound: usize) {
        self.0.resize(bound, 0);
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.0[*group as usize] = 0);
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

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        merge_i64(&state[0], groups, |group, count| self.0[group] += count);
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

/// Hands every (group, value) of a saved Int64 column to `add`, NULL as 0.
pub(super) fn merge_i64(saved: &ArrayRef, groups: &[u32], mut add: impl FnMut(usize, i64)) {
    let saved = saved.as_primitive::<Int64Type>();
    for (row, group) in groups.iter().enumerate() {
        add(*group as usize, if saved.is_valid(row) { saved.value(row) } else { 0 });
    }
}
