//! `KeepOffset`: an OFFSET without a LIMIT takes its rows off in the order of its own ORDER BY.
//!
//! Place in the flow: the first physical rule after the one that notes what order the whole result needs, by whose nodes
//! it works; they go when orders are settled. DataFusion pushes the sort that a node above wants below an OFFSET, as
//! through any node that keeps the order of its rows, and so takes off other rows. A LIMIT it holds back.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::output_requirements::OutputRequirementExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    Distribution, ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

/// The rule.
#[derive(Debug)]
pub(super) struct KeepOffset;

impl PhysicalOptimizerRule for KeepOffset {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(held_in_order).map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "KeepOffset"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node below one that needs the order that the node's rows are in, if the node is an OFFSET alone.
fn held_in_order(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(limit) = node.downcast_ref::<GlobalLimitExec>() else { return Ok(Transformed::no(node)) };
    if limit.fetch().is_some() || limit.skip() == 0 {
        return Ok(Transformed::no(node));
    }
    // Above a projection that drops what the rows are sorted by, their order could not be named.
    if limit.input().is::<ProjectionExec>() {
        let (skip, projection) = (limit.skip(), Arc::clone(limit.input()));
        let inputs = projection.children().into_iter();
        let below = |input: &Arc<_>| -> Arc<dyn ExecutionPlan> {
            Arc::new(GlobalLimitExec::new(Arc::clone(input), skip, None))
        };
        let held = inputs.map(|input| held_in_order(below(input)).map(|held| held.data));
        let held = held.collect::<Result<Vec<_>>>()?;
        return replace_children_if_necessary(projection, held).map(Transformed::yes);
    }
    let Some(order) = node.output_ordering().cloned() else { return Ok(Transformed::no(node)) };
    let held = OutputRequirementExec::new(node, Some(order.into()), Distribution::SinglePartition, None);
    Ok(Transformed::yes(Arc::new(held)))
}
