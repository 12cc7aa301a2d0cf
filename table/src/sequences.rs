//! A session's use of sequences: the catalog gives values, the session remembers its own for `currval` and `lastval`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_catalog::Catalog;
use weir_catalog::sequences::SequencePoint;
use weir_common::{Error, ObjectId, Result, SqlState};
use weir_planner::SequenceAccess;

/// The sequences as one session sees them.
pub struct SessionSequences {
    catalog: Arc<Catalog>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last: Option<ObjectId>,
    values: HashMap<ObjectId, i64>,
}

impl SessionSequences {
    pub fn new(catalog: Arc<Catalog>) -> SessionSequences {
        SessionSequences { catalog, seen: Mutex::default() }
    }

    /// DISCARD SEQUENCES.
    pub fn forget(&self) {
        *self.seen.lock() = Seen::default();
    }
}

impl SequenceAccess for SessionSequences {
    fn next(&self, sequence: ObjectId, count: usize) -> Result<Vec<i64>> {
        let values = self.catalog.next_values(sequence, count)?;
        if let Some(last) = values.last() {
            let mut seen = self.seen.lock();
            seen.last = Some(sequence);
            seen.values.insert(sequence, *last);
        }
        Ok(values)
    }

    fn current(&self, sequence: ObjectId) -> Result<i64> {
        self.seen.lock().values.get(&sequence).copied().ok_or_else(|| {
            let snapshot = self.catalog.snapshot();
            let name = snapshot.object(sequence).map_or("", |object| object.name.as_str());
            let message = format!("currval of sequence \"{name}\" is not yet defined in this session");
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })
    }

    fn last(&self) -> Result<i64> {
        let seen = self.seen.lock();
        seen.last.and_then(|last| seen.values.get(&last).copied()).ok_or_else(|| {
            let message = "lastval is not yet defined in this session";
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })
    }

    fn set(&self, sequence: ObjectId, value: i64, is_called: bool) -> Result<()> {
        self.catalog.set_sequence(sequence, SequencePoint { last_value: value, is_called })?;
        if is_called {
            self.seen.lock().values.insert(sequence, value);
        }
        Ok(())
    }

    fn point(&self, sequence: ObjectId) -> Result<(i64, bool)> {
        self.catalog.sequence_point(sequence).map(|point| (point.last_value, point.is_called))
    }
}
