//! `EpochTimes`: when epochs were closed, as subscriptions tell it to their clients.
//!
//! Times are in microseconds since 1970 and grow strictly with epochs, so a time names an epoch: the *resume token* of
//! a subscription. They are in memory, of the newest epochs only; after a restart there are those of the log, and those
//! that checkpoints keep for subscriptions to go on from.

use std::collections::BTreeMap;

use weir_common::Epoch;

/// Epochs whose time is remembered.
const REMEMBERED: usize = 1 << 20;

/// The times of the newest epochs.
#[derive(Default)]
pub struct EpochTimes {
    times: BTreeMap<Epoch, i64>,
    last: i64,
    /// Of what was there at the start: no epoch of the time between is known.
    gap: Option<(i64, i64)>,
}

impl EpochTimes {
    /// The time that an epoch gets which is closed now.
    pub fn next(&self, now_micros: i64) -> i64 {
        now_micros.max(self.last + 1)
    }

    /// Notes when an epoch was closed before a restart.
    pub fn restore(&mut self, epoch: Epoch, closed_micros: i64) {
        if closed_micros > 0 {
            self.times.insert(epoch, closed_micros);
            self.last = self.last.max(closed_micros);
        }
    }

    /// All that is known from before was restored. What else was committed until now may be lost.
    pub fn restored(&mut self, now_micros: i64) {
        self.gap = Some((self.last, now_micros));
    }

    /// Notes that `epoch` is closed at a time that [`Self::next`] gave.
    pub fn close(&mut self, epoch: Epoch, closed_micros: i64) {
        self.last = closed_micros;
        self.times.insert(epoch, closed_micros);
        if self.times.len() > REMEMBERED {
            self.times.pop_first();
        }
    }

    /// When `epoch` was closed; of one that is not remembered, the time of the first later one that is.
    pub fn of(&self, epoch: Epoch) -> i64 {
        self.times.range(epoch..).next().map_or(self.last, |(_, time)| *time)
    }

    /// The last epoch that was closed at `time` or before; `None` when that is too long ago, or was lost in a crash.
    pub fn epoch_at(&self, time: i64) -> Option<Epoch> {
        if self.gap.is_some_and(|(last, start)| time > last && time < start) {
            return None;
        }
        let after = self.times.iter().rev().take_while(|(_, at)| **at > time).count();
        self.times.iter().rev().nth(after).map(|(epoch, _)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_grow_and_name_epochs() {
        let mut times = EpochTimes::default();
        for (epoch, now) in [(1, 100), (2, 100), (3, 90), (5, 300)] {
            let time = times.next(now);
            times.close(Epoch(epoch), time);
        }
        assert_eq!([1, 2, 3, 4, 5, 6].map(|e| times.of(Epoch(e))), [100, 101, 102, 300, 300, 300]);
        let at = |time| times.epoch_at(time).map(|epoch| epoch.0);
        assert_eq!(
            [99, 100, 101, 250, 300, 999].map(at),
            [None, Some(1), Some(2), Some(3), Some(5), Some(5)]
        );
    }

    #[test]
    fn what_a_crash_may_have_lost_names_no_epoch() {
        let mut times = EpochTimes::default();
        times.restore(Epoch(7), 700);
        times.restore(Epoch(4), 400);
        times.restored(1_000);
        let at = |times: &EpochTimes, time| times.epoch_at(time).map(|epoch| epoch.0);
        assert_eq!(
            [399, 400, 699, 700, 701, 999].map(|t| at(&times, t)),
            [None, Some(4), Some(4), Some(7), None, None]
        );
        let time = times.next(990);
        times.close(Epoch(8), time);
        assert_eq!((at(&times, 1_000), times.of(Epoch(5))), (Some(8), 700));
    }
}
