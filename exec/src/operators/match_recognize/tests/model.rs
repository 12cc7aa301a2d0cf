//! MATCH_RECOGNIZE by enumeration: every way in which a pattern fits is tried in the standard's order of preference, with
//! nothing compiled or remembered, and everything computed from scratch.

use std::collections::BTreeMap;

use crate::spec::{AfterMatch, Logical, Pattern, RowPattern, RowsPerMatch, VariableSet};
use crate::testing::{Net, Row};

/// The conditions that tests use, over rows of (partition, time, value).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Test {
    Always,
    /// `v > c`
    Above(i64),
    /// `v < PREV(v)`
    Falls,
    /// `NEXT(v, 2) > v`
    RisesAfter,
    /// `v > A.v`, the last row of the first variable
    AboveFirstVariable,
    /// `v > FIRST(v)`, the first row of the match
    AboveStart,
    /// `count(own.*) <= n`
    AtMost(i64),
    /// `sum(v) < c`, of all rows
    SumBelow(i64),
    /// `PREV(LAST(own.v, 1)) IS NULL OR PREV(LAST(own.v, 1)) <= v`
    NotBelowEarlier,
    /// `MATCH_NUMBER() < n`
    MatchBelow(i64),
}

/// A match: its first row, and the variables of its rows.
struct Match {
    start: usize,
    labels: Vec<(u8, bool)>,
}

pub(super) struct Model<'a> {
    pub spec: &'a RowPattern,
    pub tests: &'a [Test],
    /// Of a partition, in order.
    rows: Vec<Row>,
}

/// What comes out for these rows; an error is `None`.
pub(super) fn output(spec: &RowPattern, tests: &[Test], input: &[Row]) -> Option<Net> {
    let mut partitions: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
    for row in input {
        partitions.entry(spec.partition.iter().map(|c| row[*c]).collect()).or_default().push(row.clone());
    }
    let mut net = Net::new();
    for mut rows in partitions.into_values() {
        let nulls_last = |cell: Option<i64>| (cell.is_none(), cell);
        rows.sort_by_key(|row| (nulls_last(row[1]), nulls_last(row[0]), nulls_last(row[2])));
        for row in (Model { spec, tests, rows }).partition()? {
            *net.entry(row).or_default() += 1;
        }
    }
    Some(net)
}

