//! `Draft`: what DDL in a transaction block has made so far; it shows to the block alone until COMMIT.
//!
//! Its tables and jobs run already: they have no name that others could use, and hold what is committed. COMMIT puts
//! them into the catalog, in one step with the rows that the block has written; ROLLBACK, or the end of the session,
//! stops them.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_catalog::{CatalogChange, CatalogSnapshot};
use weir_common::{Epoch, Error, ObjectId, Result, SqlState};
use weir_runtime::TableWrite;

use super::plan::{Plan, Undo};
use crate::caller::Caller;
use crate::environment::Environment;

/// The catalog changes of a block.
pub(crate) struct Draft {
    env: Arc<Environment>,
    changes: Vec<CatalogChange>,
    /// What runs by it.
    started: Vec<Undo>,
    /// What stops at COMMIT.
    stops: Vec<ObjectId>,
    /// The catalog as the block sees it, and the version of the shared one below it.
    seen: Mutex<(u64, Arc<CatalogSnapshot>)>,
}

/// How far a draft had come.
pub(crate) struct DraftMark {
    changes: usize,
    started: usize,
    stops: usize,
}

impl Draft {
    pub(super) fn new(env: Arc<Environment>) -> Draft {
        let base = env.catalog.snapshot();
        let seen = Mutex::new((base.version(), base));
        Draft { env, changes: Vec::new(), started: Vec::new(), stops: Vec::new(), seen }
    }

    /// The shared catalog with the block's changes. What does not fit together any more shows at COMMIT.
    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        let base = self.env.catalog.snapshot();
        let mut seen = self.seen.lock();
        if seen.0 != base.version()
            && let Ok(next) = base.with(&self.changes)
        {
            *seen = (base.version(), Arc::new(next));
        }
        Arc::clone(&seen.1)
    }

    /// Adds a statement: what it starts runs from now on.
    pub(super) async fn add(&mut self, plan: Plan, caller: &Caller) -> Result<()> {
        let base = self.env.catalog.snapshot();
        let changes: Vec<_> = self.changes.iter().chain(&plan.changes).cloned().collect();
        let next = base.with(&changes)?;
        let started = self.env.start(plan.starts, caller).await?;
        fail::fail_point!(weir_common::failpoint::DRAFT_AFTER_START);
        self.env.catalog.add_drafts(&plan.changes);
        self.started.extend(started);
        self.stops.extend(plan.stops);
        self.changes = changes;
        *self.seen.lock() = (base.version(), Arc::new(next));
        Ok(())
    }

    /// How far it has come.
    pub(crate) fn mark(&self) -> DraftMark {
        DraftMark { changes: self.changes.len(), started: self.started.len(), stops: self.stops.len() }
    }

    /// Forgets what came after the mark.
    pub(crate) fn roll_back_to(&mut self, mark: &DraftMark) {
        let undone = self.changes.split_off(mark.changes);
        self.env.catalog.end_drafts(&undone, false);
        self.stops.truncate(mark.stops);
        undo(&self.env, self.started.split_off(mark.started));
        // Before any version: the catalog is put together anew.
        self.seen.lock().0 = u64::MAX;
    }

    /// COMMIT: all of it with the block's rows, or nothing. The epoch is that of the rows, if there are any.
    pub(crate) async fn commit(mut self, writes: Vec<TableWrite>) -> Result<Option<Epoch>> {
        let env = Arc::clone(&self.env);
        let _one_at_a_time = Arc::clone(&env.ddl).lock_owned().await;
        let epoch = self.apply(writes).await?;
        let changes = std::mem::take(&mut self.changes);
        self.started.clear();
        env.catalog.end_drafts(&changes, true);
        env.stop(&self.stops).await?;
        Ok(epoch)
    }

    async fn apply(&self, writes: Vec<TableWrite>) -> Result<Option<Epoch>> {
        let catalog = &self.env.catalog;
        if writes.is_empty() {
            catalog.apply(self.changes.clone()).map_err(overtaken)?;
            return Ok(None);
        }
        fail::fail_point!(weir_common::failpoint::DRAFT_BEFORE_PREPARE);
        let prepared = catalog.prepare(self.changes.clone()).map_err(overtaken)?;
        fail::fail_point!(weir_common::failpoint::DRAFT_AFTER_PREPARE);
        let transaction = prepared.transaction.0;
        let epoch = self.env.runtime.commit_with(writes, Some(transaction)).await?;
        fail::fail_point!(weir_common::failpoint::DDL_BEFORE_CATALOG_COMMIT);
        match catalog.commit(prepared) {
            Ok(_) => {
                fail::fail_point!(weir_common::failpoint::DDL_AFTER_CATALOG_COMMIT);
                self.env.runtime.catalog_committed();
            }
            // It has happened; the log of rows goes on to know it.
            Err(error) => {
                tracing::error!("the catalog's log misses a transaction until the next start: {error}")
            }
        }
        Ok(Some(epoch))
    }
}

impl Drop for Draft {
    /// What was not committed is stopped, in a task of its own.
    fn drop(&mut self) {
        self.env.catalog.end_drafts(&self.changes, false);
        undo(&self.env, std::mem::take(&mut self.started));
    }
}

/// Undoes what a block has started; what has to be stopped stops soon.
fn undo(env: &Arc<Environment>, started: Vec<Undo>) {
    let stops = env.undo(started);
    if stops.is_empty() {
        return;
    }
    let env = Arc::clone(env);
    // Without a tokio runtime the process is ending; the next start removes what is left.
    if let Ok(handle) = tokio::runtime::Handle::try_current() {
        handle.spawn(async move {
            if let Err(error) = env.stop(&stops).await {
                tracing::error!("what a rolled back block had started could not be stopped: {error}");
            }
        });
    }
}

/// The shared catalog has changed so that the block's changes do not fit: 40001, but for a name that is taken.
fn overtaken(error: Error) -> Error {
    if error.state() == SqlState::DUPLICATE_TABLE {
        return error;
    }
    Error::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent DDL")
        .with_detail(error.message().to_string())
        .with_hint("Retry the transaction.")
}
