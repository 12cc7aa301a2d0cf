//! Top-N: LIMIT and OFFSET of ordered rows, and ranking functions whose number a filter bounds.
//!
//! ```text
//!   Limit(Projection(Sort(x)))        → Calc(TopN(x))                    projections keep the order
//!   Filter(number <= n, Window(x))    → Calc(TopN(x) with its number)    row_number, rank, dense_rank alone
//! ```
//! The keys of the order and the partition are computed by a Calc, so that the operator reads columns only.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, SkipType, Sort, SortExpr, Window,
    WindowFunctionDefinition,
};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::spec::{Numbering, RowBounds, SortColumn};

use crate::rules::merge_calc;
use crate::stream::event_time;
use crate::stream::lower::window::{call_of, result_column};
use crate::stream::lower::{Extended, columns_of, lower, lower_expr, project};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::filter_of;

/// The stream plan of LIMIT and OFFSET. Without an ORDER BY the first rows are those that come first by all columns.
pub(super) fn lower_limit(limit: &Limit) -> Result<StreamPlan> {
    first_rows(&limit.input, bounds_of(limit)?)
}

/// The stream plan of ORDER BY, with the rows of its own that it shows at most.
pub(super) fn lower_sort(sort: &Sort) -> Result<StreamPlan> {
    match sort.fetch {
        Some(fetch) => first_sorted(sort, window_of(0, Some(fetch))),
        // A view has no order; PostgreSQL lets one be written.
        None => lower(&sort.input),
    }
}

/// The rows of a plan that stand between these numbers in its order.
fn first_rows(plan: &LogicalPlan, bounds: RowBounds) -> Result<StreamPlan> {
    match plan {
        LogicalPlan::Projection(projection) if has_order(&projection.input) => {
            project(projection, first_rows(&projection.input, bounds)?)
        }
        LogicalPlan::SubqueryAlias(alias) if has_order(&alias.input) => {
            Ok(first_rows(&alias.input, bounds)?.renamed(columns_of(&alias.schema)))
        }
        LogicalPlan::Limit(inner) => first_rows(&inner.input, within(bounds, bounds_of(inner)?)),
        LogicalPlan::Sort(sort) => {
            let own = sort.fetch.map_or(bounds, |fetch| within(bounds, window_of(0, Some(fetch))));
            first_sorted(sort, own)
        }
        other => {
            let rows = lower(other)?;
            let all = (0..rows.columns.len()).collect();
            Ok(top_n(rows, Vec::new(), Vec::new(), bounds, all, None))
        }
    }
}

fn has_order(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_order(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_order(&alias.input),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => true,
        _ => false,
    }
}

fn bounds_of(limit: &Limit) -> Result<RowBounds> {
    let unfolded = || Error::internal("LIMIT and OFFSET are constants");
    let SkipType::Literal(skip) = limit.get_skip_type().map_err(from_datafusion)? else {
        return Err(unfolded());
    };
    let FetchType::Literal(fetch) = limit.get_fetch_type().map_err(from_datafusion)? else {
        return Err(unfolded());
    };
    Ok(window_of(skip as u64, fetch))
}

fn window_of(skip: u64, fetch: Option<usize>) -> RowBounds {
    let last = fetch.map(|fetch| skip.saturating_add(fetch as u64));
    RowBounds { numbering: Numbering::Row, skip, last }
}

/// The bounds of rows that are numbered anew among the rows within `inner`.
fn within(outer: RowBounds, inner: RowBounds) -> RowBounds {
    let last = outer.last.map(|last| last.saturating_add(inner.skip));
    let last = last.into_iter().chain(inner.last).min();
    RowBounds { numbering: Numbering::Row, skip: inner.skip.saturating_add(outer.skip), last }
}

