//! `RelationProvider`: a table or materialized view at one epoch, as DataFusion sees it.
//!
//! Place in the flow: a batch query's scans are replaced by these; `scan` gives a [`RelationScanExec`]. When the
//! query's filters bound the leading columns of the key, only the rows of those keys are read. The filters stay
//! above the scan in any case, so it may only ever read too much.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use weir_common::{RelationKey, RelationSchema, Result};
use weir_storage::RelationSnapshot;

use super::access::{KeyColumn, access, key_columns};
use super::overlay::Overlay;
use super::scan::{RelationScanExec, ScanRange, external};

/// The share of a relation that a range of its keys is taken to hold, for the choice of a join's sides.
const RANGE_SHARE: usize = 8;

/// A stored relation at one epoch.
pub struct RelationProvider {
    name: String,
    snapshot: Arc<RelationSnapshot>,
    relation: RelationSchema,
    /// The columns that its storage keys are made of.
    key: Vec<KeyColumn>,
    schema: SchemaRef,
    rows_estimate: Option<usize>,
    batch_rows: usize,
    overlay: Option<Arc<Overlay>>,
}

impl RelationProvider {
    /// The relation with this snapshot; `batch_rows` is the size of the batches its scans give.
    pub fn new(
        name: &str,
        snapshot: Arc<RelationSnapshot>,
        relation: RelationSchema,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> RelationProvider {
        let rows_estimate = None;
        let key = key_columns(&schema, &relation.key_columns());
        RelationProvider {
            name: name.to_string(),
            snapshot,
            relation,
            key,
            schema,
            rows_estimate,
            batch_rows,
            overlay: None,
        }
    }

    /// Shows what the reader's own transaction block has written.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Option<Overlay>) -> RelationProvider {
        self.overlay = overlay.map(Arc::new);
        self
    }

    /// About how many rows there are, for the choice of a join's sides.
    #[must_use]
    pub fn with_rows_estimate(mut self, rows: Option<u64>) -> RelationProvider {
        self.rows_estimate = rows.and_then(|rows| usize::try_from(rows).ok());
        self
    }

    /// The part of the relation that the filters leave to be read, and how many rows that is at most, when it is few.
    fn range(&self, filters: &[Expr]) -> Result<(ScanRange, Option<usize>)> {
        let Some(found) = access(filters, &self.key)? else {
            return Ok((ScanRange::All, self.rows_estimate));
        };
        let is_keyed = matches!(self.relation.key, RelationKey::Columns(_));
        if is_keyed && found.fixed == self.key.len() {
            let keys: Vec<_> = found.ranges.into_iter().map(|range| range.start).collect();
            let count = keys.len();
            return Ok((ScanRange::Keys(Arc::new(keys)), Some(count)));
        }
        let rows = self.rows_estimate.map(|rows| rows / RANGE_SHARE);
        Ok((ScanRange::Ranges(Arc::new(found.ranges)), rows))
    }

    /// Whether the filters leave less than the whole relation to be read.
    pub fn is_bounded_by(&self, filters: &[Expr]) -> Result<bool> {
        Ok(access(filters, &self.key)?.is_some())
    }

    /// Reads the columns at `project` of the rows that the filters leave, and perhaps of more rows.
    pub fn open(
        &self,
        project: Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<RelationScanExec> {
        let (range, rows) = self.range(filters).map_err(external)?;
        let schema = Arc::new(self.schema.project(&project)?);
        let scan = RelationScanExec::new(&self.name, Arc::clone(&self.snapshot), range, project, schema);
        Ok(scan
            .with_limits(self.batch_rows, limit)
            .with_overlay(self.overlay.clone())
            .with_rows_estimate(rows))
    }
}

impl fmt::Debug for RelationProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelationProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for RelationProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // Bounds of any column may go with those of others.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let project = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        Ok(Arc::new(self.open(project, filters, limit)?))
    }
}
