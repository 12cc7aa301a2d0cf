//! Lowering: the optimised logical plan of a query becomes a tree of streaming operators.
//!
//! Place in the flow: after [`crate::rules::optimize`], before the job builder. One file a kind of node. Every node
//! that Weir cannot keep up to date is refused here with 0A000 and a hint ([`crate::stream::unsupported`]).
//!
//! Invariant: the columns of a lowered node are those of the logical node, by position and Arrow type. Only where
//! the logical node has none, since its rows are merely counted, the lowered one has a column that nobody reads.

pub(crate) mod aggregate;
mod asof_join;
mod join;
mod match_recognize;
mod partial;
mod proc_time;
mod scan;
mod slices;
mod temporal;
mod top_n;
mod unnest;
mod values;
mod window;

use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, Filter, LogicalPlan, Projection, Union};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::expr::{ScalarExpr, from_logical};

use crate::explain::render_expr;
use crate::rules::merge_calc;
use crate::stream::lower::proc_time::Stamped;
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
        LogicalPlan::Sort(sort) => top_n::lower_sort(sort),
        LogicalPlan::Limit(limit) => top_n::lower_limit(limit),
        LogicalPlan::Window(window) => window::lower_window(window),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            if let Some(recognize) = node.downcast_ref() {
                return match_recognize::lower_match_recognize(recognize);
            }
            match (node.downcast_ref(), node.downcast_ref(), node.downcast_ref()) {
                (Some(operation), ..) => join::lower_bag_operation(operation),
                (_, Some(join), _) => asof_join::lower_asof_join(join),
                (.., Some(join)) => asof_join::lower_lookup_join(join),
                _ => Err(unsupported::node(plan)),
            }
        }
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

/// A plan with computed columns, after its own or instead of them; each expression once.
struct Extended<'a> {
    plan: StreamPlan,
    schema: &'a DFSchema,
    /// How many columns of its own the plan keeps.
    width: usize,
    exprs: Vec<ScalarExpr>,
    columns: Vec<StreamColumn>,
}

impl<'a> Extended<'a> {
    /// The lowered plan of a logical node with this schema.
    fn over(plan: StreamPlan, schema: &'a DFSchema) -> Extended<'a> {
        let (width, columns) = (plan.columns.len(), plan.columns.clone());
        Extended { plan, schema, width, exprs: (0..width).map(ScalarExpr::Column).collect(), columns }
    }

    /// The same without the plan's own columns.
    fn instead_of(plan: StreamPlan, schema: &'a DFSchema) -> Extended<'a> {
        Extended { plan, schema, width: 0, exprs: Vec::new(), columns: Vec::new() }
    }

    /// The column in which this expression will be.
    fn add(&mut self, expr: &Expr) -> Result<usize> {
        let scalar = lower_expr(expr, self.schema)?;
        if let Some(position) = self.exprs.iter().position(|e| *e == scalar) {
            return Ok(position);
        }
        self.columns.push(column_of_expr(expr, &scalar, self.schema)?);
        self.exprs.push(scalar);
        Ok(self.exprs.len() - 1)
    }

    fn compute(self) -> StreamPlan {
        if self.exprs.is_empty() {
            return merge_calc::select(self.plan, &[]);
        }
        merge_calc::calc(self.plan, None, self.exprs, self.columns)
    }
}

fn lower_projection(projection: &Projection) -> Result<StreamPlan> {
    project(projection, lower(&projection.input)?)
}

/// A projection of its lowered input.
fn project(projection: &Projection, input: StreamPlan) -> Result<StreamPlan> {
    if projection.expr.is_empty() {
        return Ok(merge_calc::select(input, &[]));
    }
    let (schema, columns) = (projection.input.schema(), columns_of(&projection.schema));
    let lowered = |exprs: &[Expr], schema| {
        exprs.iter().map(|expr| lower_expr(expr, schema)).collect::<Result<Vec<_>>>()
    };
    if proc_time::is_read_by(&projection.expr) {
        let Stamped { rows, schema, exprs } = proc_time::stamped(input, schema, &projection.expr)?;
        return Ok(merge_calc::calc(rows, None, lowered(&exprs, &schema)?, columns));
    }
    Ok(merge_calc::calc(input, None, lowered(&projection.expr, schema)?, columns))
}

fn lower_filter(filter: &Filter) -> Result<StreamPlan> {
    if let Some(first_rows) = top_n::lower_bounded_ranking(filter)? {
        return Ok(first_rows);
    }
    let mut input = lower(&filter.input)?;
    let (predicate, schema) = (temporal::Predicate::of(&filter.predicate)?, filter.input.schema());
    for part in &predicate.rest {
        input = merge_calc::filter(input, lower_expr(part, schema)?);
    }
    predicate.filter(input, schema)
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
