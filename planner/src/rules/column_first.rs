//! Comparisons are written with the column first, before filters are pushed down.
//!
//! Place in the flow: around DataFusion's rule that pushes filters down, in queries and in views. That rule also drops
//! conditions that others make needless, and looks at how they are written: of `i = 7 AND 7 = i` it holds that both cannot be
//! true, of `i >= 5` and `5 < i` that the first is the stricter one, of `i > 5 AND i > NULL` that `i > 5` is enough.
//! Simplifying expressions would write them alike, but has gone before conditions meet: IN (SELECT …) brings one from
//! outside, and one that passes a projection of a constant gets it on its left.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

use super::null_safe::Rule;

/// A rule that sees filters, and the filters right below them, with the column first in every comparison.
#[derive(Debug)]
pub struct ColumnFirst {
    pub rule: Rule,
}

impl OptimizerRule for ColumnFirst {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        rewrite_filters(plan).transform_data(|plan| self.rule.rewrite(plan, config))
    }
}

fn rewrite_filters(plan: LogicalPlan) -> Transformed<LogicalPlan> {
    let LogicalPlan::Filter(mut filter) = plan else { return Transformed::no(plan) };
    let mut is_changed = false;
    if matches!(*filter.input, LogicalPlan::Filter(_)) {
        let input = rewrite_filters(Arc::unwrap_or_clone(filter.input));
        is_changed = input.transformed;
        filter.input = Arc::new(input.data);
    }
    if split_conjunction(&filter.predicate).into_iter().any(|condition| column_first(condition).is_some()) {
        let conditions = split_conjunction_owned(filter.predicate).into_iter();
        let ordered = conditions.map(|condition| column_first(&condition).unwrap_or(condition));
        filter.predicate = conjunction(ordered).unwrap_or_else(|| lit(true));
        is_changed = true;
    }
    Transformed::new_transformed(LogicalPlan::Filter(filter), is_changed)
}

/// What a comparison of a column with a literal is to become, if it is not that yet.
fn column_first(condition: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    if !matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return None;
    }
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(_), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(_))
            if value.is_null() =>
        {
            Some(lit(ScalarValue::Boolean(None)))
        }
        (Expr::Literal(..), Expr::Column(_)) => {
            let swapped = BinaryExpr { left: right.clone(), op: op.swap()?, right: left.clone() };
            Some(Expr::BinaryExpr(swapped))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col};
    use datafusion::optimizer::push_down_filter::PushDownFilter;
    use datafusion::optimizer::{Optimizer, OptimizerContext};

    use super::*;

    /// What is left of two conditions in two filters above each other.
    fn pushed(first: Expr, second: Expr) -> String {
        let rows = LogicalPlanBuilder::values(vec![vec![lit(5)]]).unwrap();
        let plan = rows.filter(first).unwrap().filter(second).unwrap().build().unwrap();
        let rule = Arc::new(ColumnFirst { rule: Arc::new(PushDownFilter::new()) });
        let context = OptimizerContext::new();
        let plan = Optimizer::with_rules(vec![rule]).optimize(plan, &context, |_, _| {}).unwrap();
        plan.display().to_string()
    }

    #[test]
    fn conditions_are_compared_whatever_side_the_column_is_on() {
        let i = || col("column1");
        assert_eq!(pushed(i().eq(lit(5)), lit(5).eq(i())), "Filter: column1 = Int32(5)");
        assert_eq!(pushed(lit(5).lt(i()), i().gt_eq(lit(5))), "Filter: column1 > Int32(5)");
        assert_eq!(pushed(i().lt_eq(lit(5)), lit(5).gt(i())), "Filter: column1 < Int32(5)");
        assert_eq!(pushed(lit(4).eq(i()), lit(5).eq(i())), "Filter: Boolean(false)");
    }

    #[test]
    fn null_is_not_the_smallest_value() {
        let null = || lit(ScalarValue::Int32(None));
        let i = || col("column1");
        assert_eq!(pushed(i().gt(lit(4)), null().lt(i())), "Filter: column1 > Int32(4) AND Boolean(NULL)");
    }
}