fn first_sorted(sort: &Sort, bounds: RowBounds) -> Result<StreamPlan> {
    let mut rows = Extended::over(lower(&sort.input)?, sort.input.schema());
    let order = order_of(&sort.expr, &mut rows)?;
    let own = (0..rows.width).collect();
    Ok(top_n(rows.compute(), Vec::new(), order, bounds, own, None))
}

/// Sort keys as columns of the extended rows.
pub(super) fn order_of(keys: &[SortExpr], rows: &mut Extended<'_>) -> Result<Vec<SortColumn>> {
    let key = |key: &SortExpr| {
        let column = rows.add(&key.expr)?;
        Ok(SortColumn { column, descending: !key.asc, nulls_first: key.nulls_first })
    };
    keys.iter().map(key).collect()
}

/// The first rows of each partition: columns `project`, and the number if it has a name. Rows of a partition are equal
/// in its columns: their order is that of the other keys.
fn top_n(
    rows: StreamPlan,
    partition: Vec<usize>,
    mut order: Vec<SortColumn>,
    bounds: RowBounds,
    project: Vec<usize>,
    number: Option<StreamColumn>,
) -> StreamPlan {
    let mut columns: Vec<StreamColumn> = project.iter().map(|i| rows.columns[*i].clone()).collect();
    let numbered = number.is_some();
    columns.extend(number);
    order.retain(|key| !partition.contains(&key.column));
    if bounds.last.is_some_and(|last| last <= bounds.skip) && bounds.numbering == Numbering::Row {
        return nothing(rows, columns);
    }
    let rows = event_time::on_time(rows, &partition);
    let node = StreamNode::TopN { partition, order, bounds, project, numbered };
    StreamPlan::new(node, vec![rows], columns)
}

/// No row at all, of these columns.
fn nothing(rows: StreamPlan, columns: Vec<StreamColumn>) -> StreamPlan {
    let null = |column: &StreamColumn| ScalarExpr::Literal(Literal::Null, column.ty.clone());
    let never = ScalarExpr::Literal(Literal::Bool(false), arrow::datatypes::DataType::Boolean);
    let project = columns.iter().map(null).collect();
    merge_calc::calc(rows, Some(never), project, columns)
}

/// A filter over a ranking function that bounds its number, as a Top-N with the rest of the filter above.
pub(super) fn lower_bounded_ranking(filter: &Filter) -> Result<Option<StreamPlan>> {
    bounded_ranking(&filter.predicate, &filter.input)
}

/// As [`lower_bounded_ranking`], also where projections stand between the filter and the window.
fn bounded_ranking(predicate: &Expr, input: &LogicalPlan) -> Result<Option<StreamPlan>> {
    match input {
        LogicalPlan::Window(window) => bounded_window(predicate, window),
        LogicalPlan::Projection(projection) => {
            let inner: Vec<&Expr> = projection.expr.iter().map(without_alias).collect();
            let Some(predicate) = moved_below(predicate, &projection.schema, &inner)? else {
                return Ok(None);
            };
            let first = bounded_ranking(&predicate, &projection.input)?;
            first.map(|first| project(projection, first)).transpose()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner: Vec<Expr> = alias.input.schema().columns().into_iter().map(Expr::Column).collect();
            let inner: Vec<&Expr> = inner.iter().collect();
            let Some(predicate) = moved_below(predicate, &alias.schema, &inner)? else { return Ok(None) };
            let first = bounded_ranking(&predicate, &alias.input)?;
            Ok(first.map(|first| first.renamed(columns_of(&alias.schema))))
        }
        _ => Ok(None),
    }
}

fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        other => other,
    }
}

/// The predicate over the columns that those of `schema` are, if it reads none that is computed.
fn moved_below(predicate: &Expr, schema: &DFSchema, inner: &[&Expr]) -> Result<Option<Expr>> {
    let mut only_columns = true;
    let moved = predicate.clone().transform_up(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let below = inner[schema.index_of_column(column)?];
        only_columns &= matches!(below, Expr::Column(_));
        Ok(Transformed::yes(below.clone()))
    });
    let moved = moved.map_err(from_datafusion)?.data;
    Ok(only_columns.then_some(moved))
}

