//! ASOF joins in the spellings that sqlparser does not know.
//!
//! sqlparser reads Snowflake's `l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k`, nothing else. The rest is
//! rewritten before it is parsed, with the word GLOBAL, which sets a flag of any join and means nothing by itself:
//!
//! ```text
//!   ASOF LEFT JOIN r MATCH_CONDITION (…) ON …  →  GLOBAL ASOF JOIN r MATCH_CONDITION (…) ON …
//!   ASOF JOIN r ON …                           →  GLOBAL JOIN r ON …                             DuckDB's
//!   ASOF LEFT JOIN r ON …                      →  GLOBAL LEFT JOIN r ON …
//! ```
//! So the flag says "left" of a join that is ASOF to sqlparser, and "ASOF" of any other one ([`AsofClause::of`]). Who
//! writes GLOBAL before JOIN means an alias, as in PostgreSQL.

use sqlparser::ast::{Expr, Join, JoinConstraint, JoinOperator};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_common::{Error, Result};

use super::is_visible;
use crate::position::SourceText;

/// What an ASOF join says beside its sides.
pub(crate) struct AsofClause<'j> {
    pub is_left: bool,
    /// MATCH_CONDITION, if it stands by itself.
    pub match_condition: Option<&'j Expr>,
    pub constraint: &'j JoinConstraint,
}

impl<'j> AsofClause<'j> {
    /// Of a join, if it is one.
    pub(crate) fn of(join: &'j Join) -> Option<AsofClause<'j>> {
        use JoinOperator as J;
        let (is_left, constraint) = match &join.join_operator {
            J::AsOf { match_condition, constraint } => {
                let match_condition = Some(match_condition);
                return Some(AsofClause { is_left: join.global, match_condition, constraint });
            }
            J::Left(constraint) | J::LeftOuter(constraint) => (true, constraint),
            J::Join(constraint) | J::Inner(constraint) => (false, constraint),
            _ => return None,
        };
        join.global.then_some(AsofClause { is_left, match_condition: None, constraint })
    }
}

/// 0A000 for an ASOF join that keeps right rows.
pub(super) fn check(tokens: &[TokenWithSpan], source: &SourceText) -> Result<()> {
    let tokens: Vec<&TokenWithSpan> = tokens.iter().filter(|token| is_visible(token)).collect();
    let keyword = |at: usize| tokens.get(at).and_then(|token| keyword(token));
    for (at, token) in tokens.iter().enumerate() {
        let kind = keyword(at + 1);
        if self::keyword(token) != Some(Keyword::ASOF)
            || join_after(kind, keyword(at + 2), keyword(at + 3)).is_none()
        {
            continue;
        }
        if let Some(kind @ (Keyword::RIGHT | Keyword::FULL)) = kind {
            return Err(Error::unsupported(format!("ASOF {kind:?} JOIN"))
                .with_hint("Use ASOF LEFT JOIN; the side whose rows are all wanted stands on the left.")
                .at(source.span_position(token.span)));
        }
    }
    Ok(())
}

/// Rewrites ASOF joins; whitespace is gone already.
pub(super) fn rewrite(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let next = |ahead: usize| tokens.get(at + ahead).and_then(keyword);
        match keyword(&tokens[at]) {
            // What sqlparser takes for other databases' versions of a table is an alias, but AT TIME ZONE.
            Some(Keyword::BEFORE | Keyword::CHANGES) => become_word(&mut tokens[at], Keyword::NoKeyword),
            Some(Keyword::AT) if next(1) != Some(Keyword::TIME) => {
                become_word(&mut tokens[at], Keyword::NoKeyword);
            }
            Some(Keyword::GLOBAL) if joins(next(1)) => become_word(&mut tokens[at], Keyword::NoKeyword),
            Some(Keyword::ASOF) => {
                if let Some(words) = join_after(next(1), next(2), next(3)) {
                    rewrite_join(tokens, at, words);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Rewrites the join at `at`, with so many words between ASOF and JOIN.
fn rewrite_join(tokens: &mut Vec<TokenWithSpan>, at: usize, words: usize) {
    if !has_match_condition(&tokens[at + words + 2..]) {
        become_word(&mut tokens[at], Keyword::GLOBAL);
        return;
    }
    let is_left = tokens.get(at + 1).and_then(keyword) == Some(Keyword::LEFT);
    tokens.drain(at + 1..at + 1 + words);
    if is_left {
        let mut global = tokens[at].clone();
        become_word(&mut global, Keyword::GLOBAL);
        tokens.insert(at, global);
    }
}

/// Whether MATCH_CONDITION follows what is joined.
fn has_match_condition(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0usize;
    for token in tokens {
        match (&token.token, keyword(token)) {
            (Token::LParen, _) => depth += 1,
            (Token::RParen, _) if depth == 0 => return false,
            (Token::RParen, _) => depth -= 1,
            (_, Some(Keyword::MATCH_CONDITION)) if depth == 0 => return true,
            (_, Some(Keyword::ON | Keyword::USING | Keyword::JOIN)) if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// How many words stand between ASOF and JOIN, by the words after ASOF.
fn join_after(first: Option<Keyword>, second: Option<Keyword>, third: Option<Keyword>) -> Option<usize> {
    const JOIN: Option<Keyword> = Some(Keyword::JOIN);
    match first? {
        Keyword::JOIN => Some(0),
        Keyword::INNER if second == JOIN => Some(1),
        Keyword::LEFT | Keyword::RIGHT | Keyword::FULL if second == JOIN => Some(1),
        Keyword::LEFT | Keyword::RIGHT | Keyword::FULL if second == Some(Keyword::OUTER) && third == JOIN => {
            Some(2)
        }
        _ => None,
    }
}

fn joins(next: Option<Keyword>) -> bool {
    use Keyword as K;
    matches!(next, Some(K::JOIN | K::INNER | K::LEFT | K::RIGHT | K::FULL | K::CROSS | K::NATURAL | K::ASOF))
}

fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn become_word(token: &mut TokenWithSpan, keyword: Keyword) {
    if let Token::Word(word) = &mut token.token {
        word.keyword = keyword;
    }
}
