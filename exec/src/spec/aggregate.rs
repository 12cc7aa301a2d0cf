//! `AggregateCall`: one aggregate of a GROUP BY as plain serialisable data.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_common::key::KeyOrder;

/// What an aggregate call computes. The argument's type is the input column's; the result's is in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// `count(*)`; with an argument, of its non-NULL values. Int64.
    Count,
    /// int2/int4 → Int64; int8 → Decimal128(38,0); float → Float64 (float4 → Float32); decimal(s) → decimal(s).
    /// NULL over no value. Int64 → Int64 for sums of counts, which only plans ask for.
    Sum,
    /// Integers and decimals → Decimal128(38,20) rounded half away from zero; floats → Float64.
    Avg,
    Min,
    Max,
    /// `min` and `max` of an input that takes a value back only together with a better one of the same group, as the
    /// partial results of parts that only grow do: the best value so far is all there is to keep. Only plans ask for them.
    Lowest,
    Highest,
    BoolAnd,
    BoolOr,
    BitAnd,
    BitOr,
    BitXor,
    /// Integers and decimals → Decimal128(38,20), floats → Float64.
    Variance(Estimate),
    /// The square root of the variance.
    Deviation(Estimate),
    /// Of (y, x), Float64 both.
    Regression(Regression),
    /// Of (value, separator): the values that are not NULL in order, each but the first after its separator.
    StringAgg,
    /// All values in order, as a list.
    ArrayAgg,
    /// All values, JSON as text, in order, as a JSON array.
    JsonbAgg,
    /// The first in order of the most frequent values.
    Mode,
    /// The value at this fraction of the ordered values, interpolated; NULL for no fraction. Float64.
    PercentileCont(Option<Fraction>),
    /// The first value whose position is at or after this fraction; NULL for no fraction.
    PercentileDisc(Option<Fraction>),
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fraction(u64);

impl Fraction {
    /// `None` for a number outside of 0..=1.
    pub fn new(value: f64) -> Option<Fraction> {
        (0.0..=1.0).contains(&value).then_some(Fraction(value.to_bits()))
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What the rows are of a distribution whose variance is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Estimate {
    /// All of it: divide by n.
    Population,
    /// A sample: divide by n − 1, NULL for a single row.
    Sample,
}

/// The statistics of two variables, the dependent one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Regression {
    Corr,
    CovarPop,
    CovarSamp,
    Count,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
    Slope,
    Intercept,
    R2,
}

impl AggregateFunction {
    /// PostgreSQL's name.
    pub fn name(self) -> &'static str {
        match self {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::Lowest => "lowest",
            AggregateFunction::Highest => "highest",
            AggregateFunction::BoolAnd => "bool_and",
            AggregateFunction::BoolOr => "bool_or",
            AggregateFunction::BitAnd => "bit_and",
            AggregateFunction::BitOr => "bit_or",
            AggregateFunction::BitXor => "bit_xor",
            AggregateFunction::Variance(Estimate::Population) => "var_pop",
            AggregateFunction::Variance(Estimate::Sample) => "var_samp",
            AggregateFunction::Deviation(Estimate::Population) => "stddev_pop",
            AggregateFunction::Deviation(Estimate::Sample) => "stddev_samp",
            AggregateFunction::Regression(regression) => regression.name(),
            AggregateFunction::StringAgg => "string_agg",
            AggregateFunction::ArrayAgg => "array_agg",
            AggregateFunction::JsonbAgg => "jsonb_agg",
            AggregateFunction::Mode => "mode",
            AggregateFunction::PercentileCont(_) => "percentile_cont",
            AggregateFunction::PercentileDisc(_) => "percentile_disc",
        }
    }

    /// The boolean, bitwise or statistical function of this name.
    pub fn of_rows(name: &str) -> Option<AggregateFunction> {
        use AggregateFunction::{BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Deviation, Variance};
        let estimates = [Estimate::Population, Estimate::Sample];
        let spreads = estimates.into_iter().flat_map(|estimate| [Variance(estimate), Deviation(estimate)]);
        let regressions = Regression::ALL.into_iter().map(AggregateFunction::Regression);
        let simple = [BoolAnd, BoolOr, BitAnd, BitOr, BitXor];
        simple.into_iter().chain(spreads).chain(regressions).find(|function| function.name() == name)
    }

