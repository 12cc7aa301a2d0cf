//! `RelationProvider`: a table or materialized view at one epoch, as DataFusion sees it.
//!
//! Place in the flow: a batch query's scans are replaced by these; `scan` gives a [`RelationScanExec`]. When the
//! query's filters fix every key column by equality, the rows are looked up by key and nothing is scanned. The
//! filters stay above the scan in any case, so a lookup may only ever read too much.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use weir_common::key::KeyEncoder;
use weir_common::{RelationKey, RelationSchema};
use weir_storage::RelationSnapshot;

use super::overlay::Overlay;
use super::scan::{RelationScanExec, ScanRange};

/// Keys that one lookup may ask for; more are cheaper by a scan.
const LOOKUP_KEYS_MAX: usize = 1_024;

/// A stored relation at one epoch.
pub struct RelationProvider {
    name: String,
    snapshot: Arc<RelationSnapshot>,
    relation: RelationSchema,
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
        RelationProvider {
            name: name.to_string(),
            snapshot,
            relation,
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

    /// The key columns' positions; none for a bag.
    fn key(&self) -> &[usize] {
        match &self.relation.key {
            RelationKey::Columns(columns) => columns,
            RelationKey::Bag => &[],
        }
    }

    /// The storage keys that the filters leave, when they leave finitely many.
    fn lookup_keys(&self, filters: &[Expr]) -> Option<Vec<Vec<u8>>> {
        let key = self.key();
        if key.is_empty() || self.overlay.is_some() {
            return None;
        }
        let values: Vec<Vec<ScalarValue>> =
            key.iter().map(|column| self.values_of(*column, filters)).collect::<Option<_>>()?;
        let combinations: usize = values.iter().map(Vec::len).product();
        if combinations > LOOKUP_KEYS_MAX {
            return None;
        }
        let types: Vec<DataType> = key.iter().map(|i| self.schema.field(*i).data_type().clone()).collect();
        let columns = cross_product(&values)?;
        let encoded = KeyEncoder::new(&types).ok()?.encode(&columns).ok()?;
        let mut keys: Vec<Vec<u8>> = encoded.iter().map(<[u8]>::to_vec).collect();
        keys.sort_unstable();
        keys.dedup();
        Some(keys)
    }

    /// The values that some filter allows for a column: `c = 1`, `c IN (1, 2)`, `c = 1 OR c = 2`.
    fn values_of(&self, column: usize, filters: &[Expr]) -> Option<Vec<ScalarValue>> {
        let field = self.schema.field(column);
        let usable = |values: &Vec<ScalarValue>| {
            values.iter().all(|v| !v.is_null() && v.data_type() == *field.data_type())
        };
        filters.iter().filter_map(|filter| equal_values(filter, field.name())).find(usable)
    }
}

/// The values that `filter` allows for the column, when it is nothing but equality with literals.
fn equal_values(filter: &Expr, column: &str) -> Option<Vec<ScalarValue>> {
    let is_column = |e: &Expr| matches!(e, Expr::Column(c) if c.name == column);
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (Expr::Literal(value, _), e) | (e, Expr::Literal(value, _)) if is_column(e) => {
                Some(vec![value.clone()])
            }
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut values = equal_values(left, column)?;
            values.extend(equal_values(right, column)?);
            Some(values)
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => list
            .list
            .iter()
            .map(|e| match e {
                Expr::Literal(value, _) => Some(value.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// One array a column, holding every combination of the columns' values.
fn cross_product(values: &[Vec<ScalarValue>]) -> Option<Vec<ArrayRef>> {
    let total: usize = values.iter().map(Vec::len).product();
    let mut repeat = total;
    let mut columns = Vec::with_capacity(values.len());
    for choices in values {
        repeat /= choices.len();
        let column = (0..total).map(|row| choices[(row / repeat) % choices.len()].clone());
        columns.push(ScalarValue::iter_to_array(column).ok()?);
    }
    Some(columns)
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
        let is_key_filter = |filter: &&Expr| {
            self.key().iter().any(|i| equal_values(filter, self.schema.field(*i).name()).is_some())
        };
        let support = |filter: &&Expr| match is_key_filter(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let project = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let (range, rows) = match self.lookup_keys(filters) {
            Some(keys) => {
                let count = keys.len();
                (ScanRange::Keys(Arc::new(keys)), Some(count))
            }
            None => (ScanRange::All, self.rows_estimate),
        };
        let schema = Arc::new(self.schema.project(&project)?);
        let scan = RelationScanExec::new(&self.name, Arc::clone(&self.snapshot), range, project, schema)
            .with_limits(self.batch_rows, limit)
            .with_overlay(self.overlay.clone())
            .with_rows_estimate(rows);
        Ok(Arc::new(scan))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn equality_with_literals_is_recognised() {
        let one = vec![ScalarValue::Int32(Some(1))];
        assert_eq!(equal_values(&col("k").eq(lit(1i32)), "k"), Some(one.clone()));
        assert_eq!(equal_values(&lit(1i32).eq(col("k")), "k"), Some(one));
        let either = col("k").eq(lit(1i32)).or(col("k").eq(lit(2i32)));
        assert_eq!(equal_values(&either, "k").map(|v| v.len()), Some(2));
        assert_eq!(
            equal_values(&col("k").in_list(vec![lit(1i32), lit(3i32)], false), "k").map(|v| v.len()),
            Some(2)
        );
        assert_eq!(equal_values(&col("k").gt(lit(1i32)), "k"), None);
        assert_eq!(equal_values(&col("k").eq(lit(1i32)).or(col("j").eq(lit(2i32))), "k"), None);
    }

    #[test]
    fn all_combinations_of_values_are_made() {
        let int = |i| ScalarValue::Int32(Some(i));
        let columns =
            cross_product(&[vec![int(1), int(2)], vec![int(7), int(8), int(9)]]).expect("same types");
        assert_eq!(columns[0].as_ref(), &arrow::array::Int32Array::from(vec![1, 1, 1, 2, 2, 2]));
        assert_eq!(columns[1].as_ref(), &arrow::array::Int32Array::from(vec![7, 8, 9, 7, 8, 9]));
    }
}
