//! Templates of dates and times as `to_char` takes them (formatting.c), taken apart once and written many times.
//!
//! What a template shows stays the same within its smallest unit, a day for `YYYY-MM-DD`: so [`Written`] keeps the last
//! text, and rows in the order of their times, as events come, are mostly copies of it.

use std::fmt::Write;

use weir_common::text::civil::{DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, split_day};

use super::datetime_fields::iso_week;

/// A template taken apart.
pub(super) struct Template {
    pieces: Vec<Piece>,
    /// Microseconds within which what it shows stays the same, a divisor of a day.
    unit: i64,
}

enum Piece {
    Text(String),
    Field { pattern: &'static str, fill: bool, ordinal: Option<Ordinal> },
}

/// The case of the letters after a number.
#[derive(Clone, Copy)]
enum Ordinal {
    Upper,
    Lower,
}

impl Template {
    pub fn read(template: &str) -> Template {
        let mut read = Template { pieces: Vec::new(), unit: DAY };
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                read.add_text(&quoted[..end]);
                rest = quoted.get(end + 1..).unwrap_or("");
                continue;
            }
            let (fill, after) = match rest.get(..2).filter(|head| head.eq_ignore_ascii_case("FM")) {
                Some(_) => (false, &rest[2..]),
                None => (true, rest),
            };
            rest = match pattern_at(after) {
                Some(pattern) => read.add_field(pattern, fill, &after[pattern.len()..]),
                None if fill => {
                    read.add_text(&rest[..first.len_utf8()]);
                    &rest[first.len_utf8()..]
                }
                None => after,
            };
        }
        read
    }

    fn add_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds a field, and a `TH` or `th` after a number; gives what comes then.
    fn add_field<'a>(&mut self, pattern: &'static str, fill: bool, rest: &'a str) -> &'a str {
        let ordinal = match rest.get(..2) {
            Some("TH") => Some(Ordinal::Upper),
            Some("th") => Some(Ordinal::Lower),
            _ => None,
        };
        let ordinal = ordinal.filter(|_| is_number(pattern));
        self.pieces.push(Piece::Field { pattern, fill, ordinal });
        self.unit = self.unit.min(unit_of(pattern));
        if ordinal.is_some() { &rest[2..] } else { rest }
    }

    pub fn write(&self, moment: &Moment, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field { pattern, fill, ordinal } => {
                    let start = out.len();
                    moment.field(pattern, *fill, out);
                    if let Some(ordinal) = ordinal {
                        out.push_str(ordinal.after(&out[start..]));
                    }
                }
            }
        }
    }
}

impl Ordinal {
    fn after(self, number: &str) -> &'static str {
        let number: i64 = number.parse().unwrap_or(0);
        let (lower, upper) = match (number % 100, number % 10) {
            (11..=13, _) => ("th", "TH"),
            (_, 1) => ("st", "ST"),
            (_, 2) => ("nd", "ND"),
            (_, 3) => ("rd", "RD"),
            _ => ("th", "TH"),
        };
        match self {
            Ordinal::Upper => upper,
            Ordinal::Lower => lower,
        }
    }
}

/// Timestamps written by a template that is mostly the same, mostly within one unit of it.
#[derive(Default)]
pub(super) struct Written {
    template: Option<(String, Template)>,
    /// The number of the unit, and its text.
    last: Option<(i64, String)>,
}

impl Written {
    /// Appends a finite timestamp, in microseconds since 1970.
    pub fn write(&mut self, micros: i64, template: &str, out: &mut String) {
        if self.template.as_ref().is_none_or(|(known, _)| known != template) {
            *self = Written { template: Some((template.to_owned(), Template::read(template))), last: None };
        }
        let Some((_, template)) = &self.template else { return };
        let unit = micros.div_euclid(template.unit);
        match &self.last {
            Some((last, text)) if *last == unit => out.push_str(text),
            _ => {
                let start = out.len();
                template.write(&Moment::of(micros), out);
                self.last = Some((unit, out[start..].to_owned()));
            }
        }
    }
}

/// Whether a pattern is written as a whole number.
fn is_number(pattern: &str) -> bool {
    let is_name = matches!(
        pattern.to_ascii_uppercase().as_str(),
        "MONTH" | "MON" | "DAY" | "DY" | "AM" | "PM" | "A.M." | "P.M." | "BC" | "AD" | "TZ" | "Y,YYY"
    );
    !is_name
}

/// Microseconds within which a pattern shows the same.
fn unit_of(pattern: &str) -> i64 {
    match pattern.to_ascii_uppercase().as_str() {
        "HH24" | "HH12" | "HH" | "AM" | "PM" | "A.M." | "P.M." => HOUR,
        "MI" => MINUTE,
        "SS" | "SSSS" | "SSSSS" => SECOND,
        "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => 1,
        _ => DAY,
    }
}

/// What a template can ask of a timestamp.
pub(super) struct Moment {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    /// Since 1970-01-01.
    pub days: i64,
    /// Microseconds of the day.
    pub time: i64,
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
const PATTERNS: [&str; 59] = [
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
    pub fn of(micros: i64) -> Moment {
        let (days, time) = split_day(micros);
        let (year, month, day) = civil_from_days(days);
        Moment { year, month, day, days, time }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_kept_are_those_that_would_be_written() {
        let templates =
            ["YYYY-MM-DD", "HH24:MI", "HH12 am", "SS.US", "SSSS", "FF2", "DDDth", "Day J", "none", "TZH"];
        let steps = [0, 1, 9_999, SECOND - 1, 59 * SECOND, MINUTE, 11 * HOUR + 7, DAY, 40 * DAY];
        for template in templates {
            let (mut written, mut micros) = (Written::default(), -3 * DAY - 5);
            for step in steps.into_iter().cycle().take(100) {
                micros += step;
                let (mut kept, mut anew) = (String::new(), String::from("before"));
                written.write(micros, template, &mut kept);
                Template::read(template).write(&Moment::of(micros), &mut anew);
                assert_eq!(format!("before{kept}"), anew, "{template} of {micros}");
            }
        }
    }
}
