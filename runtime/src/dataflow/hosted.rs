//! A fragment host inside a timely operator: capabilities, errors, panics.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use timely::dataflow::operators::{Capability, InputCapability};
use weir_common::{ChangeBatch, Epoch, Error, Pressure, Result};
use weir_exec::event_time::EventTime;
use weir_exec::rejected::Rejected;

use crate::checkpoint::CheckpointEvent;
use crate::engine::Engine;
use crate::event_time::{self, Mark, News};
use crate::fragments::Fragment;
use crate::host::{FragmentHost, HostNode, HostSink, Progress};
use crate::job::{Beginning, Job, Output};
use crate::moment::Moment;
use crate::operators::{Taken, build_host, dump};

/// When memory is tight, an operator keeps so much state on a worker, and reads again what else it needs.
const TIGHT_STATE_BYTES: usize = 1 << 20;

/// One fragment of a job on one worker.
pub struct Hosted {
    engine: Arc<Engine>,
    job: Arc<Job>,
    /// Graph positions of the host's nodes, for the keys of their state.
    nodes: Vec<usize>,
    /// The graph's nodes whose rows come in, by port.
    inputs: Vec<usize>,
    number: usize,
    worker: usize,
    is_last: bool,
    /// `None` once the job has failed here: input is swallowed.
    host: Option<FragmentHost>,
    /// The right to emit rows of a moment, held until the moment is through.
    pub capabilities: BTreeMap<Moment, Capability<u64>>,
    /// What the last run made.
    pub emitted: Vec<(Moment, ChangeBatch)>,
    done: Vec<Moment>,
    /// Checkpoints up to here were handed to the host.
    declared: Moment,
    state_bytes: i64,
    /// Whether the last checkpoint was of a step of a backfill.
    was_step: bool,
}

impl Hosted {
    /// Opens the operators; a failure fails the job.
    pub fn open(
        engine: &Arc<Engine>,
        job: &Arc<Job>,
        fragment: &Fragment,
        number: usize,
        worker: usize,
        is_last: bool,
    ) -> Hosted {
        let built = guarded(|| build_host(engine, job, fragment, worker, is_last));
        let host = built.map_err(|error| engine.fail_job(job.id, error)).ok();
        if is_last && job.outboxes().fold(false, |all, (_, outbox)| outbox.worker_opened() || all) {
            engine.notify();
        }
        Hosted {
            engine: engine.clone(),
            job: job.clone(),
            nodes: fragment.nodes.clone(),
            inputs: fragment.inputs.iter().map(|input| input.from).collect(),
            number,
            worker,
            is_last,
            host,
            capabilities: BTreeMap::new(),
            emitted: Vec::new(),
            done: Vec::new(),
            declared: Moment::end_of(job.start.epoch.previous()),
            state_bytes: 0,
            was_step: false,
        }
    }

    /// For timely's logs.
    pub fn name(&self) -> String {
        format!("{} fragment {}", self.job.graph.name, self.number)
    }

    /// Keeps the initial capability for a fresh job's first moment.
    pub fn start(&mut self, mut capabilities: Vec<Capability<u64>>) {
        let Some(mut capability) = capabilities.pop() else { return };
        if self.job.start.beginning == Beginning::Fresh && self.host.is_some() {
            let start = Moment::start_of(self.job.start.epoch);
            capability.downgrade(&start.0);
            self.capabilities.insert(start, capability);
        }
    }

    /// Takes a batch that arrived at one of the fragment's inputs; behind them come marks of event time.
    pub fn offer(&mut self, port: usize, capability: &InputCapability<u64>, batch: ChangeBatch) {
        let (Some(host), Some(time)) = (&mut self.host, capability.least().copied()) else { return };
        let moment = Moment(time);
        if !self.capabilities.contains_key(&moment)
            && let Some(retained) = capability.retain_least(0)
        {
            self.capabilities.insert(moment, retained);
        }
        if port < self.inputs.len() {
            host.offer(port, moment, batch);
            return;
        }
        match event_time::decode(&batch) {
            Ok(marks) => host.offer_marks(moment, marks),
            Err(error) => self.engine.fail_job(self.job.id, error),
        }
    }

    /// Whether what it has made so far waits for its readers: it makes no more.
    pub fn must_wait(&self) -> bool {
        let (Some(host), Some(root)) = (&self.host, self.nodes.last()) else { return false };
        self.job.edges.is_full(*root, host.moment())
    }

