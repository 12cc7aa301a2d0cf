//! Recovery: from the checkpoint records and the log to running jobs.
//!
//! Tables open on their base rows and get the log's changes after them; jobs with a record resume after its
//! epoch, with what their inputs changed since then put back into the changelogs; jobs without one start afresh, or go on
//! with their backfill ([`crate::resume`]).
//! Operators load their state when the workers open them; a read of a view waits only for that view.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_common::seam::FileSystem;
use weir_common::{Epoch, Error, JobId, ObjectId, RelationSchema, Result};
use weir_connector::{Sink, Source};
use weir_storage::backend::{Keyspace, StateBackend};
use weir_storage::ipc;
use weir_storage::log::{Log, LogRecord};
use weir_storage::relation::RelationStore;

use crate::engine::{Engine, State};
use crate::event_time::{News, TimeSpec};
use crate::graph::JobGraph;
use crate::index::RelationIndex;
use crate::job::{Job, JobState};
use crate::meta::{
    self, BackfillRecord, FailedRecord, JobRecord, SourceRecord, SubscriptionRecord, TableRecord, TimesRecord,
};
use crate::relation::Relation;
use crate::resume;
use crate::source::{SourceState, decode_ranges};
use crate::start::{ready_starts, register_failed, register_fresh, register_restored, register_resumed};
use crate::steps::Steps;
use crate::subscription::RETENTION;

/// The sink of a job, `None` for one that writes a relation; an error for one that can't be put together.
pub type SinkOfJob = Result<Option<Arc<dyn Sink>>>;

/// A table as the runtime needs it.
#[derive(Clone, Debug)]
pub struct TableSpec {
    pub id: ObjectId,
    pub schema: RelationSchema,
    /// For messages.
    pub name: String,
    /// The name of the primary key's constraint.
    pub key_name: Option<String>,
    /// Of one with a WATERMARK.
    pub time: Option<TimeSpec>,
}

/// A source as the runtime needs it.
pub struct SourceSpec {
    pub id: ObjectId,
    pub source: Arc<dyn Source>,
    /// Of one with a WATERMARK.
    pub time: Option<TimeSpec>,
}

/// What the catalog says there is.
#[derive(Default)]
pub struct Recovered {
    /// Tables.
    pub tables: Vec<TableSpec>,
    pub sources: Vec<SourceSpec>,
    /// Indexes of tables and views.
    pub indexes: Vec<RelationIndex>,
    /// Jobs, with the sink of those that write one. One that can't be put together comes as its error.
    pub jobs: Vec<(JobGraph, SinkOfJob)>,
    /// Objects that exist and are not started.
    pub others: Vec<ObjectId>,
}

/// Whether the log in a data folder has the rows of this transaction, which changes the catalog too.
pub fn has_committed(fs: Arc<dyn FileSystem>, data_dir: &Path, transaction: u32) -> Result<bool> {
    let mut found = false;
    Log::open(fs, log_dir(data_dir))?.replay(Epoch::ZERO, &mut |record| {
        found |= record.catalog == Some(transaction);
        Ok(())
    })?;
    Ok(found)
}

/// The objects of which something is durable that do not exist: a crash met their drop, or the transaction block that
/// created them.
pub fn orphans(backend: &dyn StateBackend, recovered: &Recovered) -> Result<Vec<ObjectId>> {
    let mut orphans = meta::objects(backend)?;
    for id in recovered.tables.iter().map(|table| &table.id).chain(&recovered.others) {
        orphans.remove(id);
    }
    for source in &recovered.sources {
        orphans.remove(&source.id);
    }
    for index in &recovered.indexes {
        orphans.remove(&index.spec.id);
    }
    for (graph, _) in &recovered.jobs {
        orphans.remove(&ObjectId(graph.job.0));
    }
    Ok(orphans.into_iter().collect())
}

