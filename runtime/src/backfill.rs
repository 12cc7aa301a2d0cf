//! How far fresh jobs are with the rows that their inputs held when they began.
//!
//! Counted is what the feeds have handed to the workers, which take it at the pace of the operators. The total is what
//! stores and sources say when the snapshots are taken: exact for tables but for changes of the last moment, and for a
//! source, whose offsets may be bytes, the rows so far at their part of the offsets.
//!
//! ```text
//!   waiting ─► reading ─► finishing ─► running
//!   (inputs     (rows are    (all rows are read, operators end
//!    are not     counted)     the first epoch)
//!    complete)
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_common::JobId;

use crate::host::Fresh;
use crate::job::{Job, JobEntry, JobState, Origin};
use crate::runtime::Runtime;

/// Counters of one job's first epoch.
#[derive(Default)]
pub struct Backfill {
    /// Monotonic time of the beginning; not set while the job waits for its inputs.
    begun: OnceLock<Duration>,
    /// Rows of the relations' snapshots, and what of them was handed over.
    relation_rows: AtomicU64,
    relation_rows_read: AtomicU64,
    /// Offsets of the sources up to the first epoch, what of them was read, and the rows that this gave.
    offsets: AtomicU64,
    offsets_read: AtomicU64,
    source_rows_read: AtomicU64,
}

impl Backfill {
    /// The snapshots of `job` are there.
    pub fn begin(&self, job: &Job, now: Duration) {
        for input in &job.inputs {
            match &input.origin {
                Origin::Relation { relation, .. } => {
                    let rows = relation.store.row_count_estimate();
                    self.relation_rows.fetch_add(rows, Ordering::Relaxed);
                }
                Origin::Source { from, .. } => {
                    self.offsets.fetch_add(from.values().sum(), Ordering::Relaxed);
                }
                Origin::Values { .. } => {}
            }
        }
        // A job is begun once.
        let _ = self.begun.set(now);
    }

    /// Rows of a relation's snapshot were handed over.
    pub fn read_relation(&self, rows: usize) {
        self.relation_rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// A source was read `offsets` further, which gave so many rows.
    pub fn read_source(&self, offsets: u64, rows: usize) {
        self.offsets_read.fetch_add(offsets, Ordering::Relaxed);
        self.source_rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows handed over, and rows altogether as far as is known.
    fn rows(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (read, from_sources) = (load(&self.relation_rows_read), load(&self.source_rows_read));
        let (passed, offsets) = (load(&self.offsets_read), load(&self.offsets));
        let expected = match passed {
            0 => offsets,
            passed => (u128::from(from_sources) * u128::from(offsets) / u128::from(passed)) as u64,
        };
        (read + from_sources, load(&self.relation_rows).max(read) + expected.max(from_sources))
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
    /// Of an entry; `None` unless it is fresh and in its first epoch.
    fn of(entry: &JobEntry, now: Duration) -> Option<BackfillStatus> {
        if entry.state != JobState::Starting || entry.job.start.fresh == Fresh::No {
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
        let pace = |elapsed: Duration| elapsed.mul_f64((rows_total - rows_done) as f64 / rows_done as f64);
        Some(BackfillStatus {
            job: entry.job.id,
            name: entry.job.graph.name.clone(),
            stage,
            rows_done,
            rows_total,
            started_micros: entry.started_micros,
            remaining: (stage == BackfillStage::Reading && rows_done > 0).then(|| pace(elapsed)),
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
}
