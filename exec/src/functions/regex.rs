//! Regular expressions: `~ ~* !~ !~*`, regexp_replace, regexp_match, regexp_like, substring from pattern.
//!
//! Patterns are PostgreSQL's advanced regular expressions, run by the `regex` crate: what both know alike works;
//! back references and lookaround are 0A000. A constant pattern is compiled once a batch, others once a value
//! that differs from the row before.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{Field, Int32Type};
use regex::{Regex, RegexBuilder};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::registry::{Returns, Table};

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    matching(t);
    t.add("regexp_like", "regexp_like", &[T, T], SqlType::Bool, |call| matches(call, "", true));
    t.add("regexp_replace", "textregexreplace_noopt", &[T, T, T], T, |call| replace(call, false));
    t.add("regexp_replace", "textregexreplace", &[T, T, T, T], T, |call| replace(call, true));
    let texts = SqlType::Array(Box::new(T));
    t.add("regexp_match", "regexp_match_no_flags", &[T, T], texts.clone(), |call| captures(call, false));
    t.add("regexp_match", "regexp_match", &[T, T, T], texts.clone(), |call| captures(call, true));
    t.add("regexp_split_to_array", "regexp_split_to_array", &[T, T], texts.clone(), split);
    t.rows_of("regexp_split_to_table", "regexp_split_to_array", &[T, T], texts);
    t.add("substring", "textregexsubstr", &[T, T], T, substring);
    t.add("regexp_count", "regexp_count", &[T, T], SqlType::Int4, |call| {
        let (text, mut patterns) = (call.text(0), Patterns::new());
        let pattern = call.text(1);
        call.build::<Int32Type>(|row| {
            Ok(patterns.compiled(pattern.at(row), "")?.find_iter(text.at(row)).count() as i32)
        })
    });
}

fn matching(t: &mut Table) {
    let operators = [
        ("~", "textregexeq", "", true),
        ("~*", "texticregexeq", "i", true),
        ("!~", "textregexne", "", false),
        ("!~*", "texticregexne", "i", false),
    ];
    for (sql, udf, flags, wanted) in operators {
        t.add(sql, udf, &[T, T], SqlType::Bool, move |call| matches(call, flags, wanted));
        t.alias(sql, udf, &[SqlType::Name, T], Returns::Is(SqlType::Bool)).cast_to = Some(vec![T, T]);
    }
}

fn matches(call: &Call<'_>, flags: &str, wanted: bool) -> Result<ArrayRef> {
    let (text, pattern, mut patterns) = (call.text(0), call.text(1), Patterns::new());
    call.build_bool(|row| Ok(patterns.compiled(pattern.at(row), flags)?.is_match(text.at(row)) == wanted))
}

/// The compiled pattern of the last row, which most often is the next row's too.
struct Patterns {
    last: Option<(String, String, Regex)>,
}

impl Patterns {
    fn new() -> Patterns {
        Patterns { last: None }
    }

    fn compiled(&mut self, pattern: &str, flags: &str) -> Result<&Regex> {
        let same = matches!(&self.last, Some((p, f, _)) if p == pattern && f == flags);
        if !same {
            self.last = Some((pattern.to_owned(), flags.to_owned(), compile(pattern, flags)?));
        }
        Ok(&self.last.as_ref().expect("just compiled").2)
    }
}

/// A pattern with PostgreSQL's option letters.
fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    // `***=` takes the rest literally, `***:` and `(?i)` are understood or dropped.
    let (pattern, literal) = match pattern.strip_prefix("***=") {
        Some(rest) => (regex::escape(rest), true),
        None => (translate(pattern.strip_prefix("***:").unwrap_or(pattern)), false),
    };
    let mut builder = RegexBuilder::new(&pattern);
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'c' => builder.case_insensitive(false),
            'n' | 'm' => builder.multi_line(true).dot_matches_new_line(false),
            's' => builder.multi_line(false).dot_matches_new_line(true),
            'p' => builder.dot_matches_new_line(false),
            'w' => builder.multi_line(true),
            'x' => builder.ignore_whitespace(!literal),
            'g' | 'e' | 't' => &mut builder,
            'q' => return compile(&format!("***={pattern}"), &flags.replace('q', "")),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
    }
    builder.build().map_err(|error| invalid(&error, &pattern))
}

