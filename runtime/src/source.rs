//! `SourceState`: an external source at run time: which offsets belong to which epoch.
//!
//! A *binding* ties ranges of offsets to an epoch, once for all jobs; it is written to the log with the epoch.
//! The budget of an epoch follows the fastest reader, so that an epoch takes it about 50–200 ms: an unlimited
//! generator runs as fast as the job that reads it, with a few epochs in flight.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_common::{Epoch, Error, JobId, ObjectId, Result};
use weir_connector::{Discovery, Reading, Source, SourceOffsets, Split, SplitRange};

use crate::event_time::{Alignment, Mark, News, TimeSpec};
use crate::idle::SplitActivity;
use crate::meta::SourceRecord;
use crate::recovery::SourceSpec;

/// Rows an epoch starts with.
const BUDGET_START: u64 = 64 * 1024;
/// Bounds of an epoch's rows.
const BUDGET_RANGE: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
/// Epochs that the fastest reader may have open.
const OPEN_EPOCHS: usize = 3;

/// An external source.
pub struct SourceState {
    pub id: ObjectId,
    pub source: Arc<dyn Source>,
    /// Of one with a WATERMARK.
    time: Option<TimeSpec>,
    inner: Mutex<Inner>,
}

struct Inner {
    offsets: SourceOffsets,
    activity: SplitActivity,
    /// The event times that feeds have found, of one that is aligned with others.
    times: BTreeMap<Split, i64>,
    bindings: BTreeMap<Epoch, Binding>,
    consumers: HashMap<JobId, Consumer>,
    budget_rows: u64,
    /// When it was discovered first, and what was bound then.
    reading: Option<(Duration, Reading)>,
    /// The last discovery left something for at once.
    more: bool,
    ended: bool,
    error: Option<Error>,
}

struct Binding {
    ranges: Vec<SplitRange>,
    bound_at: Duration,
}

#[derive(Clone, Copy)]
struct Consumer {
    frontier: Epoch,
    released: Epoch,
}

impl SourceState {
    /// A source of which `record` says what has been bound before.
    pub fn restored(spec: SourceSpec, record: SourceRecord) -> Arc<SourceState> {
        let SourceSpec { id, source, time } = spec;
        let mut activity = SplitActivity::new(time.as_ref().and_then(|time| time.idle_timeout));
        record.idle.iter().for_each(|split| activity.set_idle(split, record.epoch));
        let inner = Inner {
            offsets: record.offsets,
            activity,
            times: BTreeMap::new(),
            bindings: BTreeMap::new(),
            consumers: HashMap::new(),
            budget_rows: BUDGET_START,
            reading: None,
            more: false,
            ended: false,
            error: None,
        };
        Arc::new(SourceState { id, source, time, inner: Mutex::new(inner) })
    }

    /// The sources that it is aligned with.
    pub fn alignment(&self) -> Option<&Alignment> {
        self.time.as_ref()?.alignment.as_ref()
    }

    /// A feed has found that a split has reached this event time.
    pub fn reached(&self, split: &str, time: i64) {
        if self.alignment().is_some() {
            let mut inner = self.inner.lock();
            let known = inner.times.entry(split.to_owned()).or_insert(time);
            *known = time.max(*known);
        }
    }

    /// The event time of the split that is furthest behind, among those that rows are to be expected of.
    pub fn slowest_time(&self) -> Option<i64> {
        let inner = self.inner.lock();
        let times = inner.times.iter().filter(|(split, _)| !inner.ended && !inner.activity.is_idle(split));
        times.map(|(_, time)| *time).min()
    }

    /// Leaves out the ranges that a discovery has found of splits whose event time is beyond the limit: they will be found
    /// again.
    pub fn not_beyond(&self, limit: i64, mut ranges: Vec<SplitRange>) -> Vec<SplitRange> {
        let mut inner = self.inner.lock();
        let found = ranges.len();
        ranges.retain(|range| inner.times.get(&range.split).is_none_or(|time| *time <= limit));
        inner.ended &= ranges.len() == found;
        ranges
    }

