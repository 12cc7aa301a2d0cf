//! INSERT: the query yields whole rows of the table; primary keys are checked by the commit.

use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundInsert;

use super::{check_not_null, table_rows};
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs an INSERT. Tag: `INSERT 0 n`.
    pub(crate) async fn insert(&mut self, insert: &BoundInsert) -> Result<Outcome> {
        self.transaction.check_writable("INSERT", self.default_read_only())?;
        let (object, table) = self.target(insert.table)?;
        let reads_itself = insert.query.relations.contains(&insert.table);
        let lock = if reads_itself { self.lock(&object).await? } else { None };
        let mut changes = Vec::new();
        let mut count = 0;
        for batch in self.query_rows(&insert.query, Purpose::Write).await? {
            let rows = table_rows(&table, &batch, 0)?;
            check_not_null(&object, &table, &rows)?;
            count += rows.num_rows();
            changes.push(ChangeBatch::inserts(rows));
        }
        changes.retain(|batch| !batch.is_empty());
        self.write(insert.table, changes, lock).await?;
        Ok(Outcome::Command { tag: format!("INSERT 0 {count}") })
    }
}
