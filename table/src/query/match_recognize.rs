//! `MatchRecognizeExec`: MATCH_RECOGNIZE of a query: the streaming operator over rows that end.
//!
//! ```text
//!   input ─► operator, batch by batch ─► end of the only epoch ─► what it emits
//! ```
//! Place in the flow: [`MatchRecognizes`] makes it of the logical node when DataFusion plans a query. So a query and a view
//! give the same rows, to the last digit. The input is partitioned by the partition's columns where DataFusion's hashes
//! agree with SQL's equality; it is kept in memory, reserved in the pool of batch queries (53200). Matching runs on the
//! blocking pool, and stops at the next batch when the query is dropped.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, SendableRecordBatchStream,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch};
use weir_exec::build::build;
use weir_exec::operator::{Flow, Operator, Output, Port};
use weir_exec::spec::{NodeSpec, OperatorSpec, RowPattern};
use weir_planner::match_recognize::MatchRecognize;

use super::scan::external;

/// Batches between the operator and the query.
const CHANNEL_BATCHES: usize = 2;

/// Plans MATCH_RECOGNIZE.
pub(super) struct MatchRecognizes;

#[async_trait]
impl ExtensionPlanner for MatchRecognizes {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<MatchRecognize>() else { return Ok(None) };
        let [input] = physical_inputs else { return internal_err!("MATCH_RECOGNIZE has one input") };
        let (pattern, schema) = (Arc::new(node.pattern.clone()), Arc::clone(node.schema.inner()));
        let text = node.render();
        Ok(Some(Arc::new(MatchRecognizeExec::new(Arc::clone(input), pattern, text, schema))))
    }
}

/// The physical node.
struct MatchRecognizeExec {
    input: Arc<dyn ExecutionPlan>,
    pattern: Arc<RowPattern>,
    text: String,
    properties: Arc<PlanProperties>,
}

impl MatchRecognizeExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        pattern: Arc<RowPattern>,
        text: String,
        schema: SchemaRef,
    ) -> MatchRecognizeExec {
        let partitioning = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Final,
            input.boundedness(),
        );
        MatchRecognizeExec { input, pattern, text, properties: Arc::new(properties) }
    }

    fn operator(&self) -> weir_common::Result<Box<dyn Operator>> {
        let types = |schema: &SchemaRef| -> Vec<DataType> {
            schema.fields().iter().map(|field| field.data_type().clone()).collect()
        };
        let operator = OperatorSpec::MatchRecognize(Box::new(RowPattern::clone(&self.pattern)));
        let inputs = vec![types(&self.input.schema())];
        build(&NodeSpec { operator, inputs, output: types(&self.schema()) })
    }
}

/// Takes all rows in.
async fn take_in(
    operator: &mut dyn Operator,
    mut rows: SendableRecordBatchStream,
    reservation: &MemoryReservation,
) -> Result<()> {
    while let Some(batch) = rows.try_next().await? {
        let mut out = Output::new();
        let inserts = ChangeBatch::inserts(batch);
        let Flow::Done = operator.on_batch(Port(0), inserts, &mut out).map_err(external)? else {
            return internal_err!("MATCH_RECOGNIZE emits at the end of an epoch");
        };
        reservation.try_resize(operator.memory_bytes())?;
    }
    Ok(())
}

/// Ends the epoch, and hands on what comes out.
fn give_out(
    operator: &mut dyn Operator,
    schema: &SchemaRef,
    out: &Sender<Result<arrow::array::RecordBatch>>,
) -> Result<()> {
    let mut output = Output::new();
    let mut flow = operator.on_epoch_end(Epoch(1), &mut output).map_err(external)?;
    loop {
        for batch in std::mem::take(&mut output.batches) {
            let rows = record_batch(Arc::clone(schema), batch.columns().to_vec(), batch.len());
            if out.blocking_send(rows.map_err(external)).is_err() {
                return Ok(());
            }
        }
        if flow == Flow::Done {
            return Ok(());
        }
        output = Output::new();
        flow = operator.resume(&mut output).map_err(external)?;
    }
}

impl fmt::Debug for MatchRecognizeExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchRecognizeExec").field("pattern", &self.text).finish_non_exhaustive()
    }
}

impl DisplayAs for MatchRecognizeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ExecutionPlan for MatchRecognizeExec {
    fn name(&self) -> &str {
        "MatchRecognizeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) else {
            return internal_err!("MATCH_RECOGNIZE has one input");
        };
        let (pattern, text) = (Arc::clone(&self.pattern), self.text.clone());
        Ok(Arc::new(MatchRecognizeExec::new(input, pattern, text, self.schema())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let schema = self.input.schema();
        let keys = self.pattern.partition.iter().map(|column| {
            let field = schema.field(*column);
            let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), *column));
            is_hashed_by_value(field.data_type()).then_some(key)
        });
        let keys: Option<Vec<Arc<dyn PhysicalExpr>>> = keys.collect();
        let distribution = match keys.filter(|keys| !keys.is_empty()) {
            Some(keys) => Distribution::KeyPartitioned(keys),
            None => Distribution::SinglePartition,
        };
        InputDistributionRequirements::new(vec![distribution])
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let reservation = MemoryConsumer::new("MatchRecognizeExec").register(context.memory_pool());
        let mut operator = self.operator().map_err(external)?;
        let schema = self.schema();
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&schema), CHANNEL_BATCHES);
        let out = builder.tx();
        builder.spawn(async move {
            take_in(operator.as_mut(), rows, &reservation).await?;
            let matching = tokio::task::spawn_blocking(move || {
                let given = give_out(operator.as_mut(), &schema, &out);
                drop(reservation);
                given
            });
            matching.await.map_err(|error| DataFusionError::External(Box::new(error)))?
        });
        Ok(builder.build())
    }
}

/// Whether equal values of a type are hashed alike.
fn is_hashed_by_value(ty: &DataType) -> bool {
    ty.is_integer()
        || matches!(
            ty,
            DataType::Boolean
                | DataType::Utf8
                | DataType::Binary
                | DataType::FixedSizeBinary(_)
                | DataType::Date32
                | DataType::Timestamp(..)
        )
}
