//! What a worker tells the job of event time: of relations the first worker alone, of sources each what it has read.

use std::collections::BTreeMap;

use weir_common::Epoch;
use weir_exec::event_time::EventTime;

use crate::event_time::Mark;
use crate::job::{Job, Origin};
use crate::moment::Moment;
use crate::steps::StepGate;

/// The marks of a job from one worker.
pub struct MarkFeed {
    worker: usize,
    /// Marks of earlier epochs have come out.
    next: Epoch,
}

impl MarkFeed {
    /// From the job's start on: what a restored job knew of event time is in its record.
    pub fn new(job: &Job, worker: usize) -> MarkFeed {
        let start = job.start.epoch;
        let next = if job.start.reads_snapshots() { start } else { start.next() };
        MarkFeed { worker, next }
    }

    /// The marks of epochs that are complete before `fed`, in order, each epoch's with the last moment of its rows.
    /// `closed` says when an epoch was closed, for jobs that go by the clock: of the last epoch alone, since what the
    /// others would change in between nobody sees.
    pub fn below(
        &mut self,
        job: &Job,
        fed: Moment,
        closed: &dyn Fn(Epoch) -> i64,
    ) -> Vec<(Moment, Vec<Mark>)> {
        let upper = fed.epoch();
        if upper <= self.next {
            return Vec::new();
        }
        let mut marks: BTreeMap<Epoch, Vec<Mark>> = BTreeMap::new();
        for time in &job.event_times {
            for (epoch, mark) in self.of_relation(job, *time, upper) {
                job.split_times.report(self.worker, epoch, &mark);
                marks.entry(epoch).or_default().push(mark);
            }
        }
        if job.reads_clock() && self.worker == 0 {
            let last = upper.previous();
            let mark = Mark { time: EventTime::CLOCK, split: String::new(), value: closed(last) };
            job.split_times.report(self.worker, last, &mark);
            marks.entry(last).or_default().push(mark);
        }
        for (epoch, mark) in job.take_source_marks(self.worker, upper) {
            marks.entry(epoch.max(self.next)).or_default().push(mark);
        }
        self.next = upper;
        marks.into_iter().map(|(epoch, marks)| (last_moment(job, epoch), marks)).collect()
    }

    fn of_relation(&self, job: &Job, time: EventTime, upper: Epoch) -> Vec<(Epoch, Mark)> {
        let relation = job.inputs.iter().find_map(|input| match &input.origin {
            Origin::Relation { relation, .. } if relation.id == time.object => Some(relation),
            _ => None,
        });
        let Some(relation) = relation.filter(|_| self.worker == 0) else { return Vec::new() };
        let first = relation.event_times.at(time.column, self.next).map(|value| (self.next, value));
        let later = relation.event_times.between(time.column, self.next, upper);
        let mark = |value| Mark { time, split: String::new(), value };
        first.into_iter().chain(later).map(|(epoch, value)| (epoch, mark(value))).collect()
    }
}

/// The moment in which an epoch ends for the job's operators: of a snapshot in steps the very last.
fn last_moment(job: &Job, epoch: Epoch) -> Moment {
    let in_steps = epoch == job.start.epoch && job.start.steps.as_ref().is_some_and(StepGate::is_divided);
    if in_steps { Moment::end_of(epoch) } else { Moment::start_of(epoch) }
}
