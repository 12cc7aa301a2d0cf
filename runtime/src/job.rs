//! `Job`: a continuous job at run time, as all workers share it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_common::{Epoch, Error, JobId};
use weir_connector::Sink;
use weir_exec::event_time::EventTime;
use weir_exec::operator::{OpenContext, SharedRows, StateLookup, StateReader};
use weir_storage::backend::StateSnapshot;
use weir_storage::relation::RelationSnapshot;

use crate::backfill::Backfill;
use crate::edges::Edges;
use crate::event_time::{Mark, SplitTimes};
use crate::fragments::fragments;
use crate::graph::JobGraph;
use crate::letters::DeadLetters;
use crate::meta::{Counters, SnapshotRead};
use crate::metrics::Metrics;
use crate::moment::Moment;
use crate::outbox::{Channel, Outbox};
use crate::relation::Relation;
use crate::source::SourceState;
use crate::steps::StepGate;
use crate::unread::Remaining;

/// Whether a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its first epoch, the snapshot of its inputs, is not through yet.
    Starting,
    Running,
    /// Stopped by an error of its own; everybody else goes on.
    Failed,
}

/// A job, immutable but for its counters.
pub struct Job {
    pub id: JobId,
    pub graph: JobGraph,
    /// In the order of the graph's input nodes.
    pub inputs: Vec<JobInput>,
    pub output: Output,
    pub start: Start,
    pub metrics: Metrics,
    /// Rows on their way between its nodes.
    pub edges: Edges,
    /// How far a fresh one is with its first epoch.
    pub backfill: Backfill,
    /// Rows that it has left out.
    pub letters: DeadLetters,
    /// The event times that its operators and its output depend on, and how far each is.
    pub event_times: Vec<EventTime>,
    pub split_times: SplitTimes,
    /// Of each fragment and worker that waits for a moment of the clock: which.
    deadlines: Mutex<BTreeMap<(usize, usize), i64>>,
    /// Of each worker: what its feeds of sources have found, and the job has not been told yet.
    source_marks: Vec<Mutex<Vec<(Epoch, Mark)>>>,
    /// Checkpoints that were declared, ascending; hosts take those that their frontier has passed.
    declared: Mutex<Vec<Epoch>>,
    /// How many workers have opened it.
    opened: AtomicUsize,
}

/// An input node of the graph, resolved.
pub struct JobInput {
    /// Position of the node in the graph.
    pub node: usize,
    pub origin: Origin,
    /// Whether its rows are looked up where they are: only its changes are read.
    pub is_shared: bool,
    /// What of its snapshot is still to be read.
    pub remaining: Remaining,
}

/// Where an input's rows come from.
pub enum Origin {
    /// `snapshot` is there until the workers have opened a job that reads it: the rows as of the start epoch.
    Relation {
        relation: Arc<Relation>,
        project: Vec<usize>,
        snapshot: Mutex<Option<RelationSnapshot>>,
    },
    Source {
        source: Arc<SourceState>,
        project: Vec<usize>,
    },
    Values {
        ipc: Vec<u8>,
    },
}

/// Where the last node's rows go.
pub enum Output {
    Relation(Arc<Relation>),
    Sink(Arc<dyn Sink>),
    Table(Arc<Outbox>),
    /// Of a job that could not be put together.
    Nowhere,
}

/// What a job begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// No state: the snapshots of its inputs come first.
    Fresh,
    /// State that holds a part of the inputs as of an earlier epoch: what they changed in it since comes first, then the
    /// rest of their snapshots. See [`crate::resume`].
    Resumed { after: Epoch },
    /// State of the whole start epoch.
    Restored,
}

/// What a job starts from.
pub struct Start {
    /// The state as of this epoch is there (restored), or is made with the inputs' snapshots.
    pub epoch: Epoch,
    pub beginning: Beginning,
    /// Of a job that may take its snapshot in steps.
    pub steps: Option<StepGate>,
    /// Holds the operators' state of a job that has some, until they have loaded it.
    pub state: Mutex<Option<Arc<dyn StateSnapshot>>>,
    /// The jobs whose views it reads a snapshot of, and the last epoch up to the start in which each may have changed.
    pub needs: Vec<(JobId, Epoch)>,
    /// What it has read of snapshots before.
    pub read: SnapshotRead,
    /// How far event time was.
    pub marks: Vec<Mark>,
}

impl Start {
    /// A start without state or steps.
    pub fn at(epoch: Epoch, beginning: Beginning) -> Start {
        let (state, read) = (Mutex::new(None), SnapshotRead::default());
        Start { epoch, beginning, steps: None, state, needs: Vec::new(), read, marks: Vec::new() }
    }

    /// Whether it reads snapshots of its inputs, as of the start epoch.
    pub fn reads_snapshots(&self) -> bool {
        self.beginning != Beginning::Restored
    }

