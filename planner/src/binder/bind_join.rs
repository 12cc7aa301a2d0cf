//! JOIN: inner, outer and cross joins, with ON, USING and NATURAL.

use datafusion::common::JoinType;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use sqlparser::ast::{Expr as SqlExpr, Join, JoinConstraint, JoinOperator, ObjectName};
use weir_common::{Error, Result, SqlState};

use super::bind_expr::ExprContext;
use super::bind_lateral::{Lateral, is_lateral};
use super::bind_operator::balanced;
use super::bind_temporal_join::TemporalClause;
use super::correlation::holds_query;
use super::scope::{Relation, Scope, ScopeColumn, reference};
use super::{Binder, plan_error};
use crate::parser::{AsofClause, fold};

impl Binder<'_> {
    pub(crate) fn bind_join(&self, left: Relation, join: &Join, scope: &Scope<'_>) -> Result<Relation> {
        if let Some(clause) = AsofClause::of(join) {
            return self.bind_asof_join(left, join, &clause, scope);
        }
        if let Some(clause) = TemporalClause::of(join)? {
            return self.bind_temporal_join(left, &clause, scope);
        }
        let (join_type, constraint) = join_kind(&join.join_operator)?;
        let (left, right) = if is_lateral(&join.relation) {
            match self.bind_lateral_join(left, join, join_type, constraint, scope)? {
                Lateral::Joined(relation) => return Ok(relation),
                Lateral::Independent(left, right) => (left, right),
            }
        } else {
            (left, self.bind_factor(&join.relation, None, JoinType::Inner, scope)?)
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let condition = self.bind_on(&left, &right, condition, scope)?;
                let plan = self.join_plans(left.plan, right.plan, join_type, condition)?;
                Ok(Relation { plan, columns: left.columns.into_iter().chain(right.columns).collect() })
            }
            JoinConstraint::Using(names) => {
                let names: Vec<String> = names.iter().filter_map(using_name).collect();
                self.join_using(left, right, join_type, &names)
            }
            JoinConstraint::Natural => {
                let shared = |c: &&ScopeColumn| {
                    !c.merged && right.columns.iter().any(|r| !r.merged && r.name == c.name)
                };
                let names: Vec<String> = left.columns.iter().filter(shared).map(|c| c.name.clone()).collect();
                self.join_using(left, right, join_type, &names)
            }
            JoinConstraint::None if join_type == JoinType::Inner => self.cross(left, right),
            JoinConstraint::None => Err(Error::new(SqlState::SYNTAX_ERROR, "a join needs ON or USING")),
        }
    }

    /// A condition over the columns of both sides.
    pub(super) fn bind_on(
        &self,
        left: &Relation,
        right: &Relation,
        condition: &SqlExpr,
        scope: &Scope<'_>,
    ) -> Result<Expr> {
        let columns: Vec<ScopeColumn> = left.columns.iter().chain(&right.columns).cloned().collect();
        let inside = scope.with_columns(&columns);
        let cx = ExprContext::plain(&inside, "JOIN conditions");
        self.condition(self.bind_expr(condition, cx)?, "JOIN/ON")
    }

    /// A join on any condition: equalities between the sides become keys, the rest a filter.
    fn join_plans(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        join_type: JoinType,
        condition: Expr,
    ) -> Result<LogicalPlan> {
        let (left_schema, right_schema) = (left.schema().clone(), right.schema().clone());
        let within = |expr: &Expr, schema: &datafusion::common::DFSchema| {
            let refs = expr.column_refs();
            let named = !refs.is_empty() && refs.iter().all(|c| schema.has_column(c));
            named && !expr.contains_outer() && !holds_query(expr)
        };
        let (mut left_keys, mut right_keys, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for part in split_conjunction_owned(condition) {
            match part {
                Expr::BinaryExpr(b) if b.op == Operator::Eq => {
                    if within(&b.left, &left_schema) && within(&b.right, &right_schema) {
                        left_keys.push(*b.left);
                        right_keys.push(*b.right);
                    } else if within(&b.right, &left_schema) && within(&b.left, &right_schema) {
                        left_keys.push(*b.right);
                        right_keys.push(*b.left);
                    } else {
                        rest.push(Expr::BinaryExpr(b));
                    }
                }
                other => rest.push(other),
            }
        }
        // Of an inner join WHERE says the same, and there every subquery has its rules.
        let (above, rest): (Vec<Expr>, Vec<Expr>) =
            rest.into_iter().partition(|part| join_type == JoinType::Inner && holds_query(part));
        let filter = (!rest.is_empty()).then(|| balanced(rest, Operator::And));
        let builder = LogicalPlanBuilder::from(left);
        let joined = match left_keys.is_empty() {
            true => builder.join_on(right, join_type, filter),
            false => builder.join_with_expr_keys(right, join_type, (left_keys, right_keys), filter),
        };
        let joined = match above.is_empty() {
            true => joined,
            false => joined.and_then(|join| join.filter(balanced(above, Operator::And))),
        };
        joined.and_then(LogicalPlanBuilder::build).map_err(plan_error)
    }

    /// A join ON true.
    pub(crate) fn join_always(&self, left: Relation, right: Relation, join: JoinType) -> Result<Relation> {
        let always = Expr::Literal(datafusion::scalar::ScalarValue::Boolean(Some(true)), None);
        let plan = self.join_plans(left.plan, right.plan, join, always)?;
        Ok(Relation { plan, columns: left.columns.into_iter().chain(right.columns).collect() })
    }

    /// USING and NATURAL: the shared columns come first and once.
    fn join_using(
        &self,
        left: Relation,
        right: Relation,
        join_type: JoinType,
        names: &[String],
    ) -> Result<Relation> {
        if names.is_empty() {
            return match join_type {
                JoinType::Inner => self.cross(left, right),
                _ => self.join_always(left, right, join_type),
            };
        }
        let pairs = self.using_pairs(&left, &right, names)?;
        let condition = self.pairs_equal(&pairs)?;
        let plan = self.join_plans(left.plan, right.plan, join_type, condition)?;
        let mut computed = Vec::new();
        let columns = self.beside_pairs(left.columns, right.columns, &pairs, join_type, &mut computed)?;
        if computed.is_empty() {
            return Ok(Relation { plan, columns });
        }
        let kept = plan.schema().columns().into_iter().map(Expr::Column);
        let exprs: Vec<Expr> = kept.chain(computed).collect();
        let plan = LogicalPlanBuilder::from(plan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns })
    }

    /// The columns of both sides that USING names.
    pub(super) fn using_pairs(
        &self,
        left: &Relation,
        right: &Relation,
        names: &[String],
    ) -> Result<Vec<(ScopeColumn, ScopeColumn)>> {
        let pair = |name: &String| {
            let (l, r) = (one_of(&left.columns, name, "left")?, one_of(&right.columns, name, "right")?);
            Ok((l.clone(), r.clone()))
        };
        names.iter().map(pair).collect()
    }

    pub(super) fn pairs_equal(&self, pairs: &[(ScopeColumn, ScopeColumn)]) -> Result<Expr> {
        let equal = |(l, r): &(ScopeColumn, ScopeColumn)| {
            let (l, r) = (reference(l, false, None), reference(r, false, None));
            self.operator("=", l, r, None).map(|equal| equal.expr)
        };
        Ok(balanced(pairs.iter().map(equal).collect::<Result<_>>()?, Operator::And))
    }

    /// The pairs' columns once, then those of both sides; what must be computed goes to `computed`.
    pub(super) fn beside_pairs(
        &self,
        left: Vec<ScopeColumn>,
        right: Vec<ScopeColumn>,
        pairs: &[(ScopeColumn, ScopeColumn)],
        join_type: JoinType,
        computed: &mut Vec<Expr>,
    ) -> Result<Vec<ScopeColumn>> {
        let mut columns = Vec::new();
        for (l, r) in pairs {
            columns.push(self.merge_pair(l, r, join_type, computed)?);
        }
        let is_pair =
            |c: &ScopeColumn| pairs.iter().any(|(l, r)| l.column == c.column || r.column == c.column);
        for mut column in left.into_iter().chain(right) {
            column.merged |= is_pair(&column);
            columns.push(column);
        }
        Ok(columns)
    }

    /// The one column of a pair: the side that a match always has, or in a full join whichever is not NULL.
    fn merge_pair(
        &self,
        left: &ScopeColumn,
        right: &ScopeColumn,
        join_type: JoinType,
        computed: &mut Vec<Expr>,
    ) -> Result<ScopeColumn> {
        let unqualified =
            |c: &ScopeColumn| ScopeColumn { table: None, schema: None, merged: false, ..c.clone() };
        match join_type {
            JoinType::Right => Ok(unqualified(right)),
            JoinType::Full => {
                let sides = vec![reference(left, false, None), reference(right, false, None)];
                let (mut exprs, ty) = self.in_common(sides, "JOIN/USING", None)?;
                let (Some(r), Some(l)) = (exprs.pop(), exprs.pop()) else {
                    return Err(Error::internal("a pair has two sides"));
                };
                let name = self.unique(&left.name);
                let present = Expr::IsNotNull(Box::new(l.clone()));
                let case = Case::new(None, vec![(Box::new(present), Box::new(l))], Some(Box::new(r)));
                computed.push(Expr::Case(case).alias(name.clone()));
                let column = datafusion::common::Column::new_unqualified(name);
                Ok(ScopeColumn { column, ty, origin: None, ..unqualified(left) })
            }
            _ => Ok(unqualified(left)),
        }
    }
}

fn one_of<'c>(columns: &'c [ScopeColumn], name: &str, side: &str) -> Result<&'c ScopeColumn> {
    let mut found = columns.iter().filter(|c| c.name == name && !c.merged);
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column),
        (Some(_), Some(_)) => {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message))
        }
        (None, _) => {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            Err(Error::new(SqlState::UNDEFINED_COLUMN, message))
        }
    }
}

pub(super) fn using_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|p| p.as_ident()).map(fold)
}

fn join_kind(operator: &JoinOperator) -> Result<(JoinType, &JoinConstraint)> {
    match operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
            Ok((JoinType::Inner, c))
        }
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => Ok((JoinType::Left, c)),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => Ok((JoinType::Right, c)),
        JoinOperator::FullOuter(c) => Ok((JoinType::Full, c)),
        _ => {
            Err(Error::unsupported("this kind of join")
                .with_hint("Use INNER, LEFT, RIGHT, FULL or CROSS JOIN."))
        }
    }
}
