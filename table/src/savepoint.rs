//! Savepoints: marks in a transaction block that ROLLBACK TO goes back to.
//!
//! What a block has written is a list that only grows, and so is what its DDL has made; a mark is the lengths of both,
//! with the settings of then. Locks stay with the block, as a later statement may rely on them.

use std::collections::BTreeMap;

use weir_common::{Error, ObjectId, Result, SqlState};

use crate::ddl::DraftMark;
use crate::settings::SettingsMark;
use crate::transaction::{Block, Transaction};

/// A mark with a name. Names repeat: the newest one counts, and hides those before it until it is released.
pub struct Savepoint {
    name: String,
    /// How many batches of each table had been written.
    writes: BTreeMap<ObjectId, usize>,
    draft: Option<DraftMark>,
    settings: SettingsMark,
}

impl Transaction {
    /// SAVEPOINT name. Error 25P01 outside a block.
    pub fn set_savepoint(&mut self, name: String, settings: SettingsMark) -> Result<()> {
        self.check_in_block("SAVEPOINT")?;
        let writes = self.writes.iter().map(|(table, changes)| (*table, changes.len())).collect();
        let draft = self.draft.as_ref().map(crate::ddl::Draft::mark);
        self.savepoints.push(Savepoint { name, writes, draft, settings });
        Ok(())
    }

    /// RELEASE name: the mark goes, and those after it; what was done since stays. Errors: 25P01, 3B001.
    pub fn release_savepoint(&mut self, name: &str) -> Result<()> {
        self.check_in_block("RELEASE SAVEPOINT")?;
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO name: the block goes on from the mark, after an error too. Returns the settings of then. Errors:
    /// 25P01, 3B001.
    pub fn roll_back_to(&mut self, name: &str) -> Result<&SettingsMark> {
        self.check_in_block("ROLLBACK TO SAVEPOINT")?;
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at + 1);
        let savepoint = &self.savepoints[at];
        for (table, changes) in &mut self.writes {
            changes.truncate(savepoint.writes.get(table).copied().unwrap_or(0));
        }
        self.writes.retain(|_, changes| !changes.is_empty());
        match (&savepoint.draft, &mut self.draft) {
            (Some(mark), Some(draft)) => draft.roll_back_to(mark),
            (_, draft) => *draft = None,
        }
        // A new flag: a result stream from before the mark was left behind with what it belonged to.
        self.failed = std::sync::Arc::default();
        Ok(&self.savepoints[at].settings)
    }

    fn find_savepoint(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| {
            Error::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })
    }

    fn check_in_block(&self, what: &str) -> Result<()> {
        if self.block() == Block::Explicit {
            return Ok(());
        }
        let message = format!("{what} can only be used in transaction blocks");
        Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message))
    }
}