/// Where the log is.
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// Fills the engine's state. Returns the jobs to install, and whether there is anything that no checkpoint
/// holds.
pub fn recover(engine: &Engine, log: &Log, recovered: Recovered) -> Result<(Vec<Arc<Job>>, bool)> {
    let mut state = engine.state.lock();
    let mut newest = Epoch::ZERO;
    for index in recovered.indexes {
        state.indexes.entry(index.relation).or_default().push(Arc::new(index));
    }
    for table in recovered.tables {
        newest = newest.max(add_table(engine, &mut state, table)?);
    }
    for source in recovered.sources {
        let record: SourceRecord =
            meta::load(engine.backend.as_ref(), &meta::source_key(source.id))?.unwrap_or_default();
        newest = newest.max(record.epoch);
        state.sources.insert(source.id, SourceState::restored(source, record));
    }
    let mut jobs: BTreeMap<_, _> = recovered.jobs.into_iter().map(|(g, sink)| (g.job, (g, sink))).collect();
    let mut restored = Vec::new();
    let mut starting = Vec::new();
    for (id, (graph, sink)) in std::mem::take(&mut jobs) {
        let record: Option<JobRecord> = meta::load(engine.backend.as_ref(), &meta::job_key(id))?;
        let failed: Option<FailedRecord> =
            meta::load(engine.backend.as_ref(), &meta::failed_key(ObjectId(id.0)))?;
        let sink = failed.map_or(sink, |record| Err(record.error()));
        match (record, sink) {
            (_, Err(error)) => register_failed(engine, &mut state, graph, error),
            (None, Ok(sink)) => {
                let record = resume::find(engine, &state, &graph)?;
                starting.push((graph, sink, record));
            }
            (Some(record), Ok(sink)) => {
                newest = newest.max(record.epoch);
                let kept = graph.clone();
                match register_restored(engine, &mut state, graph, sink, record) {
                    Ok(job) => restored.push(job),
                    Err(error) => register_failed(engine, &mut state, kept, error),
                }
            }
        }
    }
    // Epochs start at 1: what a job made in epoch 0 would be before everything, and nobody would see it.
    state.committed = newest.max(Epoch::ZERO.next());
    let times: TimesRecord = meta::load(engine.backend.as_ref(), &meta::times_key())?.unwrap_or_default();
    state.times.restore(times.epoch, times.closed_micros);
    restore_subscriptions(engine, &mut state)?;
    let resumed = starting.iter().filter_map(|(.., record)| Some(record.as_ref()?.epoch)).min();
    let after = replayed_after(&state, resumed);
    restore_changelogs(engine, &mut state, after)?;
    replay(engine, log, &mut state, after)?;
    state.times.restored(engine.clock.now_micros());
    let committed = state.committed;
    let mut dirty = !starting.is_empty();
    for entry in state.jobs.values_mut().filter(|e| e.state != JobState::Failed) {
        entry.need = committed;
        entry.state = if entry.is_caught_up() { JobState::Running } else { JobState::Starting };
        dirty |= entry.checkpointed < committed;
    }
    for (graph, sink, record) in starting {
        start(engine, &mut state, graph, sink, record)?;
    }
    Ok((restored, dirty))
}

/// Registers a job without a checkpoint: with its backfill gone on with, if what it holds is known again, or afresh.
fn start(
    engine: &Engine,
    state: &mut State,
    graph: JobGraph,
    sink: Option<Arc<dyn Sink>>,
    record: Option<BackfillRecord>,
) -> Result<()> {
    let kept = graph.clone();
    let registered = match record.filter(|record| record.epoch <= state.committed) {
        Some(record) => register_resumed(engine, state, graph, record),
        None => {
            resume::give_up(state, graph.job);
            resume::remove(engine, state, graph.job)?;
            register_fresh(engine, state, graph, sink, Steps::Many)
        }
    };
    if let Err(error) = registered {
        resume::give_up(state, kept.job);
        register_failed(engine, state, kept, error);
    }
    Ok(())
}

/// Installs what recovery has registered.
pub fn install(engine: &Engine, restored: Vec<Arc<Job>>) {
    restored.into_iter().for_each(|job| engine.workers.install(job));
    let ready = ready_starts(&mut engine.state.lock());
    ready.into_iter().for_each(|start| start.install(engine));
}

/// Opens a table on its base rows; returns the epoch of those.
pub fn add_table(engine: &Engine, state: &mut State, table: TableSpec) -> Result<Epoch> {
    let TableSpec { id, schema, name, key_name, time } = table;
    let record: TableRecord = meta::load(engine.backend.as_ref(), &meta::table_key(id))?.unwrap_or_default();
    let store = RelationStore::open(id, schema, engine.backend.clone())?;
    let changelog = engine.changelog(record.epoch);
    let relation = Relation::new(id, name, store, None, record.epoch, changelog);
    let relation = Arc::new(relation.of_table(key_name, time));
    if let Some(time) = &relation.time {
        let news = record.event_time.map(News::Upto).into_iter().chain(record.is_idle.then_some(News::Idle));
        news.for_each(|news| relation.note_time(time.column, record.epoch, news));
        state.idle_tables.extend(time.idle_timeout.map(|_| id));
    }
    state.adopt_indexes(&relation)?;
    state.relations.insert(id, relation);
    Ok(record.epoch)
}

