//! Quoting and `format()`.

use weir_common::{Error, Result, SqlState, SqlType};

use super::registry::{Param, Returns, Table, is};
use super::string::build_nullable;

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    t.one("quote_ident", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            quote_ident(text.at(row), out);
            Ok(())
        })
    });
    t.one("quote_literal", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            quote_literal(text.at(row), out);
            Ok(())
        })
    });
    let quote_nullable = t.generic("quote_nullable", "quote_nullable", &[is(T)], Returns::Is(T), |call| {
        let text = call.text(0);
        build_nullable(call, |row, out| {
            if text.is_null(row) {
                out.push_str("NULL");
            } else {
                quote_literal(text.at(row), out);
            }
            true
        })
    });
    quote_nullable.strict = false;
    let format = t.generic("format", "text_format", &[is(T), Param::Any], Returns::Is(T), |call| {
        let texts: Vec<_> = (0..call.len()).map(|i| call.text(i)).collect();
        let mut failure = None;
        let formatted = build_nullable(call, |row, out| {
            if texts[0].is_null(row) {
                return false;
            }
            let args: Vec<Option<&str>> =
                texts[1..].iter().map(|text| (!text.is_null(row)).then(|| text.at(row))).collect();
            if let Err(error) = expand(texts[0].at(row), &args, out) {
                failure.get_or_insert(error);
            }
            true
        });
        failure.map_or(formatted, Err)
    });
    (format.variadic, format.strict, format.all_text) = (true, false, true);
}

/// Words that an identifier must not be without quotes (reserved in PostgreSQL's grammar).
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// Quotes an identifier where that is needed.
fn quote_ident(name: &str, out: &mut String) {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.contains(&name);
    if plain {
        out.push_str(name);
        return;
    }
    out.push('"');
    out.push_str(&name.replace('"', "\"\""));
    out.push('"');
}

/// Quotes a string literal.
fn quote_literal(text: &str, out: &mut String) {
    if text.contains('\\') {
        out.push('E');
    }
    out.push('\'');
    out.push_str(&text.replace('\\', "\\\\").replace('\'', "''"));
    out.push('\'');
}

/// Expands `%s %I %L %%`, with positions (`%2$s`) and widths (`%-10s`).
fn expand(format: &str, args: &[Option<&str>], out: &mut String) -> Result<()> {
    let mut rest = format;
    let mut next = 0;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        rest = &rest[percent + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (directive, after) = Directive::read(rest)?;
        rest = after;
        if let Some(position) = directive.position {
            next = position.checked_sub(1).ok_or_else(|| {
                Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "format specifies argument 0, but arguments are numbered from 1",
                )
            })?;
        }
        let arg = args
            .get(next)
            .ok_or_else(|| Error::new(SqlState::INVALID_PARAMETER_VALUE, "too few arguments for format()"))?;
        next += 1;
        directive.write(*arg, out)?;
    }
    out.push_str(rest);
    Ok(())
}

struct Directive {
    position: Option<usize>,
    width: usize,
    left_aligned: bool,
    kind: char,
}

impl Directive {
    fn read(text: &str) -> Result<(Directive, &str)> {
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            (text[..end].parse::<usize>().ok(), end)
        };
        let (position, rest) = match number(text) {
            (Some(position), end) if text[end..].starts_with('$') => (Some(position), &text[end + 1..]),
            _ => (None, text),
        };
        let left_aligned = rest.starts_with('-');
        let rest = rest.trim_start_matches('-');
        let (width, end) = number(rest);
        let mut chars = rest[end..].chars();
        let kind = chars.next().ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, "unterminated format() type specifier")
                .with_hint("For a single \"%\" use \"%%\".")
        })?;
        Ok((Directive { position, width: width.unwrap_or(0), left_aligned, kind }, chars.as_str()))
    }

    fn write(&self, arg: Option<&str>, out: &mut String) -> Result<()> {
        let mut value = String::new();
        match (self.kind, arg) {
            ('s', arg) => value.push_str(arg.unwrap_or("")),
            ('I', Some(name)) => quote_ident(name, &mut value),
            ('I', None) => {
                return Err(Error::new(
                    SqlState("22004"),
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            ('L', Some(text)) => quote_literal(text, &mut value),
            ('L', None) => value.push_str("NULL"),
            (other, _) => {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized format() type specifier \"{other}\""),
                )
                .with_hint("For a single \"%\" use \"%%\"."));
            }
        }
        let blanks = " ".repeat(self.width.saturating_sub(value.chars().count()));
        let (first, second) = if self.left_aligned { (&value, &blanks) } else { (&blanks, &value) };
        out.push_str(first);
        out.push_str(second);
        Ok(())
    }
}
