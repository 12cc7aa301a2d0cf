//! Variance and its kin of floating-point values, of one variable or two, with retraction.
//!
//! They come from sums over n, x, y, x², y² and xy, which are kept exactly ([`super::exact_float`]): the textbook
//! formula `(n·Σx² − (Σx)²) / n`, useless in floating point, is then exact up to the one rounding of its result, and
//! nothing of a value stays when it is deleted. From there on the formulas are those of float.c, which sums by the
//! method of Youngs and Cramer (1971) with rounding; results may differ from PostgreSQL's in the last digit.
//!
//! A value that is not finite is counted instead of summed. It makes every moment of its variable NaN.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use hashbrown::HashMap;
use weir_common::{Error, Result, SqlState};

use super::accumulator::{Accumulator, Rows, gather_i64, merge_i64};
use super::exact_float::{ExactSum, Scaled};
use super::float_sum::Special;
use crate::spec::{AggregateFunction, Estimate, Regression};

/// What is summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Term {
    X,
    Y,
    XX,
    YY,
    XY,
}

/// Moments of groups.
pub(super) struct FloatMoments {
    function: AggregateFunction,
    terms: &'static [Term],
    counts: Vec<i64>,
    /// Of each group the sum of each term.
    sums: Vec<ExactSum>,
    /// Groups that hold infinities or NaN, of x and of y.
    special: HashMap<u32, [Special; 2]>,
}

impl FloatMoments {
    /// A variance or a deviation of x, or statistics of (y, x).
    pub fn new(function: AggregateFunction) -> FloatMoments {
        let terms = terms(function);
        FloatMoments { function, terms, counts: Vec::new(), sums: Vec::new(), special: HashMap::new() }
    }

    fn of(&self, group: u32) -> Moments<'_> {
        let sums = &self.sums[group as usize * self.terms.len()..][..self.terms.len()];
        let special = self.special.get(&group).copied().unwrap_or_default();
        Moments { n: self.counts[group as usize], terms: self.terms, sums, special }
    }

    fn value(&self, group: u32) -> Result<Option<f64>> {
        let moments = self.of(group);
        match self.function {
            AggregateFunction::Variance(estimate) => moments.variance(estimate),
            AggregateFunction::Deviation(estimate) => Ok(moments.variance(estimate)?.map(f64::sqrt)),
            AggregateFunction::Regression(regression) => moments.regression(regression),
            other => Err(Error::internal(format!("moments for {}", other.name()))),
        }
    }

    fn add(&mut self, group: usize, x: f64, y: f64, times: i64) {
        for (sum, term) in self.sums[group * self.terms.len()..].iter_mut().zip(self.terms) {
            let (a, b) = match term {
                Term::X => (x, 1.0),
                Term::Y => (y, 1.0),
                Term::XX => (x, x),
                Term::YY => (y, y),
                Term::XY => (x, y),
            };
            if a.is_finite() && b.is_finite() {
                sum.add_product(a, b, times);
            }
        }
        self.counts[group] += times;
        for (variable, value) in [x, y].into_iter().enumerate().filter(|(_, value)| !value.is_finite()) {
            self.special.entry(group as u32).or_default()[variable].add(value, times);
        }
    }
}

/// The sums that a function needs.
fn terms(function: AggregateFunction) -> &'static [Term] {
    use Term::{X, XX, XY, Y, YY};
    let AggregateFunction::Regression(regression) = function else { return &[X, XX] };
    match regression {
        Regression::Count => &[],
        Regression::AvgX => &[X],
        Regression::AvgY => &[Y],
        Regression::Sxx => &[X, XX],
        Regression::Syy => &[Y, YY],
        Regression::Sxy | Regression::CovarPop | Regression::CovarSamp => &[X, Y, XY],
        Regression::Slope | Regression::Intercept => &[X, Y, XX, XY],
        Regression::Corr | Regression::R2 => &[X, Y, XX, YY, XY],
    }
}

