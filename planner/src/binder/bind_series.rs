//! Set-returning functions: unnest, generate_series, generate_subscripts, in the select list and in FROM.
//!
//! Each is bound as a list with DataFusion's `Unnest` expression around it; whoever can make rows of it (the select
//! list, FROM) takes the list out, and anywhere else it is an error (0A000).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Int32Type, Int64Type, IntervalMonthDayNanoType, TimestampMicrosecondType};
use chrono::{DateTime, Months, TimeDelta};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, UnnestOptions};
use datafusion::logical_expr::expr::Unnest;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, lit};
use weir_common::{Error, Result, SqlState, SqlType};

use super::system_call::call;
use super::typed::Typed;
use super::{Binder, plan_error};

/// Most rows of one series: it is made at once.
const SERIES_ROWS: i64 = 50_000_000;

impl Binder<'_> {
    /// A call of a set-returning function; `None` when `name` is none.
    pub(crate) fn bind_set_function(
        &self,
        name: &str,
        args: &[Typed],
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let (list, element) = match (name, args) {
            ("unnest", [array]) => match &array.ty {
                SqlType::Array(element) => (array.expr.clone(), element.as_ref().clone()),
                SqlType::Int2Vector => (array.expr.clone(), SqlType::Int2),
                SqlType::OidVector => (array.expr.clone(), SqlType::Oid),
                other => {
                    let message = format!("function unnest({}) does not exist", other.name());
                    return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(position));
                }
            },
            ("generate_series", [_, _] | [_, _, _]) => self.bind_series(args, position)?,
            ("generate_subscripts", [array, dimension]) => {
                let base = if matches!(array.ty, SqlType::Int2Vector | SqlType::OidVector) { 0 } else { 1 };
                let dimension = self.coerce(dimension.clone(), &SqlType::Int4)?;
                (subscripts(array.expr.clone(), dimension, base), SqlType::Int4)
            }
            _ => return Ok(None),
        };
        Ok(Some(Typed::new(Expr::Unnest(Unnest::new(list)), element, position)))
    }

    fn bind_series(&self, args: &[Typed], position: Option<usize>) -> Result<(Expr, SqlType)> {
        let types: Vec<SqlType> = args.iter().map(|a| a.ty.clone()).collect();
        let is = |f: fn(&SqlType) -> bool| types.iter().take(2).any(f);
        let element = if is(|t| matches!(t, SqlType::Timestamptz)) {
            SqlType::Timestamptz
        } else if is(|t| matches!(t, SqlType::Timestamp | SqlType::Date)) {
            SqlType::Timestamp
        } else if types.contains(&SqlType::Int8) {
            SqlType::Int8
        } else if types.iter().all(|t| t.is_integer() || *t == SqlType::Unknown) {
            SqlType::Int4
        } else {
            let names: Vec<String> = types.iter().map(SqlType::name).collect();
            let message = format!("function generate_series({}) does not exist", names.join(", "));
            let hint = "No function matches the given name and argument types. You might need to add explicit type casts.";
            return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).with_hint(hint).at(position));
        };
        let is_time = !element.is_integer();
        let mut coerced =
            vec![self.coerce(args[0].clone(), &element)?, self.coerce(args[1].clone(), &element)?];
        match args.get(2) {
            Some(step) if is_time => coerced.push(self.coerce(step.clone(), &SqlType::Interval)?),
            Some(step) => coerced.push(self.coerce(step.clone(), &element)?),
            None if is_time => {
                let message = "function generate_series(timestamp, timestamp) does not exist";
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message)
                    .with_hint("Give the step: generate_series(a, b, interval '1 day').")
                    .at(position));
            }
            None if element == SqlType::Int4 => coerced.push(lit(1i32)),
            None => coerced.push(lit(1i64)),
        }
        Ok((series(coerced, &element), element))
    }

    /// Makes rows of the set-returning calls inside `exprs`, side by side, and puts their columns in their place.
    pub(crate) fn expand_sets(&self, plan: LogicalPlan, exprs: Vec<&mut Expr>) -> Result<LogicalPlan> {
        let mut named: Vec<(Expr, String)> = Vec::new();
        for expr in exprs {
            let rewritten = expr.clone().transform_down(|e| {
                let Expr::Unnest(unnest) = &e else { return Ok(Transformed::no(e)) };
                let list = unnest.expr.as_ref().clone();
                let known = named.iter().find(|(known, _)| *known == list).map(|(_, name)| name.clone());
                let name = known.unwrap_or_else(|| {
                    let name = self.unique("set");
                    named.push((list, name.clone()));
                    name
                });
                let column = Expr::Column(Column::new_unqualified(name));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            });
            *expr = rewritten.map_err(plan_error)?.data;
        }
        if named.is_empty() {
            return Ok(plan);
        }
        unnest_lists(plan, named, UnnestOptions::new().with_preserve_nulls(false))
    }
}

