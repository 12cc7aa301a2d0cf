//! json and jsonb: a strict reader, and the normal form that makes equal jsonb values equal text.
//!
//! Normal form (jsonb.c): no duplicate keys (the last wins), keys ordered by length, then bytes; a blank after
//! `:` and `,`; numbers keep their digits as numeric does (`1.10` stays, `1e2` becomes `100`).

use std::fmt::Write;

use crate::{Error, Result, SqlState};

/// Deepest nesting that is read; the reader recurses.
const DEPTH_MAX: usize = 512;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// In numeric's text form.
    Number(String),
    String(String),
    Array(Vec<Json>),
    /// In key order, keys unique.
    Object(Vec<(String, Json)>),
}

/// Reads JSON. Errors name the type `json` for jsonb too, as PostgreSQL's do.
pub fn parse(text: &str) -> Result<Json> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_blanks();
    if reader.at < text.len() {
        return Err(reader.unexpected());
    }
    Ok(value)
}

impl Json {
    /// What `jsonb_typeof` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// The member of this name.
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The array element at this position; negative counts from the end.
    pub fn element(&self, index: i64) -> Option<&Json> {
        match self {
            Json::Array(elements) => {
                let index = if index < 0 { index + elements.len() as i64 } else { index };
                elements.get(usize::try_from(index).ok()?)
            }
            _ => None,
        }
    }

    /// One step of a path: a member, or an element by number.
    pub fn step(&self, step: &str) -> Option<&Json> {
        match self {
            Json::Object(_) => self.member(step),
            Json::Array(_) => self.element(step.trim().parse().ok()?),
            _ => None,
        }
    }

    /// An object of these members, put in normal form.
    pub fn object(members: Vec<(String, Json)>) -> Json {
        let mut members: Vec<(usize, (String, Json))> = members.into_iter().enumerate().collect();
        members
            .sort_by(|(i, (a, _)), (j, (b, _))| (a.len(), a.as_bytes(), j).cmp(&(b.len(), b.as_bytes(), i)));
        let mut members: Vec<(String, Json)> = members.into_iter().map(|(_, member)| member).collect();
        members.dedup_by(|later, kept| later.0 == kept.0);
        Json::Object(members)
    }

    /// Writes the normal form.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::String(text) => write_string(text, out),
            Json::Array(elements) => {
                out.push('[');
                for (i, element) in elements.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    element.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    write_string(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The value as `->>` gives it: strings without quotes, `None` for null.
    pub fn write_unquoted(&self, out: &mut String) -> Option<()> {
        match self {
            Json::Null => return None,
            Json::String(text) => out.push_str(text),
            other => other.write(out),
        }
        Some(())
    }

    /// `@>`: whether this contains the other.
    pub fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(members)) => {
                members.iter().all(|(key, value)| self.member(key).is_some_and(|own| own.contains(value)))
            }
            (Json::Array(own), Json::Array(others)) => {
                others.iter().all(|other| own.iter().any(|own| own.contains(other)))
            }
            (Json::Array(own), scalar) if !matches!(scalar, Json::Object(_)) => own.contains(scalar),
            (own, other) => own == other,
        }
    }
}

/// Writes a string as a JSON literal.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, detail: String) -> Error {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .with_detail(detail)
    }

    fn unexpected(&self) -> Error {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return self.error("The input string ended unexpectedly.".into());
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let first = rest.chars().next().map_or(0, char::len_utf8);
        self.error(format!("Token \"{}\" is invalid.", &rest[..end.max(first)]))
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        self.skip_blanks();
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > DEPTH_MAX {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "JSON value is nested too deeply"));
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in
                    [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)]
                {
                    let rest = &self.text[self.at..];
                    let ends = !rest[word.len().min(rest.len())..].starts_with(|c: char| c.is_alphanumeric());
                    if rest.starts_with(word) && ends {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b']')?;
        Ok(Json::Array(elements))
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            self.expect(b':')?;
            members.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b'}')?;
        Ok(Json::object(members))
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let token = &self.text[start..self.at];
        if !is_json_number(token) {
            self.at = start;
            return Err(self.unexpected());
        }
        Ok(Json::Number(normal_number(token).ok_or_else(|| Error::out_of_range("numeric"))?))
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut value = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ').unwrap_or(rest.len());
            value.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => self.escape(&mut value)?,
                Some(control) => {
                    return Err(self.error(format!("Character with value 0x{control:02x} must be escaped.")));
                }
                None => return Err(self.unexpected()),
            }
        }
    }

    fn escape(&mut self, value: &mut String) -> Result<()> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        value.push(match letter {
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4()?;
                self.unicode(first)?
            }
            _ => {
                self.at = self.at.min(self.text.len());
                return Err(self.error("Escape sequence is invalid.".into()));
            }
        });
        Ok(())
    }

    fn unicode(&mut self, first: u32) -> Result<char> {
        let code = if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.hex4()?;
            0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF)
        } else {
            first
        };
        match char::from_u32(code) {
            Some('\0') => Err(Error::new(SqlState("22P05"), "unsupported Unicode escape sequence")
                .with_detail("\\u0000 cannot be converted to text.")),
            Some(c) => Ok(c),
            None => Err(self.error("Unicode high surrogate must be followed by a low surrogate.".into())),
        }
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at = (self.at + 4).min(self.text.len());
        code.ok_or_else(|| self.error("\"\\u\" must be followed by four hexadecimal digits.".into()))
    }
}

fn is_json_number(token: &str) -> bool {
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

/// A number without exponent, as numeric prints it; `None` when that would be absurdly long.
fn normal_number(token: &str) -> Option<String> {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    if !(-1000..=1000).contains(&point) {
        return None;
    }
    let (whole, fraction) = if point <= 0 {
        ("0".to_owned(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point as usize >= digits.len() {
        (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
    } else {
        (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let is_zero = whole == "0" && fraction.bytes().all(|b| b == b'0');
    let sign = if is_zero { "" } else { sign };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}
