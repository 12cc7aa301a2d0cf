//! COPY TO: rows as lines of text or CSV.

use arrow::array::{Array, RecordBatch};
use weir_common::text::{FormatOptions, Formatter};
use weir_planner::OutputColumn;
use weir_planner::copy::{CopyFormat, CopyHeader, CopyOptions};

/// Writes rows in the form that the options say.
pub struct CopyEncoder {
    names: Vec<String>,
    formatters: Vec<Formatter>,
    options: CopyOptions,
    /// Text of one value, reused.
    scratch: String,
}

impl CopyEncoder {
    pub(super) fn new(columns: &[OutputColumn], options: CopyOptions, format: &FormatOptions) -> CopyEncoder {
        CopyEncoder {
            names: columns.iter().map(|c| c.name.clone()).collect(),
            formatters: columns.iter().map(|c| Formatter::new(&c.ty, format)).collect(),
            options,
            scratch: String::new(),
        }
    }

    /// The line of column names, when it was asked for.
    pub fn header(&self) -> Option<String> {
        if self.options.header == CopyHeader::Absent {
            return None;
        }
        let mut line = String::new();
        for (i, name) in self.names.iter().enumerate() {
            self.separate(i, &mut line);
            match self.options.format {
                CopyFormat::Text => escape(name, self.options.delimiter, &mut line),
                CopyFormat::Csv => quote(name, &self.options, self.needs_quotes(name), &mut line),
            }
        }
        line.push('\n');
        Some(line)
    }

    /// Appends a row of a batch.
    pub fn row(&mut self, batch: &RecordBatch, row: usize, line: &mut String) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for (i, (formatter, values)) in self.formatters.iter().zip(batch.columns()).enumerate() {
            self.separate(i, line);
            if values.is_null(row) {
                line.push_str(&self.options.null);
                continue;
            }
            scratch.clear();
            formatter.write(values.as_ref(), row, &mut scratch);
            match self.options.format {
                CopyFormat::Text => escape(&scratch, self.options.delimiter, line),
                CopyFormat::Csv => {
                    let is_forced = self.options.force_quote.get(i).copied().unwrap_or(false);
                    quote(&scratch, &self.options, is_forced || self.needs_quotes(&scratch), line);
                }
            }
        }
        line.push('\n');
        self.scratch = scratch;
    }

    fn separate(&self, column: usize, line: &mut String) {
        if column > 0 {
            line.push(char::from(self.options.delimiter));
        }
    }

    fn needs_quotes(&self, text: &str) -> bool {
        let special =
            |b: u8| b == self.options.delimiter || b == self.options.quote || matches!(b, b'\n' | b'\r');
        text == self.options.null || (self.names.len() == 1 && text == "\\.") || text.bytes().any(special)
    }
}

/// Backslash escapes of the text format.
fn escape(text: &str, delimiter: u8, line: &mut String) {
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x0b => "\\v",
            other if other == delimiter => "\\",
            _ => continue,
        };
        line.push_str(&text[copied..at]);
        line.push_str(escaped);
        copied = if escaped == "\\" { at } else { at + 1 };
    }
    line.push_str(&text[copied..]);
}

fn quote(text: &str, options: &CopyOptions, is_quoted: bool, line: &mut String) {
    if !is_quoted {
        line.push_str(text);
        return;
    }
    let (quote, escape) = (char::from(options.quote), char::from(options.escape));
    line.push(quote);
    for c in text.chars() {
        if c == quote || c == escape {
            line.push(escape);
        }
        line.push(c);
    }
    line.push(quote);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use weir_common::SqlType;

    use super::*;

    fn lines(format: CopyFormat, values: &[Option<&str>]) -> String {
        let is_csv = format == CopyFormat::Csv;
        let options = CopyOptions {
            format,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv { String::new() } else { "\\N".into() },
            header: CopyHeader::Present,
            quote: b'"',
            escape: b'"',
            force_quote: vec![false],
            force_not_null: vec![false],
            force_null: vec![false],
        };
        let column = OutputColumn { name: "c".into(), ty: SqlType::Text, origin: None };
        let mut encoder = CopyEncoder::new(&[column], options, &FormatOptions::default());
        let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let batch = RecordBatch::try_from_iter_with_nullable([("c", values, true)]).unwrap();
        let mut text = encoder.header().unwrap();
        (0..batch.num_rows()).for_each(|row| encoder.row(&batch, row, &mut text));
        text
    }

    #[test]
    fn text_is_escaped() {
        let text = lines(CopyFormat::Text, &[Some("a\tb\\c\nd"), None, Some("")]);
        assert_eq!(text, "c\na\\tb\\\\c\\nd\n\\N\n\n");
    }

    #[test]
    fn csv_is_quoted_where_need_be() {
        let text = lines(CopyFormat::Csv, &[Some("a,b"), None, Some(""), Some("q\"q"), Some("\\.")]);
        assert_eq!(text, "c\n\"a,b\"\n\n\"\"\n\"q\"\"q\"\n\"\\.\"\n");
    }
}
