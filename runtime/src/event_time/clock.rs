//! `EventClock` and `Watched`: the event times of a job's inputs as a worker knows them, and watermarks of them.

use std::collections::BTreeMap;

use weir_exec::event_time::{EventTime, Reached, Watermark};

use super::{Mark, News};

/// The event times of a job's inputs, as one worker knows them.
#[derive(Clone, Debug, Default)]
pub struct EventClock {
    splits: BTreeMap<EventTime, BTreeMap<String, Reached>>,
    /// Whether anything ever was idle: only then may a watermark be less than it was before.
    has_idled: bool,
}

impl EventClock {
    /// As these marks say.
    pub fn of(marks: &[Mark]) -> EventClock {
        let mut clock = EventClock::default();
        marks.iter().for_each(|mark| clock.advance(mark));
        clock
    }

    /// Takes a mark in.
    pub fn advance(&mut self, mark: &Mark) {
        self.has_idled |= mark.time.is_told() || mark.news == News::Idle;
        let split = self.splits.entry(mark.time).or_default().entry(mark.split.clone()).or_default();
        match mark.news {
            News::Upto(value) => split.value = split.value.max(Some(value)),
            News::Idle => split.is_idle = true,
            News::Active => split.is_idle = false,
        }
    }

    /// The event time of an input: that of the split that is furthest behind.
    pub fn at(&self, time: EventTime) -> Reached {
        Reached::least(self.splits.get(&time).into_iter().flat_map(BTreeMap::values).copied())
    }

    /// The inputs, by split.
    pub fn splits(&self) -> impl Iterator<Item = (&EventTime, &BTreeMap<String, Reached>)> {
        self.splits.iter().filter(|(time, _)| !time.is_told())
    }

    /// Whether what operators were told has to be remembered, since it can't be seen from the event times alone.
    pub fn has_idled(&self) -> bool {
        self.has_idled
    }
}

/// A watermark, and what it was when it was looked at last.
pub struct Watched {
    watermark: Watermark,
    /// As which what it was is remembered.
    pub told: EventTime,
    last: Reached,
    /// A time, and when the clock will have brought the watermark behind it.
    passing: Option<(i64, i64)>,
}

impl Watched {
    /// A watermark that the marks of `clock` may know from before.
    pub fn new(watermark: Watermark, told: EventTime, clock: &EventClock) -> Watched {
        let mut watched = Watched { watermark, told, last: clock.at(told), passing: None };
        watched.look(clock);
        watched
    }

    /// The watermark when it was looked at last, and whether nothing comes there.
    pub fn last(&self) -> Reached {
        self.last
    }

    /// The watermark, if it has advanced since the last look.
    pub fn advanced(&mut self, clock: &EventClock) -> Option<i64> {
        let before = self.last.value;
        self.look(clock);
        self.last.value.filter(|_| self.last.value > before)
    }

    fn look(&mut self, clock: &EventClock) {
        let now = self.watermark.evaluate(&|time| clock.at(time));
        self.last = Reached { value: self.last.value.max(now.value), ..now };
    }

    /// The first moment of the clock at which the watermark lies behind `time`, if the clock alone brings it there.
    pub fn passes(&mut self, time: i64, clock: &EventClock) -> Option<i64> {
        let now = clock.at(EventTime::CLOCK).value?;
        let is_behind = |moment| {
            let at = |of| if of == EventTime::CLOCK { Reached::active(Some(moment)) } else { clock.at(of) };
            self.watermark.evaluate(&at).value.is_some_and(|watermark| watermark > time)
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
    use weir_exec::event_time::WatermarkExpr;

    use super::super::testing::mark;
    use super::*;

    #[test]
    fn the_slowest_split_decides() {
        let mut clock = EventClock::of(&[mark(7, "a", 5)]);
        let time = mark(7, "", 0).time;
        assert_eq!(clock.at(time).value, Some(5));
        clock.advance(&mark(7, "b", 3));
        clock.advance(&mark(7, "a", 9));
        assert_eq!(clock.at(time).value, Some(3));
        clock.advance(&mark(7, "b", 2));
        assert_eq!(clock.at(time).value, Some(3), "time does not go back");
    }

    #[test]
    fn the_moment_is_found_at_which_the_clock_passes_a_time() {
        let clock = EventClock::of(&[Mark { time: EventTime::CLOCK, ..mark(0, "", 1000) }, mark(7, "", 5)]);
        let watched = |expr: WatermarkExpr| {
            Watched::new(Watermark::new(&expr).unwrap(), EventTime::of_output(0), &clock)
        };
        let mut later = watched(WatermarkExpr::Of(EventTime::CLOCK).shifted(-50));
        let passes = [949, 950, 951, 951, 5000].map(|time| later.passes(time, &clock));
        assert_eq!(passes, [None, Some(1001), Some(1002), Some(1002), Some(5051)], "949 has passed");
        let mut of_rows = watched(WatermarkExpr::Of(mark(7, "", 0).time));
        assert_eq!(of_rows.passes(9, &clock), None, "time alone does not bring it there");
    }

    #[test]
    fn a_watermark_stays_where_it_was_when_an_idle_input_comes_again() {
        let (fast, slow) = (mark(7, "", 9), mark(8, "", 3));
        let idle = |is_idle| Mark { news: News::idle(is_idle), ..slow.clone() };
        let expr = WatermarkExpr::Of(fast.time).min(WatermarkExpr::Of(slow.time));
        let watched =
            |clock: &EventClock| Watched::new(Watermark::new(&expr).unwrap(), EventTime::of_output(0), clock);
        let mut clock = EventClock::of(&[fast.clone(), slow.clone()]);
        let mut least = watched(&clock);
        assert_eq!((least.last(), clock.has_idled()), (Reached::active(Some(3)), false));
        clock.advance(&idle(true));
        assert_eq!((least.advanced(&clock), clock.has_idled()), (Some(9), true));
        clock.advance(&idle(false));
        assert_eq!((least.advanced(&clock), least.last()), (None, Reached::active(Some(9))));
        let told = Mark { time: EventTime::of_output(0), ..mark(0, "", 9) };
        let restored = EventClock::of(&[fast, slow, told]);
        assert_eq!((watched(&restored).last().value, restored.has_idled()), (Some(9), true));
        clock.advance(&mark(8, "", 12));
        assert_eq!(least.advanced(&clock), None);
        clock.advance(&mark(7, "", 11));
        assert_eq!(least.advanced(&clock), Some(11));
    }
}
