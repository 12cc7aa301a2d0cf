//! `RelationScanExec`: reads a relation snapshot, whole or by keys, on one partition.
//!
//! A whole scan runs on the blocking pool and hands its batches over a short channel, so that the threads that
//! serve clients stay free, and a query that is dropped stops the scan at its next batch. A lookup of a few keys
//! is done at once.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use weir_common::change::record_batch;
use weir_common::{Error, Result};
use weir_storage::RelationSnapshot;

use super::overlay::Overlay;

/// Batches between the scanning thread and the query.
const CHANNEL_BATCHES: usize = 2;

/// Which rows are read.
#[derive(Clone)]
pub enum ScanRange {
    /// All of them.
    All,
    /// Those with these storage keys.
    Keys(Arc<Vec<Vec<u8>>>),
}

/// The leaf of a batch plan.
pub struct RelationScanExec {
    name: String,
    snapshot: Arc<RelationSnapshot>,
    range: ScanRange,
    project: Vec<usize>,
    schema: SchemaRef,
    batch_rows: usize,
    limit: Option<usize>,
    rows_estimate: Option<usize>,
    overlay: Option<Arc<Overlay>>,
    properties: Arc<PlanProperties>,
}

impl RelationScanExec {
    /// Reads the columns at `project`, which make `schema`.
    pub fn new(
        name: &str,
        snapshot: Arc<RelationSnapshot>,
        range: ScanRange,
        project: Vec<usize>,
        schema: SchemaRef,
    ) -> RelationScanExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        RelationScanExec {
            name: name.to_string(),
            snapshot,
            range,
            project,
            schema,
            batch_rows: 8_192,
            limit: None,
            rows_estimate: None,
            overlay: None,
            properties: Arc::new(properties),
        }
    }

    /// Rows of a batch, and rows after which the scan may stop.
    #[must_use]
    pub fn with_limits(mut self, batch_rows: usize, limit: Option<usize>) -> RelationScanExec {
        self.batch_rows = limit.map_or(batch_rows, |limit| batch_rows.min(limit.max(1)));
        self.limit = limit;
        self
    }

    /// How many rows the optimizer should expect, when it is known.
    #[must_use]
    pub fn with_rows_estimate(mut self, rows: Option<usize>) -> RelationScanExec {
        self.rows_estimate = rows;
        self
    }

    /// Shows what the reader's own transaction block has written; for a scan of all rows.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Option<Arc<Overlay>>) -> RelationScanExec {
        self.overlay = overlay;
        self
    }

    fn look_up(&self, keys: &Arc<Vec<Vec<u8>>>) -> SendableRecordBatchStream {
        let (snapshot, keys) = (Arc::clone(&self.snapshot), Arc::clone(keys));
        let (project, schema) = (self.project.clone(), Arc::clone(&self.schema));
        let rows = move || -> Result<RecordBatch> {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let whole = snapshot.points(&keys)?;
            let columns = project.iter().map(|i| Arc::clone(whole.column(*i))).collect();
            record_batch(schema, columns, whole.num_rows())
        };
        let stream = futures::stream::once(async move { rows().map_err(external) });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }

    fn scan_all(&self) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), CHANNEL_BATCHES);
        let out = builder.tx();
        let scan = Scan {
            snapshot: Arc::clone(&self.snapshot),
            project: self.project.clone(),
            schema: Arc::clone(&self.schema),
            batch_rows: self.batch_rows,
            overlay: self.overlay.clone(),
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        builder.spawn_blocking(move || {
            let mut sent = 0;
            let visit = |batch: RecordBatch| {
                sent += batch.num_rows();
                let is_gone = out.blocking_send(Ok(batch)).is_err();
                if is_gone || sent >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            scan.run(visit).map_err(external)
        });
        builder.build()
    }
}

/// A whole scan, on the thread that does it.
struct Scan {
    snapshot: Arc<RelationSnapshot>,
    project: Vec<usize>,
    schema: SchemaRef,
    batch_rows: usize,
    overlay: Option<Arc<Overlay>>,
}

impl Scan {
    /// Visits the batches until the visitor has enough.
    fn run(&self, mut visit: impl FnMut(RecordBatch) -> ControlFlow<()>) -> Result<()> {
        let Some(overlay) = &self.overlay else {
            for batch in self.snapshot.scan(&self.project, self.batch_rows) {
                let batch = batch?;
                let batch =
                    record_batch(Arc::clone(&self.schema), batch.columns().to_vec(), batch.num_rows())?;
                if visit(batch).is_break() {
                    break;
                }
            }
            return Ok(());
        };
        let mut hiding = overlay.hiding();
        for batch in self.snapshot.scan(&overlay.widen(&self.project), self.batch_rows) {
            if visit(hiding.apply(&batch?, self.project.len(), &self.schema)?).is_break() {
                return Ok(());
            }
        }
        let _ = visit(overlay.added(&self.project, &self.schema)?);
        Ok(())
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl fmt::Debug for RelationScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelationScanExec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DisplayAs for RelationScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        match &self.range {
            ScanRange::All => write!(f, "RelationScan: {} columns=[{}]", self.name, names.join(", "))?,
            ScanRange::Keys(keys) => {
                write!(f, "KeyLookup: {} keys={} columns=[{}]", self.name, keys.len(), names.join(", "))?;
            }
        }
        self.limit.map_or(Ok(()), |limit| write!(f, " limit={limit}"))
    }
}

impl ExecutionPlan for RelationScanExec {
    fn name(&self) -> &str {
        "RelationScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("a relation scan has no children"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("a relation scan has no children"),
        }
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a relation scan has one partition, not {partition}");
        }
        Ok(match &self.range {
            ScanRange::All => self.scan_all(),
            ScanRange::Keys(keys) => self.look_up(keys),
        })
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = self.rows_estimate.map_or(Precision::Absent, Precision::Inexact);
        Ok(Arc::new(statistics))
    }
}
