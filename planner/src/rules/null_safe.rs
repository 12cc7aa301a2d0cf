//! Joins whose keys match NULL with NULL keep such keys alone, and a filter of an aggregate's one row stays above it.
//!
//! Place in the flow: around two of DataFusion's rules, in queries and in views. Both make join keys of a condition
//! `a = b` that a filter above the join has, or that was pushed into it. In a join that takes NULL as equal to NULL the
//! condition would then hold for two NULLs. The dependent joins of the binder are of that kind.
//!
//! A third one pushes a condition without columns (a NULL that simplifying left) below an aggregate. Without groups, or with
//! the empty grouping set, the aggregate then has a row all the same, and nothing is left that takes it out.

use std::sync::Arc;

use datafusion::common::NullEquality;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::column_first::ColumnFirst;
use super::lateral::Lateral;

/// A rule.
pub type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules, with those that mistake keys kept from the joins they mistake.
pub fn null_safe(rules: Vec<Rule>) -> Vec<Rule> {
    let guarded = |rule: Rule| -> Rule {
        match rule.name() {
            "extract_equijoin_predicate" => Arc::new(Guarded { rule, is_kept: is_null_safe }),
            // It walks down by itself, and takes several joins at once.
            "eliminate_cross_join" => Arc::new(Guarded { rule, is_kept: holds_null_safe }),
            "push_down_filter" => {
                let rule = Arc::new(ColumnFirst { rule });
                Arc::new(Guarded { rule, is_kept: filters_a_row_without_groups })
            }
            "decorrelate_lateral_join" => Arc::new(Lateral { rule }),
            _ => rule,
        }
    };
    rules.into_iter().map(guarded).collect()
}

/// A rule that leaves some plans as they are.
#[derive(Debug)]
struct Guarded {
    rule: Rule,
    is_kept: fn(&LogicalPlan) -> bool,
}

impl OptimizerRule for Guarded {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match (self.is_kept)(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.rule.rewrite(plan, config),
        }
    }
}

/// Whether a node is a filter of an aggregate that has a row although its input has none.
fn filters_a_row_without_groups(node: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = node else { return false };
    let LogicalPlan::Aggregate(aggregate) = filter.input.as_ref() else { return false };
    let groups = &aggregate.group_expr;
    groups.is_empty() || groups.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
}

/// Whether a node is a join that has keys for which NULL is equal to NULL.
fn is_null_safe(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Join(join)
        if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty())
}

fn holds_null_safe(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(is_null_safe(node))).unwrap_or(true)
}
