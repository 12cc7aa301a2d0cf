//! `Governor`: the thread that keeps the process within its memory limit.
//!
//! It looks how large the process is ([`MemoryWatch`]), more often the closer it is to the limit. When memory gets
//! tight it wakes the sequencer, which then closes checkpoints one after the other and lets sources wait for them, and
//! has changes that only late jobs need wait on disk. While it is short, the next steps of backfills wait. When the
//! limit is reached all the same, the job that holds most is stopped with 53200: its views answer with the reason,
//! everybody else goes on. What no job holds (queries, writes) is refused where it is asked for, before.
//!
//! Workers look too, so that they rest until a job that was stopped has gone, however late this thread gets its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use weir_common::{ChangeBatch, Error, JobId, Pressure, SqlState};

use crate::engine::{Engine, State};
use crate::job::{Job, JobEntry, JobState, Output};
use crate::sequencer::Request;

/// Between two looks when there is plenty, and when it is tight.
const PAUSE: Duration = Duration::from_millis(50);
const TIGHT_PAUSE: Duration = Duration::from_millis(5);
/// After a job was stopped: workers let go of its state, and the allocator of the pages.
const GRACE: Duration = Duration::from_millis(400);
/// Changes of one relation that go to disk at once; fewer stay in memory.
const SPILL_BYTES: usize = 8 << 20;
/// A job is stopped when it holds at least this part of the limit: stopping a smaller one helps nobody.
const SHARE_TO_STOP: usize = 16;

/// Part of the limit that rows of tables may take which no checkpoint has written, and as much what jobs make of sources.
const ROWS_SHARE: usize = 8;
/// What a row takes in a relation's versions beside its values: epoch, weight, key and offsets.
const ROW_BYTES: usize = 64;
/// A step of a backfill waits so long for memory, then it is tried all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks of a worker.
const WORKER_PAUSE: Duration = Duration::from_millis(2);

/// What is under way to keep within the limit.
#[derive(Default)]
pub struct Relief {
    /// When a job was stopped last.
    stopped: Mutex<Option<Duration>>,
    /// Steps of backfills that are not open for want of memory, and until when they wait.
    steps: Mutex<Vec<(Arc<Job>, u16, Duration)>>,
    /// When a worker looked last.
    looked: Mutex<Duration>,
    /// Bytes of tables' rows that were committed and are in memory alone.
    table_bytes: AtomicUsize,
}

impl Engine {
    /// Rows of tables were committed.
    pub fn committed_rows<'a>(&self, changes: impl Iterator<Item = &'a ChangeBatch>) {
        let bytes: usize = changes.map(|batch| batch.memory_size() + batch.len() * ROW_BYTES).sum();
        self.relief.table_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A checkpoint has made rows of tables durable in their bases; so many bytes are left.
    pub fn flushed_rows(&self, left_bytes: usize) {
        self.relief.table_bytes.store(left_bytes, Ordering::Relaxed);
    }

    /// Whether a checkpoint is to come soon, since it lets go of much.
    pub fn wants_checkpoint(&self) -> bool {
        let much = self.memory.limit_bytes() / ROWS_SHARE / 2;
        self.memory.pressure() > Pressure::None
            || self.relief.table_bytes.load(Ordering::Relaxed) > much
            || unsaved_bytes(&self.state.lock()) > much
    }

    /// Whether jobs have made so much of what they read of sources that these had better wait for a checkpoint: it takes
    /// several times the memory of what it writes.
    pub fn has_much_unsaved(&self) -> bool {
        unsaved_bytes(&self.state.lock()) > self.memory.limit_bytes() / ROWS_SHARE
    }

    /// Whether tables may take rows of so many bytes now, or had better wait for a checkpoint that is to come soon: it
    /// takes several times the memory of the rows that it writes.
    pub fn has_room_for_rows(&self, bytes: usize) -> bool {
        let share = self.memory.limit_bytes() / ROWS_SHARE;
        let there = self.relief.table_bytes.load(Ordering::Relaxed);
        there <= share / 2 || there + bytes <= share
    }

    /// Opens a step of a job's backfill, as soon as memory is not short.
    pub fn open_step(&self, job: &Arc<Job>, step: u16) {
        let waits_until = self.clock.monotonic() + PATIENCE;
        self.relief.steps.lock().push((job.clone(), step, waits_until));
        self.open_steps();
    }

    fn open_steps(&self) {
        let is_short = self.memory.look() >= Pressure::Short;
        let now = self.clock.monotonic();
        let mut steps = self.relief.steps.lock();
        let (waiting, ready) =
            std::mem::take(&mut *steps).into_iter().partition(|(.., until)| is_short && now < *until);
        *steps = waiting;
        drop(steps);
        for (job, step, _) in ready {
            job.start.steps.iter().for_each(|gate| gate.open(step));
            self.workers.pump(&[job.id]);
        }
    }

    /// Whether workers do nothing for now, since a job was stopped whose memory has not come back yet.
    pub fn must_rest(&self) -> bool {
        let now = self.clock.monotonic();
        {
            let mut looked = self.relief.looked.lock();
            if now < *looked + WORKER_PAUSE {
                return self.memory.pressure() == Pressure::Over && self.waits_for_relief(now);
            }
            *looked = now;
        }
        if self.memory.look() < Pressure::Over {
            return false;
        }
        self.waits_for_relief(now) || self.stop_largest()
    }

    fn waits_for_relief(&self, now: Duration) -> bool {
        self.relief.stopped.lock().is_some_and(|stopped| now < stopped + GRACE)
    }

    /// Stops the job that holds most, unless one was stopped just now; false when none holds much.
    fn stop_largest(&self) -> bool {
        let now = self.clock.monotonic();
        let mut stopped = self.relief.stopped.lock();
        if stopped.is_some_and(|stopped| now < stopped + GRACE) {
            return true;
        }
        let Some((job, bytes)) = largest(&self.state.lock()) else { return false };
        if bytes < self.memory.limit_bytes() / SHARE_TO_STOP {
            return false;
        }
        *stopped = Some(now);
        drop(stopped);
        let (resident, limit) = (self.memory.resident_bytes() >> 20, self.memory.limit_bytes() >> 20);
        let error = Error::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .with_detail(format!(
                "The server occupied {resident} of the {limit} MiB it may take, {} of them for this job.",
                bytes >> 20
            ))
            .with_hint(
                "Start the server with a higher --memory-limit, or drop what is not needed, and RESUME.",
            );
        self.fail_job(job, error);
        true
    }
}

