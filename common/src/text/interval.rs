//! interval as text: PostgreSQL's verbose and ISO 8601 input, `postgres` style output (IntervalStyle).
//!
//! An interval is months, days and a time in nanoseconds (always whole microseconds) that are never converted
//! into one another except when asked (`justify_*`) or for comparison (30-day months, 24-hour days).

use std::fmt::Write;

use arrow::datatypes::IntervalMonthDayNano;

use super::civil::{DAY, HOUR, MINUTE, SECOND};
use super::datetime::{fraction_micros, write_fraction};
use crate::{Error, Result, SqlState};

/// An interval of months, days and microseconds.
pub fn from_parts(months: i32, days: i32, micros: i64) -> Result<IntervalMonthDayNano> {
    let nanos = micros.checked_mul(1000).ok_or_else(out_of_range)?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// The time part in microseconds.
pub fn micros(interval: IntervalMonthDayNano) -> i64 {
    interval.nanoseconds / 1000
}

/// The span for comparison: 30-day months and 24-hour days, in microseconds.
pub fn comparison_key(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * i128::from(DAY) + i128::from(micros(interval))
}

/// 22008.
pub fn out_of_range() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// Reads an interval.
pub fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let mut sum = Sum::default();
    let trimmed = text.trim();
    if trimmed.starts_with(['P', 'p']) {
        sum.read_iso(&trimmed[1..]).ok_or_else(|| invalid(text))?;
    } else {
        sum.read_verbose(trimmed).ok_or_else(|| invalid(text))?;
    }
    sum.finish().ok_or_else(|| {
        Error::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{text}\""),
        )
    })
}

fn invalid(text: &str) -> Error {
    Error::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid input syntax for type interval: \"{text}\""),
    )
}

/// The unit of a number; also of `date_trunc` and `extract` fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Micros(i64),
    Days(i64),
    Months(i64),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word.to_ascii_lowercase().as_str() {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
            Unit::Micros(1)
        }
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
            Unit::Micros(1000)
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(SECOND),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(MINUTE),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(HOUR),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1200),
        "mil" | "mils" | "millennium" | "millennia" => Unit::Months(12_000),
        _ => return None,
    })
}

/// Parts added up so far.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i128,
}

impl Sum {
    /// Adds a decimal number of units. A fraction of a month spills into days (30), of a day into time.
    fn add(&mut self, number: &str, unit: Unit) -> Option<()> {
        let negative = number.starts_with('-');
        let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0
            || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let sign = if negative { -1 } else { 1 };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? } * sign;
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        let fraction = fraction * sign as f64;
        match unit {
            Unit::Micros(size) => {
                self.micros += i128::from(whole) * i128::from(size);
                self.micros += (fraction * size as f64).round() as i128;
            }
            Unit::Days(size) => {
                self.days = self.days.checked_add(whole.checked_mul(size)?)?;
                self.add_days(fraction * size as f64);
            }
            Unit::Months(1) => {
                self.months = self.months.checked_add(whole)?;
                self.add_days(fraction * 30.0);
            }
            Unit::Months(size) => {
                self.months = self.months.checked_add(whole.checked_mul(size)?)?;
                self.months += (fraction * size as f64).round_ties_even() as i64;
            }
        }
        Some(())
    }

    fn add_days(&mut self, days: f64) {
        let whole = days.trunc();
        self.days += whole as i64;
        self.micros += ((days - whole) * DAY as f64).round() as i128;
    }

    /// `[-]hh:mm[:ss[.ffffff]]`.
    fn add_time(&mut self, token: &str) -> Option<()> {
        let negative = token.starts_with('-');
        let parts: Vec<&str> = token.strip_prefix(['+', '-']).unwrap_or(token).split(':').collect();
        let number =
            |part: &str| (!part.is_empty()).then(|| part.parse::<u32>().ok()).flatten().map(i128::from);
        let total = match parts.as_slice() {
            [minutes, seconds] if seconds.contains('.') => {
                let (seconds, fraction) = seconds.split_once('.')?;
                let (minutes, seconds) = (number(minutes)?, number(seconds)?);
                minutes * i128::from(MINUTE)
                    + seconds * i128::from(SECOND)
                    + i128::from(fraction_micros(fraction)?)
            }
            [hours, minutes] => {
                number(hours)? * i128::from(HOUR) + checked_sixty(number(minutes)?)? * i128::from(MINUTE)
            }
            [hours, minutes, seconds] => {
                let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
                number(hours)? * i128::from(HOUR)
                    + checked_sixty(number(minutes)?)? * i128::from(MINUTE)
                    + checked_sixty(number(seconds)?)? * i128::from(SECOND)
                    + i128::from(fraction_micros(fraction)?)
            }
            _ => return None,
        };
        self.micros += if negative { -total } else { total };
        Some(())
    }

    fn read_verbose(&mut self, text: &str) -> Option<()> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let mut any = false;
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            if token.eq_ignore_ascii_case("ago") && rest.is_empty() && any {
                (self.months, self.days, self.micros) = (-self.months, -self.days, -self.micros);
                return Some(());
            }
            any = true;
            if token.contains(':') {
                self.add_time(token)?;
            } else if let Some((years, months)) = years_and_months(token) {
                self.months += years * 12 + months;
            } else if let Some((unit, after)) =
                rest.split_first().and_then(|(word, rest)| Some((unit(word)?, rest)))
            {
                self.add(token, unit)?;
                rest = after;
            } else if rest.first().is_some_and(|next| next.contains(':')) {
                self.add(token, Unit::Days(1))?;
            } else if rest.is_empty() {
                self.add(token, Unit::Micros(SECOND))?;
            } else {
                return None;
            }
        }
        any.then_some(())
    }

    /// `1Y2M3DT4H5M6.7S` after the `P`.
    fn read_iso(&mut self, text: &str) -> Option<()> {
        let (date, time) = text.split_once(['T', 't']).map_or((text, None), |(d, t)| (d, Some(t)));
        if date.is_empty() && time.is_none_or(str::is_empty) {
            return None;
        }
        self.read_designators(date, |letter| match letter {
            'Y' => Some(Unit::Months(12)),
            'M' => Some(Unit::Months(1)),
            'W' => Some(Unit::Days(7)),
            'D' => Some(Unit::Days(1)),
            _ => None,
        })?;
        self.read_designators(time.unwrap_or(""), |letter| match letter {
            'H' => Some(Unit::Micros(HOUR)),
            'M' => Some(Unit::Micros(MINUTE)),
            'S' => Some(Unit::Micros(SECOND)),
            _ => None,
        })
    }

    fn read_designators(&mut self, text: &str, unit: impl Fn(char) -> Option<Unit>) -> Option<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            self.add(&rest[..end], unit(rest[end..].chars().next()?.to_ascii_uppercase())?)?;
            rest = &rest[end + 1..];
        }
        Some(())
    }

    fn finish(&self) -> Option<IntervalMonthDayNano> {
        let nanos = i64::try_from(self.micros.checked_mul(1000)?).ok()?;
        Some(IntervalMonthDayNano::new(
            i32::try_from(self.months).ok()?,
            i32::try_from(self.days).ok()?,
            nanos,
        ))
    }
}

