//! A lateral subquery that no longer names anything to its left is an ordinary side of its join.
//!
//! Place in the flow: around DataFusion's rule that makes joins of lateral subqueries, in queries and in views. The rule
//! leaves a subquery without outer columns as it is, and no later one knows the node. Simplifying can take them away: of
//! `WHERE a.x = o.x AND 1 > 2` only `false` stays.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::null_safe::Rule;

/// The rule for lateral joins, and what it leaves.
#[derive(Debug)]
pub struct Lateral {
    pub rule: Rule,
}

impl OptimizerRule for Lateral {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else { return self.rule.rewrite(plan, config) };
        match join.right.as_ref() {
            LogicalPlan::Subquery(query) if query.subquery.all_out_ref_exprs().is_empty() => {
                let sides = vec![join.left.as_ref().clone(), Arc::unwrap_or_clone(query.subquery.clone())];
                plan.with_new_exprs(plan.expressions(), sides).map(Transformed::yes)
            }
            _ => self.rule.rewrite(plan, config),
        }
    }
}
