//! The PATTERN of MATCH_RECOGNIZE with what may follow it: `PATTERN (A B*?) [WITHIN INTERVAL '1 hour'] [SUBSET u = (a, b)]`.
//!
//! sqlparser reads MATCH_RECOGNIZE, but in patterns it knows no reluctant quantifiers, no exclusion of more than a
//! variable, no `()`, and neither WITHIN nor SUBSET. So [`fold_patterns`] puts the text from the parenthesis of a PATTERN
//! to its DEFINE into one quoted name, which sqlparser takes for a pattern of one variable; the binder has it read here
//! ([`PatternClause::parse`]), where its tokens are again at their places in the statement.
//!
//! Two more things that sqlparser does not read become what it does: `SKIP TO v` is `SKIP TO LAST v`, and
//! `FROM (SELECT …) MATCH_RECOGNIZE` reads a call of a function that no text can call ([`recognized_query`]).

use std::sync::Arc;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, TableFactor,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};
use weir_common::{Error, Result, SqlState};

use super::table_argument::{TableArgument, call, is_call_of, is_keyword};
use super::{DIALECT, errors, limits, syntax_error};
use crate::position::SourceText;

/// The function whose argument is a query in front of MATCH_RECOGNIZE.
const RECOGNIZED: &str = "MATCH_RECOGNIZE (query)";
const MODES: [&str; 2] = ["FINAL", "RUNNING"];

/// What stands between PATTERN and DEFINE.
pub(crate) struct PatternClause {
    pub pattern: Pattern,
    pub within: Option<Expr>,
    pub subsets: Vec<(Ident, Vec<Ident>)>,
}

/// A pattern as it is written.
pub(crate) enum Pattern {
    Variable(Ident),
    Start,
    End,
    Concat(Vec<Pattern>),
    Alternation(Vec<Pattern>),
    Repeat { pattern: Box<Pattern>, min: u32, max: Option<u32>, is_greedy: bool },
    Exclude(Box<Pattern>),
    Permute(Vec<Pattern>),
}

/// Makes of each MATCH_RECOGNIZE in a statement what sqlparser can read.
pub(super) fn fold_patterns(tokens: &mut Vec<TokenWithSpan>, source: &SourceText) {
    let mut from = 0;
    while let Some(at) = (from..tokens.len()).find(|at| is_recognize(tokens, *at)) {
        let end = closing(tokens, at + 1).unwrap_or(tokens.len());
        fold_pattern(tokens, at + 2, end, source);
        let inserted = fold_query(tokens, at);
        from = at + inserted + 1;
    }
}

fn is_recognize(tokens: &[TokenWithSpan], at: usize) -> bool {
    is_keyword(&tokens[at], Keyword::MATCH_RECOGNIZE)
        && tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen)
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0;
    (open..tokens.len()).find(|at| {
        match tokens[*at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Folds the clauses of the MATCH_RECOGNIZE between `from` and `end`.
fn fold_pattern(tokens: &mut Vec<TokenWithSpan>, from: usize, end: usize, source: &SourceText) {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(token, word));
    let is_open = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::LParen);
    let (mut depth, mut pattern, mut define, mut target) = (0, None, None, None);
    for (at, token) in tokens.iter().enumerate().take(end).skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Word(_) if depth == 0 => {
                if is(at, "PATTERN") && is_open(at + 1) {
                    pattern = Some(at + 2);
                } else if is(at, "DEFINE") && pattern.is_some() {
                    define = define.or(Some(at));
                } else if is(at, "SKIP") && is(at + 1, "TO") && pattern.is_none() {
                    target = Some(at + 2);
                }
            }
            _ => {}
        }
    }
    let names_variable = |at: &usize| {
        let is_known = ["NEXT", "FIRST", "LAST"].iter().any(|word| is(*at, word));
        !is_known && tokens.get(*at).is_some_and(|token| matches!(token.token, Token::Word(_)))
    };
    let target = target.filter(names_variable);
    if let (Some(pattern), Some(define)) = (pattern, define) {
        replace_by_text(tokens, pattern, define, source);
    }
    if let Some(target) = target {
        tokens.insert(target, TokenWithSpan::new(Token::make_keyword("LAST"), tokens[target].span));
    }
}

