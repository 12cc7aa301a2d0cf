//! Sums and averages of exact types.
//!
//! They sum in integers, checked: int2 and int4 in 64 bits, int8 and decimals in 128. An average is the exact
//! sum divided once, to 20 digits after the point, rounded half away from zero.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Decimal128Type};
use weir_common::{Error, Result, SqlState};

use super::accumulator::{Accumulator, Rows, merge_i64};
use crate::state::native::{int_array, int_values};

/// Digits after the point of an average.
const AVERAGE_SCALE: i8 = 20;
/// The first integer that has more than 38 digits.
const DECIMAL_BOUND: i128 = 10i128.pow(38);

/// A sum and how many values are in it.
#[derive(Clone, Copy, Default)]
struct Sum<S> {
    sum: S,
    count: i64,
}

/// Exact sums with running state `S`.
struct ExactSums<S: ExactSum> {
    sums: Vec<Sum<S>>,
    finish: Finish,
}

/// What becomes of a sum.
enum Finish {
    Sum(DataType),
    /// Divide by the count; the factor brings the sum's scale to [`AVERAGE_SCALE`].
    Average {
        factor: i128,
        result: DataType,
    },
}

/// How a type sums.
trait ExactSum: ArrowNativeType + Copy + Default + Send + Sync + 'static {
    fn column(array: &ArrayRef) -> Result<ScalarBuffer<Self>>;
    /// `self + op * value`, if it can be represented.
    fn plus(self, value: Self, op: i64) -> Option<Self>;
    fn wide(self) -> i128;
    fn overflow() -> Error;
    fn state_type() -> DataType;
    fn to_array(sums: Vec<Self>, valid: Option<NullBuffer>, ty: &DataType) -> Result<ArrayRef>;
    fn from_array(array: &ArrayRef) -> Result<ScalarBuffer<Self>>;
}

/// Sums of int2 or int4.
pub(super) fn integer_sums(average: bool, result: &DataType) -> Box<dyn Accumulator> {
    Box::new(ExactSums::<i64> { sums: Vec::new(), finish: Finish::new(average, 0, result) })
}

/// Sums of int8 or a decimal.
pub(super) fn decimal_sums(average: bool, arg: &DataType, result: &DataType) -> Result<Box<dyn Accumulator>> {
    let scale = if let DataType::Decimal128(_, scale) = arg { *scale } else { 0 };
    if average && scale > AVERAGE_SCALE {
        return Err(Error::unsupported(format!(
            "avg of a numeric with more than {AVERAGE_SCALE} digits after the point"
        ))
        .with_hint("Cast the argument to a numeric of a smaller scale."));
    }
    Ok(Box::new(ExactSums::<i128> { sums: Vec::new(), finish: Finish::new(average, scale, result) }))
}

impl Finish {
    fn new(average: bool, scale: i8, result: &DataType) -> Finish {
        if !average {
            return Finish::Sum(result.clone());
        }
        let digits = u32::from((AVERAGE_SCALE - scale).unsigned_abs());
        Finish::Average { factor: 10i128.pow(digits), result: result.clone() }
    }
}

