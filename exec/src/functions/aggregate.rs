//! Aggregates with PostgreSQL's result types, and which types each takes.
//!
//! `sum` and `avg` are ours (`sum_avg`): checked, and equal to the streaming Aggregate's. `count`, `min`, `max` and
//! `any_value` are DataFusion's, but for floats' `min` and `max` (`float_extreme`). All others are computed by the
//! streaming Aggregate's own accumulators (`incremental`).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::AggregateUDF;
use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};

use super::coerce::can_cast;
use super::float_extreme::{float_max, float_min};
use super::{CastContext, Incremental, ResolvedAggregate, sum_avg};
use crate::spec::{AggregateFunction, Estimate, Regression};

/// Chooses the aggregate `name`; `None` when there is no aggregate of that name at all. `count(*)` has no
/// argument. DISTINCT and FILTER are the caller's.
///
/// The UDAF's own Arrow type may be another string type than the result's (`string_agg`): the caller casts to
/// `result.arrow()`.
///
/// # Errors
/// 42883 when the aggregate does not take these arguments.
pub fn resolve_aggregate(name: &str, args: &[SqlType]) -> Result<Option<ResolvedAggregate>> {
    let found = match name {
        "count" => count(args),
        "sum" => sum(args),
        "avg" => avg(args),
        "min" | "max" => extreme(name, args),
        "bool_and" | "every" => booleans(AggregateFunction::BoolAnd, args),
        "bool_or" => booleans(AggregateFunction::BoolOr, args),
        "string_agg" => {
            fixed(df::string_agg::string_agg_udaf(), args, &[SqlType::Text, SqlType::Text], SqlType::Text)
        }
        "array_agg" => array_agg(args),
        "any_value" => same_type(df::any_value::any_value_udaf(), args),
        "bit_and" => bits(AggregateFunction::BitAnd, args),
        "bit_or" => bits(AggregateFunction::BitOr, args),
        "bit_xor" => bits(AggregateFunction::BitXor, args),
        _ => match (spread(name), regression(name)) {
            (Some(function), _) => moments(function, args),
            (_, Some(function)) => of_two(function, args),
            _ => return Ok(None),
        },
    };
    found
        .map(Some)
        .ok_or_else(|| if is_missing(name, args) { missing(name, args) } else { no_aggregate(name, args) })
}

/// Whether PostgreSQL has this aggregate and Weir does not.
fn is_missing(name: &str, args: &[SqlType]) -> bool {
    matches!(
        (name, args),
        ("sum" | "avg", [SqlType::Interval | SqlType::Time]) | ("min" | "max", [SqlType::Array(_)])
    )
}

fn missing(name: &str, args: &[SqlType]) -> Error {
    let types: Vec<String> = args.iter().map(SqlType::name).collect();
    Error::unsupported(format!("the aggregate {name}({})", types.join(", ")))
        .with_hint("Aggregate extract(epoch FROM …) and multiply the result with an interval.")
}

fn no_aggregate(name: &str, args: &[SqlType]) -> Error {
    let types: Vec<String> = args.iter().map(SqlType::name).collect();
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", types.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn fixed(
    udaf: Arc<AggregateUDF>,
    args: &[SqlType],
    params: &[SqlType],
    result: SqlType,
) -> Option<ResolvedAggregate> {
    let fits = args.len() == params.len()
        && args.iter().zip(params).all(|(arg, param)| can_cast(arg, param, CastContext::Implicit));
    fits.then(|| ResolvedAggregate { udaf, arg_types: params.to_vec(), result })
}

fn count(args: &[SqlType]) -> Option<ResolvedAggregate> {
    let arg_types: Vec<SqlType> = args.iter().map(known).collect();
    (args.len() <= 1).then(|| ResolvedAggregate {
        udaf: df::count::count_udaf(),
        arg_types,
        result: SqlType::Int8,
    })
}

/// A literal of unknown type is text.
fn known(ty: &SqlType) -> SqlType {
    if *ty == SqlType::Unknown { SqlType::Text } else { ty.clone() }
}

fn booleans(function: AggregateFunction, args: &[SqlType]) -> Option<ResolvedAggregate> {
    fixed(Incremental::udaf(function, &DataType::Boolean), args, &[SqlType::Bool], SqlType::Bool)
}

fn bits(function: AggregateFunction, args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    let udaf = Incremental::udaf(function, &arg.arrow());
    arg.is_integer().then(|| ResolvedAggregate { udaf, arg_types: vec![arg.clone()], result: arg.clone() })
}

fn spread(name: &str) -> Option<AggregateFunction> {
    Some(match name {
        "stddev" | "stddev_samp" => AggregateFunction::Deviation(Estimate::Sample),
        "stddev_pop" => AggregateFunction::Deviation(Estimate::Population),
        "variance" | "var_samp" => AggregateFunction::Variance(Estimate::Sample),
        "var_pop" => AggregateFunction::Variance(Estimate::Population),
        _ => return None,
    })
}

/// Of exact numbers exact, of all others as of float8.
fn moments(function: AggregateFunction, args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    if !arg.is_integer() && !matches!(arg, SqlType::Numeric(_)) {
        let udaf = Incremental::udaf(function, &DataType::Float64);
        return fixed(udaf, args, &[SqlType::Float8], SqlType::Float8);
    }
    let result = SqlType::Numeric(match function {
        AggregateFunction::Deviation(_) => NumericType::DEVIATION,
        _ => NumericType::VARIANCE,
    });
    let udaf = Incremental::udaf(function, &result.arrow());
    Some(ResolvedAggregate { udaf, arg_types: vec![arg.clone()], result })
}

