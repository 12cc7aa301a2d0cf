//! The events themselves: fields and their distributions, each a pure function of (seed, event number).
//!
//! Ids: the n-th person and auction have ids `1000 + n`. A bid goes with probability 1/2 to the hot auction (the
//! newest whose number is a multiple of 100), otherwise to one of about the last 100; the bidder is the hot one
//! with probability 3/4; a seller likewise. Prices are `100 · 10^(6·u)`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder, TimestampMicrosecondArray};
use weir_common::SqlType;
use weir_common::seam::Rng;

const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const TOTAL: u64 = 50;
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// Ids that "hot" choices snap to.
const HOT_STEP: u64 = 100;
const IN_FLIGHT_AUCTIONS: u64 = 100;
const ACTIVE_PERSONS: u64 = 1000;
/// New ids that may be chosen a little before they exist.
const AUCTION_ID_LEAD: u64 = 10;
const PERSON_ID_LEAD: u64 = 10;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u64 = 10_000;
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
/// 2015-07-15 00:00:00 UTC in microseconds.
const START_MICROS: i64 = 1_436_918_400_000_000;
const EVENT_MICROS: i64 = 100;

/// The three kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    /// Names and types of the fields, in order.
    pub fn fields(self) -> &'static [(&'static str, SqlType)] {
        const ID: SqlType = SqlType::Int8;
        const TEXT: SqlType = SqlType::Varchar(None);
        const TIME: SqlType = SqlType::Timestamp;
        match self {
            Kind::Person => &[
                ("id", ID),
                ("name", TEXT),
                ("email_address", TEXT),
                ("credit_card", TEXT),
                ("city", TEXT),
                ("state", TEXT),
                ("date_time", TIME),
                ("extra", TEXT),
            ],
            Kind::Auction => &[
                ("id", ID),
                ("item_name", TEXT),
                ("description", TEXT),
                ("initial_bid", ID),
                ("reserve", ID),
                ("date_time", TIME),
                ("expires", TIME),
                ("seller", ID),
                ("category", ID),
                ("extra", TEXT),
            ],
            Kind::Bid => &[
                ("auction", ID),
                ("bidder", ID),
                ("price", ID),
                ("channel", TEXT),
                ("url", TEXT),
                ("date_time", TIME),
                ("extra", TEXT),
            ],
        }
    }

    /// Places of this kind among the 50 events of a round.
    fn places(self) -> std::ops::Range<u64> {
        match self {
            Kind::Person => 0..PERSONS,
            Kind::Auction => PERSONS..PERSONS + AUCTIONS,
            Kind::Bid => PERSONS + AUCTIONS..TOTAL,
        }
    }

    /// Event numbers of this kind in `from..to`, about `limit` at most, and where to go on.
    pub fn numbers(self, from: u64, to: u64, limit: usize) -> (Vec<u64>, u64) {
        let places = self.places();
        let mut numbers = Vec::with_capacity(limit);
        let mut round = from / TOTAL * TOTAL;
        while round < to && numbers.len() < limit {
            let (first, end) = (round + places.start, round + places.end);
            numbers.extend(first.max(from)..end.min(to).max(first.max(from)));
            round += TOTAL;
        }
        (numbers, round.min(to))
    }
}

/// The fields at `fields` of the events `numbers`, columnar.
pub fn columns(kind: Kind, seed: u64, numbers: &[u64], fields: impl Iterator<Item = usize>) -> Vec<ArrayRef> {
    fields
        .map(|field| match kind.fields()[field].1 {
            SqlType::Int8 => {
                let values = numbers.iter().map(|n| integer(kind, field, seed, *n) as i64);
                Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
            }
            SqlType::Timestamp => {
                let values = numbers.iter().map(|n| time(kind, field, seed, *n));
                Arc::new(TimestampMicrosecondArray::from_iter_values(values))
            }
            _ => {
                let mut builder = StringBuilder::with_capacity(numbers.len(), numbers.len() * 32);
                for n in numbers {
                    text(kind, field, &mut random(seed, *n, field), *n, &mut builder)
                        .expect("formatting into memory succeeds");
                    builder.append_value("");
                }
                Arc::new(builder.finish())
            }
        })
        .collect()
}

/// Random numbers of one field of one event, independent of every other.
#[inline]
fn random(seed: u64, number: u64, field: usize) -> Rng {
    Rng::seeded(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ ((field as u64) << 56))
}

fn integer(kind: Kind, field: usize, seed: u64, number: u64) -> u64 {
    let rng = &mut random(seed, number, field);
    match (kind, field) {
        (Kind::Person, _) => FIRST_ID + newest_person(number),
        (Kind::Auction, 0) => FIRST_ID + newest_auction(number),
        (Kind::Auction, 3) => initial_bid(seed, number),
        (Kind::Auction, 4) => initial_bid(seed, number) + price(rng),
        (Kind::Auction, 7) => FIRST_ID + seller(rng, number),
        (Kind::Auction, _) => FIRST_CATEGORY + rng.below(CATEGORIES),
        (Kind::Bid, 0) => FIRST_ID + bid_auction(rng, number),
        (Kind::Bid, 1) => FIRST_ID + bidder(rng, number),
        (Kind::Bid, _) => price(rng),
    }
}

