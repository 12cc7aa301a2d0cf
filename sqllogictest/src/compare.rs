//! Whether an answer is what a suite expects.
//!
//! Place in the flow: pure functions; `run` calls them. Rows are compared as lines: values in PostgreSQL's text form,
//! NULL as `NULL`, an empty string as `(empty)`, columns joined by a blank, runs of white space as one. A value a
//! line, as older suites have it, is accepted too, and so is a hash: `30 values hashing to …` (MD5 of a value a line).

use crate::script::{Expected, Pattern, Sort};
use crate::wire::{Answer, SqlError};

/// `None` when the outcome is as expected, else what differs.
pub fn difference(
    outcome: &Result<Answer, SqlError>,
    expected: &Expected,
    sort: Sort,
    columns: usize,
    hash_threshold: usize,
) -> Option<String> {
    match (outcome, expected) {
        (Ok(_), Expected::Ok) => None,
        (Ok(answer), Expected::Count(count)) => {
            let counted = answer.tag.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
            (counted != Some(*count)).then(|| format!("expected {count} rows, got tag {:?}", answer.tag))
        }
        (Ok(answer), Expected::Lines(lines)) => {
            if !answer.rows.is_empty() && answer.columns != columns {
                return Some(format!("expected {columns} columns, got {}", answer.columns));
            }
            lines_differ(answer, lines, sort, hash_threshold)
        }
        (Ok(answer), Expected::Error(pattern)) => {
            Some(format!("expected an error{}, got {:?}", described(pattern), answer.tag))
        }
        (Err(error), Expected::Error(pattern)) => (!matches_pattern(error, pattern)).then(|| {
            format!("expected an error{}, got {} {}", described(pattern), error.code, error.message)
        }),
        (Err(error), _) => Some(format!("failed: {} {}", error.code, error.message)),
    }
}

fn matches_pattern(error: &SqlError, pattern: &Option<Pattern>) -> bool {
    match pattern {
        None => true,
        Some(Pattern::SqlState(state)) => error.code == *state,
        Some(Pattern::Message(regex)) => regex.is_match(&error.message),
    }
}

fn described(pattern: &Option<Pattern>) -> String {
    match pattern {
        None => String::new(),
        Some(Pattern::SqlState(state)) => format!(" {state}"),
        Some(Pattern::Message(regex)) => format!(" like {regex:?}", regex = regex.as_str()),
    }
}

fn lines_differ(answer: &Answer, expected: &[String], sort: Sort, hash_threshold: usize) -> Option<String> {
    let mut rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let values = |rows: &[Vec<String>]| rows.iter().flatten().cloned().collect::<Vec<_>>();
    match sort {
        Sort::No => {}
        Sort::Rows => rows.sort(),
        Sort::Values => {
            let mut all = values(&rows);
            all.sort();
            rows = all.into_iter().map(|value| vec![value]).collect();
        }
    }
    let is_hash = matches!(expected, [one] if one.contains(" values hashing to "));
    if is_hash || (hash_threshold > 0 && rows.iter().map(Vec::len).sum::<usize>() > hash_threshold) {
        let actual = hash(&values(&rows));
        return (expected != [actual.clone()]).then(|| format!("got {actual}"));
    }
    let in_order = |mut lines: Vec<String>| {
        if sort != Sort::No {
            lines.sort();
        }
        lines
    };
    let wanted = in_order(expected.iter().map(|line| squeezed(line)).collect());
    let lines = in_order(rows.iter().map(|row| squeezed(&row.join(" "))).collect());
    let value_a_line: Vec<String> = values(&rows).iter().map(|value| squeezed(value)).collect();
    if lines == wanted || in_order(value_a_line) == wanted {
        return None;
    }
    Some(format!("expected:\n    {}\n  got:\n    {}", wanted.join("\n    "), lines.join("\n    ")))
}

/// A value as suites write it.
fn shown(value: &Option<String>) -> String {
    match value.as_deref() {
        None => "NULL".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => text.to_string(),
    }
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The hash of a result, as sqllogictest writes it.
fn hash(values: &[String]) -> String {
    let text: String = values.iter().flat_map(|value| [value.as_str(), "\n"]).collect();
    format!("{} values hashing to {:x}", values.len(), md5::compute(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[Option<&str>]]) -> Result<Answer, SqlError> {
        let row = |row: &&[Option<&str>]| row.iter().map(|v| v.map(str::to_string)).collect();
        Ok(Answer { rows: rows.iter().map(row).collect(), columns: rows[0].len(), tag: "SELECT 2".into() })
    }

    fn lines(text: &str) -> Expected {
        Expected::Lines(text.lines().map(str::to_string).collect())
    }

    fn same(outcome: &Result<Answer, SqlError>, expected: &Expected, sort: Sort) -> bool {
        difference(outcome, expected, sort, 2, 0).is_none()
    }

    #[test]
    fn rows_in_order_sorted_and_a_value_a_line() {
        let two = answer(&[&[Some("2"), None], &[Some("1"), Some("")]]);
        assert!(same(&two, &lines("2 NULL\n1  (empty)"), Sort::No));
        assert!(!same(&two, &lines("1 (empty)\n2 NULL"), Sort::No));
        assert!(same(&two, &lines("1 (empty)\n2 NULL"), Sort::Rows));
        assert!(same(&two, &lines("2\nNULL\n1\n(empty)"), Sort::No));
        assert!(same(&two, &lines("(empty)\n1\n2\nNULL"), Sort::Values));
        assert!(!same(&two, &lines("2 NULL"), Sort::No));
        assert!(difference(&two, &lines("2 NULL\n1 (empty)"), Sort::No, 3, 0).unwrap().contains("columns"));
    }

    #[test]
    fn long_results_by_hash() {
        let two = answer(&[&[Some("1"), Some("2")]]);
        let hashed = lines("2 values hashing to 6ddb4095eb719e2a9f0a3f95677d24e0");
        assert_eq!(difference(&two, &hashed, Sort::No, 2, 1), None);
        assert!(difference(&two, &lines("1 2"), Sort::No, 2, 1).is_some());
    }

    #[test]
    fn errors_by_state_and_by_message() {
        let failed = Err(SqlError { code: "22012".into(), message: "division by zero".into() });
        let state = |s: &str| Expected::Error(Some(Pattern::SqlState(s.into())));
        assert!(same(&failed, &state("22012"), Sort::No));
        assert!(!same(&failed, &state("22003"), Sort::No));
        let like = Expected::Error(Some(Pattern::Message(regex::Regex::new("by z").unwrap())));
        assert!(same(&failed, &like, Sort::No));
        assert!(!same(&failed, &Expected::Ok, Sort::No));
        assert!(!same(&answer(&[&[None]]), &Expected::Error(None), Sort::No));
        assert!(same(&answer(&[&[None]]), &Expected::Count(2), Sort::No));
    }
}
