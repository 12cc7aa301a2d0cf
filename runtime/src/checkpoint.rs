//! Checkpoints: the thread that makes what jobs have done durable, job by job.
//!
//! A checkpoint at epoch `c` is declared by the sequencer when it closes `c`; each operator hands over its dirty
//! state when its frontier passes `c` ([`CheckpointEvent::Dump`]). When all parts of a job are there and its
//! output is complete, the job can be written: state, output rows, source offsets and counters in one atomic
//! batch, together with every other job that is ready and with the tables. A job is written only together with
//! or after the jobs that it reads, so no checkpoint is ever ahead of its input's; one that lags keeps nobody
//! waiting, and what it still has to read is kept on disk with its input's checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;
use weir_common::seam::DiskSpace;
use weir_common::{Epoch, Error, JobId, ObjectId, Result, SqlState};
use weir_exec::event_time::Reached;
use weir_storage::backend::{Keyspace, WriteBatch};
use weir_storage::relation::drop_rows;

use crate::dump::Dump;
use crate::engine::{Engine, State};
use crate::fragments::fragments;
use crate::job::{Job, JobEntry, JobState, Output};
use crate::kept_changes::{add_changes, add_subscriptions, forget_changes};
use crate::meta::{self, FailedRecord, JobRecord, SourceRecord, TableRecord, TimesRecord};
use crate::moment::Moment;
use crate::outbox::{Channel, Outbox};
use crate::relation::Relation;
use crate::resume;
use crate::sequencer::Request;

/// What the checkpoint thread is told.
pub enum CheckpointEvent {
    /// The sequencer closed `epoch` as a checkpoint.
    Declared {
        epoch: Epoch,
    },
    /// Dirty state of one fragment on one worker after `moment`: the end of an epoch, or a step of a backfill.
    Dump {
        job: JobId,
        moment: Moment,
        part: (usize, usize),
        writes: WriteBatch,
    },
    /// The job's output is complete before `frontier`.
    Passed {
        job: JobId,
        frontier: Epoch,
    },
    /// The entries of an index are made: it becomes part of the checkpoints of its relation.
    Indexed {
        relation: Arc<Relation>,
        id: ObjectId,
        done: oneshot::Sender<Result<()>>,
    },
    /// The job failed: its durable state goes, a restart begins afresh.
    Forget {
        job: JobId,
        /// Of a job that must not start again: why.
        reason: Option<Error>,
    },
    /// Somebody subscribed to a relation, and may come back after a restart.
    Subscribed {
        relation: ObjectId,
    },
    /// These objects were dropped; answers when nothing of them is left on disk.
    Erase {
        objects: Vec<ObjectId>,
        done: oneshot::Sender<()>,
    },
    Stop,
}

/// How long jobs that are ready wait for the others of the same round.
const PATIENCE: Duration = Duration::from_millis(250);
/// Room on the disk that a write must leave, beyond twice its size: it is in the backend's own log first.
const ROOM_MIN: u64 = 256 << 10;

/// The thread's state.
pub struct Checkpointer {
    engine: Arc<Engine>,
    events: Receiver<CheckpointEvent>,
    dumps: HashMap<JobId, Dump>,
    /// The epoch that tables are to be flushed at.
    tables_due: Option<Epoch>,
}

impl Checkpointer {
    /// Listens to `events`.
    pub fn new(engine: Arc<Engine>, events: Receiver<CheckpointEvent>) -> Checkpointer {
        Checkpointer { engine, events, dumps: HashMap::new(), tables_due: None }
    }

