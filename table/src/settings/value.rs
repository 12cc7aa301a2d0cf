//! Reading the value of a setting: checks it against its kind and brings it into the form SHOW prints.

use std::str::FromStr;

use chrono_tz::Tz;
use weir_common::{Error, Result, SqlState};
use weir_planner::rules::DisabledRules;

use super::definition::{Definition, Kind};

/// The normal form of `value` for this setting. Errors: 22023 for a value it does not take, 55P02 when it
/// cannot be set at all, 0A000 for a PostgreSQL value that Weir does not do.
pub fn normalise(definition: &Definition, value: &str) -> Result<String> {
    let value = value.trim();
    match definition.kind {
        Kind::Fixed => Err(Error::new(
            SqlState::CANT_CHANGE_RUNTIME_PARAM,
            format!("parameter \"{}\" cannot be changed", definition.name),
        )),
        Kind::Bool => parse_bool(value).map(|b| if b { "on" } else { "off" }.to_string()).ok_or_else(|| {
            Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", definition.name),
            )
        }),
        Kind::Integer { min, max } => integer(definition, value, min, max),
        Kind::Duration => with_unit(definition, value, DURATION_UNITS),
        Kind::Memory => with_unit(definition, value, MEMORY_UNITS),
        Kind::Choice(words) => choice(definition, value, words),
        Kind::Text | Kind::SearchPath => Ok(value.to_string()),
        Kind::Rules => Ok(DisabledRules::parse(value)?.to_string()),
        Kind::TimeZone => {
            time_zone(value).map(|_| zone_name(value)).ok_or_else(|| invalid(definition, value))
        }
        Kind::DateStyle => date_style(definition, value),
        Kind::Encoding => encoding(definition, value),
    }
}

/// PostgreSQL's `parse_bool`: unique prefixes of true, false, yes, no, and on, off, 1, 0.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let is_prefix = |word: &str| !value.is_empty() && word.starts_with(&value);
    match value.as_str() {
        "on" | "1" => Some(true),
        "off" | "of" | "0" => Some(false),
        _ if is_prefix("true") || is_prefix("yes") => Some(true),
        _ if is_prefix("false") || is_prefix("no") => Some(false),
        _ => None,
    }
}

/// The zone of a name (any case) or of a whole-hour offset: `Europe/Berlin`, `utc`, `+02`, `-5`.
pub fn time_zone(value: &str) -> Option<Tz> {
    let upper = value.to_ascii_uppercase();
    if matches!(upper.as_str(), "UTC" | "Z" | "ZULU" | "DEFAULT" | "LOCAL" | "UNIVERSAL") {
        return Some(Tz::UTC);
    }
    if let Ok(hours) = value.trim_end_matches(":00").parse::<i32>() {
        // POSIX signs: Etc/GMT-2 is two hours east of Greenwich.
        return Tz::from_str(&format!("Etc/GMT{:+}", -hours)).ok().filter(|_| hours.abs() <= 14);
    }
    chrono_tz::TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(value))
}

fn zone_name(value: &str) -> String {
    match time_zone(value) {
        Some(Tz::UTC) | None => "UTC".to_string(),
        Some(zone) => zone.name().to_string(),
    }
}

fn invalid(definition: &Definition, value: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", definition.name),
    )
}

fn integer(definition: &Definition, value: &str, min: i64, max: i64) -> Result<String> {
    let number: i64 = value.parse().map_err(|_| invalid(definition, value))?;
    if number < min || number > max {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                definition.name
            ),
        ));
    }
    Ok(number.to_string())
}

/// Unit names with their size in thousandths of the base unit, largest first.
type Units = &'static [(&'static str, i64)];

const DURATION_UNITS: Units = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const MEMORY_UNITS: Units =
    &[("TB", 1_073_741_824_000), ("GB", 1_048_576_000), ("MB", 1_024_000), ("kB", 1_000), ("B", 1)];

/// A number with an optional unit, printed in the largest unit that divides it, as PostgreSQL does.
fn with_unit(definition: &Definition, value: &str, units: Units) -> Result<String> {
    let thousandths = in_thousandths(value, units).ok_or_else(|| invalid(definition, value))?;
    let base = (thousandths + 500) / 1_000;
    if base > i64::from(i32::MAX) {
        return Err(invalid(definition, value));
    }
    if base == 0 {
        return Ok("0".to_string());
    }
    let (unit, size) = units.iter().find(|(_, size)| (base * 1_000) % size == 0).unwrap_or(&units[0]);
    Ok(format!("{}{unit}", base * 1_000 / size))
}

