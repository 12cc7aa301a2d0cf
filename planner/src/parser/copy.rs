//! COPY: the parenthesised options, and the forms before PostgreSQL 9.0 normalised to them.

use sqlparser::ast::Ident;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::Result;

use super::StatementParser;
use super::create::fold;
use crate::ast::{Copy, CopyDirection, CopyEnd, CopySource, CopyValue, Statement};

type CopyOption = (String, CopyValue);

impl StatementParser<'_> {
    pub(super) fn parse_copy(&mut self) -> Result<Statement> {
        self.expect_words(&["COPY"])?;
        let mut options = Vec::new();
        if self.word("BINARY") {
            options.push(("format".to_owned(), CopyValue::Text("binary".to_owned())));
        }
        let source = self.parse_copy_source()?;
        let direction = if self.word("FROM") {
            CopyDirection::From
        } else {
            self.expect_words(&["TO"])?;
            CopyDirection::To
        };
        let end = self.parse_copy_end()?;
        if self.words(&["USING", "DELIMITERS"]) || self.word("DELIMITERS") {
            options.push(("delimiter".to_owned(), CopyValue::Text(self.string()?)));
        }
        self.word("WITH");
        match self.token(&Token::LParen) {
            true => self.parse_copy_options(&mut options)?,
            false => self.parse_old_copy_options(&mut options)?,
        }
        let filtered = direction == CopyDirection::From && self.word("WHERE");
        if filtered {
            self.sql(Parser::parse_expr)?;
        }
        Ok(Statement::Copy(Box::new(Copy { source, direction, end, options, filtered })))
    }

    fn parse_copy_source(&mut self) -> Result<CopySource> {
        if self.token(&Token::LParen) {
            let statement = Box::new(self.parse_nested()?);
            self.expect_token(&Token::RParen)?;
            return Ok(CopySource::Statement(statement));
        }
        let name = self.name()?;
        let columns = match self.peek_token_is(&Token::LParen) {
            true => self.parse_copy_columns()?,
            false => Vec::new(),
        };
        Ok(CopySource::Table { name, columns })
    }

    fn parse_copy_columns(&mut self) -> Result<Vec<Ident>> {
        self.expect_token(&Token::LParen)?;
        let columns = self.parse_bare_columns()?;
        self.expect_token(&Token::RParen)?;
        Ok(columns)
    }

    fn parse_bare_columns(&mut self) -> Result<Vec<Ident>> {
        let mut columns = vec![self.ident()?];
        while self.token(&Token::Comma) {
            columns.push(self.ident()?);
        }
        Ok(columns)
    }

    fn parse_copy_end(&mut self) -> Result<CopyEnd> {
        if self.word("STDIN") || self.word("STDOUT") {
            return Ok(CopyEnd::Client);
        }
        let end = if self.word("PROGRAM") { CopyEnd::Program } else { CopyEnd::File };
        self.string()?;
        Ok(end)
    }

    /// `(FORMAT csv, HEADER, FORCE_QUOTE (a, b), …)`, after the parenthesis.
    fn parse_copy_options(&mut self, options: &mut Vec<CopyOption>) -> Result<()> {
        loop {
            let name = fold(&self.ident()?);
            let value = match self.parser.peek_token().token {
                Token::Comma | Token::RParen => CopyValue::Absent,
                Token::Mul => {
                    self.parser.next_token();
                    CopyValue::AllColumns
                }
                Token::LParen => CopyValue::Columns(self.parse_copy_columns()?),
                Token::Number(digits, _) => {
                    self.parser.next_token();
                    CopyValue::Text(digits)
                }
                Token::Word(_) => CopyValue::Text(fold(&self.ident()?)),
                _ => CopyValue::Text(self.string()?),
            };
            options.push((name, value));
            if !self.token(&Token::Comma) {
                return self.expect_token(&Token::RParen);
            }
        }
    }

    /// `CSV HEADER DELIMITER AS ';' FORCE QUOTE a, b …`, up to the end.
    fn parse_old_copy_options(&mut self, options: &mut Vec<CopyOption>) -> Result<()> {
        let text = |text: &str| CopyValue::Text(text.to_owned());
        loop {
            let option = if self.word("BINARY") {
                ("format", text("binary"))
            } else if self.word("CSV") {
                ("format", text("csv"))
            } else if self.word("HEADER") {
                ("header", CopyValue::Absent)
            } else if self.word("FREEZE") {
                ("freeze", CopyValue::Absent)
            } else if self.words(&["FORCE", "NOT", "NULL"]) {
                ("force_not_null", CopyValue::Columns(self.parse_bare_columns()?))
            } else if self.words(&["FORCE", "NULL"]) {
                ("force_null", CopyValue::Columns(self.parse_bare_columns()?))
            } else if self.words(&["FORCE", "QUOTE"]) {
                let all = self.token(&Token::Mul);
                let columns = match all {
                    true => CopyValue::AllColumns,
                    false => CopyValue::Columns(self.parse_bare_columns()?),
                };
                ("force_quote", columns)
            } else {
                let valued = ["delimiter", "null", "quote", "escape", "encoding"];
                let Some(name) = valued.into_iter().find(|name| self.word(name)) else { return Ok(()) };
                self.word("AS");
                (name, CopyValue::Text(self.string()?))
            };
            options.push((option.0.to_owned(), option.1));
        }
    }

    fn peek_token_is(&self, token: &Token) -> bool {
        self.parser.peek_token_ref().token == *token
    }
}
