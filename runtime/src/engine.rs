//! `Engine`: the state that sequencer, workers, checkpoints and readers share, behind one lock.
//!
//! Invariants, all under [`Engine::state`]:
//! - `committed` is the last closed epoch; what readers see is at most that.
//! - before `committed` becomes `e`, each job one of whose inputs may change in `e` has `need >= e`, and each
//!   checkpoint at `e` is declared. So a job that is caught up is complete as of `committed` although its
//!   dataflow was not touched: an idle job costs nothing.
//! - a failed job is read by nobody: what reads it failed with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use weir_common::config::EngineConfig;
use weir_common::seam::{Clock, FileSystem};
use weir_common::{Epoch, Error, JobId, MemoryWatch, ObjectId, Result, SqlState};
use weir_exec::event_time::EventTime;
use weir_storage::backend::StateBackend;
use weir_storage::spill::Spill;

use crate::changelog::Changelog;
use crate::checkpoint::CheckpointEvent;
use crate::dataflow::Workers;
use crate::event_time::News;
use crate::index::RelationIndex;
use crate::job::{JobEntry, JobState, Origin, Output};
use crate::memory::Relief;
use crate::relation::Relation;
use crate::restart::{RestartEvent, is_between_steps, may_pass};
use crate::sequencer::Request;
use crate::source::SourceState;
use crate::start::{PendingStart, ready_starts};
use crate::times::EpochTimes;

/// What everybody shares.
pub struct Engine {
    pub config: EngineConfig,
    pub clock: Arc<dyn Clock>,
    pub fs: Arc<dyn FileSystem>,
    pub memory: Arc<MemoryWatch>,
    /// Where changes wait for jobs that are late, when memory is tight.
    pub spill: Spill,
    pub relief: Relief,
    pub backend: Arc<dyn StateBackend>,
    pub state: Mutex<State>,
    pub workers: Workers,
    pub sequencer: crossbeam_channel::Sender<Request>,
    pub checkpoints: crossbeam_channel::Sender<CheckpointEvent>,
    pub restarts: crossbeam_channel::Sender<RestartEvent>,
    /// Changes whenever a frontier, a state or `committed` changes; what waits for progress listens.
    pub progress: watch::Sender<u64>,
}

/// The registries and the numbers of progress.
#[derive(Default)]
pub struct State {
    pub committed: Epoch,
    /// When the newest epochs were closed.
    pub times: EpochTimes,
    pub relations: HashMap<ObjectId, Arc<Relation>>,
    pub sources: HashMap<ObjectId, Arc<SourceState>>,
    /// The tables that have an `idle_timeout`.
    pub idle_tables: BTreeSet<ObjectId>,
    /// The indexes of relations, which get them whenever they are opened.
    pub indexes: HashMap<ObjectId, Vec<Arc<RelationIndex>>>,
    /// In order of their numbers, which is a topological order: a job is younger than what it reads.
    pub jobs: BTreeMap<JobId, JobEntry>,
    /// Fresh jobs whose inputs are not complete as of their first epoch yet.
    pub starts: Vec<PendingStart>,
    /// Who waits for jobs for ever is to end.
    pub is_stopping: bool,
}

