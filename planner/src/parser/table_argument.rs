//! Tables as arguments of functions: `TABLE t` and `t PARTITION BY k`, which stand in window functions in FROM.
//!
//! ```text
//!   SESSION(TABLE t PARTITION BY (a, b), DESCRIPTOR(ts), INTERVAL '5 minutes')
//!   SESSION(t PARTITION BY a, ts, INTERVAL '5 minutes')
//! ```
//! sqlparser has no expression for them. They become calls of functions named by these words, which no text can call,
//! for both are keywords: the binder takes them apart ([`TableArgument::of`]), and finds a syntax error where one stands
//! in the place of a value ([`keyword_call`]).

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

const TABLE: &str = "TABLE";
const PARTITION_BY: &str = "PARTITION BY";

/// A table as an argument.
pub(crate) struct TableArgument<'e> {
    /// A name, a subquery, or a call of another window function.
    pub table: &'e Expr,
    pub partition_by: Vec<&'e Expr>,
}

impl<'e> TableArgument<'e> {
    /// What an argument says; anything may be a table.
    pub(crate) fn of(argument: &'e Expr) -> TableArgument<'e> {
        let (mut table, mut partition_by) = (argument, Vec::new());
        loop {
            match table {
                Expr::Nested(inner) => table = inner,
                Expr::Function(call) if is_call_of(call, TABLE) => match arguments(call).as_slice() {
                    [inner] => table = inner,
                    _ => break,
                },
                Expr::Function(call) if is_call_of(call, PARTITION_BY) => match arguments(call).split_first()
                {
                    Some((inner, keys)) => {
                        table = inner;
                        partition_by.extend_from_slice(keys);
                    }
                    None => break,
                },
                _ => break,
            }
        }
        TableArgument { table, partition_by }
    }
}

/// The keywords that a call stands for, if it is a table in the place of a value.
pub(crate) fn keyword_call(call: &Function) -> Option<&'static str> {
    [TABLE, PARTITION_BY].into_iter().find(|keyword| is_call_of(call, keyword))
}

/// Whether `PARTITION BY` is next, behind an expression.
pub(super) fn peek_partition_by(parser: &Parser<'_>) -> bool {
    let next = [parser.peek_nth_token_ref(0), parser.peek_nth_token_ref(1)];
    is_keyword(next[0], Keyword::PARTITION) && is_keyword(next[1], Keyword::BY)
}

/// `TABLE t` or `TABLE (…)`, if it is next.
pub(super) fn parse_table(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    let [first, second] = [parser.peek_nth_token_ref(0), parser.peek_nth_token_ref(1)];
    if !is_keyword(first, Keyword::TABLE) || !matches!(second.token, Token::Word(_) | Token::LParen) {
        return None;
    }
    let word = parser.next_token();
    Some(parse_table_operand(parser).map(|table| call(TABLE, &word, vec![table])))
}

fn parse_table_operand(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return parser.parse_object_name(false).map(named);
    }
    let is_query =
        [Keyword::SELECT, Keyword::WITH, Keyword::VALUES].iter().any(|word| parser.peek_keyword(*word));
    let table = match is_query {
        true => Expr::Subquery(parser.parse_query()?),
        false => parser.parse_expr()?,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(table)
}

fn named(name: ObjectName) -> Expr {
    let mut parts: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident()).cloned().collect();
    match parts.len() {
        1 => Expr::Identifier(parts.remove(0)),
        _ => Expr::CompoundIdentifier(parts),
    }
}

/// `table PARTITION BY a` or `table PARTITION BY (a, b)`, where `table` has been read.
pub(super) fn parse_partition_by(parser: &mut Parser<'_>, table: &Expr) -> Result<Expr, ParserError> {
    let word = parser.next_token();
    parser.expect_keyword_is(Keyword::BY)?;
    let mut arguments = vec![table.clone()];
    if parser.consume_token(&Token::LParen) {
        arguments.extend(parser.parse_comma_separated(Parser::parse_expr)?);
        parser.expect_token(&Token::RParen)?;
    } else {
        arguments.push(parser.parse_expr()?);
    }
    Ok(call(PARTITION_BY, &word, arguments))
}

/// Whether a token is this keyword, not quoted.
pub(super) fn is_keyword(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}

/// A call of a function that no text can call, for its name is a keyword.
pub(super) fn call(name: &str, at: &TokenWithSpan, arguments: Vec<Expr>) -> Expr {
    let unnamed = |argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument));
    let args = arguments.into_iter().map(unnamed).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(at.span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether a call is one of these.
pub(super) fn is_call_of(call: &Function, keyword: &str) -> bool {
    let is = |name: &Ident| name.quote_style.is_none() && name.value == keyword;
    matches!(call.name.0.as_slice(), [name] if name.as_ident().is_some_and(is))
}

fn arguments(call: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return Vec::new() };
    let expr = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}
