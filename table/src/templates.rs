//! `Templates`: INSERTs that differ in their literals alone are parsed, bound and compiled once in a session.
//!
//! ```text
//!   INSERT INTO t VALUES (17, 'x')  ─►  INSERT INTO t VALUES ($1, $2)  +  17, x
//!                                       └ the second time: prepared ─► kept plan
//! ```
//! Place in the flow: the simple protocol asks before it parses a text, since clients that write their values into the
//! text send nothing else all day. Invariant: a template means what the text does. So only literals that are a whole
//! value of a row are replaced: a string takes the column's type either way, and a whole number is replaced where the
//! column is a number and has room for it. Everything else, and every error, is left to the text itself.

use std::collections::HashMap;
use std::sync::Arc;

use weir_common::SqlType;
use weir_planner::keep::has_whole_values;

use crate::outcome::{ParamValue, Prepared};
use crate::params;
use crate::session::Session;

/// Texts longer than this have no template, nor have those with more literals.
const TEXT_BYTES: usize = 4096;
const LITERALS: usize = 64;
/// Templates that a session keeps.
const KEPT: usize = 64;

/// The templates of a session, by their text.
#[derive(Default)]
pub struct Templates(HashMap<String, Known>);

/// What is known of a text.
enum Known {
    /// It came once.
    Seen,
    /// It is no template.
    Plain,
    Template(Arc<Prepared>),
}

impl Session {
    /// The statement with parameters that a text is with these values, if it is worth a template and came before.
    pub fn template(&mut self, sql: &str) -> Option<(Arc<Prepared>, Vec<ParamValue>)> {
        let (key, literals) = split(sql)?;
        let prepared = match self.templates.0.get(&key) {
            Some(Known::Template(prepared)) => Arc::clone(prepared),
            Some(Known::Plain) => return None,
            Some(Known::Seen) => self.learn(&key)?,
            None => {
                if self.templates.0.len() == KEPT {
                    self.templates.0.clear();
                }
                self.templates.0.insert(key, Known::Seen);
                return None;
            }
        };
        if !self.holds(&prepared) {
            // Catalog or settings are others: what it means is found out again.
            self.templates.0.insert(key, Known::Seen);
            return None;
        }
        if !prepared.params.iter().zip(&literals).all(|(ty, literal)| literal.fits(ty)) {
            return None;
        }
        let texts: Vec<ParamValue> = literals.into_iter().map(|l| ParamValue::Text(l.text)).collect();
        let values = params::arrays(&prepared.params, &texts, &self.format_options()).ok()?;
        Some((prepared, values.into_iter().map(ParamValue::Value).collect()))
    }

    fn learn(&mut self, key: &str) -> Option<Arc<Prepared>> {
        let prepared = self.prepare_template(key).map(Arc::new);
        let known = prepared.clone().map_or(Known::Plain, Known::Template);
        self.templates.0.insert(key.to_string(), known);
        prepared
    }

    fn prepare_template(&mut self, key: &str) -> Option<Prepared> {
        let parsed = weir_planner::parse(key).ok()?;
        let [statement] = parsed.as_slice() else { return None };
        if !has_whole_values(statement) {
            return None;
        }
        let prepared = self.prepare_checked(statement, &[]).ok()?;
        self.holds(&prepared).then_some(prepared)
    }
}

/// A literal of a text.
#[derive(Debug, PartialEq)]
struct Literal {
    text: String,
    is_number: bool,
}

impl Literal {
    /// Whether it means the same as a parameter of this type.
    fn fits(&self, ty: &SqlType) -> bool {
        let is_integer = matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8);
        !self.is_number || is_integer || matches!(ty, SqlType::Numeric { .. } | SqlType::Float8)
    }
}

