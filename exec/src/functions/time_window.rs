//! Which windows of time a row belongs to: TUMBLE, HOP and CUMULATE, after Flink's window table-valued functions.
//!
//! ```text
//!   tumble_start(t, size, offset)              the one window [start, start + size) around t
//!   hop_starts(t, slide, size, offset)         every [start, start + size) around t whose start is a multiple of slide
//!   cumulate_ends(t, step, size, offset)       every [tumble_start, end) around t whose end is a multiple of step
//! ```
//! Windows are aligned to 1970-01-01 00:00:00 (UTC for timestamptz) plus the offset; a day is 24 hours, as in
//! `date_bin`. The functions have names in plans only: SQL has them in FROM, and the binder puts them together. It has
//! checked that sizes are positive, without months, and that a row has not too many windows. An infinite time has one
//! window, which begins and ends at it.

use arrow::array::ArrayRef;
use arrow::datatypes::{IntervalMonthDayNano, TimestampMicrosecondType};
use weir_common::text::civil::{DAY, is_finite};
use weir_common::text::interval::{micros, out_of_range};
use weir_common::{Error, Result, SqlType};

use super::call::Call;
use super::datetime_arithmetic::range_error;
use super::registry::{Returns, Table};
use super::series::lists;

/// `now()` in a continuous query: the planner makes a temporal filter of what it is compared with.
pub const EPOCH_NOW: &str = "epoch_now";
/// `PROCTIME()` in a continuous query: the planner makes a column of it.
pub const PROCTIME: &str = "proctime";
/// The start of the tumbling window around a time: `(time, size, offset)`.
pub const TUMBLE_START: &str = "tumble_start";
/// The starts of the hopping windows around a time, ascending: `(time, slide, size, offset)`.
pub const HOP_STARTS: &str = "hop_starts";
/// The ends of the cumulating windows around a time, ascending: `(time, step, size, offset)`.
pub const CUMULATE_ENDS: &str = "cumulate_ends";

pub(crate) fn register(t: &mut Table) {
    for name in [EPOCH_NOW, PROCTIME] {
        t.unnamed_volatile(name, Returns::Is(SqlType::Timestamptz), |_| {
            Err(Error::internal("the time of an epoch is no value that can be computed"))
        });
    }
    t.unnamed(TUMBLE_START, 3, Returns::SameAs(0), |call| {
        let (time, size, offset) = (call.timestamp(0), call.interval(1), call.interval(2));
        call.build::<TimestampMicrosecondType>(|row| {
            floor(time.at(row), length_micros(size.at(row))?, length_micros(offset.at(row))?)
        })
    });
    t.unnamed(HOP_STARTS, 4, Returns::ArrayOf(0), |call| window_lists(call, append_hop_starts));
    t.unnamed(CUMULATE_ENDS, 4, Returns::ArrayOf(0), |call| window_lists(call, append_cumulate_ends));
}

/// The length of an interval without months, in microseconds; 22008 when it is beyond 64 bits.
pub fn length_micros(span: IntervalMonthDayNano) -> Result<i64> {
    let days = i64::from(span.days).checked_mul(DAY);
    days.and_then(|days| days.checked_add(micros(span))).ok_or_else(out_of_range)
}

/// What the windows of a call are made by, in microseconds.
struct Spans {
    /// The slide or step.
    advance: i64,
    size: i64,
    offset: i64,
}

fn window_lists(call: &Call<'_>, append: fn(i64, &Spans, &mut Vec<i64>) -> Result<()>) -> Result<ArrayRef> {
    let nulls = match call.nulls() {
        Ok(nulls) => nulls,
        Err(all_null) => return Ok(all_null),
    };
    let time = call.timestamp(0);
    let [advance, size, offset] = [1, 2, 3].map(|argument| call.interval(argument));
    lists::<TimestampMicrosecondType>(call, nulls, |row, out| {
        let spans = Spans {
            advance: length_micros(advance.at(row))?,
            size: length_micros(size.at(row))?,
            offset: length_micros(offset.at(row))?,
        };
        append(time.at(row), &spans, out)
    })
}