impl State {
    /// The relation, or 42P01.
    pub fn relation(&self, id: ObjectId) -> Result<&Arc<Relation>> {
        self.relations.get(&id).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"))
        })
    }

    /// With the end of `epoch` a table, or a split of a source, is idle.
    pub fn note_idle(&self, id: ObjectId, split: &str, epoch: Epoch) {
        if let Some(source) = self.sources.get(&id) {
            source.set_idle(split, epoch);
        }
        let table = self.relations.get(&id);
        if let Some((table, time)) = table.and_then(|table| Some((table, table.time.as_ref()?))) {
            table.note_time(time.column, epoch, News::Idle);
        }
    }

    /// The first epoch that is not complete yet in a relation.
    pub fn upper(&self, relation: &Relation) -> Epoch {
        match relation.producer.and_then(|job| self.jobs.get(&job)) {
            Some(entry) if !entry.is_caught_up() => entry.frontier,
            _ => self.committed.next(),
        }
    }

    /// The upper of each input of a job, in the order of `Job::inputs`.
    pub fn input_uppers(&self, job: JobId) -> Vec<Epoch> {
        let Some(entry) = self.jobs.get(&job) else { return Vec::new() };
        let upper = |origin: &Origin| match origin {
            Origin::Relation { relation, .. } => self.upper(relation),
            Origin::Source { .. } => self.committed.next(),
            Origin::Values { .. } => Epoch::MAX,
        };
        let limit = entry.paused.unwrap_or(Epoch::MAX);
        entry.job.inputs.iter().map(|input| upper(&input.origin).min(limit)).collect()
    }

    /// The first moment of the clock, in microseconds, at which a job that has caught up has something to do.
    pub fn next_deadline(&self) -> Option<i64> {
        let waits = |entry: &&JobEntry| {
            entry.job.reads_clock()
                && entry.state == JobState::Running
                && entry.paused.is_none()
                && entry.is_caught_up()
        };
        self.jobs.values().filter(waits).filter_map(|entry| entry.job.next_deadline()).min()
    }

    /// Marks every job that reads one of these, directly or through views, as having work in `epoch`.
    /// Returns those that read a table or source among them directly: they can start at once.
    pub fn mark_dirty(&mut self, changed: &HashSet<ObjectId>, epoch: Epoch) -> Vec<JobId> {
        let mut dirty: HashSet<ObjectId> = changed.clone();
        let mut at_once = Vec::new();
        for (id, entry) in &mut self.jobs {
            if entry.state == JobState::Failed {
                continue;
            }
            let reads_relation = entry.job.relations().any(|r| dirty.contains(&r.id));
            let reads_source = entry.job.sources().any(|s| dirty.contains(&s.id));
            let reads_clock = dirty.contains(&EventTime::CLOCK.object) && entry.job.reads_clock();
            if !reads_relation && !reads_source && !reads_clock {
                continue;
            }
            entry.need = entry.need.max(epoch);
            if let Output::Relation(relation) = &entry.job.output {
                dirty.insert(relation.id);
            }
            at_once.push(*id);
        }
        at_once
    }

    /// The job itself or one that it reads, directly or through views, which is paused.
    pub fn paused_by<'s>(&'s self, entry: &'s JobEntry) -> Option<&'s JobEntry> {
        if entry.paused.is_some() {
            return Some(entry);
        }
        let producers = entry.job.relations().filter_map(|relation| self.jobs.get(&relation.producer?));
        producers.into_iter().find_map(|producer| self.paused_by(producer))
    }

    /// Jobs that read the relation a job writes.
    pub fn readers_of(&self, job: JobId) -> Vec<JobId> {
        let Some(entry) = self.jobs.get(&job) else { return Vec::new() };
        let Output::Relation(written) = &entry.job.output else { return Vec::new() };
        let reads = |e: &&JobEntry| e.job.relations().any(|r| r.id == written.id);
        self.jobs.values().filter(reads).map(|e| e.job.id).collect()
    }
}

/// Share of the memory limit that the changelog of one relation may keep for subscriptions.
const SUBSCRIPTION_SHARE: usize = 16;

impl Engine {
    /// The changelog of a relation whose rows are durable up to `base`.
    pub fn changelog(&self, base: Epoch) -> Changelog {
        let bytes_max = self.config.memory_limit_bytes / SUBSCRIPTION_SHARE;
        Changelog::new(self.config.workers, base, bytes_max)
    }

    /// Tells everybody who waits that something moved.
    pub fn notify(&self) {
        self.progress.send_modify(|n| *n += 1);
    }

