//! Starting a job: the first epoch of a fresh one is the last committed one, its inputs' rows as of then come first. One
//! that goes on with its backfill starts likewise, with state.
//!
//! The inputs are pinned and the changelogs subscribed under the engine's lock, so nothing is missed or seen
//! twice; the job is installed as soon as the views among its inputs are complete as of that epoch.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_common::{Epoch, Error, JobId, ObjectId, Result, SqlState};
use weir_connector::Sink;
use weir_exec::event_time::Reached;
use weir_storage::relation::{RelationPin, RelationStore};

use crate::checkpoint::CheckpointEvent;
use crate::engine::{Engine, State};
use crate::event_time::{EventClock, News};
use crate::graph::{JobGraph, JobNodeKind, JobOutput};
use crate::job::{Beginning, Job, JobEntry, JobInput, JobState, Origin, Output, Start};
use crate::letters::DeadLetters;
use crate::meta::{self, BackfillRecord, Counters, JobRecord};
use crate::operators::watched_output;
use crate::outbox::{Channel, Outbox};
use crate::relation::Relation;
use crate::source::ranges_from_start;
use crate::steps::{StepGate, Steps};
use crate::unread::{Remaining, Unread};

/// A job that waits for its inputs' snapshots.
pub struct PendingStart {
    pub job: Arc<Job>,
    /// For each input that is a relation: its position among the inputs, the pinned rows, and the epoch that
    /// its producing job has to pass first.
    pins: Vec<(usize, RelationPin, Option<Epoch>)>,
}

impl PendingStart {
    /// Resolves the snapshots and gives the job to the workers.
    pub fn install(self, engine: &Engine) {
        for (input, pin, _) in self.pins {
            if let Origin::Relation { snapshot, .. } = &self.job.inputs[input].origin {
                *snapshot.lock() = Some(pin.at(self.job.start.epoch));
            }
        }
        self.job.backfill.begin(&self.job, engine.clock.monotonic());
        engine.workers.install(self.job.clone());
        engine.open_step(&self.job, 0);
    }

    fn is_ready(&self, state: &State) -> bool {
        self.pins.iter().all(|(input, _, need)| {
            let Origin::Relation { relation, .. } = &self.job.inputs[*input].origin else { return true };
            let producer = relation.producer.and_then(|id| state.jobs.get(&id));
            need.is_none_or(|need| producer.is_none_or(|entry| entry.frontier > need))
        })
    }
}

/// Takes the starts whose inputs are complete.
pub fn ready_starts(state: &mut State) -> Vec<PendingStart> {
    let (ready, waiting) = std::mem::take(&mut state.starts).into_iter().partition(|s| s.is_ready(state));
    state.starts = waiting;
    ready
}

/// Registers a fresh job as of now. A sink always takes its snapshot in one step: what it writes is seen.
pub fn register_fresh(
    engine: &Engine,
    state: &mut State,
    graph: JobGraph,
    sink: Option<Arc<dyn Sink>>,
    steps: Steps,
) -> Result<()> {
    let epoch = state.committed;
    let inputs = resolve_inputs(&graph, state, |_, origin| Unread::all_of(origin))?;
    let output = resolve_output(engine, state, &graph, sink, Epoch::ZERO, epoch)?;
    let may_divide = steps == Steps::Many && !graph.looks_up();
    let in_steps = may_divide && matches!(output, Output::Relation(_));
    let gate = in_steps.then(|| StepGate::new(&engine.config, inputs.len()));
    let start = Start { steps: gate, ..Start::at(epoch, Beginning::Fresh) };
    let job = register_start(engine, state, graph, inputs, output, (start, Counters::default()))?;
    job.relations().for_each(|r| r.subscribe(job.id, epoch));
    job.sources().for_each(|s| s.subscribe(job.id, epoch));
    Ok(())
}

/// Registers a job that goes on with its backfill as of now; its inputs have kept what it needs.
pub fn register_resumed(
    engine: &Engine,
    state: &mut State,
    graph: JobGraph,
    record: BackfillRecord,
) -> Result<()> {
    let epoch = state.committed;
    let BackfillRecord { epoch: after, unread, counters, read, marks } = record;
    let inputs = resolve_inputs(&graph, state, |input, _| unread[input].clone())?;
    let output = resolve_output(engine, state, &graph, None, Epoch::ZERO, epoch)?;
    let start = Start {
        steps: Some(StepGate::new(&engine.config, inputs.len()).going_on()),
        state: Mutex::new(Some(engine.backend.snapshot())),
        read,
        ..Start::at(epoch, Beginning::Resumed { after })
    };
    let job = register_start(engine, state, graph, inputs, output, (start, counters))?;
    // They count when the snapshot is through, as if it had been read at once. What is idle the inputs know.
    let of_rows = marks.into_iter().filter(|mark| matches!(mark.news, News::Upto(_)));
    of_rows.for_each(|mark| job.report_source_mark(0, epoch, mark));
    tracing::info!(job = %job.graph.name, rows = job.backfill.rows_done(), "goes on with a backfill");
    Ok(())
}

