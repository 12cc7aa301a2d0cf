//! bytea and uuid as text.

use std::fmt::Write;

use crate::{Error, Result, SqlState};

/// Reads bytea in hex (`\x0aff`) or escape (`a\000b`, `\\`) form.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escape(text),
    }
}

fn parse_hex(hex: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    let mut high: Option<u8> = None;
    for c in hex.chars() {
        if c.is_ascii_whitespace() && high.is_none() {
            continue;
        }
        let digit = c.to_digit(16).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\""))
        })? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(first) => bytes.push(first << 4 | digit),
        }
    }
    if high.is_some() {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "invalid hexadecimal data: odd number of digits",
        ));
    }
    Ok(bytes)
}

fn parse_escape(text: &str) -> Result<Vec<u8>> {
    let input = text.as_bytes();
    let mut bytes = Vec::with_capacity(input.len());
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        if byte != b'\\' {
            bytes.push(byte);
            at += 1;
            continue;
        }
        match &input[at + 1..] {
            [b'\\', ..] => {
                bytes.push(b'\\');
                at += 2;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => {
                return Err(Error::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(bytes)
}

/// Writes bytea in hex form.
pub fn write_bytea(bytes: &[u8], out: &mut String) {
    out.push_str("\\x");
    write_hex(bytes, out);
}

/// Writes two hex digits a byte.
pub fn write_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Reads a uuid: 32 hex digits, a hyphen allowed after every fourth, braces allowed around.
pub fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let invalid = || Error::invalid_text("uuid", text);
    let trimmed = text.trim();
    let inner = match trimmed.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => trimmed,
    };
    let mut uuid = [0u8; 16];
    let mut digits = 0;
    let mut after_hyphen = true;
    for c in inner.chars() {
        if c == '-' && digits % 4 == 0 && !after_hyphen && digits < 32 {
            after_hyphen = true;
            continue;
        }
        let digit = c.to_digit(16).ok_or_else(invalid)? as u8;
        if digits == 32 {
            return Err(invalid());
        }
        uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
        digits += 1;
        after_hyphen = false;
    }
    if digits == 32 && !after_hyphen { Ok(uuid) } else { Err(invalid()) }
}

/// Writes a uuid as 8-4-4-4-12 lower-case hex digits.
pub fn write_uuid(uuid: &[u8], out: &mut String) {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
}
