//! Correlated subqueries out of expressions: each becomes a column of a join below the expression.
//!
//! Place in the flow: the last step of binding a query. DataFusion decorrelates the simplest shapes itself and well
//! (an aggregate over rows found by equality); those stay as they are, everything else goes through the dependent
//! join of [`super::dependent_join`].

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit};
use weir_common::{Error, Result};

use super::bind_operator::not_if;
use super::dependent_join::Domain;
use super::single_value::SINGLE_VALUE;
use super::{Binder, plan_error};

impl Binder<'_> {
    /// The plan without correlated subqueries that DataFusion would refuse.
    pub(crate) fn decorrelate(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let mut failure = None;
        let rewritten = plan.transform_up_with_subqueries(|node| {
            if failure.is_some() || !has_dependent(&node) {
                return Ok(Transformed::no(node));
            }
            match self.decorrelate_node(node.clone()) {
                Ok(node) => Ok(Transformed::yes(node)),
                Err(error) => {
                    failure = Some(error);
                    Ok(Transformed::no(node))
                }
            }
        });
        let rewritten = rewritten.map_err(plan_error)?.data;
        match failure {
            Some(error) => Err(error),
            None => Ok(rewritten),
        }
    }

    fn decorrelate_node(&self, node: LogicalPlan) -> Result<LogicalPlan> {
        let inputs = node.inputs();
        let [input] = inputs.as_slice() else {
            return Err(Error::unsupported("a subquery that names outer columns in a join condition")
                .with_hint("Move it to WHERE."));
        };
        let mut input = (*input).clone();
        let output: Vec<Column> = node.schema().columns();
        let mut replaced: Vec<(Expr, Expr)> = Vec::new();
        let is_filter = matches!(node, LogicalPlan::Filter(_));
        for subquery in dependents(&node, is_filter) {
            if replaced.iter().any(|(known, _)| *known == subquery) {
                continue;
            }
            let (joined, value) = self.join_subquery(input, &subquery)?;
            input = joined;
            replaced.push((subquery, value));
        }
        let rewritten = node.map_expressions(|expr| {
            expr.transform_down(|e| match replaced.iter().find(|(from, _)| *from == e) {
                Some((_, value)) => Ok(Transformed::new(value.clone(), true, TreeNodeRecursion::Jump)),
                None => Ok(Transformed::no(e)),
            })
        });
        let rewritten = rewritten.map_err(plan_error)?.data;
        let exprs = rewritten.expressions();
        let rewritten = rewritten.with_new_exprs(exprs, vec![input]).map_err(plan_error)?;
        if rewritten.schema().columns() == output {
            return Ok(rewritten);
        }
        LogicalPlanBuilder::from(rewritten)
            .project(output.into_iter().map(Expr::Column))
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)
    }

    /// `outer` with the subquery's value as one more column, and the expression for that value.
    fn join_subquery(&self, outer: LogicalPlan, expr: &Expr) -> Result<(LogicalPlan, Expr)> {
        match expr {
            Expr::ScalarSubquery(subquery) => {
                let value = subquery.subquery.schema().columns().into_iter().next();
                let value = value.ok_or_else(|| Error::internal("a scalar subquery has no column"))?;
                let joined =
                    self.apply_subquery(outer, &subquery.subquery, &outer_columns(subquery), JoinType::Left)?;
                Ok((joined, Expr::Column(value)))
            }
            Expr::Exists(exists) => {
                let columns = outer_columns(&exists.subquery);
                let found = Column::new_unqualified(self.unique("found"));
                let domain = self.domain(&outer, &columns)?;
                let pushed = self.push_domain(&exists.subquery.subquery, &domain)?;
                let keys = domain.exprs();
                let marked = LogicalPlanBuilder::from(pushed)
                    .project(keys)
                    .and_then(LogicalPlanBuilder::distinct)
                    .and_then(|p| {
                        let mut exprs = domain.exprs();
                        exprs.push(lit(true).alias(found.name.clone()));
                        p.project(exprs)
                    })
                    .and_then(LogicalPlanBuilder::build)
                    .map_err(plan_error)?;
                let joined = self.join_domain(outer, marked, &domain, JoinType::Left)?;
                let is_found = Expr::IsNotNull(Box::new(Expr::Column(found)));
                Ok((joined, not_if(exists.negated, is_found)))
            }
            _ => Err(Error::unsupported("IN (SELECT …) that names outer columns here")
                .with_hint("Use EXISTS (SELECT … WHERE a = x).")),
        }
    }

    /// `outer` and the subquery's rows for each of its rows, side by side.
    pub(crate) fn apply_subquery(
        &self,
        outer: LogicalPlan,
        subquery: &LogicalPlan,
        columns: &[Column],
        join: JoinType,
    ) -> Result<LogicalPlan> {
        if join == JoinType::Inner && is_row_wise(subquery) {
            return self.push_domain(subquery, &Domain::of_rows(outer));
        }
        let domain = self.domain(&outer, columns)?;
        let pushed = self.push_domain(subquery, &domain)?;
        self.join_domain(outer, pushed, &domain, join)
    }
}

