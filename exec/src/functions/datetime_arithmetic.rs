//! `+ - * /` of date, time, timestamp, timestamptz and interval (date.c, timestamp.c).
//!
//! Months are added first (the day clipped to the month's length), then days, then time. Infinite dates and
//! timestamps stay as they are.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use weir_common::text::civil::{DAY, add_months, is_finite, is_finite_date, split_day};
use weir_common::text::interval::{from_parts, micros, out_of_range};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::cast::date_to_timestamp;
use super::registry::Table;

use SqlType::{Date, Float8, Int4, Interval, Time, Timestamp, Timestamptz};

pub(crate) fn register(t: &mut Table) {
    dates(t);
    timestamps(t);
    times(t);
    intervals(t);
}

/// 22008.
pub(crate) fn range_error(what: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range"))
}

fn build<T: ArrowPrimitiveType>(call: &Call<'_>, f: impl Fn(usize) -> Result<T::Native>) -> Result<ArrayRef> {
    call.build::<T>(f)
}

fn dates(t: &mut Table) {
    t.add("+", "date_pli", &[Date, Int4], Date, |call| {
        let (date, days) = (call.date(0), call.int4(1));
        build::<Date32Type>(call, |row| shift_date(date.at(row), days.at(row).into()))
    });
    t.add("+", "integer_pl_date", &[Int4, Date], Date, |call| {
        let (days, date) = (call.int4(0), call.date(1));
        build::<Date32Type>(call, |row| shift_date(date.at(row), days.at(row).into()))
    });
    t.add("-", "date_mii", &[Date, Int4], Date, |call| {
        let (date, days) = (call.date(0), call.int4(1));
        build::<Date32Type>(call, |row| shift_date(date.at(row), -i64::from(days.at(row))))
    });
    t.add("-", "date_mi", &[Date, Date], Int4, |call| {
        let (a, b) = (call.date(0), call.date(1));
        build::<Int32Type>(call, |row| {
            if !is_finite_date(a.at(row)) || !is_finite_date(b.at(row)) {
                return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"));
            }
            a.at(row).checked_sub(b.at(row)).ok_or_else(|| Error::out_of_range("integer"))
        })
    });
    t.add("+", "date_pl_interval", &[Date, Interval], Timestamp, |call| {
        let (date, span) = (call.date(0), call.interval(1));
        build::<TimestampMicrosecondType>(call, |row| add(date_to_timestamp(date.at(row))?, span.at(row)))
    });
    t.add("+", "interval_pl_date", &[Interval, Date], Timestamp, |call| {
        let (span, date) = (call.interval(0), call.date(1));
        build::<TimestampMicrosecondType>(call, |row| add(date_to_timestamp(date.at(row))?, span.at(row)))
    });
    t.add("-", "date_mi_interval", &[Date, Interval], Timestamp, |call| {
        let (date, span) = (call.date(0), call.interval(1));
        build::<TimestampMicrosecondType>(call, |row| {
            add(date_to_timestamp(date.at(row))?, negate(span.at(row))?)
        })
    });
    t.add("+", "datetime_pl", &[Date, Time], Timestamp, |call| {
        let (date, time) = (call.date(0), call.time(1));
        build::<TimestampMicrosecondType>(call, |row| {
            shift_timestamp(date_to_timestamp(date.at(row))?, time.at(row))
        })
    });
    t.add("+", "timedate_pl", &[Time, Date], Timestamp, |call| {
        let (time, date) = (call.time(0), call.date(1));
        build::<TimestampMicrosecondType>(call, |row| {
            shift_timestamp(date_to_timestamp(date.at(row))?, time.at(row))
        })
    });
}

fn shift_date(date: i32, days: i64) -> Result<i32> {
    if !is_finite_date(date) {
        return Ok(date);
    }
    let shifted = i32::try_from(i64::from(date) + days).ok().filter(|date| is_finite_date(*date));
    shifted.ok_or_else(|| range_error("date"))
}

