//! Scalar subqueries of a continuous query.
//!
//! An uncorrelated one becomes a column of a left join on true: a SELECT computes it once, before it begins; a view
//! must follow its changes. Correlated ones were made joins by the binder, or are by the rules. `single_value(x)`, which
//! stands for "the one row there is", becomes `min(x)` beside `count(*)`, and the view fails when the count exceeds 1
//! at the end of an epoch.
//!
//! Place in the flow: runs on the bound plan, before the rules.

use std::cell::Cell;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result as DfResult, internal_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use weir_common::Result;
use weir_exec::error::from_datafusion;
use weir_exec::functions;

use crate::binder::SINGLE_VALUE;

/// The plan without uncorrelated scalar subqueries.
pub fn to_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let number = Cell::new(0);
    let rewritten = plan.transform_up_with_subqueries(|node| match scalars(&node).is_empty() {
        true => Ok(Transformed::no(node)),
        false => join_all(node, &number).map(Transformed::yes),
    });
    Ok(rewritten.map_err(from_datafusion)?.data)
}

/// The plan with a checked minimum for each `single_value`.
pub fn check_single_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        let [call] = aggregate.aggr_expr.as_slice() else { return Ok(Transformed::no(node)) };
        match call.clone().unalias() {
            Expr::AggregateFunction(call) if call.func.name() == SINGLE_VALUE => {
                checked_minimum(aggregate, call.params.args).map(Transformed::yes)
            }
            _ => Ok(Transformed::no(node)),
        }
    });
    Ok(rewritten.map_err(from_datafusion)?.data)
}

fn checked_minimum(aggregate: &Aggregate, args: Vec<Expr>) -> DfResult<LogicalPlan> {
    let call = |function, args| {
        Expr::AggregateFunction(AggregateFunction::new_udf(function, args, false, None, vec![], None))
    };
    let (value, rows) = ("single value#0", "single rows#0");
    let calls = [call(min_udaf(), args).alias(value), call(count_udaf(), vec![lit(1i64)]).alias(rows)];
    let Some(single_row) = functions::by_name(functions::SINGLE_ROW) else {
        return internal_err!("the check of a subquery's rows is missing");
    };
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let checked = when(single_row.call(vec![column(rows)]), column(value)).end()?;
    let mut output = aggregate.schema.columns();
    let Some(name) = output.pop() else { return internal_err!("an aggregate has no column") };
    let mut exprs: Vec<Expr> = output.into_iter().map(Expr::Column).collect();
    exprs.push(checked.alias_qualified(name.relation, name.name));
    LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
        .aggregate(aggregate.group_expr.clone(), calls)?
        .project(exprs)?
        .build()
}

/// The subqueries in a node's expressions, each once.
fn scalars(node: &LogicalPlan) -> Vec<Expr> {
    let mut found = Vec::new();
    for expr in node.expressions() {
        // The closure cannot fail.
        let _ = expr.apply(|e| {
            if let Expr::ScalarSubquery(subquery) = e
                && subquery.outer_ref_columns.is_empty()
                && !found.contains(e)
            {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    found
}

fn join_all(node: LogicalPlan, number: &Cell<usize>) -> DfResult<LogicalPlan> {
    let output: Vec<Column> = node.schema().columns();
    // Of a join the left side: a column more changes none of its rows, whatever the kind of join.
    let mut inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
    let Some(mut input) = inputs.first().cloned() else { return Ok(node) };
    let mut values: Vec<(Expr, Expr)> = Vec::new();
    for scalar in scalars(&node) {
        let Expr::ScalarSubquery(subquery) = &scalar else { continue };
        let name = format!("scalar subquery#{}", number.replace(number.get() + 1));
        let value = Expr::Column(subquery.subquery.schema().columns().swap_remove(0));
        let right = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
            .project([value.alias(name.clone())])?
            .build()?;
        input = LogicalPlanBuilder::from(input).join_on(right, JoinType::Left, [lit(true)])?.build()?;
        values.push((scalar, Expr::Column(Column::new_unqualified(name))));
    }
    let replaced = node.map_expressions(|expr| {
        let name = expr.name_for_alias().ok();
        let is_column = matches!(expr, Expr::Alias(_) | Expr::Column(_));
        let replaced = expr.transform_down(|e| match values.iter().find(|(from, _)| *from == e) {
            Some((_, value)) => Ok(Transformed::new(value.clone(), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(e)),
        })?;
        match name.filter(|_| replaced.transformed && !is_column) {
            Some(name) => replaced.map_data(|expr| expr.alias_if_changed(name)),
            None => Ok(replaced),
        }
    })?;
    let node = replaced.data;
    let exprs = node.expressions();
    inputs[0] = input;
    let node = node.with_new_exprs(exprs, inputs)?;
    if node.schema().columns() == output {
        return Ok(node);
    }
    LogicalPlanBuilder::from(node).project(output.into_iter().map(Expr::Column))?.build()
}
