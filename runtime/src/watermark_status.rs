//! What `sys.watermarks` shows: how far event time is for a job, and what holds its watermarks back.

use weir_common::{Epoch, JobId};
use weir_exec::event_time::{EventTime, Watermark};

use crate::event_time::{EventClock, Mark};
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
    pub event_time: i64,
    /// Of an input: whether a watermark of the job would advance if this one did.
    pub blocks: Option<bool>,
}

/// The event times of a job.
pub fn of_job(job: &Job) -> Vec<WatermarkStatus> {
    let status = |time: EventTime, split: Option<String>, event_time: i64, blocks: Option<bool>| {
        let name = job.graph.name.clone();
        WatermarkStatus { job: job.id, name, time, split, event_time, blocks }
    };
    let marks = job.split_times.at(Epoch::MAX);
    let blocking = blocking(job, &marks);
    let mut all: Vec<WatermarkStatus> = marks
        .into_iter()
        .zip(blocking)
        .map(|(mark, blocks)| {
            let split = Some(mark.split).filter(|split| !split.is_empty());
            status(mark.time, split, mark.value, Some(blocks))
        })
        .collect();
    if let Output::Relation(view) = &job.output {
        let columns = view.event_times.now().into_iter();
        let time = |column| EventTime { object: view.id, column };
        all.extend(columns.map(|(column, watermark)| status(time(column), None, watermark, None)));
    }
    all
}

/// Of each mark: whether a watermark would advance if it did.
fn blocking(job: &Job, marks: &[Mark]) -> Vec<bool> {
    let of_nodes = job.graph.nodes.iter().filter_map(|node| node.watermark.as_ref());
    let all = of_nodes.chain(job.graph.watermarks.iter().map(|(_, watermark)| watermark));
    let watermarks: Vec<Watermark> = all.filter_map(|expr| Watermark::new(expr).ok()).collect();
    let now = EventClock::of(marks);
    let later = |mark: &Mark| {
        let mut clock = now.clone();
        clock.advance(&Mark { value: mark.value.saturating_add(MUCH_LATER), ..mark.clone() });
        let advances = |w: &Watermark| w.evaluate(&|t| clock.at(t)) > w.evaluate(&|t| now.at(t));
        watermarks.iter().any(advances)
    };
    marks.iter().map(later).collect()
}