impl Model<'_> {
    fn partition(&self) -> Option<Vec<Vec<String>>> {
        let (mut out, mut start, mut number) = (Vec::new(), 0, 0);
        let mut matched = vec![false; self.rows.len()];
        let mut unmatched = Vec::new();
        while start < self.rows.len() {
            let Some(found) = self.find(start, number + 1) else {
                unmatched.push(start);
                start += 1;
                continue;
            };
            number += 1;
            let len = found.labels.len();
            matched[start..start + len].fill(true);
            self.show(&found, number, &mut out);
            start = if len == 0 { start + 1 } else { self.next_start(&found)? };
        }
        if let RowsPerMatch::All { unmatched: true, .. } = self.spec.rows {
            for row in unmatched.into_iter().filter(|row| !matched[*row]) {
                let mut cells = self.shown(row);
                cells.resize(cells.len() + self.spec.measures.len(), ".".to_owned());
                out.push(cells);
            }
        }
        Some(out)
    }

    fn find(&self, start: usize, number: i64) -> Option<Match> {
        let mut found = None;
        let mut labels = Vec::new();
        let accept = &mut |_: usize, labels: &mut Vec<(u8, bool)>| {
            found = Some(labels.clone());
            true
        };
        self.fit(&self.spec.pattern, start, number, start, &mut labels, accept);
        found.map(|labels| Match { start, labels })
    }

    /// Tries the ways in which a pattern fits from a row on, until one is accepted.
    fn fit(
        &self,
        pattern: &Pattern,
        start: usize,
        number: i64,
        row: usize,
        labels: &mut Vec<(u8, bool)>,
        accept: &mut dyn FnMut(usize, &mut Vec<(u8, bool)>) -> bool,
    ) -> bool {
        match pattern {
            Pattern::Variable { variable, is_excluded } => {
                if row >= self.rows.len() || !self.is_within(start, row) {
                    return false;
                }
                labels.push((*variable, *is_excluded));
                let fits = self.test(*variable, start, number, row, labels) && accept(row + 1, labels);
                if !fits {
                    labels.pop();
                }
                fits
            }
            Pattern::Start => row == 0 && accept(row, labels),
            Pattern::End => row == self.rows.len() && accept(row, labels),
            Pattern::Concat(parts) => match parts.split_first() {
                None => accept(row, labels),
                Some((first, rest)) => {
                    let rest = Pattern::Concat(rest.to_vec());
                    self.fit(first, start, number, row, labels, &mut |row, labels| {
                        self.fit(&rest, start, number, row, labels, accept)
                    })
                }
            },
            Pattern::Alternation(branches) => {
                branches.iter().any(|branch| self.fit(branch, start, number, row, labels, accept))
            }
            Pattern::Repeat { pattern: body, min, max, is_greedy } => {
                if *max == Some(0) {
                    return accept(row, labels);
                }
                let next = Pattern::Repeat {
                    pattern: body.clone(),
                    min: min.saturating_sub(1),
                    max: max.map(|max| max - 1),
                    is_greedy: *is_greedy,
                };
                let again =
                    |labels: &mut Vec<(u8, bool)>,
                     accept: &mut dyn FnMut(usize, &mut Vec<(u8, bool)>) -> bool| {
                        self.fit(body, start, number, row, labels, &mut |to, labels| {
                            // An iteration that was not asked for matches some row.
                            (to > row || *min > 0) && self.fit(&next, start, number, to, labels, accept)
                        })
                    };
                match (*min > 0, is_greedy) {
                    (true, _) => again(labels, accept),
                    (_, true) => again(labels, accept) || accept(row, labels),
                    (_, false) => accept(row, labels) || again(labels, accept),
                }
            }
        }
    }

    fn is_within(&self, start: usize, row: usize) -> bool {
        let Some(within) = self.spec.within_micros else { return true };
        let time = |row: usize| self.rows[row][1];
        start == row
            || time(start).zip(time(row)).is_some_and(|(first, last)| last.saturating_sub(first) < within)
    }

    fn value(&self, row: Option<usize>) -> Option<i64> {
        self.rows.get(row?)?[2]
    }

    /// The rows of a match that are mapped to some variables.
    fn mapped(&self, start: usize, labels: &[(u8, bool)], set: VariableSet) -> Vec<usize> {
        (start..)
            .zip(labels)
            .filter(|(_, (variable, _))| set.contains(*variable))
            .map(|(row, _)| row)
            .collect()
    }

    /// The condition of the variable that `row`, the last of the labels, is mapped to.
    fn test(&self, variable: u8, start: usize, number: i64, row: usize, labels: &[(u8, bool)]) -> bool {
        let here = self.value(Some(row));
        let of = |set| self.mapped(start, labels, set);
        let above = |than: Option<i64>| here.zip(than).is_some_and(|(here, than)| here > than);
        match self.tests[usize::from(variable)] {
            Test::Always => true,
            Test::Above(than) => above(Some(than)),
            Test::Falls => {
                self.value(row.checked_sub(1)).zip(here).is_some_and(|(before, here)| here < before)
            }
            Test::RisesAfter => self.value(Some(row + 2)).zip(here).is_some_and(|(after, here)| after > here),
            Test::AboveFirstVariable => above(self.value(of(VariableSet::one(0)).last().copied())),
            Test::AboveStart => above(self.value(Some(start))),
            Test::AtMost(most) => of(VariableSet::one(variable)).len() as i64 <= most,
            Test::SumBelow(than) => {
                let values: Vec<i64> =
                    of(VariableSet::ALL).into_iter().filter_map(|row| self.value(Some(row))).collect();
                !values.is_empty() && values.iter().sum::<i64>() < than
            }
            Test::NotBelowEarlier => {
                let own = of(VariableSet::one(variable));
                let earlier = own.len().checked_sub(2).and_then(|at| own[at].checked_sub(1));
                let earlier = self.value(earlier);
                earlier.is_none() || earlier.zip(here).is_some_and(|(earlier, here)| earlier <= here)
            }
            Test::MatchBelow(than) => number < than,
        }
    }

    fn next_start(&self, found: &Match) -> Option<usize> {
        let of = |set| self.mapped(found.start, &found.labels, set);
        match self.spec.after_match {
            AfterMatch::PastLastRow => Some(found.start + found.labels.len()),
            AfterMatch::ToNextRow => Some(found.start + 1),
            AfterMatch::ToFirst(set) => of(set).first().copied().filter(|row| *row != found.start),
            AfterMatch::ToLast(set) => of(set).last().copied().filter(|row| *row != found.start),
        }
    }

    fn shown(&self, row: usize) -> Vec<String> {
        self.spec.project.iter().map(|column| show(self.rows[row][*column])).collect()
    }

    fn show(&self, found: &Match, number: i64, out: &mut Vec<Vec<String>>) {
        let len = found.labels.len();
        let rows: Vec<(usize, usize)> = match self.spec.rows {
            RowsPerMatch::One => vec![(found.start, len)],
            RowsPerMatch::All { empty: true, .. } if len == 0 => vec![(found.start, 0)],
            RowsPerMatch::All { .. } => {
                let shown = (0..len).filter(|at| !found.labels[*at].1);
                shown.map(|at| (found.start + at, at + 1)).collect()
            }
        };
        for (row, seen) in rows {
            let mut cells = self.shown(row);
            cells.extend(self.measures(found, number, seen));
            out.push(cells);
        }
    }

    /// As `tests::measures` has them.
    fn measures(&self, found: &Match, number: i64, seen: usize) -> Vec<String> {
        let running = &found.labels[..seen];
        let of = |labels: &[(u8, bool)], set| self.mapped(found.start, labels, set);
        let first = VariableSet::one(0);
        let values =
            |rows: Vec<usize>| rows.into_iter().filter_map(|row| self.value(Some(row))).collect::<Vec<i64>>();
        let sum = |values: Vec<i64>| (!values.is_empty()).then(|| values.iter().sum::<i64>());
        let last_of_second = of(running, VariableSet::one(1)).last().copied();
        let nth = |labels: &[(u8, bool)], logical| {
            let rows = of(labels, VariableSet::ALL);
            match logical {
                Logical::First(n) => rows.get(n as usize).copied(),
                Logical::Last(n) => rows.len().checked_sub(n as usize + 1).map(|at| rows[at]),
            }
        };
        let name = running.last().map_or(".", |(variable, _)| ["a", "b", "c"][usize::from(*variable)]);
        let before = nth(running, Logical::First(0)).and_then(|row| row.checked_sub(1));
        vec![
            number.to_string(),
            show(self.value(nth(running, Logical::First(1)))),
            show(self.value(last_of_second)),
            show(self.value(nth(&found.labels, Logical::Last(0)))),
            name.to_owned(),
            seen.to_string(),
            show(sum(values(of(running, first)))),
            show(values(of(&found.labels, first)).into_iter().max()),
            show(self.value(before)),
            show(self.value(nth(running, Logical::Last(0)).map(|row| row + 1))),
        ]
    }
}

fn show(cell: Option<i64>) -> String {
    cell.map_or(".".to_owned(), |value| value.to_string())
}
