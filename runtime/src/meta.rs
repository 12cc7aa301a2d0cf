//! Keys and records of the durable checkpoint: what is where in the state backend.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | Meta | `job/` job | [`JobRecord`] |
//! | Meta | `table/` relation | [`TableRecord`] |
//! | Meta | `source/` source | [`SourceRecord`] |
//! | Meta | `delivery/` job, channel | the epoch up to which a table holds what the job has made |
//! | Meta | `subscription/` relation | [`SubscriptionRecord`] |
//! | Meta | `times` | [`TimesRecord`] |
//! | Meta | `failed/` sink | [`FailedRecord`] |
//! | Meta | `backfill/` job | of one with durable state and no record: [`BackfillRecord`]; nothing if it can't go on |
//! | State | job, operator, table, key group, key | an operator's entry |
//! | Changelog | relation, epoch, sequence | a change batch kept for a reader that lags |
//! | Changelog | relation, epoch, u32::MAX | when the epoch was closed, i64, if subscriptions may go on from there |
//!
//! Numbers in keys are big-endian. Records are postcard behind one byte of format version.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use weir_common::{Epoch, Error, JobId, KeyGroup, ObjectId, OperatorId, Result, SqlState};
use weir_connector::{SourceOffsets, Split};
use weir_exec::operator::StateTable;
use weir_storage::backend::{Keyspace, StateBackend};

use crate::event_time::Mark;
use crate::outbox::Channel;
use crate::unread::Unread;

/// The format of records in Meta.
const VERSION: u8 = 1;

const JOB: &[u8] = b"job/";
const TABLE: &[u8] = b"table/";
const SOURCE: &[u8] = b"source/";
const DELIVERY: &[u8] = b"delivery/";
const FAILED: &[u8] = b"failed/";
const SUBSCRIPTION: &[u8] = b"subscription/";
const BACKFILL: &[u8] = b"backfill/";

/// A job's checkpoint.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JobRecord {
    /// State and output hold everything up to here.
    pub epoch: Epoch,
    /// Offsets of the sources that the job reads, as of `epoch`.
    pub sources: BTreeMap<u32, SourceOffsets>,
    /// Counters as of `epoch`.
    pub counters: Counters,
    /// Event times of the inputs as of `epoch`.
    pub marks: Vec<Mark>,
}

/// What a job has counted over its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Malformed records skipped.
    pub rows_skipped: u64,
    /// Changes that came too late.
    pub rows_late: u64,
    /// Groups that came again after they had been forgotten.
    pub expired_hits: u64,
}

/// The last step of a job's backfill.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BackfillRecord {
    /// State and output hold the inputs as of here, but for what is unread.
    pub epoch: Epoch,
    /// Of each input, in the order of the graph's input nodes.
    pub unread: Vec<Unread>,
    pub counters: Counters,
    pub read: SnapshotRead,
    /// Event times of what was read of sources.
    pub marks: Vec<Mark>,
}

/// What a job has read of its inputs' snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotRead {
    /// Rows of relations.
    pub relation_rows: u64,
    /// Offsets of sources, and the rows that they gave.
    pub offsets: u64,
    pub source_rows: u64,
}

/// A table's base rows hold everything up to `epoch`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TableRecord {
    pub epoch: Epoch,
    /// The greatest value of its time column so far.
    pub event_time: Option<i64>,
    /// Whether it has brought nothing for its idle timeout.
    pub is_idle: bool,
}

/// A source's offsets as of `epoch`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SourceRecord {
    pub epoch: Epoch,
    pub offsets: SourceOffsets,
    /// Splits that have brought nothing for its idle timeout.
    pub idle: Vec<Split>,
}

/// What subscriptions to a relation need after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SubscriptionRecord {
    /// Changes after this epoch.
    pub after: Epoch,
    /// When it was closed.
    pub after_micros: i64,
}

/// When the epoch was closed at which tables were flushed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TimesRecord {
    pub epoch: Epoch,
    pub closed_micros: i64,
}

/// Why a sink into a table does not run any more: started afresh, it would deliver everything again.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FailedRecord {
    pub state: String,
    pub message: String,
}

impl FailedRecord {
    /// The error as it was.
    pub fn error(&self) -> Error {
        let state = SqlState::from_code(&self.state).unwrap_or(SqlState::INTERNAL_ERROR);
        Error::new(state, self.message.clone())
    }
}

/// The Meta key of a job.
pub fn job_key(job: JobId) -> Vec<u8> {
    tagged(JOB, job.0)
}

/// The Meta key of a table.
pub fn table_key(table: ObjectId) -> Vec<u8> {
    tagged(TABLE, table.0)
}

