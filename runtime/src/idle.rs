//! What is idle: tables and splits of sources that have brought nothing for their `idle_timeout`.
//!
//! The sequencer finds it, by the monotonic clock, while the server runs and asks the source; it is a fact of an epoch
//! then, in the log. The first rows that come again end it, also in the log. So every job sees it in the same epoch.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use weir_common::{Epoch, ObjectId};
use weir_connector::{Split, SplitRange};

use crate::engine::State;
use crate::event_time::{History, News};
use crate::relation::Relation;

/// The splits of a source: since when each brings nothing, and in which epochs each was idle.
#[derive(Debug, Default)]
pub struct SplitActivity {
    timeout: Option<Duration>,
    silent_since: BTreeMap<Split, Duration>,
    idle: BTreeMap<Split, History<bool>>,
}

impl SplitActivity {
    /// Of a source with this `idle_timeout`.
    pub fn new(timeout: Option<Duration>) -> SplitActivity {
        SplitActivity { timeout, ..SplitActivity::default() }
    }

    /// The source was asked what is new, and had these ranges of its `known` splits; what a discovery that is not
    /// complete leaves out says nothing.
    pub fn asked<'s>(
        &mut self,
        now: Duration,
        known: impl Iterator<Item = &'s Split>,
        ranges: &[SplitRange],
        is_complete: bool,
    ) {
        if self.timeout.is_none() {
            return;
        }
        for split in known {
            if is_complete && !ranges.iter().any(|range| range.split == *split) {
                self.silent_since.entry(split.clone()).or_insert(now);
            } else {
                self.silent_since.remove(split);
            }
        }
    }

    /// The source could not be asked: nobody knows whether there is something.
    pub fn not_asked(&mut self) {
        self.silent_since.clear();
    }

    /// The splits that are idle by now and were not yet.
    pub fn newly_idle(&self, now: Duration) -> Vec<Split> {
        self.due().filter(|(_, due)| *due <= now).map(|(split, _)| split.clone()).collect()
    }

    /// When the next split will be idle if nothing comes.
    pub fn next(&self) -> Option<Duration> {
        self.due().map(|(_, due)| due).min()
    }

    fn due(&self) -> impl Iterator<Item = (&Split, Duration)> {
        let timeout = self.timeout;
        let waited_for = self.silent_since.iter().filter(|(split, _)| !self.is_idle(split));
        waited_for.filter_map(move |(split, since)| Some((split, *since + timeout?)))
    }

    /// Whether it is idle now.
    pub fn is_idle(&self, split: &str) -> bool {
        self.idle.get(split).and_then(History::last).unwrap_or(false)
    }

    /// With the end of `epoch` a split is idle.
    pub fn set_idle(&mut self, split: &str, epoch: Epoch) {
        self.idle.entry(split.to_owned()).or_default().set(epoch, true);
    }

    /// Rows of a split come in `epoch`.
    pub fn set_active(&mut self, split: &str, epoch: Epoch) {
        self.silent_since.remove(split);
        if let Some(history) = self.idle.get_mut(split) {
            history.set(epoch, false);
        }
    }

    /// Those idle at the end of `epoch`.
    pub fn idle_at(&self, epoch: Epoch) -> Vec<Split> {
        let is_idle = |history: &History<bool>| history.at(epoch).unwrap_or(false);
        self.idle.iter().filter(|(_, history)| is_idle(history)).map(|(split, _)| split.clone()).collect()
    }

    /// What is new with the end of one epoch, with what was up to there, and after it before another.
    pub fn news(&self, from: Epoch, before: Epoch) -> Vec<(Epoch, Split, News)> {
        let of_split = |(split, history): (&Split, &History<bool>)| -> Vec<_> {
            let first = history.at(from).map(|is_idle| (from, is_idle));
            let all = first.into_iter().chain(history.between(from, before));
            all.map(|(epoch, is_idle)| (epoch, split.clone(), News::idle(is_idle))).collect()
        };
        self.idle.iter().flat_map(of_split).collect()
    }

    /// Nobody asks for epochs before this one any more.
    pub fn forget_before(&mut self, epoch: Epoch) {
        self.idle.values_mut().for_each(|history| history.forget_before(epoch));
    }
}

