//! `History`: what something was, by epoch.

use std::collections::VecDeque;

use weir_common::Epoch;

/// A value by epoch, of those epochs that somebody may still ask for.
#[derive(Clone, Debug)]
pub struct History<T>(VecDeque<(Epoch, T)>);

impl<T> Default for History<T> {
    fn default() -> Self {
        History(VecDeque::new())
    }
}

impl<T: Copy + PartialEq> History<T> {
    /// From the end of `epoch` on it is `value`, until the next change that is known. Changes come in order, but for those
    /// that a restart finds after what is known from a checkpoint.
    pub fn set(&mut self, epoch: Epoch, value: T) {
        if self.at(epoch) == Some(value) {
            return;
        }
        let place = self.0.partition_point(|(at, _)| *at < epoch);
        match self.0.get_mut(place) {
            Some((at, known)) if *at == epoch => *known = value,
            _ => self.0.insert(place, (epoch, value)),
        }
        if self.0.get(place + 1).is_some_and(|(_, next)| *next == value) {
            self.0.remove(place + 1);
        }
    }

    /// The value at the end of `epoch`.
    pub fn at(&self, epoch: Epoch) -> Option<T> {
        let after = self.0.partition_point(|(at, _)| *at <= epoch);
        self.0.get(after.checked_sub(1)?).map(|(_, value)| *value)
    }

    /// The changes after one epoch and before another.
    pub fn between(&self, after: Epoch, before: Epoch) -> impl Iterator<Item = (Epoch, T)> + '_ {
        let first = self.0.partition_point(|(at, _)| *at <= after);
        self.0.range(first..).copied().take_while(move |(at, _)| *at < before)
    }

    /// The value now.
    pub fn last(&self) -> Option<T> {
        self.0.back().map(|(_, value)| *value)
    }

    /// Nobody asks for epochs before this one any more.
    pub fn forget_before(&mut self, epoch: Epoch) {
        while self.0.get(1).is_some_and(|(at, _)| *at <= epoch) {
            self.0.pop_front();
        }
    }
}

impl History<i64> {
    /// With the end of `epoch`, and of all later ones, it is at least `value`.
    pub fn advance(&mut self, epoch: Epoch, value: i64) {
        if self.at(epoch).is_some_and(|known| known >= value) {
            return;
        }
        self.set(epoch, value);
        let next = self.0.partition_point(|(at, _)| *at <= epoch);
        while self.0.get(next).is_some_and(|(_, later)| *later <= value) {
            self.0.remove(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_knows_what_was_when() {
        let mut history = History::default();
        for (epoch, value) in [(3, 10), (5, 8), (6, 12), (6, 13), (9, 20)] {
            history.advance(Epoch(epoch), value);
        }
        let at = |history: &History<i64>, epoch| history.at(Epoch(epoch));
        assert_eq!(
            [2, 3, 5, 6, 8, 100].map(|e| at(&history, e)),
            [None, Some(10), Some(10), Some(13), Some(13), Some(20)]
        );
        assert_eq!(history.between(Epoch(3), Epoch(9)).collect::<Vec<_>>(), [(Epoch(6), 13)]);
        history.forget_before(Epoch(8));
        assert_eq!((at(&history, 5), at(&history, 8), history.last()), (None, Some(13), Some(20)));
    }

    #[test]
    fn a_restart_finds_earlier_changes_after_later_ones() {
        let mut times = History::default();
        for (epoch, value) in [(9, 20), (3, 10), (6, 15), (7, 12), (11, 30)] {
            times.advance(Epoch(epoch), value);
        }
        let all: Vec<_> =
            times.between(Epoch(0), Epoch::MAX).map(|(epoch, value)| (epoch.0, value)).collect();
        assert_eq!(all, [(3, 10), (6, 15), (9, 20), (11, 30)]);
        let mut idle = History::default();
        for (epoch, is_idle) in [(9, true), (3, false), (5, true), (7, false), (9, true)] {
            idle.set(Epoch(epoch), is_idle);
        }
        let at: Vec<_> = (2..10).map(|epoch| idle.at(Epoch(epoch))).collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(at, [None, no, no, yes, yes, no, no, yes]);
    }
}