fn checked_sixty(value: i128) -> Option<i128> {
    (value < 60).then_some(value)
}

/// `1-2`: a year and two months.
fn years_and_months(token: &str) -> Option<(i64, i64)> {
    let negative = token.starts_with('-');
    let (years, months) = token.strip_prefix(['+', '-']).unwrap_or(token).split_once('-')?;
    let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
    Some(if negative { (-years, -months) } else { (years, months) })
}

/// Numbers, words and times; `5days` is two tokens, a sign may stand apart from its number.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens: Vec<String> = Vec::new();
    let mut sign: Option<char> = None;
    for word in
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty() && *word != "@")
    {
        if matches!(word, "+" | "-") {
            sign = word.chars().next();
            continue;
        }
        let split = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let (number, unit) = word.split_at(split);
        if !number.is_empty() {
            tokens.push(sign.take().into_iter().chain(number.chars()).collect());
        }
        if !unit.is_empty() {
            tokens.push(unit.to_owned());
        }
    }
    sign.is_none().then_some(tokens)
}

/// Writes an interval: `1 year 2 mons -3 days +04:05:06.789`.
pub fn write(interval: IntervalMonthDayNano, out: &mut String) {
    let mut style = Style { out, is_first: true, is_before: false };
    style.part(interval.months / 12, "year");
    style.part(interval.months % 12, "mon");
    style.part(interval.days, "day");
    let time = micros(interval);
    if time == 0 && !style.is_first {
        return;
    }
    let sign = match (time < 0, style.is_before) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let gap = if style.is_first { "" } else { " " };
    let time = time.unsigned_abs() as i64;
    let _ = write!(out, "{gap}{sign}{:02}:{:02}:{:02}", time / HOUR, time / MINUTE % 60, time / SECOND % 60);
    write_fraction(time % SECOND, out);
}

/// `AddPostgresInt` of datetime.c: a plus sign after a negative part.
struct Style<'a> {
    out: &'a mut String,
    is_first: bool,
    is_before: bool,
}

impl Style<'_> {
    fn part(&mut self, value: i32, unit: &str) {
        if value == 0 {
            return;
        }
        let gap = if self.is_first { "" } else { " " };
        let sign = if self.is_before && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        let _ = write!(self.out, "{gap}{sign}{value} {unit}{plural}");
        self.is_before = value < 0;
        self.is_first = false;
    }
}
