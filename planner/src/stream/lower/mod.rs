//! Lowering: the optimised logical plan of a query becomes a tree of streaming operators.
//!
//! Place in the flow: after [`crate::rules::optimize`], before the job builder. One file a kind of node. Every node
//! that Weir cannot keep up to date is refused here with 0A000 and a hint ([`crate::stream::unsupported`]).
//!
//! Invariant: the columns of a lowered node are those of the logical node, by position and Arrow type. Only where
//! the logical node has none, since its rows are merely counted, the lowered one has a column that nobody reads.

mod aggregate;
mod join;
mod scan;
mod unnest;
mod values;

use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, Filter, LogicalPlan, Projection, Union};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::expr::{ScalarExpr, from_logical};

use crate::explain::render_expr;
use crate::rules::merge_calc;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::unsupported;

/// The stream plan of a logical plan.
pub fn lower(plan: &LogicalPlan) -> Result<StreamPlan> {
    match plan {
        LogicalPlan::Projection(projection) => lower_projection(projection),
        LogicalPlan::Filter(filter) => lower_filter(filter),
        LogicalPlan::TableScan(scan) => scan::lower_scan(scan),
        LogicalPlan::Aggregate(aggregate) => aggregate::lower_aggregate(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => Ok(aggregate::distinct(lower(input)?)),
        LogicalPlan::Join(join) => join::lower_join(join),
        LogicalPlan::Union(union) => lower_union(union),
        LogicalPlan::SubqueryAlias(alias) => Ok(lower(&alias.input)?.renamed(columns_of(&alias.schema))),
        LogicalPlan::Values(values) => values::lower_values(values),
        LogicalPlan::Unnest(unnest) => unnest::lower_unnest(unnest),
        LogicalPlan::EmptyRelation(empty) => values::lower_empty(empty),
        // A view has no order; PostgreSQL lets one be written.
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => lower(&sort.input),
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref() {
            Some(operation) => join::lower_bag_operation(operation),
            None => Err(unsupported::node(plan)),
        },
        other => Err(unsupported::node(other)),
    }
}

/// Names and types of a logical node's columns.
fn columns_of(schema: &DFSchema) -> Vec<StreamColumn> {
    schema.fields().iter().map(|field| column_of(field)).collect()
}

/// A field as a column, under its name without the number that the binder made it unique by (`price#7`).
fn column_of(field: &Field) -> StreamColumn {
    let name = field.name();
    let user_name = match name.rsplit_once('#') {
        Some((stem, number)) if !stem.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    };
    StreamColumn { name: user_name.to_string(), ty: field.data_type().clone() }
}

/// The column that a logical expression makes; a computed one is named by what computes it.
fn column_of_expr(expr: &Expr, scalar: &ScalarExpr, schema: &DFSchema) -> Result<StreamColumn> {
    let (_, field) = expr.to_field(schema).map_err(from_datafusion)?;
    let column = column_of(&field);
    if matches!(expr, Expr::Column(_) | Expr::Alias(_)) {
        return Ok(column);
    }
    let input = columns_of(schema);
    let names: Vec<&str> = input.iter().map(|column| column.name.as_str()).collect();
    Ok(StreamColumn { name: render_expr(scalar, &names), ty: column.ty })
}

/// A logical expression over a node's columns, as data.
fn lower_expr(expr: &Expr, schema: &DFSchema) -> Result<ScalarExpr> {
    unsupported::check_expr(expr)?;
    from_logical(expr, schema)
}

fn lower_projection(projection: &Projection) -> Result<StreamPlan> {
    let input = lower(&projection.input)?;
    if projection.expr.is_empty() {
        return Ok(merge_calc::select(input, &[]));
    }
    let schema = projection.input.schema();
    let project = projection.expr.iter().map(|expr| lower_expr(expr, schema)).collect::<Result<Vec<_>>>()?;
    Ok(merge_calc::calc(input, None, project, columns_of(&projection.schema)))
}

fn lower_filter(filter: &Filter) -> Result<StreamPlan> {
    let input = lower(&filter.input)?;
    let predicate = lower_expr(&filter.predicate, filter.input.schema())?;
    Ok(merge_calc::filter(input, predicate))
}

fn lower_union(union: &Union) -> Result<StreamPlan> {
    let columns = columns_of(&union.schema);
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let mut input = lower(input)?;
        if columns.is_empty() {
            input = merge_calc::counted(input);
        } else if input.columns.iter().map(|c| &c.ty).ne(columns.iter().map(|c| &c.ty)) {
            return Err(Error::internal("the inputs of a UNION have different types"));
        }
        inputs.push(input);
    }
    let columns = if columns.is_empty() { inputs[0].columns.clone() } else { columns };
    Ok(StreamPlan::new(StreamNode::Union, inputs, columns))
}