    /// A row counts only if as many of its first arguments are not NULL.
    pub fn arguments_not_null(self) -> usize {
        match self {
            AggregateFunction::Regression(_) => 2,
            AggregateFunction::ArrayAgg | AggregateFunction::JsonbAgg => 0,
            _ => 1,
        }
    }

    /// Whether the result depends on all values and their order.
    pub fn is_ordered(self) -> bool {
        use AggregateFunction as F;
        matches!(self, F::StringAgg | F::ArrayAgg | F::JsonbAgg) || self.is_ordered_set()
    }

    /// Whether it is written with WITHIN GROUP.
    pub fn is_ordered_set(self) -> bool {
        use AggregateFunction as F;
        matches!(self, F::Mode | F::PercentileCont(_) | F::PercentileDisc(_))
    }

    /// How many arguments it has; those of a call that come after them are there to be ordered by.
    fn arity(self) -> usize {
        match self {
            AggregateFunction::Regression(_) | AggregateFunction::StringAgg => 2,
            _ => 1,
        }
    }

    /// A call as SQL writes it, `args` being all of its arguments.
    pub fn render(self, args: &[String], distinct: bool, order: &[ValueOrder]) -> String {
        let name = self.name();
        let order: Vec<String> =
            order.iter().map(|key| format!("{}{}", args[key.arg], direction(key.order))).collect();
        let order = order.join(", ");
        if self.is_ordered_set() {
            let fraction = match self {
                AggregateFunction::PercentileCont(fraction) | AggregateFunction::PercentileDisc(fraction) => {
                    fraction.map_or("NULL".to_string(), |fraction| fraction.value().to_string())
                }
                _ => String::new(),
            };
            return format!("{name}({fraction}) WITHIN GROUP (ORDER BY {order})");
        }
        let distinct = if distinct { "DISTINCT " } else { "" };
        let args = match args {
            [] => "*".to_string(),
            args => args[..self.arity().min(args.len())].join(", "),
        };
        let order = if order.is_empty() { order } else { format!(" ORDER BY {order}") };
        format!("{name}({distinct}{args}{order})")
    }
}

fn direction(order: KeyOrder) -> &'static str {
    match order {
        KeyOrder::Ascending => "",
        KeyOrder::AscendingNullsFirst => " NULLS FIRST",
        KeyOrder::Descending => " DESC",
        KeyOrder::DescendingNullsLast => " DESC NULLS LAST",
    }
}

/// A part of the ORDER BY of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueOrder {
    /// Position among the call's arguments.
    pub arg: usize,
    pub order: KeyOrder,
}

impl Regression {
    const ALL: [Regression; 12] = {
        use Regression::*;
        [Corr, CovarPop, CovarSamp, Count, AvgX, AvgY, Sxx, Syy, Sxy, Slope, Intercept, R2]
    };

    /// PostgreSQL's name.
    pub fn name(self) -> &'static str {
        match self {
            Regression::Corr => "corr",
            Regression::CovarPop => "covar_pop",
            Regression::CovarSamp => "covar_samp",
            Regression::Count => "regr_count",
            Regression::AvgX => "regr_avgx",
            Regression::AvgY => "regr_avgy",
            Regression::Sxx => "regr_sxx",
            Regression::Syy => "regr_syy",
            Regression::Sxy => "regr_sxy",
            Regression::Slope => "regr_slope",
            Regression::Intercept => "regr_intercept",
            Regression::R2 => "regr_r2",
        }
    }
}

/// One aggregate call over input columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Input columns; none for `count(*)`.
    pub args: Vec<usize>,
    /// Of an ordered function: what its rows are ordered by first; then by all arguments from the first on, NULLs
    /// last, so that the order never depends on how rows came.
    pub order: Vec<ValueOrder>,
    /// `FILTER (WHERE …)`: a boolean input column.
    pub filter: Option<usize>,
    pub distinct: bool,
    pub result: DataType,
}
