//! `Matcher`: the match that begins at a row, by backtracking.
//!
//! ```text
//!   A B* C over a b b b x      labels  A B B B   C fails at x: back to the last choice, B* with one B less, C fails
//!                              choices (C, 1) (C, 2) (C, 3) (C, 4)
//! ```
//! Choices and labels lie on stacks of their own, so a match may have as many rows as there are. Where both branches of a
//! split have failed is remembered: an attempt that comes to this split again, at this row, with the same registers
//! ([`Tracks`]), would fail from there as well. That is the memoisation of RE2's bit-state matcher (R. Cox, "Regular
//! Expression Matching in the Wild", 2010) with registers added. It bounds the work:
//!
//! - Where conditions depend on rows alone, each (split, row) fails once for *all* starts of a partition: the work is at
//!   most splits × rows, besides the lengths of the matches.
//! - With k registers it is at most splits × rows^(k + 1) for a start, whatever the pattern, and in patterns like
//!   `A B* C`, whose registers follow from the row, splits × rows.
//! - With more than [`REGISTERS_MAX`] registers nothing is remembered. No attempt makes more than [`STEPS_MAX`] steps;
//!   one that would is 54001.
//!
//! [`Tracks`]: super::tracks::Tracks
//! [`REGISTERS_MAX`]: super::tracks::REGISTERS_MAX

use std::collections::HashSet;

use weir_common::{Error, Result, SqlState};

use super::conditions::Conditions;
use super::program::{Instruction, Label, Program};
use super::rows::Rows;
use super::tracks::REGISTERS_MAX;

/// Most steps of an attempt that cannot be bounded otherwise.
const STEPS_MAX: u64 = 50_000_000;

/// Most places that are remembered of an attempt whose conditions depend on the match.
const REMEMBERED_MAX: usize = 1 << 22;

/// Finds matches in the rows of one partition at a time.
pub(super) struct Matcher {
    program: Program,
    /// Whether the program has loops whose body may match no row.
    has_progress: bool,
    pub conditions: Conditions,
    memory: Memory,
    /// What each row of the match is mapped to.
    pub labels: Vec<Label>,
    choices: Vec<Choice>,
    /// Splits on the way to where the attempt is, with their rows.
    trail: Vec<(u32, u32)>,
    /// The last row that the attempt looked at, which may be the end of the rows.
    pub reach: usize,
}

/// What to do when an attempt fails.
enum Choice {
    /// Take the other branch of a split.
    Branch { instruction: u32, row: u32, trail: usize },
    /// Remember that both have failed.
    Failed { split: u32, row: u32 },
}

/// Where attempts failed.
enum Memory {
    /// A bit for each split at each row.
    Bits {
        bits: Vec<u64>,
        /// Those set by this attempt, which may not hold for others.
        own: Vec<usize>,
    },
    /// (split, row, registers), of one attempt.
    Places(HashSet<(u32, u32, [u32; REGISTERS_MAX])>),
}

/// The times of the rows of a partition, and how far apart the first and last row of a match may not be.
pub(super) struct Within {
    pub times: Vec<Option<i64>>,
    pub length: i64,
}

impl Within {
    /// Whether a match from one row may go on to another.
    fn admits(&self, start: usize, row: usize) -> bool {
        let apart = self.times[start].zip(self.times[row]).map(|(start, time)| time.saturating_sub(start));
        start == row || apart.is_some_and(|apart| apart < self.length)
    }
}

impl Matcher {
    pub fn new(program: Program, conditions: Conditions) -> Matcher {
        let memory = match conditions.are_local() {
            true => Memory::Bits { bits: Vec::new(), own: Vec::new() },
            false => Memory::Places(HashSet::new()),
        };
        let (labels, choices, trail) = (Vec::new(), Vec::new(), Vec::new());
        let is_progress = |instruction: &Instruction| matches!(instruction, Instruction::Progress { .. });
        let has_progress = program.instructions.iter().any(is_progress);
        Matcher { program, has_progress, conditions, memory, labels, choices, trail, reach: 0 }
    }

    /// Goes to other rows.
    pub fn look_at(&mut self, rows: &Rows) -> Result<()> {
        if let Memory::Bits { bits, .. } = &mut self.memory {
            let places = (rows.len + 1) * self.program.splits as usize;
            bits.clear();
            bits.resize(places.div_ceil(64), 0);
        }
        self.conditions.look_at(rows)
    }