/// The Meta key of a source.
pub fn source_key(source: ObjectId) -> Vec<u8> {
    tagged(SOURCE, source.0)
}

/// The Meta key of what a job has delivered.
pub fn delivery_key(job: JobId, channel: Channel) -> Vec<u8> {
    let mut key = tagged(DELIVERY, job.0);
    key.push(channel as u8);
    key
}

/// The Meta key of what subscriptions to a relation need.
pub fn subscription_key(relation: ObjectId) -> Vec<u8> {
    tagged(SUBSCRIPTION, relation.0)
}

/// The Meta key of the [`TimesRecord`].
pub fn times_key() -> Vec<u8> {
    b"times".to_vec()
}

/// The Meta key of the reason why a sink has failed.
pub fn failed_key(sink: ObjectId) -> Vec<u8> {
    tagged(FAILED, sink.0)
}

/// The Meta key of a job in the middle of its backfill.
pub fn backfill_key(job: JobId) -> Vec<u8> {
    tagged(BACKFILL, job.0)
}

/// The objects of which there is a record.
pub fn objects(backend: &dyn StateBackend) -> Result<BTreeSet<ObjectId>> {
    let snapshot = backend.snapshot();
    let mut objects = BTreeSet::new();
    for tag in [JOB, TABLE, SOURCE, DELIVERY, FAILED, SUBSCRIPTION, BACKFILL] {
        let range = (Bound::Included(tag), Bound::Excluded(&after_prefix(tag)[..]));
        for (key, _) in snapshot.range(Keyspace::Meta, range.0, range.1, usize::MAX)? {
            let id = key.get(tag.len()..tag.len() + 4).and_then(|id| id.try_into().ok());
            objects
                .insert(ObjectId(u32::from_be_bytes(id.ok_or_else(|| Error::corrupted("a record's key"))?)));
        }
    }
    Ok(objects)
}

fn tagged(tag: &[u8], id: u32) -> Vec<u8> {
    [tag, &id.to_be_bytes()].concat()
}

/// Encodes a record.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![VERSION];
    bytes.extend(postcard::to_allocvec(record).map_err(Error::internal)?);
    Ok(bytes)
}

/// Reads a record; `None` when it was never written.
pub fn load<T: DeserializeOwned>(backend: &dyn StateBackend, key: &[u8]) -> Result<Option<T>> {
    let Some(bytes) = backend.point(Keyspace::Meta, key)? else { return Ok(None) };
    let (version, body) =
        bytes.split_first().ok_or_else(|| Error::corrupted("an empty checkpoint record"))?;
    if *version != VERSION {
        let text = format!("checkpoint record of format {version}; this server reads format {VERSION}");
        return Err(Error::corrupted(text));
    }
    postcard::from_bytes(body).map(Some).map_err(|e| Error::corrupted(format!("checkpoint record: {e}")))
}

/// The record of a job in the middle of its backfill; `None` also for the mark of one that can't go on.
pub fn load_backfill(backend: &dyn StateBackend, job: JobId) -> Result<Option<BackfillRecord>> {
    let key = backfill_key(job);
    match backend.point(Keyspace::Meta, &key)? {
        Some(record) if !record.is_empty() => load(backend, &key),
        _ => Ok(None),
    }
}

/// The State key prefix of a job.
pub fn job_state_prefix(job: JobId) -> Vec<u8> {
    job.0.to_be_bytes().to_vec()
}

/// The State key prefix of one key group of one state table.
pub fn group_prefix(job: JobId, operator: OperatorId, table: StateTable, group: KeyGroup) -> Vec<u8> {
    let mut key = Vec::with_capacity(15);
    key.extend(job.0.to_be_bytes());
    key.extend(operator.0.to_be_bytes());
    key.push(table.0);
    key.extend(group.0.to_be_bytes());
    key
}

/// The Changelog key of an entry; entries of a relation sort by epoch.
pub fn changelog_key(relation: ObjectId, epoch: Epoch, sequence: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    key.extend(relation.0.to_be_bytes());
    key.extend(epoch.0.to_be_bytes());
    key.extend(sequence.to_be_bytes());
    key
}

/// The epoch in a Changelog key.
pub fn changelog_epoch(key: &[u8]) -> Option<Epoch> {
    Some(Epoch(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?)))
}

/// The Changelog key of an epoch's time.
pub fn changelog_time_key(relation: ObjectId, epoch: Epoch) -> Vec<u8> {
    changelog_key(relation, epoch, u32::MAX)
}

/// Whether a Changelog key is that of an epoch's time.
pub fn is_changelog_time(key: &[u8]) -> bool {
    key.ends_with(&u32::MAX.to_be_bytes())
}

/// The first key after all keys with this prefix.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}
