//! Event time by epoch: of a table's or view's columns, and of the splits of sources as a job has read them.
//!
//! A relation's event time is a part of it like its rows: of a table the greatest value of its time column that was ever
//! inserted, of a view the watermark of a column, both as of the end of each epoch. A source has none of its own, since
//! each job reads it by itself: the feeds report what they read ([`SplitTimes`]). Either way a job hears of it in *marks*,
//! which travel beside the rows with the epoch they belong to, to every worker: whoever has all rows of an epoch has its
//! marks too, so all workers see the same watermarks in the same epochs, and see them again after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};
use weir_exec::event_time::{EventTime, Watermark};

use crate::output::positional_schema;

/// A value that only grows, by epoch.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<(Epoch, i64)>);

impl History {
    /// With the end of `epoch` it is at least `value`.
    pub fn advance(&mut self, epoch: Epoch, value: i64) {
        match self.0.back_mut() {
            Some((_, last)) if *last >= value => {}
            Some((at, last)) if *at >= epoch => *last = value,
            _ => self.0.push_back((epoch, value)),
        }
    }

    /// The value at the end of `epoch`.
    pub fn at(&self, epoch: Epoch) -> Option<i64> {
        let after = self.0.partition_point(|(at, _)| *at <= epoch);
        self.0.get(after.checked_sub(1)?).map(|(_, value)| *value)
    }

    /// The changes after one epoch and before another.
    pub fn between(&self, after: Epoch, before: Epoch) -> impl Iterator<Item = (Epoch, i64)> + '_ {
        let first = self.0.partition_point(|(at, _)| *at <= after);
        self.0.range(first..).copied().take_while(move |(at, _)| *at < before)
    }

    /// The value now.
    pub fn last(&self) -> Option<i64> {
        self.0.back().map(|(_, value)| *value)
    }

    /// Nobody asks for epochs before this one any more.
    pub fn forget_before(&mut self, epoch: Epoch) {
        while self.0.get(1).is_some_and(|(at, _)| *at <= epoch) {
            self.0.pop_front();
        }
    }
}

/// Event times of a relation's columns.
#[derive(Debug, Default)]
pub struct EventTimes(Mutex<BTreeMap<usize, History>>);

impl EventTimes {
    /// With the end of `epoch` the column's event time is at least `value`; nobody needs it before `needed`.
    pub fn advance(&self, column: usize, epoch: Epoch, value: i64, needed: Epoch) {
        let mut columns = self.0.lock();
        let history = columns.entry(column).or_default();
        history.advance(epoch, value);
        history.forget_before(needed);
    }

    /// A column's event time at the end of `epoch`.
    pub fn at(&self, column: usize, epoch: Epoch) -> Option<i64> {
        self.0.lock().get(&column)?.at(epoch)
    }

    /// The changes of a column's event time after one epoch and before another.
    pub fn between(&self, column: usize, after: Epoch, before: Epoch) -> Vec<(Epoch, i64)> {
        self.0.lock().get(&column).map_or_else(Vec::new, |history| history.between(after, before).collect())
    }

    /// Every column's event time now.
    pub fn now(&self) -> Vec<(usize, i64)> {
        let columns = self.0.lock();
        columns.iter().filter_map(|(column, history)| Some((*column, history.last()?))).collect()
    }
}

/// An event time of a job's input has come so far in a split; a relation has one split without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub time: EventTime,
    pub split: String,
    pub value: i64,
}

/// Marks on their way through a dataflow to a worker.
pub fn encode(marks: &[Mark], to: usize) -> Result<ChangeBatch> {
    let numbers = |number: fn(&Mark) -> i64| Arc::new(Int64Array::from_iter_values(marks.iter().map(number)));
    let splits = marks.iter().map(|mark| Some(mark.split.as_str())).collect::<StringArray>();
    let columns: Vec<ArrayRef> = vec![
        numbers(|mark| i64::from(mark.time.object.0)),
        numbers(|mark| mark.time.column as i64),
        Arc::new(splits),
        numbers(|mark| mark.value),
        Arc::new(Int64Array::from(vec![to as i64; marks.len()])),
    ];
    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
    Ok(ChangeBatch::inserts(record_batch(positional_schema(&types), columns, marks.len())?))
}

/// The worker that marks are on their way to.
pub fn addressee(batch: &ChangeBatch) -> Option<usize> {
    batch.columns().last()?.as_primitive_opt::<Int64Type>()?.values().first().map(|to| *to as usize)
}

