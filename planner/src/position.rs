//! Positions in the text a client sent: from sqlparser's (line, column) to the character offset that PostgreSQL's
//! error field `P` carries, and to bytes for cutting text out.
//!
//! Place in the flow: the parser makes one [`SourceText`] for a whole query string; every statement in it keeps a
//! reference, so that positions count from the beginning of the string. Invariant: positions are in characters,
//! counted from 1.

use std::sync::Arc;

use sqlparser::tokenizer::{Location, Span};

/// A query string with the starts of its lines.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    text: String,
    /// Of each line: offset of its first character, in characters and in bytes.
    lines: Vec<(usize, usize)>,
}

impl SourceText {
    /// Indexes the lines of `text`.
    pub fn new(text: &str) -> Arc<SourceText> {
        let mut lines = vec![(0, 0)];
        let mut chars = 0;
        for (byte, c) in text.char_indices() {
            chars += 1;
            if c == '\n' {
                lines.push((chars, byte + 1));
            }
        }
        Arc::new(SourceText { text: text.to_owned(), lines })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The position of a location; `None` for sqlparser's "unknown".
    pub fn position(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?;
        Some(self.lines.get(line)?.0 + column)
    }

    /// The position of the first character of a span.
    pub fn span_position(&self, span: Span) -> Option<usize> {
        self.position(span.start)
    }

    /// Byte offset of a location.
    pub fn byte(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let start = self.lines.get(line)?.1;
        let rest = self.text.get(start..)?;
        Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte))
    }

    /// The position of the operator that follows `left`: the first character after it that is neither blank nor
    /// a parenthesis.
    pub fn operator_position(&self, left: Span) -> Option<usize> {
        let from = self.byte(left.end)?;
        let rest = self.text.get(from..)?;
        let skipped = rest.chars().take_while(|c| c.is_whitespace() || *c == ')' || *c == '(').count();
        Some(self.position(left.end)? + skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_over_lines() {
        let source = SourceText::new("sélect\n  x + y");
        assert_eq!(source.position(Location { line: 1, column: 1 }), Some(1));
        assert_eq!(source.position(Location { line: 2, column: 3 }), Some(10));
        assert_eq!(source.byte(Location { line: 2, column: 3 }), Some(10));
        assert_eq!(source.position(Location { line: 0, column: 0 }), None);
        let x = Span::new(Location { line: 2, column: 3 }, Location { line: 2, column: 4 });
        assert_eq!(source.operator_position(x), Some(12));
    }
}