impl<S: ExactSum> Accumulator for ExactSums<S> {
    fn resize(&mut self, bound: usize) {
        self.sums.resize(bound, Sum::default());
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.sums[*group as usize] = Sum::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = S::column(rows.values()?)?;
        let sums = &mut self.sums;
        rows.try_for_each(|row, group, op| {
            let state = &mut sums[group];
            state.sum = state.sum.plus(values[row], op).ok_or_else(S::overflow)?;
            state.count += op;
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let states = || groups.iter().map(|group| self.sums[*group as usize]);
        match &self.finish {
            Finish::Sum(result) => {
                if states().any(|state| state.wide_is_out_of_range()) {
                    return Err(numeric_overflow());
                }
                let nulls = states().map(|state| state.count != 0).collect::<NullBuffer>();
                S::to_array(states().map(|state| state.sum).collect(), some_null(nulls), result)
            }
            Finish::Average { factor, result } => {
                let average = |state: Sum<S>| match state.count {
                    0 => Ok(None),
                    count => divide(state.sum.wide(), i128::from(count), *factor).map(Some),
                };
                let averages = states().map(average).collect::<Result<Decimal128Array>>()?;
                Ok(Arc::new(averages.with_data_type(result.clone())))
            }
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![S::state_type(), DataType::Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let states = || groups.iter().map(|group| self.sums[*group as usize]);
        let sums = S::to_array(states().map(|state| state.sum).collect(), None, &S::state_type())?;
        let counts: Int64Array = states().map(|state| state.count).collect::<Vec<_>>().into();
        Ok(vec![sums, Arc::new(counts)])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = S::from_array(&state[0])?;
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| state[0].is_valid(*row)) {
            let state = &mut self.sums[*group as usize];
            state.sum = state.sum.plus(sums[row], 1).ok_or_else(S::overflow)?;
        }
        merge_i64(&state[1], groups, |group, count| self.sums[group].count += count);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Sum<S>>()
    }
}

impl<S: ExactSum> Sum<S> {
    fn wide_is_out_of_range(&self) -> bool {
        let sum = self.sum.wide();
        sum >= DECIMAL_BOUND || sum <= -DECIMAL_BOUND
    }
}

impl ExactSum for i64 {
    fn column(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
        int_values(array)
    }
    #[inline]
    fn plus(self, value: i64, op: i64) -> Option<i64> {
        self.checked_add(value * op)
    }
    fn wide(self) -> i128 {
        i128::from(self)
    }
    fn overflow() -> Error {
        Error::out_of_range("bigint")
    }
    fn state_type() -> DataType {
        DataType::Int64
    }
    fn to_array(sums: Vec<i64>, valid: Option<NullBuffer>, ty: &DataType) -> Result<ArrayRef> {
        int_array(sums, valid, ty)
    }
    fn from_array(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
        int_values(array)
    }
}

impl ExactSum for i128 {
    fn column(array: &ArrayRef) -> Result<ScalarBuffer<i128>> {
        match array.data_type() {
            DataType::Decimal128(..) => Ok(array.as_primitive::<Decimal128Type>().values().clone()),
            _ => Ok(int_values(array)?.iter().map(|value| i128::from(*value)).collect()),
        }
    }
    #[inline]
    fn plus(self, value: i128, op: i64) -> Option<i128> {
        if op > 0 { self.checked_add(value) } else { self.checked_sub(value) }
    }
    fn wide(self) -> i128 {
        self
    }
    fn overflow() -> Error {
        numeric_overflow()
    }
    fn state_type() -> DataType {
        DataType::Decimal128(38, 0)
    }
    fn to_array(sums: Vec<i128>, valid: Option<NullBuffer>, ty: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(Decimal128Array::new(sums.into(), valid).with_data_type(ty.clone())))
    }
    fn from_array(array: &ArrayRef) -> Result<ScalarBuffer<i128>> {
        Ok(array.as_primitive::<Decimal128Type>().values().clone())
    }
}

fn some_null(nulls: NullBuffer) -> Option<NullBuffer> {
    Some(nulls).filter(|nulls| nulls.null_count() > 0)
}

fn numeric_overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
}

/// `sum * factor / count`, rounded half away from zero, without overflow on the way.
fn divide(sum: i128, count: i128, factor: i128) -> Result<i128> {
    let (whole, rest) = (sum / count, sum % count);
    let scaled = rest.checked_mul(factor).ok_or_else(numeric_overflow)?;
    let (fraction, rest) = (scaled / count, scaled % count);
    let up = if rest.abs() * 2 >= count { rest.signum() } else { 0 };
    let quotient = whole.checked_mul(factor).and_then(|whole| whole.checked_add(fraction + up));
    quotient.filter(|q| q.abs() < DECIMAL_BOUND).ok_or_else(numeric_overflow)
}

#[cfg(test)]
mod tests {
    use super::super::accumulator::Times;
    use super::*;

    #[test]
    fn averages_round_half_away_from_zero() {
        let factor = 10i128.pow(20);
        assert_eq!(divide(2, 3, factor).unwrap(), 66_666_666_666_666_666_667);
        assert_eq!(divide(-2, 3, factor).unwrap(), -66_666_666_666_666_666_667);
        assert_eq!(divide(1, 2, 1).unwrap(), 1);
        assert_eq!(divide(-1, 2, 1).unwrap(), -1);
        assert_eq!(
            divide(i128::from(i64::MAX) / 100, 1, factor).unwrap(),
            i128::from(i64::MAX) / 100 * factor
        );
        assert_eq!(
            divide(DECIMAL_BOUND - 1, 1, factor).unwrap_err().state(),
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE
        );
    }

    #[test]
    fn a_bigint_sum_that_does_not_fit_is_an_error() {
        let mut sums = ExactSums::<i64> {
            sums: vec![Sum { sum: i64::MAX, count: 1 }],
            finish: Finish::Sum(DataType::Int64),
        };
        let values: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
        let error = sums.update(&Rows { groups: &[0], times: Times::Once, values: &[values] }).unwrap_err();
        assert_eq!(
            (error.state(), error.message()),
            (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")
        );
    }
}
