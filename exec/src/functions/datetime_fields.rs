//! Fields of dates, times and intervals: `extract`, `date_part`, `date_trunc` (timestamp.c).
//!
//! `extract` gives numeric with the digits of its field, `date_part` double precision. timestamptz is taken apart
//! in UTC.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::logical_expr::ScalarUDF;
use weir_common::text::civil::{
    DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, is_finite, split_day,
};
use weir_common::text::interval::{from_parts, micros};
use weir_common::text::numeric::round_div;
use weir_common::text::zone::Zone;
use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::{ArrowResult, Call, PgFunction};
use super::cast::date_to_timestamp;
use super::datetime_arithmetic::range_error;
use super::registry::Table;
use super::{FunctionKind, ResolvedFunction};

/// What `extract` gives: millionths, printed as far as the field has digits.
const FIELD: SqlType =
    SqlType::Numeric(NumericType { precision: 38, scale: 6, display: NumericDisplay::Trimmed });

pub(crate) fn register(t: &mut Table) {
    parts::<Date32Type>(t, SqlType::Date, "date", date_field, |days, field| {
        timestamp_field(date_to_timestamp(days)?, field)
    });
    parts::<TimestampMicrosecondType>(t, SqlType::Timestamp, "timestamp", timestamp_field, timestamp_field);
    parts::<TimestampMicrosecondType>(
        t,
        SqlType::Timestamptz,
        "timestamptz",
        timestamptz_field,
        timestamptz_field,
    );
    parts::<Time64MicrosecondType>(t, SqlType::Time, "time", time_field, time_field);
    parts::<IntervalMonthDayNanoType>(t, SqlType::Interval, "interval", interval_field, interval_field);
    truncation(t);
}

/// A field of a value in millionths; `None` for a field of infinity.
type Field<T> = fn(<T as ArrowPrimitiveType>::Native, &str) -> Result<Option<i128>>;

/// Registers `extract(field, x)` and `date_part(field, x)`, which differ for dates.
fn parts<T: ArrowPrimitiveType>(
    t: &mut Table,
    ty: SqlType,
    name: &str,
    extract: Field<T>,
    date_part: Field<T>,
) {
    let params = [SqlType::Text, ty];
    t.add("extract", &format!("extract_{name}"), &params, FIELD, move |call| {
        let (field, value) = (call.text(0), call.prim::<T>(1));
        let mut word = String::new();
        call.build_option::<Decimal128Type>(|row| extract(value.at(row), lower(field.at(row), &mut word)))
    });
    t.add("date_part", &format!("{name}_part"), &params, SqlType::Float8, move |call| {
        let (field, value) = (call.text(0), call.prim::<T>(1));
        let mut word = String::new();
        call.build_option::<Float64Type>(|row| {
            let millionths = date_part(value.at(row), lower(field.at(row), &mut word))?;
            Ok(millionths.map(|millionths| millionths as f64 / 1e6))
        })
    });
}

/// `extract(field from x)` with the field known: numeric with the field's digits (seconds 6, milliseconds 3, others
/// none), as PostgreSQL prints them. The UDF `extract_timestamp(second)` takes the value alone.
///
/// # Errors
/// 22023 and 0A000 for a field that the type does not have, 42883 for a type without fields.
pub fn resolve_extract(field: &str, ty: &SqlType) -> Result<ResolvedFunction> {
    let ty = if *ty == SqlType::Unknown { SqlType::Timestamptz } else { ty.clone() };
    let mut word = String::new();
    let field = lower(field, &mut word);
    if !matches!(
        ty,
        SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Time | SqlType::Interval
    ) {
        return super::resolve_function("extract", &[SqlType::Text, ty]);
    }
    probe(field, &ty)?;
    let name = format!("extract_{}({field})", ty.catalog_name());
    let udf = by_name(&name).ok_or_else(|| unknown_field(field, &ty.name()))?;
    Ok(ResolvedFunction {
        kind: FunctionKind::Udf(udf),
        arg_types: vec![ty],
        result: field_type(field),
        strict: true,
        volatile: false,
    })
}

