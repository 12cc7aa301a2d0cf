//! Builds a job's dataflow on one worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::core::input::Handle as TimelyInput;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Input, InputCapability, Probe};
use timely::dataflow::{Scope, Stream};
use weir_common::{ChangeBatch, Epoch, Result};

use super::container::{ByKeyGroup, Parcel};
use super::hosted::Hosted;
use crate::engine::Engine;
use crate::feed::Feed;
use crate::fragments::{Fragment, fragments};
use crate::graph::Exchange;
use crate::job::Job;

type InputHandle = TimelyInput<u64, NoopBuilder<Parcel>>;
type Rows<'s> = Stream<'s, u64, Parcel>;
type Receive = Box<dyn FnMut(&mut dyn FnMut(InputCapability<u64>, ChangeBatch))>;

/// A job on one worker.
pub struct Installed {
    /// Timely's number of the dataflow.
    pub dataflow: usize,
    job: Arc<Job>,
    feeds: Vec<(Feed, InputHandle)>,
    probe: ProbeHandle<u64>,
    /// The frontier that was reported last.
    pub reported: Epoch,
    /// Every input was fed everything before this epoch.
    fed: Epoch,
    /// The last round of feeding left something.
    more: bool,
}

impl Installed {
    /// Feeds each input up to `batches` batches below its upper; whether any could take more at once.
    pub fn feed(&mut self, uppers: &[Epoch], batches: usize) -> Result<bool> {
        let mut more = false;
        for ((feed, handle), upper) in self.feeds.iter_mut().zip(uppers) {
            let mut left = batches;
            while left > 0 {
                let Some((epoch, batch)) = feed.next(&self.job, *upper)? else { break };
                handle.advance_to(epoch.0.max(*handle.time()));
                handle.send_batch(&mut Parcel(Some(batch)));
                left -= 1;
            }
            if left > 0 {
                handle.advance_to(upper.0.max(*handle.time()));
            }
            handle.flush();
            more |= left == 0;
        }
        self.more = more;
        self.fed = self.feeds.iter().map(|(_, handle)| Epoch(*handle.time())).min().unwrap_or(Epoch::MAX);
        Ok(more)
    }

    /// Whether there is something to feed, or an epoch under way that was fed.
    pub fn is_busy(&self) -> bool {
        self.more || self.frontier() < self.fed
    }

    /// Every epoch before it is complete in the job's output, on all workers.
    pub fn frontier(&self) -> Epoch {
        self.probe.with_frontier(|frontier| Epoch(frontier.first().copied().unwrap_or(u64::MAX)))
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
    let handles = timely
        .dataflow_named::<u64, _, _>(&job.graph.name, |scope| build(engine, &job, scope, index, &probe));
    let mut feeds = Vec::new();
    for (input, mut handle) in handles.into_iter().enumerate() {
        handle.advance_to(job.start.first_epoch().0);
        match Feed::open(&job, input, index, peers, engine.config.batch_rows) {
            Ok(feed) => feeds.push((feed, handle)),
            Err(error) => engine.fail_job(job.id, error),
        }
    }
    job.opened_by_worker(peers);
    Installed { dataflow, job, feeds, probe, reported: Epoch::ZERO, fed: Epoch::MAX, more: true }
}

fn build(
    engine: &Arc<Engine>,
    job: &Arc<Job>,
    scope: Scope<'_, u64>,
    worker: usize,
    probe: &ProbeHandle<u64>,
) -> Vec<InputHandle> {
    let mut handles = Vec::new();
    let mut streams: BTreeMap<usize, Rows<'_>> = BTreeMap::new();
    for input in &job.inputs {
        let (handle, stream) = scope.new_input_with_builder::<NoopBuilder<Parcel>>();
        handles.push(handle);
        streams.insert(input.node, stream);
    }
    let cut = fragments(&job.graph);
    let last = cut.len() - 1;
    for (number, fragment) in cut.into_iter().enumerate() {
        let hosted = Hosted::open(engine, job, &fragment, number, worker, number == last);
        let rows = add_fragment(scope, &fragment, &streams, hosted);
        if number == last {
            rows.probe_with(probe);
        } else if let Some(root) = fragment.nodes.last() {
            streams.insert(*root, rows);
        }
    }
    handles
}

/// Adds the one timely operator that runs a fragment.
fn add_fragment<'s>(
    scope: Scope<'s, u64>,
    fragment: &Fragment,
    streams: &BTreeMap<usize, Rows<'s>>,
    mut hosted: Hosted,
) -> Rows<'s> {
    let mut builder = OperatorBuilder::new(hosted.name(), scope);
    let mut inputs: Vec<Receive> = Vec::new();
    for input in &fragment.inputs {
        inputs.push(connect(&mut builder, streams[&input.from].clone(), &input.exchange));
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
            let first = |f: &timely::progress::frontier::MutableAntichain<u64>| f.frontier().first().copied();
            let frontier = frontiers.iter().map(|f| first(f).unwrap_or(u64::MAX)).min().unwrap_or(u64::MAX);
            let more = hosted.run(Epoch(frontier));
            let mut active = output.activate();
            for (epoch, batch) in hosted.emitted.drain(..) {
                if let Some(capability) = hosted.capabilities.get(&epoch) {
                    active.session_with_builder(capability).give_container(&mut Parcel(Some(batch)));
                }
            }
            drop(active);
            hosted.release(Epoch(frontier), more);
            if more {
                activator.activate();
            }
        }
    });
    stream
}

fn connect<'s>(builder: &mut OperatorBuilder<'s, u64>, rows: Rows<'s>, exchange: &Exchange) -> Receive {
    match exchange {
        Exchange::Local => {
            let mut input = builder.new_input(rows, Pipeline);
            Box::new(move |take| {
                input.for_each(|capability, parcel| {
                    if let Some(batch) = parcel.0.take() {
                        take(capability, batch);
                    }
                });
            })
        }
        Exchange::ByKey(columns) => {
            let columns = columns.clone();
            let pact = DistributorPact(move |peers| ByKeyGroup::new(columns, peers));
            let mut input = builder.new_input(rows, pact);
            Box::new(move |take| {
                input.for_each(|capability, parcel| {
                    if let Some(batch) = parcel.0.take() {
                        take(capability, batch);
                    }
                });
            })
        }
    }
}
