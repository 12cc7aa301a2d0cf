//! `StatementParser`: one statement's tokens, and the choice of what statement it is.
//!
//! The grammar of our own statements is written over the small vocabulary here ([`StatementParser::word`] and its
//! like); whatever is a query, an expression or a column definition is handed to sqlparser, which shares the
//! token position.

use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, Query, Statement as SqlStatement};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_common::{Error, Result};

use super::{DIALECT, asof_join, errors, limits, row_pattern, syntax_error};
use crate::ast::{CommentTarget, Overriding, ParsedStatement, Statement};
use crate::bound::FetchKind;
use crate::position::SourceText;

/// Parses one statement.
pub(super) struct StatementParser<'a> {
    pub(super) parser: Parser<'static>,
    overriding: Overriding,
    /// The semicolon after the statement.
    end: Option<&'a TokenWithSpan>,
    source: &'a Arc<SourceText>,
}

impl<'a> StatementParser<'a> {
    /// A parser at the beginning of `tokens`, which `end` follows in the text.
    pub(super) fn new(
        tokens: &[TokenWithSpan],
        end: Option<&'a TokenWithSpan>,
        source: &'a Arc<SourceText>,
    ) -> StatementParser<'a> {
        let visible = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF));
        let mut visible: Vec<TokenWithSpan> = visible.cloned().collect();
        asof_join::rewrite(&mut visible);
        let overriding = take_overriding(&mut visible);
        row_pattern::fold_patterns(&mut visible, source);
        let parser = Parser::new(&DIALECT)
            .with_recursion_limit(limits::PARSER_DEPTH)
            .with_tokens_with_locations(visible);
        StatementParser { parser, overriding, end, source }
    }

    /// The statement, which must use up all tokens.
    pub(super) fn parse_whole(mut self) -> Result<ParsedStatement> {
        let parsed = self.parse_nested()?;
        self.expect_end()?;
        Ok(parsed)
    }

    /// A statement inside another one (EXPLAIN, PREPARE), or the whole one.
    pub(super) fn parse_nested(&mut self) -> Result<ParsedStatement> {
        let first = self.parser.index();
        let statement = self.parse_statement()?;
        let sql = self.text_from(first);
        let overriding = self.overriding;
        Ok(ParsedStatement { statement, overriding, sql, source: Arc::clone(self.source) })
    }

    fn parse_statement(&mut self) -> Result<Statement> {
        let first = self.parser.peek_token();
        let Token::Word(word) = &first.token else {
            return match first.token {
                Token::LParen => Ok(Statement::Query(self.query()?)),
                _ => Err(self.unexpected()),
            };
        };
        if word.quote_style.is_some() {
            return Err(self.unexpected());
        }
        match word.value.to_ascii_uppercase().as_str() {
            "SELECT" | "WITH" | "VALUES" => Ok(Statement::Query(self.query()?)),
            "TABLE" => Ok(Statement::Query(self.query()?)),
            "INSERT" | "UPDATE" | "DELETE" => self.parse_dml(),
            "COPY" => self.parse_copy(),
            "TRUNCATE" => self.parse_truncate(),
            "CREATE" => self.parse_create(),
            "ALTER" => self.parse_alter(),
            "DROP" => self.parse_drop(),
            "SHOW" | "DESCRIBE" | "DESC" => self.parse_show(),
            "EXPLAIN" => self.parse_explain(),
            "COMMENT" => self.parse_comment(),
            "REFRESH" => self.parse_refresh(),
            "SUBSCRIBE" => self.parse_subscribe(),
            "DECLARE" => self.parse_declare(),
            "FETCH" => self.parse_fetch(FetchKind::Fetch),
            "MOVE" => self.parse_fetch(FetchKind::Move),
            "CLOSE" => self.parse_close(),
            _ => self.parse_session_statement(),
        }
    }

    fn parse_dml(&mut self) -> Result<Statement> {
        match self.sql(Parser::parse_statement)? {
            SqlStatement::Insert(insert) => Ok(Statement::Insert(Box::new(insert))),
            SqlStatement::Update(update) => Ok(Statement::Update(Box::new(update))),
            SqlStatement::Delete(delete) => Ok(Statement::Delete(Box::new(delete))),
            _ => Err(self.unexpected()),
        }
    }

    fn parse_truncate(&mut self) -> Result<Statement> {
        self.expect_words(&["TRUNCATE"])?;
        self.word("TABLE");
        let mut names = Vec::new();
        loop {
            self.word("ONLY");
            names.push(self.name()?);
            if !self.token(&Token::Comma) {
                break;
            }
        }
        if self.words(&["RESTART", "IDENTITY"]) {
            return Ok(self.unsupported("TRUNCATE … RESTART IDENTITY", "Use setval() on the sequence."));
        }
        self.words(&["CONTINUE", "IDENTITY"]);
        let _ = self.word("CASCADE") || self.word("RESTRICT");
        Ok(Statement::Truncate { names })
    }

    fn parse_comment(&mut self) -> Result<Statement> {
        self.expect_words(&["COMMENT", "ON"])?;
        let target = if self.word("COLUMN") {
            let mut parts = self.name()?.0;
            let column =
                parts.pop().and_then(|part| part.as_ident().cloned()).ok_or_else(|| self.unexpected())?;
            if parts.is_empty() {
                return Err(Error::new(weir_common::SqlState::SYNTAX_ERROR, "column name must be qualified"));
            }
            CommentTarget::Column { relation: ObjectName(parts), column }
        } else {
            let known = self.words(&["MATERIALIZED", "VIEW"])
                || ["TABLE", "VIEW", "SOURCE", "SINK"].iter().any(|kind| self.word(kind));
            if !known {
                let what = "COMMENT ON this kind of object".into();
                self.skip_rest();
                return Ok(Statement::Unsupported {
                    what,
                    hint: "Comment on tables, views, sources, sinks or columns.",
                });
            }
            CommentTarget::Relation(self.name()?)
        };
        self.expect_words(&["IS"])?;
        let comment = if self.word("NULL") { None } else { Some(self.string()?) };
        Ok(Statement::Comment { target, comment })
    }

    fn parse_refresh(&mut self) -> Result<Statement> {
        self.expect_words(&["REFRESH", "MATERIALIZED", "VIEW"])?;
        self.word("CONCURRENTLY");
        let name = self.name()?;
        if self.words(&["WITH", "NO"]) || self.word("WITH") {
            self.expect_words(&["DATA"])?;
        }
        Ok(Statement::Refresh { name })
    }

    /// A query.
    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        self.sql(Parser::parse_query)
    }

    /// A possibly qualified name.
    pub(super) fn name(&mut self) -> Result<ObjectName> {
        self.sql(|p| p.parse_object_name(false))
    }

    /// A single name.
    pub(super) fn ident(&mut self) -> Result<Ident> {
        match self.parser.peek_token().token {
            Token::Word(_) => self.sql(Parser::parse_identifier),
            _ => Err(self.unexpected()),
        }
    }

    /// A string literal.
    pub(super) fn string(&mut self) -> Result<String> {
        match self.parser.peek_token().token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.parser.next_token();
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Whether an unquoted word is next.
    pub(super) fn peek_word(&self, ahead: usize, expected: &str) -> bool {
        matches!(&self.parser.peek_nth_token_ref(ahead).token,
            Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
    }

    /// Takes an unquoted word if it is next.
    pub(super) fn word(&mut self, expected: &str) -> bool {
        self.words(&[expected])
    }

    /// Takes these unquoted words if they are next.
    pub(super) fn words(&mut self, expected: &[&str]) -> bool {
        if !expected.iter().enumerate().all(|(i, word)| self.peek_word(i, word)) {
            return false;
        }
        for _ in expected {
            self.parser.next_token();
        }
        true
    }

    /// Takes these words, or it is a syntax error.
    pub(super) fn expect_words(&mut self, expected: &[&str]) -> Result<()> {
        for word in expected {
            if !self.word(word) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    /// Takes a token if it is next.
    pub(super) fn token(&mut self, expected: &Token) -> bool {
        self.parser.consume_token(expected)
    }

    /// Takes a token, or it is a syntax error.
    pub(super) fn expect_token(&mut self, expected: &Token) -> Result<()> {
        if self.token(expected) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Whether all tokens are used up.
    pub(super) fn at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    /// Passes over the rest of a statement that is refused as a whole.
    pub(super) fn skip_rest(&mut self) {
        while !self.at_end() {
            self.parser.next_token();
        }
    }

    /// Runs a part of sqlparser's grammar.
    pub(super) fn sql<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T> {
        parse(&mut self.parser)
            .map_err(|error| errors::from_parser(error, Some(&self.parser), self.end, self.source))
    }

    /// The syntax error about the next token.
    pub(super) fn unexpected(&self) -> Error {
        let token = self.parser.peek_token();
        match (token.token == Token::EOF, self.end) {
            (true, Some(semicolon)) => syntax_error(semicolon, self.source),
            _ => syntax_error(&token, self.source),
        }
    }

    /// The text from the token at `first` to the last one taken.
    pub(super) fn text_from(&self, first: usize) -> String {
        let last = self.parser.index();
        if last <= first {
            return String::new();
        }
        let start = self.source.byte(self.parser.token_at(first).span.start);
        let end = self.source.byte(self.parser.token_at(last - 1).span.end);
        let text = start.zip(end).and_then(|(start, end)| self.source.text().get(start..end));
        text.unwrap_or_default().to_owned()
    }

    fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }
}

/// Takes out INSERT's `OVERRIDING SYSTEM VALUE`, which sqlparser does not know. Three words in a row with these before
/// them stand nowhere else.
fn take_overriding(tokens: &mut Vec<TokenWithSpan>) -> Overriding {
    let is_word = |token: &TokenWithSpan, wanted: &str| matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(wanted));
    let insert = tokens.iter().position(|token| is_word(token, "INSERT"));
    let Some(insert) = insert else { return Overriding::Nothing };
    for (word, overriding) in [("SYSTEM", Overriding::System), ("USER", Overriding::User)] {
        let is_clause = |three: &[TokenWithSpan]| {
            is_word(&three[0], "OVERRIDING") && is_word(&three[1], word) && is_word(&three[2], "VALUE")
        };
        if let Some(at) = tokens[insert..].windows(3).position(is_clause) {
            tokens.drain(insert + at..insert + at + 3);
            return overriding;
        }
    }
    Overriding::Nothing
}
