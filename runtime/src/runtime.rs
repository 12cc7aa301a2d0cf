//! `Runtime`: what the session layer calls.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use weir_common::config::EngineConfig;
use weir_common::seam::{Clock, FileSystem};
use weir_common::{Epoch, Error, JobId, MemoryWatch, ObjectId, RelationSchema, Result, SqlState};
use weir_connector::Sink;
use weir_exec::event_time::EventTime;
use weir_storage::backend::StateBackend;
use weir_storage::log::Log;
use weir_storage::rocks::RocksBackend;
use weir_storage::spill::Spill;

use crate::checkpoint::{CheckpointEvent, Checkpointer};
use crate::commit::TableWrite;
use crate::dataflow::Workers;
use crate::engine::{Engine, State};
use crate::graph::JobGraph;
use crate::job::{JobEntry, JobState, JobStatus, Output, SourceStatus};
use crate::memory::{Governor, Relief};
use crate::meta::SourceRecord;
use crate::outbox::has_delivered;
use crate::recovery::{Recovered, SourceSpec, TableSpec, add_table, install, log_dir, orphans, recover};
use crate::restart::{RestartEvent, Restarter, failed_between_steps};
use crate::sequencer::{Request, Sequencer};
use crate::source::SourceState;
use crate::start::{ready_starts, register_fresh};
use crate::steps::Steps;
use crate::watermark_status::{self, WatermarkStatus};

/// Part of the memory limit that the state backend takes for itself, and the most it takes.
const BACKEND_SHARE: usize = 8;
const BACKEND_BYTES_MAX: usize = 320 << 20;

/// The outside world.
pub struct RuntimeSeams {
    pub clock: Arc<dyn Clock>,
    pub fs: Arc<dyn FileSystem>,
    /// Its limit is that of the configuration.
    pub memory: Arc<MemoryWatch>,
}

/// A relation's figures.
#[derive(Clone, Debug)]
pub struct RelationStatus {
    pub relation: ObjectId,
    pub memory_bytes: usize,
    pub rows_estimate: u64,
    /// Batches kept for readers that have no checkpoint behind them.
    pub backlog_batches: usize,
}

/// The running engine below SQL.
pub struct Runtime {
    pub(crate) engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop_governor: crossbeam_channel::Sender<()>,
}

impl Runtime {
    /// Opens the durable state under `config.data_dir`, recovers, and starts the threads. The caller holds the
    /// folder's lock.
    pub fn open(config: EngineConfig, seams: RuntimeSeams, recovered: Recovered) -> Result<Arc<Runtime>> {
        fail::fail_point!(weir_common::failpoint::RECOVERY_BEFORE_STATE);
        let memory = (config.memory_limit_bytes / BACKEND_SHARE).min(BACKEND_BYTES_MAX);
        let backend = Arc::new(RocksBackend::open(config.data_dir.join("state"), memory)?);
        let spill = Spill::open(seams.fs.clone(), config.data_dir.join("spill").join("changes"))?;
        let log = Log::open(seams.fs.clone(), log_dir(&config.data_dir))?;
        check_state_is_whole(&config.data_dir.join("state"), backend.version(), log.state_version())?;
        let (requests, sequencer_inbox) = crossbeam_channel::unbounded();
        let (checkpoints, checkpoint_inbox) = crossbeam_channel::unbounded();
        let (restarts, restart_inbox) = crossbeam_channel::unbounded();
        let engine = Arc::new(Engine {
            config,
            clock: seams.clock,
            fs: seams.fs,
            memory: seams.memory,
            spill,
            relief: Relief::default(),
            backend,
            state: Mutex::new(State::default()),
            workers: Workers::default(),
            sequencer: requests,
            checkpoints,
            restarts,
            progress: watch::Sender::new(0),
        });
        let orphans = orphans(engine.backend.as_ref(), &recovered)?;
        let (restored, dirty) = recover(&engine, &log, recovered)?;
        fail::fail_point!(weir_common::failpoint::RECOVERY_BEFORE_INSTALL);
        Workers::start(&engine)?;
        install(&engine, restored);
        let sequencer = Sequencer::new(engine.clone(), log, sequencer_inbox, dirty);
        let checkpointer = Checkpointer::new(engine.clone(), checkpoint_inbox);
        let restarter = Restarter::new(engine.clone(), restart_inbox);
        let (stop_governor, governor_inbox) = crossbeam_channel::bounded(1);
        let governor = Governor::new(engine.clone(), governor_inbox);
        let threads = vec![
            spawn("sequencer", move || sequencer.run())?,
            spawn("checkpointer", move || checkpointer.run())?,
            spawn("restarter", move || restarter.run())?,
            spawn("governor", move || governor.run())?,
        ];
        if !orphans.is_empty() {
            fail::fail_point!(weir_common::failpoint::RECOVERY_BEFORE_ERASE);
            tracing::info!(count = orphans.len(), "removing what objects left that do not exist any more");
            engine.checkpoint_event(CheckpointEvent::Erase { objects: orphans, done: oneshot::channel().0 });
        }
        Ok(Arc::new(Runtime { engine, threads: Mutex::new(threads), stop_governor }))
    }

