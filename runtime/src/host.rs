//! `FragmentHost`: runs the operators of one fragment on one worker, one moment (an epoch, or a step of the first
//! one) at a time.
//!
//! A *fragment* is a set of nodes linked by local edges; its rows leave through its last node. The host is free
//! of timely: it is given batches with their moments and told how far the inputs' frontier has got, and keeps the
//! order that operators rely on; to an operator every moment is an epoch:
//!
//! Marks of event time come beside the rows, with their moment; what they make of an operator's watermark it is told
//! right before the end of that moment.
//!
//! ```text
//!   batches of m ─► on_batch*   frontier > m ─► on_watermark, on_epoch_end, in topological order ─► checkpoint, if m is one
//!   batches of later moments ─► stash
//! ```
//! Work is a queue, so an operator that yields in the middle of a batch (fuel) leaves the host resumable:
//! [`FragmentHost::run`] returns [`Progress::More`] and the worker goes round.

use std::collections::{BTreeMap, VecDeque};

use weir_common::{ChangeBatch, Epoch, Result};
use weir_exec::event_time::EventTime;
use weir_exec::operator::{Flow, Operator, Output, Port};
use weir_exec::rejected::Rejected;

use crate::event_time::{EventClock, Mark, News, Watched};
use crate::job::Beginning;
use crate::moment::Moment;

/// An operator and where its rows go.
pub struct HostNode {
    pub operator: Box<dyn Operator>,
    /// Nodes of the same fragment that take the output; empty for the last node.
    pub consumers: Vec<(usize, Port)>,
    /// What it is told of event time.
    pub watermark: Option<Watched>,
    /// Whether it is told when the epoch was closed.
    pub reads_epoch_time: bool,
}

/// Whether the host has work left that it could go on with at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing to do until more input or frontier arrives.
    Idle,
    /// The budget of this call is used up.
    More,
}

/// What comes out of a host.
pub trait HostSink {
    /// Rows of an input are no longer in the queue.
    fn taken(&mut self, _input: usize, _moment: Moment, _rows: usize) {}
    /// A batch of the fragment's last node.
    fn emit(&mut self, moment: Moment, batch: ChangeBatch);
    /// Rows that an operator left out under the job's ON ERROR policy.
    fn reject(&mut self, _moment: Moment, _rejected: Vec<Rejected>) -> Result<()> {
        Ok(())
    }
    /// When an epoch was closed, in microseconds since 1970.
    fn closed_micros(&self, _epoch: Epoch) -> i64 {
        0
    }
    /// So many rows of a moment came too late and were left out.
    fn late(&mut self, _moment: Moment, _rows: u64) {}
    /// With this moment there is news of the watermark of a column of the output.
    fn watermark(&mut self, _moment: Moment, _column: usize, _news: News) {}
    /// With this moment an operator or the output was told a watermark that has to be remembered.
    fn told(&mut self, _moment: Moment, _told: EventTime, _watermark: i64) {}
    /// The moment is over: nothing more is emitted for it.
    fn done(&mut self, moment: Moment);
    /// The state after `moment`, which is a checkpoint: take it from the operators, node by node.
    fn checkpoint(&mut self, moment: Moment, nodes: &mut [HostNode]) -> Result<()>;
}

enum Work {
    Batch(usize, Port, ChangeBatch),
    /// The node yielded; what it made so far stands before this in the queue.
    Resume(usize),
    Watermark(usize, i64),
    EpochEnd(usize),
    Done,
    Checkpoint(Moment),
}

