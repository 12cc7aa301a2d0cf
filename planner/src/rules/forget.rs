//! Functional dependencies are forgotten before rules that would lean on wrong ones.
//!
//! Place in the flow: around three of DataFusion's rules, in queries and in views. Of a grouping over a join of grouped
//! rows DataFusion holds that one side's key determines a whole row of the result, though the other side's columns are
//! among the groups; above it, these rules then drop DISTINCTs, grouping columns and joins that are needed. Relations
//! declare no dependencies, so a plan has none but those of its groupings, and loses nothing where two are not above
//! each other.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{FunctionalDependencies, Result as DfResult};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::null_safe::Rule;

/// Groupings in a plan from which on dependencies may be wrong, and be used: one below a join, one above it, and one to
/// be taken for needless.
const GROUPINGS: usize = 3;

/// The rules, with those that use functional dependencies kept from all of them.
pub fn forgetful(rules: Vec<Rule>) -> Vec<Rule> {
    let wrapped = |rule: Rule| -> Rule {
        match rule.name() {
            "optimize_projections" | "replace_distinct_aggregate" | "eliminate_join" => {
                Arc::new(Forgetful { rule })
            }
            _ => rule,
        }
    };
    rules.into_iter().map(wrapped).collect()
}

#[derive(Debug)]
struct Forgetful {
    rule: Rule,
}

impl OptimizerRule for Forgetful {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        // A rule without an order of its own walks the plan by itself.
        let is_looked_at = self.apply_order().is_none()
            || matches!(plan, LogicalPlan::Distinct(_) | LogicalPlan::Join(_) | LogicalPlan::Aggregate(_));
        match is_looked_at && groupings(&plan) >= GROUPINGS {
            true => self.rule.rewrite(forget(plan)?, config),
            false => self.rule.rewrite(plan, config),
        }
    }
}

fn groupings(plan: &LogicalPlan) -> usize {
    let mut found = 0;
    // The closure cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        found += usize::from(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_)));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The plan without functional dependencies.
fn forget(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let forgotten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(mut aggregate) => {
            let schema = aggregate.schema.as_ref().clone();
            aggregate.schema =
                Arc::new(schema.with_functional_dependencies(FunctionalDependencies::empty())?);
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        // What a node knows it has from its inputs.
        node => node.recompute_schema().map(Transformed::yes),
    });
    Ok(forgotten?.data)
}