/// The outer columns a subquery names, each once.
pub(crate) fn outer_columns(subquery: &Subquery) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for expr in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && !columns.contains(column)
        {
            columns.push(column.clone());
        }
    }
    columns
}

fn has_dependent(node: &LogicalPlan) -> bool {
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    !dependents(node, is_filter).is_empty()
}

/// The correlated subqueries in a node's expressions that are ours to rewrite.
fn dependents(node: &LogicalPlan, is_filter: bool) -> Vec<Expr> {
    let inputs = node.inputs();
    let in_input =
        |columns: &[Column]| columns.iter().all(|c| inputs.iter().any(|i| i.schema().has_column(c)));
    let mut found = Vec::new();
    let _ = node.apply_expressions(|expr| {
        expr.apply(|e| {
            let (subquery, ours) = match e {
                // DataFusion has no place for one in a join's condition.
                Expr::ScalarSubquery(s) => (s, !is_plain_aggregate(&s.subquery) || inputs.len() > 1),
                // DataFusion turns predicates of a Filter into semi joins.
                Expr::Exists(e) => (&e.subquery, !is_filter || unnests_outer(&e.subquery.subquery)),
                Expr::InSubquery(e) => (&e.subquery, !is_filter),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            let columns = outer_columns(subquery);
            if ours && !columns.is_empty() && in_input(&columns) {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// An aggregate over rows that equalities with outer columns choose: what DataFusion decorrelates itself.
fn is_plain_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => {
            p.expr.iter().all(|e| !e.contains_outer()) && is_plain_aggregate(&p.input)
        }
        LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
            // Rows that no outer row asks for must not count as too many.
            !a.aggr_expr.iter().any(is_single_value)
                && a.aggr_expr.iter().all(|e| !e.contains_outer())
                && is_plain_choice(&a.input)
        }
        _ => false,
    }
}

fn is_single_value(call: &Expr) -> bool {
    matches!(call.clone().unalias(), Expr::AggregateFunction(call) if call.func.name() == SINGLE_VALUE)
}

/// Filters and projections where outer columns are only compared by equality with plain columns.
pub(crate) fn is_plain_choice(plan: &LogicalPlan) -> bool {
    if plan.all_out_ref_exprs().is_empty() {
        return true;
    }
    match plan {
        LogicalPlan::Projection(p) => {
            p.expr.iter().all(|e| matches!(e, Expr::Column(_))) && is_plain_choice(&p.input)
        }
        LogicalPlan::Filter(f) => {
            let plain = |e: &&Expr| !e.contains_outer() || is_equality_with_outer(e);
            split_conjunction(&f.predicate).iter().all(plain) && is_plain_choice(&f.input)
        }
        _ => false,
    }
}

/// Whether rows are made out of values of the outer row, below which nothing can be pulled up.
pub(crate) fn unnests_outer(plan: &LogicalPlan) -> bool {
    let makes_rows = |node: &LogicalPlan| matches!(node, LogicalPlan::Unnest(_) | LogicalPlan::Values(_));
    plan.exists(|node| Ok(makes_rows(node) && !node.all_out_ref_exprs().is_empty())).unwrap_or(true)
}

/// Whether a plan makes rows out of the outer row alone, each by itself: then the outer rows can stand in for the domain,
/// copies and all, and no join is needed.
pub(crate) fn is_row_wise(plan: &LogicalPlan) -> bool {
    let no_query = |e: &Expr| !e.exists(|e| Ok(is_query(e))).unwrap_or(true);
    let input_too = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) => true,
        LogicalPlan::Sort(sort) => sort.fetch.is_none(),
        LogicalPlan::Values(_) => !plan.all_out_ref_exprs().is_empty(),
        LogicalPlan::EmptyRelation(one) => one.produce_one_row,
        _ => false,
    };
    input_too && plan.expressions().iter().all(no_query) && plan.inputs().into_iter().all(is_row_wise)
}

/// Whether an expression is itself a subquery.
pub(crate) fn is_query(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
}

fn is_equality_with_outer(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    matches!(
        (left.as_ref(), right.as_ref()),
        (Expr::Column(_), Expr::OuterReferenceColumn(..)) | (Expr::OuterReferenceColumn(..), Expr::Column(_))
    )
}
