//! DELETE and TRUNCATE: the query yields the rows to delete.

use arrow::array::RecordBatch;
use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundDelete;

use super::returning::answer;
use super::rows::{FirstOfKey, table_rows};
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;
use crate::transaction::Block;

impl Session {
    /// Runs a DELETE. Tag: `DELETE n`.
    pub(crate) async fn delete(&mut self, delete: &BoundDelete) -> Result<Outcome> {
        self.transaction.check_writable("DELETE", self.default_read_only())?;
        let (object, table) = self.target(delete.table)?;
        let lock = self.lock(&object).await?;
        let mut first = match delete.is_numbered {
            true => FirstOfKey::numbered(delete.query.columns.len() - 1)?,
            false => FirstOfKey::of_table(&table)?,
        };
        let (mut rows, mut shown) = (Vec::new(), Vec::new());
        for batch in self.query_rows(&delete.query, Purpose::Write).await? {
            let batch = first.filter(batch)?;
            if batch.num_rows() > 0 {
                rows.push(table_rows(&table, &batch, 0)?);
                shown.push(batch);
            }
        }
        let returned = self.returning(delete.returning.as_ref(), &shown).await?;
        let count = rows.iter().map(RecordBatch::num_rows).sum();
        self.write(delete.table, rows.into_iter().map(ChangeBatch::deletes).collect(), lock).await?;
        Ok(answer("DELETE", count, returned))
    }

    /// Runs a TRUNCATE: all tables are emptied in one commit.
    pub(crate) async fn truncate(&mut self, tables: &[BoundDelete]) -> Result<Outcome> {
        self.transaction.check_writable("TRUNCATE", self.default_read_only())?;
        let is_alone = self.transaction.block() == Block::None;
        if is_alone {
            self.begin_implicit();
        }
        let mut emptied = Ok(Outcome::Command { tag: String::new() });
        for table in tables {
            emptied = self.delete(table).await;
            if emptied.is_err() {
                break;
            }
        }
        if is_alone {
            let committed = match &emptied {
                Ok(_) => self.commit_writes().await,
                Err(_) => Ok(()),
            };
            self.transaction.end();
            committed?;
        }
        emptied.map(|_| Outcome::Command { tag: "TRUNCATE TABLE".to_string() })
    }
}