/// The sums of a group.
struct Moments<'a> {
    n: i64,
    terms: &'static [Term],
    sums: &'a [ExactSum],
    special: [Special; 2],
}

impl Moments<'_> {
    fn sum(&self, term: Term) -> Scaled {
        let at = self.terms.iter().position(|t| *t == term);
        at.map_or_else(ExactSum::default, |at| self.sums[at].clone()).scaled()
    }

    /// Σ (a − mean of a)(b − mean of b), where `ab` is the term of the product.
    fn centered(&self, ab: Term, a: Term, b: Term) -> Result<f64> {
        let tainted = |term| self.special[usize::from(term == Term::Y)] != Special::default();
        if tainted(a) || tainted(b) {
            return Ok(f64::NAN);
        }
        let product = self.sum(a).times(&self.sum(b));
        checked(self.sum(ab).times_count(self.n).minus(&product).over(self.n))
    }

    fn sxx(&self) -> Result<f64> {
        self.centered(Term::XX, Term::X, Term::X)
    }

    fn syy(&self) -> Result<f64> {
        self.centered(Term::YY, Term::Y, Term::Y)
    }

    fn sxy(&self) -> Result<f64> {
        self.centered(Term::XY, Term::X, Term::Y)
    }

    fn total(&self, term: Term) -> Result<f64> {
        self.rounded(term, 1)
    }

    fn mean(&self, term: Term) -> Result<f64> {
        self.rounded(term, self.n)
    }

    fn rounded(&self, term: Term, divisor: i64) -> Result<f64> {
        let special = self.special[usize::from(term == Term::Y)];
        let finite = self.sum(term).over(divisor);
        if special == Special::default() { checked(finite) } else { Ok(special.sum(finite)) }
    }

    fn variance(&self, estimate: Estimate) -> Result<Option<f64>> {
        self.divided(estimate, Moments::sxx)
    }

    /// A sum of products over n or n − 1; NULL when that is not positive.
    fn divided(&self, estimate: Estimate, sum: fn(&Self) -> Result<f64>) -> Result<Option<f64>> {
        let divisor = if estimate == Estimate::Sample { self.n - 1 } else { self.n };
        if divisor <= 0 { Ok(None) } else { Ok(Some(sum(self)? / divisor as f64)) }
    }

    fn regression(&self, regression: Regression) -> Result<Option<f64>> {
        if self.n == 0 {
            return Ok(None);
        }
        match regression {
            Regression::Count => Ok(Some(self.n as f64)),
            Regression::AvgX => self.mean(Term::X).map(Some),
            Regression::AvgY => self.mean(Term::Y).map(Some),
            Regression::Sxx => self.sxx().map(Some),
            Regression::Syy => self.syy().map(Some),
            Regression::Sxy => self.sxy().map(Some),
            Regression::CovarPop => self.divided(Estimate::Population, Moments::sxy),
            Regression::CovarSamp => self.divided(Estimate::Sample, Moments::sxy),
            Regression::Corr | Regression::R2 => self.correlation(regression),
            Regression::Slope | Regression::Intercept => self.line(regression),
        }
    }

    /// NULL for a variable that does not vary; only what depends on x without variation is explained by it fully.
    fn correlation(&self, regression: Regression) -> Result<Option<f64>> {
        let (sxx, syy, sxy) = (self.sxx()?, self.syy()?, self.sxy()?);
        Ok(match regression {
            _ if sxx == 0.0 => None,
            Regression::R2 if syy == 0.0 => Some(1.0),
            Regression::R2 => Some((sxy * sxy) / (sxx * syy)),
            _ if syy == 0.0 => None,
            _ => Some(sxy / (sxx * syy).sqrt()),
        })
    }

    /// Slope and intercept of the line of least squares; NULL if x does not vary.
    fn line(&self, regression: Regression) -> Result<Option<f64>> {
        let (sxx, sxy) = (self.sxx()?, self.sxy()?);
        if sxx == 0.0 {
            return Ok(None);
        }
        let slope = sxy / sxx;
        if regression == Regression::Slope {
            return Ok(Some(slope));
        }
        Ok(Some((self.total(Term::Y)? - self.total(Term::X)? * sxy / sxx) / self.n as f64))
    }
}