fn regression(name: &str) -> Option<Regression> {
    use Regression::*;
    [Corr, CovarPop, CovarSamp, Count, AvgX, AvgY, Sxx, Syy, Sxy, Slope, Intercept, R2]
        .into_iter()
        .find(|regression| regression.name() == name)
}

fn of_two(regression: Regression, args: &[SqlType]) -> Option<ResolvedAggregate> {
    let result = if regression == Regression::Count { SqlType::Int8 } else { SqlType::Float8 };
    let udaf = Incremental::udaf(AggregateFunction::Regression(regression), &result.arrow());
    fixed(udaf, args, &[SqlType::Float8, SqlType::Float8], result)
}

fn sum(args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    let result = match arg {
        SqlType::Int2 | SqlType::Int4 => SqlType::Int8,
        SqlType::Int8 => SqlType::Numeric(NumericType::fixed(38, 0)),
        SqlType::Float4 | SqlType::Float8 => arg.clone(),
        SqlType::Numeric(numeric) => SqlType::Numeric(NumericType { precision: 38, ..*numeric }),
        _ => return None,
    };
    Some(ResolvedAggregate { udaf: sum_avg::sum_udaf(), arg_types: vec![arg.clone()], result })
}

fn avg(args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    let result = match arg {
        ty if ty.is_integer() => SqlType::Numeric(NumericType::QUOTIENT),
        SqlType::Numeric(_) => SqlType::Numeric(NumericType::QUOTIENT),
        SqlType::Float4 | SqlType::Float8 => SqlType::Float8,
        _ => return None,
    };
    Some(ResolvedAggregate { udaf: sum_avg::avg_udaf(), arg_types: vec![arg.clone()], result })
}

/// The least value of any type, one of the forms that it comes in.
pub fn least(ty: &DataType) -> Arc<AggregateUDF> {
    Incremental::udaf(AggregateFunction::Min, ty)
}

fn extreme(name: &str, args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    if *arg == SqlType::Interval {
        // DataFusion compares intervals field by field.
        let udaf = match name {
            "min" => least(&arg.arrow()),
            _ => Incremental::udaf(AggregateFunction::Max, &arg.arrow()),
        };
        return Some(ResolvedAggregate { udaf, arg_types: vec![arg.clone()], result: arg.clone() });
    }
    let ordered = match arg {
        SqlType::Unknown | SqlType::Varchar(_) | SqlType::Name => SqlType::Text,
        ty if ty.is_numeric() || ty.is_oid_like() => ty.clone(),
        SqlType::Text
        | SqlType::Bpchar(_)
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp
        | SqlType::Timestamptz => arg.clone(),
        _ => return None,
    };
    let is_float = matches!(ordered, SqlType::Float4 | SqlType::Float8);
    let udaf = match (name, is_float) {
        ("min", false) => df::min_max::min_udaf(),
        ("min", true) => float_min(),
        (_, false) => df::min_max::max_udaf(),
        (_, true) => float_max(),
    };
    Some(ResolvedAggregate { udaf, arg_types: vec![ordered.clone()], result: ordered })
}

fn array_agg(args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    let arg = known(arg);
    let result = SqlType::Array(Box::new(arg.clone()));
    Some(ResolvedAggregate { udaf: df::array_agg::array_agg_udaf(), arg_types: vec![arg], result })
}

fn same_type(udaf: Arc<AggregateUDF>, args: &[SqlType]) -> Option<ResolvedAggregate> {
    let [arg] = args else { return None };
    let arg = known(arg);
    Some(ResolvedAggregate { udaf, arg_types: vec![arg.clone()], result: arg })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_types_are_postgresql_s() {
        let result = |name: &str, arg: SqlType| {
            resolve_aggregate(name, &[arg]).unwrap().map(|found| found.result.to_string()).unwrap()
        };
        assert_eq!(result("sum", SqlType::Int4), "bigint");
        assert_eq!(result("sum", SqlType::Int8), "numeric");
        assert_eq!(result("sum", SqlType::Float4), "real");
        assert_eq!(result("avg", SqlType::Int2), "numeric");
        assert_eq!(result("avg", SqlType::Float4), "double precision");
        assert_eq!(result("max", SqlType::Varchar(Some(3))), "text");
        assert_eq!(result("array_agg", SqlType::Date), "date[]");
        assert_eq!(result("stddev", SqlType::Int4), "numeric");
        assert_eq!(result("stddev", SqlType::Float4), "double precision");
        assert_eq!(result("bit_or", SqlType::Int2), "smallint");
    }

    #[test]
    fn unknown_names_and_wrong_arguments_differ() {
        assert!(resolve_aggregate("upper", &[SqlType::Text]).unwrap().is_none());
        let error = resolve_aggregate("sum", &[SqlType::Text]).unwrap_err();
        assert_eq!((error.state().0, error.message()), ("42883", "function sum(text) does not exist"));
        let error = resolve_aggregate("sum", &[SqlType::Interval]).unwrap_err();
        assert_eq!(error.state().0, "0A000");
    }
}
