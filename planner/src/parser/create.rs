//! CREATE and DROP: tables and sources, and the `WITH (…)` options of all kinds.

use sqlparser::ast::{ColumnDef, Expr, Ident, TableConstraint};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::{Error, Result, SqlState};

use super::StatementParser;
use crate::ast::{
    CreateSequence, CreateSource, CreateTable, CreateTableAs, Options, SequenceOptions, Statement, Watermark,
};
use crate::bound::DropKind;

/// The parenthesised part of CREATE TABLE and CREATE SOURCE.
#[derive(Default)]
struct Elements {
    columns: Vec<ColumnDef>,
    constraints: Vec<TableConstraint>,
    watermark: Option<Watermark>,
}

impl StatementParser<'_> {
    pub(super) fn parse_create(&mut self) -> Result<Statement> {
        self.expect_words(&["CREATE"])?;
        let or_replace = self.words(&["OR", "REPLACE"]);
        if self.word("VIEW") {
            return self.parse_create_view(or_replace, false);
        }
        if or_replace {
            return Ok(self.unsupported("CREATE OR REPLACE of anything but a view", "Drop the object first."));
        }
        if self.words(&["MATERIALIZED", "VIEW"]) {
            return self.parse_create_view(false, true);
        }
        if self.word("TABLE") {
            return self.parse_create_table();
        }
        if self.word("SOURCE") {
            return self.parse_create_source();
        }
        if self.word("SINK") {
            return self.parse_create_sink();
        }
        if self.word("SEQUENCE") {
            return self.parse_create_sequence();
        }
        if self.word("INDEX") {
            return self.parse_create_index(false);
        }
        if self.words(&["UNIQUE", "INDEX"]) {
            return self.parse_create_index(true);
        }
        self.refuse_create()
    }

    fn refuse_create(&mut self) -> Result<Statement> {
        let refused: [(&str, &str, &'static str); 12] = [
            ("TEMP", "CREATE TEMPORARY TABLE", "Create an ordinary table and drop it."),
            ("TEMPORARY", "CREATE TEMPORARY TABLE", "Create an ordinary table and drop it."),
            ("UNLOGGED", "CREATE UNLOGGED TABLE", "Create an ordinary table."),
            ("SCHEMA", "CREATE SCHEMA", "Create objects in schema public."),
            ("DATABASE", "CREATE DATABASE", "There is one database, weir."),
            ("TYPE", "CREATE TYPE", "Use a built-in type."),
            ("DOMAIN", "CREATE DOMAIN", "Use the base type."),
            ("FUNCTION", "CREATE FUNCTION", "Write the expression in the query."),
            ("PROCEDURE", "CREATE PROCEDURE", "Send the statements one by one."),
            ("TRIGGER", "CREATE TRIGGER", "Write a materialized view or a sink."),
            ("EXTENSION", "CREATE EXTENSION", "There are no extensions."),
            ("ROLE", "CREATE ROLE", "There is one role, weir."),
        ];
        for (word, what, hint) in refused {
            if self.word(word) {
                return Ok(self.unsupported(what, hint));
            }
        }
        Err(self.unexpected())
    }

    fn parse_create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        if let Some(columns) = self.names_before_as()? {
            return self.parse_create_table_as(name, if_not_exists, columns);
        }
        if !matches!(self.parser.peek_token().token, Token::LParen) {
            return Err(self.unexpected());
        }
        let Elements { columns, constraints, watermark } = self.parse_elements()?;
        if self.peek_word(0, "PARTITION") || self.peek_word(0, "INHERITS") {
            return Ok(self.unsupported("partitioning or inheritance of tables", "Create one plain table."));
        }
        let options = self.parse_options()?;
        Ok(Statement::CreateTable(CreateTable {
            name,
            if_not_exists,
            columns,
            constraints,
            watermark,
            options,
        }))
    }

    /// `[(a, b)] AS`: what begins the query of CREATE TABLE AS; takes nothing else.
    fn names_before_as(&mut self) -> Result<Option<Vec<Ident>>> {
        if self.word("AS") {
            return Ok(Some(Vec::new()));
        }
        let closing = (0..).take_while(|n| self.parser.peek_nth_token_ref(*n).token != Token::EOF);
        let closing = closing.skip(1).find(|n| self.parser.peek_nth_token_ref(*n).token == Token::RParen);
        let opens = self.parser.peek_token().token == Token::LParen;
        if !opens || !closing.is_some_and(|n| self.peek_word(n + 1, "AS")) {
            return Ok(None);
        }
        self.expect_token(&Token::LParen)?;
        let columns = self.sql(|p| p.parse_comma_separated(Parser::parse_identifier))?;
        self.expect_token(&Token::RParen)?;
        self.expect_words(&["AS"])?;
        Ok(Some(columns))
    }

    fn parse_create_table_as(
        &mut self,
        name: sqlparser::ast::ObjectName,
        if_not_exists: bool,
        columns: Vec<Ident>,
    ) -> Result<Statement> {
        let first = self.parser.index();
        let query = self.query()?;
        let query_sql = self.text_from(first);
        let with_data = !self.words(&["WITH", "NO", "DATA"]);
        self.words(&["WITH", "DATA"]);
        Ok(Statement::CreateTableAs(CreateTableAs {
            name,
            if_not_exists,
            columns,
            query,
            query_sql,
            with_data,
        }))
    }

    fn parse_create_source(&mut self) -> Result<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let elements = match self.parser.peek_token().token {
            Token::LParen => self.parse_elements()?,
            _ => Elements::default(),
        };
        let Elements { columns, constraints, watermark } = elements;
        let options = self.parse_options()?;
        let on_error = self.parse_on_error()?;
        Ok(Statement::CreateSource(CreateSource {
            name,
            if_not_exists,
            columns,
            constraints,
            watermark,
            options,
            on_error,
        }))
    }

    fn parse_create_sequence(&mut self) -> Result<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let ty = if self.word("AS") { Some(self.sql(Parser::parse_data_type)?) } else { None };
        let mut options = SequenceOptions::default();
        while !self.at_end() {
            if self.word("INCREMENT") {
                self.word("BY");
                options.increment = Some(self.integer()?);
            } else if self.word("MINVALUE") {
                options.min = Some(self.integer()?);
            } else if self.word("MAXVALUE") {
                options.max = Some(self.integer()?);
            } else if self.word("START") {
                self.word("WITH");
                options.start = Some(self.integer()?);
            } else if self.word("CACHE") {
                self.integer()?;
            } else if self.word("CYCLE") {
                options.cycle = true;
            } else if self.words(&["NO", "CYCLE"]) {
                options.cycle = false;
            } else if self.words(&["OWNED", "BY", "NONE"])
                || self.words(&["NO", "MINVALUE"])
                || self.words(&["NO", "MAXVALUE"])
            {
            } else if self.words(&["OWNED", "BY"]) {
                let hint = "Declare the column serial, or GENERATED AS IDENTITY.";
                return Ok(self.unsupported("OWNED BY of a sequence", hint));
            } else {
                return Err(self.unexpected());
            }
        }
        Ok(Statement::CreateSequence(CreateSequence { name, if_not_exists, ty, options }))
    }

    /// An integer with a sign.
    fn integer(&mut self) -> Result<i64> {
        let sign = if self.token(&Token::Minus) { "-" } else { "" };
        match self.parser.peek_token().token {
            Token::Number(digits, _) => {
                let number = format!("{sign}{digits}").parse().map_err(|_| self.unexpected())?;
                self.parser.next_token();
                Ok(number)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn parse_elements(&mut self) -> Result<Elements> {
        let mut elements = Elements::default();
        self.expect_token(&Token::LParen)?;
        if self.token(&Token::RParen) {
            return Ok(elements);
        }
        loop {
            if self.peek_word(0, "WATERMARK") && self.peek_word(1, "FOR") {
                elements.watermark = Some(self.parse_watermark()?);
            } else if let Some(constraint) = self.sql(Parser::parse_optional_table_constraint)? {
                elements.constraints.push(constraint);
            } else if self.peek_word(1, "AS") {
                elements.columns.push(self.parse_computed_column()?);
            } else if let Token::Word(_) = self.parser.peek_token().token {
                elements.columns.push(self.sql(Parser::parse_column_def)?);
            } else {
                return Err(self.unexpected());
            }
            self.words(&["NOT", "ENFORCED"]);
            if !self.token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                return Ok(elements);
            }
        }
    }

    fn parse_watermark(&mut self) -> Result<Watermark> {
        self.expect_words(&["WATERMARK", "FOR"])?;
        let column = self.ident()?;
        let expression = match self.word("AS") {
            true => self.sql(Parser::parse_expr)?,
            false => Expr::Identifier(column.clone()),
        };
        let options = self.parse_options()?;
        Ok(Watermark { column, expression, options })
    }

    /// `[WITH (key = value, …)]`.
    pub(super) fn parse_options(&mut self) -> Result<Options> {
        let mut options = Options::new();
        if !self.word("WITH") {
            return Ok(options);
        }
        self.expect_token(&Token::LParen)?;
        while !self.token(&Token::RParen) {
            let key = self.parse_option_key()?;
            self.expect_token(&Token::Eq)?;
            let value = self.parse_option_value()?;
            if options.insert(key.clone(), value).is_some() {
                let message = format!("option \"{key}\" is given more than once");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            if !self.token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                break;
            }
        }
        Ok(options)
    }

    fn parse_option_key(&mut self) -> Result<String> {
        if let Token::SingleQuotedString(_) = self.parser.peek_token().token {
            return self.string();
        }
        let mut key = fold(&self.ident()?);
        while self.token(&Token::Period) {
            key.push('.');
            key.push_str(&fold(&self.ident()?));
        }
        Ok(key)
    }

    pub(super) fn parse_option_value(&mut self) -> Result<String> {
        let sign = if self.token(&Token::Minus) { "-" } else { "" };
        match self.parser.peek_token().token {
            Token::Number(digits, _) => {
                self.parser.next_token();
                Ok(format!("{sign}{digits}"))
            }
            Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) if sign.is_empty() => self.string(),
            Token::Word(_) if sign.is_empty() => Ok(fold(&self.ident()?)),
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn parse_drop(&mut self) -> Result<Statement> {
        self.expect_words(&["DROP"])?;
        let kind = if self.words(&["MATERIALIZED", "VIEW"]) {
            DropKind::MaterializedView
        } else if self.word("TABLE") {
            DropKind::Table
        } else if self.word("VIEW") {
            DropKind::View
        } else if self.word("SOURCE") {
            DropKind::Source
        } else if self.word("SINK") {
            DropKind::Sink
        } else if self.word("SEQUENCE") {
            DropKind::Sequence
        } else if self.word("INDEX") {
            self.word("CONCURRENTLY");
            DropKind::Index
        } else {
            return self.refuse_drop();
        };
        let if_exists = self.words(&["IF", "EXISTS"]);
        let mut names = vec![self.name()?];
        while self.token(&Token::Comma) {
            names.push(self.name()?);
        }
        let cascade = self.word("CASCADE");
        if !cascade {
            self.word("RESTRICT");
        }
        Ok(Statement::Drop { kind, names, if_exists, cascade })
    }

    fn refuse_drop(&mut self) -> Result<Statement> {
        for kind in ["SCHEMA", "DATABASE", "TYPE", "FUNCTION", "ROLE", "EXTENSION", "TRIGGER"] {
            if self.word(kind) {
                return Ok(self.unsupported(&format!("DROP {kind}"), "There are no such objects to drop."));
            }
        }
        Err(self.unexpected())
    }

    /// A statement that is refused as a whole when it is bound.
    pub(super) fn unsupported(&mut self, what: &str, hint: &'static str) -> Statement {
        self.skip_rest();
        Statement::Unsupported { what: what.to_owned(), hint }
    }
}

/// An identifier as PostgreSQL folds it: lower case unless quoted.
pub(crate) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
