//! `Environment`: an open data folder with everything that runs on it.
//!
//! Place in the flow: one a process and folder; sessions are made from it. Invariants: the folder is locked as
//! long as the environment lives; the catalog and the runtime agree (the catalog changes first, and an object
//! whose job could not start is taken out of it again).

use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_catalog::system::{
    Activity, BackfillRow, JobRow, RelationSize, Setting, SourceRow, SystemContext, WatermarkRow,
};
use weir_catalog::{Catalog, CatalogSnapshot, CatalogTransaction, ObjectKind};
use weir_common::config::EngineConfig;
use weir_common::seam::{Clock, FileSystem, OsFileSystem, SystemClock, SystemMemory};
use weir_common::{Epoch, Error, JobId, MemoryWatch, ObjectId, Result, SqlState};
use weir_runtime::{
    BackfillStage, BackfillStatus, JobState, JobStatus, RelationStatus, Runtime, RuntimeSeams, SourceStatus,
    WatermarkStatus,
};
use weir_storage::DataDir;

use crate::activity::Activities;
use crate::caller::Building;
use crate::deliveries::Deliveries;
use crate::indexes::IndexKeys;
use crate::locks::TableLocks;
use crate::query::BatchEngine;
use crate::recovery::{Broken, recover};
use crate::session::{Session, SessionOptions};

/// How long a statement waits for memory, and how often it looks.
const PATIENCE_FOR_MEMORY: Duration = Duration::from_secs(10);
const MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// The engine on one data folder.
pub struct Environment {
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) batch: BatchEngine,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) memory: Arc<MemoryWatch>,
    /// Held by the one DDL statement that runs.
    pub(crate) ddl: Arc<tokio::sync::Mutex<()>>,
    pub(crate) locks: TableLocks,
    pub(crate) activities: Activities,
    pub(crate) index_keys: IndexKeys,
    pub(crate) building: Building,
    pub(crate) deliveries: Deliveries,
    /// Itself, for what works in the background.
    pub(crate) me: Weak<Environment>,
    broken: Broken,
    started_at: i64,
    /// Last, so that the folder is unlocked when everything else is gone.
    _data_dir: DataDir,
}

impl Environment {
    /// Waits, for a while, until there is memory for somebody who holds `bytes`: checkpoints let go of some. 53200 when
    /// it stays short.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<()> {
        let patience = self.clock.monotonic() + PATIENCE_FOR_MEMORY;
        loop {
            let admitted = self.memory.admit(bytes);
            let may_wait = self.clock.monotonic() < patience;
            if !may_wait || (admitted.is_ok() && self.runtime.has_room_for_rows(bytes)) {
                return admitted;
            }
            tokio::time::sleep(MEMORY_PAUSE).await;
        }
    }

    /// Opens the data folder of the configuration, creating it when missing, and starts every job in it.
    /// Errors: 55006 when another process has it open, XX001 when what is in it is damaged.
    pub fn open(config: EngineConfig) -> Result<Arc<Environment>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
        let data_dir = DataDir::open(&config.data_dir)?;
        let committed = |transaction: CatalogTransaction| {
            weir_runtime::has_committed(Arc::clone(&fs), &config.data_dir, transaction.0)
        };
        let catalog = Arc::new(Catalog::recover(Arc::clone(&fs), &config.data_dir, committed)?);
        let (recovered, broken) = recover(&catalog.snapshot(), &fs);
        let memory = MemoryWatch::new(config.memory_limit_bytes, Arc::new(SystemMemory::default()));
        let seams =
            RuntimeSeams { clock: Arc::clone(&clock), fs: Arc::clone(&fs), memory: Arc::clone(&memory) };
        let runtime = Runtime::open(config.clone(), seams, recovered)?;
        let batch = BatchEngine::new(&config, &memory)?;
        let env = Arc::new_cyclic(|me| Environment {
            me: me.clone(),
            batch,
            memory,
            started_at: clock.now_micros(),
            config,
            catalog,
            runtime,
            clock,
            fs,
            ddl: Arc::default(),
            locks: TableLocks::default(),
            activities: Activities::default(),
            index_keys: IndexKeys::default(),
            building: Building::default(),
            deliveries: Deliveries::default(),
            broken,
            _data_dir: data_dir,
        });
        env.deliveries.start_all(&env)?;
        Ok(env)
    }

    /// A new session. Errors: 3D000 for another database, and those of its startup parameters.
    pub fn session(self: &Arc<Self>, options: SessionOptions) -> Result<Session> {
        Session::start(Arc::clone(self), options)
    }

    /// Stops all jobs and waits for what is being written. Nothing acknowledged is lost by not calling it.
    pub fn shutdown(&self) {
        self.runtime.shutdown();
        self.deliveries.join();
    }

    /// The sessions that are connected.
    pub fn activity(&self) -> Vec<Activity> {
        self.activities.rows()
    }

    /// Why an object does not run since the start; whoever reads it gets this.
    pub(crate) fn check_not_broken(&self, catalog: &CatalogSnapshot, id: ObjectId) -> Result<()> {
        let Some(reason) = self.broken.get(&id) else { return Ok(()) };
        let (noun, name) = catalog.object(id).map_or(("relation", ""), |o| (o.kind.noun(), o.name.as_str()));
        Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{noun} \"{name}\" is not running: {reason}"),
        )
        .with_hint("Drop and create it again, or restart the server when the reason is gone."))
    }

    /// What virtual tables show, for a session with these settings.
    pub(crate) fn system_context(
        &self,
        catalog: Arc<CatalogSnapshot>,
        user: &str,
        settings: Vec<Setting>,
    ) -> SystemContext {
        let broken = self.broken.iter().filter(|(id, _)| catalog.object(**id).is_some());
        let mut jobs: Vec<JobRow> = self.runtime.jobs().iter().map(|job| job_row(&catalog, job)).collect();
        jobs.extend(broken.filter_map(|(id, reason)| broken_job_row(&catalog, *id, reason)));
        SystemContext {
            user: user.to_string(),
            started_at: self.started_at,
            settings,
            activity: self.activity(),
            jobs,
            sources: self.runtime.sources().iter().map(|source| source_row(&catalog, source)).collect(),
            relation_sizes: self.relation_sizes(),
            backfills: self.backfill_rows(),
            watermarks: self.watermark_rows(),
            ..SystemContext::new(catalog)
        }
    }

    fn backfill_rows(&self) -> Vec<BackfillRow> {
        let now = self.clock.now_micros();
        let row = |status: BackfillStatus| BackfillRow {
            job: status.job,
            name: status.name,
            stage: match status.stage {
                BackfillStage::Waiting => "waiting",
                BackfillStage::Reading => "reading",
                BackfillStage::Finishing => "finishing",
            },
            rows_done: status.rows_done,
            rows_total: status.rows_total,
            started_at: status.started_micros,
            eta: status.remaining.map(|left| now + left.as_micros() as i64),
        };
        self.runtime.backfills().into_iter().map(row).collect()
    }

    fn watermark_rows(&self) -> Vec<WatermarkRow> {
        let row = |status: WatermarkStatus| WatermarkRow {
            job: status.job,
            name: status.name,
            relation: status.time.object,
            column: status.time.column,
            split: status.split,
            event_time: status.event_time,
            is_idle: status.is_idle,
            blocks: status.blocks,
        };
        self.runtime.watermarks().into_iter().map(row).collect()
    }

    fn relation_sizes(&self) -> Vec<RelationSize> {
        let size = |status: RelationStatus| RelationSize {
            id: status.relation,
            rows: status.rows_estimate,
            bytes: status.memory_bytes as u64,
            backlog: status.backlog_batches as u64,
        };
        self.runtime.relations().into_iter().map(size).collect()
    }
}

