//! Rewrite rules: which of DataFusion's logical rules a continuous query goes through, and our own on stream plans.
//!
//! Place in the flow: [`optimize`] runs between the binder and the lowering; [`merge_calc`] runs while stream nodes
//! are made. Only rules that keep bag semantics for ever-changing inputs are used: nothing that leans on LIMIT,
//! sort order or statistics, and none that would turn supported nodes into unsupported ones.
//!
//! Invariant: no rule evaluates a clock. The queries of views hold no volatile or stable function (the lowering
//! refuses them first), since constant folding would freeze its value.

pub mod column_first;
pub mod forget;
pub mod lateral;
pub mod merge_calc;
pub mod null_safe;
pub mod optional;
pub mod side_filter;

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use weir_common::Result;
use weir_exec::error::from_datafusion;

pub use self::optional::DisabledRules;

/// The logical plan of a continuous query, optimised by the rules that are not switched off.
pub fn optimize(plan: LogicalPlan, disabled: &DisabledRules) -> Result<LogicalPlan> {
    let context = OptimizerContext::new()
        .without_query_execution_start_time()
        .filter_null_keys(false)
        .with_skip_failing_rules(false);
    let rules = side_filter::with_side_filters(forget::forgetful(null_safe::null_safe(logical_rules())));
    Optimizer::with_rules(disabled.strike(rules)).optimize(plan, &context, |_, _| {}).map_err(from_datafusion)
}

/// DataFusion's rules that suit a continuous query, in DataFusion's order.
fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
