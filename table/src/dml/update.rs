//! UPDATE: the query yields old row and new row; the change is the delete of the one and the insert of the other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use weir_common::{ChangeBatch, Result};
use weir_planner::bound::BoundUpdate;

use super::returning::answer;
use super::rows::{FirstOfKey, table_rows};
use super::rules::Rules;
use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs an UPDATE. Tag: `UPDATE n`.
    pub(crate) async fn update(&mut self, update: &BoundUpdate) -> Result<Outcome> {
        self.transaction.check_writable("UPDATE", self.default_read_only())?;
        let (object, table) = self.target(update.table)?;
        let lock = self.lock(&object).await?;
        let rules = Rules::new(&update.rules, &table)?;
        let width = table.columns.len();
        let mut first = match update.is_numbered {
            true => FirstOfKey::numbered(update.query.columns.len() - 1)?,
            false => FirstOfKey::of_table(&table)?,
        };
        let (mut old_rows, mut new_rows, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for batch in self.query_rows(&update.query, Purpose::Write).await? {
            let batch = first.filter(batch)?;
            let (old, new) = (table_rows(&table, &batch, 0)?, table_rows(&table, &batch, width)?);
            if new.num_rows() > 0 {
                let new = rules.complete(&object, &table, new)?;
                shown.push(with_new_rows(&batch, &new, width)?);
                old_rows.push(old);
                new_rows.push(new);
            }
        }
        self.check_keys_free(&object, &table, &old_rows, &new_rows).await?;
        let returned = self.returning(update.returning.as_ref(), &shown).await?;
        let count = new_rows.iter().map(RecordBatch::num_rows).sum();
        // Every old row goes before any new one comes, so that keys may be shifted: SET k = k + 1.
        let deletes = old_rows.into_iter().map(ChangeBatch::deletes);
        let changes = deletes.chain(new_rows.into_iter().map(ChangeBatch::inserts)).collect();
        self.write(update.table, changes, lock).await?;
        Ok(answer("UPDATE", count, returned))
    }
}

/// What RETURNING of an UPDATE sees: the new rows, and what follows them in the batch.
fn with_new_rows(batch: &RecordBatch, new: &RecordBatch, width: usize) -> Result<RecordBatch> {
    let fields = batch.schema();
    let fields: Vec<_> = new.schema().fields().iter().chain(&fields.fields()[2 * width..]).cloned().collect();
    let columns = new.columns().iter().chain(&batch.columns()[2 * width..]).cloned().collect();
    weir_common::change::record_batch(Arc::new(Schema::new(fields)), columns, batch.num_rows())
}
