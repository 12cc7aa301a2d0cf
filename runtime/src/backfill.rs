//! How far fresh jobs are with the rows that their inputs held when they began.
//!
//! Counted is what the feeds have handed to the workers, which take it at the pace of the operators. The total is what
//! stores and sources say when the snapshots are taken: exact for tables but for changes of the last moment, and for a
//! source, whose offsets may be bytes, the rows so far at their part of the offsets. A job that goes on after a restart
//! counts on from its last step; changes of what it has read before change how much that is.
//!
//! ```text
//!   waiting ─► reading ─► finishing ─► running
//!   (inputs     (rows are    (all rows are read, operators end
//!    are not     counted)     the first epoch)
//!    complete)
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use weir_common::{ChangeBatch, JobId};

use crate::job::{Job, JobEntry, JobState, Origin};
use crate::meta::SnapshotRead;
use crate::runtime::Runtime;
use crate::unread::Unread;

/// Counters of one job's first epoch.
#[derive(Default)]
pub struct Backfill {
    /// Monotonic time of the beginning; not set while the job waits for its inputs.
    begun: OnceLock<Duration>,
    /// Rows of those that are done which were read before a restart.
    rows_before: AtomicI64,
    /// Rows of the relations' snapshots, and what of them was handed over.
    relation_rows: AtomicU64,
    relation_rows_read: AtomicI64,
    /// Offsets of the sources up to the first epoch, what of them was read, and the rows that this gave.
    offsets: AtomicU64,
    offsets_read: AtomicU64,
    source_rows_read: AtomicU64,
}

impl Backfill {
    /// Of a job that has read so much before.
    pub fn new(read: SnapshotRead) -> Backfill {
        Backfill {
            rows_before: AtomicI64::new((read.relation_rows + read.source_rows) as i64),
            relation_rows_read: AtomicI64::new(read.relation_rows as i64),
            offsets: AtomicU64::new(read.offsets),
            offsets_read: AtomicU64::new(read.offsets),
            source_rows_read: AtomicU64::new(read.source_rows),
            ..Backfill::default()
        }
    }

    /// The snapshots of `job` are there.
    pub fn begin(&self, job: &Job, now: Duration) {
        for input in job.inputs.iter().filter(|input| !input.is_shared) {
            if let Origin::Relation { relation, .. } = &input.origin {
                let rows = relation.store.row_count_estimate();
                self.relation_rows.fetch_add(rows, Ordering::Relaxed);
            }
            if let Unread::Ranges(ranges) = input.remaining.at_start() {
                let offsets = ranges.iter().map(|range| range.to - range.from).sum();
                self.offsets.fetch_add(offsets, Ordering::Relaxed);
            }
        }
        // A job is begun once.
        let _ = self.begun.set(now);
    }

    /// What was read so far, before a restart too.
    pub fn read(&self) -> SnapshotRead {
        SnapshotRead {
            relation_rows: u64::try_from(self.relation_rows_read.load(Ordering::Relaxed)).unwrap_or(0),
            offsets: self.offsets_read.load(Ordering::Relaxed),
            source_rows: self.source_rows_read.load(Ordering::Relaxed),
        }
    }

    /// Rows handed over, before a restart too.
    pub fn rows_done(&self) -> u64 {
        let SnapshotRead { relation_rows, source_rows, .. } = self.read();
        relation_rows + source_rows
    }

    /// Changes of a relation's rows that were read before.
    pub fn caught_up(&self, changes: &ChangeBatch) {
        let net: i64 = (0..changes.len()).map(|row| i64::from(changes.op(row))).sum();
        self.relation_rows_read.fetch_add(net, Ordering::Relaxed);
        self.rows_before.fetch_add(net, Ordering::Relaxed);
    }

    /// Rows that were read since the restart, if there was one.
    pub fn rows_read_now(&self) -> u64 {
        let before = self.rows_before.load(Ordering::Relaxed);
        self.rows_done().saturating_sub(u64::try_from(before).unwrap_or(0))
    }

    /// Rows of a relation's snapshot were handed over.
    pub fn read_relation(&self, rows: usize) {
        self.relation_rows_read.fetch_add(rows as i64, Ordering::Relaxed);
    }

