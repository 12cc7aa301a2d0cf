//! CREATE VIEW, MATERIALIZED VIEW and SINK: statements around a query.

use sqlparser::ast::{ObjectName, Query};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::{Error, Result, SqlState};

use super::{DIALECT, StatementParser, limits};
use crate::ast::{CreateSink, CreateView, Emission, OnError, SinkInput, Statement};

/// What a view may say of the state that it forgets.
const TTL_OPTIONS: &str = "state_ttl, state_ttl.relation, state_ttl_time";

impl StatementParser<'_> {
    pub(super) fn parse_create_view(&mut self, or_replace: bool, materialized: bool) -> Result<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let columns = if self.token(&Token::LParen) {
            let columns = self.sql(|p| p.parse_comma_separated(Parser::parse_identifier))?;
            self.expect_token(&Token::RParen)?;
            columns
        } else {
            Vec::new()
        };
        let mut emission = Emission::default();
        if materialized && self.peek_word(0, "WITH") {
            self.parse_view_options(&mut emission)?;
        }
        self.expect_words(&["AS"])?;
        let first = self.parser.index();
        let query = self.query()?;
        let query_sql = self.text_from(first);
        if self.words(&["WITH", "NO", "DATA"]) {
            return Ok(self.unsupported("WITH NO DATA", "A materialized view is always populated."));
        }
        self.words(&["WITH", "DATA"]);
        let mut on_error = OnError::Fail;
        if materialized {
            self.parse_emission(&mut emission)?;
            on_error = self.parse_on_error()?;
        }
        Ok(Statement::CreateView(CreateView {
            name,
            materialized,
            or_replace,
            if_not_exists,
            columns,
            query,
            query_sql,
            on_error,
            emission,
        }))
    }

    /// `WITH (allowed_lateness = '1 minute', state_ttl = '1 day')`.
    fn parse_view_options(&mut self, emission: &mut Emission) -> Result<()> {
        for (name, value) in self.parse_options()? {
            match name.as_str() {
                "allowed_lateness" => emission.lateness = Some(value),
                name if name.starts_with("state_ttl") => {
                    emission.ttl.insert(name.to_owned(), value);
                }
                unknown => {
                    let message = format!("unknown option \"{unknown}\" of a materialized view");
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                        .with_hint(format!("The options there are: allowed_lateness, {TTL_OPTIONS}.")));
                }
            }
        }
        Ok(())
    }

    /// `[EMIT {ON WINDOW CLOSE | FINAL | CHANGES}] [LATE INTO table]`.
    fn parse_emission(&mut self, emission: &mut Emission) -> Result<()> {
        if self.word("EMIT") {
            emission.on_close = self.words(&["ON", "WINDOW", "CLOSE"]) || self.word("FINAL");
            if !emission.on_close && !self.word("CHANGES") {
                return Err(self.unexpected());
            }
        }
        if self.words(&["LATE", "INTO"]) {
            emission.late_into = Some(self.name()?);
        }
        Ok(())
    }

    /// `[ON ERROR {FAIL | SKIP | INTO table}]`.
    pub(super) fn parse_on_error(&mut self) -> Result<OnError> {
        if !self.words(&["ON", "ERROR"]) || self.word("FAIL") {
            return Ok(OnError::Fail);
        }
        if self.word("SKIP") {
            return Ok(OnError::Skip);
        }
        self.expect_words(&["INTO"])?;
        Ok(OnError::Into(self.name()?))
    }

    pub(super) fn parse_create_sink(&mut self) -> Result<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let into = if self.word("INTO") { Some(self.parse_sink_table()?) } else { None };
        let input = if self.word("FROM") {
            SinkInput::Relation(self.name()?)
        } else {
            self.expect_words(&["AS"])?;
            SinkInput::Query(self.query_before_options()?)
        };
        if into.is_some() && self.peek_word(0, "WITH") {
            return Ok(self.unsupported("WITH options of a sink into a table", "The table has all it needs."));
        }
        let options = self.parse_options()?;
        Ok(Statement::CreateSink(CreateSink { name, if_not_exists, into, input, options }))
    }

    /// `table [(column, …)]`.
    fn parse_sink_table(&mut self) -> Result<(ObjectName, Vec<ObjectName>)> {
        let table = self.name()?;
        let mut columns = Vec::new();
        if self.token(&Token::LParen) {
            columns.push(self.name()?);
            while self.token(&Token::Comma) {
                columns.push(self.name()?);
            }
            self.expect_token(&Token::RParen)?;
        }
        Ok((table, columns))
    }

    /// A query that options follow: sqlparser would take `FROM t WITH (…)` for a table hint.
    fn query_before_options(&mut self) -> Result<Box<Query>> {
        let mut depth = 0;
        let mut tokens = Vec::new();
        loop {
            let token = self.parser.peek_nth_token(tokens.len());
            let begins_options = depth == 0
                && self.peek_word(tokens.len(), "WITH")
                && self.parser.peek_nth_token_ref(tokens.len() + 1).token == Token::LParen;
            match token.token {
                Token::EOF => break,
                _ if begins_options => break,
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            tokens.push(token);
        }
        let taken = tokens.len();
        let mut around = Parser::new(&DIALECT)
            .with_recursion_limit(limits::PARSER_DEPTH)
            .with_tokens_with_locations(tokens);
        std::mem::swap(&mut self.parser, &mut around);
        let query = match self.query() {
            Ok(_) if !self.at_end() => Err(self.unexpected()),
            query => query,
        };
        std::mem::swap(&mut self.parser, &mut around);
        for _ in 0..taken {
            self.parser.next_token();
        }
        query
    }
}