/// Registers a job that reads snapshots, and pins them.
fn register_start(
    engine: &Engine,
    state: &mut State,
    graph: JobGraph,
    inputs: Vec<JobInput>,
    output: Output,
    (mut start, counters): (Start, Counters),
) -> Result<Arc<Job>> {
    let mut pins = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        if let Origin::Relation { relation, .. } = &input.origin {
            let producer = relation.producer.and_then(|id| Some((id, state.jobs.get(&id)?.need)));
            start.needs.extend(producer);
            pins.push((i, relation.store.pin(), producer.map(|(_, need)| need)));
        }
    }
    let epoch = start.epoch;
    let letters = dead_letters(engine, graph.job)?;
    let limit = engine.config.memory_limit_bytes;
    let job = Job::new(graph, inputs, output, start, counters, letters, limit);
    register(state, JobEntry::new(job.clone(), epoch, Epoch::ZERO, engine.clock.now_micros()));
    state.starts.push(PendingStart { job: job.clone(), pins });
    Ok(job)
}

/// Registers a job that has a checkpoint; the caller installs it.
pub fn register_restored(
    engine: &Engine,
    state: &mut State,
    graph: JobGraph,
    sink: Option<Arc<dyn Sink>>,
    record: JobRecord,
) -> Result<Arc<Job>> {
    let inputs = resolve_inputs(&graph, state, |_, _| Unread::Nothing)?;
    let output = resolve_output(engine, state, &graph, sink, record.epoch, record.epoch)?;
    let snapshot = Mutex::new(Some(engine.backend.snapshot()));
    let start =
        Start { state: snapshot, marks: record.marks, ..Start::at(record.epoch, Beginning::Restored) };
    restore_event_times(&graph, &inputs, &output, &start)?;
    let letters = dead_letters(engine, graph.job)?;
    let limit = engine.config.memory_limit_bytes;
    let job = Job::new(graph, inputs, output, start, record.counters, letters, limit);
    job.relations().for_each(|r| r.subscribe(job.id, record.epoch));
    job.sources().for_each(|s| s.subscribe(job.id, record.epoch));
    let now = engine.clock.now_micros();
    register(state, JobEntry::new(job.clone(), record.epoch, record.epoch, now));
    Ok(job)
}

/// What the columns of a view have come to in event time, after a restart, and what its inputs had at that epoch: of what
/// changed in them since, each change is found again.
fn restore_event_times(graph: &JobGraph, inputs: &[JobInput], output: &Output, start: &Start) -> Result<()> {
    for mark in &start.marks {
        for input in inputs {
            match &input.origin {
                Origin::Relation { relation, .. } if relation.id == mark.time.object => {
                    relation.note_time(mark.time.column, start.epoch, mark.news);
                }
                Origin::Source { source, .. } if source.id == mark.time.object => {
                    source.restore_mark(start.epoch, mark);
                }
                _ => {}
            }
        }
    }
    let Output::Relation(relation) = output else { return Ok(()) };
    for (column, watched) in watched_output(graph, &EventClock::of(&start.marks))? {
        let Reached { value, is_idle } = watched.last();
        let news = value.map(News::Upto).into_iter().chain([News::idle(is_idle)]);
        news.for_each(|news| relation.note_time(column, start.epoch, news));
    }
    Ok(())
}

/// Registers a job that can't run, so that it is seen with its reason.
pub fn register_failed(engine: &Engine, state: &mut State, graph: JobGraph, error: Error) {
    let output = resolve_output(engine, state, &graph, None, Epoch::ZERO, Epoch::ZERO);
    let Ok(output) = output.or_else(|_| Ok::<_, Error>(Output::Nowhere)) else { return };
    let start = Start::at(state.committed, Beginning::Fresh);
    let Ok(letters) = DeadLetters::new(Epoch::ZERO, engine.config.workers) else { return };
    let job = Job::new(graph, Vec::new(), output, start, Counters::default(), letters, 0);
    let reason = matches!(job.graph.output, JobOutput::Table { .. }).then(|| error.clone());
    let mut entry = JobEntry::new(job, state.committed, Epoch::ZERO, engine.clock.now_micros());
    (entry.state, entry.error) = (JobState::Failed, Some(error));
    let job = entry.job.id;
    register(state, entry);
    // The log is not kept for a failed job, so its next start must be a fresh one; a sink into a table has none.
    engine.checkpoint_event(CheckpointEvent::Forget { job, reason });
}

