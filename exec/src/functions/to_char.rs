//! `to_char` of timestamps, intervals and numbers by template (formatting.c).
//!
//! A template is split into pieces once a batch when it is constant; quoted text and what is no pattern is copied.

use std::fmt::Write;

use arrow::array::ArrayRef;
use weir_common::text::civil::{
    HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, is_finite, split_day,
};
use weir_common::text::interval::micros;
use weir_common::text::numeric::{rescale, write as write_numeric};
use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::cast::{date_to_timestamp, float_to_numeric};
use super::datetime_fields::iso_week;
use super::registry::{NUMERIC, Table};

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    for (ty, udf) in
        [(SqlType::Timestamp, "timestamp_to_char"), (SqlType::Timestamptz, "timestamptz_to_char")]
    {
        t.add("to_char", udf, &[ty, T], T, |call| {
            let (value, template) = (call.timestamp(0), call.text(1));
            call.build_text_option(|row, out| {
                if !is_finite(value.at(row)) {
                    return Ok(None);
                }
                Moment::of(value.at(row)).write(template.at(row), out).map(Some)
            })
        });
    }
    t.add("to_char", "date_to_char", &[SqlType::Date, T], T, |call| {
        let (value, template) = (call.date(0), call.text(1));
        call.build_text(|row, out| Moment::of(date_to_timestamp(value.at(row))?).write(template.at(row), out))
    });
    t.add("to_char", "interval_to_char", &[SqlType::Interval, T], T, |call| {
        let (value, template) = (call.interval(0), call.text(1));
        call.build_text(|row, out| {
            let span = value.at(row);
            let (year, month) = (i64::from(span.months / 12), span.months % 12);
            let moment = Moment {
                year,
                month: month.unsigned_abs(),
                day: span.days.unsigned_abs(),
                days: 0,
                time: micros(span),
            };
            moment.write(template.at(row), out)
        })
    });
    numbers(t);
}

/// What a template can ask of a timestamp.
struct Moment {
    year: i64,
    month: u32,
    day: u32,
    /// Since 1970-01-01.
    days: i64,
    /// Microseconds of the day.
    time: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Patterns, longest first among those with a common beginning.
pub(crate) const PATTERNS: [&str; 59] = [
    "SSSSS", "SSSS", "HH24", "HH12", "HH", "MI", "MS", "US", "SS", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6",
    "AM", "A.M.", "PM", "P.M.", "am", "a.m.", "pm", "p.m.", "Y,YYY", "YYYY", "YYY", "YY", "Y", "IYYY", "IYY",
    "IDDD", "IW", "ID", "IY", "BC", "AD", "MONTH", "Month", "month", "MON", "Mon", "mon", "MM", "DAY", "Day",
    "day", "DDD", "DD", "DY", "Dy", "dy", "D", "WW", "W", "CC", "J", "Q", "TZH", "TZ",
];

/// The pattern that the template begins with; letters of numbers count in any case.
pub(crate) fn pattern_at(template: &str) -> Option<&'static str> {
    PATTERNS.into_iter().find(|pattern| template.starts_with(*pattern)).or_else(|| {
        let head = |pattern: &str| template.get(..pattern.len());
        PATTERNS.into_iter().find(|pattern| {
            let has_case = matches!(
                pattern.to_ascii_uppercase().as_str(),
                "MONTH" | "MON" | "DAY" | "DY" | "AM" | "PM" | "A.M." | "P.M."
            );
            !has_case && head(pattern).is_some_and(|head| head.eq_ignore_ascii_case(pattern))
        })
    })
}

impl Moment {
    fn of(micros: i64) -> Moment {
        let (days, time) = split_day(micros);
        let (year, month, day) = civil_from_days(days);
        Moment { year, month, day, days, time }
    }

