//! UNION, INTERSECT and EXCEPT, with and without ALL.

use datafusion::common::Column;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Union, WindowFrame};
use sqlparser::ast::{SetExpr, SetOperator, SetQuantifier};
use std::sync::Arc;
use weir_common::{Error, Result, SqlState};
use weir_exec::functions;

use super::interval::compared_columns;
use super::scope::{Relation, Scope, ScopeColumn};
use super::typed::Typed;
use super::{Binder, plan_error};

impl Binder<'_> {
    /// A chain of the same operation is bound as one.
    pub(crate) fn bind_set_operation(
        &self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let is_all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            other => return Err(Error::unsupported(format!("{op} {other}"))),
        };
        let mut branches = vec![right];
        let mut rest = left;
        while let SetExpr::SetOperation { left, op: next, set_quantifier, right } = rest {
            if op != SetOperator::Union || *next != op || *set_quantifier != quantifier {
                break;
            }
            branches.push(right);
            rest = left;
        }
        branches.push(rest);
        let branches: Result<Vec<Relation>> =
            branches.into_iter().rev().map(|branch| self.bind_set_expr(branch, &[], scope)).collect();
        let (branches, columns) = self.align(branches?, op)?;
        let plan = combine(branches, op, is_all, self)?;
        Ok(Relation { plan, columns })
    }

    /// The branches in common types and under the same new names.
    fn align(
        &self,
        branches: Vec<Relation>,
        op: SetOperator,
    ) -> Result<(Vec<LogicalPlan>, Vec<ScopeColumn>)> {
        let width = branches.first().map_or(0, |b| b.columns.len());
        if branches.iter().any(|b| b.columns.len() != width) {
            let message = format!("each {op} query must have the same number of columns");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut columns = Vec::with_capacity(width);
        for i in 0..width {
            let types: Vec<_> = branches.iter().map(|b| b.columns[i].ty.clone()).collect();
            let all_open = types.iter().all(|ty| *ty == weir_common::SqlType::Unknown);
            let ty = match all_open {
                true => weir_common::SqlType::Text,
                false => functions::common_type(&types, &op.to_string())?,
            };
            let name = branches[0].columns[i].name.clone();
            let column = Column::new_unqualified(self.unique(&name));
            columns.push(ScopeColumn {
                table: None,
                schema: None,
                name,
                column,
                ty,
                origin: None,
                merged: false,
            });
        }
        let aligned =
            branches.into_iter().map(|branch| self.align_branch(branch, &columns)).collect::<Result<_>>()?;
        Ok((aligned, columns))
    }

    fn align_branch(&self, branch: Relation, columns: &[ScopeColumn]) -> Result<LogicalPlan> {
        let exprs: Result<Vec<Expr>> = branch
            .columns
            .into_iter()
            .zip(columns)
            .map(|(from, to)| {
                let typed = Typed::new(Expr::Column(from.column), from.ty, None);
                Ok(self.coerce(typed, &to.ty)?.alias(to.column.name.clone()))
            })
            .collect();
        LogicalPlanBuilder::from(branch.plan)
            .project(exprs?)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)
    }
}

fn combine(
    branches: Vec<LogicalPlan>,
    op: SetOperator,
    is_all: bool,
    binder: &Binder<'_>,
) -> Result<LogicalPlan> {
    if op == SetOperator::Union {
        let inputs = branches.into_iter().map(Arc::new).collect();
        let union = Union::try_new_with_loose_types(inputs).map(LogicalPlan::Union).map_err(plan_error)?;
        return match is_all {
            true => Ok(union),
            false => binder.distinct_rows(union),
        };
    }
    let mut branches = branches.into_iter();
    let (Some(left), Some(right)) = (branches.next(), branches.next()) else {
        return Err(Error::internal("a set operation has two branches"));
    };
    let names: Vec<String> = left.schema().columns().into_iter().map(|column| column.name).collect();
    let (left, right) = match is_all {
        false => (left, right),
        // The n-th copy of a row on one side goes with the n-th on the other.
        true => {
            let name = binder.unique("copy");
            (numbered(left, &name)?, numbered(right, &name)?)
        }
    };
    let join_type = if op == SetOperator::Intersect { JoinType::LeftSemi } else { JoinType::LeftAnti };
    let plan = match (binder.matching_intervals(&left, &right, join_type)?, op) {
        (Some(plan), _) => Ok(plan),
        (None, SetOperator::Intersect) => LogicalPlanBuilder::intersect(left, right, false),
        (None, _) => LogicalPlanBuilder::except(left, right, false),
    };
    let plan = plan.map_err(plan_error)?;
    // Under the names alone: the sides may have got qualifiers, and copies are numbered behind them.
    let columns = plan.schema().columns().into_iter().zip(names);
    let kept: Vec<Expr> = columns.map(|(column, name)| Expr::Column(column).alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(kept).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

/// The plan with a column that counts equal rows from 1.
fn numbered(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let resolved = functions::resolve_window("row_number", &[])?;
    let resolved = resolved.ok_or_else(|| Error::internal("row_number is missing"))?;
    let params = WindowFunctionParams {
        args: Vec::new(),
        partition_by: compared_columns(&plan)?,
        order_by: Vec::new(),
        window_frame: WindowFrame::new(None),
        filter: None,
        null_treatment: None,
        distinct: false,
    };
    let call = Expr::WindowFunction(Box::new(WindowFunction { fun: resolved.function, params }));
    super::bind_window::window_plan(plan, &[(call, name.to_owned())])
}