/// Fails as the function itself would for this field.
fn probe(field: &str, ty: &SqlType) -> Result<()> {
    match ty {
        SqlType::Date => date_field(0, field),
        SqlType::Timestamp => timestamp_field(0, field),
        SqlType::Timestamptz => timestamptz_field(0, field),
        SqlType::Time => time_field(0, field),
        _ => interval_field(IntervalMonthDayNano::new(0, 0, 0), field),
    }
    .map(|_| ())
}

fn field_type(field: &str) -> SqlType {
    SqlType::Numeric(match field {
        "second" | "epoch" => NumericType::fixed(38, 6),
        "milliseconds" => NumericType::fixed(38, 3),
        "julian" => NumericType { precision: 38, scale: 6, display: NumericDisplay::Trimmed },
        _ => NumericType::fixed(38, 0),
    })
}

/// The function of this name: `extract_timestamp(second)`.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    let (ty, field) = name.strip_prefix("extract_")?.strip_suffix(')')?.split_once('(')?;
    let field = field.to_owned();
    Some(match ty {
        "date" => extractor::<Date32Type>(name, field, date_field),
        "timestamp" => extractor::<TimestampMicrosecondType>(name, field, timestamp_field),
        "timestamptz" => extractor::<TimestampMicrosecondType>(name, field, timestamptz_field),
        "time" => extractor::<Time64MicrosecondType>(name, field, time_field),
        "interval" => extractor::<IntervalMonthDayNanoType>(name, field, interval_field),
        _ => return None,
    })
}

fn extractor<T: ArrowPrimitiveType>(name: &str, field: String, f: Field<T>) -> Arc<ScalarUDF> {
    let result = field_type(&field).arrow();
    let eval = move |call: &Call<'_>| -> Result<ArrayRef> {
        let value = call.prim::<T>(0);
        let digits = 6 - call.result_scale() as u32;
        call.build_option::<Decimal128Type>(|row| {
            Ok(f(value.at(row), &field)?.map(|millionths| round_div(millionths, digits)))
        })
    };
    let function = PgFunction::new(name.to_owned(), ArrowResult::Fixed(result), false, Arc::new(eval));
    Arc::new(ScalarUDF::new_from_impl(function))
}

fn timestamptz_field(micros: i64, field: &str) -> Result<Option<i128>> {
    match field {
        "timezone" | "timezone_hour" | "timezone_minute" => Ok(Some(0)),
        field => timestamp_field(micros, field),
    }
}

/// The field's name in lower case and singular.
fn lower<'a>(field: &str, buffer: &'a mut String) -> &'a str {
    buffer.clear();
    buffer.push_str(field);
    buffer.make_ascii_lowercase();
    match buffer.as_str() {
        "seconds" | "sec" | "secs" | "s" => "second",
        "minutes" | "min" | "mins" | "m" => "minute",
        "hours" | "hr" | "hrs" | "h" => "hour",
        "days" | "d" => "day",
        "weeks" | "w" => "week",
        "months" | "mon" | "mons" => "month",
        "years" | "yr" | "yrs" | "y" => "year",
        "decades" => "decade",
        "centuries" | "c" => "century",
        "millennia" | "millenniums" => "millennium",
        "qtr" => "quarter",
        "ms" | "msec" | "msecs" | "millisecond" => "milliseconds",
        "us" | "usec" | "usecs" | "microsecond" => "microseconds",
        _ => buffer.as_str(),
    }
}

fn unknown_field(field: &str, ty: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unit \"{field}\" not recognized for type {ty}"))
}

fn unsupported_field(field: &str, ty: &str) -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("unit \"{field}\" not supported for type {ty}"))
}

const TIME_FIELDS: [&str; 5] = ["hour", "minute", "second", "milliseconds", "microseconds"];

fn date_field(days: i32, field: &str) -> Result<Option<i128>> {
    if TIME_FIELDS.contains(&field) || field.starts_with("timezone") {
        return Err(unsupported_field(field, "date"));
    }
    calendar_field(date_to_timestamp(days)?, field)?.map_or_else(|| Err(unknown_field(field, "date")), Ok)
}

