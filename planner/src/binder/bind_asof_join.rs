//! ASOF JOIN: each left row with the right row of equal keys that is nearest by time.
//!
//! ```text
//!   l ASOF [LEFT] JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k      Snowflake's; also USING (k)
//!   l ASOF [LEFT] JOIN r ON l.k = r.k AND l.ts >= r.ts                    DuckDB's; also USING (k, ts), for l.ts >= r.ts
//! ```
//! Equalities between the sides are keys. What ON says of the right side alone is said of its rows before the nearest is
//! chosen; what it says of the left side alone makes the row one without a match. So the join is
//! `JOIN LATERAL (SELECT … FROM r WHERE conditions ORDER BY r.ts DESC LIMIT 1)`.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, Case, Expr, ExprSchemable, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
};
use sqlparser::ast::{Expr as SqlExpr, Join, JoinConstraint, Spanned};
use weir_common::{Error, Result, SqlState};
use weir_exec::spec::Nearest;

use super::bind_join::using_name;
use super::bind_operator::balanced;
use super::correlation::holds_query;
use super::scope::{Relation, Scope, reference};
use super::{Binder, plan_error};
use crate::asof_join::AsofJoin;
use crate::parser::AsofClause;

/// The conditions of a join by what they speak of.
#[derive(Default)]
struct Terms {
    /// Keys of the left side and of the right one.
    on: Vec<(Expr, Expr)>,
    /// Comparisons of the sides by order.
    orders: Vec<(Expr, Nearest, Expr)>,
    /// About the left side alone, and about the right one.
    left: Vec<Expr>,
    right: Vec<Expr>,
    others: Vec<Expr>,
}

impl Binder<'_> {
    /// `left ASOF JOIN …`.
    pub(crate) fn bind_asof_join(
        &self,
        left: Relation,
        join: &Join,
        clause: &AsofClause<'_>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let right = self.bind_factor(&join.relation, None, JoinType::Inner, scope)?;
        let position = self.span_position(join.relation.span());
        let mut terms = Terms::default();
        let mut pairs = Vec::new();
        match clause.constraint {
            JoinConstraint::On(condition) => {
                terms = self.asof_terms(&left, &right, condition, scope)?;
            }
            JoinConstraint::Using(names) => {
                let mut names: Vec<String> = names.iter().filter_map(using_name).collect();
                pairs = self.using_pairs(&left, &right, &names)?;
                let time = if clause.match_condition.is_none() { names.pop() } else { None };
                for (l, r) in &pairs {
                    let op = if Some(&l.name) == time.as_ref() { ">=" } else { "=" };
                    let compared =
                        self.operator(op, reference(l, false, None), reference(r, false, None), None)?;
                    terms.add(compared.expr, &left.plan, &right.plan);
                }
            }
            JoinConstraint::Natural => return Err(Error::unsupported("NATURAL ASOF JOIN").at(position)),
            JoinConstraint::None => {}
        }
        if let Some(condition) = clause.match_condition {
            if !terms.orders.is_empty() {
                return Err(two_orders().at(position));
            }
            terms.orders = self.match_condition(&left, &right, condition, scope)?;
        }
        let plan =
            self.asof_plan(left.plan, right.plan, terms, clause.is_left).map_err(|e| e.at(position))?;
        let columns = match pairs.is_empty() {
            true => left.columns.into_iter().chain(right.columns).collect(),
            // A match always has the left side's columns, so nothing has to be computed of both.
            false => {
                self.beside_pairs(left.columns, right.columns, &pairs, JoinType::Left, &mut Vec::new())?
            }
        };
        Ok(Relation { plan, columns })
    }

    fn match_condition(
        &self,
        left: &Relation,
        right: &Relation,
        condition: &SqlExpr,
        scope: &Scope<'_>,
    ) -> Result<Vec<(Expr, Nearest, Expr)>> {
        let terms = self.asof_terms(left, right, condition, scope)?;
        let only_orders = terms.on.is_empty() && terms.others.is_empty();
        if terms.orders.len() == 1 && only_orders && terms.left.is_empty() && terms.right.is_empty() {
            return Ok(terms.orders);
        }
        let message = "MATCH_CONDITION must compare a time of the left side with a time of the right side";
        Err(Error::new(SqlState::SYNTAX_ERROR, message)
            .with_hint("For example, MATCH_CONDITION (l.ts >= r.ts); equalities stand after ON.")
            .at(self.position(condition)))
    }

    /// A condition over both sides, bound and taken apart.
    fn asof_terms(
        &self,
        left: &Relation,
        right: &Relation,
        condition: &SqlExpr,
        scope: &Scope<'_>,
    ) -> Result<Terms> {
        let condition = self.bind_on(left, right, condition, scope)?;
        let mut terms = Terms::default();
        split_conjunction_owned(condition)
            .into_iter()
            .for_each(|term| terms.add(term, &left.plan, &right.plan));
        Ok(terms)
    }

    /// The plan of a join by these terms.
    fn asof_plan(
        &self,
        left: LogicalPlan,
        mut right: LogicalPlan,
        terms: Terms,
        is_left: bool,
    ) -> Result<LogicalPlan> {
        if let Some(other) = terms.others.first() {
            return Err(Error::unsupported(format!("the condition {other} in an ASOF JOIN")).with_hint(
                "Compare keys of the sides by =, and one time of each; the rest can stand in WHERE.",
            ));
        }
        let mut orders = terms.orders.into_iter();
        let (mut left_time, nearest, right_time) = match (orders.next(), orders.next()) {
            (Some(order), None) => order,
            (Some(_), Some(_)) => return Err(two_orders()),
            (None, _) => {
                return Err(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "an ASOF JOIN must compare times of its sides",
                )
                .with_hint("Write MATCH_CONDITION (l.ts >= r.ts) after the right side."));
            }
        };
        check_time(&left_time, &left)?;
        if !terms.left.is_empty() {
            let met = balanced(terms.left, Operator::And);
            left_time = Expr::Case(Case::new(None, vec![(Box::new(met), Box::new(left_time))], None));
        }
        if !terms.right.is_empty() {
            right = LogicalPlanBuilder::from(right)
                .filter(balanced(terms.right, Operator::And))
                .and_then(LogicalPlanBuilder::build)
                .map_err(plan_error)?;
        }
        let join = AsofJoin::inner(left, right, terms.on, (left_time, right_time), nearest);
        let join = if is_left { join.and_then(AsofJoin::outer) } else { join };
        join.map(AsofJoin::into_plan).map_err(plan_error)
    }
}

