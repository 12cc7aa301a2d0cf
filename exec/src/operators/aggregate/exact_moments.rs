//! Variance and standard deviation of integers and decimals, exactly, with retraction.
//!
//! Σx is summed in 128 bits and Σx² in 256, checked. The result follows `numeric_stddev_internal` in numeric.c: the
//! variance is one exact division, `(n·Σx² − (Σx)²) / (n·n)` or `… / (n·(n−1))`, rounded to the digits that
//! `select_div_scale` chooses; the deviation is the square root of the rounded variance, to as many digits. Both are
//! stored with [`RESULT_SCALE`] digits after the point.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, FixedSizeBinaryArray};
use arrow::datatypes::{DataType, Decimal128Type, i256};
use num_bigint::{BigInt, BigUint};
use weir_common::{Error, Result};

use super::accumulator::{Accumulator, Rows, gather_i64, merge_i64};
use crate::spec::{AggregateFunction, Estimate};
use crate::state::native::int_values;

/// Digits after the point of a result.
const RESULT_SCALE: u32 = 20;
/// Significant digits that `select_div_scale` aims at.
const SIGNIFICANT_DIGITS: i64 = 16;
/// Most digits after the point that PostgreSQL computes with here.
const DISPLAY_SCALE_MAX: i64 = 1000;
/// Bytes of a sum of squares on disk.
const SQUARES_BYTES: i32 = 32;

/// Moments of groups.
pub(super) struct ExactMoments {
    function: AggregateFunction,
    /// Digits after the point of the values.
    scale: u32,
    groups: Vec<Moments>,
}

#[derive(Clone, Copy)]
struct Moments {
    n: i64,
    sum: i128,
    squares: i256,
}

const EMPTY: Moments = Moments { n: 0, sum: 0, squares: i256::ZERO };

impl ExactMoments {
    /// A variance or a deviation of values of this type.
    pub fn new(function: AggregateFunction, arg: &DataType) -> Result<ExactMoments> {
        let scale = if let DataType::Decimal128(_, scale) = arg { *scale } else { 0 };
        let scale = u32::try_from(scale).map_err(Error::internal)?;
        Ok(ExactMoments { function, scale, groups: Vec::new() })
    }

    fn value(&self, group: u32) -> Result<Option<i128>> {
        let moments = self.groups[group as usize];
        let (estimate, is_root) = match self.function {
            AggregateFunction::Deviation(estimate) => (estimate, true),
            AggregateFunction::Variance(estimate) => (estimate, false),
            other => return Err(Error::internal(format!("moments for {}", other.name()))),
        };
        let less = i64::from(estimate == Estimate::Sample);
        if moments.n <= less {
            return Ok(None);
        }
        let spread = BigInt::from(moments.n) * big(moments.squares) - BigInt::from(moments.sum).pow(2);
        let spread = spread.magnitude();
        let divisor = BigUint::from(moments.n.unsigned_abs()) * (moments.n - less).unsigned_abs();
        let variance = Quotient::new(spread, 2 * self.scale, &divisor);
        let value = if is_root { variance.root() } else { variance.at(RESULT_SCALE) };
        i128::try_from(value)
            .ok()
            .filter(|value| *value < 10i128.pow(38))
            .map(Some)
            .ok_or_else(|| Error::out_of_range("numeric"))
    }
}

impl Moments {
    fn add(&mut self, value: i128, times: i64) -> Result<()> {
        let square = i256::from_i128(value).wrapping_mul(i256::from_i128(value));
        self.add_sums(
            i128::from(times).checked_mul(value),
            square.checked_mul(i256::from_i128(times.into())),
        )?;
        self.n += times;
        Ok(())
    }

    fn add_sums(&mut self, sum: Option<i128>, squares: Option<i256>) -> Result<()> {
        let overflow = || Error::out_of_range("numeric");
        self.sum = sum.and_then(|sum| self.sum.checked_add(sum)).ok_or_else(overflow)?;
        self.squares = squares.and_then(|more| self.squares.checked_add(more)).ok_or_else(overflow)?;
        Ok(())
    }
}

/// A quotient rounded to the digits that PostgreSQL gives it: `digits · 10^−scale`.
struct Quotient {
    digits: BigUint,
    scale: u32,
}

impl Quotient {
    /// `dividend · 10^−scale / divisor`.
    fn new(dividend: &BigUint, scale: u32, divisor: &BigUint) -> Quotient {
        if *dividend == BigUint::ZERO {
            return Quotient { digits: BigUint::ZERO, scale: 0 };
        }
        let digits = quotient_scale(dividend, scale, divisor);
        let (up, down) = (digits.saturating_sub(scale), scale.saturating_sub(digits));
        let (dividend, divisor) = (dividend * ten_to(up), divisor * ten_to(down));
        Quotient { digits: (&dividend * 2u32 + &divisor) / (divisor * 2u32), scale: digits }
    }

    /// As an integer with this many digits after the point, rounded half up.
    fn at(&self, scale: u32) -> BigUint {
        if scale >= self.scale {
            return &self.digits * ten_to(scale - self.scale);
        }
        let divisor = ten_to(self.scale - scale);
        (&self.digits * 2u32 + &divisor) / (divisor * 2u32)
    }

    /// The square root, rounded to the digits of this, with [`RESULT_SCALE`] digits after the point.
    fn root(&self) -> BigUint {
        // One digit more than asked for decides how to round; what lies below it cannot.
        let scale = self.scale.min(RESULT_SCALE) + 1;
        let square = &self.digits * ten_to((2 * scale).saturating_sub(self.scale))
            / ten_to(self.scale.saturating_sub(2 * scale));
        let root = Quotient { digits: square.sqrt(), scale };
        Quotient { digits: root.at(scale - 1), scale: scale - 1 }.at(RESULT_SCALE)
    }
}