    /// What a job knew of event time at its checkpoint.
    pub fn restore_mark(&self, epoch: Epoch, mark: &Mark) {
        match mark.news {
            News::Upto(time) => self.reached(&mark.split, time),
            News::Idle => self.set_idle(&mark.split, epoch),
            News::Active => {}
        }
    }

    /// With the end of `epoch` a split is idle.
    pub fn set_idle(&self, split: &str, epoch: Epoch) {
        self.inner.lock().activity.set_idle(split, epoch);
    }

    /// The splits idle at the end of `epoch`.
    pub fn idle_at(&self, epoch: Epoch) -> Vec<Split> {
        self.inner.lock().activity.idle_at(epoch)
    }

    /// As [`SplitActivity::news`].
    pub fn idle_news(&self, from: Epoch, before: Epoch) -> Vec<(Epoch, Split, News)> {
        self.inner.lock().activity.news(from, before)
    }

    /// As [`SplitActivity::newly_idle`].
    pub fn newly_idle(&self, now: Duration) -> Vec<Split> {
        self.inner.lock().activity.newly_idle(now)
    }

    /// As [`SplitActivity::next`].
    pub fn next_idle(&self) -> Option<Duration> {
        self.inner.lock().activity.next()
    }

    /// It was not asked what is new.
    pub fn not_asked(&self) {
        self.inner.lock().activity.not_asked();
    }

    /// Everything bound so far, by split.
    pub fn offsets(&self) -> SourceOffsets {
        self.inner.lock().offsets.clone()
    }

    /// What was bound up to `epoch`; exact as far back as bindings are kept.
    pub fn offsets_at(&self, epoch: Epoch) -> SourceOffsets {
        let inner = self.inner.lock();
        let mut offsets = inner.offsets.clone();
        for binding in inner.bindings.range(epoch.next()..).rev().map(|(_, b)| b) {
            for range in &binding.ranges {
                offsets.insert(range.split.clone(), range.from);
            }
        }
        offsets
    }

    /// What the last discovery failed with, if it failed.
    pub fn error(&self) -> Option<Error> {
        self.inner.lock().error.clone()
    }

    /// From now on keeps bindings after `from` for `job`.
    pub fn subscribe(&self, job: JobId, from: Epoch) {
        self.inner.lock().consumers.insert(job, Consumer { frontier: from, released: from });
    }

    /// Forgets a reader.
    pub fn unsubscribe(&self, job: JobId) {
        let mut inner = self.inner.lock();
        inner.consumers.remove(&job);
        if inner.consumers.is_empty() {
            inner.activity.not_asked();
        }
        inner.trim();
    }

    /// `job` has a checkpoint at `epoch`.
    pub fn release(&self, job: JobId, epoch: Epoch) {
        let mut inner = self.inner.lock();
        if let Some(consumer) = inner.consumers.get_mut(&job) {
            consumer.released = consumer.released.max(epoch);
            inner.trim();
        }
    }

    /// `job` is through with everything below `frontier`: adapts the budget when it is the fastest reader.
    pub fn completed(&self, job: JobId, frontier: Epoch, now: Duration) {
        let mut inner = self.inner.lock();
        let before = inner.lead();
        if let Some(consumer) = inner.consumers.get_mut(&job) {
            consumer.frontier = consumer.frontier.max(frontier);
        }
        let lead = inner.lead();
        let Some(took) =
            inner.bindings.range(before..lead).next_back().map(|(_, b)| now.saturating_sub(b.bound_at))
        else {
            return;
        };
        let adapted = match took.as_millis() {
            0..60 => inner.budget_rows * 2,
            60..250 => inner.budget_rows,
            _ => inner.budget_rows / 2,
        };
        inner.budget_rows = adapted.clamp(*BUDGET_RANGE.start(), *BUDGET_RANGE.end());
    }

    /// Whether there is a reader that can take another epoch, and the last discovery left something.
    pub fn wants_more_now(&self) -> bool {
        let inner = self.inner.lock();
        inner.more && inner.has_room()
    }

    /// Whether anybody reads the source and it may still bring something.
    pub fn is_live(&self) -> bool {
        let inner = self.inner.lock();
        !inner.ended && !inner.consumers.is_empty()
    }

