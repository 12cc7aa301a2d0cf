//! `l JOIN r FOR SYSTEM_TIME AS OF PROCTIME() ON l.k = r.k`: each left row with the right rows that are there when it
//! comes (Flink's lookup join). What changes of the right side later changes nothing.
//!
//! What ON says of the right side alone is said of its rows before; what it says of the left side alone is a key that is
//! NULL where it is not so. A condition on pairs stands above an inner join.

use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Case, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, lit};
use weir_common::{Error, Result};

use super::bind_asof_join::compared;
use super::bind_operator::balanced;
use super::correlation::holds_query;
use super::plan_error;
use crate::lookup_join::LookupJoin;

/// The plan of a lookup join on a condition.
pub(super) fn lookup_plan(
    left: LogicalPlan,
    right: LogicalPlan,
    condition: Expr,
    is_left: bool,
) -> Result<LogicalPlan> {
    let (mut on, mut of_left, mut of_right, mut of_pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for term in split_conjunction_owned(condition) {
        if let Some((l, Operator::Eq, r)) = compared(&term, left.schema(), right.schema()) {
            on.push((l, r));
            continue;
        }
        let refs = term.column_refs();
        let is_plain = !term.contains_outer() && !holds_query(&term);
        match is_plain {
            true if refs.iter().all(|column| right.schema().has_column(column)) => of_right.push(term),
            true if refs.iter().all(|column| left.schema().has_column(column)) => of_left.push(term),
            _ => of_pairs.push(term),
        }
    }
    if let Some(pairs) = of_pairs.first().filter(|_| is_left) {
        return Err(Error::unsupported(format!("the condition {pairs} in a LEFT JOIN … AS OF PROCTIME()"))
            .with_hint(
                "Compare keys of the sides by =; a condition on both sides may stand in an inner join.",
            ));
    }
    if !of_left.is_empty() {
        let met = vec![(Box::new(balanced(of_left, Operator::And)), Box::new(lit(true)))];
        on.push((Expr::Case(Case::new(None, met, None)), lit(true)));
    }
    let right = filtered(right, of_right)?;
    let join_type = if is_left { JoinType::Left } else { JoinType::Inner };
    let join = LookupJoin::new(left, right, on, join_type).map_err(plan_error)?;
    filtered(join.into_plan(), of_pairs)
}

fn filtered(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    if conditions.is_empty() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan)
        .filter(balanced(conditions, Operator::And))
        .and_then(LogicalPlanBuilder::build)
        .map_err(plan_error)
}
