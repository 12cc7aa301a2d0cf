//! Aggregates whose rows have an order: `string_agg`, `array_agg`, `jsonb_agg`, and the ordered-set aggregates
//! `mode`, `percentile_cont` and `percentile_disc`, as queries and views compute them.
//!
//! Rows that the call's ORDER BY does not tell apart, or all without one, are ordered by the arguments, ascending and
//! NULLs last: PostgreSQL leaves that order open. As window functions `string_agg` and `array_agg` follow the window's
//! order instead; for that they are found in [`super::aggregate`].

use weir_common::{Error, Result, SqlState, SqlType};

use super::coerce::can_cast;
use super::{CastContext, Incremental, ResolvedAggregate};
use crate::spec::{AggregateFunction, Fraction, ValueOrder};

/// The ordered-set aggregate `name` at this fraction (of `mode` none is asked); `None` when there is none of the name.
pub fn ordered_set(name: &str, fraction: Option<Fraction>) -> Option<AggregateFunction> {
    match name {
        "mode" => Some(AggregateFunction::Mode),
        "percentile_cont" => Some(AggregateFunction::PercentileCont(fraction)),
        "percentile_disc" => Some(AggregateFunction::PercentileDisc(fraction)),
        _ => None,
    }
}

/// Chooses an ordered aggregate for arguments of these types and an order over them, and over more that come after
/// them. The caller appends those to the arguments of the call.
///
/// # Errors
/// 42883 when the aggregate does not take these arguments.
pub fn resolve_ordered(
    function: AggregateFunction,
    args: &[SqlType],
    order: Vec<ValueOrder>,
) -> Result<ResolvedAggregate> {
    let (arg_types, result) = types(function, args).ok_or_else(|| no_aggregate(function, args))?;
    let udaf = Incremental::ordered(function, order, &result.arrow());
    Ok(ResolvedAggregate { udaf, arg_types, result })
}

fn types(function: AggregateFunction, args: &[SqlType]) -> Option<(Vec<SqlType>, SqlType)> {
    let decided = |ty: &SqlType| if *ty == SqlType::Unknown { SqlType::Text } else { ty.clone() };
    match (function, args) {
        (AggregateFunction::StringAgg, [text, separator]) => {
            let bytea = [text, separator].contains(&&SqlType::Bytea);
            let ty = if bytea { SqlType::Bytea } else { SqlType::Text };
            let fits = [text, separator].iter().all(|arg| can_cast(arg, &ty, CastContext::Implicit));
            fits.then(|| (vec![ty.clone(), ty.clone()], ty))
        }
        (AggregateFunction::ArrayAgg, [value]) => {
            let value = decided(value);
            Some((vec![value.clone()], SqlType::Array(Box::new(value))))
        }
        (AggregateFunction::JsonbAgg, [SqlType::Jsonb]) => Some((vec![SqlType::Jsonb], SqlType::Jsonb)),
        (AggregateFunction::Mode | AggregateFunction::PercentileDisc(_), [value]) => {
            Some((vec![decided(value)], decided(value)))
        }
        (AggregateFunction::PercentileCont(_), [SqlType::Interval]) => {
            Some((vec![SqlType::Interval], SqlType::Interval))
        }
        (AggregateFunction::PercentileCont(_), [value]) => {
            let fits = can_cast(value, &SqlType::Float8, CastContext::Implicit);
            fits.then(|| (vec![SqlType::Float8], SqlType::Float8))
        }
        _ => None,
    }
}

fn type_list(args: &[SqlType]) -> String {
    args.iter().map(SqlType::name).collect::<Vec<_>>().join(", ")
}

fn no_aggregate(function: AggregateFunction, args: &[SqlType]) -> Error {
    let message = format!("function {}({}) does not exist", function.name(), type_list(args));
    Error::new(SqlState::UNDEFINED_FUNCTION, message).with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}