/// Replaces the tokens of a pattern's text by it as a name, and the parenthesis behind it.
fn replace_by_text(tokens: &mut Vec<TokenWithSpan>, from: usize, end: usize, source: &SourceText) {
    let span = Span::new(tokens[from].span.start, tokens[end - 1].span.end);
    let bytes = source.byte(span.start).zip(source.byte(span.end));
    let Some(text) = bytes.and_then(|(start, end)| source.text().get(start..end)) else { return };
    let name = TokenWithSpan::new(Token::make_word(text, Some('"')), span);
    let close = TokenWithSpan::new(Token::RParen, tokens[end - 1].span);
    tokens.splice(from..end, [name, close]);
}

/// Makes `(query) [AS alias [(columns)]] MATCH_RECOGNIZE` a call; how many tokens were inserted.
fn fold_query(tokens: &mut Vec<TokenWithSpan>, recognize: usize) -> usize {
    let Some((open, close)) = query_before(tokens, recognize) else { return 0 };
    let span = tokens[open].span;
    let token = |token| TokenWithSpan::new(token, span);
    tokens.insert(close + 1, token(Token::RParen));
    let before = [Token::make_word(RECOGNIZED, Some('"')), Token::LParen, Token::make_keyword("TABLE")];
    tokens.splice(open..open, before.map(token));
    4
}

/// The parentheses around the query in front of a MATCH_RECOGNIZE.
fn query_before(tokens: &[TokenWithSpan], recognize: usize) -> Option<(usize, usize)> {
    let queries = [Keyword::SELECT, Keyword::WITH, Keyword::VALUES];
    let mut end = recognize;
    // The query, or its alias and then the query.
    for _ in 0..2 {
        if let Some(close) = end.checked_sub(1)
            && tokens[close].token == Token::RParen
        {
            let open = opening(tokens, close)?;
            if queries.iter().any(|keyword| is_keyword(&tokens[open + 1], *keyword)) {
                return Some((open, close));
            }
            end = open;
        }
        for is_there in [|_: &TokenWithSpan| true, |token: &TokenWithSpan| is_word(token, "AS")] {
            let before = end.checked_sub(1).map(|at| &tokens[at]);
            if before.is_some_and(|token| matches!(token.token, Token::Word(_)) && is_there(token)) {
                end -= 1;
            }
        }
    }
    None
}

/// The parenthesis that opens the one at `close`.
fn opening(tokens: &[TokenWithSpan], close: usize) -> Option<usize> {
    let mut depth = 0;
    (0..=close).rev().find(|at| {
        match tokens[*at].token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The query in front of MATCH_RECOGNIZE, if it is not a table.
pub(crate) fn recognized_query(table: &TableFactor) -> Option<&Query> {
    let TableFactor::Table { name, args: Some(args), .. } = table else { return None };
    let is_ours =
        matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|name| name.value == RECOGNIZED));
    match args.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] if is_ours => {
            match TableArgument::of(argument).table {
                Expr::Subquery(query) => Some(query),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `FINAL f(…)` or `RUNNING f(…)`, if it is next: a call of a function of that name.
pub(super) fn parse_mode(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    let [mode, name, open] = [0, 1, 2].map(|n| parser.peek_nth_token_ref(n).clone());
    let mode_name = MODES.into_iter().find(|word| is_word(&mode, word))?;
    if !matches!(name.token, Token::Word(_)) || open.token != Token::LParen {
        return None;
    }
    parser.next_token();
    Some(parser.parse_prefix().map(|of| call(mode_name, &mode, vec![of])))
}

/// `FINAL` or `RUNNING` before a call, and the call.
pub(crate) fn mode_of(function: &Function) -> Option<(&'static str, &Expr)> {
    let mode = MODES.into_iter().find(|mode| is_call_of(function, mode))?;
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] => Some((mode, of)),
        _ => None,
    }
}

/// Whether a token is this word, not quoted.
fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(wanted))
}

