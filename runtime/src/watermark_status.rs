//! What `sys.watermarks` shows: how far event time is for a job, and what holds its watermarks back.

use weir_common::{Epoch, JobId};
use weir_exec::event_time::{EventTime, Reached, Watermark};

use crate::event_time::{EventClock, Mark, News};
use crate::job::{Job, Output};

/// An event time that would have to be so much later, in microseconds, is later by any measure: 400 days.
const MUCH_LATER: i64 = 400 * 86_400 * 1_000_000;

/// The event time of an input of a job, or the watermark of a column of its view.
#[derive(Clone, Debug)]
pub struct WatermarkStatus {
    pub job: JobId,
    pub name: String,
    /// The input's column, or the view's.
    pub time: EventTime,
    /// Of a source.
    pub split: Option<String>,
    /// `None` before there is one.
    pub event_time: Option<i64>,
    /// Nothing comes there for its idle timeout, so nobody waits for it.
    pub is_idle: bool,
    /// Of an input: whether a watermark of the job would advance if this one did.
    pub blocks: Option<bool>,
}

/// The event times of a job.
pub fn of_job(job: &Job) -> Vec<WatermarkStatus> {
    let status = |time: EventTime, split: Option<String>, reached: Reached, blocks: Option<bool>| {
        let (name, Reached { value: event_time, is_idle }) = (job.graph.name.clone(), reached);
        WatermarkStatus { job: job.id, name, time, split, event_time, is_idle, blocks }
    };
    let marks = job.split_times.at(Epoch::MAX);
    let clock = EventClock::of(&marks);
    let watermarks = watermarks(job);
    let mut all = Vec::new();
    for (time, splits) in clock.splits() {
        for (split, reached) in splits {
            let blocks = blocks(&watermarks, &clock, (*time, split, reached.value));
            let split = Some(split.clone()).filter(|split| !split.is_empty());
            all.push(status(*time, split, *reached, Some(blocks)));
        }
    }
    if let Output::Relation(view) = &job.output {
        let columns = view.event_times.now().into_iter().filter(|(_, time)| *time != Reached::default());
        let time = |column| EventTime { object: view.id, column };
        all.extend(columns.map(|(column, watermark)| status(time(column), None, watermark, None)));
    }
    all
}

/// All that operators and readers of a job are told.
fn watermarks(job: &Job) -> Vec<Watermark> {
    let of_nodes = job.graph.nodes.iter().filter_map(|node| node.watermark.as_ref());
    let all = of_nodes.chain(job.graph.watermarks.iter().map(|(_, watermark)| watermark));
    all.filter_map(|expr| Watermark::new(expr).ok()).collect()
}

/// Whether a watermark would advance if this split did.
fn blocks(
    watermarks: &[Watermark],
    now: &EventClock,
    (time, split, value): (EventTime, &str, Option<i64>),
) -> bool {
    let news = News::Upto(value.unwrap_or(0).saturating_add(MUCH_LATER));
    let mut clock = now.clone();
    clock.advance(&Mark { time, split: split.to_owned(), news });
    let advances = |w: &Watermark| w.evaluate(&|t| clock.at(t)).value > w.evaluate(&|t| now.at(t)).value;
    watermarks.iter().any(advances)
}