    /// A source was read `offsets` further, which gave so many rows.
    pub fn read_source(&self, offsets: u64, rows: usize) {
        self.offsets_read.fetch_add(offsets, Ordering::Relaxed);
        self.source_rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows handed over, and rows altogether as far as is known.
    fn rows(&self) -> (u64, u64) {
        let SnapshotRead { relation_rows: read, offsets: passed, source_rows: from_sources } = self.read();
        let offsets = self.offsets.load(Ordering::Relaxed);
        let expected = match passed {
            0 => offsets,
            passed => (u128::from(from_sources) * u128::from(offsets) / u128::from(passed)) as u64,
        };
        let rows = self.relation_rows.load(Ordering::Relaxed).max(read);
        (read + from_sources, rows + expected.max(from_sources))
    }

    /// How long `left` rows take at the pace of this run; `None` while there is none.
    fn remaining(&self, left: u64, elapsed: Duration) -> Option<Duration> {
        let rows = self.rows_read_now();
        (rows > 0).then(|| elapsed.mul_f64(left as f64 / rows as f64))
    }
}

/// What a fresh job is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillStage {
    /// Its inputs are not complete as of its first epoch.
    Waiting,
    Reading,
    /// Everything was read.
    Finishing,
}

/// How far a fresh job is.
#[derive(Clone, Debug)]
pub struct BackfillStatus {
    pub job: JobId,
    pub name: String,
    pub stage: BackfillStage,
    pub rows_done: u64,
    pub rows_total: u64,
    /// Wall clock, when it was created.
    pub started_micros: i64,
    /// How long it will go on at the pace so far; `None` when there is none yet.
    pub remaining: Option<Duration>,
}

impl BackfillStatus {
    /// Of an entry; `None` unless it reads snapshots and is in its first epoch.
    fn of(entry: &JobEntry, now: Duration) -> Option<BackfillStatus> {
        if entry.state != JobState::Starting || !entry.job.start.reads_snapshots() {
            return None;
        }
        let backfill = &entry.job.backfill;
        let (rows_done, rows_total) = backfill.rows();
        let begun = backfill.begun.get().copied();
        let stage = match begun {
            None => BackfillStage::Waiting,
            Some(_) if rows_done < rows_total => BackfillStage::Reading,
            Some(_) => BackfillStage::Finishing,
        };
        let elapsed = now.saturating_sub(begun.unwrap_or(now));
        let left = rows_total - rows_done;
        let remaining = backfill.remaining(left, elapsed).filter(|_| stage == BackfillStage::Reading);
        Some(BackfillStatus {
            job: entry.job.id,
            name: entry.job.graph.name.clone(),
            stage,
            rows_done,
            rows_total,
            started_micros: entry.started_micros,
            remaining,
        })
    }
}

impl Runtime {
    /// The jobs that are in their first epoch.
    pub fn backfills(&self) -> Vec<BackfillStatus> {
        let now = self.engine.clock.monotonic();
        let state = self.engine.state.lock();
        state.jobs.values().filter_map(|entry| BackfillStatus::of(entry, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_taken_to_go_on_as_it_was_so_far() {
        let backfill = Backfill::default();
        backfill.relation_rows.store(100, Ordering::Relaxed);
        backfill.offsets.store(1_000, Ordering::Relaxed);
        assert_eq!(backfill.rows(), (0, 1_100));
        backfill.read_relation(40);
        backfill.read_source(500, 10);
        assert_eq!(backfill.rows(), (50, 120));
        backfill.read_relation(70);
        backfill.read_source(500, 11);
        assert_eq!(backfill.rows(), (131, 131));
    }

    #[test]
    fn what_goes_on_has_the_pace_of_now() {
        let backfill = Backfill::new(SnapshotRead { relation_rows: 600, offsets: 10, source_rows: 20 });
        backfill.relation_rows.store(1_000, Ordering::Relaxed);
        backfill.offsets.fetch_add(10, Ordering::Relaxed);
        assert_eq!(backfill.rows(), (620, 1_040));
        let second = Duration::from_secs(1);
        assert_eq!(backfill.remaining(420, second), None);
        backfill.read_relation(70);
        assert_eq!(backfill.remaining(350, second), Some(second * 5));
    }
}