/// The operators of one fragment on one worker.
pub struct FragmentHost {
    /// In topological order; the last one's output leaves the fragment.
    nodes: Vec<HostNode>,
    /// For each input of the fragment, the node and port it feeds.
    inputs: Vec<(usize, Port)>,
    stash: BTreeMap<Moment, Vec<(usize, ChangeBatch)>>,
    marks: BTreeMap<Moment, Vec<Mark>>,
    clock: EventClock,
    /// Columns of the job's output that have a watermark, in its last fragment.
    output: Vec<(usize, Watched)>,
    /// Checkpoints that were declared and are not taken yet, ascending.
    checkpoints: VecDeque<Moment>,
    /// Everything before it is complete on every input.
    frontier: Moment,
    /// The moment that work belongs to.
    current: Moment,
    /// Whether `current` has had any work: only then does it get an end.
    open: bool,
    /// A moment that gets its end even without a row: the first one of a fresh job.
    forced: Option<Moment>,
    work: VecDeque<Work>,
}

/// Rows that one call of [`FragmentHost::run`] hands out at most, about.
const RUN_ROWS: i64 = 256 * 1024;

impl FragmentHost {
    /// A host for a job whose first moment is `start`; fresh jobs get its end in any case.
    pub fn new(
        nodes: Vec<HostNode>,
        inputs: Vec<(usize, Port)>,
        start: Moment,
        beginning: Beginning,
    ) -> FragmentHost {
        FragmentHost {
            nodes,
            inputs,
            stash: BTreeMap::new(),
            marks: BTreeMap::new(),
            clock: EventClock::default(),
            output: Vec::new(),
            checkpoints: VecDeque::new(),
            frontier: start,
            current: start,
            open: false,
            forced: (beginning == Beginning::Fresh).then_some(start),
            work: VecDeque::new(),
        }
    }

    /// Tells the operators how far event time has come by the start, and watches these columns of the output.
    #[must_use]
    pub fn at_event_time(mut self, clock: EventClock, output: Vec<(usize, Watched)>) -> FragmentHost {
        self.clock = clock;
        for node in &mut self.nodes {
            let watched = node.watermark.as_ref();
            if let Some(watermark) = watched.and_then(|watched| watched.last().value) {
                node.operator.on_watermark(watermark);
            }
        }
        self.output = output;
        self
    }

    /// Takes marks of event time.
    pub fn offer_marks(&mut self, moment: Moment, marks: Vec<Mark>) {
        debug_assert!(moment >= self.frontier, "a mark behind the frontier");
        self.marks.entry(moment).or_default().extend(marks);
    }

    /// Takes a batch of an input.
    pub fn offer(&mut self, input: usize, moment: Moment, batch: ChangeBatch) {
        debug_assert!(moment >= self.frontier, "a batch behind the frontier");
        self.stash.entry(moment).or_default().push((input, batch));
    }

    /// Tells how far the inputs are complete, and which checkpoints lie behind that frontier.
    pub fn advance(&mut self, frontier: Moment, declared: impl IntoIterator<Item = Moment>) {
        self.frontier = self.frontier.max(frontier);
        self.checkpoints.extend(declared);
    }

    /// Works until nothing can be done or the budget is used up.
    pub fn run(&mut self, sink: &mut dyn HostSink) -> Result<Progress> {
        let mut budget = RUN_ROWS;
        loop {
            if let Some(work) = self.work.pop_front() {
                budget -= self.perform(work, sink)?;
            } else if !self.next_work(sink) {
                return Ok(Progress::Idle);
            }
            if budget <= 0 {
                return Ok(Progress::More);
            }
        }
    }

    /// The moment that it works on, or has worked on last.
    pub fn moment(&self) -> Moment {
        self.current
    }

    /// The first moment of the clock at which an operator has something to do.
    pub fn next_deadline(&mut self) -> Option<i64> {
        let clock = &self.clock;
        let of_node = |node: &mut HostNode| {
            let passing = node.operator.first_time().zip(node.watermark.as_mut());
            let passes = passing.and_then(|(first, watched)| watched.passes(first, clock));
            node.operator.next_deadline().into_iter().chain(passes).min()
        };
        self.nodes.iter_mut().filter_map(of_node).min()
    }

