//! LATERAL: a FROM item that may name columns of the items to its left.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{Expr as SqlExpr, Join, JoinConstraint, Query, Spanned, TableAlias, TableFactor};
use weir_common::{Error, Result, SqlState};

use super::bind_expr::ExprContext;
use super::bind_time_window::window_factor;
use super::correlation::{is_plain_choice, outer_columns, reaches_through, subquery};
use super::scope::{Relation, Scope};
use super::{Binder, plan_error};

/// What a join with a lateral item came to.
pub(crate) enum Lateral {
    Joined(Relation),
    /// The item names nothing to its left: both are joined like any others.
    Independent(Relation, Relation),
}

impl Binder<'_> {
    /// `left JOIN LATERAL (query) ON condition`, or a function in the query's place.
    pub(crate) fn bind_lateral_join(
        &self,
        left: Relation,
        join: &Join,
        join_type: JoinType,
        constraint: &JoinConstraint,
        scope: &Scope<'_>,
    ) -> Result<Lateral> {
        let around = scope.with_columns(&left.columns);
        let mut right = match &join.relation {
            TableFactor::Derived { subquery: query, alias, .. } => {
                self.lateral_query(query, alias.as_ref(), &around)?
            }
            function => {
                let right = self.bind_factor(function, None, JoinType::Inner, &around.inner())?;
                if depends(&right.plan) && is_direct(join_type, constraint) {
                    return self.join_function(left, join, join_type, constraint, scope).map(Lateral::Joined);
                }
                right
            }
        };
        if !depends(&right.plan) {
            return Ok(Lateral::Independent(left, right));
        }
        if !matches!(join_type, JoinType::Inner | JoinType::Left) {
            return Err(Error::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "invalid reference to FROM-clause entry from a LATERAL subquery",
            )
            .with_detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference.")
            .at(self.span_position(join.relation.span())));
        }
        match constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(condition) if is_true(condition) => {}
            JoinConstraint::On(condition) => {
                right.plan = self.with_condition(&left, &right, condition, scope)?;
            }
            _ => {
                return Err(Error::unsupported("LATERAL with USING or NATURAL")
                    .with_hint("Write the condition after ON."));
            }
        }
        self.apply_lateral(left, right, join_type).map(Lateral::Joined)
    }

    /// A lateral subquery after a comma, or first in FROM.
    pub(crate) fn bind_lateral(
        &self,
        query: &Query,
        alias: Option<&TableAlias>,
        left: Option<Relation>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let Some(left) = left else { return self.lateral_query(query, alias, scope) };
        let right = self.lateral_query(query, alias, &scope.with_columns(&left.columns))?;
        self.apply_lateral(left, right, JoinType::Inner)
    }

    fn lateral_query(
        &self,
        query: &Query,
        alias: Option<&TableAlias>,
        around: &Scope<'_>,
    ) -> Result<Relation> {
        let bound = self.bind_query(query, &around.inner())?;
        let mut right = self.settle(bound.relation)?;
        for column in &mut right.columns {
            (column.table, column.schema) = (None, None);
        }
        self.apply_alias(&mut right, alias)?;
        Ok(right)
    }

    /// The subquery's rows that meet the ON condition, which names the left side from inside of it.
    fn with_condition(
        &self,
        left: &Relation,
        right: &Relation,
        condition: &SqlExpr,
        scope: &Scope<'_>,
    ) -> Result<LogicalPlan> {
        let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
        let beside = scope.with_columns(&both);
        let what = "JOIN conditions";
        // What is ambiguous between the sides is found here; from inside, the inner name would hide the outer.
        self.condition(self.bind_expr(condition, ExprContext::plain(&beside, what))?, "JOIN/ON")?;
        let around = scope.with_columns(&left.columns);
        let within = around.inner();
        let inside = within.with_columns(&right.columns);
        let bound =
            self.condition(self.bind_expr(condition, ExprContext::plain(&inside, what))?, "JOIN/ON")?;
        filtered(right.plan.clone(), bound)
    }

    fn apply_lateral(&self, left: Relation, right: Relation, join: JoinType) -> Result<Relation> {
        let mut subquery = subquery(right.plan);
        let (own, further): (Vec<Column>, Vec<Column>) =
            outer_columns(&subquery).into_iter().partition(|c| left.plan.schema().has_column(c));
        if own.is_empty() {
            let right = Relation { plan: Arc::unwrap_or_clone(subquery.subquery), columns: right.columns };
            return match join {
                JoinType::Inner => self.cross(left, right),
                _ => self.join_always(left, right, join),
            };
        }
        let reaches_through = reaches_through(&subquery);
        if reaches_through {
            let plan = Arc::unwrap_or_clone(subquery.subquery);
            subquery.subquery = Arc::new(self.decorrelate(self.restate_membership(plan)?)?);
        }
        // DataFusion makes a join of a plain choice by equality, but of an outer one without its condition.
        let is_left_to_rules = join == JoinType::Inner
            && further.is_empty()
            && !reaches_through
            && is_plain_choice(&subquery.subquery);
        let plan = if !is_left_to_rules {
            self.apply_subquery(left.plan, &subquery.subquery, &own, join)?
        } else {
            LogicalPlanBuilder::from(left.plan)
                .join_on(LogicalPlan::Subquery(subquery), join, Vec::<Expr>::new())
                .and_then(LogicalPlanBuilder::build)
                .map_err(plan_error)?
        };
        Ok(Relation { plan, columns: left.columns.into_iter().chain(right.columns).collect() })
    }

    /// A function of the left side's columns is computed beside them: no join is needed.
    fn join_function(
        &self,
        left: Relation,
        join: &Join,
        join_type: JoinType,
        constraint: &JoinConstraint,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let relation = self.bind_factor(&join.relation, Some(left), join_type, scope)?;
        let JoinConstraint::On(condition) = constraint else { return Ok(relation) };
        if is_true(condition) {
            return Ok(relation);
        }
        let inside = scope.with_columns(&relation.columns);
        let cx = ExprContext::plain(&inside, "JOIN conditions");
        let condition = self.condition(self.bind_expr(condition, cx)?, "JOIN/ON")?;
        Ok(Relation { plan: filtered(relation.plan, condition)?, columns: relation.columns })
    }
}

/// Whether a lateral item names what is to its left.
fn depends(plan: &LogicalPlan) -> bool {
    !outer_columns(&subquery(plan.clone())).is_empty()
}

/// Whether a join with a function gives each left row its elements, and drops pairs by the condition at most.
fn is_direct(join_type: JoinType, constraint: &JoinConstraint) -> bool {
    match (join_type, constraint) {
        (JoinType::Inner, JoinConstraint::None | JoinConstraint::On(_)) => true,
        (JoinType::Left, JoinConstraint::On(condition)) => is_true(condition),
        _ => false,
    }
}

fn filtered(plan: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).filter(condition).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

fn is_true(condition: &SqlExpr) -> bool {
    condition.to_string().eq_ignore_ascii_case("true")
}

/// Whether a FROM item may name columns of what is to its left.
pub(crate) fn is_lateral(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Derived { lateral, .. } => *lateral,
        window if window_factor(window).is_some() => false,
        TableFactor::Table { args, .. } => args.is_some(),
        TableFactor::Function { .. } | TableFactor::UNNEST { .. } => true,
        _ => false,
    }
}