    /// Works on what has arrived; true when there is more to do at once.
    pub fn run(&mut self, frontier: Moment) -> bool {
        let Some(mut host) = self.host.take() else { return false };
        let declared = self.job.checkpoints(self.declared, frontier);
        if let Some(last) = declared.last() {
            self.declared = *last;
        }
        host.advance(frontier, declared);
        match guarded(|| {
            fail::fail_point!(weir_common::failpoint::JOB_RUN, |_| {
                Err(Error::new(weir_common::SqlState::IO_ERROR, "failpoint in a job"))
            });
            host.run(self)
        }) {
            Ok(progress) => {
                self.count_state(host.memory_bytes() as i64);
                if self.job.reads_clock() {
                    self.job.set_deadline((self.number, self.worker), host.next_deadline());
                }
                self.host = Some(host);
                progress == Progress::More
            }
            Err(error) => {
                self.engine.fail_job(self.job.id, error);
                self.emitted.clear();
                false
            }
        }
    }

    /// Gives up the capabilities of moments that are through.
    pub fn release(&mut self, frontier: Moment, more: bool) {
        for moment in self.done.drain(..) {
            self.capabilities.remove(&moment);
        }
        match &self.host {
            None => self.capabilities.clear(),
            Some(_) if !more => self.capabilities.retain(|moment, _| *moment >= frontier),
            Some(_) => {}
        }
    }

    fn count_state(&mut self, bytes: i64) {
        let change = bytes - std::mem::replace(&mut self.state_bytes, bytes);
        self.job.metrics.state_bytes.fetch_add(change, std::sync::atomic::Ordering::Relaxed);
    }
}

impl HostSink for Hosted {
    fn taken(&mut self, input: usize, moment: Moment, rows: usize) {
        self.job.edges.taken(self.inputs[input], moment, rows);
    }

    fn emit(&mut self, moment: Moment, batch: ChangeBatch) {
        if let Some(root) = self.nodes.last() {
            self.job.edges.emitted(*root, moment, &batch);
        }
        self.emitted.push((moment, batch));
    }

    fn reject(&mut self, moment: Moment, rejected: Vec<Rejected>) -> Result<()> {
        let skipped = rejected.len() as u64;
        self.job.metrics.rows_skipped.add(moment.epoch(), skipped);
        self.job.letters.write(self.worker, moment.epoch(), &rejected)
    }

    fn closed_micros(&self, epoch: Epoch) -> i64 {
        self.engine.state.lock().times.of(epoch)
    }

    fn late(&mut self, moment: Moment, rows: u64) {
        self.job.metrics.rows_late.add(moment.epoch(), rows);
    }

    fn watermark(&mut self, moment: Moment, column: usize, news: News) {
        if let Output::Relation(relation) = &self.job.output {
            relation.note_time(column, moment.epoch(), news);
        }
    }

    fn told(&mut self, moment: Moment, told: EventTime, watermark: i64) {
        let mark = Mark { time: told, split: String::new(), news: News::Upto(watermark) };
        self.job.split_times.report(self.worker, moment.epoch(), &mark);
    }

    fn done(&mut self, moment: Moment) {
        self.done.push(moment);
    }

    fn checkpoint(&mut self, moment: Moment, nodes: &mut [HostNode]) -> Result<()> {
        let configured = self.engine.config.state_memory_bytes.unwrap_or(usize::MAX);
        let state_memory_bytes = match self.engine.memory.pressure() {
            Pressure::None => configured,
            _ => configured.min(TIGHT_STATE_BYTES),
        };
        let letters_of = self.is_last.then_some(self.worker);
        // A step is durable before the next one opens; but what is not a step does not wait for those who take none.
        let is_step = moment != Moment::end_of(moment.epoch());
        let is_last_durable = is_step || !self.was_step;
        self.was_step = is_step;
        let taken = Taken { epoch: moment.epoch(), is_last_durable };
        let writes = dump(&self.job, taken, &self.nodes, nodes, letters_of, state_memory_bytes)?;
        let (job, part) = (self.job.id, (self.number, self.worker));
        self.engine.checkpoint_event(CheckpointEvent::Dump { job, moment, part, writes });
        Ok(())
    }
}

/// Runs operator code; a panic becomes an error of the job (XX000) instead of the end of the worker.
fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => Err(Error::internal(format!("an operator panicked: {}", panic_text(panic.as_ref())))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