    /// Adds an empty table; its changes are visible from the next epoch on.
    pub fn create_table(&self, table: TableSpec) -> Result<()> {
        add_table(&self.engine, &mut self.engine.state.lock(), table).map(|_| ())
    }

    /// Gives a table columns at the end, which are NULL in every row there is, other names, or takes such columns away
    /// again. Jobs that read it do not notice.
    pub fn alter_table(&self, id: ObjectId, schema: RelationSchema) -> Result<()> {
        let state = self.engine.state.lock();
        let missing =
            || Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"));
        state.relations.get(&id).ok_or_else(missing)?.store.alter(schema)
    }

    /// Adds a source; nothing is read until a job reads it.
    pub fn create_source(&self, source: SourceSpec) -> Result<()> {
        let state = SourceState::restored(source, SourceRecord::default());
        self.engine.state.lock().sources.insert(state.id, state);
        Ok(())
    }

    /// Starts a job and waits until its output is complete as of its first epoch. On an error nothing is left.
    pub async fn create_job(&self, graph: JobGraph, sink: Option<Arc<dyn Sink>>) -> Result<()> {
        self.bind_sources(&graph).await?;
        let event_times = graph.event_times();
        if event_times.contains(&EventTime::CLOCK) {
            self.tick().await?;
        }
        let remembers =
            graph.looks_up() || graph.forgets() || event_times.iter().any(|time| *time != EventTime::CLOCK);
        let job = graph.job;
        let starts = {
            let mut state = self.engine.state.lock();
            register_fresh(&self.engine, &mut state, graph, sink, Steps::Many)?;
            ready_starts(&mut state)
        };
        starts.into_iter().for_each(|start| start.install(&self.engine));
        // The sequencer sleeps while no source has a reader.
        self.engine.request(Request::Demand);
        // Its first checkpoint comes soon even if nothing else happens. One whose result depends on when rows came, since
        // some come late or find what is there then, must not begin anew after a crash: it waits for that checkpoint.
        self.engine.request(if remembers { Request::Checkpoint } else { Request::Touch });
        let mut result = self.engine.started(job).await;
        let again = |state: &State| state.jobs.get(&job).is_some_and(failed_between_steps);
        if result.is_err() && again(&self.engine.state.lock()) {
            result = self.engine.restart_job(job).await;
        }
        if result.is_ok() && remembers {
            result = self.engine.recorded(job).await;
        }
        if result.is_err() {
            self.drop_objects(&[ObjectId(job.0)]).await?;
        }
        result
    }

    /// Closes an epoch, which has the time of now.
    async fn tick(&self) -> Result<()> {
        let (reply, ticked) = oneshot::channel();
        self.engine.request(Request::Tick { reply });
        ticked.await.map(drop).map_err(|_| shutting_down())
    }

