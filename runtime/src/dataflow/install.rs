//! Builds a job's dataflow on one worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use timely::communication::Pull;
use timely::container::NoopBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::core::input::Handle as TimelyInput;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Input, InputCapability, Probe};
use timely::dataflow::{Scope, Stream};
use weir_common::{ChangeBatch, Epoch, Result};

use super::container::{ByKeyGroup, Parcel, ToWorker};
use super::hosted::Hosted;
use crate::engine::Engine;
use crate::event_time;
use crate::feed::{Feed, MarkFeed};
use crate::fragments::{Fragment, fragments};
use crate::graph::Exchange;
use crate::job::Job;
use crate::moment::Moment;
use crate::steps::StepGate;

/// How long a producer rests whose readers are behind.
const PAUSE: Duration = Duration::from_millis(1);

type InputHandle = TimelyInput<u64, NoopBuilder<Parcel>>;
type Rows<'s> = Stream<'s, u64, Parcel>;
type Receive = Box<dyn FnMut(&mut dyn FnMut(InputCapability<u64>, ChangeBatch))>;

/// A job on one worker.
pub struct Installed {
    /// Timely's number of the dataflow.
    pub dataflow: usize,
    job: Arc<Job>,
    feeds: Vec<(Feed, InputHandle)>,
    /// Where marks of event time go in, if anything in the job asks for them.
    marks: Option<(MarkFeed, InputHandle)>,
    peers: usize,
    probe: ProbeHandle<u64>,
    /// The frontier that was reported last.
    pub reported: Epoch,
    /// Every input was fed everything before this moment.
    fed: Moment,
    /// The last round of feeding left something.
    more: bool,
}

/// What a round of feeding has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    Nothing,
    /// Rows that have to wait for those who read them.
    Waiting,
    /// Rows that could be fed at once.
    More,
}

impl Installed {
    /// Feeds each input up to `batches` batches below its upper; what that leaves.
    pub fn feed(&mut self, engine: &Engine, uppers: &[Epoch], batches: usize) -> Result<Left> {
        let mut most = Left::Nothing;
        let edges = &self.job.edges;
        for (((feed, handle), upper), input) in self.feeds.iter_mut().zip(uppers).zip(&self.job.inputs) {
            let mut fed = 0;
            let left = loop {
                if edges.is_full(input.node, Moment(*handle.time())) {
                    break Left::Waiting;
                }
                if fed == batches {
                    break Left::More;
                }
                let Some((moment, batch)) = feed.next(&self.job, *upper)? else { break Left::Nothing };
                handle.advance_to(moment.0.max(*handle.time()));
                edges.emitted(input.node, Moment(*handle.time()), &batch);
                handle.send_batch(&mut Parcel(Some(batch)));
                fed += 1;
            };
            if left == Left::Nothing {
                handle.advance_to(feed.reached(&self.job, *upper).0.max(*handle.time()));
            }
            handle.flush();
            most = most.max(left);
        }
        self.more = most > Left::Nothing;
        self.fed = self.feeds.iter().map(|(_, handle)| Moment(*handle.time())).min().unwrap_or(Moment::MAX);
        self.feed_marks(engine)?;
        Ok(most)
    }

    /// Hands on what event time has come to in the epochs that every input was fed.
    fn feed_marks(&mut self, engine: &Engine) -> Result<()> {
        let Some((feed, handle)) = &mut self.marks else { return Ok(()) };
        for (moment, marks) in feed.below(&self.job, self.fed, &|epoch| engine.state.lock().times.of(epoch)) {
            handle.advance_to(moment.0.max(*handle.time()));
            for to in 0..self.peers {
                handle.send_batch(&mut Parcel(Some(event_time::encode(&marks, to)?)));
            }
        }
        handle.advance_to(self.fed.0.max(*handle.time()));
        handle.flush();
        Ok(())
    }

    /// Whether the job's snapshot has just come to its end: feeds on other workers wait for it.
    pub fn has_completed_backfill(&self) -> bool {
        self.job.start.steps.as_ref().is_some_and(StepGate::has_just_completed)
    }

    /// The job's name, and how many rows of its snapshot were read in this run.
    pub fn backfilled(&self) -> (&str, u64) {
        (&self.job.graph.name, self.job.backfill.rows_read_now())
    }

    /// Whether there is something to feed, or an epoch under way that was fed.
    pub fn is_busy(&self) -> bool {
        self.more || self.moment() < self.fed
    }

    /// Every epoch before it is complete in the job's output, on all workers.
    pub fn frontier(&self) -> Epoch {
        self.moment().epoch()
    }

    fn moment(&self) -> Moment {
        self.probe.with_frontier(|frontier| Moment(frontier.first().copied().unwrap_or(u64::MAX)))
    }
}