impl PatternClause {
    /// Reads the clause that a pattern was folded into.
    pub(crate) fn parse(folded: &Ident, source: &Arc<SourceText>) -> Result<PatternClause> {
        let base = folded.span.start;
        let tokens = Tokenizer::new(&DIALECT, &folded.value).tokenize_with_location();
        let tokens = tokens.map_err(|error| errors::from_tokenizer(&error, source))?;
        let visible = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
        let tokens = visible.map(|t| {
            TokenWithSpan::new(t.token, Span::new(moved(t.span.start, base), moved(t.span.end, base)))
        });
        let parser = Parser::new(&DIALECT)
            .with_recursion_limit(limits::PARSER_DEPTH)
            .with_tokens_with_locations(tokens.collect());
        PatternParser { parser, source }.clause()
    }
}

/// A location in a piece of text that begins at `base`.
fn moved(location: Location, base: Location) -> Location {
    match location.line {
        1 => Location::new(base.line, base.column + location.column - 1),
        line => Location::new(base.line + line - 1, location.column),
    }
}

struct PatternParser<'s> {
    parser: Parser<'static>,
    source: &'s Arc<SourceText>,
}

impl PatternParser<'_> {
    fn clause(&mut self) -> Result<PatternClause> {
        let pattern = self.alternation()?;
        self.expect(&Token::RParen)?;
        let mut clause = PatternClause { pattern, within: None, subsets: Vec::new() };
        if self.word("WITHIN") {
            let within = self.parser.parse_expr();
            clause.within =
                Some(within.map_err(|e| errors::from_parser(e, Some(&self.parser), None, self.source))?);
        }
        if self.word("SUBSET") {
            clause.subsets.push(self.subset()?);
            while self.parser.consume_token(&Token::Comma) {
                clause.subsets.push(self.subset()?);
            }
        }
        match self.parser.peek_token().token {
            Token::EOF => Ok(clause),
            _ => Err(self.unexpected()),
        }
    }

    fn subset(&mut self) -> Result<(Ident, Vec<Ident>)> {
        let name = self.identifier()?;
        self.expect(&Token::Eq)?;
        self.expect(&Token::LParen)?;
        let mut variables = vec![self.identifier()?];
        while self.parser.consume_token(&Token::Comma) {
            variables.push(self.identifier()?);
        }
        self.expect(&Token::RParen)?;
        Ok((name, variables))
    }

    fn alternation(&mut self) -> Result<Pattern> {
        let mut branches = vec![self.concatenation()?];
        while self.parser.consume_token(&Token::Pipe) {
            branches.push(self.concatenation()?);
        }
        Ok(one_or(branches, Pattern::Alternation))
    }

    fn concatenation(&mut self) -> Result<Pattern> {
        let mut parts = vec![self.repetition()?];
        while !matches!(
            self.parser.peek_token().token,
            Token::RParen | Token::Pipe | Token::Minus | Token::Comma | Token::EOF
        ) {
            parts.push(self.repetition()?);
        }
        Ok(one_or(parts, Pattern::Concat))
    }

    fn repetition(&mut self) -> Result<Pattern> {
        let pattern = Box::new(self.primary()?);
        let (min, max) = match self.parser.peek_token().token {
            Token::Mul => (0, None),
            Token::Plus => (1, None),
            Token::Question => (0, Some(1)),
            // `?|` is one token.
            Token::QuestionPipe => {
                self.replace_question();
                return Ok(Pattern::Repeat { pattern, min: 0, max: Some(1), is_greedy: true });
            }
            Token::LBrace if self.parser.peek_nth_token(1).token != Token::Minus => {
                self.parser.next_token();
                let (min, max) = self.bounds()?;
                return Ok(Pattern::Repeat { pattern, min, max, is_greedy: !self.is_reluctant() });
            }
            _ => return Ok(*pattern),
        };
        self.parser.next_token();
        Ok(Pattern::Repeat { pattern, min, max, is_greedy: !self.is_reluctant() })
    }

    /// `n}`, `n,}`, `n,m}` or `,m}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>)> {
        let at = self.parser.peek_token();
        let min = self.number()?;
        let max = match (min, self.parser.consume_token(&Token::Comma)) {
            (None, false) => return Err(self.unexpected()),
            (Some(n), false) => Some(n),
            (_, true) => self.number()?,
        };
        if min.is_none() && max.is_none() {
            return Err(self.unexpected());
        }
        self.expect(&Token::RBrace)?;
        let min = min.unwrap_or(0);
        if max.is_some_and(|max| max < min || max == 0) {
            let message = "a quantifier's upper bound is positive and not less than its lower bound";
            let position = self.source.span_position(at.span);
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        Ok((min, max))
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let Token::Number(digits, _) = self.parser.peek_token().token else { return Ok(None) };
        let number = digits.parse().map_err(|_| self.unexpected())?;
        self.parser.next_token();
        Ok(Some(number))
    }

    /// Whether a `?` follows a quantifier.
    fn is_reluctant(&mut self) -> bool {
        if self.parser.peek_token().token == Token::QuestionPipe {
            self.replace_question();
            return true;
        }
        self.parser.consume_token(&Token::Question)
    }

    /// Goes on behind the `?` of a token `?|`.
    fn replace_question(&mut self) {
        let token = self.parser.next_token();
        let mut rest = vec![TokenWithSpan::new(Token::Pipe, token.span)];
        loop {
            let next = self.parser.next_token();
            let is_end = next.token == Token::EOF;
            rest.push(next);
            if is_end {
                break;
            }
        }
        self.parser =
            Parser::new(&DIALECT).with_recursion_limit(limits::PARSER_DEPTH).with_tokens_with_locations(rest);
    }

    fn primary(&mut self) -> Result<Pattern> {
        let token = self.parser.peek_token();
        match &token.token {
            Token::Caret => self.taken(Pattern::Start),
            Token::Placeholder(name) if name == "$" => self.taken(Pattern::End),
            Token::LParen => {
                self.parser.next_token();
                if self.parser.consume_token(&Token::RParen) {
                    return Ok(Pattern::Concat(Vec::new()));
                }
                let pattern = self.alternation()?;
                self.expect(&Token::RParen)?;
                Ok(pattern)
            }
            Token::LBrace => {
                self.parser.next_token();
                self.expect(&Token::Minus)?;
                let pattern = self.alternation()?;
                self.expect(&Token::Minus)?;
                self.expect(&Token::RBrace)?;
                Ok(Pattern::Exclude(Box::new(pattern)))
            }
            Token::Word(_)
                if is_word(&token, "PERMUTE") && self.parser.peek_nth_token(1).token == Token::LParen =>
            {
                self.parser.next_token();
                self.parser.next_token();
                let mut parts = vec![self.alternation()?];
                while self.parser.consume_token(&Token::Comma) {
                    parts.push(self.alternation()?);
                }
                self.expect(&Token::RParen)?;
                Ok(Pattern::Permute(parts))
            }
            _ => self.identifier().map(Pattern::Variable),
        }
    }

    fn taken(&mut self, pattern: Pattern) -> Result<Pattern> {
        self.parser.next_token();
        Ok(pattern)
    }

    fn identifier(&mut self) -> Result<Ident> {
        match self.parser.peek_token().token {
            Token::Word(_) => self.parser.parse_identifier().map_err(|_| self.unexpected()),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, wanted: &str) -> bool {
        let is_next = is_word(&self.parser.peek_token(), wanted);
        if is_next {
            self.parser.next_token();
        }
        is_next
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        if self.parser.consume_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The error for the next token. Behind the last one DEFINE would be.
    fn unexpected(&self) -> Error {
        syntax_error(&self.parser.peek_token(), self.source)
    }
}

fn one_or(mut parts: Vec<Pattern>, many: fn(Vec<Pattern>) -> Pattern) -> Pattern {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}