/// When tables with an `idle_timeout` got rows last.
#[derive(Debug, Default)]
pub struct TableActivity(HashMap<ObjectId, Duration>);

impl TableActivity {
    /// A table got rows.
    pub fn got_rows(&mut self, table: ObjectId, now: Duration) {
        if let Some(last) = self.0.get_mut(&table) {
            *last = now;
        }
    }

    /// Nothing counts as idle before its whole timeout has passed again.
    pub fn restart(&mut self) {
        self.0.clear();
    }

    /// What is idle by now and was not yet: tables but for those that `gets_rows` names, and splits of sources.
    pub fn newly_idle(
        &mut self,
        state: &State,
        gets_rows: impl Fn(ObjectId) -> bool,
        now: Duration,
    ) -> Vec<(ObjectId, Split)> {
        let mut found = Vec::new();
        self.0.retain(|table, _| state.relations.contains_key(table));
        for (table, timeout) in waited_for(state) {
            let last = *self.0.entry(table.id).or_insert(now);
            if now.saturating_sub(last) >= timeout && !gets_rows(table.id) {
                found.push((table.id, Split::new()));
            }
        }
        for source in state.sources.values() {
            found.extend(source.newly_idle(now).into_iter().map(|split| (source.id, split)));
        }
        found
    }

    /// When the next table or split will be idle if nothing comes.
    pub fn next(&self, state: &State, now: Duration) -> Option<Duration> {
        let of_table = |(table, timeout): (&Relation, Duration)| {
            self.0.get(&table.id).map_or(now, |last| *last) + timeout
        };
        let of_sources = state.sources.values().filter_map(|source| source.next_idle());
        waited_for(state).map(of_table).chain(of_sources).min()
    }
}

/// The tables with an `idle_timeout` that are not idle.
fn waited_for(state: &State) -> impl Iterator<Item = (&Relation, Duration)> {
    let tables = state.idle_tables.iter().filter_map(|id| state.relations.get(id));
    tables.filter_map(|table| {
        let time = table.time.as_ref()?;
        let is_idle = table.event_times.at(time.column, Epoch::MAX).is_idle;
        Some((table.as_ref(), time.idle_timeout.filter(|_| !is_idle)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_idle_when_it_was_asked_all_the_time() {
        let seconds = Duration::from_secs;
        let known: Vec<Split> = ["a", "b"].map(Split::from).into();
        let range = |split: &str| SplitRange { split: split.into(), from: 0, to: 1 };
        let mut splits = SplitActivity::new(Some(seconds(10)));
        splits.asked(seconds(1), known.iter(), &[range("a")], true);
        assert_eq!((splits.next(), splits.newly_idle(seconds(10))), (Some(seconds(11)), vec![]));
        assert_eq!(splits.newly_idle(seconds(11)), ["b"]);
        splits.not_asked();
        splits.asked(seconds(11), known.iter(), &[], false);
        assert_eq!(splits.next(), None, "what the budget had no room for");
        splits.asked(seconds(12), known.iter(), &[range("a")], true);
        splits.set_idle("b", Epoch(7));
        assert_eq!((splits.newly_idle(seconds(30)), splits.idle_at(Epoch(7))), (vec![], known[1..].to_vec()));
        splits.set_active("b", Epoch(9));
        splits.set_active("a", Epoch(9));
        let news = splits.news(Epoch(8), Epoch(10));
        let of_b = |epoch, news| (Epoch(epoch), Split::from("b"), news);
        assert_eq!(news, [of_b(8, News::Idle), of_b(9, News::Active)]);
        assert!(splits.idle_at(Epoch(9)).is_empty());
    }
}
