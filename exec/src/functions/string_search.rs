//! Searching text: position, split_part, starts_with, and LIKE as a function.

use arrow::datatypes::Int32Type;
use weir_common::{Error, SqlState, SqlType};

use super::registry::{Returns, Table};

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    t.one("strpos", &[T, T], SqlType::Int4, |call| {
        let (text, part) = (call.text(0), call.text(1));
        call.build::<Int32Type>(|row| Ok(position(text.at(row), part.at(row))))
    });
    // position(part IN text) arrives as position(text, part), as PostgreSQL's grammar has it.
    t.alias("position", "strpos", &[T, T], Returns::Is(SqlType::Int4));
    t.one("starts_with", &[T, T], SqlType::Bool, |call| {
        let (text, part) = (call.text(0), call.text(1));
        call.build_bool(|row| Ok(text.at(row).starts_with(part.at(row))))
    });
    t.alias("^@", "starts_with", &[T, T], Returns::Is(SqlType::Bool));
    t.one("like_escape", &[T, T], T, |call| {
        let (pattern, escape) = (call.text(0), call.text(1));
        call.build_text(|row, out| {
            rewrite_escapes(pattern.at(row), escape.at(row).chars().next(), out);
            Ok(())
        })
    });
    t.one("split_part", &[T, T, SqlType::Int4], T, |call| {
        let (text, delimiter, field) = (call.text(0), call.text(1), call.int4(2));
        call.build_str(|row| split_part(text.at(row), delimiter.at(row), field.at(row)))
    });
}

/// A LIKE pattern with another escape character, or none, rewritten to use the backslash.
fn rewrite_escapes(pattern: &str, escape: Option<char>, out: &mut String) {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                out.push('\\');
                out.extend(chars.next());
            }
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
}

/// Characters before the first occurrence, plus one; 0 when there is none.
fn position(text: &str, part: &str) -> i32 {
    text.find(part).map_or(0, |at| text[..at].chars().count() as i32 + 1)
}

/// The `field`th part, from 1, or from the end if negative; empty when there is no such part.
fn split_part<'a>(text: &'a str, delimiter: &str, field: i32) -> weir_common::Result<&'a str> {
    if field == 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if delimiter.is_empty() {
        return Ok(if field == 1 || field == -1 { text } else { "" });
    }
    let skip = field.unsigned_abs() as usize - 1;
    let part = if field > 0 { text.split(delimiter).nth(skip) } else { text.rsplit(delimiter).nth(skip) };
    Ok(part.unwrap_or(""))
}
