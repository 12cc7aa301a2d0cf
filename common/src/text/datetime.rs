//! date, time, timestamp and timestamptz as text (datetime.c, DateStyle `ISO, MDY`).
//!
//! Reading splits the text into fields and gives each to the part of the date it looks like; the same reader
//! serves all four types.

use std::fmt::Write;

use chrono_tz::Tz;

use super::civil::{DATE_INFINITY, DAY, HOUR, MINUTE, SECOND, TIMESTAMP_INFINITY};
use super::civil::{civil_from_days, days_from_civil, days_in_month, split_day};
use super::zone::{Zone, parse_offset, write_offset};
use crate::{Error, Result, SqlState};

/// Reads a date as days since 1970-01-01.
pub fn parse_date(text: &str) -> Result<i32> {
    let fields = Fields::read(text, "date")?;
    match fields.infinity {
        Some(true) => return Ok(DATE_INFINITY),
        Some(false) => return Ok(i32::MIN),
        None => {}
    }
    let days = fields.days(text, "date")?;
    i32::try_from(days).map_err(|_| out_of_range(text, "date"))
}

/// Reads a time of day as microseconds since midnight; `24:00` is allowed.
pub fn parse_time(text: &str) -> Result<i64> {
    let fields = Fields::read(text, "time")?;
    fields.time.filter(|_| fields.infinity.is_none()).ok_or_else(|| invalid(text, "time"))
}

/// Reads a timestamp as microseconds since 1970-01-01; a zone in the text is ignored, as PostgreSQL does.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    let fields = Fields::read(text, "timestamp")?;
    match fields.infinity {
        Some(true) => Ok(TIMESTAMP_INFINITY),
        Some(false) => Ok(i64::MIN),
        None => fields.local_micros(text, "timestamp"),
    }
}

/// Reads a timestamptz as microseconds UTC; without a zone in the text it is local time in `zone`.
pub fn parse_timestamptz(text: &str, zone: Tz) -> Result<i64> {
    let fields = Fields::read(text, "timestamp with time zone")?;
    match fields.infinity {
        Some(true) => Ok(TIMESTAMP_INFINITY),
        Some(false) => Ok(i64::MIN),
        None => {
            let local = fields.local_micros(text, "timestamp with time zone")?;
            Ok(fields.zone.unwrap_or(Zone::Named(zone)).to_utc(local))
        }
    }
}

fn invalid(text: &str, ty: &str) -> Error {
    Error::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn field_out_of_range(text: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

fn out_of_range(text: &str, ty: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{ty} out of range: \"{text}\""))
}

/// What a date/time text says.
#[derive(Default)]
struct Fields {
    date: Option<(i64, u32, u32)>,
    time: Option<i64>,
    zone: Option<Zone>,
    infinity: Option<bool>,
    before_christ: bool,
    /// A month given by name, and numbers that wait for it.
    month: Option<u32>,
    numbers: Vec<String>,
}

impl Fields {
    fn read(text: &str, ty: &str) -> Result<Fields> {
        let mut fields = Fields::default();
        for token in tokens(text) {
            fields.take(&token, text, ty)?;
        }
        fields.resolve_named_month(text, ty)?;
        if fields.date.is_none() && fields.time.is_none() && fields.infinity.is_none() {
            return Err(invalid(text, ty));
        }
        Ok(fields)
    }

