//! `WeirDialect`: sqlparser's PostgreSQL dialect, but for what that one reads otherwise than PostgreSQL does.
//!
//! - `*` takes no alias.
//! - Calls are cheap. That dialect looks for `name => value` by parsing a whole expression first and then again, which
//!   doubles the work at each level of nested calls: forty of them never end. Weir reads the name alone.
//! - `a IS DISTINCT FROM b AND c` ends b before AND.
//! - `BETWEEN SYMMETRIC` is known; as in PostgreSQL, it is read as both orders of the bounds.
//! - `(VALUES (1))` is a subquery, not a call of a function VALUES.
//! - `t FOR SYSTEM_TIME AS OF x` is known.
//! - A table may be an argument of a function: see [`super::table_argument`].
//! - MATCH_RECOGNIZE is known: see [`super::row_pattern`].

use std::any::TypeId;

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::row_pattern::parse_mode;
use super::table_argument::{parse_partition_by, parse_table, peek_partition_by};

/// The dialect of every statement.
#[derive(Debug)]
pub(crate) struct WeirDialect;

/// Methods that answer as PostgreSQL's dialect does.
macro_rules! as_postgres {
    ($(fn $name:ident($($argument:ident: $ty:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $ty),*) -> $result {
            PostgreSqlDialect {}.$name($($argument),*)
        })*
    };
}

impl Dialect for WeirDialect {
    /// The parser asks for this where it treats PostgreSQL specially.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    /// `FROM t EMIT …` and `FROM t LATE INTO …` end the query: the words are no aliases there.
    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || (self.is_table_alias(keyword, parser) && !ends_view_query(parser))
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || (self.is_column_alias(keyword, parser) && !ends_view_query(parser))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        parse_values_query(parser).or_else(|| parse_table(parser)).or_else(|| parse_mode(parser))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if peek_partition_by(parser) {
            return Some(Ok(self.prec_value(Precedence::Period)));
        }
        PostgreSqlDialect {}.get_next_precedence(parser)
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if peek_partition_by(parser) {
            return Some(parse_partition_by(parser, expr));
        }
        if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            let other = parser.parse_subexpr(self.prec_value(Precedence::Is));
            return Some(other.map(|b| Expr::IsDistinctFrom(Box::new(expr.clone()), Box::new(b))));
        }
        if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            let other = parser.parse_subexpr(self.prec_value(Precedence::Is));
            return Some(other.map(|b| Expr::IsNotDistinctFrom(Box::new(expr.clone()), Box::new(b))));
        }
        let negated = match (
            parser.parse_keywords(&[Keyword::BETWEEN, Keyword::SYMMETRIC]),
            parser.parse_keywords(&[Keyword::NOT, Keyword::BETWEEN, Keyword::SYMMETRIC]),
        ) {
            (false, false) => return None,
            (_, negated) => negated,
        };
        Some(self.between_symmetric(parser, expr, negated))
    }

    as_postgres! {
        fn identifier_quote_style(identifier: &str) -> Option<char>;
        fn is_delimited_identifier_start(ch: char) -> bool;
        fn is_identifier_start(ch: char) -> bool;
        fn is_identifier_part(ch: char) -> bool;
        fn supports_unicode_string_literal() -> bool;
        fn is_reserved_for_identifier(keyword: Keyword) -> bool;
        fn is_custom_operator_part(ch: char) -> bool;
        fn supports_filter_during_aggregation() -> bool;
        fn supports_group_by_expr() -> bool;
        fn prec_value(precedence: Precedence) -> u8;
        fn allow_extract_custom() -> bool;
        fn allow_extract_single_quotes() -> bool;
        fn supports_create_index_with_clause() -> bool;
        fn supports_explain_with_utility_options() -> bool;
        fn supports_listen_notify() -> bool;
        fn supports_factorial_operator() -> bool;
        fn supports_bitwise_shift_operators() -> bool;
        fn supports_comment_on() -> bool;
        fn supports_load_extension() -> bool;
        fn supports_named_fn_args_with_colon_operator() -> bool;
        fn supports_empty_projections() -> bool;
        fn supports_nested_comments() -> bool;
        fn supports_string_escape_constant() -> bool;
        fn supports_numeric_literal_underscores() -> bool;
        fn supports_array_typedef_with_brackets() -> bool;
        fn supports_geometric_types() -> bool;
        fn supports_set_names() -> bool;
        fn supports_alter_column_type_using() -> bool;
        fn supports_notnull_operator() -> bool;
        fn supports_interval_options() -> bool;
        fn supports_insert_table_alias() -> bool;
        fn supports_create_table_like_parenthesized() -> bool;
        fn supports_comma_separated_trim() -> bool;
        fn supports_xml_expressions() -> bool;
        fn supports_comment_optimizer_hint() -> bool;
    }
}

impl WeirDialect {
    /// The bounds after `BETWEEN SYMMETRIC`: `(x BETWEEN a AND b OR x BETWEEN b AND a)`.
    fn between_symmetric(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        negated: bool,
    ) -> Result<Expr, ParserError> {
        let above = self.prec_value(Precedence::Between);
        let a = parser.parse_subexpr(above)?;
        parser.expect_keyword_is(Keyword::AND)?;
        let b = parser.parse_subexpr(above)?;
        let between = |low: &Expr, high: &Expr| {
            Box::new(Expr::Between {
                expr: Box::new(expr.clone()),
                negated: false,
                low: Box::new(low.clone()),
                high: Box::new(high.clone()),
            })
        };
        let either = Expr::BinaryOp { left: between(&a, &b), op: BinaryOperator::Or, right: between(&b, &a) };
        let either = Expr::Nested(Box::new(either));
        Ok(match negated {
            true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(either) },
            false => either,
        })
    }
}

/// Whether the word that the parser has just taken begins what may stand behind a view's query.
fn ends_view_query(parser: &Parser) -> bool {
    let is = |token: &Token, words: &[&str]| {
        matches!(token, Token::Word(word) if word.quote_style.is_none()
            && words.iter().any(|w| word.value.eq_ignore_ascii_case(w)))
    };
    let [next, second] = parser.peek_tokens_ref();
    let last = &parser.get_current_token().token;
    let on_close = is(&next.token, &["ON"]) && is(&second.token, &["WINDOW"]);
    is(last, &["EMIT"]) && (on_close || is(&next.token, &["FINAL", "CHANGES"]))
        || is(last, &["LATE"]) && is(&next.token, &["INTO"])
}

/// `(VALUES …)`, if it is next.
fn parse_values_query(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let [open, values] = parser.peek_tokens_ref();
    let is_values = matches!(&values.token, Token::Word(word) if word.keyword == Keyword::VALUES);
    if open.token != Token::LParen || !is_values {
        return None;
    }
    parser.next_token();
    let query = parser.parse_query();
    Some(query.and_then(|query| parser.expect_token(&Token::RParen).map(|_| Expr::Subquery(query))))
}
