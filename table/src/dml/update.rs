//! UPDATE: the query yields old row and new row; the change is the delete of the one and the insert of the other.

use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundUpdate;

use super::{FirstOfKey, check_not_null, table_rows};
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs an UPDATE. Tag: `UPDATE n`.
    pub(crate) async fn update(&mut self, update: &BoundUpdate) -> Result<Outcome> {
        self.transaction.check_writable("UPDATE", self.default_read_only())?;
        let (object, table) = self.target(update.table)?;
        let lock = self.lock(&object).await?;
        let width = table.columns.len();
        let mut first = FirstOfKey::new(&table)?;
        let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
        let mut count = 0;
        for batch in self.query_rows(&update.query, Purpose::Write).await? {
            let batch = first.filter(batch)?;
            let (old, new) = (table_rows(&table, &batch, 0)?, table_rows(&table, &batch, width)?);
            check_not_null(&object, &table, &new)?;
            count += new.num_rows();
            if new.num_rows() > 0 {
                deletes.push(ChangeBatch::deletes(old));
                inserts.push(ChangeBatch::inserts(new));
            }
        }
        // Every old row goes before any new one comes, so that keys may be shifted: SET k = k + 1.
        let changes = deletes.into_iter().chain(inserts).collect();
        self.write(update.table, changes, lock).await?;
        Ok(Outcome::Command { tag: format!("UPDATE {count}") })
    }
}
