//! What a worker tells the job of event time: of relations the first worker alone, of sources each what it has read.

use std::collections::BTreeMap;

use weir_common::Epoch;
use weir_exec::event_time::EventTime;

use crate::event_time::{Mark, News};
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
            for (epoch, mark) in self.of_input(job, *time, upper) {
                job.split_times.report(self.worker, epoch, &mark);
                marks.entry(epoch).or_default().push(mark);
            }
        }
        if job.reads_clock() && self.worker == 0 {
            let last = upper.previous();
            let news = News::Upto(closed(last));
            let mark = Mark { time: EventTime::CLOCK, split: String::new(), news };
            job.split_times.report(self.worker, last, &mark);
            marks.entry(last).or_default().push(mark);
        }
        for (epoch, mark) in job.take_source_marks(self.worker, upper) {
            marks.entry(epoch.max(self.next)).or_default().push(mark);
        }
        self.next = upper;
        marks.into_iter().map(|(epoch, marks)| (last_moment(job, epoch), marks)).collect()
    }

    /// Of a relation all there is; of a source which of its splits are idle.
    fn of_input(&self, job: &Job, time: EventTime, upper: Epoch) -> Vec<(Epoch, Mark)> {
        let news = job.inputs.iter().filter(|_| self.worker == 0).find_map(|input| match &input.origin {
            Origin::Relation { relation, .. } if relation.id == time.object => {
                let news = relation.event_times.news(time.column, self.next, upper).into_iter();
                Some(news.map(|(epoch, news)| (epoch, String::new(), news)).collect())
            }
            Origin::Source { source, .. } if source.id == time.object => {
                Some(source.idle_news(self.next, upper))
            }
            _ => None,
        });
        let mark = |(epoch, split, news)| (epoch, Mark { time, split, news });
        news.unwrap_or_default().into_iter().map(mark).collect()
    }
}

/// The moment in which an epoch ends for the job's operators: of a snapshot in steps the very last.
fn last_moment(job: &Job, epoch: Epoch) -> Moment {
    let in_steps = epoch == job.start.epoch && job.start.steps.as_ref().is_some_and(StepGate::is_divided);
    if in_steps { Moment::end_of(epoch) } else { Moment::start_of(epoch) }
}
