//! The matches of a partition, one after the other, by the rules of AFTER MATCH SKIP.
//!
//! An attempt is made at a row; if it fails, at the next one. After an empty match the next attempt is made at the next row,
//! whatever AFTER MATCH says.

use weir_common::{Error, Result, SqlState};

use super::matcher::{Matcher, Within};
use super::program::Label;
use super::rows::Rows;
use crate::spec::{AfterMatch, VariableSet};

/// Rows between two places where matching may start again. Partitions of tests are short.
const RESTART_ROWS: usize = if cfg!(test) { 2 } else { 64 };

/// A match, or a row that is in none.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub start: usize,
    /// None for an empty match, and for a row in no match.
    pub labels: Vec<Label>,
    /// `None` for a row in no match.
    pub number: Option<i64>,
}

/// Where matching may start again: what comes before does not depend on rows behind `reach`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Restart<R> {
    pub start: R,
    /// Matches before it.
    pub number: i64,
    /// The last row that was looked at before; `None` for the end of the rows.
    pub reach: Option<R>,
    /// What lies before it is final when event time has come so far (`closing.rs`); `i64::MAX` for never.
    pub final_at: i64,
}

/// When attempts are final, by the times of rows.
pub(super) struct Finality {
    /// The times of all rows.
    pub times: Vec<Option<i64>>,
    /// How long after its first row an attempt takes no more rows, and looks at none.
    pub over_after: Option<i64>,
}

impl Finality {
    /// When attempts are final of which the last was made at one row, and none of which looked at rows behind another;
    /// `None` for the end of the rows.
    fn of(&self, last: usize, reach: Option<usize>) -> i64 {
        let passed = reach.and_then(|reach| self.times[reach]?.checked_add(1));
        let begun = self.times.get(last).copied().flatten();
        let over = self.over_after.zip(begun).and_then(|(after, begun)| begun.checked_add(after));
        passed.into_iter().chain(over).min().unwrap_or(i64::MAX)
    }
}

/// What is looked for in a partition.
#[derive(Clone, Copy)]
pub(super) struct Search {
    pub after_match: AfterMatch,
    /// Whether rows in no match are wanted.
    pub unmatched: bool,
    /// How many rows behind a match are read.
    pub margin: usize,
}

/// Where matching begins.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    pub start: usize,
    /// Matches before it.
    pub number: i64,
}

/// The matches from a row on, of which `number` come before.
pub(super) struct Matches {
    pub found: Vec<Found>,
    pub restarts: Vec<Restart<usize>>,
    /// The matches up to the end of the rows, and when they are final.
    pub end: (i64, i64),
}

impl Search {
    /// Finds all matches from a row on.
    pub fn run(
        &self,
        matcher: &mut Matcher,
        rows: &Rows,
        within: Option<&Within>,
        finality: Option<&Finality>,
        Begin { start: from, mut number }: Begin,
    ) -> Result<Matches> {
        matcher.look_at(rows)?;
        let (mut start, mut reach, mut matched_until, mut last_restart) = (from, from, from, from);
        let mut last = from;
        let mut matches = Matches { found: Vec::new(), restarts: Vec::new(), end: (number, i64::MAX) };
        let final_at = |last: usize, reach: Option<usize>| {
            finality.map_or(i64::MAX, |finality| finality.of(last, reach))
        };
        while start < rows.len {
            if start >= last_restart + RESTART_ROWS && (!self.unmatched || start >= matched_until) {
                // A row that comes before `start` has to be seen, too.
                let reach = Some(reach.max(start)).filter(|reach| *reach < rows.len);
                matches.restarts.push(Restart { start, number, reach, final_at: final_at(last, reach) });
                last_restart = start;
            }
            last = start;
            matcher.conditions.match_number = number + 1;
            let is_match = matcher.find(start, rows, within)?;
            let end = start + if is_match { matcher.labels.len() } else { 0 };
            reach = reach.max(matcher.reach.saturating_add(self.margin));
            if !is_match {
                if self.unmatched && start >= matched_until {
                    matches.found.push(Found { start, labels: Vec::new(), number: None });
                }
                start += 1;
                continue;
            }
            number += 1;
            let next = if end == start { start + 1 } else { self.next_start(start, &matcher.labels)? };
            let labels = matcher.labels.clone();
            matches.found.push(Found { start, labels, number: Some(number) });
            (start, matched_until) = (next, matched_until.max(end));
        }
        // Rows before all attempts are final like those of the first one.
        let looked = Some(reach.max(rows.len.saturating_sub(1))).filter(|reach| *reach < rows.len);
        matches.end = (number, final_at(last, looked));
        Ok(matches)
    }

    fn next_start(&self, start: usize, labels: &[Label]) -> Result<usize> {
        let is_of = |set: VariableSet| move |label: &Label| set.contains(label.variable);
        let place = match self.after_match {
            AfterMatch::PastLastRow => return Ok(start + labels.len()),
            AfterMatch::ToNextRow => return Ok(start + 1),
            AfterMatch::ToFirst(set) => labels.iter().position(is_of(set)),
            AfterMatch::ToLast(set) => labels.iter().rposition(is_of(set)),
        };
        match place {
            Some(0) => Err(Error::new(
                SqlState::SKIP_TO_FIRST_ROW_OF_MATCH,
                "AFTER MATCH SKIP leads to the first row of the match",
            )
            .with_detail("The same match would be found without end.")
            .with_hint("Skip to a variable that is mapped to later rows, or TO NEXT ROW.")),
            Some(place) => Ok(start + place),
            None => Err(Error::new(
                SqlState::SKIP_TO_NONEXISTENT_ROW,
                "AFTER MATCH SKIP leads to a variable that no row of the match is mapped to",
            )
            .with_hint("Skip to a variable that every match has, or TO NEXT ROW.")),
        }
    }
}
