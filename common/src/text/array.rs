//! Arrays as text: `{1,NULL,"a \"b\""}` (arrayfuncs.c), and int2vector's and oidvector's `1 2 3`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::Field;

use super::{FormatOptions, Formatter, parse_array_in};
use crate::{Error, Result, SqlState, SqlType};

/// Reads arrays of this element type.
pub fn parse(element: &SqlType, values: &StringArray, options: &FormatOptions) -> Result<ArrayRef> {
    collect(element, values, options, split)
}

/// Reads int2vector or oidvector.
pub fn parse_vector(ty: &SqlType, values: &StringArray, options: &FormatOptions) -> Result<ArrayRef> {
    let element = if *ty == SqlType::Int2Vector { SqlType::Int2 } else { SqlType::Oid };
    collect(&element, values, options, |text| {
        Ok(text.split_ascii_whitespace().map(|item| Some(item.to_owned())).collect())
    })
}

fn collect(
    element: &SqlType,
    values: &StringArray,
    options: &FormatOptions,
    split: impl Fn(&str) -> Result<Vec<Option<String>>>,
) -> Result<ArrayRef> {
    let mut items: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for value in values {
        let before = items.len();
        if let Some(text) = value {
            items.extend(split(text)?);
        }
        lengths.push(items.len() - before);
    }
    let items = parse_array_in(element, &StringArray::from(items), options)?;
    let field = Arc::new(Field::new_list_field(element.arrow(), true));
    let nulls: Option<NullBuffer> = values.nulls().cloned();
    Ok(Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, nulls)))
}

/// The elements of an array literal, unquoted; `None` is NULL.
pub fn split(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
            .with_detail(detail)
    };
    let trimmed = text.trim();
    let Some(body) = trimmed.strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\" or dimension information."));
    };
    let mut items = Vec::new();
    let mut chars = body.chars().peekable();
    skip_blanks(&mut chars);
    if chars.peek() == Some(&'}') {
        chars.next();
    } else {
        loop {
            skip_blanks(&mut chars);
            items.push(item(&mut chars, &malformed)?);
            match chars.next() {
                Some(',') => {}
                Some('}') => break,
                _ => return Err(malformed("Unexpected end of input.")),
            }
        }
    }
    skip_blanks(&mut chars);
    if chars.next().is_some() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(items)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_blanks(chars: &mut Chars<'_>) {
    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
}

/// One element up to the `,` or `}` after it.
fn item(chars: &mut Chars<'_>, malformed: &impl Fn(&str) -> Error) -> Result<Option<String>> {
    let mut value = String::new();
    match chars.peek() {
        Some('{') => {
            Err(Error::unsupported("multidimensional arrays").with_hint("Use an array of one dimension."))
        }
        Some('"') => {
            chars.next();
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => value.extend(chars.next()),
                    Some(c) => value.push(c),
                    None => return Err(malformed("Unexpected end of input.")),
                }
            }
            skip_blanks(chars);
            Ok(Some(value))
        }
        _ => {
            let mut escaped = false;
            while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '}' | '{' | '"')) {
                if c == '\\' {
                    escaped = true;
                    value.extend(chars.next());
                } else {
                    value.push(c);
                }
            }
            let value = value.trim_end().to_owned();
            if value.is_empty() {
                return Err(malformed("Unexpected \"}\" or delimiter character."));
            }
            Ok((escaped || !value.eq_ignore_ascii_case("null")).then_some(value))
        }
    }
}

/// Writes an array.
pub fn write(element: &Formatter, values: &ArrayRef, out: &mut String) {
    let mut item = String::new();
    out.push('{');
    for i in 0..values.len() {
        if i > 0 {
            out.push(',');
        }
        if values.is_null(i) {
            out.push_str("NULL");
            continue;
        }
        item.clear();
        element.write(values, i, &mut item);
        if element.element.is_some() || !needs_quotes(&item) {
            out.push_str(&item);
        } else {
            out.push('"');
            for c in item.chars() {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
    }
    out.push('}');
}

/// Writes int2vector or oidvector.
pub fn write_vector(element: &Formatter, values: &ArrayRef, out: &mut String) {
    for i in 0..values.len() {
        if i > 0 {
            out.push(' ');
        }
        element.write(values, i, out);
    }
}

fn needs_quotes(item: &str) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case("null")
        || item
            .chars()
            .any(|c| matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace() || c == '\x0b')
}