    /// Whether operators have state.
    pub fn has_state(&self) -> bool {
        self.beginning != Beginning::Fresh
    }

    /// The first epoch that the dataflow works on.
    pub fn first_epoch(&self) -> Epoch {
        match self.beginning {
            Beginning::Fresh => self.epoch,
            Beginning::Resumed { after } => after.next().min(self.epoch),
            Beginning::Restored => self.epoch.next(),
        }
    }

    /// The first epoch that is not complete in the output.
    fn frontier(&self) -> Epoch {
        if self.reads_snapshots() { self.epoch } else { self.epoch.next() }
    }

    /// The epoch that the state is of, from the beginning on.
    fn after(&self) -> Epoch {
        if let Beginning::Resumed { after } = self.beginning { after } else { self.epoch }
    }
}

impl Job {
    /// A job ready to be installed on the workers.
    pub fn new(
        graph: JobGraph,
        inputs: Vec<JobInput>,
        output: Output,
        start: Start,
        counters: Counters,
        letters: DeadLetters,
        memory_limit_bytes: usize,
    ) -> Arc<Job> {
        let (id, metrics) = (graph.job, Metrics::restored(counters));
        let edges = Edges::new(graph.nodes.len(), &fragments(&graph), memory_limit_bytes);
        let backfill = Backfill::new(start.read);
        let event_times = graph.event_times();
        let split_times = SplitTimes::restored(&start.marks, start.epoch);
        let source_marks = (0..letters.workers()).map(|_| Mutex::default()).collect();
        Arc::new(Job {
            id,
            graph,
            inputs,
            output,
            start,
            metrics,
            edges,
            backfill,
            letters,
            event_times,
            split_times,
            deadlines: Mutex::default(),
            source_marks,
            declared: Mutex::new(Vec::new()),
            opened: AtomicUsize::new(0),
        })
    }

    /// Declares a checkpoint after `epoch`; must happen before any input may pass `epoch`.
    pub fn declare_checkpoint(&self, epoch: Epoch) {
        self.declared.lock().push(epoch);
    }

    /// Checkpoints after `after` and below `frontier`: of the step of the backfill that is through, and declared ones.
    pub fn checkpoints(&self, after: Moment, frontier: Moment) -> Vec<Moment> {
        // Whose inputs are through early passes the end of a step before anybody knows that there is another one.
        let in_steps = self.start.steps.as_ref().is_some_and(StepGate::may_be_divided);
        let in_backfill = in_steps && frontier.epoch() == self.start.epoch;
        let last_step = frontier.step().checked_sub(1).filter(|_| in_backfill);
        let step = last_step.map(|step| Moment::new(self.start.epoch, step));
        let declared = self.declared.lock();
        let ends = declared.iter().map(|epoch| Moment::end_of(*epoch));
        step.into_iter().chain(ends).filter(|m| *m > after && *m < frontier).collect()
    }

    /// Forgets declared checkpoints up to `epoch`.
    pub fn checkpoint_taken(&self, epoch: Epoch) {
        self.declared.lock().retain(|e| *e > epoch);
    }

    /// Whether something in it goes by the clock.
    pub fn reads_clock(&self) -> bool {
        self.event_times.contains(&EventTime::CLOCK)
    }

    /// A fragment on a worker has nothing to do before this moment, unless rows come.
    pub fn set_deadline(&self, part: (usize, usize), deadline: Option<i64>) {
        let mut deadlines = self.deadlines.lock();
        match deadline {
            Some(deadline) => deadlines.insert(part, deadline),
            None => deadlines.remove(&part),
        };
    }

