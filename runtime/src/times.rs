//! `EpochTimes`: when epochs were closed, as subscriptions tell it to their clients.
//!
//! Times are in microseconds since 1970 and grow strictly with epochs, so a time names an epoch: the *resume token* of
//! a subscription. They are in memory, of the newest epochs only.

use std::collections::BTreeMap;

use weir_common::Epoch;

/// Epochs whose time is remembered.
const REMEMBERED: usize = 1 << 20;

/// The times of the newest epochs.
#[derive(Default)]
pub struct EpochTimes {
    times: BTreeMap<Epoch, i64>,
    last: i64,
}

impl EpochTimes {
    /// Notes that `epoch` is closed now.
    pub fn close(&mut self, epoch: Epoch, now_micros: i64) {
        self.last = now_micros.max(self.last + 1);
        self.times.insert(epoch, self.last);
        if self.times.len() > REMEMBERED {
            self.times.pop_first();
        }
    }

    /// When `epoch` was closed; of one that is not remembered, the time of the first later one that is.
    pub fn of(&self, epoch: Epoch) -> i64 {
        self.times.range(epoch..).next().map_or(self.last, |(_, time)| *time)
    }

    /// The last epoch that was closed at `time` or before; `None` when that is too long ago.
    pub fn epoch_at(&self, time: i64) -> Option<Epoch> {
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
            times.close(Epoch(epoch), now);
        }
        assert_eq!([1, 2, 3, 4, 5, 6].map(|e| times.of(Epoch(e))), [100, 101, 102, 300, 300, 300]);
        let at = |time| times.epoch_at(time).map(|epoch| epoch.0);
        assert_eq!(
            [99, 100, 101, 250, 300, 999].map(at),
            [None, Some(1), Some(2), Some(3), Some(5), Some(5)]
        );
    }
}