impl Terms {
    fn add(&mut self, term: Expr, left: &LogicalPlan, right: &LogicalPlan) {
        let (left, right) = (left.schema(), right.schema());
        if let Some((l, op, r)) = compared(&term, left, right) {
            match nearest(op) {
                Some(nearest) => return self.orders.push((l, nearest, r)),
                None if op == Operator::Eq => return self.on.push((l, r)),
                None => {}
            }
        }
        let refs = term.column_refs();
        let is_plain = !term.contains_outer() && !holds_query(&term);
        if is_plain && refs.iter().all(|column| right.has_column(column)) {
            self.right.push(term);
        } else if is_plain && refs.iter().all(|column| left.has_column(column)) {
            self.left.push(term);
        } else {
            self.others.push(term);
        }
    }
}

/// A comparison of a value of the left side with one of the right side, which may stand the other way round.
pub(super) fn compared(term: &Expr, left: &DFSchema, right: &DFSchema) -> Option<(Expr, Operator, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = term else { return None };
    let within = |expr: &Expr, schema: &DFSchema| {
        let refs = expr.column_refs();
        let named = !refs.is_empty() && refs.iter().all(|column| schema.has_column(column));
        named && !expr.contains_outer() && !holds_query(expr)
    };
    if within(a, left) && within(b, right) {
        return Some((a.as_ref().clone(), *op, b.as_ref().clone()));
    }
    let turned = within(b, left) && within(a, right);
    turned.then(|| Some((b.as_ref().clone(), op.swap()?, a.as_ref().clone()))).flatten()
}

fn nearest(op: Operator) -> Option<Nearest> {
    match op {
        Operator::GtEq => Some(Nearest::AtOrBefore),
        Operator::Gt => Some(Nearest::Before),
        Operator::LtEq => Some(Nearest::AtOrAfter),
        Operator::Lt => Some(Nearest::After),
        _ => None,
    }
}

/// Of two values it must be known which is nearer: 0A000 for what is neither a time nor a number.
fn check_time(time: &Expr, plan: &LogicalPlan) -> Result<()> {
    let ty = time.get_type(plan.schema()).map_err(plan_error)?;
    let is_interval = matches!(ty, DataType::Interval(_));
    if ty.is_integer() || ty.is_decimal() || (ty.is_temporal() && !is_interval) {
        return Ok(());
    }
    Err(Error::unsupported(format!("an ASOF JOIN by {time}"))
        .with_hint("Compare timestamps, dates, times, integers or numeric values."))
}

fn two_orders() -> Error {
    Error::unsupported("more than one comparison by order in an ASOF JOIN")
        .with_hint("Compare one time of each side; the rest can stand in WHERE.")
}