    /// Runs until told to stop. A checkpoint that can't be written is tried again with the next one; the log
    /// keeps everything until then.
    pub fn run(mut self) {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(CheckpointEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(event) => {
                    if let Err(error) = self.take(event) {
                        self.stop_on_failure(&error);
                    }
                    if self.events.is_empty() && self.everything_is_ready() {
                        self.commit_or_stop();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit_or_stop(),
            }
        }
    }

    fn commit_or_stop(&mut self) {
        if let Err(error) = self.commit() {
            self.stop_on_failure(&error);
        }
    }

    /// Dirty state was taken from the operators and could not be written: only a restart gives a state that is
    /// whole again, and loses nothing.
    fn stop_on_failure(&self, error: &Error) {
        if self.engine.state.lock().is_stopping {
            tracing::info!("the last checkpoint is not written: {error}");
            return;
        }
        tracing::error!("a checkpoint can't be written, the server stops: {error}");
        std::process::abort();
    }

    /// Writes a batch, as soon as the disk has room for it: a backend that finds none half-way is of no more use.
    fn write(&self, batch: WriteBatch) -> Result<()> {
        let needed = ROOM_MIN + 2 * batch.size_bytes() as u64;
        let mut is_told = false;
        while let Ok(DiskSpace { free, .. }) = self.engine.fs.space(&self.engine.config.data_dir)
            && free < needed
        {
            if self.engine.state.lock().is_stopping {
                let message = format!("the disk has no room for {needed} bytes");
                return Err(Error::new(SqlState::DISK_FULL, message));
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(free, needed, "checkpoints wait until there is room on the disk");
            }
            std::thread::sleep(PATIENCE);
        }
        if is_told {
            tracing::info!("checkpoints go on");
        }
        self.engine.backend.write(batch)
    }

    fn take(&mut self, event: CheckpointEvent) -> Result<()> {
        match event {
            CheckpointEvent::Declared { epoch } => self.tables_due = Some(epoch),
            CheckpointEvent::Dump { job, moment, part, writes } => {
                self.dumps.entry(job).or_default().add(part, moment, writes);
                fail::fail_point!(weir_common::failpoint::CHECKPOINT_AFTER_PART);
                if moment != Moment::end_of(moment.epoch()) {
                    self.write_step(job)?;
                }
            }
            CheckpointEvent::Passed { .. } | CheckpointEvent::Stop => {}
            CheckpointEvent::Indexed { relation, id, done } => {
                fail::fail_point!(weir_common::failpoint::INDEX_BEFORE_COMPLETE);
                let completed = relation.store.complete_index(id);
                fail::fail_point!(weir_common::failpoint::INDEX_AFTER_COMPLETE);
                // Whoever asked may have gone away.
                let _ = done.send(completed);
            }
            CheckpointEvent::Forget { job, reason } => {
                self.dumps.remove(&job);
                let mut batch = WriteBatch::default();
                add_erasure(ObjectId(job.0), &mut batch);
                if let Some(error) = reason {
                    let state = error.state().0.to_owned();
                    let record = FailedRecord { state, message: error.message().to_owned() };
                    batch.put(Keyspace::Meta, &meta::failed_key(ObjectId(job.0)), &meta::encode(&record)?);
                }
                self.write(batch)?;
            }
            CheckpointEvent::Subscribed { relation } => {
                let found = self.engine.state.lock().relations.get(&relation).cloned();
                let mut batch = WriteBatch::default();
                if let Some(relation) = found {
                    add_subscriptions(&self.engine, &relation, &[], &mut batch)?;
                }
                self.write(batch)?;
            }
            CheckpointEvent::Erase { objects, done } => {
                objects.iter().for_each(|id| drop(self.dumps.remove(&JobId(id.0))));
                self.erase(&objects)?;
                // Whoever asked may have gone away.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn erase(&self, objects: &[ObjectId]) -> Result<()> {
        let mut batch = WriteBatch::default();
        let state = self.engine.state.lock();
        let indexes =
            objects.iter().flat_map(|id| state.indexes.get(id)).flatten().map(|index| index.spec.id);
        let objects: Vec<ObjectId> = objects.iter().copied().chain(indexes).collect();
        drop(state);
        objects.iter().for_each(|id| add_erasure(*id, &mut batch));
        fail::fail_point!(weir_common::failpoint::ERASE_BEFORE_WRITE);
        self.write(batch)?;
        fail::fail_point!(weir_common::failpoint::ERASE_AFTER_WRITE);
        Ok(())
    }

    /// Whether every job of the round has handed over everything.
    fn everything_is_ready(&self) -> bool {
        let state = self.engine.state.lock();
        let mut pending = state.jobs.iter().filter(|(_, e)| e.pending.is_some()).peekable();
        (pending.peek().is_some() || self.tables_due.is_some())
            && pending.all(|(id, _)| self.is_ready(&state, *id))
    }

    fn is_ready(&self, state: &State, job: JobId) -> bool {
        let (Some(entry), Some(dump)) = (state.jobs.get(&job), self.dumps.get(&job)) else { return false };
        let moment = dump.moment(self.parts(&entry.job));
        entry.pending.is_some_and(|epoch| moment == Some(Moment::end_of(epoch)) && entry.frontier > epoch)
    }

    /// How many parts the dump of a job has.
    fn parts(&self, job: &Job) -> usize {
        fragments(&job.graph).len() * self.engine.config.workers
    }

    /// Writes a step of a job's backfill when all of it is there, and opens the next. After a crash the job goes on from
    /// its record, or finds by the mark what to remove before it starts again.
    fn write_step(&mut self, id: JobId) -> Result<()> {
        let job = self.engine.state.lock().jobs.get(&id).map(|entry| entry.job.clone());
        let Some(job) = job else { return Ok(()) };
        let parts = self.parts(&job);
        let Some(dump) = self.dumps.get_mut(&id) else { return Ok(()) };
        let (Some(_), Output::Relation(view)) = (&job.start.steps, &job.output) else { return Ok(()) };
        let Some(moment) = dump.moment(parts) else { return Ok(()) };
        fail::fail_point!(weir_common::failpoint::BACKFILL_BEFORE_STEP);
        let mut batch = WriteBatch::default();
        dump.take(&mut batch);
        view.store.flush(moment.epoch(), &mut batch)?;
        let record = resume::record_of(&self.engine, &job);
        let encoded = record.as_ref().map(meta::encode).transpose()?.unwrap_or_default();
        batch.put(Keyspace::Meta, &meta::backfill_key(id), &encoded);
        self.write(batch)?;
        fail::fail_point!(weir_common::failpoint::BACKFILL_AFTER_STEP);
        view.store.flushed_in_part(moment.epoch());
        if record.is_some() {
            resume::release_inputs(&self.engine, &job);
        }
        self.engine.open_step(&job, moment.step().saturating_add(1));
        Ok(())
    }

    /// Writes every job that is ready and reads no job that is under way, and the tables.
    fn commit(&mut self) -> Result<()> {
        let state = self.engine.state.lock();
        let ready: BTreeSet<JobId> =
            self.dumps.keys().copied().filter(|job| self.is_ready(&state, *job)).collect();
        let jobs = committable(&ready, |job| upstream(&state, job), |job| is_pending(&state, job));
        if jobs.is_empty() && self.tables_due.is_none() {
            return Ok(());
        }
        let mut jobs: Vec<(Arc<Job>, Epoch, Dump)> = jobs
            .into_iter()
            .filter_map(|id| {
                let (entry, dump) = (state.jobs.get(&id)?, self.dumps.remove(&id)?);
                Some((entry.job.clone(), entry.pending?, dump))
            })
            .collect();
        let tables: Vec<_> = state.relations.values().filter(|r| r.producer.is_none()).cloned().collect();
        let sources: Vec<_> = state.sources.values().cloned().collect();
        let working = state.jobs.values().filter(|entry| entry.state != JobState::Failed);
        let outboxes: Vec<_> = working.flat_map(|entry| kept_outboxes(&entry.job)).collect();
        drop(state);
        fail::fail_point!(weir_common::failpoint::CHECKPOINT_BEFORE_WRITE);
        let mut batch = WriteBatch::default();
        let epochs: HashMap<JobId, Epoch> = jobs.iter().map(|(job, epoch, _)| (job.id, *epoch)).collect();
        let mut flushed = Vec::new();
        for (job, epoch, dump) in &mut jobs {
            dump.take(&mut batch);
            self.add_job(job, *epoch, &epochs, &mut batch, &mut flushed)?;
        }
        if let Some(epoch) = self.tables_due.take() {
            for table in &tables {
                table.store.flush(epoch, &mut batch)?;
                let time = table.time.as_ref().map(|time| table.event_times.at(time.column, epoch));
                let Reached { value: event_time, is_idle } = time.unwrap_or_default();
                let record = meta::encode(&TableRecord { epoch, event_time, is_idle })?;
                batch.put(Keyspace::Meta, &meta::table_key(table.id), &record);
                let unneeded = table.changelog().unneeded_by_subscriptions(epoch);
                unneeded.into_iter().for_each(|upto| forget_changes(table.id, upto, &mut batch));
                let kept = table.changelog().take_unpersisted_for_subscriptions(epoch);
                add_changes(table.id, &kept, &mut batch)?;
                add_subscriptions(&self.engine, table, &kept, &mut batch)?;
                flushed.push((table.clone(), epoch));
            }
            for (job, channel, outbox) in &outboxes {
                // A later delivery than the tables hold is in the log, with its rows.
                let delivered = outbox.delivered();
                if delivered == Epoch::ZERO {
                    continue;
                }
                let delivered = meta::encode(&delivered)?;
                batch.put(Keyspace::Meta, &meta::delivery_key(*job, *channel), &delivered);
            }
            let closed_micros = self.engine.state.lock().times.of(epoch);
            let times = meta::encode(&TimesRecord { epoch, closed_micros })?;
            batch.put(Keyspace::Meta, &meta::times_key(), &times);
            for source in &sources {
                let (offsets, idle) = (source.offsets_at(epoch), source.idle_at(epoch));
                let record = meta::encode(&SourceRecord { epoch, offsets, idle })?;
                batch.put(Keyspace::Meta, &meta::source_key(source.id), &record);
            }
        }
        self.write(batch)?;
        fail::fail_point!(weir_common::failpoint::CHECKPOINT_AFTER_WRITE);
        flushed.iter().for_each(|(relation, epoch)| relation.flushed(*epoch));
        self.engine.flushed_rows(tables.iter().map(|table| table.store.memory_bytes()).sum());
        self.finish(&jobs.into_iter().map(|(job, epoch, _)| (job, epoch)).collect::<Vec<_>>(), &tables)
    }

    /// Adds a job's output rows, the changelog that lagging readers need, and its record.
    fn add_job(
        &self,
        job: &Job,
        epoch: Epoch,
        epochs: &HashMap<JobId, Epoch>,
        batch: &mut WriteBatch,
        flushed: &mut Vec<(Arc<Relation>, Epoch)>,
    ) -> Result<()> {
        if let Output::Relation(relation) = &job.output {
            relation.store.flush(epoch, batch)?;
            let unneeded = relation.changelog().unneeded(&|reader| epochs.get(&reader).copied(), epoch);
            unneeded.into_iter().for_each(|upto| forget_changes(relation.id, upto, batch));
            let kept = relation.take_unpersisted(epoch, &|reader| epochs.get(&reader).copied());
            add_changes(relation.id, &kept, batch)?;
            add_subscriptions(&self.engine, relation, &kept, batch)?;
            flushed.push((relation.clone(), epoch));
        }
        for input in job.relations().filter(|r| r.producer.is_some()) {
            if let Some(needed) = input.needed_after(job.id, epoch) {
                forget_changes(input.id, needed, batch);
            }
        }
        let sources = job.sources().map(|s| (s.id.0, s.offsets_at(epoch))).collect();
        let marks = job.split_times.at(epoch);
        let record = JobRecord { epoch, sources, counters: job.metrics.at(epoch), marks };
        batch.put(Keyspace::Meta, &meta::job_key(job.id), &meta::encode(&record)?);
        if job.start.steps.is_some() {
            batch.delete(Keyspace::Meta, &meta::backfill_key(job.id));
        }
        Ok(())
    }

    /// What a durable checkpoint sets free: inputs' backlog, sinks' output, the log.
    fn finish(&self, jobs: &[(Arc<Job>, Epoch)], tables: &[Arc<Relation>]) -> Result<()> {
        for (job, epoch) in jobs {
            job.checkpoint_taken(*epoch);
            job.split_times.checkpointed(*epoch);
            job.metrics.checkpointed(*epoch);
            job.relations().for_each(|r| r.release(job.id, *epoch));
            job.sources().for_each(|s| s.release(job.id, *epoch));
            if let Output::Sink(sink) = &job.output
                && let Err(error) = sink.commit(*epoch)
            {
                self.engine.fail_job(job.id, error);
            }
        }
        let mut state = self.engine.state.lock();
        for (job, epoch) in jobs {
            if let Some(entry) = state.jobs.get_mut(&job.id) {
                entry.checkpointed = *epoch;
                entry.pending = None;
            }
        }
        let changed_since = |e: &&JobEntry| e.state != JobState::Failed && e.need > e.checkpointed;
        let lagging = state.jobs.values().filter(changed_since);
        let trim = lagging.filter_map(JobEntry::needs_after).min();
        let touched = state.jobs.values().any(|e| changed_since(&e) && e.pending.is_none());
        drop(state);
        // A sink into a table waits for its first checkpoint.
        self.engine.notify();
        let base = tables.iter().map(|t| t.base_epoch()).min().unwrap_or(Epoch::MAX);
        let upto = trim.unwrap_or(Epoch::MAX).min(base).min(self.engine.state.lock().committed);
        fail::fail_point!(weir_common::failpoint::CHECKPOINT_BEFORE_TRIM);
        self.engine.request(Request::Trim { upto, state_version: self.engine.backend.version() });
        if touched {
            self.engine.request(Request::Touch);
        }
        Ok(())
    }
}

/// The job's outboxes, to be kept beyond the lock.
fn kept_outboxes(job: &Job) -> Vec<(JobId, Channel, Arc<Outbox>)> {
    job.outboxes().map(|(channel, outbox)| (job.id, channel, outbox.clone())).collect()
}

/// Adds what removes everything of an object.
pub fn add_erasure(id: ObjectId, batch: &mut WriteBatch) {
    let job = JobId(id.0);
    let records = [
        meta::job_key(job),
        meta::table_key(id),
        meta::source_key(id),
        meta::failed_key(id),
        meta::subscription_key(id),
        meta::backfill_key(job),
    ];
    let deliveries = Channel::ALL.map(|channel| meta::delivery_key(job, channel));
    records.iter().chain(&deliveries).for_each(|key| batch.delete(Keyspace::Meta, key));
    let prefix = meta::job_state_prefix(job);
    let end = meta::after_prefix(&prefix);
    batch.delete_range(Keyspace::State, &prefix, &end);
    batch.delete_range(Keyspace::Changelog, &prefix, &end);
    drop_rows(id, batch);
}

fn upstream(state: &State, job: JobId) -> Vec<JobId> {
    let Some(entry) = state.jobs.get(&job) else { return Vec::new() };
    entry.job.relations().filter_map(|r| r.producer).collect()
}

fn is_pending(state: &State, job: JobId) -> bool {
    state.jobs.get(&job).is_some_and(|entry| entry.pending.is_some())
}

/// Those of `ready` that may be written now: each job it reads has no checkpoint under way, or is written too.
/// Jobs come in topological order.
pub fn committable(
    ready: &BTreeSet<JobId>,
    upstream: impl Fn(JobId) -> Vec<JobId>,
    is_pending: impl Fn(JobId) -> bool,
) -> BTreeSet<JobId> {
    let mut chosen = BTreeSet::new();
    for job in ready {
        if upstream(*job).iter().all(|up| chosen.contains(up) || !is_pending(*up)) {
            chosen.insert(*job);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> BTreeSet<JobId> {
        ids.iter().map(|id| JobId(*id)).collect()
    }

    #[test]
    fn a_job_waits_for_what_it_reads() {
        // 1 <- 2 <- 3, and 4 alone
        let upstream = |job: JobId| if (2..=3).contains(&job.0) { vec![JobId(job.0 - 1)] } else { vec![] };
        let all_pending = |_: JobId| true;
        assert_eq!(committable(&ids(&[1, 2, 3, 4]), upstream, all_pending), ids(&[1, 2, 3, 4]));
        assert_eq!(committable(&ids(&[1, 3, 4]), upstream, all_pending), ids(&[1, 4]));
        assert_eq!(committable(&ids(&[2, 3]), upstream, all_pending), ids(&[]));
        let only_three = |job: JobId| job.0 == 3;
        assert_eq!(committable(&ids(&[3]), upstream, only_three), ids(&[3]));
    }
}
