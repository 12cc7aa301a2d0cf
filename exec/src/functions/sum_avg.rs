//! `sum` and `avg`: exact, checked, and equal to what the streaming Aggregate computes.
//!
//! Integers and numerics add up in 128 bits, floats in double precision. The state of a partial aggregation is
//! (sum, count); with DISTINCT it is the list of distinct values.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use weir_common::text::numeric::LIMIT;
use weir_common::{Error, Result};

use super::call::decimals;
use super::float_frame::FloatFrame;
use super::numeric::divide;
use crate::error::into_datafusion;

/// `sum`.
pub fn sum_udaf() -> Arc<AggregateUDF> {
    static UDAF: LazyLock<Arc<AggregateUDF>> =
        LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(SumOrAvg::new(What::Sum))));
    UDAF.clone()
}

/// `avg`.
pub fn avg_udaf() -> Arc<AggregateUDF> {
    static UDAF: LazyLock<Arc<AggregateUDF>> =
        LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(SumOrAvg::new(What::Avg))));
    UDAF.clone()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Sum,
    Avg,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumOrAvg {
    what: What,
    signature: Signature,
}

impl SumOrAvg {
    fn new(what: What) -> SumOrAvg {
        SumOrAvg { what, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for SumOrAvg {
    fn name(&self) -> &str {
        match self.what {
            What::Sum => "sum",
            What::Avg => "avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(match (self.what, &arg_types[0]) {
            (What::Sum, DataType::Int16 | DataType::Int32) => DataType::Int64,
            (What::Sum, DataType::Int64) => DataType::Decimal128(38, 0),
            (What::Sum, DataType::Decimal128(_, scale)) => DataType::Decimal128(38, *scale),
            (What::Sum, other) => other.clone(),
            (What::Avg, DataType::Float32 | DataType::Float64) => DataType::Float64,
            (What::Avg, _) => DataType::Decimal128(38, 20),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        let finish = Finish { what: self.what, scale: scale_of(input), result: args.return_type().clone() };
        if args.is_distinct {
            return Ok(Box::new(DistinctTotal { finish, input: input.clone(), values: HashSet::new() }));
        }
        Ok(if input.is_floating() {
            Box::new(RunningTotal { finish, sum: 0f64, count: 0 })
        } else {
            Box::new(RunningTotal { finish, sum: 0i128, count: 0 })
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DataFusionResult<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type();
        if args.is_distinct {
            let list = DataType::List(Arc::new(Field::new_list_field(input.clone(), true)));
            return Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), list, true))]);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[sum]", args.name), sum_type(input), true)),
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        let input = args.expr_fields[0].data_type();
        let finish = Finish { what: self.what, scale: scale_of(input), result: args.return_type().clone() };
        Ok(if input.is_floating() {
            Box::new(GroupTotals::<f64> { finish, sums: Vec::new(), counts: Vec::new() })
        } else {
            Box::new(GroupTotals::<i128> { finish, sums: Vec::new(), counts: Vec::new() })
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        if !input.is_floating() || args.is_distinct {
            return self.accumulator(args);
        }
        let finish = Finish { what: self.what, scale: 0, result: args.return_type().clone() };
        Ok(Box::new(FloatFrame::new(finish)))
    }
}

fn scale_of(ty: &DataType) -> i8 {
    match ty {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn sum_type(input: &DataType) -> DataType {
    if input.is_floating() { DataType::Float64 } else { DataType::Decimal128(38, scale_of(input)) }
}

/// A running sum.
pub(super) trait Total: Copy + Default + Send + Sync + 'static {
    /// Adds or (`sign` −1) takes away a value.
    fn add(&mut self, value: Self, sign: i64) -> Result<()>;
    /// The values of an input column, widened.
    fn widen(column: &ArrayRef) -> Vec<Self>;
    /// Sums as a column of the state.
    fn store(sums: Vec<Self>, scale: i8) -> ArrayRef;
    /// What `store` stored.
    fn load(column: &ArrayRef) -> Vec<Self>;
    /// The results, NULL where nothing was counted.
    fn results(sums: &[Self], counts: &[i64], finish: &Finish) -> Result<ArrayRef>;
}

/// What becomes of a sum at the end.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    pub what: What,
    pub scale: i8,
    pub result: DataType,
}

fn counted(counts: &[i64]) -> NullBuffer {
    counts.iter().map(|count| *count > 0).collect::<Vec<bool>>().into()
}

impl Total for i128 {
    fn add(&mut self, value: i128, sign: i64) -> Result<()> {
        let sum = self.checked_add(value * i128::from(sign));
        *self = sum.ok_or_else(|| Error::out_of_range("numeric"))?;
        Ok(())
    }

    fn widen(column: &ArrayRef) -> Vec<i128> {
        match column.data_type() {
            DataType::Int16 => {
                column.as_primitive::<Int16Type>().values().iter().map(|v| i128::from(*v)).collect()
            }
            DataType::Int32 => {
                column.as_primitive::<Int32Type>().values().iter().map(|v| i128::from(*v)).collect()
            }
            DataType::Int64 => {
                column.as_primitive::<Int64Type>().values().iter().map(|v| i128::from(*v)).collect()
            }
            _ => column.as_primitive::<Decimal128Type>().values().to_vec(),
        }
    }

    fn store(sums: Vec<i128>, scale: i8) -> ArrayRef {
        decimals(sums, None, scale)
    }

    fn load(column: &ArrayRef) -> Vec<i128> {
        column.as_primitive::<Decimal128Type>().values().to_vec()
    }

    fn results(sums: &[i128], counts: &[i64], finish: &Finish) -> Result<ArrayRef> {
        let rows = || sums.iter().zip(counts);
        let nulls = Some(counted(counts));
        match (finish.what, &finish.result) {
            (What::Avg, _) => {
                let values: Result<Vec<i128>> = rows()
                    .map(|(sum, count)| {
                        if *count == 0 {
                            Ok(0)
                        } else {
                            divide(*sum, i128::from(*count), i32::from(20 - finish.scale))
                        }
                    })
                    .collect();
                Ok(decimals(values?, nulls, 20))
            }
            (What::Sum, DataType::Int64) => {
                let values: Result<Vec<i64>> = sums
                    .iter()
                    .map(|sum| i64::try_from(*sum).map_err(|_| Error::out_of_range("bigint")))
                    .collect();
                Ok(Arc::new(Int64Array::new(values?.into(), nulls)))
            }
            (What::Sum, _) => {
                if sums.iter().any(|sum| sum.unsigned_abs() >= LIMIT.unsigned_abs()) {
                    return Err(Error::out_of_range("numeric"));
                }
                Ok(decimals(sums.to_vec(), nulls, finish.scale))
            }
        }
    }
}

impl Total for f64 {
    fn add(&mut self, value: f64, sign: i64) -> Result<()> {
        *self += value * sign as f64;
        Ok(())
    }

    fn widen(column: &ArrayRef) -> Vec<f64> {
        match column.data_type() {
            DataType::Float32 => {
                column.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()
            }
            _ => column.as_primitive::<Float64Type>().values().to_vec(),
        }
    }

    fn store(sums: Vec<f64>, _scale: i8) -> ArrayRef {
        Arc::new(PrimitiveArray::<Float64Type>::new(sums.into(), None))
    }

    fn load(column: &ArrayRef) -> Vec<f64> {
        column.as_primitive::<Float64Type>().values().to_vec()
    }

    fn results(sums: &[f64], counts: &[i64], finish: &Finish) -> Result<ArrayRef> {
        let nulls = Some(counted(counts));
        Ok(match (finish.what, &finish.result) {
            (What::Avg, _) => {
                let means: Vec<f64> =
                    sums.iter().zip(counts).map(|(sum, count)| sum / (*count).max(1) as f64).collect();
                Arc::new(PrimitiveArray::<Float64Type>::new(means.into(), nulls))
            }
            (What::Sum, DataType::Float32) => {
                let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
                Arc::new(PrimitiveArray::<Float32Type>::new(sums.into(), nulls))
            }
            (What::Sum, _) => Arc::new(PrimitiveArray::<Float64Type>::new(sums.to_vec().into(), nulls)),
        })
    }
}

/// One group, or a window frame.
#[derive(Debug)]
struct RunningTotal<T> {
    finish: Finish,
    sum: T,
    count: i64,
}

impl<T: Total> RunningTotal<T> {
    fn change(&mut self, column: &ArrayRef, sign: i64) -> DataFusionResult<()> {
        for (row, value) in T::widen(column).into_iter().enumerate() {
            if column.is_valid(row) {
                self.sum.add(value, sign).map_err(into_datafusion)?;
                self.count += sign;
            }
        }
        Ok(())
    }
}

impl<T: Total + std::fmt::Debug> Accumulator for RunningTotal<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.change(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.change(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        // Taking a float away does not undo adding it: NaN, infinity and rounding stay. Frames have a `FloatFrame`.
        !matches!(T::store(Vec::new(), 0).data_type(), DataType::Float64)
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let result = T::results(&[self.sum], &[self.count], &self.finish).map_err(into_datafusion)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let sum = T::store(vec![self.sum], self.finish.scale);
        Ok(vec![ScalarValue::try_from_array(&sum, 0)?, ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let counts = states[1].as_primitive::<Int64Type>().values();
        for (sum, count) in T::load(&states[0]).into_iter().zip(counts) {
            self.sum.add(sum, 1).map_err(into_datafusion)?;
            self.count += count;
        }
        Ok(())
    }
}

/// Distinct values of one group.
#[derive(Debug)]
struct DistinctTotal {
    finish: Finish,
    input: DataType,
    values: HashSet<ScalarValue>,
}

impl DistinctTotal {
    fn total<T: Total>(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let mut sum = T::default();
        for value in T::widen(column) {
            sum.add(value, 1)?;
        }
        T::results(&[sum], &[column.len() as i64], &self.finish)
    }
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        for row in (0..values[0].len()).filter(|row| values[0].is_valid(*row)) {
            self.values.insert(ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        if self.values.is_empty() {
            return ScalarValue::try_from_array(&new_null_array(&self.finish.result, 1), 0);
        }
        let column = ScalarValue::iter_to_array(self.values.iter().cloned())?;
        let result =
            if self.input.is_floating() { self.total::<f64>(&column) } else { self.total::<i128>(&column) };
        ScalarValue::try_from_array(&result.map_err(into_datafusion)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<ScalarValue>()
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.input))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let lists = states[0].as_list::<i32>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.update_batch(&[lists.value(row)])?;
        }
        Ok(())
    }
}

/// All groups of a hash aggregation.
struct GroupTotals<T> {
    finish: Finish,
    sums: Vec<T>,
    counts: Vec<i64>,
}

impl<T: Total> GroupTotals<T> {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, T::default());
        self.counts.resize(groups, 0);
    }

    fn add(&mut self, group: usize, value: T, count: i64) -> DataFusionResult<()> {
        self.counts[group] += count;
        self.sums[group].add(value, 1).map_err(into_datafusion)
    }
}

impl<T: Total> GroupsAccumulator for GroupTotals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        self.grow(total_num_groups);
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (value, group)) in T::widen(&values[0]).into_iter().zip(group_indices).enumerate() {
            if values[0].is_valid(row) && passes(row) {
                self.add(*group, value, 1)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DataFusionResult<ArrayRef> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        T::results(&sums, &counts, &self.finish).map_err(into_datafusion)
    }

    fn state(&mut self, emit_to: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        Ok(vec![T::store(sums, self.finish.scale), Arc::new(Int64Array::from(counts))])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        self.grow(total_num_groups);
        let counts = values[1].as_primitive::<Int64Type>().values();
        for ((sum, count), group) in T::load(&values[0]).into_iter().zip(counts).zip(group_indices) {
            self.add(*group, sum, *count)?;
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> DataFusionResult<Vec<ArrayRef>> {
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let mut sums = T::widen(&values[0]);
        let counts: Vec<i64> =
            (0..sums.len()).map(|row| i64::from(values[0].is_valid(row) && passes(row))).collect();
        for (sum, count) in sums.iter_mut().zip(&counts) {
            if *count == 0 {
                *sum = T::default();
            }
        }
        Ok(vec![T::store(sums, self.finish.scale), Arc::new(Int64Array::from(counts))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T>() + self.counts.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_results<T: Total>(
        what: What,
        scale: i8,
        result: DataType,
        column: ArrayRef,
    ) -> Result<ArrayRef> {
        let groups: Vec<usize> = (0..column.len()).map(|row| row % 2).collect();
        let finish = Finish { what, scale, result };
        let mut totals = GroupTotals::<T> { finish, sums: Vec::new(), counts: Vec::new() };
        totals.update_batch(&[column], &groups, None, 3).map_err(crate::error::from_datafusion)?;
        totals.evaluate(EmitTo::All).map_err(crate::error::from_datafusion)
    }

    #[test]
    fn sums_by_group_are_null_over_nothing_and_checked() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX), None]));
        let sums = group_results::<i128>(What::Sum, 0, DataType::Decimal128(38, 0), column.clone()).unwrap();
        let sums = sums.as_primitive::<Decimal128Type>();
        assert_eq!((sums.value(0), sums.is_null(1), sums.is_null(2)), (i128::from(i64::MAX) + 1, true, true));
        let narrow = group_results::<i128>(What::Sum, 0, DataType::Int64, column).unwrap_err();
        assert_eq!(narrow.message(), "bigint out of range");
    }

    #[test]
    fn averages_round_half_away_at_twenty_digits() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 0, 0, 0, 1, 0]));
        let means = group_results::<i128>(What::Avg, 0, DataType::Decimal128(38, 20), column).unwrap();
        assert_eq!(means.as_primitive::<Decimal128Type>().value(0), 66_666_666_666_666_666_667);
    }

    #[test]
    fn a_window_frame_forgets_what_left_it() {
        let finish = Finish { what: What::Sum, scale: 0, result: DataType::Int64 };
        let mut total = RunningTotal::<i128> { finish, sum: 0, count: 0 };
        let column = |values: Vec<i64>| -> Vec<ArrayRef> { vec![Arc::new(Int64Array::from(values))] };
        total.update_batch(&column(vec![1, 2, 3])).unwrap();
        total.retract_batch(&column(vec![1, 2])).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(3)));
        total.retract_batch(&column(vec![3])).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(None));
    }
}
