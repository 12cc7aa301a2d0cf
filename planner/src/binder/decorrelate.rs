//! Correlated subqueries out of expressions: each becomes a column of a join below the expression.
//!
//! Place in the flow: the last step of binding a query. DataFusion decorrelates the simplest shapes itself and well
//! (an aggregate over rows found by equality); those stay as they are, everything else goes through the dependent
//! join of [`super::dependent_join`].

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use weir_common::{Error, Result};

use super::bind_operator::not_if;
use super::correlation::{is_plain_aggregate, is_row_wise, makes_semi_join, outer_columns, query_of};
use super::dependent_join::Domain;
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
        for subquery in dependents(&node) {
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
            Expr::ScalarSubquery(subquery) => self.join_value(outer, subquery),
            Expr::Exists(exists) => {
                let (joined, found) = match columns_of(&outer, &exists.subquery).as_slice() {
                    [] => {
                        let any = self.any_row(&exists.subquery.subquery).map_err(plan_error)?;
                        self.join_value(outer, &any)?
                    }
                    columns => self.join_mark(outer, &exists.subquery.subquery, columns)?,
                };
                Ok((joined, not_if(exists.negated, found)))
            }
            _ => Err(Error::unsupported("IN (SELECT …) that names outer columns here")
                .with_hint("Use EXISTS (SELECT … WHERE a = x).")),
        }
    }

    /// `outer` with the value of a subquery of one row at most.
    fn join_value(&self, outer: LogicalPlan, subquery: &Subquery) -> Result<(LogicalPlan, Expr)> {
        let value = subquery.subquery.schema().columns().into_iter().next();
        let value = value.ok_or_else(|| Error::internal("a scalar subquery has no column"))?;
        let columns = columns_of(&outer, subquery);
        let joined = self.apply_subquery(outer, &subquery.subquery, &columns, JoinType::Left)?;
        Ok((joined, Expr::Column(value)))
    }

    /// `outer` with a mark of the rows for which the subquery has any, and the test of the mark.
    fn join_mark(
        &self,
        outer: LogicalPlan,
        subquery: &LogicalPlan,
        columns: &[Column],
    ) -> Result<(LogicalPlan, Expr)> {
        let mark = Column::new_unqualified(self.unique("found"));
        let domain = self.domain(&outer, columns)?;
        let pushed = self.push_domain(subquery, &domain)?;
        let mut exprs = domain.exprs();
        exprs.push(lit(true).alias(mark.name.clone()));
        let marked = LogicalPlanBuilder::from(pushed)
            .project(domain.exprs())
            .and_then(LogicalPlanBuilder::distinct)
            .and_then(|p| p.project(exprs))
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        let joined = self.join_domain(outer, marked, &domain, JoinType::Left)?;
        Ok((joined, Expr::IsNotNull(Box::new(Expr::Column(mark)))))
    }

    /// `outer` and the subquery's rows for each of its rows, side by side. `columns` are those of `outer` that the
    /// subquery names; without any, each row has all of the subquery's.
    pub(crate) fn apply_subquery(
        &self,
        outer: LogicalPlan,
        subquery: &LogicalPlan,
        columns: &[Column],
        join: JoinType,
    ) -> Result<LogicalPlan> {
        if columns.is_empty() {
            return LogicalPlanBuilder::from(outer)
                .join_on(subquery.clone(), join, [lit(true)])
                .and_then(LogicalPlanBuilder::build)
                .map_err(plan_error);
        }
        if join == JoinType::Inner && is_row_wise(subquery) {
            return self.push_domain(subquery, &Domain::of_rows(outer));
        }
        let domain = self.domain(&outer, columns)?;
        let pushed = self.push_domain(subquery, &domain)?;
        self.join_domain(outer, pushed, &domain, join)
    }
}

/// The columns of `outer` that a subquery names: it may name others, of queries further out.
fn columns_of(outer: &LogicalPlan, subquery: &Subquery) -> Vec<Column> {
    let mut columns = outer_columns(subquery);
    columns.retain(|c| outer.schema().has_column(c));
    columns
}

fn has_dependent(node: &LogicalPlan) -> bool {
    !dependents(node).is_empty()
}

/// The subqueries in a node's expressions that name outer columns and are ours to rewrite.
fn dependents(node: &LogicalPlan) -> Vec<Expr> {
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    let is_row_wise = is_filter || matches!(node, LogicalPlan::Projection(_));
    let inputs = node.inputs();
    let mut found = Vec::new();
    let _ = node.apply_expressions(|expr| {
        expr.apply(|e| {
            let Some(subquery) = query_of(e) else { return Ok(TreeNodeRecursion::Continue) };
            let columns = outer_columns(subquery);
            let reaches_further =
                columns.iter().any(|c| !inputs.iter().any(|input| input.schema().has_column(c)));
            let left_to_rules = match e {
                // DataFusion has no place for one in other nodes.
                Expr::ScalarSubquery(s) => is_row_wise && is_plain_aggregate(&s.subquery),
                // DataFusion turns predicates of a Filter into semi joins.
                Expr::Exists(_) => is_filter && makes_semi_join(subquery, true),
                _ => is_filter,
            };
            if !columns.is_empty() && (reaches_further || !left_to_rules) {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}