/// `select_div_scale`: digits after the point, from the weights and leading digits of both numbers in base 10,000.
fn quotient_scale(dividend: &BigUint, scale: u32, divisor: &BigUint) -> u32 {
    let (a, b) = (leading_digit(dividend, scale), leading_digit(divisor, 0));
    let weight = a.0 - b.0 - i64::from(a.1 <= b.1);
    // The digits of the values count too; a numeric of unknown scale has more of them than it shows.
    (SIGNIFICANT_DIGITS - 4 * weight).clamp(i64::from(scale).min(SIGNIFICANT_DIGITS), DISPLAY_SCALE_MAX)
        as u32
}

/// Of a positive `number · 10^−scale`: its highest power of 10,000, and the digit there.
fn leading_digit(number: &BigUint, scale: u32) -> (i64, u64) {
    let decimals = number.to_string().len() as i64;
    let weight = (decimals - 1 - i64::from(scale)).div_euclid(4);
    let unit = 4 * weight + i64::from(scale);
    let digit = match u32::try_from(unit) {
        Ok(unit) => number / ten_to(unit),
        Err(_) => number * ten_to(unit.unsigned_abs() as u32),
    };
    (weight, digit.iter_u64_digits().next().unwrap_or(0))
}

fn ten_to(exponent: u32) -> BigUint {
    BigUint::from(10u32).pow(exponent)
}

fn big(value: i256) -> BigInt {
    BigInt::from_signed_bytes_le(&value.to_le_bytes())
}

impl Accumulator for ExactMoments {
    fn resize(&mut self, bound: usize) {
        self.groups.resize(bound, EMPTY);
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.groups[*group as usize] = EMPTY);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let groups = &mut self.groups;
        let values = rows.values()?;
        match values.as_primitive_opt::<Decimal128Type>() {
            Some(decimals) => rows.try_for_each(|row, group, t| groups[group].add(decimals.value(row), t)),
            None => {
                let values = int_values(values)?;
                rows.try_for_each(|row, group, times| groups[group].add(values[row].into(), times))
            }
        }
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| self.value(*group)).collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(values.with_data_type(DataType::Decimal128(38, RESULT_SCALE as i8))))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Decimal128(38, 0), DataType::FixedSizeBinary(SQUARES_BYTES)]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let moments = || groups.iter().map(|group| self.groups[*group as usize]);
        let counts = gather_i64(&moments().map(|m| m.n).collect::<Vec<_>>(), &positions(groups));
        let sums: Decimal128Array = moments().map(|m| Some(m.sum)).collect();
        let squares = moments().map(|m| Some(m.squares.to_le_bytes()));
        let squares = FixedSizeBinaryArray::try_from_sparse_iter_with_size(squares, SQUARES_BYTES);
        let sums = sums.with_data_type(DataType::Decimal128(38, 0));
        Ok(vec![Arc::new(counts), Arc::new(sums), Arc::new(squares.map_err(Error::internal)?)])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        merge_i64(&state[0], groups, |group, count| self.groups[group].n += count);
        let (sums, squares) = (state[1].as_primitive::<Decimal128Type>(), state[2].as_fixed_size_binary());
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| sums.is_valid(*row)) {
            let more = <[u8; SQUARES_BYTES as usize]>::try_from(squares.value(row));
            let more = more.map_err(|_| Error::corrupted("a sum of squares in an aggregate's state"))?;
            let more = i256::from_le_bytes(more);
            self.groups[*group as usize].add_sums(Some(sums.value(row)), Some(more))?;
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}

fn positions(groups: &[u32]) -> Vec<u32> {
    (0..groups.len() as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(function: AggregateFunction, values: &[i128], scale: i8) -> Option<i128> {
        let mut moments = ExactMoments::new(function, &DataType::Decimal128(38, scale)).unwrap();
        moments.resize(1);
        values.iter().for_each(|value| moments.groups[0].add(*value, 1).unwrap());
        moments.value(0).unwrap()
    }

    #[test]
    fn variances_are_rounded_as_numeric_c_rounds_them() {
        let variance = AggregateFunction::Variance(Estimate::Sample);
        assert_eq!(result(variance, &[1, 2, 4], 0), Some(233_333_333_333_333_330_000));
        assert_eq!(result(variance, &[7], 0), None);
        let population = AggregateFunction::Variance(Estimate::Population);
        assert_eq!(result(population, &[7], 2), Some(0));
        assert_eq!(result(population, &[], 2), None);
    }

    #[test]
    fn deviations_are_roots_of_rounded_variances() {
        let deviation = AggregateFunction::Deviation(Estimate::Sample);
        // PostgreSQL: 1.5275252316519467 of the variance 2.3333333333333333
        assert_eq!(result(deviation, &[1, 2, 4], 0), Some(152_752_523_165_194_670_000));
        assert_eq!(result(deviation, &[5, 5], 0), Some(0));
    }

    #[test]
    fn a_value_taken_back_leaves_nothing() {
        let mut moments = EMPTY;
        let large = 10i128.pow(37);
        moments.add(large, 1).unwrap();
        moments.add(-large, 1).unwrap();
        moments.add(large, -1).unwrap();
        moments.add(-large, -1).unwrap();
        assert_eq!((moments.n, moments.sum, moments.squares), (0, 0, i256::ZERO));
    }
}
