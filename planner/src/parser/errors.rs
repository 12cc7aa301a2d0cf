//! sqlparser's errors in PostgreSQL's words: `syntax error at or near "x"`, with its position.

use std::sync::Arc;

use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, TokenizerError};
use weir_common::{Error, SqlState};

use super::limits;
use crate::position::SourceText;

/// The error for a token that cannot stand where it does.
pub(crate) fn syntax_error(token: &TokenWithSpan, source: &SourceText) -> Error {
    if token.token == Token::EOF {
        return at_end(source);
    }
    let text = token_text(token, source);
    Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{text}\""))
        .at(source.span_position(token.span))
}

/// An error of the tokenizer: an unterminated literal, most often.
pub(super) fn from_tokenizer(error: &TokenizerError, source: &Arc<SourceText>) -> Error {
    let message = error.message.to_ascii_lowercase();
    let what = if message.contains("comment") || message.contains("multi-line") {
        "unterminated /* comment"
    } else if message.contains("delimited")
        || message.contains("close quote")
        || message.contains("identifier")
    {
        "unterminated quoted identifier"
    } else if message.contains("dollar") {
        "unterminated dollar-quoted string"
    } else if message.contains("string") || message.contains("unterminated") {
        "unterminated quoted string"
    } else {
        "syntax error"
    };
    let rest = source.byte(error.location).and_then(|byte| source.text().get(byte..)).unwrap_or_default();
    Error::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{}\"", rest.trim_end()))
        .at(source.position(error.location))
}

/// An error of the parser: the token it complains about is in its message, or is the next one.
/// `end` is the semicolon after the statement, if there is one.
pub(super) fn from_parser(
    error: ParserError,
    parser: Option<&Parser<'_>>,
    end: Option<&TokenWithSpan>,
    source: &Arc<SourceText>,
) -> Error {
    let message = match error {
        ParserError::RecursionLimitExceeded => return limits::too_deep(),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
    };
    let Some(parser) = parser else {
        return Error::new(SqlState::SYNTAX_ERROR, message);
    };
    let at = location_in(&message).and_then(|location| token_at(parser, location));
    let token = at.unwrap_or_else(|| parser.peek_token());
    let ended = message.contains("found: EOF") || token.token == Token::EOF;
    match end {
        Some(semicolon) if ended => syntax_error(semicolon, source),
        None if ended => at_end(source),
        _ => syntax_error(&token, source),
    }
}

fn at_end(source: &SourceText) -> Error {
    let position = source.text().trim_end().chars().count() + 1;
    Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(Some(position))
}

/// sqlparser ends its messages with ` at Line: 1, Column: 8`.
fn location_in(message: &str) -> Option<Location> {
    let (_, tail) = message.rsplit_once("Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some(Location { line: digits(line)?, column: digits(column)? })
}

fn token_at(parser: &Parser<'_>, location: Location) -> Option<TokenWithSpan> {
    let mut index = 0;
    loop {
        let token = parser.token_at(index);
        if token.span.start == location {
            return Some(token.clone());
        }
        if token.token == Token::EOF {
            return None;
        }
        index += 1;
    }
}

fn token_text(token: &TokenWithSpan, source: &SourceText) -> String {
    let bytes = source.byte(token.span.start).zip(source.byte(token.span.end));
    let exact = bytes.and_then(|(start, end)| source.text().get(start..end)).filter(|text| !text.is_empty());
    exact.map_or_else(|| token.token.to_string(), str::to_owned)
}
