//! Making and measuring dates and times: age, date_bin, make_*, to_timestamp, justify_*, AT TIME ZONE.

use arrow::datatypes::{
    Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use weir_common::text::civil::{
    DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, days_in_month, is_finite, split_day,
};
use weir_common::text::interval::{from_parts, micros, out_of_range};
use weir_common::text::zone::Zone;
use weir_common::{Error, Result, SqlState, SqlType};

use super::datetime_arithmetic::{justify_hours, range_error};
use super::registry::Table;

use SqlType::{Date, Float8, Int4, Interval, Text, Time, Timestamp, Timestamptz};

pub(crate) fn register(t: &mut Table) {
    ages(t);
    bins(t);
    makers(t);
    make_interval(t);
    justification(t);
    zones(t);
    for (ty, udf) in [(Timestamp, "timestamp_finite"), (Timestamptz, "timestamptz_finite")] {
        t.add("isfinite", udf, &[ty], SqlType::Bool, |call| {
            let value = call.timestamp(0);
            call.build_bool(|row| Ok(is_finite(value.at(row))))
        });
    }
}

fn ages(t: &mut Table) {
    for (ty, udf) in [(Timestamp, "timestamp_age"), (Timestamptz, "timestamptz_age")] {
        t.add("age", udf, &[ty.clone(), ty], Interval, |call| {
            let (a, b) = (call.timestamp(0), call.timestamp(1));
            call.build::<IntervalMonthDayNanoType>(|row| age(a.at(row), b.at(row)))
        });
    }
}

/// The difference in years, months, days and time (`timestamp_age`): days borrowed from a month are those of the
/// month that the earlier timestamp is in.
fn age(a: i64, b: i64) -> Result<IntervalMonthDayNano> {
    if !is_finite(a) || !is_finite(b) {
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"));
    }
    let (later, earlier, sign) = if a >= b { (a, b, 1) } else { (b, a, -1) };
    let ((later_days, later_time), (earlier_days, earlier_time)) = (split_day(later), split_day(earlier));
    let (y1, m1, d1) = civil_from_days(later_days);
    let (y2, m2, d2) = civil_from_days(earlier_days);
    let mut months = (y1 - y2) * 12 + i64::from(m1) - i64::from(m2);
    let mut days = i64::from(d1) - i64::from(d2);
    let mut time = later_time - earlier_time;
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    if days < 0 {
        let (year, month) = if sign > 0 { (y2, m2) } else { (y1, m1) };
        // For a negative age PostgreSQL borrows the later month's days.
        days += i64::from(days_in_month(year, month));
        months -= 1;
    }
    from_parts((sign * months) as i32, (sign * days) as i32, sign * time)
}

fn bins(t: &mut Table) {
    for (ty, udf) in [(Timestamp, "timestamp_bin"), (Timestamptz, "timestamptz_bin")] {
        t.add("date_bin", udf, &[Interval, ty.clone(), ty.clone()], ty, |call| {
            let (stride, value, origin) = (call.interval(0), call.timestamp(1), call.timestamp(2));
            call.build::<TimestampMicrosecondType>(|row| {
                date_bin(stride.at(row), value.at(row), origin.at(row))
            })
        });
    }
}

fn date_bin(stride: IntervalMonthDayNano, value: i64, origin: i64) -> Result<i64> {
    if stride.months != 0 {
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let stride = i64::from(stride.days).checked_mul(DAY).and_then(|days| days.checked_add(micros(stride)));
    let stride = stride.ok_or_else(out_of_range)?;
    if stride <= 0 {
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero"));
    }
    if !is_finite(value) {
        return Ok(value);
    }
    let since = value.checked_sub(origin).ok_or_else(|| range_error("timestamp"))?;
    value.checked_sub(since.rem_euclid(stride)).ok_or_else(|| range_error("timestamp"))
}

fn makers(t: &mut Table) {
    t.one("make_date", &[Int4, Int4, Int4], Date, |call| {
        let (year, month, day) = (call.int4(0), call.int4(1), call.int4(2));
        call.build::<Date32Type>(|row| {
            let days = date_of(year.at(row), month.at(row), day.at(row))?;
            i32::try_from(days).map_err(|_| range_error("date"))
        })
    });
    t.one("make_time", &[Int4, Int4, Float8], Time, |call| {
        let (hour, minute, second) = (call.int4(0), call.int4(1), call.float8(2));
        call.build::<Time64MicrosecondType>(|row| time_of(hour.at(row), minute.at(row), second.at(row)))
    });
    for (name, result) in [("make_timestamp", Timestamp), ("make_timestamptz", Timestamptz)] {
        t.one(name, &[Int4, Int4, Int4, Int4, Int4, Float8], result, |call| {
            let (year, month, day) = (call.int4(0), call.int4(1), call.int4(2));
            let (hour, minute, second) = (call.int4(3), call.int4(4), call.float8(5));
            call.build::<TimestampMicrosecondType>(|row| {
                let days = date_of(year.at(row), month.at(row), day.at(row))?;
                let time = time_of(hour.at(row), minute.at(row), second.at(row))?;
                days.checked_mul(DAY)
                    .and_then(|day| day.checked_add(time))
                    .ok_or_else(|| range_error("timestamp"))
            })
        });
    }
    t.add("to_timestamp", "float8_timestamptz", &[Float8], Timestamptz, |call| {
        let seconds = call.float8(0);
        call.build::<TimestampMicrosecondType>(|row| match seconds.at(row) {
            seconds if seconds.is_nan() => {
                Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp cannot be NaN"))
            }
            seconds if seconds.is_infinite() => Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN }),
            seconds if seconds.abs() > 9.2e12 => Err(range_error("timestamp")),
            seconds => Ok((seconds * 1e6).round_ties_even() as i64),
        })
    });
}