    /// Whether somebody reads the source, and its end is still to come although nothing holds it back.
    pub fn is_draining(&self) -> bool {
        self.source.is_finite() && self.is_live()
    }

    /// Asks the source what is new, within the budget; with `Reach::Everything` also without a reader.
    pub fn discover(&self, now: Duration, reach: Reach) -> Option<Vec<SplitRange>> {
        let mut inner = self.inner.lock();
        if reach == Reach::Budget && (inner.ended || inner.consumers.is_empty() || !inner.has_room()) {
            if inner.ended {
                inner.asked(now, &[]);
            } else {
                inner.activity.not_asked();
            }
            return None;
        }
        let budget = if reach == Reach::Everything { *BUDGET_RANGE.end() } else { inner.budget_rows };
        let inner = &mut *inner;
        let from_here = || (now, Reading { from: inner.offsets.clone(), elapsed_micros: 0 });
        let (begun, reading) = inner.reading.get_or_insert_with(from_here);
        reading.elapsed_micros = now.saturating_sub(*begun).as_micros() as u64;
        match self.source.discover(&inner.offsets, budget, reading) {
            Ok(Discovery { ranges, more, ended }) => {
                (inner.more, inner.ended, inner.error) = (more, ended, None);
                inner.asked(now, &ranges);
                (!ranges.is_empty()).then_some(ranges)
            }
            Err(error) => {
                inner.activity.not_asked();
                inner.more = false;
                inner.error = Some(error);
                None
            }
        }
    }

    /// Ties ranges to an epoch.
    pub fn bind(&self, epoch: Epoch, ranges: Vec<SplitRange>, now: Duration) {
        let inner = &mut *self.inner.lock();
        for range in &ranges {
            let offset = inner.offsets.entry(range.split.clone()).or_default();
            *offset = (*offset).max(range.to);
            inner.activity.set_active(&range.split, epoch);
        }
        if inner.ended {
            // It is not asked any more.
            inner.asked(now, &[]);
        }
        if !inner.consumers.is_empty() {
            inner.bindings.insert(epoch, Binding { ranges, bound_at: now });
        }
    }

    /// The first binding after `after` and below `upper`.
    pub fn binding_after(&self, after: Epoch, upper: Epoch) -> Option<(Epoch, Vec<SplitRange>)> {
        let inner = self.inner.lock();
        let (epoch, binding) = inner.bindings.range(after.next()..).next()?;
        (*epoch < upper).then(|| (*epoch, binding.ranges.clone()))
    }
}

/// How much a discovery may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One epoch's budget, if a reader has room for it.
    Budget,
    /// As much as one epoch may hold at all, whoever reads.
    Everything,
}

impl Inner {
    /// The frontier of the fastest reader.
    fn lead(&self) -> Epoch {
        self.consumers.values().map(|c| c.frontier).max().unwrap_or(Epoch::ZERO)
    }

    fn has_room(&self) -> bool {
        self.bindings.range(self.lead()..).count() < OPEN_EPOCHS
    }

    fn trim(&mut self) {
        let needed = self.consumers.values().map(|c| c.released).min().unwrap_or(Epoch::MAX);
        self.bindings.retain(|epoch, _| *epoch > needed);
        self.activity.forget_before(needed);
    }

    /// Notes what a discovery has found nothing of.
    fn asked(&mut self, now: Duration, ranges: &[SplitRange]) {
        self.activity.asked(now, self.offsets.keys(), ranges, !self.more);
    }
}

/// The whole range of each split from its beginning, as a new reader's snapshot needs it; none of a split of which
/// nothing was bound at the checkpoint that the offsets are from.
pub fn ranges_from_start(offsets: &SourceOffsets) -> Vec<SplitRange> {
    let begun = offsets.iter().filter(|(_, to)| **to > 0);
    begun.map(|(split, to)| SplitRange { split: split.clone(), from: 0, to: *to }).collect()
}

/// Encodes ranges for the log.
pub fn encode_ranges(ranges: &[SplitRange]) -> Result<Vec<u8>> {
    postcard::to_allocvec(ranges).map_err(Error::internal)
}