/// The last multiple of `length`, counted from `offset`, that is not after the time.
fn floor(time: i64, length: i64, offset: i64) -> Result<i64> {
    if !is_finite(time) {
        return Ok(time);
    }
    let since = i128::from(time) - i128::from(offset);
    moved(time, -since.rem_euclid(i128::from(length)))
}

fn append_hop_starts(time: i64, spans: &Spans, out: &mut Vec<i64>) -> Result<()> {
    let last = floor(time, spans.advance, spans.offset)?;
    if !is_finite(time) {
        out.push(time);
        return Ok(());
    }
    // Windows that contain the time start after `time - size`.
    let room = i128::from(spans.size) - (i128::from(time) - i128::from(last));
    let count = (room + i128::from(spans.advance) - 1).div_euclid(i128::from(spans.advance));
    for back in (0..count).rev() {
        out.push(moved(last, -back * i128::from(spans.advance))?);
    }
    Ok(())
}

fn append_cumulate_ends(time: i64, spans: &Spans, out: &mut Vec<i64>) -> Result<()> {
    if !is_finite(time) {
        out.push(time);
        return Ok(());
    }
    let start = floor(time, spans.size, spans.offset)?;
    let (advance, size) = (i128::from(spans.advance), i128::from(spans.size));
    let passed = (i128::from(time) - i128::from(start)).div_euclid(advance);
    for step in passed + 1..=size / advance {
        out.push(moved(start, step * advance)?);
    }
    Ok(())
}

fn moved(time: i64, micros: i128) -> Result<i64> {
    let moved = i64::try_from(i128::from(time) + micros).ok().filter(|moved| is_finite(*moved));
    moved.ok_or_else(|| range_error("timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(time: i64, advance: i64, size: i64, offset: i64) -> Vec<i64> {
        let mut out = Vec::new();
        append_hop_starts(time, &Spans { advance, size, offset }, &mut out).unwrap();
        out
    }

    fn ends(time: i64, advance: i64, size: i64, offset: i64) -> Vec<i64> {
        let mut out = Vec::new();
        append_cumulate_ends(time, &Spans { advance, size, offset }, &mut out).unwrap();
        out
    }

    #[test]
    fn tumbling_windows_go_below_zero_and_move_by_the_offset() {
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|t| floor(t, 10, 0).unwrap()), [-20, -10, -10, 0, 0, 10]);
        assert_eq!([-11, -10, 2, 3, 12, 13].map(|t| floor(t, 10, 3).unwrap()), [-17, -17, -7, 3, 3, 13]);
        assert_eq!(floor(5, 10, -13).unwrap(), -3);
        assert_eq!(floor(i64::MAX, 10, 0).unwrap(), i64::MAX);
        assert!(floor(i64::MIN + 1, 1000, 0).is_err());
    }

    /// Every window around a time, found by trying all of them.
    #[test]
    fn windows_are_those_that_contain_the_time() {
        for (advance, size, offset) in [(5, 10, 0), (5, 12, 1), (7, 3, 2), (1, 4, -6), (10, 10, 3)] {
            for time in -30..30 {
                let contains = |start: &i64| *start <= time && time < start + size;
                let all = (-80..80).map(|n| n * advance + offset).filter(contains);
                assert_eq!(starts(time, advance, size, offset), all.collect::<Vec<_>>(), "{time}");
            }
        }
        for (advance, size, offset) in [(5, 10, 0), (1, 4, 1), (3, 9, -2), (10, 10, 3)] {
            for time in -30..30 {
                let first = floor(time, size, offset).unwrap();
                let all = (1..=size / advance).map(|n| first + n * advance).filter(|end| time < *end);
                assert_eq!(ends(time, advance, size, offset), all.collect::<Vec<_>>(), "{time}");
            }
        }
        assert_eq!((starts(i64::MAX, 5, 10, 0), ends(i64::MAX, 5, 10, 0)), (vec![i64::MAX], vec![i64::MAX]));
    }
}