    /// Whether a match begins at this row; it is in `labels` then.
    pub fn find(&mut self, start: usize, rows: &Rows, within: Option<&Within>) -> Result<bool> {
        self.labels.clear();
        self.choices.clear();
        self.trail.clear();
        self.conditions.tracks.clear();
        self.memory.begin();
        self.reach = start;
        let (mut at, mut row, mut steps, mut was_late) = (0, start, 0, false);
        loop {
            steps += 1;
            let next = match self.program.instructions[at as usize] {
                Instruction::Row(label) => {
                    self.reach = self.reach.max(row);
                    let is_late = row < rows.len && within.is_some_and(|within| !within.admits(start, row));
                    was_late |= is_late;
                    let fits =
                        row < rows.len && !is_late && self.conditions.test(label.variable, row, rows)?;
                    if fits {
                        self.labels.push(label);
                        self.conditions.tracks.push(label.variable, row as u32);
                        row += 1;
                    }
                    fits.then_some(at + 1)
                }
                Instruction::Split { number, first, second } => (!self.has_failed(number, row)).then(|| {
                    let row = row as u32;
                    self.trail.push((number, row));
                    let trail = self.trail.len();
                    self.choices.push(Choice::Failed { split: number, row });
                    self.choices.push(Choice::Branch { instruction: second, row, trail });
                    first
                }),
                Instruction::Jump(to) => Some(to),
                Instruction::Progress { split } => {
                    let mut here = self.trail.iter().rev().take_while(|(_, at)| *at == row as u32);
                    (!here.any(|(number, _)| *number == split)).then_some(at + 1)
                }
                Instruction::Start => (row == 0 && rows.is_from_start).then_some(at + 1),
                Instruction::End => {
                    self.reach = self.reach.max(row);
                    (row == rows.len).then_some(at + 1)
                }
                Instruction::Match => {
                    self.memory.end(was_late || self.has_progress);
                    return Ok(true);
                }
            };
            at = match next {
                Some(next) => next,
                None => match self.back(start) {
                    Some((instruction, to)) => {
                        row = to as usize;
                        instruction
                    }
                    None => {
                        self.memory.end(was_late);
                        return Ok(false);
                    }
                },
            };
            self.check_steps(steps)?;
        }
    }

    /// Takes rows back to the last branch that was not taken: where it goes on.
    fn back(&mut self, start: usize) -> Option<(u32, u32)> {
        loop {
            match self.choices.pop()? {
                Choice::Branch { instruction, row, trail } => {
                    self.trail.truncate(trail);
                    self.take_back(start, row);
                    return Some((instruction, row));
                }
                Choice::Failed { split, row } => {
                    self.take_back(start, row);
                    self.remember_failure(split, row);
                }
            }
        }
    }

    /// Takes back rows from this one on.
    fn take_back(&mut self, start: usize, row: u32) {
        self.labels.truncate(row as usize - start);
        self.conditions.tracks.truncate(row);
    }

    /// Whether an attempt is known to fail from this split at this row.
    fn has_failed(&self, split: u32, row: usize) -> bool {
        match &self.memory {
            Memory::Bits { bits, .. } => {
                let place = row * self.program.splits as usize + split as usize;
                bits[place / 64] & 1 << (place % 64) != 0
            }
            Memory::Places(places) => {
                let registers = self.conditions.tracks.registers();
                registers.is_some_and(|registers| places.contains(&(split, row as u32, registers)))
            }
        }
    }

    fn remember_failure(&mut self, split: u32, row: u32) {
        match &mut self.memory {
            Memory::Bits { bits, own } => {
                let place = row as usize * self.program.splits as usize + split as usize;
                bits[place / 64] |= 1 << (place % 64);
                own.push(place);
            }
            Memory::Places(places) => {
                if let Some(registers) = self.conditions.tracks.registers()
                    && places.len() < REMEMBERED_MAX
                {
                    places.insert((split, row, registers));
                }
            }
        }
    }

    fn check_steps(&self, steps: u64) -> Result<()> {
        if steps <= STEPS_MAX || matches!(self.memory, Memory::Bits { .. }) {
            return Ok(());
        }
        let message = format!("MATCH_RECOGNIZE gives an attempt up after {STEPS_MAX} steps");
        Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message).with_hint(
            "Make the pattern less ambiguous, or limit the rows of a match with WITHIN or a quantifier {n,m}.",
        ))
    }
}

impl Memory {
    /// Another attempt begins.
    fn begin(&mut self) {
        match self {
            Memory::Bits { own, .. } => own.clear(),
            Memory::Places(places) => places.clear(),
        }
    }

    /// The attempt is over. If it came too late somewhere, what failed may be in time for a later start; and what failed
    /// inside of a loop, for want of a row since it began, failed only as far as the loop did, which a match may leave.
    fn end(&mut self, is_own: bool) {
        if let (Memory::Bits { bits, own }, true) = (self, is_own) {
            own.drain(..).for_each(|place| bits[place / 64] &= !(1 << (place % 64)));
        }
    }
}