/// The thread's state.
pub struct Governor {
    engine: Arc<Engine>,
    stop: Receiver<()>,
}

impl Governor {
    /// Runs until `stop` brings something.
    pub fn new(engine: Arc<Engine>, stop: Receiver<()>) -> Governor {
        Governor { engine, stop }
    }

    /// Runs until told to stop.
    pub fn run(self) {
        let mut pause = PAUSE;
        while let Err(RecvTimeoutError::Timeout) = self.stop.recv_timeout(pause) {
            pause = self.turn();
        }
    }

    /// Looks once, acts, and returns how long to rest.
    fn turn(&self) -> Duration {
        let memory = &self.engine.memory;
        let before = memory.pressure();
        let now = memory.look();
        if !self.engine.relief.steps.lock().is_empty() {
            self.engine.open_steps();
        }
        match now {
            Pressure::None => return if before > Pressure::None { TIGHT_PAUSE } else { PAUSE },
            Pressure::Tight | Pressure::Short => {
                if before == Pressure::None {
                    self.engine.request(Request::Demand);
                }
                self.spill_changes();
            }
            Pressure::Over => {
                self.engine.stop_largest();
            }
        }
        TIGHT_PAUSE
    }

    fn spill_changes(&self) {
        let relations: Vec<_> = self.engine.state.lock().relations.values().cloned().collect();
        for relation in relations {
            if let Err(error) = relation.spill(&self.engine.spill, SPILL_BYTES) {
                tracing::info!(relation = relation.name, "could not spill changes: {error}");
            }
        }
    }
}

/// Bytes of state and rows that jobs which read sources have made since their last checkpoints, about.
fn unsaved_bytes(state: &State) -> usize {
    let reads_sources = |entry: &&JobEntry| {
        entry.state == JobState::Running && entry.paused.is_none() && entry.job.sources().next().is_some()
    };
    let of_job = |entry: &JobEntry| match &entry.job.output {
        Output::Relation(view) => entry.job.metrics.unsaved_bytes() + view.store.memory_bytes(),
        _ => entry.job.metrics.unsaved_bytes(),
    };
    state.jobs.values().filter(reads_sources).map(of_job).sum()
}

/// The job that holds most memory, and how much that is.
fn largest(state: &State) -> Option<(JobId, usize)> {
    let running = state.jobs.values().filter(|entry| entry.state != JobState::Failed);
    running.map(|entry| (entry.job.id, held_bytes(&entry.job))).max_by_key(|(_, bytes)| *bytes)
}

/// Bytes of state, of rows that no checkpoint holds yet, and of changes kept for readers.
fn held_bytes(job: &Job) -> usize {
    let state = usize::try_from(job.metrics.state_bytes.load(Ordering::Relaxed)).unwrap_or(0);
    match &job.output {
        Output::Relation(relation) => state + relation.store.memory_bytes(),
        _ => state,
    }
}
