//! The prepared statements of a session: SQL's PREPARE and the protocol's Parse share one name space.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_catalog::system::PreparedStatement;
use weir_common::{Error, Result, SqlState};

use crate::outcome::Prepared;

/// Who prepared a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreparedBy {
    Sql,
    Protocol,
}

struct Entry {
    prepared: Arc<Prepared>,
    by: PreparedBy,
    at: i64,
}

/// Prepared statements by name.
#[derive(Default)]
pub struct PreparedStatements(BTreeMap<String, Entry>);

impl PreparedStatements {
    /// Keeps a statement. Error 42P05 when the name is taken; the protocol's unnamed statement is replaced.
    pub fn store(&mut self, name: &str, prepared: Arc<Prepared>, by: PreparedBy, at: i64) -> Result<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(Error::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.0.insert(name.to_string(), Entry { prepared, by, at });
        Ok(())
    }

    /// The statement of this name, or 26000.
    pub fn find(&self, name: &str) -> Result<&Arc<Prepared>> {
        self.0.get(name).map(|entry| &entry.prepared).ok_or_else(|| missing(name))
    }

    /// Forgets a statement; whether there was one.
    pub fn forget(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// DEALLOCATE: like [`Self::forget`], but 26000 when there is none.
    pub fn deallocate(&mut self, name: &str) -> Result<()> {
        if self.forget(name) { Ok(()) } else { Err(missing(name)) }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The rows of `pg_prepared_statements`.
    pub fn rows(&self) -> Vec<PreparedStatement> {
        let named = self.0.iter().filter(|(name, _)| !name.is_empty());
        let row = |(name, entry): (&String, &Entry)| PreparedStatement {
            name: name.clone(),
            statement: entry.prepared.statement.sql.clone(),
            prepared_at: entry.at,
            parameter_types: entry.prepared.params.iter().map(|ty| ty.oid()).collect(),
            from_sql: entry.by == PreparedBy::Sql,
        };
        named.map(row).collect()
    }
}

fn missing(name: &str) -> Error {
    let which = if name.is_empty() {
        "unnamed prepared statement does not exist".to_string()
    } else {
        format!("prepared statement \"{name}\" does not exist")
    };
    Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, which)
}