/// Decodes ranges of the log.
pub fn decode_ranges(bytes: &[u8]) -> Result<Vec<SplitRange>> {
    postcard::from_bytes(bytes).map_err(|e| Error::corrupted(format!("source binding in the log: {e}")))
}

#[cfg(test)]
mod tests {
    use weir_connector::{create_source, source_columns};

    use super::*;

    #[test]
    fn after_a_restart_a_rate_goes_on_from_what_was_bound() -> Result<()> {
        let options = [("connector", "nexmark"), ("table", "bid"), ("rate", "100")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let columns = source_columns(&options)?.unwrap_or_default();
        let source = create_source(&options, &columns)?;
        let split = source.discover(
            &SourceOffsets::new(),
            1,
            &Reading { elapsed_micros: 1_000_000, ..Reading::default() },
        )?;
        let split = split.ranges[0].split.clone();
        let record = SourceRecord { offsets: [(split, 5000)].into(), ..SourceRecord::default() };
        let restored = SourceState::restored(SourceSpec { id: ObjectId(1), source, time: None }, record);
        restored.subscribe(JobId(1), Epoch(1));
        let started = Duration::from_secs(7);
        assert!(restored.discover(started, Reach::Budget).is_none());
        let found = restored.discover(started + Duration::from_millis(20), Reach::Budget).unwrap_or_default();
        assert_eq!(found.iter().map(|range| (range.from, range.to)).collect::<Vec<_>>(), [(5000, 5002)]);
        Ok(())
    }

    #[test]
    fn a_source_that_has_ended_falls_silent_and_one_that_waits_has_not_ended() -> Result<()> {
        let options = [("connector", "nexmark"), ("table", "bid"), ("events", "5000")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let source = create_source(&options, &source_columns(&options)?.unwrap_or_default())?;
        let alignment = Some(Alignment { group: "g".to_owned(), max_drift: 10 });
        let idle_timeout = Some(Duration::from_secs(5));
        let time = Some(TimeSpec { idle_timeout, alignment, ..TimeSpec::default() });
        let state =
            SourceState::restored(SourceSpec { id: ObjectId(1), source, time }, SourceRecord::default());
        state.subscribe(JobId(1), Epoch(1));
        let ranges = state.discover(Duration::ZERO, Reach::Budget).unwrap_or_default();
        let split = ranges[0].split.clone();
        state.reached(&split, 100);
        assert!(state.not_beyond(99, ranges.clone()).is_empty());
        let again = state.discover(Duration::from_secs(1), Reach::Budget).unwrap_or_default();
        assert_eq!(state.not_beyond(100, again), ranges, "what was left out comes again");
        assert!(!state.is_live(), "all of it was found");
        state.bind(Epoch(2), ranges, Duration::from_secs(2));
        assert_eq!(state.next_idle(), Some(Duration::from_secs(7)));
        assert_eq!(state.newly_idle(Duration::from_secs(7)), [split]);
        state.unsubscribe(JobId(1));
        assert_eq!(state.next_idle(), None, "nobody asks");
        Ok(())
    }

    #[test]
    fn what_was_bound_after_a_checkpoint_is_not_in_a_snapshot_that_begins_there() -> Result<()> {
        let options = [("connector", "nexmark"), ("table", "bid")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let source = create_source(&options, &source_columns(&options)?.unwrap_or_default())?;
        let spec = SourceSpec { id: ObjectId(1), source, time: None };
        let state = SourceState::restored(spec, SourceRecord::default());
        state.subscribe(JobId(1), Epoch(1));
        let range = |split: &str, from, to| SplitRange { split: split.to_owned(), from, to };
        state.bind(Epoch(2), vec![range("early", 0, 10)], Duration::ZERO);
        state.bind(Epoch(3), vec![range("early", 10, 30), range("late", 0, 7)], Duration::ZERO);
        assert_eq!(ranges_from_start(&state.offsets_at(Epoch(2))), [range("early", 0, 10)]);
        assert_eq!(ranges_from_start(&state.offsets()), [range("early", 0, 30), range("late", 0, 7)]);
        Ok(())
    }
}