    /// The first moment of the clock at which it has something to do.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.lock().values().min().copied()
    }

    /// The event time that the feed of this input reports, and its column among those that are read: the first input
    /// that has the column does.
    pub fn reported_time(&self, input: usize) -> Option<(EventTime, usize)> {
        let column_of = |input: &JobInput, time: &EventTime| match &input.origin {
            Origin::Source { source, project } if source.id == time.object => {
                project.iter().position(|column| *column == time.column)
            }
            _ => None,
        };
        self.event_times.iter().find_map(|time| {
            let first = self.inputs.iter().position(|input| column_of(input, time).is_some());
            let column = column_of(self.inputs.get(input)?, time)?;
            (first == Some(input)).then_some((*time, column))
        })
    }

    /// A feed of a source has found a mark on this worker.
    pub fn report_source_mark(&self, worker: usize, epoch: Epoch, mark: Mark) {
        self.split_times.report(worker, epoch, &mark);
        self.source_marks[worker].lock().push((epoch, mark));
    }

    /// What the feeds of sources have found on a worker in epochs before `upper`.
    pub fn take_source_marks(&self, worker: usize, upper: Epoch) -> Vec<(Epoch, Mark)> {
        let mut found = self.source_marks[worker].lock();
        let (taken, rest) = std::mem::take(&mut *found).into_iter().partition(|(epoch, _)| *epoch < upper);
        *found = rest;
        taken
    }

    /// The sources it reads, with their numbers.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SourceState>> {
        self.inputs.iter().filter_map(|input| match &input.origin {
            Origin::Source { source, .. } => Some(source),
            _ => None,
        })
    }

    /// The relations it reads.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.inputs.iter().filter_map(|input| match &input.origin {
            Origin::Relation { relation, .. } => Some(relation),
            _ => None,
        })
    }

    /// Its rows on their way into tables.
    pub fn outboxes(&self) -> impl Iterator<Item = (Channel, &Arc<Outbox>)> {
        let output = match &self.output {
            Output::Table(outbox) => Some((Channel::Output, outbox)),
            _ => None,
        };
        output.into_iter().chain([(Channel::Letters, &self.letters.outbox)])
    }

    /// Its rows of one kind on their way into a table.
    pub fn outbox(&self, channel: Channel) -> Option<&Arc<Outbox>> {
        self.outboxes().find(|(found, _)| *found == channel).map(|(_, outbox)| outbox)
    }

    /// A worker has opened the job; after the last one, lets go of the snapshots that only the start needed.
    pub fn opened_by_worker(&self, workers: usize) {
        if self.opened.fetch_add(1, Ordering::AcqRel) + 1 < workers {
            return;
        }
        self.start.state.lock().take();
        for input in &self.inputs {
            if let Origin::Relation { snapshot, .. } = &input.origin {
                snapshot.lock().take();
            }
        }
    }

    /// What operators open with.
    pub fn open_context<'a>(
        &self,
        worker: usize,
        workers: usize,
        state: &'a dyn StateReader,
        durable: Arc<dyn StateLookup>,
        watermark: Option<i64>,
        shared: Option<Arc<dyn SharedRows>>,
    ) -> OpenContext<'a> {
        let worker = weir_common::WorkerId(worker);
        OpenContext { worker, workers, state, restored: self.start.has_state(), durable, watermark, shared }
    }
}

/// How a job stands: guarded by the engine's one lock.
pub struct JobEntry {
    pub job: Arc<Job>,
    pub state: JobState,
    pub error: Option<Error>,
    /// While the job is paused: the first epoch that it does not work on.
    pub paused: Option<Epoch>,
    /// Every epoch before it is complete in the job's output.
    pub frontier: Epoch,
    /// The last epoch in which an input may have changed: the output is complete as of now once the frontier
    /// has passed it.
    pub need: Epoch,
    /// The last durable checkpoint; zero when there is none.
    pub checkpointed: Epoch,
    /// Before that, of a job that takes its snapshot in steps: the epoch after which a restart needs its inputs' changes.
    pub backfilled: Option<Epoch>,
    /// A checkpoint under way.
    pub pending: Option<Epoch>,
    pub started_micros: i64,
}

impl JobEntry {
    /// A job that has just been put together; `checkpointed` is zero for a fresh one.
    pub fn new(job: Arc<Job>, need: Epoch, checkpointed: Epoch, started_micros: i64) -> JobEntry {
        let frontier = job.start.frontier();
        let backfilled = job.start.steps.as_ref().map(|_| job.start.after());
        let state = if frontier > need { JobState::Running } else { JobState::Starting };
        JobEntry {
            job,
            state,
            error: None,
            paused: None,
            frontier,
            need,
            checkpointed,
            backfilled,
            pending: None,
            started_micros,
        }
    }

    /// A restart needs its inputs' changes after this epoch; `None` if it starts afresh.
    pub fn needs_after(&self) -> Option<Epoch> {
        if self.checkpointed > Epoch::ZERO { Some(self.checkpointed) } else { self.backfilled }
    }

    /// Whether everything that may have changed has been worked in.
    pub fn is_caught_up(&self) -> bool {
        self.frontier > self.need
    }
}

/// A job's figures for `sys.jobs`.
#[derive(Clone, Debug)]
pub struct JobStatus {
    pub job: JobId,
    pub name: String,
    pub state: JobState,
    pub is_paused: bool,
    pub error: Option<Error>,
    /// The epoch up to which its output is complete.
    pub epoch: Epoch,
    /// The last durable checkpoint.
    pub checkpoint: Epoch,
    pub counters: Counters,
    pub state_bytes: i64,
    pub started_micros: i64,
}

/// A source's figures for `sys.sources`.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    pub source: weir_common::ObjectId,
    /// Up to where each split is bound to an epoch.
    pub offsets: BTreeMap<String, u64>,
    /// What the last discovery failed with.
    pub error: Option<Error>,
}
