//! A join below a dependent join: which of its sides get the domain.
//!
//! An inner or left join needs it where the subquery names outer columns: at one side, or at both, each with its own copy
//! and joined on it. A semi or anti join keeps its left side's rows, each for a row of the domain; a full join keeps
//! rows of both, and a row's domain is that of the side it has.

use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator};
use weir_common::{Error, Result};

use super::Binder;
use super::bind_operator::{binary, if_then_else};
use super::dependent_join::{Domain, build, names_domain};

impl Binder<'_> {
    /// The join's rows for each row of the domain.
    pub(super) fn push_into_join(&self, join: &Join, domain: &Domain) -> Result<LogicalPlan> {
        let (left, right, kind) = match join.join_type {
            JoinType::Right => (&join.right, &join.left, JoinType::Left),
            kind => (&join.left, &join.right, kind),
        };
        let conditions = domain.replace_all(&conditions(join))?;
        let (left_names, right_names) = (names_domain(left, domain), names_domain(right, domain));
        match kind {
            JoinType::Inner if !left_names && right_names => {
                let right = self.push_domain(right, domain)?;
                join_on(left.as_ref().clone(), right, kind, conditions)
            }
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti if !right_names => {
                let left = self.push_domain(left, domain)?;
                join_on(left, right.as_ref().clone(), kind, conditions)
            }
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => {
                self.join_copies(left, right, kind, conditions, domain).map(|(joined, _)| joined)
            }
            JoinType::Full => {
                let (joined, copied) = self.join_copies(left, right, kind, conditions, domain)?;
                one_domain(joined, domain, &copied)
            }
            _ => Err(Error::unsupported("a subquery that names outer columns inside this kind of join")
                .with_hint("Use an inner or an outer join in the subquery.")),
        }
    }

    /// Both sides, each with its own copy of the domain, joined on it; and the right side's copy.
    fn join_copies(
        &self,
        left: &LogicalPlan,
        right: &LogicalPlan,
        kind: JoinType,
        conditions: Vec<Expr>,
        domain: &Domain,
    ) -> Result<(LogicalPlan, Domain)> {
        let left = self.push_domain(left, domain)?;
        let copied = self.copy_domain(domain)?;
        let right = self.push_domain(right, &copied)?;
        let same = |(a, b)| binary(a, Operator::IsNotDistinctFrom, b);
        let mut all: Vec<Expr> = domain.exprs().into_iter().zip(copied.exprs()).map(same).collect();
        all.extend(conditions);
        Ok((join_on(left, right, kind, all)?, copied))
    }

    fn copy_domain(&self, domain: &Domain) -> Result<Domain> {
        self.repeat(&domain.plan, 1)?;
        let columns: Vec<(Column, Column)> = domain
            .columns
            .iter()
            .map(|(outer, column)| (outer.clone(), Column::new_unqualified(self.unique(&column.name))))
            .collect();
        let exprs: Vec<Expr> = domain
            .exprs()
            .into_iter()
            .zip(&columns)
            .map(|(from, (_, to))| from.alias(to.name.clone()))
            .collect();
        let plan = build(LogicalPlanBuilder::from(domain.plan.clone()).project(exprs))?;
        Ok(Domain { plan, columns })
    }
}

/// A join's equalities and its other condition.
fn conditions(join: &Join) -> Vec<Expr> {
    let equals = match join.null_equality {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    let equalities = join.on.iter().map(|(l, r)| binary(l.clone(), equals, r.clone()));
    equalities.chain(join.filter.clone()).collect()
}

/// A full join's rows with one domain: the left side's, or the right side's where there is no row of the left.
fn one_domain(joined: LogicalPlan, domain: &Domain, copied: &Domain) -> Result<LogicalPlan> {
    let mut exprs = Vec::new();
    for ((_, left), (_, right)) in domain.columns.iter().zip(&copied.columns) {
        let (left, name) = (Expr::Column(left.clone()), &left.name);
        let value = if_then_else(left.clone().is_null(), Expr::Column(right.clone()), left);
        exprs.push(value.alias(name.clone()));
    }
    let taken =
        |column: &Column| domain.columns.iter().chain(&copied.columns).any(|(_, known)| known == column);
    let others = joined.schema().columns().into_iter().filter(|column| !taken(column));
    exprs.extend(others.map(Expr::Column));
    build(LogicalPlanBuilder::from(joined).project(exprs))
}

fn join_on(
    left: LogicalPlan,
    right: LogicalPlan,
    kind: JoinType,
    conditions: Vec<Expr>,
) -> Result<LogicalPlan> {
    build(LogicalPlanBuilder::from(left).join_on(right, kind, conditions))
}
