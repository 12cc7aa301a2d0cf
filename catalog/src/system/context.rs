//! `SystemContext`: everything a virtual table may show, gathered by the session layer before a statement
//! reads one. Plain data; times are microseconds since 1970-01-01 UTC.

use std::sync::Arc;

use weir_common::{Epoch, Error, JobId, ObjectId};

use crate::snapshot::{CatalogSnapshot, ROLE};

/// What the virtual tables are made from.
#[derive(Clone, Debug)]
pub struct SystemContext {
    /// The objects.
    pub catalog: Arc<CatalogSnapshot>,
    /// The session's user.
    pub user: String,
    /// When the server started.
    pub started_at: i64,
    /// The session's settings (`pg_settings`).
    pub settings: Vec<Setting>,
    /// The sessions (`pg_stat_activity`).
    pub activity: Vec<Activity>,
    /// The session's prepared statements (`pg_prepared_statements`).
    pub prepared_statements: Vec<PreparedStatement>,
    /// The jobs (`sys.jobs`).
    pub jobs: Vec<JobRow>,
    /// The jobs in their first epoch (`sys.backfill`).
    pub backfills: Vec<BackfillRow>,
    /// How far event time is (`sys.watermarks`).
    pub watermarks: Vec<WatermarkRow>,
    /// The sources (`sys.sources`).
    pub sources: Vec<SourceRow>,
    /// The checkpoints that are kept (`sys.checkpoints`).
    pub checkpoints: Vec<CheckpointRow>,
    /// Rows and bytes of the stored relations.
    pub relation_sizes: Vec<RelationSize>,
}

/// A setting of the session.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// As in `SHOW name`.
    pub name: String,
    /// Its value now.
    pub value: String,
    /// Its value without `SET`.
    pub default: String,
    /// One line.
    pub description: String,
}

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// The number a client sees as the backend's process id.
    pub pid: i32,
    /// Its user.
    pub user: String,
    /// `application_name`.
    pub application_name: String,
    /// The client's address; `None` when it is not a network client.
    pub client_addr: Option<String>,
    /// The client's port.
    pub client_port: Option<i32>,
    /// When it connected.
    pub backend_start: i64,
    /// When its transaction began; `None` outside one.
    pub xact_start: Option<i64>,
    /// When its current or last statement began.
    pub query_start: Option<i64>,
    /// When `state` last changed.
    pub state_change: Option<i64>,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`.
    pub state: String,
    /// Its current or last statement.
    pub query: String,
}

/// A prepared statement of the session.
#[derive(Clone, Debug, Default)]
pub struct PreparedStatement {
    /// Its name.
    pub name: String,
    /// Its text.
    pub statement: String,
    /// When it was prepared.
    pub prepared_at: i64,
    /// The types of its parameters, by OID.
    pub parameter_types: Vec<u32>,
    /// Whether `PREPARE` made it, not the protocol.
    pub from_sql: bool,
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Its number, which is its object's.
    pub job: JobId,
    /// Its object's name.
    pub name: String,
    /// `materialized view` or `sink`.
    pub kind: String,
    /// `starting`, `running`, `failed`.
    pub state: String,
    /// Why it failed.
    pub error: Option<Error>,
    /// The last epoch it has finished.
    pub epoch: Epoch,
    /// Rows read since the server started.
    pub rows_in: u64,
    /// Rows written since the server started.
    pub rows_out: u64,
    /// Rows left out by an `ON ERROR` policy.
    pub rows_skipped: u64,
    /// Changes left out because they came too late.
    pub rows_late: u64,
    /// Groups that came again after the job had forgotten them.
    pub expired_hits: u64,
    /// Bytes of its operators' state.
    pub state_bytes: u64,
    /// When it was started.
    pub started_at: Option<i64>,
}

/// A job that works on what its inputs held when it began.
#[derive(Clone, Debug)]
pub struct BackfillRow {
    /// Its number, which is its object's.
    pub job: JobId,
    /// Its object's name.
    pub name: String,
    /// `waiting` for its inputs, `reading` them, `finishing`.
    pub stage: &'static str,
    /// Rows read so far.
    pub rows_done: u64,
    /// Rows altogether, as far as is known.
    pub rows_total: u64,
    /// When it was created.
    pub started_at: i64,
    /// When everything is likely to be read; `None` while nothing can be said.
    pub eta: Option<i64>,
}

/// The event time of an input of a job, or the watermark of a column of its view.
#[derive(Clone, Debug)]
pub struct WatermarkRow {
    pub job: JobId,
    /// Its object's name.
    pub name: String,
    /// The input, or the view itself.
    pub relation: ObjectId,
    /// The position of the column.
    pub column: usize,
    /// Of a source.
    pub split: Option<String>,
    /// `None` before there is one.
    pub event_time: Option<i64>,
    /// Nothing comes there, so nobody waits for it.
    pub is_idle: bool,
    /// Of an input: whether a watermark of the job would advance if this one did.
    pub blocks: Option<bool>,
}

/// A source.
#[derive(Clone, Debug, Default)]
pub struct SourceRow {
    /// Its object.
    pub id: Option<ObjectId>,
    /// Its name.
    pub name: String,
    /// `WITH (connector = …)`.
    pub connector: String,
    /// How far it has read, in the connector's words.
    pub offsets: String,
    /// Rows read since the server started.
    pub rows: u64,
    /// Records left out.
    pub skipped: u64,
    /// Why it stopped.
    pub error: Option<String>,
}

/// A checkpoint.
#[derive(Clone, Debug, Default)]
pub struct CheckpointRow {
    /// The epoch it holds.
    pub epoch: Epoch,
    /// When it became durable.
    pub completed_at: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// Bytes it wrote.
    pub bytes: u64,
}

/// Size of a stored relation.
#[derive(Clone, Copy, Debug)]
pub struct RelationSize {
    /// The table or materialized view.
    pub id: ObjectId,
    /// Rows, estimated.
    pub rows: u64,
    /// Bytes, estimated.
    pub bytes: u64,
    /// Batches of changes that are kept for readers.
    pub backlog: u64,
}

impl SystemContext {
    /// A context with these objects and nothing running.
    pub fn new(catalog: Arc<CatalogSnapshot>) -> SystemContext {
        SystemContext {
            catalog,
            user: ROLE.to_owned(),
            started_at: 0,
            settings: Vec::new(),
            activity: Vec::new(),
            prepared_statements: Vec::new(),
            jobs: Vec::new(),
            backfills: Vec::new(),
            watermarks: Vec::new(),
            sources: Vec::new(),
            checkpoints: Vec::new(),
            relation_sizes: Vec::new(),
        }
    }

    /// The size of a stored relation, when it is known.
    pub fn relation_size(&self, id: ObjectId) -> Option<RelationSize> {
        self.relation_sizes.iter().find(|size| size.id == id).copied()
    }
}
