//! `to_date` and `to_timestamp` by template (formatting.c): common patterns.

use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use weir_common::text::civil::{DAY, HOUR, MINUTE, SECOND, days_from_civil, days_in_month};
use weir_common::text::datetime::month_number;
use weir_common::{Error, Result, SqlState, SqlType};

use super::datetime_arithmetic::range_error;
use super::registry::Table;
use super::time_template::pattern_at;

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    t.one("to_date", &[T, T], SqlType::Date, |call| {
        let (text, template) = (call.text(0), call.text(1));
        call.build::<Date32Type>(|row| {
            let days = Reading::of(text.at(row), template.at(row))?.days(text.at(row))?;
            i32::try_from(days).map_err(|_| range_error("date"))
        })
    });
    t.add("to_timestamp", "to_timestamp", &[T, T], SqlType::Timestamptz, |call| {
        let (text, template) = (call.text(0), call.text(1));
        call.build::<TimestampMicrosecondType>(|row| {
            let reading = Reading::of(text.at(row), template.at(row))?;
            let days = reading.days(text.at(row))?;
            days.checked_mul(DAY)
                .and_then(|day| day.checked_add(reading.time()))
                .ok_or_else(|| range_error("timestamp"))
        })
    });
}

/// What was read so far.
struct Reading {
    year: i64,
    month: u32,
    day: u32,
    day_of_year: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    afternoon: Option<bool>,
}

impl Reading {
    fn of(text: &str, template: &str) -> Result<Reading> {
        let mut reading = Reading {
            year: 1,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            afternoon: None,
        };
        let (mut rest, mut template) = (text, template);
        while let Some(first) = template.chars().next() {
            if template.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("FM")) {
                template = &template[2..];
                continue;
            }
            match pattern_at(template) {
                Some(pattern) => {
                    template = &template[pattern.len()..];
                    rest = rest.trim_start_matches(' ');
                    // A number runs on to the next separator, unless another number follows at once.
                    let bounded = pattern_at(template).is_some();
                    rest = reading.take(pattern, bounded, rest)?;
                }
                None => {
                    template = &template[first.len_utf8()..];
                    if first.is_alphanumeric()
                        || rest.starts_with(first)
                        || rest.starts_with(|c: char| !c.is_alphanumeric())
                    {
                        let mut chars = rest.chars();
                        chars.next();
                        rest = chars.as_str();
                    }
                }
            }
        }
        Ok(reading)
    }

    fn take<'a>(&mut self, pattern: &str, bounded: bool, text: &'a str) -> Result<&'a str> {
        let number =
            |width: usize| digits(pattern, text, if bounded || width > 4 { width } else { usize::MAX });
        let upper = pattern.to_ascii_uppercase();
        let (value, rest) = match upper.as_str() {
            "YYYY" => number(4)?,
            "YYY" | "YY" | "Y" => {
                let (year, rest) = number(pattern.len())?;
                (
                    if year < 70 {
                        year + 2000
                    } else if year < 100 {
                        year + 1900
                    } else {
                        year
                    },
                    rest,
                )
            }
            "MM" | "DD" | "HH24" | "HH12" | "HH" | "MI" | "SS" => number(2)?,
            "DDD" => number(3)?,
            "MS" | "FF3" => fraction(pattern, text, 3)?,
            "US" | "FF6" => fraction(pattern, text, 6)?,
            "MONTH" | "MON" => month_name(text)?,
            "AM" | "PM" | "A.M." | "P.M." => {
                let rest = text.get(pattern.len()..).unwrap_or("");
                (i64::from(text.starts_with(['p', 'P'])), rest)
            }
            "DAY" | "DY" => (0, text.trim_start_matches(|c: char| c.is_alphabetic())),
            other => {
                return Err(Error::unsupported(format!(
                    "the template pattern \"{other}\" of to_date and to_timestamp"
                )));
            }
        };
        match upper.as_str() {
            "YYYY" | "YYY" | "YY" | "Y" => self.year = value,
            "MM" | "MONTH" | "MON" => self.month = value as u32,
            "DD" => self.day = value as u32,
            "DDD" => self.day_of_year = Some(value),
            "HH24" | "HH12" | "HH" => self.hour = value,
            "MI" => self.minute = value,
            "SS" => self.second = value,
            "MS" | "US" | "FF3" | "FF6" => self.micros = value,
            "AM" | "PM" | "A.M." | "P.M." => self.afternoon = Some(value == 1),
            _ => {}
        }
        Ok(rest)
    }

    fn days(&self, text: &str) -> Result<i64> {
        let in_range = (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_in_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !in_range {
            let message = format!("date/time field value out of range: \"{text}\"");
            return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        Ok(match self.day_of_year {
            Some(day) => days_from_civil(self.year, 1, 1) + day - 1,
            None => days_from_civil(self.year, self.month, self.day),
        })
    }

    fn time(&self) -> i64 {
        let hour = match self.afternoon {
            Some(true) => self.hour % 12 + 12,
            Some(false) => self.hour % 12,
            None => self.hour,
        };
        hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.micros
    }
}

fn digits<'a>(pattern: &str, text: &'a str, width: usize) -> Result<(i64, &'a str)> {
    let end = text.bytes().take(width.min(9)).take_while(u8::is_ascii_digit).count();
    let value = text[..end].parse().map_err(|_| {
        let word: String = text.chars().take(pattern.len()).collect();
        Error::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid value \"{word}\" for \"{pattern}\""))
            .with_detail("Value must be an integer.")
    })?;
    Ok((value, &text[end..]))
}

/// Digits after the point as microseconds.
fn fraction<'a>(pattern: &str, text: &'a str, width: usize) -> Result<(i64, &'a str)> {
    let (value, rest) = digits(pattern, text, width)?;
    let read = text.len() - rest.len();
    Ok((value * 10i64.pow(6u32.saturating_sub(read as u32)), rest))
}

fn month_name(text: &str) -> Result<(i64, &str)> {
    let word = &text[..text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len())];
    match month_number(&word.to_ascii_lowercase()) {
        Some(month) => Ok((month.into(), &text[word.len()..])),
        None => Err(Error::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid value \"{word}\" for \"Month\""),
        )
        .with_detail("The given value did not match any of the allowed values for this field.")),
    }
}
