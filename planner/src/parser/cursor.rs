//! SUBSCRIBE, and cursors over it and over queries: DECLARE, FETCH, MOVE, CLOSE.

use sqlparser::tokenizer::Token;
use weir_common::{Error, Result, SqlState};

use super::StatementParser;
use super::create::fold;
use crate::ast::{Options, Statement, Subscribe};
use crate::bound::{FetchCount, FetchKind, Holdability};

/// What FETCH and MOVE answer to directions that go back.
const FORWARD_ONLY: &str = "Cursors go forward: use FETCH NEXT, FETCH n or FETCH ALL.";

impl StatementParser<'_> {
    /// `SUBSCRIBE [TO] name [WITH (option [= value], …)]`.
    pub(super) fn parse_subscribe(&mut self) -> Result<Statement> {
        self.expect_words(&["SUBSCRIBE"])?;
        self.word("TO");
        if matches!(self.parser.peek_token().token, Token::LParen) || self.peek_word(0, "SELECT") {
            self.skip_rest();
            let hint = "Create a materialized view of the query and subscribe to that.";
            return Ok(Statement::Unsupported { what: "SUBSCRIBE to a query".into(), hint });
        }
        let name = self.name()?;
        Ok(Statement::Subscribe(Subscribe { name, options: self.parse_flags()? }))
    }

    /// `WITH (snapshot, progress = false, …)`: an option without a value is true.
    fn parse_flags(&mut self) -> Result<Options> {
        let mut options = Options::new();
        if !self.word("WITH") {
            return Ok(options);
        }
        self.expect_token(&Token::LParen)?;
        loop {
            let key = fold(&self.ident()?);
            let value = if self.token(&Token::Eq) { self.parse_option_value()? } else { "true".into() };
            if options.insert(key.clone(), value).is_some() {
                let message = format!("option \"{key}\" is given more than once");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            if !self.token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                return Ok(options);
            }
        }
    }

    /// `DECLARE name [options] CURSOR [WITH HOLD] FOR {query | SUBSCRIBE …}`.
    pub(super) fn parse_declare(&mut self) -> Result<Statement> {
        self.expect_words(&["DECLARE"])?;
        let name = fold(&self.ident()?);
        let mut refused = None;
        loop {
            if self.word("BINARY") {
                refused = Some("a BINARY cursor");
            } else if self.word("SCROLL") {
                refused = Some("a SCROLL cursor");
            } else if !(self.words(&["NO", "SCROLL"]) || self.word("INSENSITIVE") || self.word("ASENSITIVE"))
            {
                break;
            }
        }
        self.expect_words(&["CURSOR"])?;
        let hold = match self.words(&["WITH", "HOLD"]) {
            true => Holdability::WithHold,
            false => {
                self.words(&["WITHOUT", "HOLD"]);
                Holdability::Transaction
            }
        };
        self.expect_words(&["FOR"])?;
        let statement = Box::new(self.parse_nested()?);
        match (refused, &statement.statement) {
            (Some(what), _) => Ok(Statement::Unsupported { what: what.into(), hint: FORWARD_ONLY }),
            (None, Statement::Query(_) | Statement::Subscribe(_)) => {
                Ok(Statement::DeclareCursor { name, hold, statement })
            }
            _ => Err(Error::new(SqlState::SYNTAX_ERROR, "a cursor is for a query or SUBSCRIBE")),
        }
    }

    /// `FETCH [direction] [FROM | IN] name [WITH (timeout = '1s')]`, and MOVE likewise.
    pub(super) fn parse_fetch(&mut self, kind: FetchKind) -> Result<Statement> {
        self.parser.next_token();
        for back in ["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"] {
            if self.word(back) {
                self.skip_rest();
                let what = format!("{} {back}", kind.word());
                return Ok(Statement::Unsupported { what, hint: FORWARD_ONLY });
            }
        }
        let _ = self.word("NEXT") || self.word("FORWARD");
        let count = self.parse_fetch_count()?.unwrap_or(FetchCount::Rows(1));
        let _ = self.word("FROM") || self.word("IN");
        let name = fold(&self.ident()?);
        Ok(Statement::Fetch { name, kind, count, options: self.parse_options()? })
    }

    fn parse_fetch_count(&mut self) -> Result<Option<FetchCount>> {
        if self.word("ALL") {
            return Ok(Some(FetchCount::All));
        }
        let Token::Number(digits, _) = self.parser.peek_token().token else { return Ok(None) };
        let rows = digits.parse().map_err(|_| self.unexpected())?;
        self.parser.next_token();
        Ok(Some(FetchCount::Rows(rows)))
    }

    /// `CLOSE {name | ALL}`.
    pub(super) fn parse_close(&mut self) -> Result<Statement> {
        self.expect_words(&["CLOSE"])?;
        let name = if self.word("ALL") { None } else { Some(fold(&self.ident()?)) };
        Ok(Statement::CloseCursor { name })
    }
}