/// The text of an INSERT with parameters in place of its literals, and the literals.
fn split(sql: &str) -> Option<(String, Vec<Literal>)> {
    let sql = sql.trim().trim_end_matches(';');
    let is_insert = sql.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("insert"));
    if !is_insert || sql.len() > TEXT_BYTES {
        return None;
    }
    let bytes = sql.as_bytes();
    let (mut key, mut literals) = (String::with_capacity(sql.len() + 8), Vec::new());
    let (mut at, mut copied) = (0, 0);
    // The last byte that was no space.
    let mut before = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                let end = end_of(bytes, at, is_word);
                // A string with a prefix.
                if bytes.get(end) == Some(&b'\'') {
                    return None;
                }
                end
            }
            b'"' => at + 2 + bytes[at + 1..].iter().position(|b| *b == b'"')?,
            quote_or_digit @ (b'\'' | b'0'..=b'9' | b'-') => {
                let is_value = matches!(before, b'(' | b',');
                let literal = match quote_or_digit {
                    b'\'' => string(sql, at)?,
                    _ => number(sql, at)?,
                };
                if !is_value {
                    return None;
                }
                let end = literal.1;
                key.push_str(&sql[copied..at]);
                literals.push(literal.0);
                key.push_str(&format!("${}", literals.len()));
                copied = end;
                end
            }
            b'$' | b';' | b'/' | b'\\' => return None,
            _ => at + 1,
        };
        if !bytes[at].is_ascii_whitespace() {
            before = bytes[at];
        }
        at = end;
    }
    key.push_str(&sql[copied..]);
    ((1..=LITERALS).contains(&literals.len())).then_some((key, literals))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn end_of(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !belongs(*b)).map_or(bytes.len(), |n| from + n)
}

/// The string literal at `at`, and where it ends.
fn string(sql: &str, at: usize) -> Option<(Literal, usize)> {
    let bytes = sql.as_bytes();
    let mut end = at + 1;
    loop {
        end += bytes.get(end..)?.iter().position(|b| *b == b'\'')?;
        if bytes.get(end + 1) != Some(&b'\'') {
            break;
        }
        end += 2;
    }
    let text = sql.get(at + 1..end)?;
    let is_plain = !text.contains('\\') && !text.contains('\0');
    is_plain.then(|| (Literal { text: text.replace("''", "'"), is_number: false }, end + 1))
}

/// The whole number at `at`, with its sign, and where it ends. None where a zero in front or what follows makes it
/// anything else.
fn number(sql: &str, at: usize) -> Option<(Literal, usize)> {
    let bytes = sql.as_bytes();
    let first = at + usize::from(bytes[at] == b'-');
    let end = end_of(bytes, first, |b| b.is_ascii_digit());
    let digits = end - first;
    let is_whole = !bytes.get(end).is_some_and(|b| is_word(*b) || *b == b'.');
    let is_plain = digits == 1 || (digits > 1 && digits < 19 && bytes[first] != b'0');
    (is_whole && is_plain).then(|| (Literal { text: sql[at..end].to_string(), is_number: true }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Option<(String, Vec<String>)> {
        split(sql).map(|(key, literals)| (key, literals.into_iter().map(|l| l.text).collect()))
    }

    #[test]
    fn literals_are_taken_out() {
        let (key, literals) =
            of("INSERT INTO t (a, \"b'1\") VALUES (17, 'it''s', -5, DEFAULT, NULL);").unwrap();
        assert_eq!(key, "INSERT INTO t (a, \"b'1\") VALUES ($1, $2, $3, DEFAULT, NULL)");
        assert_eq!(literals, ["17", "it's", "-5"]);
        let (key, literals) = of("insert into t2 values( 0,1 )").unwrap();
        assert_eq!((key.as_str(), literals.len()), ("insert into t2 values( $1,$2 )", 2));
    }

    #[test]
    fn what_may_mean_something_else_is_left_alone() {
        for sql in [
            "SELECT 1",
            "INSERT INTO t SELECT 1",
            "INSERT INTO t VALUES (E'a')",
            "INSERT INTO t VALUES (1.5)",
            "INSERT INTO t VALUES (1e5)",
            "INSERT INTO t VALUES (007)",
            "INSERT INTO t VALUES (1 + 2)",
            "INSERT INTO t VALUES (date '2020-01-01')",
            "INSERT INTO t VALUES ($1, 2)",
            "INSERT INTO t VALUES (1) -- 2",
            "INSERT INTO t VALUES (1 /* 2 */)",
            "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
            "INSERT INTO t VALUES ('a\\b')",
            "INSERT INTO t VALUES ('a)",
            "INSERT INTO t VALUES (9999999999999999999)",
            "INSERT INTO t DEFAULT VALUES",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }
}
