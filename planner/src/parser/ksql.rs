//! ksqlDB's `WINDOW TUMBLING (…)` clause is no syntax of ours; its error shows the query in our words.
//!
//! ```text
//!   FROM clicks WINDOW TUMBLING (SIZE 20 SECONDS) GROUP BY page
//!   FROM TUMBLE(clicks, rowtime, INTERVAL '20 seconds') GROUP BY page, window_start, window_end
//! ```

use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_common::{Error, SqlState};

use super::is_visible;
use crate::position::SourceText;

/// The error of a statement, with the statement rewritten as its hint if such a clause is in it.
pub(super) fn explain(error: Error, tokens: &[TokenWithSpan], source: &SourceText) -> Error {
    if error.state() != SqlState::SYNTAX_ERROR {
        return error;
    }
    let visible: Vec<&TokenWithSpan> = tokens.iter().filter(|t| is_visible(t)).collect();
    match (Rewriter { tokens: visible, source }).statement() {
        Some(sql) => error.with_hint(format!("Write: {sql}, where rowtime is the column with the time.")),
        None => error,
    }
}

struct Rewriter<'a> {
    tokens: Vec<&'a TokenWithSpan>,
    source: &'a SourceText,
}

impl Rewriter<'_> {
    fn statement(&self) -> Option<String> {
        let window =
            (0..self.tokens.len()).find(|at| self.is(*at, "WINDOW") && self.kind(at + 1).is_some())?;
        let open = window + 2;
        let close = self.closing(open)?;
        let from = (0..window).rev().find(|at| self.is(*at, "FROM"))?;
        let name_end = (from + 2..window).find(|at| !self.continues_name(*at)).unwrap_or(window);
        let table = self.text(from + 1, name_end);
        let (keys, keys_end) = self.group_keys(close + 1);
        let function = self.function(self.kind(window + 1)?, &table, &keys, open + 1, close)?;
        let alias = self.text(name_end, window);
        let mut parts = vec![self.text(0, from + 1), function, alias];
        match keys.is_empty() {
            true => parts.push(self.text(close + 1, self.end())),
            false => {
                let before = (close + 1..keys_end).find(|at| self.is(*at, "GROUP"))?;
                parts.push(self.text(close + 1, before));
                parts.push(format!("GROUP BY {keys}, window_start, window_end"));
                parts.push(self.text(keys_end, self.end()));
            }
        }
        parts.retain(|part| !part.is_empty());
        Some(parts.join(" "))
    }

    fn kind(&self, at: usize) -> Option<&'static str> {
        let kinds = ["TUMBLING", "HOPPING", "SESSION"];
        let kind = kinds.into_iter().find(|kind| self.is(at, kind))?;
        matches!(self.tokens.get(at + 1)?.token, Token::LParen).then_some(kind)
    }

    /// The call for a clause whose words are from `start` to `end`.
    fn function(&self, kind: &str, table: &str, keys: &str, start: usize, end: usize) -> Option<String> {
        let after = |word: &str| (start..end).find(|at| self.is(*at, word)).map(|at| at + 1);
        match kind {
            "TUMBLING" => {
                let size = self.span(after("SIZE")?)?;
                Some(format!("TUMBLE({table}, rowtime, {size})"))
            }
            "HOPPING" => {
                let (size, slide) = (self.span(after("SIZE")?)?, self.span(after("BY")?)?);
                Some(format!("HOP({table}, rowtime, {slide}, {size})"))
            }
            _ => {
                let gap = self.span(start)?;
                let partition =
                    if keys.is_empty() { String::new() } else { format!(" PARTITION BY ({keys})") };
                Some(format!("SESSION({table}{partition}, rowtime, {gap})"))
            }
        }
    }

    /// `20 SECONDS` as an interval.
    fn span(&self, at: usize) -> Option<String> {
        let (Token::Number(count, _), Token::Word(unit)) =
            (&self.tokens.get(at)?.token, &self.tokens.get(at + 1)?.token)
        else {
            return None;
        };
        Some(format!("INTERVAL '{count} {}'", unit.value.to_lowercase()))
    }

    /// The expressions of a GROUP BY, and where they end.
    fn group_keys(&self, from: usize) -> (String, usize) {
        let group = (from..self.tokens.len()).find(|at| self.is(*at, "GROUP") && self.is(at + 1, "BY"));
        let Some(group) = group else { return (String::new(), self.end()) };
        let ends = ["HAVING", "ORDER", "LIMIT", "EMIT"];
        let end = (group + 2..self.end()).find(|at| ends.iter().any(|word| self.is(*at, word)));
        let end = end.unwrap_or(self.end());
        (self.text(group + 2, end), end)
    }

    /// Where the statement ends, without `EMIT CHANGES`.
    fn end(&self) -> usize {
        let end = self.tokens.len();
        let emits = end >= 2 && self.is(end - 2, "EMIT") && self.is(end - 1, "CHANGES");
        if emits { end - 2 } else { end }
    }

    fn closing(&self, open: usize) -> Option<usize> {
        (open..self.tokens.len()).find(|at| self.tokens[*at].token == Token::RParen)
    }

    fn continues_name(&self, at: usize) -> bool {
        let dot = |at: usize| self.tokens[at].token == Token::Period;
        dot(at) || dot(at - 1)
    }

    fn is(&self, at: usize, word: &str) -> bool {
        let is = |token: &Token| matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        self.tokens.get(at).is_some_and(|token| is(&token.token))
    }

    /// The text of the tokens from `start` to before `end`.
    fn text(&self, start: usize, end: usize) -> String {
        if start >= end {
            return String::new();
        }
        let first = self.source.byte(self.tokens[start].span.start);
        let last = self.source.byte(self.tokens[end - 1].span.end);
        let text = first.zip(last).and_then(|(first, last)| self.source.text().get(first..last));
        text.unwrap_or_default().to_owned()
    }
}
