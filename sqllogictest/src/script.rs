//! Suite files, read into records.
//!
//! ```text
//! # section: data                   statement error 23505            query IT rowsort label-1
//! statement ok                      INSERT INTO t VALUES (1)          SELECT k, v FROM t
//! INSERT INTO t VALUES (1)                                            ----
//!                                   statement count 2                 1 one
//! skipif postgres                   DELETE FROM t                     2 NULL
//! ```
//! Also `query error PATTERN`, `onlyif X`, `hash-threshold N`, `include FILE`, `halt`. A pattern is a SQLSTATE or a
//! regular expression over the message. `(empty)` is the empty string. Records end at a blank line. `$__SUITE_DIR__`
//! stands for the folder that the suite is in. Queries of one label must give the same rows.

use std::path::Path;

use regex::Regex;

use crate::Result;

/// The word that stands for the suite's folder.
const SUITE_DIR: &str = "$__SUITE_DIR__";

/// A part of a suite that the runner may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Tables,
    Data,
    Views,
    Checks,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Record {
    /// `file:line`, for messages.
    pub place: String,
    pub section: Section,
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// `skipif` and `onlyif`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Skip(String),
    Only(String),
}

#[derive(Clone, Debug)]
pub enum Action {
    Statement {
        sql: String,
        expected: Expected,
    },
    Query {
        sql: String,
        sort: Sort,
        label: Option<String>,
        columns: usize,
        expected: Expected,
    },
    /// Results with more values than this are compared by hash; 0 never.
    HashThreshold(usize),
    Halt,
}

#[derive(Clone, Debug)]
pub enum Expected {
    Ok,
    Count(u64),
    /// Lines as in the file.
    Lines(Vec<String>),
    Error(Option<Pattern>),
}

/// What an error must look like.
#[derive(Clone, Debug)]
pub enum Pattern {
    SqlState(String),
    Message(Regex),
}

/// In which order rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    No,
    Rows,
    Values,
}

/// A suite.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub records: Vec<Record>,
    /// Whether it marks its sections.
    pub sectioned: bool,
}

impl Script {
    /// Reads a file and what it includes.
    pub fn read(path: &Path) -> Result<Script> {
        let mut script = Script::default();
        let mut section = Section::Checks;
        script.include(path, &mut section)?;
        Ok(script)
    }

    fn include(&mut self, path: &Path, section: &mut Section) -> Result<()> {
        let within = |e| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(within)?;
        let folder = std::fs::canonicalize(path.with_file_name("")).map_err(within)?;
        let text = text.replace(SUITE_DIR, &folder.display().to_string());
        self.parse(&text, path, section)
    }

    fn parse(&mut self, text: &str, path: &Path, section: &mut Section) -> Result<()> {
        let lines: Vec<&str> = text.lines().collect();
        let mut conditions = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let place = format!("{}:{}", path.display(), at + 1);
            let wrong = |what: &str| format!("{place}: {what}");
            let line = lines[at].trim();
            at += 1;
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(name) = comment.trim().strip_prefix("section:") {
                    *section = parse_section(name.trim()).ok_or_else(|| wrong("unknown section"))?;
                    self.sectioned = true;
                }
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let action = match words.as_slice() {
                [] => continue,
                ["skipif", name] => {
                    conditions.push(Condition::Skip((*name).to_string()));
                    continue;
                }
                ["onlyif", name] => {
                    conditions.push(Condition::Only((*name).to_string()));
                    continue;
                }
                ["include", file] => {
                    self.include(&path.with_file_name(file), section)?;
                    continue;
                }
                ["halt"] => Action::Halt,
                ["hash-threshold", n] => {
                    Action::HashThreshold(n.parse().map_err(|_| wrong("expected a number"))?)
                }
                ["statement" | "query", ..] => {
                    let block = take_block(&lines, &mut at);
                    parse_command(line, &words, &block).map_err(|e| wrong(&e))?
                }
                _ => {
                    return Err(wrong(
                        "expected statement, query, skipif, onlyif, include, hash-threshold or halt",
                    ));
                }
            };
            let conditions = std::mem::take(&mut conditions);
            self.records.push(Record { place, section: *section, conditions, action });
        }
        Ok(())
    }
}

/// The lines up to the next blank one.
fn take_block<'a>(lines: &[&'a str], at: &mut usize) -> Vec<&'a str> {
    let block: Vec<&str> = lines[*at..].iter().take_while(|line| !line.trim().is_empty()).copied().collect();
    *at += block.len();
    block
}

fn parse_section(name: &str) -> Option<Section> {
    Some(match name {
        "tables" => Section::Tables,
        "data" => Section::Data,
        "views" => Section::Views,
        "checks" => Section::Checks,
        _ => return None,
    })
}

