//! Window functions: the keys of partition and order and the arguments are computed by a Calc, so that the operator
//! reads columns only. Calls over the same partition and order share an operator; others are stacked.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::expr::{ScalarExpr, literal};
use weir_exec::operators::session::are_sessions;
use weir_exec::spec::{Frame, FrameBound, FrameUnits, SortColumn, WindowCall};

use crate::rules::merge_calc;
use crate::stream::event_time;
use crate::stream::lower::top_n::order_of;
use crate::stream::lower::{Extended, lower};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};

/// The stream plan of window functions.
pub(super) fn lower_window(window: &Window) -> Result<StreamPlan> {
    let input = lower(&window.input)?;
    // An input of which nothing is used has a column all the same, which the results do not stand behind.
    let width = window.input.schema().fields().len();
    let calls = window.window_expr.iter().map(call_of).collect::<Result<Vec<_>>>()?;
    let results = (0..calls.len()).map(|call| result_column(window, call)).collect::<Result<Vec<_>>>()?;
    let mut plan = input;
    // Where each call's result is.
    let mut places = vec![0; calls.len()];
    for group in groups(&calls) {
        let first = plan.columns.len();
        let group_calls: Vec<_> = group.iter().map(|call| (calls[*call], results[*call].clone())).collect();
        plan = over(plan, window, &group_calls)?;
        group.iter().enumerate().for_each(|(i, call)| places[*call] = first + i);
    }
    let project: Vec<usize> = (0..width).chain(places).collect();
    let columns = project.iter().map(|i| plan.columns[*i].clone()).collect();
    Ok(merge_calc::calc(plan, None, project.into_iter().map(ScalarExpr::Column).collect(), columns))
}

/// The column of a call's result, named by the function.
pub(super) fn result_column(window: &Window, call: usize) -> Result<StreamColumn> {
    let field = window.schema.field(window.input.schema().fields().len() + call);
    let name = call_of(&window.window_expr[call])?.fun.name().to_string();
    Ok(StreamColumn { name, ty: field.data_type().clone() })
}

/// A window function, whatever its name.
pub(super) fn call_of(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::WindowFunction(call) => Ok(call),
        Expr::Alias(alias) => call_of(&alias.expr),
        other => Err(Error::internal(format!("{other} is not a window function"))),
    }
}

/// Positions of calls with equal partition and order.
fn groups(calls: &[&WindowFunction]) -> Vec<Vec<usize>> {
    let same = |a: &WindowFunction, b: &WindowFunction| {
        a.params.partition_by == b.params.partition_by && a.params.order_by == b.params.order_by
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        match groups.iter_mut().find(|group| same(calls[group[0]], call)) {
            Some(group) => group.push(position),
            None => groups.push(vec![position]),
        }
    }
    groups
}

/// The plan with the results of calls over one partition and order after its columns.
fn over(input: StreamPlan, window: &Window, calls: &[(&WindowFunction, StreamColumn)]) -> Result<StreamPlan> {
    let params = &calls[0].0.params;
    let mut columns = input.columns.clone();
    let mut rows = Extended::over(input, window.input.schema());
    let partition = params.partition_by.iter().map(|expr| rows.add(expr)).collect::<Result<Vec<_>>>()?;
    let order = order_of(&params.order_by, &mut rows)?;
    let mut lowered = Vec::with_capacity(calls.len());
    for (call, result) in calls {
        lowered.push(lower_call(call, &order, result, &mut rows)?);
        columns.push(result.clone());
    }
    let project = (0..rows.width).collect();
    let rows = rows.compute();
    if let Some(column) = rows.columns.iter().find(|column| !weir_exec::state::can_store(&column.ty)) {
        return Err(Error::unsupported(format!("a window over a column of type {}", column.ty))
            .with_hint("Cast the column in a subquery below the window."));
    }
    let rows = match order.first() {
        Some(time) if are_sessions(&lowered) => event_time::on_time_for_sessions(rows, time.column, &lowered),
        _ => event_time::on_time(rows, &partition),
    };
    Ok(StreamPlan::new(StreamNode::Window { partition, order, calls: lowered, project }, vec![rows], columns))
}

fn lower_call(
    call: &WindowFunction,
    order: &[SortColumn],
    result: &StreamColumn,
    rows: &mut Extended<'_>,
) -> Result<WindowCall> {
    let params = &call.params;
    if params.distinct || params.null_treatment.is_some() {
        return Err(Error::unsupported("DISTINCT or IGNORE NULLS in a window function"));
    }
    let args = params.args.iter().map(|arg| lower_arg(arg, rows)).collect::<Result<_>>()?;
    let filter = params.filter.as_deref().map(|filter| rows.add(filter)).transpose()?;
    Ok(WindowCall {
        function: call.fun.name().to_string(),
        args,
        filter,
        frame: lower_frame(&params.window_frame, order, rows)?,
        result: result.ty.clone(),
    })
}

/// Constants stay constants: some functions accept nothing else in some places.
fn lower_arg(arg: &Expr, rows: &mut Extended<'_>) -> Result<ScalarExpr> {
    match arg {
        Expr::Literal(value, _) => Ok(ScalarExpr::Literal(literal(value)?, value.data_type())),
        arg => rows.add(arg).map(ScalarExpr::Column),
    }
}

fn lower_frame(frame: &WindowFrame, order: &[SortColumn], rows: &Extended<'_>) -> Result<Frame> {
    let units = match frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => FrameUnits::Groups,
    };
    let offset_type = match (units, order.first()) {
        (FrameUnits::Range, Some(key)) => range_offset_type(&rows.columns[key.column]),
        _ => DataType::UInt64,
    };
    let offset = |value: &ScalarValue| -> Result<_> {
        let value = value.cast_to(&offset_type).map_err(from_datafusion)?;
        Ok((literal(&value)?, offset_type.clone()))
    };
    let bound = |bound: &WindowFrameBound| {
        Ok(match bound {
            WindowFrameBound::Preceding(value) if value.is_null() => FrameBound::UnboundedPreceding,
            WindowFrameBound::Following(value) if value.is_null() => FrameBound::UnboundedFollowing,
            WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
            WindowFrameBound::Preceding(value) => {
                let (value, ty) = offset(value)?;
                FrameBound::Preceding(value, ty)
            }
            WindowFrameBound::Following(value) => {
                let (value, ty) = offset(value)?;
                FrameBound::Following(value, ty)
            }
        })
    };
    Ok(Frame { units, start: bound(&frame.start_bound)?, end: bound(&frame.end_bound)? })
}

/// What is added to a value of the ORDER BY column: an interval to a time, else a value of the same type.
fn range_offset_type(column: &StreamColumn) -> DataType {
    match column.ty {
        DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        ref ty => ty.clone(),
    }
}
