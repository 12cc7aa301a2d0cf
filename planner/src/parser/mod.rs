//! SQL text → statements: sqlparser for queries, expressions and DML, our own grammar around it.
//!
//! ```text
//!   text ─ tokenize once ─► tokens ─ split at `;` ─► one StatementParser each ─► ParsedStatement
//! ```
//! Place in the flow: first. Invariants: every error is 42601 with PostgreSQL's wording and a position, or 54001
//! for a text nested too deeply; nothing here recurses deeper than [`limits`] allows.

mod alter;
mod asof_join;
mod computed_column;
mod copy;
mod create;
mod create_view;
mod cursor;
mod dialect;
mod errors;
mod index;
mod ksql;
mod limits;
mod row_pattern;
mod session;
mod show;
mod statement;
mod table_argument;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use dialect::WeirDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use weir_common::Result;

use crate::ast::ParsedStatement;
use crate::position::SourceText;

pub(crate) use asof_join::AsofClause;
pub(crate) use computed_column::is_processing_time;
pub(crate) use create::fold;
pub(crate) use errors::syntax_error;
pub(crate) use limits::too_deep;
pub(crate) use row_pattern::{Pattern, PatternClause, mode_of, recognized_query};
use statement::StatementParser;
pub(crate) use table_argument::{TableArgument, keyword_call};

static DIALECT: WeirDialect = WeirDialect;

/// All statements of a query string, in order; empty ones are left out.
pub fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    let source = SourceText::new(sql);
    let tokens = Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| errors::from_tokenizer(&error, &source))?;
    let mut statements = Vec::new();
    for piece in tokens.split_inclusive(|t| t.token == Token::SemiColon) {
        let (piece, end) = match piece.split_last() {
            Some((end, rest)) if end.token == Token::SemiColon => (rest, Some(end)),
            _ => (piece, None),
        };
        if piece.iter().any(is_visible) {
            limits::check(piece, &source)?;
            asof_join::check(piece, &source)?;
            let parsed = StatementParser::new(piece, end, &source).parse_whole();
            statements.push(parsed.map_err(|error| ksql::explain(error, piece, &source))?);
        }
    }
    Ok(statements)
}

/// Parses one expression, such as a stored column default.
pub fn parse_expression(sql: &str) -> Result<(sqlparser::ast::Expr, Arc<SourceText>)> {
    let source = SourceText::new(sql);
    let mut parser = Parser::new(&DIALECT)
        .with_recursion_limit(limits::PARSER_DEPTH)
        .try_with_sql(sql)
        .map_err(|error| errors::from_parser(error, None, None, &source))?;
    let expr = parser.parse_expr();
    let expr = expr.map_err(|error| errors::from_parser(error, Some(&parser), None, &source))?;
    match parser.peek_token().token {
        Token::EOF => Ok((expr, source)),
        _ => Err(syntax_error(&parser.peek_token(), &source)),
    }
}

fn is_visible(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_) | Token::EOF)
}
