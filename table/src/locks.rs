//! Write locks of tables: one writer that reads before it writes (UPDATE, DELETE, INSERT … SELECT from itself)
//! at a time on each table.
//!
//! Plain INSERTs take no lock: they read nothing, and the runtime checks primary keys. A transaction block keeps
//! its locks to its end. Two blocks that wait for each other are told apart by a time limit: a block that holds
//! a lock already waits for another only so long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use weir_common::{Error, ObjectId, Result, SqlState};

/// A held lock; dropping it lets the next writer in.
pub type TableLock = OwnedMutexGuard<()>;

/// How long a block that holds locks waits for one more.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The locks of all tables.
#[derive(Default)]
pub struct TableLocks(Mutex<HashMap<ObjectId, Arc<tokio::sync::Mutex<()>>>>);

/// Whether whoever asks holds other locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    Nothing,
    OtherLocks,
}

impl TableLocks {
    /// Waits for a table's lock. Error 40001 when it might be waiting for ever.
    pub async fn acquire(&self, table: ObjectId, name: &str, holding: Holding) -> Result<TableLock> {
        let lock = Arc::clone(self.0.lock().entry(table).or_default());
        match holding {
            Holding::Nothing => Ok(lock.lock_owned().await),
            Holding::OtherLocks => {
                tokio::time::timeout(DEADLOCK_TIMEOUT, lock.lock_owned()).await.map_err(|_| {
                    Error::new(
                        SqlState::SERIALIZATION_FAILURE,
                        format!("could not lock table \"{name}\" in time"),
                    )
                    .with_detail("Another transaction block writes to it.")
                    .with_hint("Retry the transaction.")
                })
            }
        }
    }

    /// Forgets the lock of a table that was dropped.
    pub fn forget(&self, table: ObjectId) {
        self.0.lock().remove(&table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_blocks_that_wait_for_each_other_do_not_wait_for_ever() {
        let locks = TableLocks::default();
        let held = locks.acquire(ObjectId(1), "t", Holding::Nothing).await.expect("free");
        let refused = locks.acquire(ObjectId(1), "t", Holding::OtherLocks).await.unwrap_err();
        assert_eq!(refused.state(), SqlState::SERIALIZATION_FAILURE);
        drop(held);
        assert!(locks.acquire(ObjectId(1), "t", Holding::OtherLocks).await.is_ok());
    }
}
