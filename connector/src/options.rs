//! The options of a `WITH (…)` clause: typed reading, and an error that names the nearest valid option.

use std::collections::BTreeMap;

use weir_common::{Error, Result, SqlState};

/// Options as the user gave them, with the names that this connector knows.
pub struct Options<'a> {
    given: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    /// Checks that every option given is one of `known` (or `connector`, or starts with one of `prefixes`).
    pub fn checked(
        given: &'a BTreeMap<String, String>,
        known: &[&str],
        prefixes: &[&str],
    ) -> Result<Options<'a>> {
        for name in given.keys().map(String::as_str) {
            let fits =
                name == "connector" || known.contains(&name) || prefixes.iter().any(|p| name.starts_with(p));
            if !fits {
                return Err(unknown(name, known));
            }
        }
        Ok(Options { given })
    }

    /// The option's text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.given.get(name).map(String::as_str)
    }

    /// The option's text, which must be there.
    pub fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("option \"{name}\" is required"))
                .with_hint(format!("Add {name} = '…' to the WITH clause."))
        })
    }

    /// The option as a whole number ≥ 0.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let parse =
            |text: &str| text.replace('_', "").parse().map_err(|_| invalid(name, text, "a whole number"));
        self.text(name).map(parse).transpose()
    }

    /// The option as a boolean.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(invalid(name, text, "true or false")),
        };
        self.text(name).map(parse).transpose()
    }

    /// The option as one of some words.
    pub fn choice(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>> {
        let find = |text: &str| {
            let word = words.iter().find(|w| w.eq_ignore_ascii_case(text)).copied();
            word.ok_or_else(|| invalid(name, text, &format!("one of {}", words.join(", "))))
        };
        self.text(name).map(find).transpose()
    }
}

/// The value of an option is not what it must be (22023).
pub fn invalid(name: &str, value: &str, expected: &str) -> Error {
    let message = format!("invalid value for option \"{name}\": \"{value}\"");
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(format!("It must be {expected}."))
}

/// An unknown option (22023) or connector, with the nearest known one as a hint.
pub fn unknown(name: &str, known: &[&str]) -> Error {
    let error = Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unknown option \"{name}\""));
    match nearest(name, known) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint(format!("Options are: {}.", known.join(", "))),
    }
}

/// The word that takes the fewest edits, if that is less than half of it.
pub fn nearest<'w>(name: &str, words: &[&'w str]) -> Option<&'w str> {
    let ranked = words.iter().map(|word| (edits(name, word), *word)).min()?;
    (ranked.0 * 2 <= ranked.1.len().max(name.len())).then_some(ranked.1)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let given = BTreeMap::from([("formt".to_owned(), "csv".to_owned())]);
        let error = Options::checked(&given, &["format", "path"], &[]).err().unwrap();
        assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(error.hint(), Some("Did you mean \"format\"?"));
    }

    #[test]
    fn values_are_typed() {
        let given = BTreeMap::from([
            ("rate".to_owned(), "1_000".to_owned()),
            ("header".to_owned(), "maybe".to_owned()),
        ]);
        let options = Options::checked(&given, &["rate", "header"], &[]).unwrap();
        assert_eq!(options.number("rate").unwrap(), Some(1000));
        assert!(options.flag("header").is_err());
        assert_eq!(options.required("path").unwrap_err().state(), SqlState::INVALID_PARAMETER_VALUE);
    }
}
