//! Intervals where they are compared: `1 mon` equals `30 days`, and each stays what it is.
//!
//! Wherever DataFusion compares values by itself it gets canonical ones (`functions::CANONICAL`). Where it also gives
//! them back (GROUP BY, DISTINCT, UNION), it groups by the canonical ones and gives the least form that there is:
//!
//! ```text
//!   Projection   form AS i, n
//!   Aggregate    by canonical(i) AS key:  min(i) AS form, count(*) AS n
//! ```
//! An outer join's or a subquery's own columns are compared by `IS NOT DISTINCT FROM` of what they are.

use datafusion::common::{Column, NullEquality};
use datafusion::logical_expr::{Expr, ExprSchemable, JoinType, LogicalPlan, LogicalPlanBuilder};
use weir_common::Result;
use weir_exec::functions;

use super::system_call::registered;
use super::{Binder, plan_error};

/// `expr`, of this type in `plan`, as DataFusion may compare it.
fn compared_in(plan: &LogicalPlan, expr: Expr) -> Result<Expr> {
    let ty = expr.get_type(plan.schema()).map_err(plan_error)?;
    if functions::holds_interval(&ty) { registered(functions::CANONICAL, vec![expr]) } else { Ok(expr) }
}

/// A value of this type as DataFusion may compare it.
pub(crate) fn compared(expr: Expr, ty: &weir_common::SqlType) -> Result<Expr> {
    if functions::holds_interval(&ty.arrow()) {
        registered(functions::CANONICAL, vec![expr])
    } else {
        Ok(expr)
    }
}

/// The columns of a plan as DataFusion may compare them.
pub(crate) fn compared_columns(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    plan.schema().columns().into_iter().map(|column| compared_in(plan, Expr::Column(column))).collect()
}

fn holds_intervals(plan: &LogicalPlan) -> bool {
    plan.schema().fields().iter().any(|field| functions::holds_interval(field.data_type()))
}

impl Binder<'_> {
    /// GROUP BY; the plan's columns are named by the expressions, groups first.
    pub(super) fn aggregate_plan(
        &self,
        plan: LogicalPlan,
        groups: Vec<Expr>,
        mut calls: Vec<Expr>,
    ) -> Result<LogicalPlan> {
        let mut keys = Vec::with_capacity(groups.len());
        let mut outputs = Vec::with_capacity(groups.len() + calls.len());
        let mut forms = Vec::new();
        for group in groups {
            let (relation, name) = group.qualified_name();
            let ty = group.get_type(plan.schema()).map_err(plan_error)?;
            if !functions::holds_interval(&ty) {
                outputs.push(Expr::Column(Column::new(relation, name)));
                keys.push(group);
                continue;
            }
            let (value, form) = (group.unalias(), self.unique("form"));
            forms.push(functions::least(&ty).call(vec![value.clone()]).alias(form.clone()));
            keys.push(registered(functions::CANONICAL, vec![value])?.alias(self.unique("key")));
            outputs.push(Expr::Column(Column::new_unqualified(form)).alias_qualified(relation, name));
        }
        if forms.is_empty() {
            let grouped = LogicalPlanBuilder::from(plan).aggregate(keys, calls);
            return grouped.and_then(LogicalPlanBuilder::build).map_err(plan_error);
        }
        for call in &calls {
            let (relation, name) = call.qualified_name();
            outputs.push(Expr::Column(Column::new(relation, name)));
        }
        calls.extend(forms);
        LogicalPlanBuilder::from(plan)
            .aggregate(keys, calls)
            .and_then(|grouped| grouped.project(outputs))
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)
    }

    /// The rows of a plan, equal ones once.
    pub(super) fn distinct_rows(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if holds_intervals(&plan) {
            let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
            return self.aggregate_plan(plan, columns, Vec::new());
        }
        LogicalPlanBuilder::from(plan).distinct().and_then(LogicalPlanBuilder::build).map_err(plan_error)
    }

    /// The different rows of `left` that `right` has too (a semi join) or has not (an anti join), by position; columns
    /// beside those of `left` may follow. `None` when DataFusion's own set operations do as well.
    pub(super) fn matching_intervals(
        &self,
        left: &LogicalPlan,
        right: &LogicalPlan,
        join_type: JoinType,
    ) -> Result<Option<LogicalPlan>> {
        if !holds_intervals(left) {
            return Ok(None);
        }
        let (left, left_keys) = self.keyed(self.distinct_rows(left.clone())?, "left")?;
        let (right, right_keys) = self.keyed(right.clone(), "right")?;
        let keys = (left_keys, right_keys);
        LogicalPlanBuilder::from(left)
            .join_detailed(right, join_type, keys, None, NullEquality::NullEqualsNull)
            .and_then(LogicalPlanBuilder::build)
            .map(Some)
            .map_err(plan_error)
    }

    /// The plan under a name, with a column more for each that is not compared as it is, and the columns to compare.
    fn keyed(&self, plan: LogicalPlan, name: &str) -> Result<(LogicalPlan, Vec<Column>)> {
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let mut keys = Vec::with_capacity(exprs.len());
        for expr in compared_columns(&plan)? {
            match expr {
                Expr::Column(column) => keys.push(Column::new(Some(name), column.name)),
                key => {
                    let column = self.unique("key");
                    keys.push(Column::new(Some(name), column.clone()));
                    exprs.push(key.alias(column));
                }
            }
        }
        let plan = LogicalPlanBuilder::from(plan).project(exprs).and_then(|keyed| keyed.alias(name));
        Ok((plan.and_then(LogicalPlanBuilder::build).map_err(plan_error)?, keys))
    }
}
