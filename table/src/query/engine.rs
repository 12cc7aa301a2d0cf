//! `BatchEngine`: DataFusion, set up once for a server.
//!
//! Place in the flow: every SELECT and every query part of DML runs through [`BatchEngine::stream`]. Invariant:
//! all batch queries together stay within one memory pool, and take no more of it while the process is close to its
//! limit; what can spill does, what cannot fails with 53200.

mod offset;
mod restore;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerConfig};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use weir_common::config::EngineConfig;
use weir_common::{MemoryWatch, Result};
use weir_exec::error::from_datafusion;
use weir_planner::logical::check_subqueries;
use weir_planner::lookup_join::as_joins;
use weir_planner::rules::DisabledRules;
use weir_planner::rules::forget::forgetful;
use weir_planner::rules::null_safe::{Rule, null_safe};
use weir_planner::rules::side_filter::with_side_filters;

use self::offset::KeepOffset;
use self::restore::Restore;
use super::asof_join::AsofJoins;
use super::match_recognize::MatchRecognizes;
use super::pool::WatchedPool;

/// Consumers named in the message of a query that ran out of memory.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// Runs batch plans.
pub struct BatchEngine {
    state: SessionState,
    rules: Vec<Rule>,
}

impl BatchEngine {
    /// An engine that spills below the data folder and takes at most half of the memory limit.
    pub fn new(config: &EngineConfig, memory: &Arc<MemoryWatch>) -> Result<BatchEngine> {
        let pool = WatchedPool::new(FairSpillPool::new(config.memory_limit_bytes / 2), Arc::clone(memory));
        let pool = TrackConsumersPool::new(pool, CONSUMERS_NAMED);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_temp_file_path(spill_folder(&config.data_dir))
            .build_arc()
            .map_err(from_datafusion)?;
        let mut session = SessionConfig::new()
            .with_target_partitions(config.workers)
            .with_batch_size(config.batch_rows)
            .with_information_schema(false);
        // A lookup of one row is not worth a second thread.
        session.options_mut().execution.use_row_number_estimates_to_optimize_partitioning = true;
        // Of a CASE it is known less in a physical plan whether it can be NULL than in a logical one. That is no fault.
        session.options_mut().execution.skip_physical_aggregate_schema_check = true;
        let state = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rules(physical_rules())
            .build();
        Ok(BatchEngine { state, rules: with_side_filters(forgetful(null_safe(Optimizer::new().rules))) })
    }

    /// The physical plan of a logical one whose scans have providers.
    pub async fn plan(&self, plan: &LogicalPlan, disabled: &DisabledRules) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.optimise(plan, disabled)?;
        check_subqueries(&plan)?;
        let extensions: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> =
            vec![Arc::new(MatchRecognizes), Arc::new(AsofJoins)];
        let planner = DefaultPhysicalPlanner::with_extension_planners(extensions);
        planner.create_physical_plan(&plan, &self.state).await.map_err(from_datafusion)
    }

    /// The logical plan, optimised by the rules that are not switched off.
    pub fn optimise(&self, plan: &LogicalPlan, disabled: &DisabledRules) -> Result<LogicalPlan> {
        let optimizer = Optimizer::with_rules(disabled.strike(self.rules.clone()));
        let analyzer = self.state.analyzer();
        analyzer
            .execute_and_check(as_joins(plan.clone())?, &self.state.options(), |_, _| {})
            .and_then(|plan| optimizer.optimize(plan, &self.state, |_, _| {}))
            .map_err(from_datafusion)
    }

    /// Starts a physical plan.
    pub fn stream(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        execute_stream(plan, self.state.task_ctx()).map_err(from_datafusion)
    }
}

/// DataFusion's, but for the one that pushes filters down a second time: through a join of which some columns are
/// wanted it takes a column of one side for that of the same name on the other. An OFFSET is held in its order from the
/// beginning. Before the check, which is the last, orders and partitions that were lost are restored.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules.insert(1.min(rules.len()), Arc::new(KeepOffset));
    rules.insert(rules.len().saturating_sub(1), Arc::new(Restore));
    rules
}

fn spill_folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("spill")
}