    /// A worker saw that every epoch before `frontier` is complete in the job's output.
    pub fn frontier_passed(&self, job: JobId, frontier: Epoch) {
        let mut state = self.state.lock();
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        if entry.state == JobState::Failed || entry.frontier >= frontier {
            return;
        }
        entry.frontier = frontier;
        if entry.state == JobState::Starting && entry.is_caught_up() {
            entry.state = JobState::Running;
        }
        let (pending, now) = (entry.pending, self.clock.monotonic());
        let goes_by_clock = entry.job.reads_clock() && entry.is_caught_up();
        let sources: Vec<_> = entry.job.sources().cloned().collect();
        let readers = state.readers_of(job);
        let starts = ready_starts(&mut state);
        drop(state);
        starts.into_iter().for_each(|start| start.install(self));
        // The sequencer closes an epoch when the job's next moment has come, once the job has caught up.
        let mut demand = goes_by_clock;
        for source in sources {
            source.completed(job, frontier, now);
            demand |= source.wants_more_now();
        }
        if demand {
            self.request(Request::Demand);
        }
        self.workers.pump(&readers);
        if pending.is_some_and(|epoch| frontier > epoch) {
            self.checkpoint_event(CheckpointEvent::Passed { job, frontier });
        }
        self.notify();
    }

    /// A job made an error: it stops, and so does everything that reads it; everybody else goes on.
    pub fn fail_job(&self, job: JobId, error: Error) {
        if may_pass(&error) {
            // After a shutdown nobody listens, which is fine.
            let _ = self.restarts.send(RestartEvent::Failed(job));
        }
        let mut failed = vec![(job, error)];
        let mut stopped = Vec::new();
        let mut reasons = HashMap::new();
        let mut state = self.state.lock();
        while let Some((job, error)) = failed.pop() {
            let readers = state.readers_of(job);
            let Some(entry) = state.jobs.get_mut(&job) else { continue };
            if entry.state == JobState::Failed {
                continue;
            }
            if is_between_steps(&entry.job, &error) {
                // After a shutdown nobody listens, which is fine.
                let _ = self.restarts.send(RestartEvent::Failed(job));
                tracing::info!(job = %entry.job.graph.name, "failed between two steps, starts again in one: {error}");
            } else {
                tracing::warn!(job = %entry.job.graph.name, state = error.state().0, "job failed: {error}");
            }
            entry.state = JobState::Failed;
            entry.pending = None;
            let name = entry.job.graph.name.clone();
            let reason = Error::new(error.state(), format!("its input \"{name}\" failed: {error}"));
            if matches!(entry.job.output, Output::Table(_)) {
                reasons.insert(job, error.clone());
            }
            entry.error = Some(error);
            stopped.push(entry.job.clone());
            state.starts.retain(|start| start.job.id != job);
            failed.extend(readers.into_iter().map(|reader| (reader, reason.clone())));
        }
        drop(state);
        for job in stopped {
            job.relations().for_each(|r| r.unsubscribe(job.id));
            job.sources().for_each(|s| s.unsubscribe(job.id));
            if let Output::Relation(relation) = &job.output {
                relation.store.clear();
            }
            self.workers.drop_job(job.id, None);
            self.checkpoint_event(CheckpointEvent::Forget { job: job.id, reason: reasons.remove(&job.id) });
        }
        self.notify();
    }

    /// Sends a request to the sequencer. After a shutdown nobody listens, which is fine.
    pub fn request(&self, request: Request) {
        let _ = self.sequencer.send(request);
    }

    /// Sends an event to the checkpoint thread. After a shutdown nobody listens, which is fine.
    pub fn checkpoint_event(&self, event: CheckpointEvent) {
        let _ = self.checkpoints.send(event);
    }

    /// Waits until `ready` gives a result.
    pub async fn wait_until<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> Result<T> {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if let Some(result) = ready(&self.state.lock()) {
                return Ok(result);
            }
            if progress.changed().await.is_err() {
                return Err(Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down"));
            }
        }
    }
}
