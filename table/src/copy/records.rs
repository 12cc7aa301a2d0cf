//! Text split into records and records into fields, in both formats.
//!
//! A record is taken only when it is whole; what is left waits for more text. Fields are unescaped into one string
//! that is reused, so a record costs no allocation.

use weir_common::{Error, Result, SqlState};
use weir_planner::copy::{CopyFormat, CopyOptions};

/// The fields of one record.
#[derive(Default)]
pub(super) struct Fields {
    text: String,
    /// Where each field ends in `text`, and whether it is NULL.
    ends: Vec<(usize, bool)>,
}

impl Fields {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The field's text; `None` for NULL.
    pub(super) fn value(&self, index: usize) -> Option<&str> {
        let start = if index == 0 { 0 } else { self.ends[index - 1].0 };
        let (end, is_null) = self.ends[index];
        (!is_null).then(|| &self.text[start..end])
    }

    fn end(&mut self, is_null: bool) {
        self.ends.push((self.text.len(), is_null));
    }
}

/// A record that was taken from the text.
pub(super) struct Record {
    /// Where its own text ends, without the line end.
    pub end: usize,
    /// Where the next one begins.
    pub next: usize,
    /// Lines that it spans.
    pub lines: u64,
    /// Whether it is the mark `\.`, after which nothing counts.
    pub is_end_mark: bool,
}

/// Whether more text may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    MayFollow,
    Complete,
}

/// How lines end; the first one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Newline,
    CarriageReturnNewline,
}

/// Takes records from text.
pub(super) struct RecordReader {
    line_end: Option<LineEnd>,
}

impl RecordReader {
    pub(super) fn new() -> RecordReader {
        RecordReader { line_end: None }
    }

