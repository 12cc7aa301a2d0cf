//! Aggregates: group keys and arguments are computed by a Calc, so that the aggregate reads columns only.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction as LogicalCall;
use datafusion::logical_expr::{Aggregate, Expr};
use weir_common::{Error, Result};
use weir_exec::functions::Incremental;
use weir_exec::spec::{AggregateCall, AggregateFunction};

use super::slices::by_slices;
use crate::stream::event_time;
use crate::stream::lower::{Extended, columns_of, lower};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};

/// The stream plan of GROUP BY.
pub(super) fn lower_aggregate(aggregate: &Aggregate) -> Result<StreamPlan> {
    let mut arguments = Extended::instead_of(lower(&aggregate.input)?, aggregate.input.schema());
    let mut group = Vec::new();
    for expr in &aggregate.group_expr {
        if matches!(expr, Expr::GroupingSet(_)) {
            return Err(Error::unsupported("GROUPING SETS, ROLLUP or CUBE in a materialized view")
                .with_hint(
                    "Write one GROUP BY query for each grouping set and combine them with UNION ALL.",
                ));
        }
        group.push(arguments.add(expr)?);
    }
    let columns = columns_of(&aggregate.schema);
    let mut calls = Vec::new();
    for (expr, column) in aggregate.aggr_expr.iter().zip(&columns[group.len()..]) {
        calls.push(lower_call(expr, column, &mut arguments)?);
    }
    let input = arguments.compute();
    let rows = event_time::on_time(input.clone(), &group);
    // Where rows can be late, whether one is depends on its windows, not on its slice.
    if rows == input
        && let Some(plan) = by_slices(&input, &group, &calls, &columns)
    {
        return Ok(plan);
    }
    Ok(StreamPlan::new(StreamNode::Aggregate { group, calls, ttl: None }, vec![rows], columns))
}

/// The rows of a plan, each once.
pub(super) fn distinct(input: StreamPlan) -> StreamPlan {
    let columns = input.columns.clone();
    let group: Vec<usize> = (0..columns.len()).collect();
    let input = event_time::on_time(input, &group);
    StreamPlan::new(StreamNode::Aggregate { group, calls: Vec::new(), ttl: None }, vec![input], columns)
}

fn lower_call(expr: &Expr, column: &StreamColumn, arguments: &mut Extended<'_>) -> Result<AggregateCall> {
    let call = match expr {
        Expr::Alias(alias) => return lower_call(&alias.expr, column, arguments),
        Expr::AggregateFunction(call) => call,
        other => return Err(Error::internal(format!("{other} is not an aggregate"))),
    };
    aggregate_call(call, column.ty.clone(), &mut |expr| arguments.add(expr))
}

/// A call with a result of this type; `column` gives the column in which an argument will be.
pub(crate) fn aggregate_call(
    call: &LogicalCall,
    result: DataType,
    column: &mut dyn FnMut(&Expr) -> Result<usize>,
) -> Result<AggregateCall> {
    let function = streaming_function(call)?;
    let order = Incremental::of(&call.func).map_or(Vec::new(), |ordered| ordered.order.clone());
    let args = match call.params.args.as_slice() {
        [constant] if function == AggregateFunction::Count && !call.params.distinct && is_value(constant) => {
            Vec::new()
        }
        args => args.iter().map(&mut *column).collect::<Result<_>>()?,
    };
    let filter = call.params.filter.as_deref().map(column).transpose()?;
    // The smallest and largest value of a set and of a bag are the same.
    let extreme = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
    let distinct = call.params.distinct && !extreme;
    Ok(AggregateCall { function, args, order, filter, distinct, result })
}

/// Whether an expression is a constant other than NULL, so that count(it) is count(*).
fn is_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !ScalarValue::is_null(value))
}

fn streaming_function(call: &LogicalCall) -> Result<AggregateFunction> {
    if let Some(incremental) = Incremental::of(&call.func) {
        return Ok(incremental.function);
    }
    match call.func.name() {
        "count" => Ok(AggregateFunction::Count),
        "sum" => Ok(AggregateFunction::Sum),
        "avg" => Ok(AggregateFunction::Avg),
        "min" => Ok(AggregateFunction::Min),
        "max" => Ok(AggregateFunction::Max),
        _ => Err(not_streaming(call)),
    }
}

fn not_streaming(call: &LogicalCall) -> Error {
    Error::unsupported(format!("aggregate function {} in a materialized view", call.func.name()))
        .with_hint("Use it in the query that reads the view.")
}