/// What [`encode`] made.
pub fn decode(batch: &ChangeBatch) -> Result<Vec<Mark>> {
    let damaged = || Error::internal("a batch that holds no marks");
    let numbers = |column: usize| {
        batch.columns().get(column).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(damaged)
    };
    let (objects, columns, values) = (numbers(0)?, numbers(1)?, numbers(3)?);
    let splits = batch.columns()[2].as_string_opt::<i32>().ok_or_else(damaged)?;
    let mark = |row: usize| Mark {
        time: EventTime {
            object: weir_common::ObjectId(objects.value(row) as u32),
            column: columns.value(row) as usize,
        },
        split: splits.value(row).to_owned(),
        value: values.value(row),
    };
    Ok((0..batch.len()).map(mark).collect())
}

/// The event times of a job's inputs, as one worker knows them.
#[derive(Clone, Debug, Default)]
pub struct EventClock(BTreeMap<EventTime, BTreeMap<String, i64>>);

impl EventClock {
    /// As these marks say.
    pub fn of(marks: &[Mark]) -> EventClock {
        let mut clock = EventClock::default();
        marks.iter().for_each(|mark| clock.advance(mark));
        clock
    }

    /// Takes a mark in.
    pub fn advance(&mut self, mark: &Mark) {
        let splits = self.0.entry(mark.time).or_default();
        let value = splits.entry(mark.split.clone()).or_insert(mark.value);
        *value = mark.value.max(*value);
    }

    /// The event time of an input: that of the split that is furthest behind.
    pub fn at(&self, time: EventTime) -> Option<i64> {
        self.0.get(&time)?.values().min().copied()
    }
}

/// The event times of a job's inputs by split and epoch, as the feeds of each worker report them.
#[derive(Debug, Default)]
pub struct SplitTimes(Mutex<BTreeMap<(EventTime, String), Vec<History>>>);

impl SplitTimes {
    /// As a checkpoint at `epoch` has them.
    pub fn restored(marks: &[Mark], epoch: Epoch) -> SplitTimes {
        let times = SplitTimes::default();
        marks.iter().for_each(|mark| times.report(0, epoch, mark));
        times
    }

    /// With the end of `epoch` a worker has read as far in a split as the mark says.
    pub fn report(&self, worker: usize, epoch: Epoch, mark: &Mark) {
        let mut times = self.0.lock();
        let by_worker = times.entry((mark.time, mark.split.clone())).or_default();
        by_worker.resize_with(by_worker.len().max(worker + 1), History::default);
        by_worker[worker].advance(epoch, mark.value);
    }

    /// The marks as of the end of `epoch`.
    pub fn at(&self, epoch: Epoch) -> Vec<Mark> {
        let times = self.0.lock();
        let mark = |((time, split), by_worker): (&(EventTime, String), &Vec<History>)| {
            let value = by_worker.iter().filter_map(|history| history.at(epoch)).max()?;
            Some(Mark { time: *time, split: split.clone(), value })
        };
        times.iter().filter_map(mark).collect()
    }

    /// A checkpoint at `epoch` holds them.
    pub fn checkpointed(&self, epoch: Epoch) {
        self.0.lock().values_mut().flatten().for_each(|history| history.forget_before(epoch));
    }
}

/// A watermark, and what it was when it was looked at last.
pub struct Watched {
    watermark: Watermark,
    last: Option<i64>,
    /// A time, and when the clock will have brought the watermark behind it.
    passing: Option<(i64, i64)>,
}

impl Watched {
    /// Not looked at yet.
    pub fn new(watermark: Watermark) -> Watched {
        Watched { watermark, last: None, passing: None }
    }

    /// The watermark, given these event times.
    pub fn at(&self, clock: &EventClock) -> Option<i64> {
        self.watermark.evaluate(&|time| clock.at(time))
    }

    /// The watermark, if it has advanced.
    pub fn advanced(&mut self, clock: &EventClock) -> Option<i64> {
        let now = self.at(clock)?;
        let advanced = self.last.is_none_or(|last| last < now);
        self.last = self.last.max(Some(now));
        advanced.then_some(now)
    }

