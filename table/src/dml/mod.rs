//! INSERT, UPDATE, DELETE: run the bound query, make changes of its rows, commit them or keep them for COMMIT.
//!
//! Invariants: a statement's changes are one commit, all or nothing; whoever reads before writing holds the
//! table's lock from before the read to after the commit; a commit that has begun is carried through even if the
//! client goes away.

mod delete;
mod insert;
mod update;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array};
use weir_catalog::{Object, ObjectKind, TableDef};
use weir_common::key::KeyEncoder;
use weir_common::text::Formatter;
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState};
use weir_runtime::TableWrite;

use crate::locks::TableLock;
use crate::session::Session;
use crate::transaction::{Block, Writes};

/// Characters of one value that a DETAIL line shows.
const DETAIL_VALUE_CHARS: usize = 64;

impl Session {
    /// The table that DML changes.
    fn target(&self, id: ObjectId) -> Result<(Arc<Object>, TableDef)> {
        let catalog = self.env.catalog.snapshot();
        let missing =
            || Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"));
        let object = catalog.object(id).cloned().ok_or_else(missing)?;
        match &object.kind {
            ObjectKind::Table(table) => Ok((Arc::clone(&object), table.clone())),
            kind => Err(Error::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("cannot change {} \"{}\"", kind.noun(), object.name),
            )),
        }
    }

    /// The table's lock, unless the block holds it already.
    async fn lock(&self, table: &Object) -> Result<Option<TableLock>> {
        if self.transaction.holds_lock(table.id) {
            return Ok(None);
        }
        self.env.locks.acquire(table.id, &table.name, self.transaction.holding()).await.map(Some)
    }

    /// Commits the changes, or keeps them with the lock when a block is open.
    async fn write(
        &mut self,
        table: ObjectId,
        changes: Vec<ChangeBatch>,
        lock: Option<TableLock>,
    ) -> Result<()> {
        if self.transaction.block() == Block::None {
            let writes = Writes::from([(table, changes)]);
            return self.commit(writes, lock.into_iter().collect()).await;
        }
        if let Some(lock) = lock {
            self.transaction.keep_lock(table, lock);
        }
        if !changes.is_empty() {
            self.transaction.buffer(table, changes);
        }
        Ok(())
    }

    /// Commits what the block has written so far.
    pub(crate) async fn commit_writes(&mut self) -> Result<()> {
        let (writes, locks) = self.transaction.take_writes();
        self.commit(writes, locks).await
    }

    async fn commit(&mut self, writes: Writes, locks: Vec<TableLock>) -> Result<()> {
        let is_change = |(_, changes): &(ObjectId, Vec<ChangeBatch>)| !changes.is_empty();
        let writes: Vec<TableWrite> = writes
            .into_iter()
            .filter(is_change)
            .map(|(table, changes)| TableWrite { table, changes })
            .collect();
        if writes.is_empty() {
            return Ok(());
        }
        let env = Arc::clone(&self.env);
        let committed = tokio::spawn(async move {
            let committed = env.runtime.commit(writes).await;
            drop(locks);
            committed
        });
        self.last_commit = committed.await.map_err(|e| Error::internal(format!("commit: {e}")))??;
        Ok(())
    }

    fn default_read_only(&self) -> bool {
        self.settings.is_on("default_transaction_read_only")
    }
}

/// Refuses NULL in a NOT NULL column or in the primary key (23502).
fn check_not_null(object: &Object, table: &TableDef, rows: &RecordBatch) -> Result<()> {
    for (column, values) in table.columns.iter().map(|c| &c.column).zip(rows.columns()) {
        let may_be_null = column.nullable && !table.primary_key.contains(&column.id);
        if may_be_null || values.null_count() == 0 {
            continue;
        }
        let row = (0..values.len()).find(|row| values.is_null(*row)).unwrap_or(0);
        return Err(Error::new(
            SqlState::NOT_NULL_VIOLATION,
            format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                column.name, object.name
            ),
        )
        .with_detail(format!("Failing row contains ({}).", describe_row(table, rows, row))));
    }
    Ok(())
}

fn describe_row(table: &TableDef, rows: &RecordBatch, row: usize) -> String {
    let value = |(column, values): (&weir_catalog::ColumnDef, &arrow::array::ArrayRef)| {
        if values.is_null(row) {
            return "null".to_string();
        }
        let mut text = String::new();
        Formatter::new(&column.column.ty, &Default::default()).write(values, row, &mut text);
        match text.char_indices().nth(DETAIL_VALUE_CHARS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    };
    table.columns.iter().zip(rows.columns()).map(value).collect::<Vec<_>>().join(", ")
}

/// The rows whose primary key was not seen before: a join may give a row of the table several times, and then
/// the first counts, as in PostgreSQL. Rows of a table without a key all count.
struct FirstOfKey {
    key: Vec<usize>,
    encoder: KeyEncoder,
    seen: HashSet<Vec<u8>>,
}

impl FirstOfKey {
    fn new(table: &TableDef) -> Result<FirstOfKey> {
        let key = table.key_positions();
        let types: Vec<_> = key.iter().map(|i| table.columns[*i].column.ty.arrow()).collect();
        Ok(FirstOfKey { key, encoder: KeyEncoder::new(&types)?, seen: HashSet::new() })
    }

    fn filter(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.key.is_empty() {
            return Ok(rows);
        }
        let columns: Vec<_> = self.key.iter().map(|i| Arc::clone(rows.column(*i))).collect();
        let keys = self.encoder.encode(&columns)?;
        let mut first = Vec::with_capacity(rows.num_rows());
        for (row, key) in keys.iter().enumerate() {
            if self.seen.insert(key.to_vec()) {
                first.push(row as u32);
            }
        }
        if first.len() == rows.num_rows() {
            return Ok(rows);
        }
        arrow::compute::take_record_batch(&rows, &UInt32Array::from(first)).map_err(Error::internal)
    }
}

/// The columns `from..to` of a batch as rows of the table.
fn table_rows(table: &TableDef, batch: &RecordBatch, from: usize) -> Result<RecordBatch> {
    let width = table.columns.len();
    if batch.num_columns() < from + width {
        return Err(Error::internal("the query of a DML statement does not yield the table's columns"));
    }
    let columns = batch.columns()[from..from + width].to_vec();
    weir_common::change::record_batch(table.relation_schema().arrow(), columns, batch.num_rows())
}
