//! `Transaction`: the state machine of a session's transaction block and what it has buffered.
//!
//! ```text
//!            BEGIN                    error
//!   idle ───────────► in transaction ───────► failed
//!    ▲  COMMIT, ROLLBACK     │  COMMIT (= ROLLBACK), ROLLBACK │
//!    └───────────────────────┴────────────────────────────────┘
//! ```
//! DML inside a block is kept here and reaches the tables in one commit at COMMIT: nobody sees a part of it, and
//! ROLLBACK only has to forget. Statements of a simple query string form an implicit block, DDL among them; it commits
//! what it has before a statement that cannot see it otherwise (a read of a view over what was written, FLUSH), or
//! cannot be rolled back (CREATE SINK).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState};
use weir_planner::bound::TransactionModes;
use weir_storage::RelationSnapshot;

use crate::ddl::Draft;
use crate::locks::{Holding, TableLock};
use crate::outcome::TransactionStatus;
use crate::savepoint::Savepoint;

/// Whether statements belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Block {
    /// Each statement commits on its own.
    #[default]
    None,
    /// The statements of one query string.
    Implicit,
    /// BEGIN … COMMIT.
    Explicit,
}

/// Changes to tables that are not committed yet.
pub type Writes = BTreeMap<ObjectId, Vec<ChangeBatch>>;

/// Relations at one epoch.
pub type Snapshots = HashMap<ObjectId, Arc<RelationSnapshot>>;

/// A session's transaction.
#[derive(Default)]
pub struct Transaction {
    block: Block,
    /// Set by an error of a statement, or of a result stream that is still being read.
    pub(crate) failed: Arc<AtomicBool>,
    read_only: bool,
    /// Whether every read is to be of one epoch (REPEATABLE READ, SERIALIZABLE).
    repeatable: bool,
    /// What `now()` is.
    started_at: i64,
    pub(crate) writes: Writes,
    /// Whether ON CONFLICT decided something by rows that were there.
    decided_conflicts: bool,
    locks: HashMap<ObjectId, TableLock>,
    pinned: Option<Snapshots>,
    /// What DDL of the block has made.
    pub(crate) draft: Option<Draft>,
    /// Where a task that works on the draft puts it back.
    lent: Option<Arc<Mutex<Option<Draft>>>>,
    pub(crate) savepoints: Vec<Savepoint>,
}

impl Transaction {
    /// Where it stands.
    pub fn status(&self) -> TransactionStatus {
        match self.block {
            Block::Explicit if self.failed.load(Ordering::SeqCst) => TransactionStatus::Failed,
            Block::Explicit => TransactionStatus::InTransaction,
            Block::None | Block::Implicit => TransactionStatus::Idle,
        }
    }

    /// The kind of block.
    pub fn block(&self) -> Block {
        self.block
    }

    /// Begins a block; an implicit one turns explicit with what it has.
    pub fn begin(&mut self, block: Block, now: i64) {
        if self.block == Block::None {
            *self = Transaction { started_at: now, ..Transaction::default() };
        }
        self.block = block;
    }

