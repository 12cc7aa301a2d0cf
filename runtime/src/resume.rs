//! Going on with a backfill that a crash met, from the checkpoint of its last step.
//!
//! The state after a step holds a part of the inputs as of the job's first epoch `s`: of each relation the rows up to a
//! storage key, of each source the offsets before those that are left ([`BackfillRecord`]). A restart cannot read the
//! rest as of `s` any more, and need not: it takes the last committed epoch `e` as the job's first one.
//!
//! ```text
//!   input ──── held, as of s ────┤── unread ──►
//!   (s, e]     its changes, epoch by epoch        nothing: it is read as of e
//!   e                                             in steps, from the storage key on
//!   after e    the changelog, as of any job
//! ```
//! Of a source it is the bindings of `(s, e]`, and then what is left of the offsets up to `s`.
//!
//! Three things make that possible. Changes after `s` are kept until there is a record of a later epoch: the log is not
//! trimmed ([`crate::job::JobEntry::needs_after`]), changelogs and bindings are not released. `s` itself is known
//! again: a binding that was not synced may be lost, and then the job starts afresh. And what a restart makes of the
//! views it reads is what they were: each has a checkpoint with all that changed in it up to `s`, or the step leaves no
//! more than a mark, and a crash makes the job start afresh too.

use weir_common::{Epoch, JobId, ObjectId, Result};
use weir_storage::backend::{Keyspace, WriteBatch};

use crate::checkpoint::add_erasure;
use crate::engine::{Engine, State};
use crate::graph::{JobGraph, JobNodeKind};
use crate::job::{Job, JobState};
use crate::meta::{self, BackfillRecord};

/// What the checkpoint of a step says of the job; `None` while a restart could not go on from it.
pub fn record_of(engine: &Engine, job: &Job) -> Option<BackfillRecord> {
    let state = engine.state.lock();
    let is_durable = |(producer, need): &(JobId, Epoch)| {
        state.jobs.get(producer).is_some_and(|entry| entry.checkpointed >= *need)
    };
    job.start.needs.iter().all(is_durable).then(|| BackfillRecord {
        epoch: job.start.epoch,
        unread: job.inputs.iter().map(|input| input.remaining.now()).collect(),
        counters: job.metrics.at(job.start.epoch),
        read: job.backfill.read(),
        marks: job.split_times.at(job.start.epoch),
    })
}

/// A step of the job is durable with a record: what its inputs changed up to its first epoch is not needed any more.
pub fn release_inputs(engine: &Engine, job: &Job) {
    let epoch = job.start.epoch;
    if let Some(entry) = engine.state.lock().jobs.get_mut(&job.id) {
        entry.backfilled = Some(epoch);
    }
    job.relations().for_each(|relation| relation.release(job.id, epoch));
    job.sources().for_each(|source| source.release(job.id, epoch));
}

/// The record of a job that can go on with its backfill, as far as is known before the log is replayed. Its inputs keep
/// what it needs from then on.
pub fn find(engine: &Engine, state: &State, graph: &JobGraph) -> Result<Option<BackfillRecord>> {
    let record = meta::load_backfill(engine.backend.as_ref(), graph.job)?;
    let Some(record) = record.filter(|record| is_usable(state, graph, record)) else { return Ok(None) };
    for node in &graph.nodes {
        match &node.kind {
            JobNodeKind::Relation { relation, .. } => {
                state.relation(*relation)?.subscribe(graph.job, record.epoch);
            }
            JobNodeKind::Source { source, .. } => {
                state.sources.get(source).iter().for_each(|s| s.subscribe(graph.job, record.epoch));
            }
            JobNodeKind::Operator(_) | JobNodeKind::Values { .. } => {}
        }
    }
    Ok(Some(record))
}

/// The job does not go on after all: its inputs keep nothing for it.
pub fn give_up(state: &State, job: JobId) {
    state.relations.values().for_each(|relation| relation.unsubscribe(job));
    state.sources.values().for_each(|source| source.unsubscribe(job));
}

/// Whether all inputs are there, and views among them have state of their own.
fn is_usable(state: &State, graph: &JobGraph, record: &BackfillRecord) -> bool {
    fail::fail_point!(weir_common::failpoint::RECOVERY_BEFORE_RESUME, |_| false);
    let is_restored = |id: &ObjectId| {
        let Some(relation) = state.relations.get(id) else { return false };
        let producer = relation.producer.map(|job| state.jobs.get(&job));
        producer.is_none_or(|entry| {
            entry.is_some_and(|e| e.state != JobState::Failed && e.checkpointed > Epoch::ZERO)
        })
    };
    let is_there = |kind: &JobNodeKind| match kind {
        JobNodeKind::Relation { relation, .. } => is_restored(relation),
        JobNodeKind::Source { source, .. } => state.sources.contains_key(source),
        JobNodeKind::Operator(_) | JobNodeKind::Values { .. } => true,
    };
    let inputs = graph.nodes.iter().filter(|node| !matches!(node.kind, JobNodeKind::Operator(_))).count();
    record.unread.len() == inputs && graph.nodes.iter().all(|node| is_there(&node.kind))
}

/// Removes what a job left that was in the middle of its backfill, and starts afresh.
pub fn remove(engine: &Engine, state: &State, job: JobId) -> Result<()> {
    if engine.backend.point(Keyspace::Meta, &meta::backfill_key(job))?.is_none() {
        return Ok(());
    }
    let id = ObjectId(job.0);
    let mut batch = WriteBatch::default();
    let indexes = state.indexes.get(&id).into_iter().flatten().map(|index| index.spec.id);
    [id].into_iter().chain(indexes).for_each(|id| add_erasure(id, &mut batch));
    engine.backend.write(batch)?;
    fail::fail_point!(weir_common::failpoint::RECOVERY_AFTER_BACKFILL_REMOVED);
    Ok(())
}
