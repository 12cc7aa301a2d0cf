//! Who is connected and what they are doing: the rows of `pg_stat_activity`.
//!
//! A session holds a [`Seat`]; dropping it takes the session off the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use weir_catalog::system::Activity;

type Rows = Arc<Mutex<BTreeMap<i32, Activity>>>;

/// The sessions of a server.
pub struct Activities {
    rows: Rows,
    next_pid: AtomicI32,
}

impl Default for Activities {
    fn default() -> Self {
        Activities { rows: Rows::default(), next_pid: AtomicI32::new(1) }
    }
}

impl Activities {
    /// Lists a new session under a number of its own, which replaces `activity.pid`.
    pub fn enter(&self, mut activity: Activity) -> Seat {
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        activity.pid = pid;
        self.rows.lock().insert(pid, activity);
        Seat { rows: Arc::clone(&self.rows), pid }
    }

    /// Every session now.
    pub fn rows(&self) -> Vec<Activity> {
        self.rows.lock().values().cloned().collect()
    }
}

/// A session's place on the list.
pub struct Seat {
    rows: Rows,
    pid: i32,
}

impl Seat {
    /// The session's number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Changes the session's row.
    pub fn update(&self, change: impl FnOnce(&mut Activity)) {
        if let Some(row) = self.rows.lock().get_mut(&self.pid) {
            change(row);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rows.lock().remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_listed_until_it_ends() {
        let activities = Activities::default();
        let first = activities.enter(Activity::default());
        let second = activities.enter(Activity::default());
        assert_ne!(first.pid(), second.pid());
        second.update(|row| row.query = "SELECT 1".into());
        drop(first);
        let rows = activities.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].query, "SELECT 1");
    }
}
