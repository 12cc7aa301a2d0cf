//! Refuses texts whose parse tree would be too deep, before anything recursive sees them (54001).
//!
//! Two measures over the tokens: nesting of brackets, and the length of a run of operators at one level, since
//! `a + b + c …` is a tree as deep as it is long.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_common::{Error, Result, SqlState};

use crate::position::SourceText;

/// Most brackets inside one another.
const NESTING: usize = 256;
/// Most operators in one run.
const OPERATORS: usize = 4096;
/// sqlparser's own count of nested calls; its stack grows on the heap.
pub(super) const PARSER_DEPTH: usize = 1024;

/// 54001 for a statement that is nested too deeply.
pub(super) fn check(tokens: &[TokenWithSpan], source: &SourceText) -> Result<()> {
    let mut outer: Vec<Run> = Vec::new();
    let mut run = Run::default();
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => outer.push(std::mem::take(&mut run)),
            Token::RParen | Token::RBracket => run = outer.pop().unwrap_or_default(),
            Token::Comma => run = Run::default(),
            other if connects(other) => run = Run { connectives: run.connectives + 1, operators: 0 },
            other if lengthens(other) => run.operators += 1,
            _ => {}
        }
        if outer.len() >= NESTING || run.connectives + run.operators > OPERATORS {
            return Err(too_deep().at(source.span_position(token.span)));
        }
    }
    Ok(())
}

/// A run of operators at one level of brackets: the conditions that AND and OR connect are side by side, so only
/// the current one's operators count.
#[derive(Default)]
struct Run {
    connectives: usize,
    operators: usize,
}

/// The error for anything too deep.
pub(crate) fn too_deep() -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .with_hint("Write the statement with less nesting.")
}

fn connects(token: &Token) -> bool {
    matches!(token, Token::Word(word) if matches!(word.keyword, Keyword::AND | Keyword::OR))
}

fn lengthens(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::NOT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::CASE
                | Keyword::COLLATE
                | Keyword::IS
        ),
        Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Period => false,
        Token::RParen | Token::RBracket | Token::Placeholder(_) | Token::EOF => false,
        _ => true,
    }
}
