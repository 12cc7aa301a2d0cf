//! What generators share: a bounded or endless sequence of numbered events, at a rate or as fast as it is read.
//!
//! The one split is called `events`; its offsets are event numbers. An event is a pure function of (seed, number),
//! so ranges can be made in any order, on any thread, and again after a crash.

use weir_common::{Error, Result, SqlState};

use crate::options::Options;
use crate::source::{Discovery, Reading, SourceOffsets, SplitRange};

/// The name of the one split.
pub const SPLIT: &str = "events";

/// How many events, how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// All events there will ever be; `None` for no end.
    pub events: Option<u64>,
    /// Events per second; `None` as fast as they are read.
    pub rate: Option<u64>,
}

impl Pace {
    /// Reads `events` and `rate`; 0 means none.
    pub fn from_options(options: &Options<'_>) -> Result<Pace> {
        let positive = |name: &str| Ok::<_, Error>(options.number(name)?.filter(|n| *n > 0));
        Ok(Pace { events: positive("events")?, rate: positive("rate")? })
    }

    /// Whether it has an end that time does not hold back.
    pub fn is_finite(&self) -> bool {
        self.events.is_some() && self.rate.is_none()
    }

    /// What lies beyond `bound`, within the budget and the rate.
    pub fn discover(&self, bound: &SourceOffsets, budget: u64, reading: &Reading) -> Discovery {
        let offset = |offsets: &SourceOffsets| offsets.get(SPLIT).copied().unwrap_or(0);
        let from = offset(bound);
        let end = self.events.unwrap_or(u64::MAX);
        let due = match self.rate {
            Some(rate) => {
                let made = u128::from(rate) * u128::from(reading.elapsed_micros) / 1_000_000;
                offset(&reading.from).saturating_add(made as u64)
            }
            None => u64::MAX,
        };
        let to = from.saturating_add(budget).min(end).min(due);
        let ranges = match to > from {
            true => vec![SplitRange { split: SPLIT.to_owned(), from, to }],
            false => Vec::new(),
        };
        let ended = to.max(from) >= end;
        Discovery { ranges, more: !ended && self.rate.is_none(), ended }
    }
}

/// Cuts each range into one piece a worker.
pub fn divide(ranges: &[SplitRange], workers: usize) -> Vec<Vec<SplitRange>> {
    let mut shares = vec![Vec::new(); workers];
    for range in ranges {
        let length = range.to - range.from;
        for (worker, share) in shares.iter_mut().enumerate() {
            let cut = |part: usize| range.from + (u128::from(length) * part as u128 / workers as u128) as u64;
            let (from, to) = (cut(worker), cut(worker + 1));
            if to > from {
                share.push(SplitRange { split: range.split.clone(), from, to });
            }
        }
    }
    shares
}

/// The error for a column that a generator does not make.
pub fn no_such_field(connector: &str, column: &str, fields: &[&str]) -> Error {
    let message = format!("connector \"{connector}\" has no field \"{column}\"");
    Error::new(SqlState::UNDEFINED_COLUMN, message)
        .with_hint(format!("Its fields are: {}.", fields.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limits_and_an_end_ends() {
        let pace = Pace { events: Some(1000), rate: Some(100) };
        let after = |elapsed_micros| Reading { elapsed_micros, ..Reading::default() };
        let one_second = pace.discover(&SourceOffsets::new(), 1 << 20, &after(1_000_000));
        assert_eq!((one_second.ranges[0].to, one_second.more, one_second.ended), (100, false, false));
        let bound = SourceOffsets::from([(SPLIT.to_owned(), 1000)]);
        assert!(pace.discover(&bound, 1 << 20, &after(99_000_000)).ended);
    }

    #[test]
    fn a_rate_goes_on_from_where_it_was() {
        let pace = Pace { events: None, rate: Some(100) };
        let bound = SourceOffsets::from([(SPLIT.to_owned(), 5000)]);
        let restarted = Reading { from: bound.clone(), elapsed_micros: 20_000 };
        let found = pace.discover(&bound, 1 << 20, &restarted);
        assert_eq!((found.ranges[0].from, found.ranges[0].to), (5000, 5002));
    }

    #[test]
    fn pieces_cover_the_range_once() {
        let range = SplitRange { split: SPLIT.to_owned(), from: 7, to: 107 };
        let shares = divide(&[range], 3);
        let pieces: Vec<_> = shares.iter().flatten().map(|r| (r.from, r.to)).collect();
        assert_eq!(pieces, [(7, 40), (40, 73), (73, 107)]);
    }
}
