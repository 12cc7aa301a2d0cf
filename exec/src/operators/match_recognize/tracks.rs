//! `Tracks`: the match so far, as conditions see it: which rows are mapped to the variables that they name.
//!
//! The matcher reports each row that it maps and takes back ([`Tracks::push`], [`Tracks::truncate`]). What conditions
//! depend on are the *registers*: the rows that their navigations lead to, and the sets of rows that they aggregate. Two
//! attempts that come to the same row with the same registers go on alike.

use std::collections::HashMap;

use arrow::array::{ArrayRef, StringArray, UInt32Array};
use arrow::datatypes::DataType;
use weir_common::Result;

use super::aggregate::Accumulation;
use super::rows::Rows;
use crate::spec::{ChangelogMode, Logical, MatchAggregate, Navigation, VariableSet};

/// In place of a row that is not there.
const NOWHERE: u32 = u32::MAX;

/// Most registers that are told apart.
pub(super) const REGISTERS_MAX: usize = 6;

/// The rows of the match so far, by the sets of variables that conditions name.
#[derive(Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    aggregates: Vec<TrackedAggregate>,
    registers: Vec<Register>,
    /// Sets of rows by number: each is another set and a row more. The empty one is 0.
    sets: HashMap<(u32, u32), u32>,
}

/// A navigation among the rows of a track.
#[derive(Clone, Copy)]
pub(super) struct Tracked {
    track: usize,
    logical: Logical,
    /// Rows from there.
    pub offset: i64,
}

/// The rows that are mapped to some variables.
struct Track {
    set: VariableSet,
    rows: Vec<u32>,
    /// For aggregates: the number of the set of the rows up to each.
    numbers: Option<Vec<u32>>,
}

struct TrackedAggregate {
    track: usize,
    aggregate: MatchAggregate,
    input: Vec<DataType>,
    accumulation: Accumulation,
    /// Rows that were taken in, of which the first `valid` are still mapped.
    applied: Vec<u32>,
    valid: usize,
}

/// What conditions depend on.
#[derive(Clone, Copy, PartialEq)]
enum Register {
    Row { track: usize, logical: Logical },
    Set { track: usize },
}

impl Tracks {
    /// A navigation that a condition uses.
    pub fn tracked(&mut self, at: &Navigation) -> Tracked {
        let track = self.track(at.set);
        // Rows that are mapped later move those before them: the nth last is one of the last n today.
        match at.logical {
            Logical::First(n) => (0..=n).for_each(|n| self.register_row(track, Logical::First(n))),
            Logical::Last(n) => (0..=n).for_each(|n| self.register_row(track, Logical::Last(n))),
        }
        Tracked { track, logical: at.logical, offset: at.offset }
    }

    /// An aggregate that a condition uses, by number.
    pub fn add_aggregate(&mut self, aggregate: &MatchAggregate, input: &[DataType]) -> Result<usize> {
        let track = self.track(aggregate.set);
        self.tracks[track].numbers = Some(Vec::new());
        self.register(Register::Set { track });
        self.aggregates.push(TrackedAggregate {
            track,
            aggregate: aggregate.clone(),
            input: input.to_vec(),
            accumulation: accumulation(aggregate, input)?,
            applied: Vec::new(),
            valid: 0,
        });
        Ok(self.aggregates.len() - 1)
    }

    fn track(&mut self, set: VariableSet) -> usize {
        if let Some(known) = self.tracks.iter().position(|track| track.set == set) {
            return known;
        }
        self.tracks.push(Track { set, rows: Vec::new(), numbers: None });
        self.tracks.len() - 1
    }

    fn register_row(&mut self, track: usize, logical: Logical) {
        self.register(Register::Row { track, logical });
    }

    fn register(&mut self, register: Register) {
        if self.registers.len() <= REGISTERS_MAX && !self.registers.contains(&register) {
            self.registers.push(register);
        }
    }

    /// Forgets all rows: others come.
    pub fn reset(&mut self) -> Result<()> {
        self.clear();
        for aggregate in self.aggregates.iter_mut().filter(|aggregate| !aggregate.applied.is_empty()) {
            aggregate.accumulation = accumulation(&aggregate.aggregate, &aggregate.input)?;
            aggregate.applied.clear();
        }
        Ok(())
    }