    /// Bytes of state of all operators.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.iter().map(|n| n.operator.memory_bytes()).sum()
    }

    /// Fills the work queue from the stash, the frontier and the declared checkpoints, in order of time.
    fn next_work(&mut self, sink: &mut dyn HostSink) -> bool {
        if let Some(batches) = self.stash.remove(&self.current) {
            if !std::mem::replace(&mut self.open, true) {
                self.begin(sink);
            }
            for (input, batch) in batches {
                let (node, port) = self.inputs[input];
                sink.taken(input, self.current, batch.len());
                self.work.push_back(Work::Batch(node, port, batch));
            }
            return true;
        }
        let is_marked = self.marks.contains_key(&self.current);
        if self.frontier > self.current && (self.open || is_marked || self.forced == Some(self.current)) {
            self.open = false;
            self.forced = None;
            for mark in self.marks.remove(&self.current).into_iter().flatten() {
                self.clock.advance(&mark);
            }
            for (i, node) in self.nodes.iter_mut().enumerate() {
                if let Some(watched) = node.watermark.as_mut().filter(|_| is_marked)
                    && let Some(watermark) = advance(watched, &self.clock, self.current, sink)
                {
                    self.work.push_back(Work::Watermark(i, watermark));
                }
                self.work.push_back(Work::EpochEnd(i));
            }
            if is_marked {
                self.advance_output(sink);
            }
            self.work.push_back(Work::Done);
            return true;
        }
        self.enter_next()
    }

    /// Tells of the output's watermarks.
    fn advance_output(&mut self, sink: &mut dyn HostSink) {
        for (column, watched) in &mut self.output {
            let was_idle = watched.last().is_idle;
            if let Some(watermark) = advance(watched, &self.clock, self.current, sink) {
                sink.watermark(self.current, *column, News::Upto(watermark));
            }
            let is_idle = watched.last().is_idle;
            if is_idle != was_idle {
                sink.watermark(self.current, *column, News::idle(is_idle));
            }
        }
    }

    /// Tells the time of the epoch whose rows come next.
    fn begin(&mut self, sink: &dyn HostSink) {
        let mut readers = self.nodes.iter_mut().filter(|node| node.reads_epoch_time).peekable();
        if readers.peek().is_none() {
            return;
        }
        let closed = sink.closed_micros(self.current.epoch());
        readers.for_each(|node| node.operator.on_epoch_begin(closed));
    }

    /// With `current` through: takes a checkpoint that is due after it, or enters the next moment with rows.
    fn enter_next(&mut self) -> bool {
        let waiting = self.stash.keys().next().into_iter().chain(self.marks.keys().next());
        let next = waiting.min().copied().filter(|m| *m <= self.frontier);
        if let Some(due) = self.checkpoints.front().copied()
            && due < self.frontier
            && next.is_none_or(|m| m > due)
        {
            self.checkpoints.pop_front();
            self.work.push_back(Work::Checkpoint(due));
            return true;
        }
        let Some(next) = next.filter(|m| *m > self.current) else { return false };
        self.current = next;
        true
    }

    fn perform(&mut self, work: Work, sink: &mut dyn HostSink) -> Result<i64> {
        match work {
            Work::Batch(node, port, batch) => self.step(node, Some(Call::Batch(port, batch)), sink),
            Work::Resume(node) => self.step(node, None, sink),
            Work::Watermark(node, watermark) => {
                self.nodes[node].operator.on_watermark(watermark);
                Ok(0)
            }
            Work::EpochEnd(node) => self.step(node, Some(Call::EpochEnd), sink),
            Work::Done => {
                sink.done(self.current);
                Ok(0)
            }
            Work::Checkpoint(moment) => sink.checkpoint(moment, &mut self.nodes).map(|()| 0),
        }
    }

    /// Calls one operator, routes what it made, and returns how many rows that were.
    fn step(&mut self, node: usize, call: Option<Call>, sink: &mut dyn HostSink) -> Result<i64> {
        let mut out = Output::new();
        let operator = &mut self.nodes[node].operator;
        let flow = match call {
            Some(Call::Batch(port, batch)) => operator.on_batch(port, batch, &mut out)?,
            Some(Call::EpochEnd) => operator.on_epoch_end(self.current.epoch(), &mut out)?,
            None => operator.resume(&mut out)?,
        };
        if flow == Flow::Yield {
            self.work.push_front(Work::Resume(node));
        }
        if !out.rejected.is_empty() {
            sink.reject(self.current, std::mem::take(&mut out.rejected))?;
        }
        if out.late > 0 {
            sink.late(self.current, out.late);
        }
        let rows = out.batches.iter().map(|b| b.len() as i64).sum();
        self.route(node, out.batches, sink);
        Ok(rows)
    }

    fn route(&mut self, node: usize, batches: Vec<ChangeBatch>, sink: &mut dyn HostSink) {
        if node + 1 == self.nodes.len() {
            batches.into_iter().for_each(|batch| sink.emit(self.current, batch));
            return;
        }
        let consumers = &self.nodes[node].consumers;
        for batch in batches.into_iter().rev() {
            for (consumer, port) in consumers {
                self.work.push_front(Work::Batch(*consumer, *port, batch.clone()));
            }
        }
    }
}

