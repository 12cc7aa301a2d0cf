//! Integers and floating point numbers as text (int.c, float.c: shortest digits that read back the same).
//!
//! Weir has no negative zero: it reads as zero, so that equal numbers have equal bytes.

use std::fmt::{LowerExp, Write};
use std::str::FromStr;

use crate::{Error, Result, SqlState, SqlType};

/// Reads a smallint.
pub fn parse_int2(text: &str) -> Result<i16> {
    let value = parse_integer(text, "smallint")?;
    i16::try_from(value).map_err(|_| out_of_range(text, "smallint"))
}

/// Reads an integer.
pub fn parse_int4(text: &str) -> Result<i32> {
    let value = parse_integer(text, "integer")?;
    i32::try_from(value).map_err(|_| out_of_range(text, "integer"))
}

/// Reads a bigint.
pub fn parse_int8(text: &str) -> Result<i64> {
    parse_integer(text, "bigint")
}

/// Reads an oid or the numeric form of one of its aliases.
pub fn parse_oid(text: &str, ty: &SqlType) -> Result<i64> {
    let trimmed = text.trim();
    if trimmed == "-" && *ty != SqlType::Oid {
        return Ok(0);
    }
    if *ty == SqlType::Regtype
        && let Some(oid) = oid_of_type(trimmed)
    {
        return Ok(i64::from(oid));
    }
    match parse_integer(text, &ty.name())? {
        value @ 0..=0xFFFF_FFFF => Ok(value),
        value @ -0x8000_0000..=-1 => Ok(value + 0x1_0000_0000),
        _ => Err(out_of_range(text, "oid")),
    }
}

/// The OID of a built-in type by its SQL or catalog name; `int4[]` is an array.
fn oid_of_type(name: &str) -> Option<u32> {
    let named =
        |name: &str| super::scalar_types().into_iter().find(|t| t.name() == name || t.catalog_name() == name);
    match name.strip_suffix("[]") {
        Some(element) => named(element).map(|ty| ty.array_oid()),
        None => named(name).map(|ty| ty.oid()),
    }
}

fn parse_integer(text: &str, ty: &str) -> Result<i64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::invalid_text(ty, text));
    }
    trimmed.parse().map_err(|_| out_of_range(text, ty))
}

fn out_of_range(text: &str, ty: &str) -> Error {
    let shown = text.trim();
    Error::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{shown}\" is out of range for type {ty}"),
    )
}

/// Reads a real.
pub fn parse_float4(text: &str) -> Result<f32> {
    let trimmed = float_text(text, "real")?;
    let value: f32 = trimmed.parse().map_err(|_| Error::invalid_text("real", text))?;
    if lost_magnitude(trimmed, value.is_infinite(), value == 0.0) {
        return Err(float_out_of_range(trimmed, "real"));
    }
    Ok(canonical_float4(value))
}

/// Reads a double precision.
pub fn parse_float8(text: &str) -> Result<f64> {
    let trimmed = float_text(text, "double precision")?;
    let value: f64 = trimmed.parse().map_err(|_| Error::invalid_text("double precision", text))?;
    if lost_magnitude(trimmed, value.is_infinite(), value == 0.0) {
        return Err(float_out_of_range(trimmed, "double precision"));
    }
    Ok(canonical_float8(value))
}

/// The one representation of equal values: no negative zero, one NaN.
pub fn canonical_float8(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// As [`canonical_float8`].
pub fn canonical_float4(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

fn float_text<'a>(text: &'a str, ty: &str) -> Result<&'a str> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Error::invalid_text(ty, text));
    }
    Ok(trimmed)
}

/// Whether digits turned into infinity or zero, which `inf` and `0` themselves do not.
fn lost_magnitude(text: &str, is_infinite: bool, is_zero: bool) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let has_digit = mantissa.bytes().any(|b| b.is_ascii_digit());
    let is_nonzero = mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    (is_infinite && has_digit) || (is_zero && is_nonzero)
}

fn float_out_of_range(text: &str, ty: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{text}\" is out of range for type {ty}"))
}

/// Writes an integer.
pub fn write_integer(value: i64, out: &mut String) {
    let _ = write!(out, "{value}");
}

/// Writes a double precision with the fewest digits that read back the same.
pub fn write_float8(value: f64, out: &mut String) {
    if write_special(value, out) {
        return;
    }
    write_shortest(&scientific(value, 16), 15, out);
}

/// Writes a real with the fewest digits that read back the same.
pub fn write_float4(value: f32, out: &mut String) {
    if write_special(f64::from(value), out) {
        return;
    }
    write_shortest(&scientific(value, 7), 6, out);
}

fn write_special(value: f64, out: &mut String) -> bool {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        return false;
    }
    true
}

/// `d.ddde±x` with the fewest digits that read back the same. Of two that are equally near, which takes `tie_digits` at
/// least, Rust gives the larger and PostgreSQL the even one, as rounding to a number of digits does.
fn scientific<F: LowerExp + FromStr + PartialEq>(value: F, tie_digits: usize) -> String {
    let shortest = format!("{value:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    if digits < tie_digits {
        return shortest;
    }
    let even = format!("{value:.*e}", digits - 1);
    if even.parse().is_ok_and(|back: F| back == value) { even } else { shortest }
}

/// Turns Rust's `d.ddde±x` into `%g` with this many digits before the exponent form begins.
fn write_shortest(scientific: &str, exponent_from: i32, out: &mut String) {
    let (sign, unsigned) = match scientific.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", scientific),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.push_str(sign);
    if exponent < -4 || exponent >= exponent_from {
        out.push_str(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
    } else if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
        } else {
            out.push_str(&digits[..whole]);
            out.push('.');
            out.push_str(&digits[whole..]);
        }
    }
}