fn timestamp_field(micros: i64, field: &str) -> Result<Option<i128>> {
    if !is_finite(micros) {
        return Ok(None);
    }
    if let Some(value) = calendar_field(micros, field)? {
        return Ok(value);
    }
    match clock_field(split_day(micros).1, field) {
        Some(value) => Ok(Some(value)),
        None => Err(unknown_field(field, "timestamp without time zone")),
    }
}

fn time_field(micros: i64, field: &str) -> Result<Option<i128>> {
    match clock_field(micros, field) {
        Some(value) => Ok(Some(value)),
        None if field == "epoch" => Ok(Some(micros.into())),
        None => Err(unknown_field(field, "time without time zone")),
    }
}

/// Fields of the time of day, in millionths.
fn clock_field(micros: i64, field: &str) -> Option<i128> {
    let unit = i128::from(SECOND);
    Some(match field {
        "hour" => i128::from(micros / HOUR) * unit,
        "minute" => i128::from(micros / MINUTE % 60) * unit,
        "second" => i128::from(micros % MINUTE),
        "milliseconds" => i128::from(micros % MINUTE) * 1000,
        "microseconds" => i128::from(micros % MINUTE) * unit,
        _ => return None,
    })
}

/// Fields of the date, in millionths; the outer `None` is no such field, the inner one infinity.
fn calendar_field(micros: i64, field: &str) -> Result<Option<Option<i128>>> {
    let (days, _) = split_day(micros);
    let (year, month, day) = civil_from_days(days);
    // PostgreSQL counts years before Christ from −1.
    let shown = if year > 0 { year } else { year - 1 };
    let value = match field {
        "year" => shown,
        "month" => month.into(),
        "day" => day.into(),
        "quarter" => i64::from((month - 1) / 3 + 1),
        "decade" => year.div_euclid(10),
        "century" => century_of(year, 100),
        "millennium" => century_of(year, 1000),
        "dow" => (days + 4).rem_euclid(7),
        "isodow" => (days + 3).rem_euclid(7) + 1,
        "doy" => days - days_from_civil(year, 1, 1) + 1,
        "week" => iso_week(days).1,
        "isoyear" => iso_week(days).0,
        "julian" => {
            return Ok(Some(Some(i128::from(days + 2_440_588) * 1_000_000 + julian_fraction(micros))));
        }
        "epoch" => return Ok(Some(Some(micros.into()))),
        _ => return Ok(None),
    };
    Ok(Some(Some(i128::from(value) * i128::from(SECOND))))
}

fn julian_fraction(micros: i64) -> i128 {
    i128::from(split_day(micros).1) * 1_000_000 / i128::from(DAY)
}

fn century_of(year: i64, length: i64) -> i64 {
    if year > 0 { (year + length - 1) / length } else { (year - length) / length }
}

/// ISO 8601 year and week.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let year = civil_from_days(thursday).0;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

fn interval_field(span: IntervalMonthDayNano, field: &str) -> Result<Option<i128>> {
    let unit = i128::from(SECOND);
    let time = i128::from(micros(span));
    let (years, months) = (i128::from(span.months / 12), i128::from(span.months % 12));
    let value = match field {
        "year" => years,
        "month" => months,
        "day" => i128::from(span.days),
        "quarter" => months / 3 + 1,
        "decade" => years / 10,
        "century" => years / 100,
        "millennium" => years / 1000,
        "hour" => time / i128::from(HOUR),
        "minute" => time / i128::from(MINUTE) % 60,
        "second" => return Ok(Some(time % i128::from(MINUTE))),
        "milliseconds" => return Ok(Some(time % i128::from(MINUTE) * 1000)),
        "microseconds" => time % i128::from(MINUTE),
        "epoch" => {
            // A year has 365.25 days, a month 30.
            let days = i128::from(span.days) + months * 30;
            return Ok(Some(days * i128::from(DAY) + years * i128::from(DAY) * 1461 / 4 + time));
        }
        field => return Err(unknown_field(field, "interval")),
    };
    Ok(Some(value * unit))
}