    /// The record that begins at `at`; `None` when it is not whole. Its fields are in `fields`.
    pub(super) fn record(
        &mut self,
        text: &str,
        at: usize,
        rest: Rest,
        options: &CopyOptions,
        fields: &mut Fields,
    ) -> Result<Option<Record>> {
        let found = match options.format {
            CopyFormat::Text => text_line_end(text.as_bytes(), at),
            CopyFormat::Csv => csv_line_end(text.as_bytes(), at, options),
        };
        let LineFound { newline, lines, in_quotes } = found;
        if newline.is_none() && rest == Rest::MayFollow {
            return Ok(None);
        }
        let (mut end, next) = newline.map_or((text.len(), text.len()), |newline| (newline, newline + 1));
        if newline.is_some() || self.line_end == Some(LineEnd::CarriageReturnNewline) {
            end = self.without_return(text, at, end, newline.is_some(), options)?;
        }
        let line = &text[at..end];
        if line == "\\." {
            return Ok(Some(Record { end, next, lines, is_end_mark: true }));
        }
        if in_quotes {
            return Err(Error::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
        }
        fields.clear();
        match options.format {
            CopyFormat::Text => split_text(line, options, fields)?,
            CopyFormat::Csv => split_csv(line, options, fields),
        }
        Ok(Some(Record { end, next, lines, is_end_mark: false }))
    }

    /// Where the line ends without its carriage return, which must be there when the first line had one.
    fn without_return(
        &mut self,
        text: &str,
        at: usize,
        end: usize,
        is_ended: bool,
        options: &CopyOptions,
    ) -> Result<usize> {
        let has_return = end > at && text.as_bytes()[end - 1] == b'\r';
        let line_end = *self.line_end.get_or_insert(match has_return {
            true => LineEnd::CarriageReturnNewline,
            false => LineEnd::Newline,
        });
        let quoted = options.format == CopyFormat::Csv;
        let wrong = |what: &str, escape: &str| {
            let (kind, hint) = match quoted {
                true => ("unquoted", format!("Use quoted CSV field to represent {what}.")),
                false => ("literal", format!("Use \"{escape}\" to represent {what}.")),
            };
            let message = format!("{kind} {what} found in data");
            Error::new(SqlState::BAD_COPY_FILE_FORMAT, message).with_hint(hint)
        };
        match (line_end, has_return) {
            (LineEnd::CarriageReturnNewline, true) => Ok(end - 1),
            (LineEnd::CarriageReturnNewline, false) if is_ended => Err(wrong("newline", "\\n")),
            (LineEnd::Newline, true) => Err(wrong("carriage return", "\\r")),
            _ => Ok(end),
        }
    }
}

struct LineFound {
    newline: Option<usize>,
    lines: u64,
    in_quotes: bool,
}

/// The newline that ends the line; one behind a backslash is data.
fn text_line_end(bytes: &[u8], at: usize) -> LineFound {
    let mut lines = 1;
    let mut from = at;
    while let Some(offset) = bytes[from..].iter().position(|b| *b == b'\n') {
        let newline = from + offset;
        let backslashes = bytes[at..newline].iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes % 2 == 0 {
            return LineFound { newline: Some(newline), lines, in_quotes: false };
        }
        lines += 1;
        from = newline + 1;
    }
    LineFound { newline: None, lines, in_quotes: false }
}

/// The newline that ends the record; one inside of quotes is data.
fn csv_line_end(bytes: &[u8], at: usize, options: &CopyOptions) -> LineFound {
    let (quote, escape) = (options.quote, options.escape);
    let (mut lines, mut in_quotes) = (1, false);
    let mut i = at;
    while i < bytes.len() {
        let byte = bytes[i];
        if in_quotes && byte == escape && matches!(bytes.get(i + 1), Some(b) if *b == quote || *b == escape) {
            i += 1;
        } else if byte == quote {
            in_quotes = !in_quotes;
        } else if byte == b'\n' {
            if !in_quotes {
                return LineFound { newline: Some(i), lines, in_quotes };
            }
            lines += 1;
        }
        i += 1;
    }
    LineFound { newline: None, lines, in_quotes }
}

fn split_text(line: &str, options: &CopyOptions, fields: &mut Fields) -> Result<()> {
    let bytes = line.as_bytes();
    let mut start = 0;
    loop {
        let mut end = start;
        let mut escaped = false;
        while end < bytes.len() && bytes[end] != options.delimiter {
            if bytes[end] == b'\\' {
                escaped = true;
                end += 1;
            }
            end += 1;
        }
        let end = end.min(bytes.len());
        let raw = &line[start..end];
        if raw == options.null {
            fields.end(true);
        } else {
            match escaped {
                true => unescape(raw, &mut fields.text)?,
                false => fields.text.push_str(raw),
            }
            fields.end(false);
        }
        if end == bytes.len() {
            return Ok(());
        }
        start = end + 1;
    }
}

/// Backslash escapes of the text format.
fn unescape(raw: &str, out: &mut String) -> Result<()> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            None => bytes.push(b'\\'),
            Some(b'b') => bytes.push(0x08),
            Some(b'f') => bytes.push(0x0c),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'v') => bytes.push(0x0b),
            Some(b'x') if rest.peek().is_some_and(u8::is_ascii_hexdigit) => {
                bytes.push(digits(&mut rest, 16, 2, 0));
            }
            Some(octal @ b'0'..=b'7') => bytes.push(digits(&mut rest, 8, 2, u32::from(octal - b'0'))),
            Some(other) => bytes.push(other),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\" after unescaping",
        )
    })?;
    if text.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
        return Err(Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message));
    }
    out.push_str(&text);
    Ok(())
}

/// Up to `most` more digits of a number that begins with `value`; its low byte.
fn digits(rest: &mut std::iter::Peekable<std::str::Bytes<'_>>, radix: u32, most: usize, value: u32) -> u8 {
    let mut value = value;
    for _ in 0..most {
        let Some(digit) = rest.peek().and_then(|b| char::from(*b).to_digit(radix)) else { break };
        value = value * radix + digit;
        rest.next();
    }
    (value & 0xff) as u8
}