impl Drop for Environment {
    /// Threads that deliver hold the runtime: they end first.
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn job_row(catalog: &CatalogSnapshot, status: &JobStatus) -> JobRow {
    JobRow {
        job: status.job,
        name: status.name.clone(),
        kind: job_kind(catalog, ObjectId(status.job.0)),
        state: match status.state {
            JobState::Failed => "failed",
            _ if status.is_paused => "paused",
            JobState::Starting => "starting",
            JobState::Running => "running",
        }
        .to_string(),
        error: status.error.clone(),
        epoch: status.epoch,
        rows_in: status.counters.rows_in,
        rows_out: status.counters.rows_out,
        rows_skipped: status.counters.rows_skipped,
        rows_late: status.counters.rows_late,
        expired_hits: status.counters.expired_hits,
        state_bytes: u64::try_from(status.state_bytes).unwrap_or(0),
        started_at: Some(status.started_micros),
    }
}

fn job_kind(catalog: &CatalogSnapshot, id: ObjectId) -> String {
    catalog.object(id).map_or("", |object| object.kind.noun()).to_string()
}

/// A job that could not be started is listed as failed.
fn broken_job_row(catalog: &CatalogSnapshot, id: ObjectId, reason: &Error) -> Option<JobRow> {
    let object = catalog.object(id)?;
    if !matches!(object.kind, ObjectKind::MaterializedView(_) | ObjectKind::Sink(_)) {
        return None;
    }
    Some(JobRow {
        job: JobId(id.0),
        name: object.name.clone(),
        kind: object.kind.noun().to_string(),
        state: "failed".to_string(),
        error: Some(reason.clone()),
        epoch: Epoch::ZERO,
        rows_in: 0,
        rows_out: 0,
        rows_skipped: 0,
        rows_late: 0,
        expired_hits: 0,
        state_bytes: 0,
        started_at: None,
    })
}

fn source_row(catalog: &CatalogSnapshot, status: &SourceStatus) -> SourceRow {
    let object = catalog.object(status.source);
    let connector = object.and_then(|object| match &object.kind {
        ObjectKind::Source(source) => source.options.get("connector").cloned(),
        _ => None,
    });
    SourceRow {
        id: Some(status.source),
        name: object.map_or_else(String::new, |o| o.name.clone()),
        connector: connector.unwrap_or_default(),
        offsets: serde_json::to_string(&status.offsets).unwrap_or_default(),
        rows: 0,
        skipped: 0,
        error: status.error.as_ref().map(ToString::to_string),
    }
}
