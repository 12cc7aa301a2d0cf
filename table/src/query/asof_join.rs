//! `AsofJoinExec`: the ASOF join of a query.
//!
//! ```text
//!   right side ─► NearestRows, all of it          left side ─► batch by batch: one search a row ─► rows side by side
//! ```
//! Place in the flow: [`AsofJoins`] makes it of the logical node when DataFusion plans a query. With keys, both sides are
//! partitioned by them; without, there is one partition. The right side is kept in memory by the structure that the
//! streaming operator keeps it in, so that a query and a view find the same rows; what it takes is reserved in the pool
//! of batch queries (53200). Left rows keep their order.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, SendableRecordBatchStream,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};
use weir_common::change::record_batch;
use weir_exec::operators::asof_join::NearestRows;
use weir_exec::spec::Nearest;
use weir_exec::state::NONE;
use weir_planner::asof_join::AsofJoin;

use super::pipeline::of_columns;
use super::scan::external;

/// Plans ASOF joins.
pub(super) struct AsofJoins;

#[async_trait]
impl ExtensionPlanner for AsofJoins {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = node.as_any().downcast_ref::<AsofJoin>() else { return Ok(None) };
        let ([left, right], [left_rows, right_rows]) = (logical_inputs, physical_inputs) else {
            return internal_err!("an ASOF join has two inputs");
        };
        let create = |expr: &Expr, input: &LogicalPlan| {
            planner.create_physical_expr(expr, input.schema(), session, context)
        };
        let keys = |of: fn(&(Expr, Expr)) -> &Expr, input: &LogicalPlan| {
            join.on.iter().map(|pair| create(of(pair), input)).collect::<Result<Vec<_>>>()
        };
        let left_side = Side {
            rows: Arc::clone(left_rows),
            keys: keys(|pair| &pair.0, left)?,
            time: create(&join.time.0, left)?,
        };
        let right_side = Side {
            rows: Arc::clone(right_rows),
            keys: keys(|pair| &pair.1, right)?,
            time: create(&join.time.1, right)?,
        };
        let schema = Arc::clone(join.schema_ref().inner());
        let exec = AsofJoinExec::new(left_side, right_side, join.nearest, join.is_outer(), schema);
        Ok(Some(Arc::new(exec)))
    }
}

/// An input with what is compared of it.
#[derive(Clone)]
struct Side {
    rows: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    time: Arc<dyn PhysicalExpr>,
}

impl Side {
    fn keys_and_time(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.keys.iter().chain([&self.time])
    }

    /// The keys and the time of the rows of a batch.
    fn compared(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
        self.keys_and_time().map(array).collect()
    }
}

/// The physical node.
struct AsofJoinExec {
    left: Side,
    right: Side,
    nearest: Nearest,
    outer: bool,
    properties: Arc<PlanProperties>,
}

impl AsofJoinExec {
    fn new(left: Side, right: Side, nearest: Nearest, outer: bool, schema: SchemaRef) -> AsofJoinExec {
        // Left columns stay where they are, so what is known of the left side's partitions stays true.
        let partitioning = left.rows.output_partitioning().clone();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            left.rows.boundedness(),
        );
        AsofJoinExec { left, right, nearest, outer, properties: Arc::new(properties) }
    }

    /// All right rows of a partition.
    async fn build(
        right: Side,
        mut rows: SendableRecordBatchStream,
        nearest: Nearest,
        reservation: MemoryReservation,
    ) -> Result<Built> {
        let width = right.rows.schema().fields().len();
        let mut types: Vec<DataType> =
            right.rows.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        for expr in right.keys_and_time() {
            types.push(expr.data_type(&right.rows.schema())?);
        }
        let keys: Vec<usize> = (width..types.len() - 1).collect();
        let mut nearest = NearestRows::new(&keys, types.len() - 1, nearest, &types).map_err(external)?;
        while let Some(batch) = rows.try_next().await? {
            let compared = right.compared(&batch)?;
            let columns = batch.columns().iter().cloned().chain(compared).collect();
            nearest.insert(of_columns(columns, batch.num_rows()).map_err(external)?).map_err(external)?;
            reservation.try_resize(nearest.memory_bytes())?;
        }
        Ok(Built { rows: nearest, width, _reservation: reservation })
    }
}

/// The right side, as long as left rows are searched in it.
struct Built {
    rows: NearestRows,
    width: usize,
    _reservation: MemoryReservation,
}

impl Built {
    /// Left rows beside their matches.
    fn join(
        &mut self,
        left: &Side,
        batch: &RecordBatch,
        outer: bool,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let mut keys = left.compared(batch)?;
        let Some(time) = keys.pop() else { return internal_err!("an ASOF join compares times") };
        let mut found = Vec::with_capacity(batch.num_rows());
        self.rows.find(&keys, &time, &mut found).map_err(external)?;
        let mut batch = batch.clone();
        if !outer && found.contains(&NONE) {
            let matched: BooleanArray = found.iter().map(|slot| Some(*slot != NONE)).collect();
            batch = filter_record_batch(&batch, &matched)?;
            found.retain(|slot| *slot != NONE);
        }
        let mut columns = batch.columns().to_vec();
        for column in 0..self.width {
            columns.push(self.rows.gather(column, &found).map_err(external)?);
        }
        record_batch(Arc::clone(schema), columns, found.len()).map_err(external)
    }
}

impl fmt::Debug for AsofJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for AsofJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer = if self.outer { "left, " } else { "" };
        let keys = self.left.keys.iter().zip(&self.right.keys);
        let on: Vec<String> = keys.map(|(left, right)| format!("{left} = {right}")).collect();
        let (left, right, symbol) = (&self.left.time, &self.right.time, self.nearest.symbol());
        write!(f, "AsofJoinExec: {outer}on=[{}], nearest={left} {symbol} {right}", on.join(", "))
    }
}

impl ExecutionPlan for AsofJoinExec {
    fn name(&self) -> &str {
        "AsofJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left.rows, &self.right.rows]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.left.keys_and_time().chain(self.right.keys_and_time()) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) else {
            return internal_err!("an ASOF join has two inputs");
        };
        let over = |side: &Side, rows| Side { rows, ..side.clone() };
        let (left, right) = (over(&self.left, left), over(&self.right, right));
        Ok(Arc::new(AsofJoinExec::new(left, right, self.nearest, self.outer, self.schema())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.left.keys.is_empty() {
            return InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2]);
        }
        let by_keys = |side: &Side| Distribution::KeyPartitioned(side.keys.clone());
        InputDistributionRequirements::co_partitioned(vec![by_keys(&self.left), by_keys(&self.right)])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let right_rows = self.right.rows.execute(partition, Arc::clone(&context))?;
        let left_rows = self.left.rows.execute(partition, Arc::clone(&context))?;
        let reservation = MemoryConsumer::new("AsofJoinExec").register(context.memory_pool());
        let build = AsofJoinExec::build(self.right.clone(), right_rows, self.nearest, reservation);
        let (left, outer, schema) = (self.left.clone(), self.outer, self.schema());
        let joined = futures::stream::once(async move {
            let mut built = build.await?;
            Ok::<_, DataFusionError>(left_rows.map(move |batch| built.join(&left, &batch?, outer, &schema)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), joined.try_flatten())))
    }
}
