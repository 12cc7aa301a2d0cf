//! Pure window functions: row_number, rank, lag and the like. They are DataFusion's, with PostgreSQL's result types.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::functions_window as df;
use datafusion::logical_expr::{WindowFunctionDefinition, WindowUDF};
use weir_common::{Error, Result, SqlState, SqlType};

use super::coerce::{can_cast, common_type};
use super::counting::counting;
use super::float_extreme::{float_max, float_min};
use super::{CastContext, Incremental, ResolvedWindow, sum_avg};
use crate::spec::AggregateFunction;

/// Chooses the window function `name`; `None` when there is no pure window function of that name (aggregates
/// can be used as window functions too: ask [`super::resolve_aggregate`] next).
///
/// # Errors
/// 42883 when the function does not take these arguments.
pub fn resolve_window(name: &str, args: &[SqlType]) -> Result<Option<ResolvedWindow>> {
    let found = match name {
        "row_number" => {
            ranking(counted(df::row_number::row_number_udwf(), &SqlType::Int8), args, SqlType::Int8)
        }
        "rank" => ranking(counted(df::rank::rank_udwf(), &SqlType::Int8), args, SqlType::Int8),
        "dense_rank" => ranking(counted(df::rank::dense_rank_udwf(), &SqlType::Int8), args, SqlType::Int8),
        "percent_rank" => ranking(df::rank::percent_rank_udwf(), args, SqlType::Float8),
        "cume_dist" => ranking(df::cume_dist::cume_dist_udwf(), args, SqlType::Float8),
        "ntile" => {
            one_of(counted(df::ntile::ntile_udwf(), &SqlType::Int4), args, &[SqlType::Int8], SqlType::Int4)
        }
        "lag" => shifted(df::lead_lag::lag_udwf(), args)?,
        "lead" => shifted(df::lead_lag::lead_udwf(), args)?,
        "first_value" => value_of(df::nth_value::first_value_udwf(), args, &[]),
        "last_value" => value_of(df::nth_value::last_value_udwf(), args, &[]),
        "nth_value" => value_of(df::nth_value::nth_value_udwf(), args, &[SqlType::Int8]),
        _ => return Ok(None),
    };
    found.map(Some).ok_or_else(|| {
        let types: Vec<String> = args.iter().map(SqlType::name).collect();
        Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", types.join(", ")))
            .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
    })
}

/// The window function, or the aggregate as one, that has this name and takes arguments of these types: what
/// [`resolve_window`] and [`super::resolve_aggregate`] chose, found again by its name and result.
pub fn window_function(name: &str, args: &[DataType], result: &DataType) -> Option<WindowFunctionDefinition> {
    use WindowFunctionDefinition::{AggregateUDF, WindowUDF};
    let is_float = matches!(args.first(), Some(DataType::Float32 | DataType::Float64));
    Some(match name {
        "row_number" => WindowUDF(counted(df::row_number::row_number_udwf(), &SqlType::Int8)),
        "rank" => WindowUDF(counted(df::rank::rank_udwf(), &SqlType::Int8)),
        "dense_rank" => WindowUDF(counted(df::rank::dense_rank_udwf(), &SqlType::Int8)),
        "ntile" => WindowUDF(counted(df::ntile::ntile_udwf(), &SqlType::Int4)),
        "sum" => AggregateUDF(sum_avg::sum_udaf()),
        "avg" => AggregateUDF(sum_avg::avg_udaf()),
        "min" if is_float => AggregateUDF(float_min()),
        "max" if is_float => AggregateUDF(float_max()),
        name => match AggregateFunction::of_rows(name) {
            Some(function) => AggregateUDF(Incremental::udaf(function, result)),
            None => DATAFUSION.get(name)?.clone(),
        },
    })
}

/// DataFusion's functions that are used as they are.
static DATAFUSION: LazyLock<HashMap<String, WindowFunctionDefinition>> = LazyLock::new(|| {
    let windows = df::all_default_window_functions().into_iter();
    let windows = windows.map(|f| (f.name().to_owned(), WindowFunctionDefinition::WindowUDF(f)));
    let aggregates = datafusion::functions_aggregate::all_default_aggregate_functions().into_iter();
    let aggregates = aggregates.map(|f| (f.name().to_owned(), WindowFunctionDefinition::AggregateUDF(f)));
    // last_value is the name of an aggregate too.
    aggregates.chain(windows).collect()
});

fn counted(udwf: Arc<WindowUDF>, result: &SqlType) -> Arc<WindowUDF> {
    counting(udwf, result.arrow())
}

fn resolved(udwf: Arc<WindowUDF>, arg_types: Vec<SqlType>, result: SqlType) -> ResolvedWindow {
    ResolvedWindow { function: WindowFunctionDefinition::WindowUDF(udwf), arg_types, result }
}

fn ranking(udwf: Arc<WindowUDF>, args: &[SqlType], result: SqlType) -> Option<ResolvedWindow> {
    args.is_empty().then(|| resolved(udwf, Vec::new(), result))
}

fn one_of(
    udwf: Arc<WindowUDF>,
    args: &[SqlType],
    params: &[SqlType],
    result: SqlType,
) -> Option<ResolvedWindow> {
    let fits = args.len() == params.len()
        && args.iter().zip(params).all(|(arg, param)| can_cast(arg, param, CastContext::Implicit));
    fits.then(|| resolved(udwf, params.to_vec(), result))
}

/// A value of the first argument's type; the rest are `params`.
fn value_of(udwf: Arc<WindowUDF>, args: &[SqlType], params: &[SqlType]) -> Option<ResolvedWindow> {
    let (value, rest) = args.split_first()?;
    let value = if *value == SqlType::Unknown { SqlType::Text } else { value.clone() };
    let rest = one_of(udwf, rest, params, value.clone())?;
    let arg_types = std::iter::once(value.clone()).chain(rest.arg_types).collect();
    Some(ResolvedWindow { function: rest.function, arg_types, result: value })
}

/// `lag(value [, offset [, default]])`: value and default have their common type.
fn shifted(udwf: Arc<WindowUDF>, args: &[SqlType]) -> Result<Option<ResolvedWindow>> {
    let [value, default @ ..] = args else { return Ok(None) };
    if default.len() > 2
        || default.first().is_some_and(|offset| !can_cast(offset, &SqlType::Int8, CastContext::Implicit))
    {
        return Ok(None);
    }
    let inputs: Vec<SqlType> = std::iter::once(value).chain(default.get(1)).cloned().collect();
    let common = common_type(&inputs, "lag")?;
    let mut arg_types = vec![common.clone()];
    arg_types.extend(default.first().map(|_| SqlType::Int8));
    arg_types.extend(default.get(1).map(|_| common.clone()));
    Ok(Some(resolved(udwf, arg_types, common)))
}
