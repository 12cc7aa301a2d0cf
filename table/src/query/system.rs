//! Virtual tables as batch queries see them: all rows, made from one [`SystemContext`] a statement.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use weir_catalog::{SystemContext, system};
use weir_common::change::record_batch;
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_planner::RelationSource;

/// The rows of a virtual table now.
pub fn provider(relation: &RelationSource, context: &SystemContext) -> Result<Arc<dyn TableProvider>> {
    let table = system::find(&relation.schema_name, &relation.name).ok_or_else(|| {
        Error::internal(format!("there is no virtual table {}.{}", relation.schema_name, relation.name))
    })?;
    let rows = table.rows(context)?;
    let batch = record_batch(Arc::clone(&relation.schema), rows.columns().to_vec(), rows.num_rows())?;
    let provider =
        MemTable::try_new(Arc::clone(&relation.schema), vec![vec![batch]]).map_err(from_datafusion)?;
    Ok(Arc::new(provider))
}