    fn write(&self, template: &str, out: &mut String) -> Result<()> {
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                out.push_str(&quoted[..end]);
                rest = quoted.get(end + 1..).unwrap_or("");
                continue;
            }
            let (fill, after) = match rest.get(..2).filter(|head| head.eq_ignore_ascii_case("FM")) {
                Some(_) => (false, &rest[2..]),
                None => (true, rest),
            };
            let Some(pattern) = pattern_at(after) else {
                if fill {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                } else {
                    rest = after;
                }
                continue;
            };
            let mut field = String::new();
            self.field(pattern, fill, &mut field);
            rest = self.ordinal(&after[pattern.len()..], &mut field);
            out.push_str(&field);
        }
        Ok(())
    }

    /// A `TH` or `th` after a number.
    fn ordinal<'a>(&self, rest: &'a str, field: &mut String) -> &'a str {
        let Some(suffix @ ("TH" | "th")) = rest.get(..2) else { return rest };
        let Ok(number) = field.trim().parse::<i64>() else { return rest };
        let ordinal = match (number % 100, number % 10) {
            (11..=13, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        field.push_str(&if suffix == "TH" { ordinal.to_uppercase() } else { ordinal.to_owned() });
        &rest[2..]
    }

    fn field(&self, pattern: &str, fill: bool, out: &mut String) {
        let number = |value: i64, width: usize, out: &mut String| {
            let width = if fill { width } else { 0 };
            let _ = write!(out, "{value:0width$}");
        };
        let shown = if self.year > 0 { self.year } else { 1 - self.year };
        let (iso_year, iso_week_number) = iso_week(self.days);
        let (hour, second) = (self.time / HOUR, self.time / SECOND);
        let half = if hour % 12 == 0 { 12 } else { hour % 12 };
        let day_of_year = self.days - days_from_civil(self.year, 1, 1) + 1;
        let weekday = (self.days + 4).rem_euclid(7);
        let fraction = self.time % SECOND;
        match pattern {
            "YYYY" => number(shown, 4, out),
            "YYY" => number(shown % 1000, 3, out),
            "YY" => number(shown % 100, 2, out),
            "Y" => number(shown % 10, 1, out),
            "Y,YYY" => {
                let _ = write!(out, "{},{:03}", shown / 1000, shown % 1000);
            }
            "IYYY" => number(iso_year, 4, out),
            "IYY" => number(iso_year % 1000, 3, out),
            "IY" => number(iso_year % 100, 2, out),
            "IW" => number(iso_week_number, 2, out),
            "ID" => number((self.days + 3).rem_euclid(7) + 1, 1, out),
            "IDDD" => number((iso_week_number - 1) * 7 + (self.days + 3).rem_euclid(7) + 1, 3, out),
            "MM" => number(self.month.into(), 2, out),
            "DD" => number(self.day.into(), 2, out),
            "DDD" => number(day_of_year, 3, out),
            "D" => number(weekday + 1, 1, out),
            "WW" => number((day_of_year - 1) / 7 + 1, 2, out),
            "W" => number(i64::from(self.day.saturating_sub(1)) / 7 + 1, 1, out),
            "Q" => number(i64::from(self.month.saturating_sub(1)) / 3 + 1, 1, out),
            "CC" => number((shown + 99) / 100, 2, out),
            "J" => number(self.days + 2_440_588, 1, out),
            "HH24" => number(hour, 2, out),
            "HH12" | "HH" => number(half, 2, out),
            "MI" => number(self.time / MINUTE % 60, 2, out),
            "SS" => number(second % 60, 2, out),
            "SSSS" | "SSSSS" => number(second, 1, out),
            "MS" | "FF3" => number(fraction / 1000, 3, out),
            "US" | "FF6" => number(fraction, 6, out),
            "FF1" => number(fraction / 100_000, 1, out),
            "FF2" => number(fraction / 10_000, 2, out),
            "FF4" => number(fraction / 100, 4, out),
            "FF5" => number(fraction / 10, 5, out),
            "AM" | "PM" => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            "am" | "pm" => out.push_str(if hour < 12 { "am" } else { "pm" }),
            "A.M." | "P.M." => out.push_str(if hour < 12 { "A.M." } else { "P.M." }),
            "a.m." | "p.m." => out.push_str(if hour < 12 { "a.m." } else { "p.m." }),
            "BC" | "AD" => out.push_str(if self.year > 0 { "AD" } else { "BC" }),
            "TZ" => out.push_str("UTC"),
            "TZH" => out.push_str("+00"),
            name => self.name(name, fill, weekday, out),
        }
    }

    fn name(&self, pattern: &str, fill: bool, weekday: i64, out: &mut String) {
        let upper = pattern.to_ascii_uppercase();
        let month = MONTHS[(self.month.saturating_sub(1) as usize).min(11)];
        let day = DAYS[weekday as usize];
        let name = match upper.as_str() {
            "MONTH" => month,
            "MON" => &month[..3],
            "DAY" => day,
            _ => &day[..3],
        };
        let name = if pattern == upper {
            name.to_uppercase()
        } else if pattern.starts_with(char::is_lowercase) {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        let width = if fill && matches!(upper.as_str(), "MONTH" | "DAY") { 9 } else { 0 };
        let _ = write!(out, "{name:width$}");
    }
}

fn numbers(t: &mut Table) {
    t.add("to_char", "int4_to_char", &[SqlType::Int4, T], T, |call| {
        let value = call.int4(0);
        number_to_char(call, move |row, picture| scaled(value.at(row).into(), 0, picture))
    });
    t.add("to_char", "int8_to_char", &[SqlType::Int8, T], T, |call| {
        let value = call.int8(0);
        number_to_char(call, move |row, picture| scaled(value.at(row).into(), 0, picture))
    });
    t.add("to_char", "numeric_to_char", &[NUMERIC, T], T, |call| {
        let (value, scale) = (call.numeric(0), call.scale(0));
        number_to_char(call, move |row, picture| scaled(value.at(row), scale, picture))
    });
    t.add("to_char", "float8_to_char", &[SqlType::Float8, T], T, |call| {
        let value = call.float8(0);
        number_to_char(call, move |row, picture| {
            let decimals = picture.decimals() as i8;
            float_to_numeric(value.at(row), 15, &NumericType::fixed(38, decimals))
        })
    });
}

fn scaled(value: i128, scale: i8, picture: &Picture) -> Result<i128> {
    rescale(value, scale, picture.decimals() as i8).ok_or_else(|| Error::out_of_range("numeric"))
}

/// `value` gives the number with the template's decimals.
fn number_to_char(call: &Call<'_>, value: impl Fn(usize, &Picture) -> Result<i128>) -> Result<ArrayRef> {
    let template = call.text(1);
    let mut parsed: Option<(String, Picture)> = None;
    call.build_text(|row, out| {
        let template = template.at(row);
        if !matches!(&parsed, Some((known, _)) if known == template) {
            parsed = Some((template.to_owned(), Picture::read(template)?));
        }
        if let Some((_, picture)) = &parsed {
            picture.write(value(row, picture)?, out);
        }
        Ok(())
    })
}

/// A number template.
struct Picture {
    fill: bool,
    pieces: Vec<Piece>,
    sign: Sign,
}

#[derive(Clone, PartialEq)]
enum Piece {
    /// `0` or `9`.
    Digit {
        zero: bool,
        decimal: bool,
    },
    Point,
    Group,
    Text(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    /// A blank or minus before the number.
    Before,
    /// `S` first.
    Anchored,
    /// `MI` last.
    After,
    /// `PR`.
    Brackets,
}

impl Picture {
    fn read(template: &str) -> Result<Picture> {
        let mut picture = Picture { fill: true, pieces: Vec::new(), sign: Sign::Before };
        let mut decimal = false;
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            let two = rest.get(..2).map(str::to_ascii_uppercase);
            let (length, piece) = match (first, two.as_deref()) {
                (_, Some("FM")) => {
                    picture.fill = false;
                    (2, None)
                }
                (_, Some("MI")) => {
                    picture.sign = Sign::After;
                    (2, None)
                }
                (_, Some("PR")) => {
                    picture.sign = Sign::Brackets;
                    (2, None)
                }
                (_, Some("EE" | "RN" | "TH")) | ('V' | 'v', _) => {
                    return Err(Error::unsupported(format!("the number template \"{template}\"")));
                }
                ('S' | 's', _) => {
                    picture.sign = Sign::Anchored;
                    (1, None)
                }
                ('0', _) => (1, Some(Piece::Digit { zero: true, decimal })),
                ('9', _) => (1, Some(Piece::Digit { zero: false, decimal })),
                ('.' | 'D' | 'd', _) => {
                    decimal = true;
                    (1, Some(Piece::Point))
                }
                (',' | 'G' | 'g', _) => (1, Some(Piece::Group)),
                ('"', _) => {
                    let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                    (end, Some(Piece::Text(rest[..end].trim_matches('"').to_owned())))
                }
                (other, _) => (other.len_utf8(), Some(Piece::Text(other.to_string()))),
            };
            picture.pieces.extend(piece);
            rest = &rest[length..];
        }
        if picture.decimals() > 30 {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "too many digits in a number template"));
        }
        Ok(picture)
    }

    fn decimals(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Digit { decimal: true, .. })).count()
    }

    fn write(&self, value: i128, out: &mut String) {
        let mut text = String::new();
        write_numeric(value.abs(), &NumericType::fixed(38, self.decimals() as i8), &mut text);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole = if whole == "0" { "" } else { whole };
        let places = self.pieces.iter().filter(|p| matches!(p, Piece::Digit { decimal: false, .. })).count();
        let overflow = whole.len() > places;
        let zero_from = self
            .pieces
            .iter()
            .filter_map(|p| if let Piece::Digit { zero, decimal: false } = p { Some(*zero) } else { None })
            .position(|zero| zero)
            .unwrap_or(places);
        // `9` before the point shows a lone zero as blank, unless there are no decimals.
        let zero_from = if self.decimals() == 0 && whole.is_empty() {
            zero_from.min(places.saturating_sub(1))
        } else {
            zero_from
        };
        let started_at = if overflow { 0 } else { (places - whole.len()).min(zero_from) };
        let mut body = String::new();
        let (mut place, mut decimals) = (0, fraction.chars());
        let kept = self.kept_decimals(fraction);
        let mut shown_decimals = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Digit { decimal: false, .. } => {
                    if overflow {
                        body.push('#');
                    } else if place >= started_at {
                        let at = (place + whole.len()).checked_sub(places);
                        body.push(at.and_then(|at| whole[at..].chars().next()).unwrap_or('0'));
                    } else if self.fill {
                        body.push(' ');
                    }
                    place += 1;
                }
                Piece::Digit { decimal: true, .. } => {
                    let digit = decimals.next().unwrap_or('0');
                    if self.fill || shown_decimals < kept {
                        body.push(if overflow { '#' } else { digit });
                    }
                    shown_decimals += 1;
                }
                Piece::Point => body.push('.'),
                Piece::Group if place > started_at => body.push(','),
                Piece::Group if self.fill => body.push(' '),
                Piece::Group => {}
                Piece::Text(text) => body.push_str(text),
            }
        }
        self.sign(value < 0, &body, out);
    }

    /// With FM, trailing zeros of `9` decimals vanish.
    fn kept_decimals(&self, fraction: &str) -> usize {
        let significant = fraction.trim_end_matches('0').len();
        let forced = self
            .pieces
            .iter()
            .filter_map(|p| if let Piece::Digit { zero, decimal: true } = p { Some(*zero) } else { None })
            .collect::<Vec<bool>>();
        let forced = forced.iter().rposition(|zero| *zero).map_or(0, |at| at + 1);
        significant.max(forced)
    }

    fn sign(&self, negative: bool, body: &str, out: &mut String) {
        let digits_at = body.find(|c| c != ' ').unwrap_or(body.len());
        let (blanks, digits) = body.split_at(digits_at);
        match (self.sign, negative) {
            (Sign::Before, true) => *out += &format!("{blanks}-{digits}"),
            (Sign::Before, false) if self.fill => *out += &format!(" {body}"),
            (Sign::Before, false) => *out += body,
            (Sign::Anchored, _) => *out += &format!("{blanks}{}{digits}", if negative { '-' } else { '+' }),
            (Sign::After, true) => *out += &format!("{body}-"),
            (Sign::After, false) => *out += &format!("{body}{}", if self.fill { " " } else { "" }),
            (Sign::Brackets, true) => *out += &format!("{blanks}<{digits}>"),
            (Sign::Brackets, false) if self.fill => *out += &format!(" {body} "),
            (Sign::Brackets, false) => *out += body,
        }
    }
}