    /// BEGIN's and SET TRANSACTION's modes. Error 25001 when the block has read or written already.
    pub fn set_modes(&mut self, modes: TransactionModes) -> Result<()> {
        let wants_repeatable =
            modes.isolation.map(|level| matches!(level, "repeatable read" | "serializable"));
        let is_late = self.pinned.is_some() || !self.writes.is_empty();
        if is_late && wants_repeatable.is_some_and(|wanted| wanted != self.repeatable) {
            return Err(Error::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION ISOLATION LEVEL must be called before any query",
            ));
        }
        self.repeatable = wants_repeatable.unwrap_or(self.repeatable);
        self.read_only = modes.read_only.unwrap_or(self.read_only);
        Ok(())
    }

    /// The end: everything is forgotten, locks are released. What was to be committed was taken before.
    pub fn end(&mut self) {
        *self = Transaction::default();
    }

    /// An error happened. Outside an explicit block that has no lasting effect.
    pub fn fail(&mut self) {
        self.failed.store(true, Ordering::SeqCst);
        // A savepoint may still be gone back to.
        if self.savepoints.is_empty() {
            self.writes.clear();
            self.locks.clear();
        }
    }

    /// A flag with which a result stream fails this transaction, and no later one.
    pub fn failure_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failed)
    }

    /// The time of `now()`: the block's start, or now.
    pub fn time(&self, now: i64) -> i64 {
        if self.block == Block::None { now } else { self.started_at }
    }

    /// When the block began.
    pub fn started_at(&self) -> Option<i64> {
        (self.block != Block::None).then_some(self.started_at)
    }

    /// Whether reads must all be of one epoch: it was asked for, or nothing else is done in the block.
    pub fn is_pinned(&self) -> bool {
        self.block == Block::Explicit && (self.repeatable || self.read_only)
    }

    /// The relations as of the block's one epoch, once they were read.
    pub fn pinned(&self) -> Option<&Snapshots> {
        self.pinned.as_ref()
    }

    /// Keeps the relations of the block's one epoch.
    pub fn pin(&mut self, snapshots: Snapshots) {
        self.pinned = Some(snapshots);
    }

    /// Refuses DML where it must not be. `what` is the command: `INSERT`.
    pub fn check_writable(&self, what: &str, default_read_only: bool) -> Result<()> {
        if self.read_only || (self.block != Block::Explicit && default_read_only) {
            return Err(Error::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        if self.is_pinned() {
            return Err(Error::unsupported(format!(
                "{what} in a REPEATABLE READ or SERIALIZABLE transaction"
            ))
            .with_hint("Write in a READ COMMITTED transaction; its COMMIT is atomic."));
        }
        Ok(())
    }

    /// Refuses DDL where nothing may change. `what` is the command: `CREATE TABLE`.
    pub fn check_ddl(&self, what: &str, default_read_only: bool) -> Result<()> {
        if self.block == Block::Explicit { self.check_writable(what, default_read_only) } else { Ok(()) }
    }

    /// Refuses what cannot be rolled back in an explicit block.
    pub fn check_not_in_block(&self, what: &str) -> Result<()> {
        match self.block {
            Block::Explicit => Err(Error::unsupported(format!("{what} inside a transaction block"))
                .with_hint("It cannot be rolled back: run it outside BEGIN and COMMIT.")),
            Block::None | Block::Implicit => Ok(()),
        }
    }

    /// Keeps changes for COMMIT.
    pub fn buffer(&mut self, table: ObjectId, changes: Vec<ChangeBatch>) {
        self.writes.entry(table).or_default().extend(changes);
    }

    /// Whether the block has written to this table.
    pub fn has_written(&self, table: ObjectId) -> bool {
        self.writes.contains_key(&table)
    }

    /// What the block has written to this table, in order.
    pub fn writes_of(&self, table: ObjectId) -> Option<&[ChangeBatch]> {
        self.writes.get(&table).map(Vec::as_slice)
    }

    /// Whether the block has written anything.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Notes that ON CONFLICT decided something by rows that were there.
    pub fn decided_conflicts(&mut self) {
        self.decided_conflicts = true;
    }

    /// Whether it did since the last commit.
    pub fn has_decided_conflicts(&self) -> bool {
        self.decided_conflicts
    }

    /// Takes what is to be committed, with the locks to be held until it is.
    pub fn take_writes(&mut self) -> (Writes, Vec<TableLock>) {
        self.decided_conflicts = false;
        let locks = std::mem::take(&mut self.locks).into_values().collect();
        (std::mem::take(&mut self.writes), locks)
    }

    /// A place for whoever works on the draft to put it back into.
    pub(crate) fn lend_draft(&mut self) -> Arc<Mutex<Option<Draft>>> {
        Arc::clone(self.lent.get_or_insert_default())
    }

    /// Takes back the draft that was lent, once it has been put back.
    pub(crate) fn take_draft_back(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.draft = lent.lock().take();
        }
    }

    /// Whether the table's lock is held by the block.
    pub fn holds_lock(&self, table: ObjectId) -> bool {
        self.locks.contains_key(&table)
    }

    /// Whether other locks are held.
    pub fn holding(&self) -> Holding {
        if self.locks.is_empty() { Holding::Nothing } else { Holding::OtherLocks }
    }

    /// Keeps a lock to the end of the block.
    pub fn keep_lock(&mut self, table: ObjectId, lock: TableLock) {
        self.locks.insert(table, lock);
    }
}

/// 25P02.
pub fn aborted() -> Error {
    Error::new(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fails_only_an_explicit_block() {
        let mut t = Transaction::default();
        t.fail();
        assert_eq!(t.status(), TransactionStatus::Idle);
        t.begin(Block::Explicit, 1);
        assert_eq!(t.status(), TransactionStatus::InTransaction);
        t.fail();
        assert_eq!(t.status(), TransactionStatus::Failed);
        t.end();
        assert_eq!(t.status(), TransactionStatus::Idle);
    }

    #[test]
    fn a_late_stream_error_does_not_fail_the_next_block() {
        let mut t = Transaction::default();
        t.begin(Block::Explicit, 1);
        let flag = t.failure_flag();
        t.end();
        t.begin(Block::Explicit, 2);
        flag.store(true, Ordering::SeqCst);
        assert_eq!(t.status(), TransactionStatus::InTransaction);
    }

    #[test]
    fn read_only_blocks_refuse_writes() {
        let mut t = Transaction::default();
        t.begin(Block::Explicit, 1);
        t.set_modes(TransactionModes { read_only: Some(true), isolation: None }).expect("early");
        assert_eq!(t.check_writable("INSERT", false).unwrap_err().state().0, "25006");
        assert_eq!(t.check_not_in_block("CREATE TABLE").unwrap_err().state().0, "0A000");
    }
}
