//! Sums and averages of floating-point values, with retraction.
//!
//! Sums that also subtract must not drift: they are compensated (Neumaier 1974, an improved Kahan sum), a sum
//! over no value is reset to exactly zero, and infinities and NaN are counted apart, because subtracting them
//! again would leave NaN for ever. What rounding remains is of the order of the last digit, so the result may
//! differ from a fresh sum of the same values in that digit, as it may between two orders of summation in
//! PostgreSQL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use hashbrown::HashMap;
use weir_common::{Error, Result, SqlState};

use super::accumulator::{Accumulator, Rows, merge_i64};

/// Sums of floating-point values.
pub(super) struct FloatSums {
    sums: Vec<FloatSum>,
    /// Groups that hold infinities or NaN.
    special: HashMap<u32, Special>,
    average: bool,
    result: DataType,
}

#[derive(Clone, Copy, Default)]
struct FloatSum {
    sum: f64,
    compensation: f64,
    count: i64,
}

/// How many infinities and NaN a group holds.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Special {
    pub nan: i64,
    pub positive: i64,
    pub negative: i64,
}

impl FloatSum {
    /// Neumaier's step: what rounding loses of the smaller operand goes to the compensation.
    #[inline]
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.compensation += if self.sum.abs() >= value.abs() {
            (self.sum - total) + value
        } else {
            (value - total) + self.sum
        };
        self.sum = total;
    }
}

impl Special {
    /// Counts a value that is not finite.
    pub fn add(&mut self, value: f64, op: i64) {
        let counter = match (value.is_nan(), value > 0.0) {
            (true, _) => &mut self.nan,
            (_, true) => &mut self.positive,
            _ => &mut self.negative,
        };
        *counter += op;
    }

    /// The sum with these values, given that of the finite ones.
    pub fn sum(&self, finite: f64) -> f64 {
        match (self.nan > 0, self.positive > 0, self.negative > 0) {
            (true, _, _) | (_, true, true) => f64::NAN,
            (_, true, _) => f64::INFINITY,
            (_, _, true) => f64::NEG_INFINITY,
            _ => finite,
        }
    }
}

impl FloatSums {
    /// Sums, or averages, as float4 or float8.
    pub fn new(average: bool, result: &DataType) -> FloatSums {
        FloatSums { sums: Vec::new(), special: HashMap::new(), average, result: result.clone() }
    }

    fn value(&self, group: u32) -> Result<Option<f64>> {
        let state = self.sums[group as usize];
        if state.count == 0 {
            return Ok(None);
        }
        let special = self.special.get(&group).copied().unwrap_or_default();
        let finite = state.sum + state.compensation;
        let finite = if self.average { finite / state.count as f64 } else { finite };
        let value = special.sum(finite);
        let narrow = self.result == DataType::Float32 && value.is_finite() && !(value as f32).is_finite();
        if special == Special::default() && (!value.is_finite() || narrow) {
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        Ok(Some(value))
    }
}

impl Accumulator for FloatSums {
    fn resize(&mut self, bound: usize) {
        self.sums.resize(bound, FloatSum::default());
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups {
            self.sums[*group as usize] = FloatSum::default();
            self.special.remove(group);
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = cast(rows.values()?, &DataType::Float64).map_err(Error::internal)?;
        let values = values.as_primitive::<Float64Type>().values();
        let (sums, special) = (&mut self.sums, &mut self.special);
        rows.try_for_each(|row, group, op| {
            let state = &mut sums[group];
            state.count += op;
            match values[row] {
                value if value.is_finite() => state.add(value * op as f64),
                value => special.entry(group as u32).or_default().add(value, op),
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| self.value(*group)).collect::<Result<Vec<_>>>()?;
        Ok(match self.result {
            DataType::Float32 => {
                Arc::new(values.into_iter().map(|v| v.map(|v| v as f32)).collect::<Float32Array>())
            }
            _ => Arc::new(Float64Array::from(values)),
        })
    }

    fn settle(&mut self, groups: &[u32]) {
        for group in groups {
            let state = &mut self.sums[*group as usize];
            if state.count == 0 {
                *state = FloatSum::default();
            }
            if self.special.get(group).is_some_and(|special| *special == Special::default()) {
                self.special.remove(group);
            }
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        use DataType::{Float64, Int64};
        vec![Float64, Float64, Int64, Int64, Int64, Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let floats = |part: fn(&FloatSum) -> f64| -> ArrayRef {
            Arc::new(
                groups.iter().map(|group| Some(part(&self.sums[*group as usize]))).collect::<Float64Array>(),
            )
        };
        let counts: Int64Array = groups.iter().map(|group| Some(self.sums[*group as usize].count)).collect();
        let special = |part: fn(&Special) -> i64| -> ArrayRef {
            Arc::new(groups.iter().map(|group| self.special.get(group).map(part)).collect::<Int64Array>())
        };
        Ok(vec![
            floats(|state| state.sum),
            floats(|state| state.compensation),
            Arc::new(counts),
            special(|special| special.nan),
            special(|special| special.positive),
            special(|special| special.negative),
        ])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let float = |column: usize, row: usize| {
            let column = state[column].as_primitive::<Float64Type>();
            if column.is_valid(row) { column.value(row) } else { 0.0 }
        };
        for (row, group) in groups.iter().enumerate() {
            let sum = &mut self.sums[*group as usize];
            sum.add(float(0, row));
            sum.add(float(1, row));
            if state[3].is_valid(row) {
                self.special.entry(*group).or_default();
            }
        }
        merge_i64(&state[2], groups, |group, count| self.sums[group].count += count);
        let parts: [fn(&mut Special) -> &mut i64; 3] =
            [|s| &mut s.nan, |s| &mut s.positive, |s| &mut s.negative];
        for (part, column) in parts.iter().zip(&state[3..]) {
            merge_i64(column, groups, |group, count| {
                if let Some(special) = self.special.get_mut(&(group as u32)) {
                    *part(special) += count;
                }
            });
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<FloatSum>() + self.special.capacity() * size_of::<(u32, Special)>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::accumulator::Times;
    use super::*;

    #[test]
    fn a_float_sum_forgets_what_was_taken_back() {
        let mut sums = FloatSums::new(false, &DataType::Float64);
        sums.resize(1);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            0.1,
            1e16,
            f64::INFINITY,
            f64::NAN,
            1e16,
            f64::INFINITY,
            f64::NAN,
        ]));
        let ops = Times::Ops(&[1, 1, 1, 1, -1, -1, -1]);
        let rows = Rows { groups: &[0; 7], times: ops, values: &[values] };
        sums.update(&rows).unwrap();
        sums.settle(&[0]);
        assert_eq!(sums.evaluate(&[0]).unwrap().as_primitive::<Float64Type>().value(0), 0.1);
        assert!(sums.special.is_empty());
    }
}