fn shift_timestamp(timestamp: i64, micros: i64) -> Result<i64> {
    if !is_finite(timestamp) {
        return Ok(timestamp);
    }
    timestamp
        .checked_add(micros)
        .filter(|shifted| is_finite(*shifted))
        .ok_or_else(|| range_error("timestamp"))
}

/// A timestamp and an interval.
pub(crate) fn add(timestamp: i64, span: IntervalMonthDayNano) -> Result<i64> {
    if !is_finite(timestamp) {
        return Ok(timestamp);
    }
    let mut moved = timestamp;
    if span.months != 0 {
        let (days, time) = split_day(moved);
        let days = add_months(days, span.months.into());
        moved = days
            .checked_mul(DAY)
            .and_then(|day| day.checked_add(time))
            .ok_or_else(|| range_error("timestamp"))?;
    }
    shift_timestamp(shift_timestamp(moved, i64::from(span.days) * DAY)?, micros(span))
}

fn timestamps(t: &mut Table) {
    let names = [
        (
            Timestamp,
            ["timestamp_pl_interval", "interval_pl_timestamp", "timestamp_mi_interval", "timestamp_mi"],
        ),
        (
            Timestamptz,
            [
                "timestamptz_pl_interval",
                "interval_pl_timestamptz",
                "timestamptz_mi_interval",
                "timestamptz_mi",
            ],
        ),
    ];
    for (ty, [plus, plus_reversed, minus, difference]) in names {
        t.add("+", plus, &[ty.clone(), Interval], ty.clone(), |call| {
            let (timestamp, span) = (call.timestamp(0), call.interval(1));
            build::<TimestampMicrosecondType>(call, |row| add(timestamp.at(row), span.at(row)))
        });
        t.add("+", plus_reversed, &[Interval, ty.clone()], ty.clone(), |call| {
            let (span, timestamp) = (call.interval(0), call.timestamp(1));
            build::<TimestampMicrosecondType>(call, |row| add(timestamp.at(row), span.at(row)))
        });
        t.add("-", minus, &[ty.clone(), Interval], ty.clone(), |call| {
            let (timestamp, span) = (call.timestamp(0), call.interval(1));
            build::<TimestampMicrosecondType>(call, |row| add(timestamp.at(row), negate(span.at(row))?))
        });
        t.add("-", difference, &[ty.clone(), ty], Interval, |call| {
            let (a, b) = (call.timestamp(0), call.timestamp(1));
            build::<IntervalMonthDayNanoType>(call, |row| {
                if !is_finite(a.at(row)) || !is_finite(b.at(row)) {
                    let message = "cannot subtract infinite timestamps";
                    return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
                }
                let micros = a.at(row).checked_sub(b.at(row)).ok_or_else(out_of_range)?;
                justify_hours(0, 0, micros)
            })
        });
    }
}

/// Whole days of the time become days.
pub(crate) fn justify_hours(months: i32, days: i32, micros: i64) -> Result<IntervalMonthDayNano> {
    let more = i32::try_from(micros / DAY).map_err(|_| out_of_range())?;
    from_parts(months, days.checked_add(more).ok_or_else(out_of_range)?, micros % DAY)
}

fn times(t: &mut Table) {
    t.add("+", "time_pl_interval", &[Time, Interval], Time, |call| {
        let (time, span) = (call.time(0), call.interval(1));
        build::<Time64MicrosecondType>(call, |row| {
            Ok((time.at(row) + micros(span.at(row)) % DAY).rem_euclid(DAY))
        })
    });
    t.add("+", "interval_pl_time", &[Interval, Time], Time, |call| {
        let (span, time) = (call.interval(0), call.time(1));
        build::<Time64MicrosecondType>(call, |row| {
            Ok((time.at(row) + micros(span.at(row)) % DAY).rem_euclid(DAY))
        })
    });
    t.add("-", "time_mi_interval", &[Time, Interval], Time, |call| {
        let (time, span) = (call.time(0), call.interval(1));
        build::<Time64MicrosecondType>(call, |row| {
            Ok((time.at(row) - micros(span.at(row)) % DAY).rem_euclid(DAY))
        })
    });
    t.add("-", "time_mi_time", &[Time, Time], Interval, |call| {
        let (a, b) = (call.time(0), call.time(1));
        build::<IntervalMonthDayNanoType>(call, |row| from_parts(0, 0, a.at(row) - b.at(row)))
    });
}

