//! CREATE INDEX.

use sqlparser::ast::Ident;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::Result;

use super::StatementParser;
use super::create::fold;
use crate::ast::{CreateIndex, IndexItem, Statement};

/// What an index may be made with. Entries are always in order, whatever was asked for.
const METHODS: [&str; 2] = ["btree", "hash"];

impl StatementParser<'_> {
    /// `[CONCURRENTLY] [[IF NOT EXISTS] name] ON relation [USING method] (columns) [INCLUDE (columns)]`.
    pub(super) fn parse_create_index(&mut self, unique: bool) -> Result<Statement> {
        let concurrently = self.word("CONCURRENTLY");
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = if self.peek_word(0, "ON") { None } else { Some(self.ident()?) };
        self.expect_words(&["ON"])?;
        self.word("ONLY");
        let relation = self.name()?;
        if self.word("USING") {
            let method = fold(&self.ident()?);
            if !METHODS.contains(&method.as_str()) {
                let hint = "Leave USING out: an index is a sorted one.";
                return Ok(self.unsupported(&format!("access method {method}"), hint));
            }
        }
        let columns = match self.parse_index_items()? {
            Ok(columns) => columns,
            Err(class) => {
                let hint = "Leave the operator class out.";
                return Ok(self.unsupported(&format!("operator class {class}"), hint));
            }
        };
        let include = if self.word("INCLUDE") { self.parenthesized_names()? } else { Vec::new() };
        if self.words(&["NULLS", "NOT", "DISTINCT"]) {
            let hint = "Declare the columns NOT NULL, or leave NULLs distinct.";
            return Ok(self.unsupported("NULLS NOT DISTINCT", hint));
        }
        self.words(&["NULLS", "DISTINCT"]);
        self.parse_options()?;
        if self.word("WHERE") {
            let hint = "Leave WHERE out, or index a materialized view that filters.";
            return Ok(self.unsupported("a partial index", hint));
        }
        Ok(Statement::CreateIndex(CreateIndex {
            name,
            if_not_exists,
            concurrently,
            unique,
            relation,
            columns,
            include,
        }))
    }

    /// The key columns, or the operator class that one of them asks for.
    fn parse_index_items(&mut self) -> Result<Result<Vec<IndexItem>, String>> {
        self.expect_token(&Token::LParen)?;
        let mut columns = vec![self.parse_index_item()?];
        while self.token(&Token::Comma) {
            columns.push(self.parse_index_item()?);
        }
        if let Token::Word(word) = &self.parser.peek_token().token {
            return Ok(Err(word.value.clone()));
        }
        self.expect_token(&Token::RParen)?;
        Ok(Ok(columns))
    }

    fn parse_index_item(&mut self) -> Result<IndexItem> {
        let expr = self.sql(Parser::parse_expr)?;
        let descending = self.word("DESC");
        if !descending {
            self.word("ASC");
        }
        let nulls_first = if self.words(&["NULLS", "FIRST"]) {
            true
        } else if self.words(&["NULLS", "LAST"]) {
            false
        } else {
            descending
        };
        Ok(IndexItem { expr, descending, nulls_first })
    }

    fn parenthesized_names(&mut self) -> Result<Vec<Ident>> {
        self.expect_token(&Token::LParen)?;
        let names = self.sql(|p| p.parse_comma_separated(Parser::parse_identifier))?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }
}