fn register(state: &mut State, entry: JobEntry) {
    if let Output::Relation(relation) = &entry.job.output {
        state.relations.insert(relation.id, relation.clone());
    }
    state.jobs.insert(entry.job.id, entry);
}

fn resolve_inputs(
    graph: &JobGraph,
    state: &State,
    unread: impl Fn(usize, &Origin) -> Unread,
) -> Result<Vec<JobInput>> {
    let mut inputs = Vec::new();
    let shared = graph.shared_inputs();
    for (node, kind) in graph.nodes.iter().map(|n| &n.kind).enumerate() {
        let origin = match kind {
            JobNodeKind::Operator(_) => continue,
            JobNodeKind::Values { ipc } => Origin::Values { ipc: ipc.clone() },
            JobNodeKind::Relation { relation, project } => {
                let relation = healthy_relation(state, *relation)?;
                Origin::Relation { relation, project: project.clone(), snapshot: Mutex::new(None) }
            }
            JobNodeKind::Source { source, project } => {
                let source = state.sources.get(source).cloned().ok_or_else(|| missing_source(*source))?;
                Origin::Source { source, project: project.clone() }
            }
        };
        let is_shared = shared.contains(&node);
        let unread = if is_shared { Unread::Nothing } else { unread(inputs.len(), &origin) };
        inputs.push(JobInput { node, origin, is_shared, remaining: Remaining::new(unread) });
    }
    Ok(inputs)
}

impl Unread {
    /// All that an input holds now.
    fn all_of(origin: &Origin) -> Unread {
        match origin {
            Origin::Source { source, .. } => Unread::Ranges(ranges_from_start(&source.offsets())),
            Origin::Relation { .. } | Origin::Values { .. } => Unread::Everything,
        }
    }
}

/// The relation, unless the job that writes it has failed.
fn healthy_relation(state: &State, id: ObjectId) -> Result<Arc<Relation>> {
    let relation = state.relation(id)?;
    let producer = relation.producer.and_then(|id| state.jobs.get(&id));
    match producer.and_then(|entry| entry.error.as_ref()) {
        Some(error) => Err(failed_input(&relation.name, error)),
        None => Ok(relation.clone()),
    }
}

/// Where the rows go; changes up to `history` are nobody's to read.
fn resolve_output(
    engine: &Engine,
    state: &State,
    graph: &JobGraph,
    sink: Option<Arc<dyn Sink>>,
    checkpoint: Epoch,
    history: Epoch,
) -> Result<Output> {
    match (&graph.output, sink) {
        (JobOutput::Relation { relation, schema }, _) => {
            let store = RelationStore::open(*relation, schema.clone(), engine.backend.clone())?;
            let (name, producer) = (graph.name.clone(), Some(graph.job));
            let changelog = engine.changelog(history);
            let relation = Arc::new(Relation::new(*relation, name, store, producer, checkpoint, changelog));
            state.adopt_indexes(&relation)?;
            Ok(Output::Relation(relation))
        }
        (JobOutput::Sink { .. }, Some(sink)) => {
            sink.recover(checkpoint)?;
            Ok(Output::Sink(sink))
        }
        (JobOutput::Table { .. }, _) => {
            let delivered = delivered(engine, graph.job, Channel::Output)?;
            Ok(Output::Table(Outbox::new(delivered, engine.config.workers)))
        }
        (JobOutput::Sink { sink }, None) => Err(Error::internal(format!("sink {sink} has no connector"))),
    }
}

/// The epoch up to which the last flush of tables holds what a job has delivered; the log knows of later ones.
fn delivered(engine: &Engine, job: JobId, channel: Channel) -> Result<Epoch> {
    Ok(meta::load(engine.backend.as_ref(), &meta::delivery_key(job, channel))?.unwrap_or_default())
}

fn dead_letters(engine: &Engine, job: JobId) -> Result<DeadLetters> {
    DeadLetters::new(delivered(engine, job, Channel::Letters)?, engine.config.workers)
}

fn missing_source(id: ObjectId) -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, format!("source with OID {id} does not exist"))
}

/// The error of whoever wants to read a view whose job has failed.
pub fn failed_input(name: &str, error: &Error) -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("materialized view \"{name}\" has failed: {error}"),
    )
    .with_detail(format!("SQLSTATE {} stopped its job.", error.state().0))
    .with_hint(
        "sys.jobs shows the reason. Correct the data and RESUME the view, or drop it and create it with another query.",
    )
}