fn intervals(t: &mut Table) {
    t.add("+", "interval_pl", &[Interval, Interval], Interval, |call| {
        let (a, b) = (call.interval(0), call.interval(1));
        build::<IntervalMonthDayNanoType>(call, |row| sum(a.at(row), b.at(row)))
    });
    t.add("-", "interval_mi", &[Interval, Interval], Interval, |call| {
        let (a, b) = (call.interval(0), call.interval(1));
        build::<IntervalMonthDayNanoType>(call, |row| sum(a.at(row), negate(b.at(row))?))
    });
    t.add("-", "interval_um", &[Interval], Interval, |call| {
        let a = call.interval(0);
        build::<IntervalMonthDayNanoType>(call, |row| negate(a.at(row)))
    });
    t.add("*", "interval_mul", &[Interval, Float8], Interval, |call| {
        let (span, factor) = (call.interval(0), call.float8(1));
        build::<IntervalMonthDayNanoType>(call, |row| scale(span.at(row), factor.at(row)))
    });
    t.add("*", "mul_d_interval", &[Float8, Interval], Interval, |call| {
        let (factor, span) = (call.float8(0), call.interval(1));
        build::<IntervalMonthDayNanoType>(call, |row| scale(span.at(row), factor.at(row)))
    });
    t.add("/", "interval_div", &[Interval, Float8], Interval, |call| {
        let (span, divisor) = (call.interval(0), call.float8(1));
        build::<IntervalMonthDayNanoType>(call, |row| {
            if divisor.at(row) == 0.0 {
                return Err(Error::division_by_zero());
            }
            scale(span.at(row), 1.0 / divisor.at(row))
        })
    });
}

fn sum(a: IntervalMonthDayNano, b: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let months = a.months.checked_add(b.months).ok_or_else(out_of_range)?;
    let days = a.days.checked_add(b.days).ok_or_else(out_of_range)?;
    let nanos = a.nanoseconds.checked_add(b.nanoseconds).ok_or_else(out_of_range)?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// The interval backwards.
pub(crate) fn negate(span: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let months = span.months.checked_neg().ok_or_else(out_of_range)?;
    let days = span.days.checked_neg().ok_or_else(out_of_range)?;
    let nanos = span.nanoseconds.checked_neg().ok_or_else(out_of_range)?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// The interval at this fraction of the way from one to another (`interval_lerp`).
pub(crate) fn between(
    from: IntervalMonthDayNano,
    to: IntervalMonthDayNano,
    fraction: f64,
) -> Result<IntervalMonthDayNano> {
    sum(scale(sum(to, negate(from)?)?, fraction)?, from)
}

/// Fractions of months spill into days (30), of days into time (`interval_mul`).
fn scale(span: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let whole = |value: f64| {
        if value.is_finite() && value.abs() <= f64::from(i32::MAX) {
            Ok(value.trunc())
        } else {
            Err(out_of_range())
        }
    };
    let round = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let months = f64::from(span.months) * factor;
    let days = f64::from(span.days) * factor;
    let (whole_months, whole_days) = (whole(months)?, whole(days)?);
    let month_rest_days = round((months - whole_months) * 30.0);
    let day_rest_seconds = round((days - whole_days + month_rest_days - month_rest_days.trunc()) * 86_400.0);
    let carried =
        if day_rest_seconds.abs() >= 86_400.0 { (day_rest_seconds / 86_400.0).trunc() } else { 0.0 };
    let total_days = whole(whole_days + month_rest_days.trunc() + carried)?;
    let seconds_micros = ((day_rest_seconds - carried * 86_400.0) * 1e6).round_ties_even();
    let micros = (micros(span) as f64 * factor + seconds_micros).round_ties_even();
    if micros.abs() >= 9.2e15 {
        return Err(out_of_range());
    }
    from_parts(whole_months as i32, total_days as i32, micros as i64)
}