fn in_thousandths(value: &str, units: Units) -> Option<i64> {
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = (value[..digits].parse::<f64>().ok()?, value[digits..].trim());
    let size = if unit.is_empty() { 1_000 } else { units.iter().find(|(name, _)| *name == unit)?.1 };
    let thousandths = number * size as f64;
    (thousandths < 9e15).then_some(thousandths as i64)
}

/// Milliseconds of a duration in normal form; 0 when it is off.
pub fn milliseconds(value: &str) -> u64 {
    in_thousandths(value, DURATION_UNITS).map_or(0, |t| (t / 1_000).unsigned_abs())
}

fn choice(definition: &Definition, value: &str, words: &[&str]) -> Result<String> {
    if let Some(word) = words.iter().find(|w| w.eq_ignore_ascii_case(value)) {
        return Ok((*word).to_string());
    }
    let only_one =
        matches!(definition.name, "standard_conforming_strings" | "IntervalStyle" | "bytea_output");
    if only_one {
        return Err(Error::unsupported(format!("{} = {value}", definition.name)).with_hint(format!(
            "Use {} = {}.",
            definition.name,
            words.join(", ")
        )));
    }
    Err(invalid(definition, value).with_hint(format!("Available values: {}.", words.join(", "))))
}

fn date_style(definition: &Definition, value: &str) -> Result<String> {
    for word in value.split(',').map(|w| w.trim().to_ascii_lowercase()) {
        match word.as_str() {
            "iso" | "mdy" | "us" | "noneuro" | "noneuropean" | "default" => {}
            "postgres" | "sql" | "german" | "dmy" | "ymd" | "euro" | "european" => {
                return Err(
                    Error::unsupported(format!("DateStyle {value}")).with_hint("Use DateStyle = ISO, MDY.")
                );
            }
            _ => return Err(invalid(definition, value)),
        }
    }
    Ok("ISO, MDY".to_string())
}

fn encoding(definition: &Definition, value: &str) -> Result<String> {
    let plain: String =
        value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    match plain.as_str() {
        "UTF8" | "UNICODE" => Ok("UTF8".to_string()),
        "SQLASCII" => Ok("SQL_ASCII".to_string()),
        _ => Err(invalid(definition, value).with_hint("Only UTF8 is available.")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::find;
    use super::*;

    fn check(name: &str, value: &str, expect: &str) {
        let definition = find(name).expect("defined");
        let got = normalise(definition, value).unwrap_or_else(|e| e.state().0.to_string());
        assert_eq!(got, expect, "{name} = {value}");
    }

    #[test]
    fn values_are_checked_and_normalised() {
        check("statement_timeout", "5000", "5s");
        check("statement_timeout", "90s", "90s");
        check("statement_timeout", "1min", "1min");
        check("statement_timeout", "0", "0");
        check("statement_timeout", "soon", "22023");
        check("work_mem", "64MB", "64MB");
        check("work_mem", "4096", "4MB");
        check("jit", "tr", "on");
        check("jit", "maybe", "22023");
        check("server_version", "9", "55P02");
        check("extra_float_digits", "4", "22023");
        check("TimeZone", "europe/berlin", "Europe/Berlin");
        check("TimeZone", "utc", "UTC");
        check("TimeZone", "Mars/Base", "22023");
        check("DateStyle", "iso", "ISO, MDY");
        check("DateStyle", "German", "0A000");
        check("client_encoding", "utf-8", "UTF8");
        check("client_encoding", "LATIN1", "22023");
        check("standard_conforming_strings", "off", "0A000");
        check(
            "weir.disabled_rules",
            "Push_Down_Filter,eliminate_filter",
            "push_down_filter, eliminate_filter",
        );
        check("weir.disabled_rules", "", "");
        check("weir.disabled_rules", "decorrelate_lateral_join", "22023");
    }

    #[test]
    fn durations_read_back_in_milliseconds() {
        assert_eq!(milliseconds("5s"), 5_000);
        assert_eq!(milliseconds("0"), 0);
        assert_eq!(milliseconds("250ms"), 250);
    }
}
