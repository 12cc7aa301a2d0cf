//! `RelationScanExec`: reads a relation snapshot, whole or by keys, on one partition.
//!
//! A long scan runs on the blocking pool and hands its batches over a short channel, so that the threads that
//! serve clients stay free, and a query that is dropped stops the scan at its next batch. A lookup of a few keys, or
//! of a range that turns out to be short, is done at once.

use std::collections::VecDeque;
use std::fmt;
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
use futures::StreamExt;
use weir_common::change::record_batch;
use weir_common::key::KeyRange;
use weir_common::{Error, Result};
use weir_storage::RelationSnapshot;

use super::overlay::Overlay;
use super::rows::ScanRows;

/// Batches between the scanning thread and the query.
const CHANNEL_BATCHES: usize = 2;
/// Rows of a range that are read at once.
const FIRST_ROWS: usize = 256;

/// Which rows are read.
#[derive(Clone)]
pub enum ScanRange {
    /// All of them.
    All,
    /// Those with these storage keys.
    Keys(Arc<Vec<Vec<u8>>>),
    /// Those with storage keys in these ranges.
    Ranges(Arc<Vec<KeyRange>>),
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

    /// Shows what the reader's own transaction block has written.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Option<Arc<Overlay>>) -> RelationScanExec {
        self.overlay = overlay;
        self
    }

    /// The rows. What a few keys or the beginning of a range give is read at once; the rest, and a whole scan, on the
    /// blocking pool.
    pub fn stream(&self) -> DataFusionResult<SendableRecordBatchStream> {
        match &self.range {
            ScanRange::Keys(keys) => Ok(self.at_once(vec![self.look_up(keys).map_err(external)?])),
            ScanRange::All => Ok(self.in_background(self.rows([KeyRange::default()]), 0)),
            ScanRange::Ranges(ranges) => {
                let mut rows = self.rows(ranges.to_vec());
                rows.by(self.batch_rows.min(FIRST_ROWS));
                let (mut first, mut count) = (Vec::new(), 0);
                for batch in rows.by_ref() {
                    let batch = batch.map_err(external)?;
                    count += batch.num_rows();
                    first.push(batch);
                    if count >= FIRST_ROWS {
                        let first = futures::stream::iter(first.into_iter().map(Ok));
                        let stream = first.chain(self.in_background(rows, count));
                        return Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)));
                    }
                }
                Ok(self.at_once(first))
            }
        }
    }

    fn rows(&self, ranges: impl Into<VecDeque<KeyRange>>) -> ScanRows {
        let (project, schema) = (self.project.clone(), Arc::clone(&self.schema));
        ScanRows::new(Arc::clone(&self.snapshot), ranges, project, schema, self.overlay.clone())
    }

    fn look_up(&self, keys: &[Vec<u8>]) -> Result<RecordBatch> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let Some(overlay) = &self.overlay else {
            let found = self.snapshot.points_of(&keys, &self.project)?;
            return record_batch(Arc::clone(&self.schema), found.columns().to_vec(), found.num_rows());
        };
        let shown = overlay.shown(&self.snapshot.points(&keys)?, &keys.into_iter().collect())?;
        let columns = self.project.iter().map(|i| Arc::clone(shown.column(*i))).collect();
        record_batch(Arc::clone(&self.schema), columns, shown.num_rows())
    }

    fn at_once(&self, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }

    /// Reads on, on another thread; `sent` rows are out already.
    fn in_background(&self, mut rows: ScanRows, mut sent: usize) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), CHANNEL_BATCHES);
        let out = builder.tx();
        let limit = self.limit.unwrap_or(usize::MAX);
        rows.by(self.batch_rows);
        builder.spawn_blocking(move || {
            while sent < limit
                && let Some(batch) = rows.next()
            {
                let batch = batch.map_err(external)?;
                sent += batch.num_rows();
                if out.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// As DataFusion passes it through.
pub fn external(error: Error) -> DataFusionError {
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
            ScanRange::Ranges(ranges) => {
                write!(f, "KeyRange: {} ranges={} columns=[{}]", self.name, ranges.len(), names.join(", "))?;
            }
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
        self.stream()
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
