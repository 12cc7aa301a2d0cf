//! Whether Weir and PostgreSQL answered the same, and the words for it when they did not.
//!
//! Place in the flow: pure functions; `play` calls them. Rows are compared as a bag of text. Weir has no negative zero,
//! so `-0` is `0`. The scale of a quotient depends in PostgreSQL on the digits of its operands, which a value does not
//! tell: zeros at the end of one do not count. Of several constraints that a statement breaks either may be named.

use crate::wire::{Answer, SqlError};

/// Rows that a message shows of each side.
const ROWS_SHOWN: usize = 8;

/// Digits after the point from which on a number is a quotient.
const QUOTIENT_SCALE_MIN: usize = 12;

/// How an answer differs; a smaller scenario has to fail in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// One failed and the other did not, or with another SQLSTATE: `ok` or the SQLSTATE, of Weir and PostgreSQL.
    Status(String, String),
    /// The command tag: another number of rows.
    Tag,
    /// The rows of a query or of RETURNING.
    Rows,
    /// The rows of a view, where the query gave the right ones.
    View,
    /// The rows of two views that must be equal.
    Twins,
    /// A statement is refused without this rule of the optimizer.
    Rule(&'static str),
    /// Something in the server's log that no scenario should cause.
    Log,
    /// The connection broke, or nothing came for a minute.
    Broken,
}

/// A difference.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The place of the step in its scenario.
    pub step: usize,
    pub class: Class,
    pub detail: String,
}

/// What a server says to a statement.
pub type Outcome = Result<Answer, SqlError>;

/// How two outcomes differ, if they do.
pub fn difference(weir: &Outcome, postgres: &Outcome, tags: Tags) -> Option<(Class, String)> {
    let (ours, theirs) = match (weir, postgres) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(ours), Err(theirs)) if is_same_error(&ours.code, &theirs.code) => return None,
        _ => {
            let detail = format!("Weir: {}\nPostgreSQL: {}", said(weir), said(postgres));
            return Some((Class::Status(status(weir), status(postgres)), detail));
        }
    };
    if let Some(detail) = rows_differ(ours, theirs, ["Weir", "PostgreSQL"]) {
        return Some((Class::Rows, detail));
    }
    let differs = tags == Tags::Compare && ours.tag != theirs.tag;
    differs.then(|| (Class::Tag, format!("Weir: {}\nPostgreSQL: {}", ours.tag, theirs.tag)))
}

fn is_same_error(ours: &str, theirs: &str) -> bool {
    ours == theirs || (ours.starts_with("23") && theirs.starts_with("23"))
}

/// Whether the numbers of rows in command tags have to agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    Compare,
    Ignore,
}

/// How two bags of rows differ, if they do.
pub fn rows_differ(one: &Answer, other: &Answer, names: [&str; 2]) -> Option<String> {
    let (mut left, mut right) = (lines(one), lines(other));
    left.sort();
    right.sort();
    if left == right {
        return None;
    }
    let (first, second) = (without(&left, &right), without(&right, &left));
    Some(format!("only {}:{}\nonly {}:{}", names[0], shown(&first), names[1], shown(&second)))
}

/// The rows of a bag that another does not have.
fn without(rows: &[String], others: &[String]) -> Vec<String> {
    let mut left = others.to_vec();
    let mut found = Vec::new();
    for row in rows {
        match left.iter().position(|other| other == row) {
            Some(i) => drop(left.swap_remove(i)),
            None => found.push(row.clone()),
        }
    }
    found
}

fn shown(rows: &[String]) -> String {
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    let mut text: String = rows.iter().take(ROWS_SHOWN).map(|row| format!("\n  {row}")).collect();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

fn lines(answer: &Answer) -> Vec<String> {
    let value = |value: &Option<String>| match value.as_deref() {
        None => "NULL".to_string(),
        Some("-0") => "0".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => quotient(text).unwrap_or(text).to_string(),
    };
    answer.rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>().join(" | ")).collect()
}

/// A number with a scale that only quotients have, without the zeros at its end.
fn quotient(text: &str) -> Option<&str> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |s: &str| s.bytes().all(|byte| byte.is_ascii_digit());
    let is_quotient =
        fraction.len() >= QUOTIENT_SCALE_MIN && digits(fraction) && digits(whole.trim_start_matches('-'));
    is_quotient.then(|| text.trim_end_matches('0').trim_end_matches('.'))
}

fn status(outcome: &Outcome) -> String {
    outcome.as_ref().map_or_else(|error| error.code.clone(), |_| "ok".to_string())
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Ok(answer) => answer.tag.clone(),
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&str]) -> Outcome {
        let rows = values.iter().map(|value| vec![Some((*value).to_string())]).collect();
        Ok(Answer { rows, columns: 1, tag: format!("SELECT {}", values.len()) })
    }

    fn failed(code: &str) -> Outcome {
        Err(SqlError { code: code.into(), message: "no".into() })
    }

    #[test]
    fn bags_of_rows_are_compared() {
        assert_eq!(difference(&rows(&["1", "-0"]), &rows(&["0", "1"]), Tags::Compare), None);
        let (class, detail) = difference(&rows(&["1", "1"]), &rows(&["1", "2"]), Tags::Ignore).unwrap();
        assert_eq!((class, detail.as_str()), (Class::Rows, "only Weir:\n  1\nonly PostgreSQL:\n  2"));
    }

    #[test]
    fn zeros_at_the_end_of_a_quotient_do_not_count() {
        let (short, long) = (rows(&["1.5000000000000000"]), rows(&["1.50000000000000000000"]));
        assert_eq!(difference(&short, &long, Tags::Ignore), None);
        assert!(difference(&rows(&["1.50"]), &rows(&["1.5"]), Tags::Ignore).is_some());
    }

    #[test]
    fn errors_are_compared_by_state() {
        assert_eq!(difference(&failed("23505"), &failed("23505"), Tags::Compare), None);
        let class = difference(&failed("XX000"), &rows(&[]), Tags::Compare).map(|(class, _)| class);
        assert_eq!(class, Some(Class::Status("XX000".into(), "ok".into())));
    }
}
