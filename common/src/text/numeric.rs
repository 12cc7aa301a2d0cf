//! numeric as text, and the decimal arithmetic on 128-bit integers that reading and rounding need.
//!
//! A numeric is an integer of at most 38 digits with a scale that its type knows. Rounding is half away from
//! zero everywhere, as in numeric.c.

use crate::types::{NumericDisplay, NumericType};
use crate::{Error, Result, SqlState};

/// One more than the largest magnitude: 10^38.
pub const LIMIT: i128 = 10i128.pow(38);

/// 10 to this power, 0..=38.
pub fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent)
}

/// Reads a numeric of this type: digits beyond its scale are rounded away.
pub fn parse(text: &str, ty: &NumericType) -> Result<i128> {
    let decimal = Decimal::read(text)?;
    let scale = i64::from(ty.scale);
    let value = decimal.at_scale(scale).ok_or_else(|| overflow(ty))?;
    check_precision(value, ty)?;
    Ok(value)
}

/// The scale a literal's digits ask for: `1.50` has 2, `1e-3` has 3.
pub fn literal_scale(text: &str) -> Result<i8> {
    let decimal = Decimal::read(text)?;
    Ok(decimal.scale.clamp(0, 38) as i8)
}

/// 22003 if the value has more digits than its type allows.
pub fn check_precision(value: i128, ty: &NumericType) -> Result<()> {
    if value.unsigned_abs() < power_of_ten(u32::from(ty.precision.min(38))).unsigned_abs() {
        Ok(())
    } else {
        Err(overflow(ty))
    }
}

/// The error for a value that does not fit its type.
pub fn overflow(ty: &NumericType) -> Error {
    if ty.precision >= 38 {
        return Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
            .with_hint("numeric values have at most 38 digits.");
    }
    let whole = i32::from(ty.precision) - i32::from(ty.scale);
    let bound = if whole == 0 { "1".to_owned() } else { format!("10^{whole}") };
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {}, scale {} must round to an absolute value less than {bound}.",
        ty.precision, ty.scale
    ))
}

/// Divides by a power of ten, rounding half away from zero.
pub fn round_div(value: i128, digits: u32) -> i128 {
    if digits == 0 {
        return value;
    }
    if digits > 38 {
        return 0;
    }
    let divisor = power_of_ten(digits);
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest.unsigned_abs() >= divisor.unsigned_abs() / 2 { quotient + value.signum() } else { quotient }
}

/// The value at another scale, rounded; `None` when it overflows.
pub fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    match i32::from(to) - i32::from(from) {
        0 => Some(value),
        up if up > 0 => {
            if value == 0 {
                return Some(0);
            }
            let scaled = value.checked_mul(10i128.checked_pow(up as u32)?)?;
            (scaled.unsigned_abs() < LIMIT.unsigned_abs()).then_some(scaled)
        }
        down => Some(round_div(value, down.unsigned_abs())),
    }
}

/// Digits of a literal and where its point is: value = digits · 10^−scale.
struct Decimal {
    negative: bool,
    /// Decimal digits without leading zeros.
    digits: Vec<u8>,
    scale: i64,
}

impl Decimal {
    fn read(text: &str) -> Result<Decimal> {
        let invalid = || Error::invalid_text("numeric", text);
        let trimmed = text.trim();
        let negative = trimmed.starts_with('-');
        let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
        if ["nan", "infinity", "inf"].iter().any(|special| unsigned.eq_ignore_ascii_case(special)) {
            return Err(Error::unsupported(format!("numeric value {trimmed}"))
                .with_hint("Use double precision for NaN and infinity."));
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| invalid())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0
            || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return Err(invalid());
        }
        let digits =
            whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').map(|b| b - b'0').collect();
        Ok(Decimal { negative, digits, scale: fraction.len() as i64 - i64::from(exponent) })
    }

    /// The value as an integer of 10^−scale units, rounded; `None` when it has more than 38 digits.
    fn at_scale(&self, scale: i64) -> Option<i128> {
        let shift = scale - self.scale;
        let kept = self.digits.len() as i64 + shift;
        if self.digits.is_empty() || kept < 0 {
            return Some(0);
        }
        if kept > 39 {
            return None;
        }
        let mut value: i128 = 0;
        for i in 0..kept as usize {
            let digit = self.digits.get(i).copied().unwrap_or(0);
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        if self.digits.get(kept as usize).is_some_and(|digit| *digit >= 5) {
            value += 1;
        }
        (value < LIMIT).then_some(if self.negative { -value } else { value })
    }
}

/// Writes a numeric as its type displays it.
pub fn write(value: i128, ty: &NumericType, out: &mut String) {
    let scale = i32::from(ty.scale).max(0) as u32;
    match ty.display {
        NumericDisplay::Fixed => write_digits(value, scale, out),
        NumericDisplay::Trimmed => write_trimmed(value, scale, out),
        NumericDisplay::Mixed => {
            let digits = u32::from(NumericType::UNCONSTRAINED.scale.unsigned_abs());
            let shown = quotient_scale(value, scale, 4).max(digits).min(scale);
            write_trimmed(round_div(value, scale - shown), shown, out);
        }
        NumericDisplay::Variance | NumericDisplay::Deviation if value == 0 => out.push('0'),
        NumericDisplay::Quotient | NumericDisplay::Variance => {
            write_rounded(value, scale, quotient_scale(value, scale, 4), out);
        }
        // A digit in base 10,000 of the square is one in base 100 of the root.
        NumericDisplay::Deviation => write_rounded(value, scale, quotient_scale(value, scale, 2), out),
    }
}

/// Digits after the point of a quotient: at least 16 significant digits in base 10,000
/// (`select_div_scale` in numeric.c), from the quotient itself, whose weight is that of the dividend less that
/// of the divisor, one less for a power of 10,000, which only equal leading digits give. `digit` is how many
/// decimal digits of the value make one of the quotient's.
fn quotient_scale(value: i128, scale: u32, digit: i32) -> u32 {
    if value == 0 {
        return 20;
    }
    let magnitude = value.unsigned_abs();
    let digits = magnitude.ilog10() as i32 + 1 - scale as i32;
    let weight = (digits - 1).div_euclid(digit);
    let unit = weight * digit + scale as i32;
    let is_power = (0..=38).contains(&unit) && magnitude == power_of_ten(unit as u32).unsigned_abs();
    let weight = if is_power { weight - 1 } else { weight };
    (16 - weight * 4).clamp(0, 38) as u32
}

fn write_trimmed(mut value: i128, mut scale: u32, out: &mut String) {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    write_digits(value, scale, out);
}

fn write_rounded(value: i128, scale: u32, shown: u32, out: &mut String) {
    let shown = shown.min(scale);
    write_digits(round_div(value, scale - shown), shown, out);
}

fn write_digits(value: i128, scale: u32, out: &mut String) {
    use std::fmt::Write;
    if value < 0 {
        out.push('-');
    }
    let magnitude = value.unsigned_abs();
    let unit = power_of_ten(scale).unsigned_abs();
    let _ = write!(out, "{}", magnitude / unit);
    if scale > 0 {
        let _ = write!(out, ".{:0width$}", magnitude % unit, width = scale as usize);
    }
}
