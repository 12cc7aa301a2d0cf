//! `Unread`: what of the snapshots of a job's inputs is still to be read, so that a backfill can be gone on with.
//!
//! A feed says what it has left when it ends a step, and when it is through: whoever writes the checkpoint of a step
//! finds exactly what is behind the step, since nothing of the next one is fed before.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_connector::SplitRange;

/// What of an input's snapshot is still to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unread {
    Everything,
    /// The rows of a relation behind this storage key.
    After(Vec<u8>),
    /// These parts of a source's splits.
    Ranges(Vec<SplitRange>),
    Nothing,
}

impl Unread {
    /// What two workers have left of one input. At most one of them reads a relation.
    fn and(self, other: Unread) -> Unread {
        match (self, other) {
            (Unread::Nothing, left) | (left, Unread::Nothing) => left,
            (Unread::Ranges(mut ranges), Unread::Ranges(others)) => {
                ranges.extend(others);
                Unread::Ranges(ranges)
            }
            (left, _) => left,
        }
    }
}

/// What the workers have left of one input.
pub struct Remaining {
    at_start: Unread,
    /// By worker, from when it has opened its feed.
    left: Mutex<Vec<Unread>>,
}

impl Remaining {
    /// Nothing of this has been read.
    pub fn new(at_start: Unread) -> Remaining {
        Remaining { at_start, left: Mutex::default() }
    }

    /// What was left when the job began.
    pub fn at_start(&self) -> &Unread {
        &self.at_start
    }

    /// A worker has this left at the end of a step.
    pub fn set(&self, worker: usize, unread: Unread) {
        let mut left = self.left.lock();
        let workers = left.len().max(worker + 1);
        left.resize(workers, Unread::Nothing);
        left[worker] = unread;
    }

    /// What all workers, which have opened their feeds, have left.
    pub fn now(&self) -> Unread {
        self.left.lock().iter().cloned().fold(Unread::Nothing, Unread::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(from: u64, to: u64) -> Unread {
        Unread::Ranges(vec![SplitRange { split: "s".to_owned(), from, to }])
    }

    #[test]
    fn what_is_left_is_what_each_worker_has_left() {
        let source = Remaining::new(ranges(0, 100));
        source.set(0, ranges(0, 50));
        source.set(1, ranges(50, 100));
        source.set(0, ranges(20, 50));
        let Unread::Ranges(left) = source.now() else { panic!("ranges are left") };
        assert_eq!(
            left.iter().map(|range| (range.from, range.to)).collect::<Vec<_>>(),
            [(20, 50), (50, 100)]
        );
        source.set(0, Unread::Nothing);
        assert_eq!(source.now(), ranges(50, 100));
        let relation = Remaining::new(Unread::Everything);
        relation.set(1, Unread::After(vec![7]));
        relation.set(0, Unread::Nothing);
        assert_eq!(relation.now(), Unread::After(vec![7]));
    }
}
