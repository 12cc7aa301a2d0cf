//! What a job counts, by epoch. A job is ahead of its checkpoints: one at an epoch holds what was counted up to there, since
//! what came later is counted again after a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use weir_common::Epoch;

use crate::meta::Counters;

/// Counters that workers add to.
#[derive(Default)]
pub struct Metrics {
    pub rows_in: Counter,
    pub rows_out: Counter,
    pub rows_skipped: Counter,
    pub rows_late: Counter,
    pub expired_hits: Counter,
    pub state_bytes: AtomicI64,
    /// How large the state was when the newest checkpoint was declared, and when the newest durable one was.
    declared_bytes: AtomicI64,
    saved_bytes: AtomicI64,
}

impl Metrics {
    /// Counters that go on from a checkpoint's.
    pub fn restored(counters: Counters) -> Metrics {
        Metrics {
            rows_in: Counter::from(counters.rows_in),
            rows_out: Counter::from(counters.rows_out),
            rows_skipped: Counter::from(counters.rows_skipped),
            rows_late: Counter::from(counters.rows_late),
            expired_hits: Counter::from(counters.expired_hits),
            state_bytes: AtomicI64::new(0),
            declared_bytes: AtomicI64::new(0),
            saved_bytes: AtomicI64::new(0),
        }
    }

    /// A checkpoint is declared.
    pub fn declared(&self) {
        self.declared_bytes.store(self.state_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// By how many bytes the state has grown since the last durable checkpoint was declared.
    pub fn unsaved_bytes(&self) -> usize {
        let grown = self.state_bytes.load(Ordering::Relaxed) - self.saved_bytes.load(Ordering::Relaxed);
        usize::try_from(grown).unwrap_or(0)
    }

    /// The counters now.
    pub fn now(&self) -> Counters {
        self.read(Counter::now)
    }

    /// The counters at the end of an epoch, not before the last checkpoint.
    pub fn at(&self, epoch: Epoch) -> Counters {
        self.read(|counter| counter.at(epoch))
    }

    /// A checkpoint at this epoch is durable.
    pub fn checkpointed(&self, epoch: Epoch) {
        let counters =
            [&self.rows_in, &self.rows_out, &self.rows_skipped, &self.rows_late, &self.expired_hits];
        counters.iter().for_each(|counter| counter.forget(epoch));
        self.saved_bytes.store(self.declared_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn read(&self, value: impl Fn(&Counter) -> u64) -> Counters {
        Counters {
            rows_in: value(&self.rows_in),
            rows_out: value(&self.rows_out),
            rows_skipped: value(&self.rows_skipped),
            rows_late: value(&self.rows_late),
            expired_hits: value(&self.expired_hits),
        }
    }
}

/// A number that grows from epoch to epoch, some of which are under way at once.
#[derive(Default)]
pub struct Counter(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    total: u64,
    /// How much of it each epoch since the last checkpoint has added.
    recent: BTreeMap<Epoch, u64>,
}

impl Counter {
    fn from(total: u64) -> Counter {
        Counter(Mutex::new(Counted { total, recent: BTreeMap::new() }))
    }

    /// Adds to it in an epoch.
    pub fn add(&self, epoch: Epoch, more: u64) {
        if more > 0 {
            let mut counted = self.0.lock();
            counted.total += more;
            *counted.recent.entry(epoch).or_default() += more;
        }
    }

    fn now(&self) -> u64 {
        self.0.lock().total
    }

    fn at(&self, epoch: Epoch) -> u64 {
        let counted = self.0.lock();
        counted.total - counted.recent.range(epoch.next()..).map(|(_, more)| more).sum::<u64>()
    }

    fn forget(&self, epoch: Epoch) {
        let mut counted = self.0.lock();
        counted.recent = counted.recent.split_off(&epoch.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_holds_what_was_counted_up_to_its_epoch() {
        let counter = Counter::from(100);
        [(7, 1), (9, 4), (8, 2), (7, 8)]
            .into_iter()
            .for_each(|(epoch, more)| counter.add(Epoch(epoch), more));
        let at = |counter: &Counter| [6, 7, 8, 9, 10].map(|epoch| counter.at(Epoch(epoch)));
        assert_eq!((at(&counter), counter.now()), ([100, 109, 111, 115, 115], 115));
        counter.forget(Epoch(7));
        assert_eq!(at(&counter)[1..], [109, 111, 115, 115]);
        counter.add(Epoch(10), 1);
        assert_eq!((counter.at(Epoch(9)), counter.now()), (115, 116));
    }
}