    fn take(&mut self, token: &str, text: &str, ty: &str) -> Result<()> {
        let bad = || invalid(text, ty);
        let first = token.chars().next().ok_or_else(bad)?;
        if first.is_ascii_digit() {
            return self.take_number(token, text, ty);
        }
        if matches!(first, '+' | '-') && token.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) {
            self.zone = Some(Zone::Fixed(parse_offset(token).ok_or_else(bad)?));
            return Ok(());
        }
        match token.to_ascii_lowercase().as_str() {
            "infinity" => self.infinity = Some(true),
            "-infinity" => self.infinity = Some(false),
            "epoch" => {
                self.date = Some((1970, 1, 1));
                self.time = Some(0);
            }
            "now" | "today" | "tomorrow" | "yesterday" => {
                return Err(Error::unsupported(format!("the {ty} literal '{token}'"))
                    .with_hint("Use now(), current_date or localtimestamp."));
            }
            "bc" => self.before_christ = true,
            "ad" | "at" | "t" => {}
            "am" | "pm" => self.take_meridian(token, text)?,
            word if weekday(word).is_some() => {}
            word => match month_number(word) {
                Some(month) => self.month = Some(month),
                None => self.zone = Some(Zone::find(token).ok_or_else(bad)?),
            },
        }
        Ok(())
    }

    fn take_meridian(&mut self, token: &str, text: &str) -> Result<()> {
        let time = self.time.filter(|time| (HOUR..13 * HOUR).contains(time) || *time < HOUR);
        let time = time.ok_or_else(|| field_out_of_range(text))?;
        let past_noon = token.eq_ignore_ascii_case("pm");
        let base = time % (12 * HOUR);
        self.time = Some(if past_noon { base + 12 * HOUR } else { base });
        Ok(())
    }

    fn take_number(&mut self, token: &str, text: &str, ty: &str) -> Result<()> {
        let bad = || invalid(text, ty);
        if token.contains(':') {
            if self.time.is_some() {
                return Err(bad());
            }
            self.time = Some(time_of_day(token, text, ty)?);
            return Ok(());
        }
        if let Some(date) = numeric_date(token) {
            if self.date.is_some() {
                return Err(bad());
            }
            self.date = Some(date.ok_or_else(bad)?);
            return Ok(());
        }
        if self.date.is_some() && self.time.is_none() && matches!(token.len(), 4 | 6) && all_digits(token) {
            let mut spelled = format!("{}:{}", &token[..2], &token[2..4]);
            if token.len() == 6 {
                let _ = write!(spelled, ":{}", &token[4..]);
            }
            self.time = Some(time_of_day(&spelled, text, ty)?);
            return Ok(());
        }
        if let Some((day, month)) = day_and_month_name(token) {
            self.month = Some(month);
            self.numbers.push(day);
            return Ok(());
        }
        if !all_digits(token) || self.numbers.len() == 2 {
            return Err(bad());
        }
        self.numbers.push(token.to_owned());
        Ok(())
    }

    /// `January 8 1999`, `8 Jan 1999`, `1999 Jan 8`.
    fn resolve_named_month(&mut self, text: &str, ty: &str) -> Result<()> {
        let Some(month) = self.month else {
            return if self.numbers.is_empty() { Ok(()) } else { Err(invalid(text, ty)) };
        };
        let [a, b] = self.numbers.as_slice() else { return Err(invalid(text, ty)) };
        let (day, year) = if a.len() > 2 { (b, a) } else { (a, b) };
        let number = |n: &String| n.parse::<i64>().map_err(|_| invalid(text, ty));
        self.date = Some((full_year(number(year)?, year.len()), month, number(day)? as u32));
        Ok(())
    }

    fn days(&self, text: &str, ty: &str) -> Result<i64> {
        let (mut year, month, day) = self.date.ok_or_else(|| invalid(text, ty))?;
        if year == 0 && !self.before_christ {
            return Err(field_out_of_range(text));
        }
        if self.before_christ {
            year = 1 - year;
        }
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(field_out_of_range(text));
        }
        if !(-4713..=5_874_897).contains(&year) {
            return Err(out_of_range(text, ty));
        }
        Ok(days_from_civil(year, month, day))
    }

    fn local_micros(&self, text: &str, ty: &str) -> Result<i64> {
        let days = self.days(text, ty)?;
        let micros = days.checked_mul(DAY).and_then(|day| day.checked_add(self.time.unwrap_or(0)));
        micros
            .filter(|micros| micros.abs() < 9_223_371_331_200_000_000)
            .ok_or_else(|| out_of_range(text, "timestamp"))
    }
}

/// Splits at blanks, commas, the `T` between date and time, and before a zone that follows a time.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty()) {
        split_word(word, &mut tokens);
    }
    tokens
}

fn split_word(word: &str, tokens: &mut Vec<String>) {
    let starts_with_digit = word.starts_with(|c: char| c.is_ascii_digit());
    if starts_with_digit
        && let Some(at) = word.find(['T', 't'])
        && word[at + 1..].starts_with(|c: char| c.is_ascii_digit())
    {
        tokens.push(word[..at].to_owned());
        split_word(&word[at + 1..], tokens);
        return;
    }
    let time_end = word.find(':').and_then(|colon| {
        let end = word[colon..].find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))?;
        Some(colon + end)
    });
    match time_end.filter(|_| starts_with_digit) {
        Some(end) => {
            tokens.push(word[..end].to_owned());
            tokens.push(word[end..].to_owned());
        }
        None => tokens.push(word.to_owned()),
    }
}

/// `2024-01-31`, `1/31/2024`, `2024/01/31`, `20240131`, `31-Jan-2024`; the inner `None` is a malformed date.
fn numeric_date(token: &str) -> Option<Option<(i64, u32, u32)>> {
    if token.len() == 8 && all_digits(token) {
        let part = |range: std::ops::Range<usize>| token[range].parse::<u32>().ok();
        return Some(Some((i64::from(part(0..4)?), part(4..6)?, part(6..8)?)));
    }
    let separator = ['-', '/', '.'].into_iter().find(|s| token.contains(*s))?;
    let parts: Vec<&str> = token.split(separator).collect();
    let [a, b, c] = parts.as_slice() else {
        return if token.contains('.') { None } else { Some(None) };
    };
    Some(dated(a, b, c))
}

fn dated(a: &str, b: &str, c: &str) -> Option<(i64, u32, u32)> {
    if let Some(month) = month_number(&b.to_ascii_lowercase()) {
        let (day, year) = if a.len() > 2 { (c, a) } else { (a, c) };
        return Some((full_year(year.parse().ok()?, year.len()), month, day.parse().ok()?));
    }
    if ![a, b, c].iter().all(|part| all_digits(part)) {
        return None;
    }
    if a.len() > 2 {
        return Some((a.parse().ok()?, b.parse().ok()?, c.parse().ok()?));
    }
    Some((full_year(c.parse().ok()?, c.len()), a.parse().ok()?, b.parse().ok()?))
}