fn bounded_window(predicate: &Expr, window: &Window) -> Result<Option<StreamPlan>> {
    let Some((numbering, call)) = ranking(window) else { return Ok(None) };
    let Some(number) = window.schema.columns().pop().map(Expr::Column) else { return Ok(None) };
    let (bounds, rest) = bounds_in(predicate, &number, numbering);
    if bounds.last.is_none() {
        return Ok(None);
    }
    let mut rows = Extended::over(lower(&window.input)?, window.input.schema());
    let partition = call.params.partition_by.iter().map(|expr| rows.add(expr)).collect::<Result<_>>()?;
    let order = order_of(&call.params.order_by, &mut rows)?;
    let own = (0..window.input.schema().fields().len()).collect();
    let number = result_column(window, 0)?;
    let first = top_n(rows.compute(), partition, order, bounds, own, Some(number));
    let rest = rest.iter().map(|term| lower_expr(term, &window.schema)).collect::<Result<Vec<_>>>()?;
    Ok(Some(match filter_of(&rest.iter().collect::<Vec<_>>()) {
        Some(filter) => merge_calc::filter(first, filter),
        None => first,
    }))
}

/// What a predicate says of a number, and the terms that say more.
fn bounds_in<'a>(predicate: &'a Expr, number: &Expr, numbering: Numbering) -> (RowBounds, Vec<&'a Expr>) {
    let mut bounds = RowBounds { numbering, skip: 0, last: None };
    let mut rest = Vec::new();
    let counts_rows = numbering == Numbering::Row;
    for term in split_conjunction(predicate) {
        let (first, last) = match bound_of(term, number) {
            Some(Bound::Upper(last)) => (None, Some(last)),
            Some(Bound::Lower(first)) => (Some(first), None),
            Some(Bound::Exactly(n)) => (Some(n), Some(n)),
            None => (None, None),
        };
        bounds.last = bounds.last.into_iter().chain(last).min();
        match first {
            // Numbers that rows share do not count the rows that are left out.
            Some(first) if counts_rows => bounds.skip = bounds.skip.max(first.saturating_sub(1)),
            None if last.is_some() => {}
            _ => rest.push(term),
        }
    }
    (bounds, rest)
}

/// The only call of a window node, if it numbers rows.
fn ranking(window: &Window) -> Option<(Numbering, &WindowFunction)> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let call = call_of(expr).ok()?;
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    let numbering = match function.name() {
        "row_number" => Numbering::Row,
        "rank" => Numbering::Rank,
        "dense_rank" => Numbering::DenseRank,
        _ => return None,
    };
    Some((numbering, call))
}

/// What a term says of a number, counted from 1.
enum Bound {
    Upper(u64),
    Lower(u64),
    Exactly(u64),
}

fn bound_of(term: &Expr, number: &Expr) -> Option<Bound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = term else { return None };
    let (op, value) = match (uncast(left) == number, uncast(right) == number) {
        (true, false) => (*op, integer(right)?),
        (false, true) => (op.swap()?, integer(left)?),
        _ => return None,
    };
    let whole = |value: i128| value.clamp(0, i128::from(u64::MAX)) as u64;
    Some(match op {
        Operator::LtEq => Bound::Upper(whole(value)),
        Operator::Lt => Bound::Upper(whole(value - 1)),
        Operator::GtEq => Bound::Lower(whole(value)),
        Operator::Gt => Bound::Lower(whole(value + 1)),
        Operator::Eq => Bound::Exactly(whole(value)),
        _ => return None,
    })
}

/// An expression without casts to a wider integer type.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => uncast(&cast.expr),
        other => other,
    }
}

fn integer(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(ScalarValue::Int16(Some(value)), _) => Some(i128::from(*value)),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some(i128::from(*value)),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(i128::from(*value)),
        _ => None,
    }
}
