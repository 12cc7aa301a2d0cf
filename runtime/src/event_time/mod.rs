//! Event time by epoch: of a table's or view's columns, and of the splits of sources as a job has read them.
//!
//! A relation's event time is a part of it like its rows: of a table the greatest value of its time column that was ever
//! inserted, of a view the watermark of a column, both as of the end of each epoch. A source has none of its own, since
//! each job reads it by itself: the feeds report what they read ([`SplitTimes`]). Either way a job hears of it in *marks*,
//! which travel beside the rows with the epoch they belong to, to every worker: whoever has all rows of an epoch has its
//! marks too, so all workers see the same watermarks in the same epochs, and see them again after a restart.
//!
//! That an input is *idle* is a fact of an epoch too: the sequencer writes into the log which table or split has brought
//! nothing for its `idle_timeout`, and the first rows that come again end it. Marks tell it to jobs, whose watermarks
//! leave it out meanwhile. What they have told operators does not go back when it comes again: that is remembered as
//! marks of its own ([`EventTime::of_operator`]), in checkpoints too.
//!
//! [`EventTime::of_operator`]: weir_exec::event_time::EventTime::of_operator

mod clock;
mod history;
mod mark;
mod splits;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use weir_common::Epoch;
use weir_exec::event_time::Reached;

pub use self::clock::{EventClock, Watched};
pub use self::history::History;
pub use self::mark::{Mark, News, addressee, decode, encode};
pub use self::splits::SplitTimes;

/// What a table or source says of its event time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeSpec {
    /// The position of the column that its WATERMARK is for.
    pub column: usize,
    /// The most that event time advances in an epoch, in microseconds.
    pub max_jump: Option<i64>,
    /// Without a row for so long it is idle.
    pub idle_timeout: Option<Duration>,
    pub alignment: Option<Alignment>,
}

/// The sources that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    pub group: String,
    /// How far one may be ahead of the last of its group, in microseconds.
    pub max_drift: i64,
}

/// Event times of a relation's columns.
#[derive(Debug, Default)]
pub struct EventTimes(Mutex<BTreeMap<usize, ColumnTime>>);

#[derive(Debug, Default)]
struct ColumnTime {
    upto: History<i64>,
    idle: History<bool>,
}

impl EventTimes {
    /// With the end of `epoch` there is this news of the column's event time; nobody needs what was before `needed`.
    pub fn note(&self, column: usize, epoch: Epoch, news: News, needed: Epoch) {
        let mut columns = self.0.lock();
        let ColumnTime { upto, idle } = columns.entry(column).or_default();
        match news {
            News::Upto(value) => upto.advance(epoch, value),
            News::Idle => idle.set(epoch, true),
            // That it is active need not be known of one that never was idle.
            News::Active if idle.last().is_none() => {}
            News::Active => idle.set(epoch, false),
        }
        upto.forget_before(needed);
        idle.forget_before(needed);
    }

    /// A column's event time at the end of `epoch`.
    pub fn at(&self, column: usize, epoch: Epoch) -> Reached {
        let columns = self.0.lock();
        let Some(time) = columns.get(&column) else { return Reached::default() };
        Reached { value: time.upto.at(epoch), is_idle: time.idle.at(epoch).unwrap_or(false) }
    }

    /// What is new of a column's event time with the end of one epoch, and what was new up to there; then the news after it
    /// and before another.
    pub fn news(&self, column: usize, from: Epoch, before: Epoch) -> Vec<(Epoch, News)> {
        let columns = self.0.lock();
        let Some(ColumnTime { upto, idle }) = columns.get(&column) else { return Vec::new() };
        let values = upto.at(from).map(|value| (from, value)).into_iter().chain(upto.between(from, before));
        let turns =
            idle.at(from).map(|is_idle| (from, is_idle)).into_iter().chain(idle.between(from, before));
        let values = values.map(|(epoch, value)| (epoch, News::Upto(value)));
        values.chain(turns.map(|(epoch, is_idle)| (epoch, News::idle(is_idle)))).collect()
    }

    /// Every column's event time now.
    pub fn now(&self) -> Vec<(usize, Reached)> {
        let columns = self.0.lock();
        let now = |time: &ColumnTime| Reached {
            value: time.upto.last(),
            is_idle: time.idle.last().unwrap_or(false),
        };
        columns.iter().map(|(column, time)| (*column, now(time))).collect()
    }
}

#[cfg(test)]
mod testing {
    //! Marks for tests.

    use weir_common::ObjectId;
    use weir_exec::event_time::EventTime;

    use super::{Mark, News};

    /// An event time has come so far.
    pub fn mark(object: u32, split: &str, value: i64) -> Mark {
        let time = EventTime { object: ObjectId(object), column: 2 };
        Mark { time, split: split.into(), news: News::Upto(value) }
    }
}
