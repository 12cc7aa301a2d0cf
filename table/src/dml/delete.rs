//! DELETE: the query yields the rows to delete.

use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundDelete;

use super::{FirstOfKey, table_rows};
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs a DELETE. Tag: `DELETE n`.
    pub(crate) async fn delete(&mut self, delete: &BoundDelete) -> Result<Outcome> {
        self.transaction.check_writable("DELETE", self.default_read_only())?;
        let (object, table) = self.target(delete.table)?;
        let lock = self.lock(&object).await?;
        let mut first = FirstOfKey::new(&table)?;
        let mut changes = Vec::new();
        let mut count = 0;
        for batch in self.query_rows(&delete.query, Purpose::Write).await? {
            let rows = table_rows(&table, &first.filter(batch)?, 0)?;
            count += rows.num_rows();
            changes.push(ChangeBatch::deletes(rows));
        }
        changes.retain(|batch| !batch.is_empty());
        self.write(delete.table, changes, lock).await?;
        Ok(Outcome::Command { tag: format!("DELETE {count}") })
    }
}
