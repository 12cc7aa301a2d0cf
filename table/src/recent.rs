//! `RecentStatements`: what a session has prepared lately, by its text. Drivers that name no statement send the same text
//! with other parameters again and again; it is parsed and bound once.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_common::SqlType;

use crate::outcome::Prepared;
use crate::session::Session;

/// Statements that are remembered.
const REMEMBERED: usize = 32;

/// The statements, the latest at the end.
#[derive(Default)]
pub struct RecentStatements(VecDeque<Recent>);

struct Recent {
    sql: String,
    declared: Vec<Option<SqlType>>,
    prepared: Arc<Prepared>,
}

impl Session {
    /// What the text was prepared as with these parameter types, when it would be prepared as the same now.
    pub fn recall(&self, sql: &str, declared: &[Option<SqlType>]) -> Option<Arc<Prepared>> {
        let is_same = |recent: &&Recent| recent.sql == sql && recent.declared == declared;
        let recent = self.recent.0.iter().rev().find(is_same)?;
        self.holds(&recent.prepared).then(|| Arc::clone(&recent.prepared))
    }

    /// Remembers what a text was prepared as.
    pub fn remember(&mut self, sql: &str, declared: &[Option<SqlType>], prepared: &Arc<Prepared>) {
        if !self.holds(prepared) {
            return;
        }
        let recent = &mut self.recent.0;
        recent.retain(|known| known.sql != sql || known.declared != declared);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        let (sql, declared) = (sql.to_owned(), declared.to_vec());
        recent.push_back(Recent { sql, declared, prepared: Arc::clone(prepared) });
    }
}
