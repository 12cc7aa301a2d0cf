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
use super::correlation::{is_left_to_rules, is_row_wise, outer_columns, query_of};
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
        let mut inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
        let output: Vec<Column> = node.schema().columns();
        let mut replaced: Vec<(Expr, Expr)> = Vec::new();
        for subquery in dependents(&node) {
            if replaced.iter().any(|(known, _)| *known == subquery) {
                continue;
            }
            let side = side_of(&inputs, &subquery)?;
            let (joined, value) = self.join_subquery(inputs[side].clone(), &subquery)?;
            inputs[side] = joined;
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
        let rewritten = rewritten.with_new_exprs(exprs, inputs).map_err(plan_error)?;
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
        let mut value = value.ok_or_else(|| Error::internal("a scalar subquery has no column"))?;
        let mut plan = subquery.subquery.as_ref().clone();
        // What is written once may be here twice, and differ by now in what its own subqueries became.
        if outer.schema().has_column(&value) {
            let renamed = Column::new_unqualified(self.unique(&value.name));
            plan = LogicalPlanBuilder::from(plan)
                .project([Expr::Column(value).alias(renamed.name.clone())])
                .and_then(LogicalPlanBuilder::build)
                .map_err(plan_error)?;
            value = renamed;
        }
        let columns = columns_of(&outer, subquery);
        let joined = self.apply_subquery(outer, &plan, &columns, JoinType::Left)?;
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

/// Which input of a node gets the value of a subquery in its expressions: the one that the subquery names columns of.
/// Of a join's condition that is right for every kind of join, since the value changes no row of that side.
fn side_of(inputs: &[LogicalPlan], expr: &Expr) -> Result<usize> {
    let named =
        |input: &LogicalPlan| query_of(expr).is_some_and(|query| !columns_of(input, query).is_empty());
    let mut sides = (0..inputs.len()).filter(|side| named(&inputs[*side]));
    match (sides.next(), sides.next()) {
        (_, Some(_)) => {
            Err(Error::unsupported("a subquery in ON of an outer join that names columns of both its sides")
                .with_hint("Join the subquery's tables to one of the sides first."))
        }
        (side, None) => Ok(side.unwrap_or(0)),
    }
}

fn has_dependent(node: &LogicalPlan) -> bool {
    !dependents(node).is_empty()
}

/// The subqueries in a node's expressions that name outer columns and are ours to rewrite.
fn dependents(node: &LogicalPlan) -> Vec<Expr> {
    let inputs = node.inputs();
    let mut found = Vec::new();
    let _ = node.apply_expressions(|expr| {
        expr.apply(|e| {
            let Some(subquery) = query_of(e) else { return Ok(TreeNodeRecursion::Continue) };
            let columns = outer_columns(subquery);
            let reaches_further =
                columns.iter().any(|c| !inputs.iter().any(|input| input.schema().has_column(c)));
            if !columns.is_empty() && (reaches_further || !is_left_to_rules(node, e)) {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}