fn split_csv(line: &str, options: &CopyOptions, fields: &mut Fields) {
    let bytes = line.as_bytes();
    let (quote, escape, delimiter) = (options.quote, options.escape, options.delimiter);
    let mut at = 0;
    loop {
        let first = fields.text.len();
        let (mut in_quotes, mut was_quoted) = (false, false);
        // Text up to here is copied.
        let mut copied = at;
        while at < bytes.len() {
            let byte = bytes[at];
            if in_quotes
                && byte == escape
                && matches!(bytes.get(at + 1), Some(b) if *b == quote || *b == escape)
            {
                fields.text.push_str(&line[copied..at]);
                copied = at + 1;
                at += 1;
            } else if byte == quote {
                fields.text.push_str(&line[copied..at]);
                copied = at + 1;
                in_quotes = !in_quotes;
                was_quoted = true;
            } else if byte == delimiter && !in_quotes {
                break;
            }
            at += 1;
        }
        let at_end = at >= bytes.len();
        fields.text.push_str(&line[copied..at.min(bytes.len())]);
        let column = fields.len();
        let forced = |columns: &[bool]| columns.get(column).copied().unwrap_or(false);
        let may_be_null = match was_quoted {
            true => forced(&options.force_null),
            false => !forced(&options.force_not_null),
        };
        let is_null = may_be_null && fields.text[first..] == options.null;
        fields.end(is_null);
        if at_end {
            return;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use weir_planner::copy::CopyHeader;

    use super::*;

    fn options(format: CopyFormat) -> CopyOptions {
        let is_csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv { String::new() } else { "\\N".into() },
            header: CopyHeader::Absent,
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
            force_not_null: vec![false, true],
            force_null: vec![true],
        }
    }

    fn read(format: CopyFormat, text: &str) -> Vec<Vec<Option<String>>> {
        let options = options(format);
        let mut reader = RecordReader::new();
        let mut fields = Fields::default();
        let (mut at, mut all) = (0, Vec::new());
        while at < text.len() {
            let record = reader.record(text, at, Rest::Complete, &options, &mut fields).unwrap().unwrap();
            if record.is_end_mark {
                break;
            }
            all.push((0..fields.len()).map(|i| fields.value(i).map(str::to_owned)).collect());
            at = record.next;
        }
        all
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn text_with_escapes_and_null() {
        let rows = read(CopyFormat::Text, "a\\tb\t\\N\n\\\\N\tx\\\ny\n\t\\x41\\101\n\\.\nrest");
        assert_eq!(
            rows,
            [vec![some("a\tb"), None], vec![some("\\N"), some("x\ny")], vec![some(""), some("AA")]]
        );
    }

    #[test]
    fn csv_with_quotes() {
        let rows = read(CopyFormat::Csv, "1,\"a\"\"b\",\n\"\",,\"x\ny\"\n");
        assert_eq!(rows[0], [some("1"), some("a\"b"), None]);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn forced_columns_decide_about_null() {
        assert_eq!(read(CopyFormat::Csv, "\"\",,\n"), [[None, some(""), None]]);
    }

    #[test]
    fn an_unfinished_record_waits() {
        let mut reader = RecordReader::new();
        let mut fields = Fields::default();
        let csv = options(CopyFormat::Csv);
        assert!(reader.record("a,\"b\n", 0, Rest::MayFollow, &csv, &mut fields).unwrap().is_none());
        let error = reader.record("a,\"b\n", 0, Rest::Complete, &csv, &mut fields).err().unwrap();
        assert_eq!(error.state(), SqlState::BAD_COPY_FILE_FORMAT);
    }

    #[test]
    fn the_first_line_decides_how_lines_end() {
        let mut reader = RecordReader::new();
        let mut fields = Fields::default();
        let text = options(CopyFormat::Text);
        let first = reader.record("a\r\nb\n", 0, Rest::Complete, &text, &mut fields).unwrap().unwrap();
        assert_eq!((first.end, first.next), (1, 3));
        assert!(reader.record("a\r\nb\n", 3, Rest::Complete, &text, &mut fields).is_err());
    }
}