/// Builds the dataflow. A failure to open operators or inputs fails the job; the dataflow then has the same
/// shape as on the other workers, and does nothing.
pub fn install(
    engine: &Arc<Engine>,
    job: Arc<Job>,
    timely: &mut timely::worker::Worker,
    index: usize,
    peers: usize,
) -> Installed {
    let dataflow = timely.next_dataflow_index();
    let probe = ProbeHandle::new();
    let (handles, marks) = timely
        .dataflow_named::<u64, _, _>(&job.graph.name, |scope| build(engine, &job, scope, index, &probe));
    let marks = marks.map(|mut handle| {
        handle.advance_to(Moment::start_of(job.start.first_epoch()).0);
        (MarkFeed::new(&job, index), handle)
    });
    let mut feeds = Vec::new();
    for (input, mut handle) in handles.into_iter().enumerate() {
        handle.advance_to(Moment::start_of(job.start.first_epoch()).0);
        match Feed::open(&job, input, index, peers, engine.config.batch_rows) {
            Ok(feed) => feeds.push((feed, handle)),
            Err(error) => engine.fail_job(job.id, error),
        }
    }
    job.opened_by_worker(peers);
    Installed {
        dataflow,
        job,
        feeds,
        marks,
        peers,
        probe,
        reported: Epoch::ZERO,
        fed: Moment::MAX,
        more: true,
    }
}

fn build(
    engine: &Arc<Engine>,
    job: &Arc<Job>,
    scope: Scope<'_, u64>,
    worker: usize,
    probe: &ProbeHandle<u64>,
) -> (Vec<InputHandle>, Option<InputHandle>) {
    let mut handles = Vec::new();
    let mut streams: BTreeMap<usize, Rows<'_>> = BTreeMap::new();
    for input in &job.inputs {
        let (handle, stream) = scope.new_input_with_builder::<NoopBuilder<Parcel>>();
        handles.push(handle);
        streams.insert(input.node, stream);
    }
    let marks = (!job.event_times.is_empty()).then(|| scope.new_input_with_builder::<NoopBuilder<Parcel>>());
    let (mark_handle, marks) = marks.unzip();
    let cut = fragments(&job.graph);
    let last = cut.len() - 1;
    for (number, fragment) in cut.into_iter().enumerate() {
        let hosted = Hosted::open(engine, job, &fragment, number, worker, number == last);
        let watches = |node: &usize| job.graph.nodes[*node].watermark.is_some();
        let watches =
            fragment.nodes.iter().any(watches) || number == last && !job.graph.watermarks.is_empty();
        let marks = marks.clone().filter(|_| watches);
        let rows = add_fragment(scope, &fragment, &streams, marks, hosted);
        if number == last {
            rows.probe_with(probe);
        } else if let Some(root) = fragment.nodes.last() {
            streams.insert(*root, rows);
        }
    }
    (handles, mark_handle)
}

/// Adds the one timely operator that runs a fragment.
fn add_fragment<'s>(
    scope: Scope<'s, u64>,
    fragment: &Fragment,
    streams: &BTreeMap<usize, Rows<'s>>,
    marks: Option<Rows<'s>>,
    mut hosted: Hosted,
) -> Rows<'s> {
    let mut builder = OperatorBuilder::new(hosted.name(), scope);
    let mut inputs: Vec<Receive> = Vec::new();
    for input in &fragment.inputs {
        inputs.push(connect(&mut builder, streams[&input.from].clone(), &input.exchange));
    }
    if let Some(marks) = marks {
        inputs.push(receive(builder.new_input(marks, DistributorPact(|_| ToWorker))));
    }
    let (output, stream) = builder.new_output::<Parcel>();
    let mut output = OutputBuilder::<u64, NoopBuilder<Parcel>>::from(output);
    let activator = scope.worker().activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        hosted.start(capabilities);
        move |frontiers| {
            for (port, receive) in inputs.iter_mut().enumerate() {
                receive(&mut |capability, batch| hosted.offer(port, &capability, batch));
            }
            if hosted.must_wait() {
                activator.activate_after(PAUSE);
                return;
            }
            let first = |f: &timely::progress::frontier::MutableAntichain<u64>| f.frontier().first().copied();
            let frontier = frontiers.iter().map(|f| first(f).unwrap_or(u64::MAX)).min().unwrap_or(u64::MAX);
            let more = hosted.run(Moment(frontier));
            let mut active = output.activate();
            for (moment, batch) in hosted.emitted.drain(..) {
                if let Some(capability) = hosted.capabilities.get(&moment) {
                    active.session_with_builder(capability).give_container(&mut Parcel(Some(batch)));
                }
            }
            drop(active);
            hosted.release(Moment(frontier), more);
            if more {
                activator.activate();
            }
        }
    });
    stream
}

fn connect<'s>(builder: &mut OperatorBuilder<'s, u64>, rows: Rows<'s>, exchange: &Exchange) -> Receive {
    match exchange {
        Exchange::Local => receive(builder.new_input(rows, Pipeline)),
        Exchange::ByKey(columns) => {
            let columns = columns.clone();
            let pact = DistributorPact(move |peers| ByKeyGroup::new(columns, peers));
            receive(builder.new_input(rows, pact))
        }
    }
}

/// Takes what arrives at an input.
fn receive<P: Pull<Message<u64, Parcel>> + 'static>(mut input: InputHandleCore<u64, Parcel, P>) -> Receive {
    Box::new(move |take| {
        input.for_each(|capability, parcel| {
            if let Some(batch) = parcel.0.take() {
                take(capability, batch);
            }
        });
    })
}