/// 22003 for what no double can hold.
fn checked(value: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"))
}

impl Accumulator for FloatMoments {
    fn resize(&mut self, bound: usize) {
        self.counts.resize(bound, 0);
        self.sums.resize(bound * self.terms.len(), ExactSum::default());
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups {
            self.counts[*group as usize] = 0;
            self.sums[*group as usize * self.terms.len()..][..self.terms.len()].fill(ExactSum::default());
            self.special.remove(group);
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let double = |arg: usize| cast(rows.column(arg)?, &DataType::Float64).map_err(Error::internal);
        let first = double(0)?;
        let (y, x) = match self.function {
            AggregateFunction::Regression(_) => (first, double(1)?),
            _ => (first.clone(), first),
        };
        let (x, y) = (x.as_primitive::<Float64Type>().values(), y.as_primitive::<Float64Type>().values());
        rows.try_for_each(|row, group, times| {
            self.add(group, x[row], y[row], times);
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        if self.function == AggregateFunction::Regression(Regression::Count) {
            return Ok(Arc::new(gather_i64(&self.counts, groups)));
        }
        let values = groups.iter().map(|group| self.value(*group));
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    }

    fn settle(&mut self, groups: &[u32]) {
        for group in groups {
            let sums = &mut self.sums[*group as usize * self.terms.len()..][..self.terms.len()];
            sums.iter_mut().for_each(ExactSum::settle);
            if self.special.get(group).is_some_and(|special| *special == <[Special; 2]>::default()) {
                self.special.remove(group);
            }
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        let counts = std::iter::repeat_n(DataType::Int64, 7);
        counts.chain(self.terms.iter().map(|_| DataType::Binary)).collect()
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(gather_i64(&self.counts, groups))];
        for variable in 0..2 {
            for part in SPECIAL_PARTS {
                let count = |group| {
                    let special = self.special.get(group)?;
                    Some(*part(&mut { special[variable] }))
                };
                columns.push(Arc::new(groups.iter().map(count).collect::<Int64Array>()));
            }
        }
        for term in 0..self.terms.len() {
            let sum = |group: &u32| self.sums[*group as usize * self.terms.len() + term].encode();
            columns.push(Arc::new(groups.iter().map(|group| Some(sum(group))).collect::<BinaryArray>()));
        }
        Ok(columns)
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        merge_i64(&state[0], groups, |group, count| self.counts[group] += count);
        for (column, saved) in state[1..7].iter().enumerate() {
            merge_i64(saved, groups, |group, count| {
                if count != 0 {
                    let special = self.special.entry(group as u32).or_default();
                    *SPECIAL_PARTS[column % 3](&mut special[column / 3]) += count;
                }
            });
        }
        for (term, saved) in state[7..].iter().enumerate() {
            let saved = saved.as_binary::<i32>();
            for (row, group) in groups.iter().enumerate().filter(|(row, _)| saved.is_valid(*row)) {
                let sum = &mut self.sums[*group as usize * self.terms.len() + term];
                sum.add_sum(&ExactSum::decode(saved.value(row))?);
            }
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
            + self.sums.capacity() * ExactSum::TYPICAL_BYTES
            + self.special.capacity() * size_of::<(u32, [Special; 2])>()
    }
}

/// The counts that a [`Special`] holds.
const SPECIAL_PARTS: [fn(&mut Special) -> &mut i64; 3] =
    [|s| &mut s.nan, |s| &mut s.positive, |s| &mut s.negative];
