//! INSERT: the query yields whole rows of the table; primary keys are checked by the commit.

use arrow::array::RecordBatch;
use weir_catalog::{Object, TableDef};
use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundInsert;

use super::conflict::Upsert;
use super::returning::answer;
use super::rows::table_rows;
use super::rules::Rules;
use crate::locks::TableLock;
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs an INSERT. Tag: `INSERT 0 n`.
    pub(crate) async fn insert(&mut self, insert: &BoundInsert) -> Result<Outcome> {
        self.transaction.check_writable("INSERT", self.default_read_only())?;
        let reads_itself = insert.query.relations.contains(&insert.table);
        let lock = if reads_itself { self.lock(&self.target(insert.table)?.0).await? } else { None };
        let rows = self.query_rows(&insert.query, Purpose::Write).await?;
        self.insert_batches(insert, rows, lock).await
    }

    /// Runs an INSERT whose query, which reads nothing, gave these rows.
    pub(crate) async fn insert_given(
        &mut self,
        insert: &BoundInsert,
        rows: Vec<RecordBatch>,
    ) -> Result<Outcome> {
        self.transaction.check_writable("INSERT", self.default_read_only())?;
        self.insert_batches(insert, rows, None).await
    }

    async fn insert_batches(
        &mut self,
        insert: &BoundInsert,
        batches: Vec<RecordBatch>,
        lock: Option<TableLock>,
    ) -> Result<Outcome> {
        let (object, table) = self.target(insert.table)?;
        let rules = Rules::new(&insert.rules, &table)?;
        let mut proposed = Vec::new();
        let mut refused = None;
        for batch in batches {
            let rows = table_rows(&table, &batch, 0)?;
            if rows.num_rows() == 0 || refused.is_some() {
                continue;
            }
            match rules.complete(&object, &table, rows.clone()) {
                Ok(rows) => proposed.push(rows),
                Err(bad) => {
                    proposed.push(rules.complete(&object, &table, rows.slice(0, bad.row))?);
                    refused = Some(bad.error);
                }
            }
        }
        match (&insert.conflict, refused) {
            (None, Some(error)) => Err(error),
            (None, None) => self.insert_rows(insert, (&object, &table), proposed, lock).await,
            (Some(conflict), refused) => {
                let upsert = Upsert { insert, conflict, rules, refused };
                self.insert_or_update(&upsert, (&object, &table), proposed, lock).await
            }
        }
    }

    async fn insert_rows(
        &mut self,
        insert: &BoundInsert,
        (object, table): (&Object, &TableDef),
        rows: Vec<RecordBatch>,
        lock: Option<TableLock>,
    ) -> Result<Outcome> {
        self.check_keys_free(object, table, &[], &rows).await?;
        let returned = self.returning(insert.returning.as_ref(), &rows).await?;
        let count = rows.iter().map(RecordBatch::num_rows).sum();
        let changes = rows.into_iter().map(ChangeBatch::inserts).collect();
        self.write(insert.table, changes, lock).await?;
        Ok(answer("INSERT 0", count, returned))
    }
}
