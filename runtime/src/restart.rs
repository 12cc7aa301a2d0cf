//! Restarting failed jobs: by themselves after a fault that may pass, or when they are asked to.
//!
//! An error of the data (a division by zero in some row) comes again until the data is another: such a job stays
//! failed until RESUME, and so does one that was stopped since it takes more memory than there is. A fault of the
//! surroundings (I/O, a panic) may not come again: the job is started
//! afresh after a pause that doubles each time, and stays failed after [`ATTEMPTS`] of them. What failed with a job,
//! since it reads it, is restarted with it. A sink is not: it would write everything again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;
use weir_common::{Epoch, Error, JobId, ObjectId, Result, SqlState};

use crate::checkpoint::CheckpointEvent;
use crate::engine::{Engine, State};
use crate::graph::{JobGraph, JobOutput};
use crate::job::{Job, JobEntry, JobState};
use crate::sequencer::Request;
use crate::start::{ready_starts, register_failed, register_fresh};
use crate::steps::{StepGate, Steps};

/// Pauses before the first and the following restarts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Restarts in a row that are tried.
pub const ATTEMPTS: u32 = 6;
/// A job that ran this long had recovered: the next fault is a new one.
const RECOVERED: Duration = Duration::from_secs(300);

/// What the restarting thread is told.
pub enum RestartEvent {
    /// The job has failed by a fault that may pass.
    Failed(JobId),
    Stop,
}

/// How often a job was restarted in a row, and when last.
#[derive(Clone, Copy, Default)]
struct Attempts {
    count: u32,
    last: Duration,
}

/// Whether the same may go well another time.
pub fn may_pass(error: &Error) -> bool {
    let class = error.state().0.get(..2);
    let lasts = [SqlState::DATA_CORRUPTED, SqlState::OUT_OF_MEMORY].contains(&error.state());
    matches!(class, Some("53" | "58" | "XX")) && !lasts
}

/// The thread that restarts jobs.
pub struct Restarter {
    engine: Arc<Engine>,
    events: Receiver<RestartEvent>,
    due: BTreeMap<JobId, Duration>,
    attempts: BTreeMap<JobId, Attempts>,
}