/// Keeps what clients that subscribed before need to go on. A view that starts afresh begins with another history.
fn restore_subscriptions(engine: &Engine, state: &mut State) -> Result<()> {
    let deadline = engine.clock.monotonic() + RETENTION;
    let State { relations, times, .. } = state;
    for relation in relations.values() {
        let record: Option<SubscriptionRecord> =
            meta::load(engine.backend.as_ref(), &meta::subscription_key(relation.id))?;
        if let Some(SubscriptionRecord { after, after_micros }) = record {
            times.restore(after, after_micros);
            relation.changelog().restore_parked(after, deadline);
            relation.changelog().restored_upto(relation.base_epoch());
        }
    }
    Ok(())
}

/// The epoch after which the log is replayed; jobs that go on with their backfill need what comes after `resumed`.
fn replayed_after(state: &State, resumed: Option<Epoch>) -> Epoch {
    let bases = state.relations.values().filter(|r| r.producer.is_none()).map(|r| r.base_epoch());
    let jobs = state.jobs.values().map(|entry| entry.checkpointed);
    bases.chain(jobs).chain(resumed).min().unwrap_or(Epoch::ZERO)
}

/// Puts back the changes that lagging jobs and subscriptions have not seen. A table's after some epoch are in the log.
fn restore_changelogs(engine: &Engine, state: &mut State, in_log_after: Epoch) -> Result<()> {
    let snapshot = engine.backend.snapshot();
    let State { relations, times, .. } = state;
    for relation in relations.values() {
        let is_table = relation.producer.is_none();
        let start = meta::changelog_key(relation.id, Epoch::ZERO, 0);
        let end = meta::changelog_key(ObjectId(relation.id.0 + 1), Epoch::ZERO, 0);
        let entries = snapshot.range(
            Keyspace::Changelog,
            Bound::Included(&start),
            Bound::Excluded(&end),
            usize::MAX,
        )?;
        for (i, (key, value)) in entries.iter().enumerate() {
            let epoch =
                meta::changelog_epoch(key).ok_or_else(|| Error::corrupted("a key of the changelog"))?;
            if meta::is_changelog_time(key) {
                let time = value.as_ref().try_into().map_err(|_| Error::corrupted("the time of an epoch"))?;
                times.restore(epoch, i64::from_be_bytes(time));
                continue;
            }
            relation.changelog().restored_upto(relation.base_epoch());
            if is_table && epoch > in_log_after {
                continue;
            }
            relation.append(i % engine.config.workers, epoch, &[ipc::decode_batch(value)?]);
        }
    }
    Ok(())
}

/// Applies the log after what the checkpoints hold.
fn replay(engine: &Engine, log: &Log, state: &mut State, after: Epoch) -> Result<()> {
    let workers = engine.config.workers;
    let now = engine.clock.monotonic();
    log.replay(after, &mut |record: LogRecord| {
        fail::fail_point!(weir_common::failpoint::RECOVERY_REPLAY);
        state.committed = state.committed.max(record.epoch);
        state.times.restore(record.epoch, record.closed_micros);
        for (table, changes) in &record.tables {
            // A table that is not in the catalog was dropped after this record.
            let Some(relation) = state.relations.get(table) else { continue };
            let schema = relation.store.schema().arrow();
            for (i, batch) in changes.iter().enumerate() {
                let batch = &batch.conform(&schema)?;
                if record.epoch > relation.base_epoch() {
                    relation.store.apply(record.epoch, batch)?;
                }
                relation.append(
                    (record.epoch.0 as usize + i) % workers,
                    record.epoch,
                    std::slice::from_ref(batch),
                );
            }
        }
        for delivered in &record.delivered {
            let entry = state.jobs.get(&JobId(delivered.job.0));
            let mut outboxes = entry.iter().flat_map(|entry| entry.job.outboxes());
            if let Some((_, outbox)) = outboxes.find(|(channel, _)| *channel as u8 == delivered.channel) {
                outbox.mark_delivered(delivered.upto);
            }
        }
        for (source, ranges) in &record.sources {
            if let Some(source) = state.sources.get(source) {
                source.bind(record.epoch, decode_ranges(ranges)?, now);
            }
        }
        record.idle.iter().for_each(|(id, split)| state.note_idle(*id, split, record.epoch));
        Ok(())
    })
}