/// Escapes that the two dialects spell differently: `\m \M \y \Y \A \Z`.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            translated.push(c);
            continue;
        }
        match chars.next() {
            Some('m') => translated.push_str(r"\b{start}"),
            Some('M') => translated.push_str(r"\b{end}"),
            Some('y') => translated.push_str(r"\b"),
            Some('Y') => translated.push_str(r"\B"),
            Some('Z') => translated.push_str(r"\z"),
            // PostgreSQL takes an escaped character that means nothing as itself.
            Some(other) if !other.is_ascii_alphanumeric() => {
                translated.push_str(&regex::escape(&other.to_string()))
            }
            Some(other) => translated.extend(['\\', other]),
            None => translated.push('\\'),
        }
    }
    translated
}

fn invalid(error: &regex::Error, pattern: &str) -> Error {
    let text = error.to_string();
    if text.contains("backreferences are not supported") || text.contains("look-around") {
        return Error::unsupported("back references and lookaround in regular expressions")
            .with_hint("Rewrite the pattern without \\1, (?=…) or (?!…).");
    }
    let reason = match text.lines().last().unwrap_or("").trim_start_matches("error: ") {
        "unclosed group" | "unopened group" => "parentheses () not balanced",
        "unclosed character class" => "brackets [] not balanced",
        "repetition operator missing expression" => "quantifier operand invalid",
        other => other,
    };
    Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
        .with_detail(format!("The pattern is \"{pattern}\"."))
}

fn replace(call: &Call<'_>, with_flags: bool) -> Result<ArrayRef> {
    let (text, pattern, replacement) = (call.text(0), call.text(1), call.text(2));
    let flags = with_flags.then(|| call.text(3));
    let mut patterns = Patterns::new();
    call.build_text(|row, out| {
        let flags = flags.map_or("", |flags| flags.at(row));
        let regex = patterns.compiled(pattern.at(row), flags)?;
        let replacement = template(replacement.at(row));
        let limit = if flags.contains('g') { 0 } else { 1 };
        out.push_str(&regex.replacen(text.at(row), limit, replacement.as_str()));
        Ok(())
    })
}

/// PostgreSQL's `\1`, `\&` and `\\` in the regex crate's spelling.
fn template(replacement: &str) -> String {
    let mut template = String::with_capacity(replacement.len());
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => template.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit @ '1'..='9') => template.push_str(&format!("${{{digit}}}")),
                Some('&') => template.push_str("${0}"),
                Some('\\') | None => template.push('\\'),
                Some(other) => template.extend(['\\', other]),
            },
            c => template.push(c),
        }
    }
    template
}

/// Groups of the first match, or the whole of it when there are no groups.
fn captures(call: &Call<'_>, with_flags: bool) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0), call.text(1));
    let flags = with_flags.then(|| call.text(2));
    let mut patterns = Patterns::new();
    lists(call, |row, items| {
        let regex = patterns.compiled(pattern.at(row), flags.map_or("", |flags| flags.at(row)))?;
        let Some(found) = regex.captures(text.at(row)) else { return Ok(false) };
        if found.len() == 1 {
            items.append_option(found.get(0).map(|group| group.as_str()));
        }
        found.iter().skip(1).for_each(|group| items.append_option(group.map(|group| group.as_str())));
        Ok(true)
    })
}

fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern, mut patterns) = (call.text(0), call.text(1), Patterns::new());
    lists(call, |row, items| {
        let (text, mut start) = (text.at(row), 0);
        for found in patterns.compiled(pattern.at(row), "")?.find_iter(text) {
            // As in PostgreSQL, no match of nothing at the ends, or right behind another match.
            if found.is_empty() && (found.start() == start || found.end() == text.len()) {
                continue;
            }
            items.append_value(&text[start..found.start()]);
            start = found.end();
        }
        items.append_value(&text[start..]);
        Ok(true)
    })
}

/// Builds a text[] result; `false` is NULL.
pub(crate) fn lists(
    call: &Call<'_>,
    mut f: impl FnMut(usize, &mut StringBuilder) -> Result<bool>,
) -> Result<ArrayRef> {
    let nulls = match call.nulls() {
        Ok(nulls) => nulls,
        Err(all_null) => return Ok(all_null),
    };
    let field = Field::new_list_field(arrow::datatypes::DataType::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in 0..call.rows {
        let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let present = valid && f(row, builder.values())?;
        builder.append(present);
    }
    Ok(Arc::new(builder.finish()))
}

/// `substring(text from pattern)`: the first group, or the whole match.
fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern, mut patterns) = (call.text(0), call.text(1), Patterns::new());
    call.build_text_option(|row, out| {
        let found = patterns.compiled(pattern.at(row), "")?.captures(text.at(row));
        Ok(found.and_then(|found| found.get(1).or_else(|| found.get(0).filter(|_| found.len() == 1))).map(
            |group| {
                out.push_str(group.as_str());
            },
        ))
    })
}