    /// The first moment of the clock at which the watermark lies behind `time`, if the clock alone brings it there.
    pub fn passes(&mut self, time: i64, clock: &EventClock) -> Option<i64> {
        let now = clock.at(EventTime::CLOCK)?;
        let is_behind = |moment| {
            let at = |of| if of == EventTime::CLOCK { Some(moment) } else { clock.at(of) };
            self.watermark.evaluate(&at).is_some_and(|watermark| watermark > time)
        };
        // Most watermarks are not of the clock: for them two looks are enough.
        if is_behind(now) || !is_behind(now.saturating_add(MICROS_AHEAD)) {
            return None;
        }
        if let Some((_, moment)) = self.passing.filter(|(of, _)| *of == time) {
            return Some(moment);
        }
        let mut ahead = (0..=MICROS_AHEAD.ilog2()).map(|bit| now.saturating_add(1 << bit));
        let last = ahead.find(|moment| is_behind(*moment))?;
        // As far ahead again as the one before it, which was not enough.
        let (mut before, mut moment) = (now + (last - now) / 2, last);
        while before + 1 < moment {
            let middle = before + (moment - before) / 2;
            if is_behind(middle) { moment = middle } else { before = middle }
        }
        self.passing = Some((time, moment));
        Some(moment)
    }
}

/// How far ahead a moment is looked for: three hundred years.
const MICROS_AHEAD: i64 = 1 << 53;

#[cfg(test)]
mod tests {
    use weir_common::ObjectId;
    use weir_exec::event_time::WatermarkExpr;

    use super::*;

    fn mark(object: u32, split: &str, value: i64) -> Mark {
        Mark { time: EventTime { object: ObjectId(object), column: 2 }, split: split.into(), value }
    }

    #[test]
    fn a_history_knows_what_was_when() {
        let mut history = History::default();
        for (epoch, value) in [(3, 10), (5, 8), (6, 12), (6, 13), (9, 20)] {
            history.advance(Epoch(epoch), value);
        }
        let at = |history: &History, epoch| history.at(Epoch(epoch));
        assert_eq!(
            [2, 3, 5, 6, 8, 100].map(|e| at(&history, e)),
            [None, Some(10), Some(10), Some(13), Some(13), Some(20)]
        );
        assert_eq!(history.between(Epoch(3), Epoch(9)).collect::<Vec<_>>(), [(Epoch(6), 13)]);
        history.forget_before(Epoch(8));
        assert_eq!((at(&history, 5), at(&history, 8), history.last()), (None, Some(13), Some(20)));
    }

    #[test]
    fn marks_travel_as_a_batch() {
        let marks = [mark(7, "0", 5), mark(8, "", -3)];
        let batch = encode(&marks, 3).unwrap();
        assert_eq!((decode(&batch).unwrap(), addressee(&batch)), (marks.to_vec(), Some(3)));
    }

    #[test]
    fn the_slowest_split_decides() {
        let mut clock = EventClock::of(&[mark(7, "a", 5)]);
        let time = mark(7, "", 0).time;
        assert_eq!(clock.at(time), Some(5));
        clock.advance(&mark(7, "b", 3));
        clock.advance(&mark(7, "a", 9));
        assert_eq!(clock.at(time), Some(3));
        clock.advance(&mark(7, "b", 2));
        assert_eq!(clock.at(time), Some(3), "time does not go back");
    }

    #[test]
    fn the_moment_is_found_at_which_the_clock_passes_a_time() {
        let clock = EventClock::of(&[Mark { time: EventTime::CLOCK, ..mark(0, "", 1000) }, mark(7, "", 5)]);
        let watched = |expr: WatermarkExpr| Watched::new(Watermark::new(&expr).unwrap());
        let mut later = watched(WatermarkExpr::Of(EventTime::CLOCK).shifted(-50));
        let passes = [949, 950, 951, 951, 5000].map(|time| later.passes(time, &clock));
        assert_eq!(passes, [None, Some(1001), Some(1002), Some(1002), Some(5051)], "949 has passed");
        let mut of_rows = watched(WatermarkExpr::Of(mark(7, "", 0).time));
        assert_eq!(of_rows.passes(9, &clock), None, "time alone does not bring it there");
    }

    #[test]
    fn split_times_are_kept_from_the_last_checkpoint_on() {
        let times = SplitTimes::restored(&[mark(7, "a", 5)], Epoch(3));
        times.report(0, Epoch(4), &mark(7, "b", 1));
        times.report(1, Epoch(6), &mark(7, "a", 8));
        times.report(0, Epoch(4), &mark(7, "a", 6));
        assert_eq!(times.at(Epoch(5)), [mark(7, "a", 6), mark(7, "b", 1)]);
        times.checkpointed(Epoch(6));
        assert_eq!(times.at(Epoch(6)), [mark(7, "a", 8), mark(7, "b", 1)]);
        assert!(times.at(Epoch(3)).is_empty());
    }
}
