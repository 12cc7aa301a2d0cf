//! INSERT, UPDATE, DELETE: run the bound query, make changes of its rows, commit them or keep them for COMMIT.
//!
//! Invariants: a statement's changes are one commit, all or nothing; whoever reads before writing holds the
//! table's lock from before the read to after the commit; a commit that has begun is carried through even if the
//! client goes away; RETURNING is computed before the commit and answered after it.

mod compute;
mod conflict;
mod delete;
mod insert;
mod keys;
mod returning;
mod rows;
mod rules;
mod update;

use std::sync::Arc;

use weir_catalog::{Object, ObjectKind, TableDef};
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState};
use weir_runtime::TableWrite;

pub(crate) use self::compute::RowExpr;
pub(crate) use self::keys::{Existing, UniqueKey};
pub(crate) use self::rows::take;
pub(crate) use self::rules::{BadRow, Rules};

use crate::ddl::Draft;
use crate::locks::TableLock;
use crate::session::Session;
use crate::transaction::{Block, Writes};

impl Session {
    /// The table that DML changes.
    pub(crate) fn target(&self, id: ObjectId) -> Result<(Arc<Object>, TableDef)> {
        let catalog = self.catalog();
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
    pub(crate) async fn lock(&self, table: &Object) -> Result<Option<TableLock>> {
        if self.transaction.holds_lock(table.id) {
            return Ok(None);
        }
        self.env.locks.acquire(table.id, &table.name, self.transaction.holding()).await.map(Some)
    }

    /// Commits the changes, or keeps them with the lock when a block is open.
    pub(crate) async fn write(
        &mut self,
        table: ObjectId,
        changes: Vec<ChangeBatch>,
        lock: Option<TableLock>,
    ) -> Result<()> {
        if self.transaction.block() == Block::None {
            let writes = Writes::from([(table, changes)]);
            return self.commit(writes, lock.into_iter().collect(), None).await;
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
        let decided = self.transaction.has_decided_conflicts();
        let (writes, locks) = self.transaction.take_writes();
        let draft = self.transaction.draft.take();
        self.commit(writes, locks, draft).await.map_err(|error| match error.state() {
            SqlState::UNIQUE_VIOLATION if decided => overtaken(&error),
            _ => error,
        })
    }

    async fn commit(&mut self, writes: Writes, locks: Vec<TableLock>, draft: Option<Draft>) -> Result<()> {
        let is_change = |(_, changes): &(ObjectId, Vec<ChangeBatch>)| !changes.is_empty();
        let writes: Vec<TableWrite> = writes
            .into_iter()
            .filter(is_change)
            .map(|(table, changes)| TableWrite { table, changes })
            .collect();
        if writes.is_empty() && draft.is_none() {
            return Ok(());
        }
        let changes = writes.iter().flat_map(|write| &write.changes);
        self.env.room_for(changes.map(ChangeBatch::memory_size).sum()).await?;
        if locks.is_empty() && draft.is_none() {
            // Once the sequencer has it, nobody can take it back.
            self.last_commit = self.env.runtime.commit(writes).await?;
            return Ok(());
        }
        let env = Arc::clone(&self.env);
        let committed = tokio::spawn(async move {
            let committed = match draft {
                Some(draft) => draft.commit(writes).await,
                None => env.runtime.commit(writes).await.map(Some),
            };
            drop(locks);
            committed
        });
        let epoch = committed.await.map_err(|e| Error::internal(format!("commit: {e}")))??;
        self.last_commit = epoch.unwrap_or(self.last_commit);
        Ok(())
    }

    pub(crate) fn default_read_only(&self) -> bool {
        self.settings.is_on("default_transaction_read_only")
    }
}

/// 40001: what ON CONFLICT decided in a block does not hold any more when the block commits.
fn overtaken(error: &Error) -> Error {
    Error::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .with_detail(error.message().to_string())
        .with_hint("Retry the transaction.")
}