fn day_and_month_name(token: &str) -> Option<(String, u32)> {
    let (day, month) = token.split_once('-')?;
    Some((day.to_owned(), month_number(&month.to_ascii_lowercase())?))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Two-digit years are 1970 to 2069.
fn full_year(year: i64, digits: usize) -> i64 {
    match (digits, year) {
        (0..=2, 0..=69) => year + 2000,
        (0..=2, _) => year + 1900,
        _ => year,
    }
}

fn time_of_day(token: &str, text: &str, ty: &str) -> Result<i64> {
    let bad = || invalid(text, ty);
    let parts: Vec<&str> = token.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return Err(bad());
    }
    let whole = |part: &str| -> Result<i64> {
        if all_digits(part) && part.len() <= 9 { part.parse().map_err(|_| bad()) } else { Err(bad()) }
    };
    let (hours, minutes) = (whole(parts[0])?, whole(parts[1])?);
    let (seconds, micros) = match parts.get(2) {
        None => (0, 0),
        Some(part) => {
            let (seconds, fraction) = part.split_once('.').unwrap_or((part, ""));
            (whole(seconds)?, fraction_micros(fraction).ok_or_else(bad)?)
        }
    };
    let total = hours * HOUR + minutes * MINUTE + seconds * SECOND + micros;
    if hours > 24 || minutes > 59 || seconds > 60 || total > DAY {
        return Err(field_out_of_range(text));
    }
    Ok(total)
}

/// Digits after the point of seconds as microseconds, rounded.
pub(super) fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    if !all_digits(digits) {
        return None;
    }
    let padded: String = digits.chars().chain(std::iter::repeat('0')).take(7).collect();
    let tenths: i64 = padded.parse().ok()?;
    Some((tenths + 5) / 10)
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// 1..=12 for a month's name or abbreviation in lower case.
pub fn month_number(word: &str) -> Option<u32> {
    let at = MONTHS.iter().position(|name| *name == word || (word.len() == 3 && name.starts_with(word)));
    at.or((word == "sept").then_some(8)).map(|at| at as u32 + 1)
}

fn weekday(word: &str) -> Option<usize> {
    DAYS.iter().position(|name| *name == word || (word.len() == 3 && name.starts_with(word)))
}

/// Writes a date: `2024-01-31`, `0044-03-15 BC`, `infinity`.
pub fn write_date(days: i32, out: &mut String) {
    if let Some(word) = infinity_word(days == i32::MAX, days == i32::MIN) {
        out.push_str(word);
        return;
    }
    let before_christ = write_civil(i64::from(days), out);
    if before_christ {
        out.push_str(" BC");
    }
}

/// Writes year, month and day; true if BC must follow.
fn write_civil(days: i64, out: &mut String) -> bool {
    let (year, month, day) = civil_from_days(days);
    let (shown, before_christ) = if year <= 0 { (1 - year, true) } else { (year, false) };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    before_christ
}

fn infinity_word(plus: bool, minus: bool) -> Option<&'static str> {
    if plus {
        Some("infinity")
    } else if minus {
        Some("-infinity")
    } else {
        None
    }
}

/// Writes a time of day: `04:05:06.789`.
pub fn write_time(micros: i64, out: &mut String) {
    let _ = write!(out, "{:02}:{:02}:{:02}", micros / HOUR, micros / MINUTE % 60, micros / SECOND % 60);
    write_fraction(micros % SECOND, out);
}

/// Writes microseconds as `.5`, without trailing zeros; nothing for 0.
pub fn write_fraction(micros: i64, out: &mut String) {
    if micros == 0 {
        return;
    }
    let digits = format!("{:06}", micros.abs());
    out.push('.');
    out.push_str(digits.trim_end_matches('0'));
}

/// Writes a timestamp: `2024-01-31 04:05:06.789`.
pub fn write_timestamp(micros: i64, out: &mut String) {
    if let Some(word) = infinity_word(micros == i64::MAX, micros == i64::MIN) {
        out.push_str(word);
        return;
    }
    if write_local(micros, out) {
        out.push_str(" BC");
    }
}

/// Writes a timestamptz in this zone: `2024-01-31 04:05:06.789+00`.
pub fn write_timestamptz(micros: i64, zone: Tz, out: &mut String) {
    if let Some(word) = infinity_word(micros == i64::MAX, micros == i64::MIN) {
        out.push_str(word);
        return;
    }
    let offset = Zone::Named(zone).offset_at(micros);
    let before_christ = write_local(micros.saturating_add(i64::from(offset) * SECOND), out);
    write_offset(offset, out);
    if before_christ {
        out.push_str(" BC");
    }
}

fn write_local(micros: i64, out: &mut String) -> bool {
    let (days, time) = split_day(micros);
    let before_christ = write_civil(days, out);
    out.push(' ');
    write_time(time, out);
    before_christ
}