    /// What sources hold now belongs to the snapshot of a job that reads them.
    async fn bind_sources(&self, graph: &JobGraph) -> Result<()> {
        for node in &graph.nodes {
            if let crate::graph::JobNodeKind::Source { source, .. } = &node.kind {
                self.bind(Some(*source)).await?;
                let state = self.engine.state.lock();
                if let Some(error) = state.sources.get(source).and_then(|s| s.error()) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn bind(&self, source: Option<ObjectId>) -> Result<Epoch> {
        let (reply, bound) = oneshot::channel();
        self.engine.request(Request::Bind { source, reply });
        bound.await.map_err(|_| shutting_down())
    }

    /// Ends jobs, and removes relations and sources with their durable state.
    pub async fn drop_objects(&self, ids: &[ObjectId]) -> Result<()> {
        let (gone, mut all_gone) = tokio::sync::mpsc::channel(1);
        {
            let mut state = self.engine.state.lock();
            for id in ids {
                if let Some(entry) = state.jobs.remove(&JobId(id.0)) {
                    entry.job.relations().for_each(|r| r.unsubscribe(entry.job.id));
                    entry.job.sources().for_each(|s| s.unsubscribe(entry.job.id));
                    self.engine.workers.drop_job(entry.job.id, Some(gone.clone()));
                    state.starts.retain(|start| start.job.id.0 != id.0);
                }
                state.sources.remove(id);
                state.forget_index(*id);
                state.indexes.remove(id);
                state.idle_tables.remove(id);
                state.relations.remove(id);
            }
        }
        drop(gone);
        // `None` comes when every worker has let go of its clone.
        let _ = all_gone.recv().await;
        let (done, erased) = oneshot::channel();
        self.engine.checkpoint_event(CheckpointEvent::Erase { objects: ids.to_vec(), done });
        self.engine.notify();
        erased.await.map_err(|_| shutting_down())
    }

    /// Applies the writes in one epoch, atomically. When it returns they are durable and visible. 23505 when a
    /// primary key would stand twice; then nothing is applied.
    pub async fn commit(&self, writes: Vec<TableWrite>) -> Result<Epoch> {
        self.commit_with(writes, None).await
    }

    /// As [`Runtime::commit`], with what this transaction prepared in the catalog: after a crash
    /// [`crate::has_committed`] knows it, until [`Runtime::catalog_committed`] is called.
    pub async fn commit_with(&self, writes: Vec<TableWrite>, catalog: Option<u32>) -> Result<Epoch> {
        let (reply, done) = oneshot::channel();
        self.engine.request(Request::Commit { writes, catalog, delivered: None, reply });
        done.await.map_err(|_| shutting_down())?
    }

    /// The catalog itself knows now of the transaction that was committed with it.
    pub fn catalog_committed(&self) {
        self.engine.request(Request::CatalogCommitted);
    }

    /// Takes in what sources have now, a bounded generator to its end, and waits until every healthy job reflects
    /// it and all commits so far.
    pub async fn flush(&self) -> Result<()> {
        let drained = |state: &State| (!state.sources.values().any(|s| s.is_draining())).then_some(());
        self.engine.wait_until(drained).await?;
        self.bind(None).await?;
        // What a sink writes into a table is more for the jobs that read the table.
        let mut rounds = 1 + self.engine.state.lock().jobs.values().filter(|e| is_into_table(e)).count();
        let mut needs = Vec::new();
        while rounds > 0 {
            let now: Vec<_> = self.engine.state.lock().jobs.values().map(|e| (e.job.id, e.need)).collect();
            if now == needs {
                break;
            }
            needs = now;
            self.engine
                .wait_until(|state| needs.iter().all(|need| has_passed(state, *need)).then_some(()))
                .await?;
            rounds -= 1;
        }
        Ok(())
    }

    /// Lets a job work on what is committed, and then rest; what comes is kept for it. It goes on after
    /// [`Self::resume_job`] or a restart.
    pub fn pause_job(&self, job: JobId) -> Result<()> {
        let mut state = self.engine.state.lock();
        let limit = state.committed.next();
        let entry = state.jobs.get_mut(&job).ok_or_else(|| missing_job(job))?;
        entry.paused.get_or_insert(limit);
        drop(state);
        self.engine.notify();
        Ok(())
    }

    /// Lets a paused job go on. One that has failed starts afresh, and this waits until it holds what its inputs hold;
    /// its error comes when it fails again.
    pub async fn resume_job(&self, job: JobId) -> Result<()> {
        let has_failed = {
            let mut state = self.engine.state.lock();
            let entry = state.jobs.get_mut(&job).ok_or_else(|| missing_job(job))?;
            entry.paused = None;
            entry.state == JobState::Failed
        };
        if has_failed {
            return self.engine.restart_job(job).await;
        }
        self.engine.workers.pump(&[job]);
        self.engine.notify();
        Ok(())
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<JobStatus> {
        let state = self.engine.state.lock();
        let committed = state.committed;
        let status = |entry: &JobEntry| JobStatus {
            job: entry.job.id,
            name: entry.job.graph.name.clone(),
            state: entry.state,
            is_paused: entry.paused.is_some(),
            error: entry.error.clone(),
            epoch: if entry.is_caught_up() { committed } else { entry.frontier.previous() },
            checkpoint: entry.checkpointed,
            counters: entry.job.metrics.now(),
            state_bytes: entry.job.metrics.state_bytes.load(std::sync::atomic::Ordering::Relaxed),
            started_micros: entry.started_micros,
        };
        state.jobs.values().map(status).collect()
    }

    /// How far event time is for each job: of its inputs, and of its view's columns.
    pub fn watermarks(&self) -> Vec<WatermarkStatus> {
        let state = self.engine.state.lock();
        state.jobs.values().flat_map(|entry| watermark_status::of_job(&entry.job)).collect()
    }

    /// All sources.
    pub fn sources(&self) -> Vec<SourceStatus> {
        let state = self.engine.state.lock();
        let status =
            |s: &Arc<SourceState>| SourceStatus { source: s.id, offsets: s.offsets(), error: s.error() };
        state.sources.values().map(status).collect()
    }

    /// All tables and views.
    pub fn relations(&self) -> Vec<RelationStatus> {
        let state = self.engine.state.lock();
        let status = |r: &Arc<crate::relation::Relation>| RelationStatus {
            relation: r.id,
            memory_bytes: r.store.memory_bytes(),
            rows_estimate: r.store.row_count_estimate(),
            backlog_batches: r.backlog(),
        };
        state.relations.values().map(status).collect()
    }

    /// The last committed epoch.
    pub fn committed(&self) -> Epoch {
        self.engine.state.lock().committed
    }

    /// Whether tables may take rows of so many bytes now, or had better wait for a checkpoint that is to come soon.
    pub fn has_room_for_rows(&self, bytes: usize) -> bool {
        self.engine.has_room_for_rows(bytes)
    }

    /// Bytes that the state backend holds on disk.
    pub fn state_bytes_on_disk(&self) -> u64 {
        self.engine.backend.size_bytes()
    }

    /// Stops all threads. What was acknowledged is durable; the next start goes on from the last checkpoint.
    pub fn shutdown(&self) {
        self.engine.state.lock().is_stopping = true;
        self.engine.notify();
        self.engine.request(Request::Stop);
        self.engine.workers.stop();
        self.engine.checkpoint_event(CheckpointEvent::Stop);
        let _ = self.engine.restarts.send(RestartEvent::Stop);
        let _ = self.stop_governor.try_send(());
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the runtime ended in a panic");
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// XX001 when the state backend has lost writes that the log relies on: damage at the end of its own log looks to it like
/// a write that was never finished.
fn check_state_is_whole(folder: &Path, version: u64, expected: u64) -> Result<()> {
    if version >= expected {
        return Ok(());
    }
    let folder = folder.display();
    let lost = format!("{folder}: writes are missing from its newest .log or MANIFEST file");
    Err(Error::corrupted(lost).with_detail(format!("It is at number {version}, and was at {expected}.")))
}

fn is_into_table(entry: &JobEntry) -> bool {
    matches!(entry.job.output, Output::Table(_))
}

/// Whether a job has worked in everything up to an epoch, and delivered what it made of it; or is gone or rests.
fn has_passed(state: &State, (job, need): (JobId, Epoch)) -> bool {
    state.jobs.get(&job).is_none_or(|entry| {
        let rests = entry.state == JobState::Failed || state.paused_by(entry).is_some();
        rests || (entry.frontier > need && has_delivered(entry, need))
    })
}

fn missing_job(job: JobId) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("job {job} does not exist"))
}

fn shutting_down() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down")
}

/// Starts a thread without which nothing more could be promised: its panic ends the process, which a restart
/// recovers from.
fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            tracing::error!("the {name} thread panicked, the server stops");
            std::process::abort();
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|e| Error::io(format!("start the {name} thread"), &e))
}
