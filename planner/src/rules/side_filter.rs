//! Filters above an ASOF or lookup join that are about the left side go below it, and those about keys to both sides.
//!
//! Place in the flow: beside DataFusion's `push_down_filter`, in queries and in views. That rule knows of a node that is
//! none of its own only that it has inputs, and would put a filter above each of them or above none.
//!
//! ```text
//!   Filter l.k = 5 AND l.v > 1 AND r.w = 2              Filter r.w = 2
//!     AsofJoin l.k = r.k, …                       →       AsofJoin l.k = r.k, …
//!       l                                                   Filter l.k = 5 AND l.v > 1 over l
//!       r                                                   Filter r.k = 5 over r
//! ```
//! A left row has the same match whatever becomes of others, and a right row of another key is nobody's match. A filter
//! of the right side must stay: it asks of the nearest row, not for the nearest of some.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::null_safe::Rule;
use crate::asof_join::AsofJoin;
use crate::lookup_join::LookupJoin;

/// The rules with this one behind DataFusion's.
pub fn with_side_filters(mut rules: Vec<Rule>) -> Vec<Rule> {
    if let Some(at) = rules.iter().position(|rule| rule.name() == "push_down_filter") {
        rules.insert(at + 1, Arc::new(PushDownSideFilter));
    }
    rules
}

#[derive(Debug)]
struct PushDownSideFilter;

impl OptimizerRule for PushDownSideFilter {
    fn name(&self) -> &str {
        "push_down_side_filter"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(join) = filter.input.as_ref() else { return Ok(Transformed::no(plan)) };
        let inputs = join.node.inputs();
        let (Some(on), [left, right]) = (keys(join), inputs.as_slice()) else {
            return Ok(Transformed::no(plan));
        };
        let terms = split_conjunction(&filter.predicate).into_iter().cloned();
        let (of_left, rest): (Vec<Expr>, Vec<Expr>) = terms.partition(|term| is_about(term, left));
        if of_left.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let of_right = of_left.iter().filter_map(|term| restated(term, on, left).transpose());
        let of_right = of_right.collect::<DfResult<Vec<_>>>()?;
        let inputs = vec![
            filtered(LogicalPlan::clone(left), of_left)?,
            filtered(LogicalPlan::clone(right), of_right)?,
        ];
        let node = join.node.with_exprs_and_inputs(join.node.expressions(), inputs)?;
        filtered(LogicalPlan::Extension(Extension { node }), rest).map(Transformed::yes)
    }
}

/// The keys of a join that this rule is for.
fn keys(join: &Extension) -> Option<&[(Expr, Expr)]> {
    let node = join.node.as_any();
    let asof = node.downcast_ref::<AsofJoin>().map(|join| join.on.as_slice());
    asof.or_else(|| node.downcast_ref::<LookupJoin>().map(|join| join.on.as_slice()))
}

/// Whether a condition is about the columns of a plan, and may be asked as often as one likes.
fn is_about(term: &Expr, plan: &LogicalPlan) -> bool {
    let refs = term.column_refs();
    let holds_query = term.exists(|e| {
        Ok(matches!(
            e,
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)
        ))
    });
    !refs.is_empty()
        && refs.iter().all(|column| plan.schema().has_column(column))
        && !holds_query.unwrap_or(true)
        && !term.is_volatile()
        && !term.contains_outer()
}

/// A condition on left keys as one on right keys; `None` if it is about something else. Not of floats, of which equal
/// ones may differ.
fn restated(term: &Expr, on: &[(Expr, Expr)], left: &LogicalPlan) -> DfResult<Option<Expr>> {
    let twin = |expr: &Expr| -> DfResult<Option<Expr>> {
        let is_exact = !expr.get_type(left.schema())?.is_floating();
        Ok(on.iter().find(|(l, _)| l == expr && is_exact).map(|(_, r)| r.clone()))
    };
    for column in term.column_refs() {
        if twin(&Expr::Column(column.clone()))?.is_none() {
            return Ok(None);
        }
    }
    let restated = term.clone().transform(|expr| match &expr {
        Expr::Column(_) => Ok(twin(&expr)?.map_or_else(|| Transformed::no(expr), Transformed::yes)),
        _ => Ok(Transformed::no(expr)),
    });
    restated.map(|restated| Some(restated.data))
}

fn filtered(plan: LogicalPlan, conditions: Vec<Expr>) -> DfResult<LogicalPlan> {
    match conjunction(conditions) {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}