fn truncation(t: &mut Table) {
    use SqlType::{Interval, Text, Timestamp, Timestamptz};
    for (ty, udf) in [(Timestamp, "timestamp_trunc"), (Timestamptz, "timestamptz_trunc")] {
        t.add("date_trunc", udf, &[Text, ty.clone()], ty, |call| truncate(call, truncate_timestamp));
    }
    t.add("date_trunc", "timestamptz_trunc_zone", &[Text, Timestamptz, Text], Timestamptz, |call| {
        let zone = call.text(2);
        let (field, value, mut word) = (call.text(0), call.timestamp(1), String::new());
        call.build::<TimestampMicrosecondType>(|row| {
            let zone = Zone::named(zone.at(row))?;
            let local = truncate_timestamp(lower(field.at(row), &mut word), zone.to_local(value.at(row)))?;
            Ok(zone.to_utc(local))
        })
    });
    t.add("date_trunc", "interval_trunc", &[Text, Interval], Interval, |call| {
        let (field, span, mut word) = (call.text(0), call.interval(1), String::new());
        call.build::<IntervalMonthDayNanoType>(|row| {
            truncate_interval(lower(field.at(row), &mut word), span.at(row))
        })
    });
}

fn truncate(call: &Call<'_>, f: impl Fn(&str, i64) -> Result<i64>) -> Result<ArrayRef> {
    let (field, value, mut word) = (call.text(0), call.timestamp(1), String::new());
    if field.constant && call.nulls().is_ok() {
        let word = lower(field.at(0), &mut word);
        return call.build::<TimestampMicrosecondType>(|row| f(word, value.at(row)));
    }
    call.build::<TimestampMicrosecondType>(|row| f(lower(field.at(row), &mut word), value.at(row)))
}

/// The beginning of the field's unit that the timestamp is in.
fn truncate_timestamp(field: &str, micros: i64) -> Result<i64> {
    if !is_finite(micros) {
        return Ok(micros);
    }
    let fixed = |unit: i64| Ok(micros - micros.rem_euclid(unit));
    let (days, _) = split_day(micros);
    let midnight = |days: i64| days.checked_mul(DAY).ok_or_else(|| range_error("timestamp"));
    let (year, month, _) = civil_from_days(days);
    // Centuries begin in year 1.
    let first_of = |length: i64| (year - 1).div_euclid(length) * length + 1;
    match field {
        "microseconds" => Ok(micros),
        "milliseconds" => fixed(1000),
        "second" => fixed(SECOND),
        "minute" => fixed(MINUTE),
        "hour" => fixed(HOUR),
        "day" => fixed(DAY),
        "week" => midnight(days - (days + 3).rem_euclid(7)),
        "month" => midnight(days_from_civil(year, month, 1)),
        "quarter" => midnight(days_from_civil(year, (month - 1) / 3 * 3 + 1, 1)),
        "year" => midnight(days_from_civil(year, 1, 1)),
        "decade" => midnight(days_from_civil(year.div_euclid(10) * 10, 1, 1)),
        "century" => midnight(days_from_civil(first_of(100), 1, 1)),
        "millennium" => midnight(days_from_civil(first_of(1000), 1, 1)),
        field => Err(unknown_field(field, "timestamp without time zone")),
    }
}

fn truncate_interval(field: &str, span: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let months = |unit: i32| from_parts(span.months / unit * unit, 0, 0);
    let time = micros(span);
    let clock = |unit: i64| from_parts(span.months, span.days, time / unit * unit);
    match field {
        "microseconds" => Ok(span),
        "milliseconds" => clock(1000),
        "second" => clock(SECOND),
        "minute" => clock(MINUTE),
        "hour" => clock(HOUR),
        "day" => from_parts(span.months, span.days, 0),
        "month" => months(1),
        "quarter" => months(3),
        "year" => months(12),
        "decade" => months(120),
        "century" => months(1200),
        "millennium" => months(12_000),
        "week" => {
            Err(unsupported_field(field, "interval").with_detail("Months usually have fractional weeks."))
        }
        field => Err(unknown_field(field, "interval")),
    }
}
