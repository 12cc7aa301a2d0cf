//! `RelationProvider`: a table or materialized view at one epoch, as DataFusion sees it.
//!
//! Place in the flow: a batch query's scans are replaced by these; `scan` gives a [`RelationScanExec`]. When the
//! query's filters bound the leading columns of the key or of an index, only the rows of those keys are read. The filters stay
//! above the scan in any case, so it may only ever read too much.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use weir_common::{RelationKey, RelationSchema, Result};
use weir_storage::RelationSnapshot;

use super::access::{Access, KeyColumn, access, key_columns};
use super::overlay::Overlay;
use super::scan::{RelationScanExec, ScanRange, external};
use crate::indexes::IndexKey;

/// The share of a relation that a range of its keys is taken to hold, for the choice of a join's sides.
const RANGE_SHARE: usize = 8;

/// Of how many rows one may be looked up through an index before a scan is cheaper.
const LOOKUP_SHARE: usize = 16;
/// So many rows are looked up in any case,
const LOOKUP_MIN: usize = 1_024;
/// and more are not, since their keys are held in memory.
const LOOKUP_MAX: usize = 512 * 1_024;

/// By which key rows are found.
enum Choice<'a> {
    /// Their storage key.
    Rows,
    Index(&'a Arc<IndexKey>),
}

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
    indexes: Vec<Arc<IndexKey>>,
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
            indexes: Vec::new(),
        }
    }

    /// Indexes that rows may be found through.
    #[must_use]
    pub fn with_indexes(mut self, indexes: Vec<Arc<IndexKey>>) -> RelationProvider {
        self.indexes = indexes;
        self
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

    /// The part of the relation that the filters leave to be read, and about how many rows that is.
    fn range(&self, filters: &[Expr]) -> Result<(ScanRange, Option<usize>)> {
        let Some((choice, found)) = self.choose(filters)? else {
            return Ok((ScanRange::All, self.rows_estimate));
        };
        let is_keyed = matches!(self.relation.key, RelationKey::Columns(_));
        let ranges = found.ranges.len();
        Ok(match choice {
            Choice::Rows if is_keyed && found.fixed == self.key.len() => {
                let keys: Vec<_> = found.ranges.into_iter().map(|range| range.start).collect();
                (ScanRange::Keys(Arc::new(keys)), Some(ranges))
            }
            Choice::Rows => (ScanRange::Ranges(Arc::new(found.ranges)), self.share()),
            Choice::Index(index) => {
                let is_point = index.is_unique && found.fixed == index.columns.len();
                let rows_max = (self.rows_estimate.unwrap_or(0) / LOOKUP_SHARE).clamp(LOOKUP_MIN, LOOKUP_MAX);
                let range =
                    ScanRange::Index { index: Arc::clone(index), ranges: Arc::new(found.ranges), rows_max };
                (range, if is_point { Some(ranges) } else { self.share() })
            }
        })
    }

    /// How many rows a range is taken to hold.
    fn share(&self) -> Option<usize> {
        self.rows_estimate.map(|rows| rows / RANGE_SHARE)
    }

    /// The key that the filters bound best: one that fixes a row before one that fixes more columns, and the rows' own
    /// before an index.
    fn choose(&self, filters: &[Expr]) -> Result<Option<(Choice<'_>, Access)>> {
        let is_keyed = matches!(self.relation.key, RelationKey::Columns(_));
        let own = access(filters, &self.key)?;
        let mut best = own.map(|found| {
            let worth = (is_keyed && found.fixed == self.key.len(), found.fixed, found.bounded);
            (worth, Choice::Rows, found)
        });
        for index in &self.indexes {
            if best.as_ref().is_some_and(|((is_point, ..), ..)| *is_point) {
                break;
            }
            let Some(found) = access(filters, &index.columns)? else { continue };
            let is_point = index.is_unique && found.fixed == index.columns.len();
            let worth = (is_point, found.fixed, found.bounded);
            if best.as_ref().is_none_or(|(known, ..)| worth > *known) {
                best = Some((worth, Choice::Index(index), found));
            }
        }
        Ok(best.map(|(_, choice, found)| (choice, found)))
    }

    /// Whether the filters leave less than the whole relation to be read.
    pub fn is_bounded_by(&self, filters: &[Expr]) -> Result<bool> {
        Ok(self.choose(filters)?.is_some())
    }

    /// Reads the columns at `project` of the rows that the filters leave, and perhaps of more rows.
    pub fn open(
        &self,
        project: Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<RelationScanExec> {
        let (range, rows) = self.range(filters).map_err(external)?;
        let order = self.order(&range, &project);
        let schema = Arc::new(self.schema.project(&project)?);
        let scan = RelationScanExec::new(&self.name, Arc::clone(&self.snapshot), range, project, schema);
        Ok(scan
            .with_limits(self.batch_rows, limit)
            .with_overlay(self.overlay.clone())
            .with_rows_estimate(rows)
            .in_order_of(&order))
    }

    /// Positions in `project` of the leading key columns in whose order the range gives its rows.
    fn order(&self, range: &ScanRange, project: &[usize]) -> Vec<usize> {
        let RelationKey::Columns(key) = &self.relation.key else { return Vec::new() };
        if self.overlay.is_some() || matches!(range, ScanRange::Index { .. }) {
            return Vec::new();
        }
        let place = |column: &usize| project.iter().position(|i| i == column);
        let is_sorted = |column: &&usize| sorts_as_key(self.schema.field(**column).data_type());
        key.iter().take_while(is_sorted).map_while(place).collect()
    }
}

/// Whether ORDER BY a column of the type is the order of its keys.
fn sorts_as_key(ty: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Int16, Int32, Int64, Time64, Timestamp, Utf8};
    matches!(ty, Boolean | Int16 | Int32 | Int64 | Date32 | Time64(_) | Timestamp(..) | Decimal128(..) | Utf8)
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