fn time(kind: Kind, field: usize, seed: u64, number: u64) -> i64 {
    let happened = START_MICROS + number as i64 * EVENT_MICROS;
    match (kind, field) {
        (Kind::Auction, 6) => {
            let events = IN_FLIGHT_AUCTIONS * TOTAL / AUCTIONS;
            let horizon_ms = (events * EVENT_MICROS as u64 / 1000).max(1);
            happened + 1000 * (1 + random(seed, number, field).below(horizon_ms * 2) as i64)
        }
        _ => happened,
    }
}

fn text(kind: Kind, field: usize, rng: &mut Rng, number: u64, out: &mut StringBuilder) -> std::fmt::Result {
    match (kind, field) {
        (Kind::Person, 1) => write!(out, "{} {}", pick(rng, &FIRST_NAMES), pick(rng, &LAST_NAMES)),
        (Kind::Person, 2) => {
            letters(rng, 7, out)?;
            out.write_char('@')?;
            letters(rng, 5, out)?;
            out.write_str(".com")
        }
        (Kind::Person, 3) => {
            let mut block = || rng.below(10_000);
            write!(out, "{:04} {:04} {:04} {:04}", block(), block(), block(), block())
        }
        (Kind::Person, 4) => out.write_str(pick(rng, &CITIES)),
        (Kind::Person, 5) => out.write_str(pick(rng, &STATES)),
        (Kind::Person, _) | (Kind::Auction, 2 | 9) => letters(rng, 100, out),
        (Kind::Auction, _) => letters(rng, 20, out),
        (Kind::Bid, 3) => match channel(number) {
            (Some(name), _) => out.write_str(name),
            (None, n) => write!(out, "channel-{n}"),
        },
        (Kind::Bid, 4) => {
            let (_, n) = channel(number);
            out.write_str("https://www.nexmark.com/")?;
            letters(&mut Rng::seeded(n), 5, out)?;
            write!(out, "/item.htm?query=1&channel_id={n}")
        }
        (Kind::Bid, _) => letters(rng, 50, out),
    }
}

/// The channel of a bid: one of the hot ones by name, or a numbered one; with the number in its URL.
fn channel(number: u64) -> (Option<&'static str>, u64) {
    let mut rng = Rng::seeded(number ^ 0x5EED_C4A7);
    if rng.below(2) == 0 {
        let hot = rng.below(HOT_CHANNELS.len() as u64);
        (Some(HOT_CHANNELS[hot as usize]), hot)
    } else {
        (None, rng.below(CHANNELS))
    }
}

fn letters(rng: &mut Rng, count: usize, out: &mut StringBuilder) -> std::fmt::Result {
    for chunk in 0..count.div_ceil(12) {
        let mut bits = rng.next_u64();
        for _ in 0..12.min(count - chunk * 12) {
            out.write_char(char::from(b'a' + (bits % 26) as u8))?;
            bits /= 26;
        }
    }
    Ok(())
}

fn pick<'w>(rng: &mut Rng, words: &[&'w str]) -> &'w str {
    words[rng.below(words.len() as u64) as usize]
}

/// Number of the newest person at an event.
fn newest_person(number: u64) -> u64 {
    number / TOTAL * PERSONS + PERSONS - 1
}

/// Number of the newest auction at an event; before the first one, the first.
fn newest_auction(number: u64) -> u64 {
    let (round, place) = (number / TOTAL, number % TOTAL);
    match place {
        0 => (round * AUCTIONS).saturating_sub(1),
        _ => round * AUCTIONS + (place - PERSONS).min(AUCTIONS - 1),
    }
}

fn bid_auction(rng: &mut Rng, number: u64) -> u64 {
    let newest = newest_auction(number);
    if rng.below(2) == 0 {
        return newest / HOT_STEP * HOT_STEP;
    }
    let oldest = newest.saturating_sub(IN_FLIGHT_AUCTIONS);
    oldest + rng.below(newest - oldest + 1 + AUCTION_ID_LEAD)
}

fn bidder(rng: &mut Rng, number: u64) -> u64 {
    let newest = newest_person(number);
    if rng.below(4) != 0 {
        return newest / HOT_STEP * HOT_STEP + 1;
    }
    any_person(rng, newest)
}

fn seller(rng: &mut Rng, number: u64) -> u64 {
    let newest = newest_person(number);
    if rng.below(4) != 0 {
        return newest / HOT_STEP * HOT_STEP;
    }
    any_person(rng, newest)
}

fn any_person(rng: &mut Rng, newest: u64) -> u64 {
    let active = newest.min(ACTIVE_PERSONS);
    newest - active + rng.below(active + PERSON_ID_LEAD)
}

/// `100 · 10^(6·u)`, u uniform in [0, 1).
fn price(rng: &mut Rng) -> u64 {
    let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    ((uniform * 6.0 * std::f64::consts::LN_10).exp() * 100.0).round() as u64
}

fn initial_bid(seed: u64, number: u64) -> u64 {
    price(&mut random(seed, number, 3))
}