/// `plan` with one more column for each list, and a row for each element.
pub(crate) fn unnest_lists(
    plan: LogicalPlan,
    lists: Vec<(Expr, String)>,
    options: UnnestOptions,
) -> Result<LogicalPlan> {
    let columns: Vec<Column> = lists.iter().map(|(_, name)| Column::new_unqualified(name.clone())).collect();
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(lists.into_iter().map(|(list, name)| list.alias(name)));
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(|p| p.unnest_columns_with_options(columns, options))
        .and_then(LogicalPlanBuilder::build)
        .map_err(plan_error)
}

fn subscripts(array: Expr, dimension: Expr, base: i32) -> Expr {
    let list = SqlType::Array(Box::new(SqlType::Int4)).arrow();
    call("generate_subscripts", vec![array, dimension], list, Volatility::Immutable, move |args, rows| {
        let (list, dimension) = (args[0].as_list::<i32>(), args[1].as_primitive::<Int32Type>());
        let length = |row: usize| {
            let known = list.is_valid(row) && dimension.is_valid(row) && dimension.value(row) == 1;
            if known { list.value_length(row) } else { 0 }
        };
        let values: Int32Array = (0..rows).flat_map(|row| (0..length(row)).map(|i| i + base)).collect();
        lists_of(Arc::new(values), (0..rows).map(|row| length(row) as usize))
    })
}

fn series(args: Vec<Expr>, element: &SqlType) -> Expr {
    let list = SqlType::Array(Box::new(element.clone())).arrow();
    let element = element.clone();
    call("generate_series", args, list, Volatility::Immutable, move |args, rows| {
        let mut values: Vec<i64> = Vec::new();
        let mut lengths = Vec::with_capacity(rows);
        for row in 0..rows {
            let before = values.len();
            if args.iter().all(|a| a.is_valid(row)) {
                append_series(args, row, &element, &mut values)?;
            }
            lengths.push(values.len() - before);
        }
        let values: ArrayRef = match element {
            SqlType::Int4 => Arc::new(values.into_iter().map(|v| v as i32).collect::<Int32Array>()),
            SqlType::Int8 => Arc::new(Int64Array::from(values)),
            SqlType::Timestamptz => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
            _ => Arc::new(TimestampMicrosecondArray::from(values)),
        };
        lists_of(values, lengths.into_iter())
    })
}

fn append_series(args: &[ArrayRef], row: usize, element: &SqlType, out: &mut Vec<i64>) -> Result<()> {
    let int = |a: &ArrayRef| match element {
        SqlType::Int4 => i64::from(a.as_primitive::<Int32Type>().value(row)),
        SqlType::Int8 => a.as_primitive::<Int64Type>().value(row),
        _ => a.as_primitive::<TimestampMicrosecondType>().value(row),
    };
    let (start, stop) = (int(&args[0]), int(&args[1]));
    let zero = || Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    if element.is_integer() {
        let step = int(&args[2]);
        if step == 0 {
            return Err(zero());
        }
        return append_steps(start, stop, step > 0, out, |value| value.checked_add(step));
    }
    let step = args[2].as_primitive::<IntervalMonthDayNanoType>().value(row);
    let micros = step.nanoseconds / 1000;
    if (step.months, step.days, micros) == (0, 0, 0) {
        return Err(zero());
    }
    let forward = i64::from(step.months) * 30 + i64::from(step.days) > 0 || micros > 0;
    append_steps(start, stop, forward, out, |value| {
        let at = DateTime::from_timestamp_micros(value)?;
        let months = Months::new(step.months.unsigned_abs());
        let at =
            if step.months < 0 { at.checked_sub_months(months)? } else { at.checked_add_months(months)? };
        let at = at.checked_add_signed(TimeDelta::days(i64::from(step.days)))?;
        Some(at.checked_add_signed(TimeDelta::microseconds(micros))?.timestamp_micros())
    })
}

fn append_steps(
    start: i64,
    stop: i64,
    forward: bool,
    out: &mut Vec<i64>,
    next: impl Fn(i64) -> Option<i64>,
) -> Result<()> {
    let limit = out.len() as i64 + SERIES_ROWS;
    let mut value = start;
    while if forward { value <= stop } else { value >= stop } {
        out.push(value);
        if out.len() as i64 > limit {
            let message = format!("generate_series of more than {SERIES_ROWS} rows");
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                .with_hint("Combine two series with a cross join."));
        }
        match next(value) {
            Some(following) => value = following,
            None => break,
        }
    }
    Ok(())
}

fn lists_of(values: ArrayRef, lengths: impl Iterator<Item = usize>) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None);
    Ok(Arc::new(list.map_err(Error::internal)?))
}