/// The watermark, if it has advanced with the end of `moment`; it is remembered where it could not be found again.
fn advance(
    watched: &mut Watched,
    clock: &EventClock,
    moment: Moment,
    sink: &mut dyn HostSink,
) -> Option<i64> {
    let watermark = watched.advanced(clock)?;
    if clock.has_idled() {
        sink.told(moment, watched.told, watermark);
    }
    Some(watermark)
}

enum Call {
    Batch(Port, ChangeBatch),
    EpochEnd,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use weir_common::ChangeBatch;

    use super::*;

    /// Passes rows on, in pieces of one row a call when told to yield.
    struct Pass {
        slow: bool,
        rest: Option<ChangeBatch>,
    }

    impl Operator for Pass {
        fn on_batch(&mut self, _: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
            self.rest = Some(batch);
            self.resume(out)
        }
        fn resume(&mut self, out: &mut Output) -> Result<Flow> {
            let Some(batch) = self.rest.take() else { return Ok(Flow::Done) };
            if !self.slow || batch.len() == 1 {
                out.push(batch);
                return Ok(Flow::Done);
            }
            out.push(batch.slice(0, 1));
            self.rest = Some(batch.slice(1, batch.len() - 1));
            Ok(Flow::Yield)
        }
        fn on_epoch_end(&mut self, epoch: Epoch, out: &mut Output) -> Result<Flow> {
            out.push(rows(&[1000 + epoch.0 as i64]));
            Ok(Flow::Done)
        }
    }

    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl HostSink for Recorder {
        fn emit(&mut self, moment: Moment, batch: ChangeBatch) {
            let values =
                arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&batch.columns()[0]);
            for v in values.values() {
                self.0.push(format!("{moment}:{v}"));
            }
        }
        fn done(&mut self, moment: Moment) {
            self.0.push(format!("done {moment}"));
        }
        fn checkpoint(&mut self, moment: Moment, _: &mut [HostNode]) -> Result<()> {
            self.0.push(format!("checkpoint {moment}"));
            Ok(())
        }
    }

    fn at(epoch: u64) -> Moment {
        Moment::start_of(Epoch(epoch))
    }

    fn rows(values: &[i64]) -> ChangeBatch {
        let array = Arc::new(Int64Array::from(values.to_vec())) as _;
        ChangeBatch::inserts(RecordBatch::try_from_iter([("v", array)]).unwrap())
    }

    fn node(operator: impl Operator + 'static, consumers: Vec<(usize, Port)>) -> HostNode {
        HostNode { operator: Box::new(operator), consumers, watermark: None, reads_epoch_time: false }
    }

    fn host(beginning: Beginning) -> FragmentHost {
        let slow = node(Pass { slow: true, rest: None }, vec![(1, Port(0))]);
        let last = node(Pass { slow: false, rest: None }, vec![]);
        FragmentHost::new(vec![slow, last], vec![(0, Port(0))], at(1), beginning)
    }

    fn run(host: &mut FragmentHost) -> Vec<String> {
        let mut sink = Recorder::default();
        while host.run(&mut sink).unwrap() == Progress::More {}
        sink.0
    }

    #[test]
    fn epochs_come_in_order_and_later_rows_wait() {
        let mut host = host(Beginning::Restored);
        host.offer(0, at(3), rows(&[30]));
        host.offer(0, at(1), rows(&[10, 11]));
        assert_eq!(run(&mut host), ["1:10", "1:11"]);
        host.advance(at(3), []);
        assert_eq!(run(&mut host), ["1:1001", "1:1001", "done 1", "3:30"]);
        host.advance(at(4), []);
        assert_eq!(run(&mut host), ["3:1003", "3:1003", "done 3"]);
    }

    #[test]
    fn a_fresh_job_ends_its_first_epoch_without_rows() {
        let mut fresh = host(Beginning::Fresh);
        fresh.advance(at(2), []);
        assert_eq!(run(&mut fresh), ["1:1001", "1:1001", "done 1"]);
        let mut restored = host(Beginning::Restored);
        restored.advance(at(2), []);
        assert!(run(&mut restored).is_empty());
    }

    #[test]
    fn a_checkpoint_lies_between_its_epoch_and_the_next() {
        let mut host = host(Beginning::Restored);
        host.offer(0, at(1), rows(&[10]));
        host.offer(0, at(5), rows(&[50]));
        host.advance(at(6), [Moment::end_of(Epoch(2)), Moment::end_of(Epoch(5))]);
        assert_eq!(
            run(&mut host),
            [
                "1:10",
                "1:1001",
                "1:1001",
                "done 1",
                "checkpoint 2.65535",
                "5:50",
                "5:1005",
                "5:1005",
                "done 5",
                "checkpoint 5.65535"
            ]
        );
    }

    /// Emits the watermarks it is told, as 2000 and so many.
    #[derive(Default)]
    struct Watcher(Vec<i64>);

    impl Operator for Watcher {
        fn on_batch(&mut self, _: Port, _: ChangeBatch, _: &mut Output) -> Result<Flow> {
            Ok(Flow::Done)
        }
        fn on_watermark(&mut self, watermark: i64) {
            self.0.push(2000 + watermark);
        }
        fn on_epoch_end(&mut self, _: Epoch, out: &mut Output) -> Result<Flow> {
            out.push(rows(&std::mem::take(&mut self.0)));
            Ok(Flow::Done)
        }
    }

    #[test]
    fn marks_make_an_epoch_and_are_told_before_its_end() {
        use weir_common::ObjectId;
        use weir_exec::event_time::{Watermark, WatermarkExpr};

        let time = EventTime { object: ObjectId(7), column: 0 };
        let mark = |value| vec![Mark { time, split: String::new(), news: News::Upto(value) }];
        let clock = EventClock::of(&mark(5));
        let watermark = Watermark::new(&WatermarkExpr::Of(time).shifted(-1)).unwrap();
        let watched = Watched::new(watermark, EventTime::of_output(0), &clock);
        let watcher = HostNode { watermark: Some(watched), ..node(Watcher::default(), vec![]) };
        let mut host = FragmentHost::new(vec![watcher], vec![(0, Port(0))], at(1), Beginning::Restored)
            .at_event_time(clock, vec![]);
        host.offer_marks(at(3), mark(9));
        host.offer_marks(at(4), mark(8));
        assert!(run(&mut host).is_empty());
        host.advance(at(2), []);
        assert!(run(&mut host).is_empty(), "the marks are those of a later epoch");
        host.advance(at(6), [Moment::end_of(Epoch(3))]);
        let expected = ["3:2004", "3:2008", "done 3", "checkpoint 3.65535", "done 4"];
        assert_eq!(run(&mut host), expected, "time that does not advance is not told");
    }
}
