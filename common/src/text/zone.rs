//! Time zones: names, fixed offsets, and the way between local time and UTC.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::civil::SECOND;
use crate::{Error, Result, SqlState};

/// A time zone as text can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of Greenwich.
    Fixed(i32),
    /// A zone of the IANA database.
    Named(Tz),
}

impl Zone {
    /// The zone of this name: an IANA name or a common abbreviation, in any case, or an ISO offset (`+05:30`).
    pub fn find(name: &str) -> Option<Zone> {
        let fixed = match name.to_ascii_uppercase().as_str() {
            "Z" | "ZULU" | "UTC" | "GMT" | "UT" => Some(0),
            "EST" => Some(-5),
            "EDT" => Some(-4),
            "CST" => Some(-6),
            "CDT" => Some(-5),
            "MST" => Some(-7),
            "MDT" => Some(-6),
            "PST" => Some(-8),
            "PDT" => Some(-7),
            "CET" | "BST" => Some(1),
            "CEST" | "EET" => Some(2),
            "MSK" => Some(3),
            "JST" => Some(9),
            _ => None,
        };
        if let Some(hours) = fixed {
            return Some(Zone::Fixed(hours * 3600));
        }
        if name.starts_with(['+', '-']) {
            return parse_offset(name).map(Zone::Fixed);
        }
        chrono_tz::TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(name))
            .copied()
            .map(Zone::Named)
    }

    /// As [`Zone::find`], with PostgreSQL's error (22023). A name that is an offset is POSIX's: positive to the west.
    pub fn named(name: &str) -> Result<Zone> {
        let zone = Zone::find(name).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        })?;
        Ok(match zone {
            Zone::Fixed(seconds) if name.starts_with(['+', '-']) => Zone::Fixed(-seconds),
            zone => zone,
        })
    }

    /// Seconds east of Greenwich at this instant (µs UTC).
    pub fn offset_at(self, micros: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(Tz::UTC) => 0,
            Zone::Named(zone) => DateTime::from_timestamp(micros.div_euclid(SECOND), 0)
                .map_or(0, |instant| {
                    zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
                }),
        }
    }

    /// Local time (µs) of an instant.
    pub fn to_local(self, micros: i64) -> i64 {
        micros.saturating_add(i64::from(self.offset_at(micros)) * SECOND)
    }

    /// The instant of a local time. In a gap the time before the change counts on, in an overlap the later of
    /// the two offsets in standard time is taken, as PostgreSQL does.
    pub fn to_utc(self, local: i64) -> i64 {
        let zone = match self {
            Zone::Fixed(seconds) => return local.saturating_sub(i64::from(seconds) * SECOND),
            Zone::Named(Tz::UTC) => return local,
            Zone::Named(zone) => zone,
        };
        let Some(naive) = DateTime::from_timestamp(local.div_euclid(SECOND), 0).map(|t| t.naive_utc()) else {
            return local;
        };
        let offset = match zone.offset_from_local_datetime(&naive) {
            chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
            chrono::LocalResult::Ambiguous(_, later) => later.fix().local_minus_utc(),
            chrono::LocalResult::None => self.offset_at(local.saturating_sub(86_400 * SECOND)),
        };
        local.saturating_sub(i64::from(offset) * SECOND)
    }
}

/// Reads `+05`, `-0330`, `+05:30`, `+01:02:03` as seconds east of Greenwich.
pub fn parse_offset(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.strip_prefix(['+', '-'])?;
    let parts: Vec<&str> = digits.split(':').collect();
    let number =
        |part: &str| (part.len() <= 2 && !part.is_empty()).then(|| part.parse::<i32>().ok()).flatten();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [one] if one.len() <= 2 => (number(one)?, 0, 0),
        [one] if (3..=4).contains(&one.len()) && one.is_ascii() => {
            let (hours, minutes) = one.split_at(one.len() - 2);
            (number(hours)?, number(minutes)?, 0)
        }
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return None,
    };
    let valid = hours <= 15 && minutes < 60 && seconds < 60;
    valid.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Writes an offset as PostgreSQL does: `+00`, `-03:30`, `+01:02:03`.
pub fn write_offset(seconds: i32, out: &mut String) {
    use std::fmt::Write;
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let _ = write!(out, "{sign}{:02}", seconds / 3600);
    if seconds % 3600 != 0 {
        let _ = write!(out, ":{:02}", seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        let _ = write!(out, ":{:02}", seconds % 60);
    }
}
