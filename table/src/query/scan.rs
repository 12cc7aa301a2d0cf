//! `RelationScanExec`: reads a relation snapshot, whole or by keys, on one partition.
//!
//! A long scan runs on the blocking pool and hands its batches over a short channel, so that the threads that
//! serve clients stay free, and a query that is dropped stops the scan at its next batch. A lookup of a few keys, or
//! of a range that turns out to be short, is done at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
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
use crate::indexes::IndexKey;

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
    /// Those that an index has in these ranges of its keys, unless they are so many that a scan is cheaper.
    Index { index: Arc<IndexKey>, ranges: Arc<Vec<KeyRange>>, rows_max: usize },
}

/// The leaf of a batch plan.
#[derive(Clone)]
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

    /// Says that rows come in the order of these columns (of the schema), so that nobody has to sort them.
    #[must_use]
    pub fn in_order_of(mut self, columns: &[usize]) -> RelationScanExec {
        if columns.is_empty() {
            return self;
        }
        let ascending = SortOptions { descending: false, nulls_first: false };
        let by = |position: &usize| {
            let column = Column::new(self.schema.field(*position).name(), *position);
            PhysicalSortExpr::new(Arc::new(column), ascending)
        };
        let order: Vec<PhysicalSortExpr> = columns.iter().map(by).collect();
        let equivalences = EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), [order]);
        self.properties = Arc::new(PlanProperties::clone(&self.properties).with_eq_properties(equivalences));
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
            ScanRange::All => Ok(self.scan_all()),
            ScanRange::Index { index, ranges, rows_max } => {
                let Some(entries) = self.snapshot.index(index.id) else { return Ok(self.scan_all()) };
                if let Some(keys) = entries.row_keys(ranges, FIRST_ROWS).map_err(external)? {
                    let mut rows = self.rows_of(keys);
                    rows.by(FIRST_ROWS);
                    let batches: Result<Vec<_>> = rows.collect();
                    return Ok(self.at_once(batches.map_err(external)?));
                }
                let (scan, ranges, rows_max) = (self.clone(), Arc::clone(ranges), *rows_max);
                let open = move || match entries.row_keys(&ranges, rows_max)? {
                    Some(keys) => Ok(scan.rows_of(keys)),
                    None => Ok(scan.rows([KeyRange::default()])),
                };
                Ok(self.in_background(open, 0))
            }
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
                        let stream = first.chain(self.in_background(move || Ok(rows), count));
                        return Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)));
                    }
                }
                Ok(self.at_once(first))
            }
        }
    }

    fn scan_all(&self) -> SendableRecordBatchStream {
        let rows = self.rows([KeyRange::default()]);
        self.in_background(move || Ok(rows), 0)
    }

    fn rows_of(&self, keys: Vec<Vec<u8>>) -> ScanRows {
        let (project, schema) = (self.project.clone(), Arc::clone(&self.schema));
        ScanRows::of_keys(Arc::clone(&self.snapshot), keys, project, schema, self.overlay.clone())
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
    fn in_background(
        &self,
        open: impl FnOnce() -> Result<ScanRows> + Send + 'static,
        mut sent: usize,
    ) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), CHANNEL_BATCHES);
        let out = builder.tx();
        let limit = self.limit.unwrap_or(usize::MAX);
        let batch_rows = self.batch_rows;
        builder.spawn_blocking(move || {
            let mut rows = open().map_err(external)?;
            rows.by(batch_rows);
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
            ScanRange::Index { index, ranges, .. } => {
                let (name, ranges) = (&self.name, ranges.len());
                write!(
                    f,
                    "IndexLookup: {name} using {} ranges={ranges} columns=[{}]",
                    index.name,
                    names.join(", ")
                )?;
            }
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