impl Restarter {
    /// Listens to `events`.
    pub fn new(engine: Arc<Engine>, events: Receiver<RestartEvent>) -> Restarter {
        Restarter { engine, events, due: BTreeMap::new(), attempts: BTreeMap::new() }
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        loop {
            let now = self.engine.clock.monotonic();
            let next = self.due.values().min().map(|due| due.saturating_sub(now));
            let event = match next {
                Some(pause) => self.events.recv_timeout(pause),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(RestartEvent::Failed(job)) => self.plan(job),
                Err(RecvTimeoutError::Timeout) => self.restart_due(),
                Ok(RestartEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn plan(&mut self, job: JobId) {
        let now = self.engine.clock.monotonic();
        let attempts = self.attempts.entry(job).or_default();
        if now.saturating_sub(attempts.last) > RECOVERED {
            attempts.count = 0;
        }
        if attempts.count < ATTEMPTS {
            self.due.insert(job, now + FIRST_PAUSE * 2u32.pow(attempts.count));
            *attempts = Attempts { count: attempts.count + 1, last: now };
        }
    }

    fn restart_due(&mut self) {
        let now = self.engine.clock.monotonic();
        let due: Vec<JobId> = self.due.iter().filter(|(_, at)| **at <= now).map(|(job, _)| *job).collect();
        for job in due {
            self.due.remove(&job);
            // One that was dropped, resumed, or fails again is no concern here.
            match futures::executor::block_on(self.engine.restart_job(job)) {
                Ok(()) => tracing::info!(%job, "restarted a failed job"),
                Err(error) => tracing::info!(%job, "a failed job could not be restarted: {error}"),
            }
        }
    }
}

impl Engine {
    /// Starts a failed job afresh, with those that failed because they read it, and waits until it holds what its
    /// inputs hold. Errors: 55000 for a sink, or while something that the job reads has failed; its own when it fails
    /// again.
    pub async fn restart_job(&self, job: JobId) -> Result<()> {
        let failed = failed_with(&self.state.lock(), job)?;
        self.forget(&failed).await?;
        let starts = {
            let mut state = self.state.lock();
            for (id, graph) in failed {
                let Some(entry) = state.jobs.remove(&id) else {
                    // Dropped meanwhile.
                    continue;
                };
                let steps = if failed_between_steps(&entry) { Steps::One } else { Steps::Many };
                let kept = graph.clone();
                if let Err(error) = register_fresh(self, &mut state, graph, None, steps) {
                    register_failed(self, &mut state, kept, error);
                }
            }
            ready_starts(&mut state)
        };
        starts.into_iter().for_each(|start| start.install(self));
        self.request(Request::Demand);
        self.request(Request::Touch);
        self.notify();
        self.started(job).await
    }

    /// Waits until the job's output is complete as of its first epoch; its error when it fails before. A job that was
    /// dropped meanwhile is as good as started.
    pub async fn started(&self, job: JobId) -> Result<()> {
        self.wait_until(|state| match state.jobs.get(&job) {
            Some(entry) if entry.state == JobState::Starting => None,
            Some(entry) => Some(entry.error.clone().map_or(Ok(()), Err)),
            None => Some(Ok(())),
        })
        .await?
    }

    /// Waits until a checkpoint holds the job. One that fails before or was dropped is not waited for.
    pub async fn recorded(&self, job: JobId) -> Result<()> {
        self.wait_until(|state| match state.jobs.get(&job) {
            Some(entry) if entry.state != JobState::Failed && entry.checkpointed == Epoch::ZERO => None,
            _ => Some(()),
        })
        .await
    }

    /// Waits until no worker knows the jobs any more, and nothing of them is on disk.
    async fn forget(&self, jobs: &[(JobId, JobGraph)]) -> Result<()> {
        let (gone, mut all_gone) = tokio::sync::mpsc::channel(1);
        jobs.iter().for_each(|(job, _)| self.workers.drop_job(*job, Some(gone.clone())));
        drop(gone);
        // `None` comes when every worker has let go of its clone.
        let _ = all_gone.recv().await;
        let (done, erased) = oneshot::channel();
        let objects = jobs.iter().map(|(job, _)| ObjectId(job.0)).collect();
        self.checkpoint_event(CheckpointEvent::Erase { objects, done });
        erased.await.map_err(|_| Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down"))
    }
}

/// The job and the failed views that read it, in order; sinks stay as they are.
fn failed_with(state: &State, job: JobId) -> Result<Vec<(JobId, JobGraph)>> {
    let entry = state.jobs.get(&job).filter(|entry| entry.state == JobState::Failed);
    let Some(entry) = entry else { return Ok(Vec::new()) };
    let cannot = |message: String| Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
    let name = &entry.job.graph.name;
    if matches!(entry.job.graph.output, JobOutput::Sink { .. } | JobOutput::Table { .. }) {
        return Err(cannot(format!("sink \"{name}\" has failed and cannot go on"))
            .with_detail("Started afresh it would write everything again.")
            .with_hint("Drop it and create it again, with a new target."));
    }
    let is_failed = |id: &JobId| state.jobs.get(id).is_some_and(|e| e.state == JobState::Failed);
    let inputs = entry.job.relations().filter_map(|relation| relation.producer);
    if let Some(input) = inputs.into_iter().find(is_failed).and_then(|id| state.jobs.get(&id)) {
        let input = &input.job.graph.name;
        return Err(cannot(format!("materialized view \"{name}\" reads \"{input}\", which has failed"))
            .with_hint(format!("RESUME MATERIALIZED VIEW {input} starts both.")));
    }
    let mut found = vec![job];
    let mut at = 0;
    while at < found.len() {
        let readers = state.readers_of(found[at]);
        found.extend(
            readers.into_iter().filter(|id| is_failed(id) && !found.contains(id)).collect::<Vec<_>>(),
        );
        at += 1;
    }
    found.sort_unstable();
    let graph = |id: &JobId| state.jobs.get(id).map(|entry: &JobEntry| (*id, entry.job.graph.clone()));
    let is_view = |(_, graph): &(JobId, JobGraph)| matches!(graph.output, JobOutput::Relation { .. });
    Ok(found.iter().filter_map(graph).filter(is_view).collect())
}

/// Whether the error may come from a state that the job's inputs never had, between two steps of its backfill.
pub fn is_between_steps(job: &Job, error: &Error) -> bool {
    let by_data = !matches!(error.state().0.get(..2), Some("53" | "57" | "58" | "XX"));
    by_data && job.start.steps.as_ref().is_some_and(StepGate::is_divided)
}

/// Whether the job has failed on such a state.
pub fn failed_between_steps(entry: &JobEntry) -> bool {
    entry.error.as_ref().is_some_and(|error| is_between_steps(&entry.job, error))
}