fn date_of(year: i32, month: i32, day: i32) -> Result<i64> {
    let invalid = || {
        let shown = format!("date field value out of range: {year}-{month:02}-{day:02}");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, shown)
    };
    // −1 is 1 BC; there is no year 0.
    let astronomical = i64::from(if year < 0 { year + 1 } else { year });
    if year == 0
        || !(1..=12).contains(&month)
        || day < 1
        || day as u32 > days_in_month(astronomical, month as u32)
    {
        return Err(invalid());
    }
    Ok(days_from_civil(astronomical, month as u32, day as u32))
}

fn time_of(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let micros = (second * 1e6).round_ties_even();
    let total = i64::from(hour) * HOUR + i64::from(minute) * MINUTE + micros as i64;
    let valid = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=6e7).contains(&micros)
        && total <= DAY;
    if !valid {
        let shown = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, shown));
    }
    Ok(total)
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`, each with all before it.
fn make_interval(t: &mut Table) {
    for count in 0..=7usize {
        let params: Vec<SqlType> = (0..count).map(|i| if i == 6 { Float8 } else { Int4 }).collect();
        t.add("make_interval", &format!("make_interval{count}"), &params, Interval, move |call| {
            let part = |i: usize, row: usize| if i < count { i64::from(call.int4(i).at(row)) } else { 0 };
            call.build::<IntervalMonthDayNanoType>(|row| {
                let seconds = if count == 7 { call.float8(6).at(row) } else { 0.0 };
                let months = part(0, row) * 12 + part(1, row);
                let days = part(2, row) * 7 + part(3, row);
                let micros =
                    part(4, row) * HOUR + part(5, row) * MINUTE + (seconds * SECOND as f64).round() as i64;
                let (months, days) = (i32::try_from(months), i32::try_from(days));
                from_parts(months.map_err(|_| out_of_range())?, days.map_err(|_| out_of_range())?, micros)
            })
        });
    }
}

fn justification(t: &mut Table) {
    t.one("justify_hours", &[Interval], Interval, |call| {
        let span = call.interval(0);
        call.build::<IntervalMonthDayNanoType>(|row| {
            let span = span.at(row);
            justify_hours(span.months, span.days, micros(span)).map(|justified| settle(justified, Part::Days))
        })
    });
    t.one("justify_days", &[Interval], Interval, |call| {
        let span = call.interval(0);
        call.build::<IntervalMonthDayNanoType>(|row| {
            let span = span.at(row);
            let moved =
                IntervalMonthDayNano::new(span.months + span.days / 30, span.days % 30, span.nanoseconds);
            Ok(if moved.days == 0 { moved } else { settle(moved, Part::Months) })
        })
    });
    t.one("justify_interval", &[Interval], Interval, |call| {
        let span = call.interval(0);
        call.build::<IntervalMonthDayNanoType>(|row| {
            let span = span.at(row);
            let hours = justify_hours(span.months, span.days, micros(span))?;
            let days =
                IntervalMonthDayNano::new(hours.months + hours.days / 30, hours.days % 30, hours.nanoseconds);
            Ok(settle(settle(days, Part::Months), Part::Days))
        })
    });
}

/// The part that must have the sign of the one below it.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Months,
    Days,
}

/// Makes the signs of a part and the one below it agree.
fn settle(span: IntervalMonthDayNano, part: Part) -> IntervalMonthDayNano {
    let (mut months, mut days, mut nanos) = (span.months, span.days, span.nanoseconds);
    let day_nanos = DAY * 1000;
    match part {
        Part::Months if months > 0 && (days < 0 || (days == 0 && nanos < 0)) => {
            months -= 1;
            days += 30;
        }
        Part::Months if months < 0 && (days > 0 || (days == 0 && nanos > 0)) => {
            months += 1;
            days -= 30;
        }
        Part::Days if days > 0 && nanos < 0 => {
            days -= 1;
            nanos += day_nanos;
        }
        Part::Days if days < 0 && nanos > 0 => {
            days += 1;
            nanos -= day_nanos;
        }
        _ => {}
    }
    IntervalMonthDayNano::new(months, days, nanos)
}

/// `timezone(zone, x)`, which `x AT TIME ZONE zone` becomes.
fn zones(t: &mut Table) {
    t.add("timezone", "timestamp_zone", &[Text, Timestamp], Timestamptz, |call| {
        let (zone, value) = (call.text(0), call.timestamp(1));
        call.build::<TimestampMicrosecondType>(|row| {
            let zone = Zone::named(zone.at(row))?;
            Ok(if is_finite(value.at(row)) { zone.to_utc(value.at(row)) } else { value.at(row) })
        })
    });
    t.add("timezone", "timestamptz_zone", &[Text, Timestamptz], Timestamp, |call| {
        let (zone, value) = (call.text(0), call.timestamp(1));
        call.build::<TimestampMicrosecondType>(|row| {
            let zone = Zone::named(zone.at(row))?;
            Ok(if is_finite(value.at(row)) { zone.to_local(value.at(row)) } else { value.at(row) })
        })
    });
    for (udf, from, to, sign) in
        [("timestamp_izone", Timestamp, Timestamptz, -1), ("timestamptz_izone", Timestamptz, Timestamp, 1)]
    {
        t.add("timezone", udf, &[Interval, from], to, move |call| {
            let (offset, value) = (call.interval(0), call.timestamp(1));
            call.build::<TimestampMicrosecondType>(|row| {
                Ok(value.at(row).saturating_add(sign * micros(offset.at(row))))
            })
        });
    }
}
