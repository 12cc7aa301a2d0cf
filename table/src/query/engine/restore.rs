//! `Restore`: gives the nodes of a physical plan inputs in the order and the partitions that they need, where other rules
//! have failed to.
//!
//! Place in the flow: the last physical rule before the check that refuses such a plan. DataFusion pushes a sort below a
//! UNION; on the way it drops the columns that are constant in one branch, or that equal others there. The union knows
//! of neither, so what comes out of it counts as sorted by the first columns alone. And it leaves out the exchange below
//! an aggregate whose input gets more partitions later, as that of a mark join does. Invariant: a plan that the check
//! would pass stays as it is.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ChildSatisfactionOptions, Distribution, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    replace_children_if_necessary,
};

/// The rule.
#[derive(Debug)]
pub(super) struct Restore;

impl PhysicalOptimizerRule for Restore {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(restore_inputs).map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "Restore"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node over inputs as it needs them.
fn restore_inputs(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().map(Arc::clone).collect();
    let mut changed = false;
    for (i, input) in inputs.iter_mut().enumerate() {
        let partitioned = repartitioned(plan.as_ref(), i, input)?;
        let sorted = sorted(plan.as_ref(), i, partitioned.as_ref().unwrap_or(input))?;
        if let Some(restored) = sorted.or(partitioned) {
            *input = restored;
            changed = true;
        }
    }
    match changed {
        true => replace_children_if_necessary(plan, inputs).map(Transformed::yes),
        false => Ok(Transformed::no(plan)),
    }
}

/// An input in the partitions that the node needs, if it has others. That both sides of a join need the same ones is left
/// to the check.
fn repartitioned(
    plan: &dyn ExecutionPlan,
    i: usize,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let required = plan.input_distribution_requirements();
    let options = ChildSatisfactionOptions::new().with_allow_subset(true);
    if required.child_satisfaction(i, input.as_ref(), options)?.is_satisfied() {
        return Ok(None);
    }
    let partitions = input.output_partitioning().partition_count();
    Ok(match required.per_child_distributions().nth(i) {
        Some(Distribution::SinglePartition) => Some(Arc::new(CoalescePartitionsExec::new(input.clone()))),
        Some(Distribution::KeyPartitioned(keys)) if plan.children().len() == 1 => {
            let by_key = Partitioning::Hash(keys.clone(), partitions);
            Some(Arc::new(RepartitionExec::try_new(input.clone(), by_key)?))
        }
        _ => None,
    })
}

/// An input in the order that the node needs, if it is in none known: each partition is sorted by itself.
fn sorted(
    plan: &dyn ExecutionPlan,
    i: usize,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let required = plan.required_input_ordering().into_iter().nth(i).flatten();
    let Some(required) = required.map(|required| required.into_single()) else { return Ok(None) };
    if input.equivalence_properties().ordering_satisfy_requirement(required.clone())? {
        return Ok(None);
    }
    let sort = SortExec::new(LexOrdering::from(required), input.clone());
    let is_partitioned = input.output_partitioning().partition_count() > 1;
    Ok(Some(Arc::new(sort.with_preserve_partitioning(is_partitioned))))
}