fn parse_command(line: &str, words: &[&str], block: &[&str]) -> Result<Action> {
    let separator = block.iter().position(|line| line.trim() == "----");
    let sql = block[..separator.unwrap_or(block.len())].join("\n");
    if sql.trim().is_empty() {
        return Err("SQL is missing".into());
    }
    let results =
        || separator.map_or(Vec::new(), |at| block[at + 1..].iter().map(|l| (*l).to_string()).collect());
    match words {
        ["statement", "ok"] => Ok(Action::Statement { sql, expected: Expected::Ok }),
        ["statement", "count", n] => {
            let count = n.parse().map_err(|_| "expected a number of rows".to_string())?;
            Ok(Action::Statement { sql, expected: Expected::Count(count) })
        }
        ["statement", "error", ..] => Ok(Action::Statement { sql, expected: parse_error(line)? }),
        ["query", "error", ..] => {
            let expected = parse_error(line)?;
            Ok(Action::Query { sql, sort: Sort::No, label: None, columns: 0, expected })
        }
        ["query", types, rest @ ..] if types.chars().all(|c| "TIRB?".contains(c)) => {
            let (sort, label) = match rest {
                [] => (Sort::No, None),
                ["nosort", label @ ..] => (Sort::No, label.first()),
                ["rowsort", label @ ..] => (Sort::Rows, label.first()),
                ["valuesort", label @ ..] => (Sort::Values, label.first()),
                _ => return Err("expected nosort, rowsort or valuesort".into()),
            };
            let label = label.map(|label| (*label).to_string());
            // A labelled query may leave its rows out: then it only has to agree with the others of its label.
            let expected = match (&label, separator) {
                (Some(_), None) => Expected::Ok,
                _ => Expected::Lines(results()),
            };
            Ok(Action::Query { sql, sort, label, columns: types.len(), expected })
        }
        _ => Err("expected statement ok|error|count, or query with types out of T, I, R, B".into()),
    }
}

/// What follows the word `error`: nothing, a SQLSTATE, or a regular expression.
fn parse_error(line: &str) -> Result<Expected> {
    let pattern = line.split_once("error").map_or("", |(_, rest)| rest.trim());
    let is_state =
        pattern.len() == 5 && pattern.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
    Ok(Expected::Error(match pattern {
        "" => None,
        state if is_state => Some(Pattern::SqlState(state.to_string())),
        regex => Some(Pattern::Message(Regex::new(regex).map_err(|e| e.to_string())?)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script> {
        let mut script = Script::default();
        script.parse(text, Path::new("x.slt"), &mut Section::Checks)?;
        Ok(script)
    }

    #[test]
    fn all_kinds_of_records() {
        let text = "# section: data\nskipif postgres\nstatement ok\nINSERT\nINTO t\n\nstatement error 23505\nX\n\n\
                    statement error dup.*key\nX\n\nstatement count 2\nX\n\n# section: checks\n\
                    query IT rowsort name\nSELECT 1\n----\n1 a b\n\nhash-threshold 8\n\nhalt\n";
        let script = parse(text).unwrap();
        assert!(script.sectioned);
        assert_eq!(script.records.len(), 7);
        assert_eq!(script.records[0].place, "x.slt:3");
        assert_eq!(script.records[0].conditions, [Condition::Skip("postgres".into())]);
        assert!(
            matches!(&script.records[0].action, Action::Statement { sql, .. } if sql == "INSERT\nINTO t")
        );
        let state = |record: &Record| match &record.action {
            Action::Statement { expected: Expected::Error(Some(Pattern::SqlState(state))), .. } => {
                Some(state.clone())
            }
            _ => None,
        };
        assert_eq!(state(&script.records[1]).as_deref(), Some("23505"));
        assert_eq!(state(&script.records[2]), None);
        assert_eq!(script.records[4].section, Section::Checks);
        let Action::Query {
            columns: 2,
            sort: Sort::Rows,
            label: Some(label),
            expected: Expected::Lines(lines),
            ..
        } = &script.records[4].action
        else {
            panic!("{:?}", script.records[4]);
        };
        assert_eq!((label.as_str(), lines.as_slice()), ("name", &["1 a b".to_string()][..]));
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(parse("\nstatment ok\nX\n").unwrap_err().split(": ").next(), Some("x.slt:2"));
        assert!(parse("query Z\nX\n").is_err());
        assert!(parse("statement ok\n\n").unwrap_err().contains("SQL is missing"));
        assert!(parse("# section: nowhere\n").unwrap_err().contains("unknown section"));
    }
}
