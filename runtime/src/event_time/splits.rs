//! `SplitTimes`: how far event time is for a job in each split of its inputs, by epoch.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use weir_common::Epoch;
use weir_exec::event_time::EventTime;

use super::{History, Mark, News};

/// The event times of a job's inputs by split and epoch, as the feeds of each worker report them, and what its
/// operators were told.
#[derive(Debug, Default)]
pub struct SplitTimes(Mutex<BTreeMap<(EventTime, String), SplitHistory>>);

#[derive(Debug, Default)]
struct SplitHistory {
    by_worker: Vec<History<i64>>,
    idle: History<bool>,
}

impl SplitTimes {
    /// As a checkpoint at `epoch` has them.
    pub fn restored(marks: &[Mark], epoch: Epoch) -> SplitTimes {
        let times = SplitTimes::default();
        marks.iter().for_each(|mark| times.report(0, epoch, mark));
        times
    }

    /// What a worker has found of a split by the end of `epoch`.
    pub fn report(&self, worker: usize, epoch: Epoch, mark: &Mark) {
        let mut times = self.0.lock();
        let history = times.entry((mark.time, mark.split.clone())).or_default();
        match mark.news {
            News::Idle => history.idle.set(epoch, true),
            News::Active => history.idle.set(epoch, false),
            News::Upto(value) => {
                let workers = history.by_worker.len().max(worker + 1);
                history.by_worker.resize_with(workers, History::default);
                history.by_worker[worker].advance(epoch, value);
            }
        }
    }

    /// The marks as of the end of `epoch`.
    pub fn at(&self, epoch: Epoch) -> Vec<Mark> {
        let mut marks = Vec::new();
        for ((time, split), history) in &*self.0.lock() {
            let value = history.by_worker.iter().filter_map(|history| history.at(epoch)).max();
            let idle = history.idle.at(epoch).unwrap_or(false).then_some(News::Idle);
            let news = value.map(News::Upto).into_iter().chain(idle);
            marks.extend(news.map(|news| Mark { time: *time, split: split.clone(), news }));
        }
        marks
    }

    /// A checkpoint at `epoch` holds them.
    pub fn checkpointed(&self, epoch: Epoch) {
        for history in self.0.lock().values_mut() {
            history.by_worker.iter_mut().for_each(|history| history.forget_before(epoch));
            history.idle.forget_before(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::mark;
    use super::*;

    #[test]
    fn split_times_are_kept_from_the_last_checkpoint_on() {
        let times = SplitTimes::restored(&[mark(7, "a", 5)], Epoch(3));
        let idle = |is_idle| Mark { news: News::idle(is_idle), ..mark(7, "b", 0) };
        times.report(0, Epoch(4), &mark(7, "b", 1));
        times.report(1, Epoch(6), &mark(7, "a", 8));
        times.report(0, Epoch(4), &mark(7, "a", 6));
        times.report(0, Epoch(5), &idle(true));
        times.report(0, Epoch(6), &idle(false));
        assert_eq!(times.at(Epoch(4)), [mark(7, "a", 6), mark(7, "b", 1)]);
        assert_eq!(times.at(Epoch(5)), [mark(7, "a", 6), mark(7, "b", 1), idle(true)]);
        times.checkpointed(Epoch(6));
        assert_eq!(times.at(Epoch(6)), [mark(7, "a", 8), mark(7, "b", 1)]);
        assert!(times.at(Epoch(3)).is_empty());
    }
}