    /// Begins a match.
    pub fn clear(&mut self) {
        self.truncate(0);
        self.sets.clear();
    }

    /// A row was mapped to a variable.
    pub fn push(&mut self, variable: u8, row: u32) {
        for track in self.tracks.iter_mut().filter(|track| track.set.contains(variable)) {
            track.rows.push(row);
            if let Some(numbers) = &mut track.numbers {
                let next = self.sets.len() as u32 + 1;
                let before = numbers.last().copied().unwrap_or_default();
                numbers.push(*self.sets.entry((before, row)).or_insert(next));
            }
        }
    }

    /// Rows from this one on are mapped no more.
    pub fn truncate(&mut self, row: u32) {
        for track in &mut self.tracks {
            while track.rows.last().is_some_and(|last| *last >= row) {
                track.rows.pop();
                track.numbers.as_mut().and_then(Vec::pop);
            }
        }
        for aggregate in &mut self.aggregates {
            aggregate.valid = aggregate.valid.min(self.tracks[aggregate.track].rows.len());
        }
    }

    /// The row that a navigation leads to before its offset, if `row` is mapped to `variable` next.
    pub fn row(&self, at: &Tracked, variable: u8, row: u32) -> Option<u32> {
        let track = &self.tracks[at.track];
        let next = track.set.contains(variable).then_some(row);
        let rows = track.rows.len() + usize::from(next.is_some());
        let place = match at.logical {
            Logical::First(n) => n as usize,
            Logical::Last(n) => rows.checked_sub(n as usize + 1)?,
        };
        track.rows.get(place).copied().or_else(|| next.filter(|_| place + 1 == rows))
    }

    /// The value of an aggregate, if `row` is mapped to `variable` next.
    pub fn aggregate(&mut self, number: usize, variable: u8, row: u32, rows: &Rows) -> Result<ArrayRef> {
        let aggregate = &mut self.aggregates[number];
        let track = &self.tracks[aggregate.track];
        let next = track.set.contains(variable).then_some(row);
        // Out with what is mapped no more, in with what is new.
        let gone = aggregate.applied.split_off(aggregate.valid);
        let new: Vec<u32> = track.rows[aggregate.valid..].iter().copied().chain(next).collect();
        if gone != new {
            let mut ops = vec![-1; gone.len()];
            ops.resize(gone.len() + new.len(), 1);
            let changed = UInt32Array::from_iter_values(gone.iter().chain(&new).copied());
            // The binder lets no condition read the names.
            let (names, groups) = (StringArray::new_null(changed.len()), vec![0; changed.len()]);
            aggregate.accumulation.update(rows, &changed, names, &groups, Some(&ops))?;
        }
        aggregate.applied.extend(&new);
        aggregate.valid = track.rows.len();
        aggregate.accumulation.results(1)
    }

    /// The registers; `None` if there are too many.
    pub fn registers(&self) -> Option<[u32; REGISTERS_MAX]> {
        let mut values = [NOWHERE; REGISTERS_MAX];
        for (at, register) in self.registers.iter().enumerate() {
            *values.get_mut(at)? = match register {
                Register::Set { track } => {
                    let numbers = self.tracks[*track].numbers.as_ref();
                    numbers.and_then(|numbers| numbers.last()).copied().unwrap_or_default()
                }
                Register::Row { track, logical } => {
                    let rows = &self.tracks[*track].rows;
                    let place = match logical {
                        Logical::First(n) => Some(*n as usize),
                        Logical::Last(n) => rows.len().checked_sub(*n as usize + 1),
                    };
                    place.and_then(|place| rows.get(place)).copied().unwrap_or(NOWHERE)
                }
            };
        }
        Some(values)
    }
}

fn accumulation(aggregate: &MatchAggregate, input: &[DataType]) -> Result<Accumulation> {
    let mut accumulation = Accumulation::new(aggregate, ChangelogMode::Retract, input)?;
    accumulation.resize(1);
    Ok(accumulation)
}
