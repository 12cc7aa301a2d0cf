//! `Program`: a row pattern as instructions for a backtracking matcher.
//!
//! The instructions are those of Thompson's and Pike's virtual machine (R. Cox, "Regular Expression Matching: the Virtual
//! Machine Approach", 2009), of which a `Split` tries its first branch first; so the first match found is the one that
//! the standard prefers. A counted repetition is written out:
//!
//! ```text
//!   A B* C        0 row A    1 split 2, 5    2 row B    4 jump 1    5 row C    6 match
//!   A{2,4}        A A (A (A)?)?
//! ```
//! An iteration that matches no row leads nowhere new. A loop whose body may match no row ends with `Progress`, which
//! fails such an iteration if it was not asked for, so that the next alternative is tried and no loop is endless.

use weir_common::{Error, Result, SqlState};

use crate::spec::Pattern;

/// Most instructions: what `{n,m}` and PERMUTE may be written out to.
const INSTRUCTIONS_MAX: usize = 20_000;

/// What a row of a match is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub variable: u8,
    pub is_excluded: bool,
}

/// An instruction; the next one follows unless it says otherwise. Splits are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// The next row, if the variable is true of it.
    Row(Label),
    /// One branch, then, if that fails, the other.
    Split {
        number: u32,
        first: u32,
        second: u32,
    },
    Jump(u32),
    /// Fails if no row was matched since the split of this number.
    Progress {
        split: u32,
    },
    Start,
    End,
    Match,
}

/// The instructions of a pattern.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    pub instructions: Vec<Instruction>,
    /// How many splits there are.
    pub splits: u32,
}

impl Program {
    /// Compiles a pattern. 54001 if it is too large.
    pub fn new(pattern: &Pattern) -> Result<Program> {
        let mut program = Program { instructions: Vec::new(), splits: 0 };
        program.add(pattern)?;
        program.emit(Instruction::Match)?;
        Ok(program)
    }

    fn add(&mut self, pattern: &Pattern) -> Result<()> {
        match pattern {
            Pattern::Variable { variable, is_excluded } => {
                let label = Label { variable: *variable, is_excluded: *is_excluded };
                self.emit(Instruction::Row(label)).map(drop)
            }
            Pattern::Start => self.emit(Instruction::Start).map(drop),
            Pattern::End => self.emit(Instruction::End).map(drop),
            Pattern::Concat(parts) => parts.iter().try_for_each(|part| self.add(part)),
            Pattern::Alternation(branches) => self.add_alternation(branches),
            Pattern::Repeat { pattern, min, max, is_greedy } => {
                (0..*min).try_for_each(|_| self.add(pattern))?;
                match max {
                    None => self.add_loop(pattern, *is_greedy),
                    Some(max) => self.add_optional(pattern, max.saturating_sub(*min), *is_greedy),
                }
            }
        }
    }

    fn add_alternation(&mut self, branches: &[Pattern]) -> Result<()> {
        let Some((last, others)) = branches.split_last() else { return Ok(()) };
        let mut jumps = Vec::with_capacity(others.len());
        for branch in others {
            let split = self.emit_split()?;
            self.add(branch)?;
            jumps.push(self.emit(Instruction::Jump(0))?);
            self.point(split, true);
        }
        self.add(last)?;
        let end = self.next();
        jumps.into_iter().for_each(|jump| self.instructions[jump] = Instruction::Jump(end));
        Ok(())
    }

    fn add_loop(&mut self, body: &Pattern, is_greedy: bool) -> Result<()> {
        let split = self.emit_split()?;
        self.add_iteration(body, split)?;
        self.emit(Instruction::Jump(split as u32))?;
        self.point(split, is_greedy);
        Ok(())
    }

    /// At most so many more: `(body (body …)?)?`.
    fn add_optional(&mut self, body: &Pattern, times: u32, is_greedy: bool) -> Result<()> {
        let mut splits = Vec::new();
        for _ in 0..times {
            let split = self.emit_split()?;
            splits.push(split);
            self.add_iteration(body, split)?;
        }
        splits.into_iter().for_each(|split| self.point(split, is_greedy));
        Ok(())
    }

    fn add_iteration(&mut self, body: &Pattern, split: usize) -> Result<()> {
        self.add(body)?;
        if may_be_empty(body)
            && let Instruction::Split { number, .. } = self.instructions[split]
        {
            self.emit(Instruction::Progress { split: number })?;
        }
        Ok(())
    }

    fn emit_split(&mut self) -> Result<usize> {
        let number = self.splits;
        self.splits += 1;
        self.emit(Instruction::Split { number, first: 0, second: 0 })
    }

    /// The branches of a split: what follows it, and what comes next now.
    fn point(&mut self, split: usize, follows_first: bool) {
        let (into, past) = (split as u32 + 1, self.next());
        if let Instruction::Split { first, second, .. } = &mut self.instructions[split] {
            (*first, *second) = if follows_first { (into, past) } else { (past, into) };
        }
    }

    fn next(&self) -> u32 {
        self.instructions.len() as u32
    }

    fn emit(&mut self, instruction: Instruction) -> Result<usize> {
        if self.instructions.len() >= INSTRUCTIONS_MAX {
            let message = format!("a row pattern of more than {INSTRUCTIONS_MAX} steps");
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message)
                .with_hint("Repetitions like {n,m} and PERMUTE are written out: make them smaller."));
        }
        self.instructions.push(instruction);
        Ok(self.instructions.len() - 1)
    }
}

/// Checks that a pattern can be compiled. 54001 if it is too large.
pub fn check_pattern(pattern: &Pattern) -> Result<()> {
    Program::new(pattern).map(drop)
}

/// Whether a pattern may match no row.
fn may_be_empty(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Variable { .. } => false,
        Pattern::Start | Pattern::End => true,
        Pattern::Concat(parts) => parts.iter().all(may_be_empty),
        Pattern::Alternation(branches) => branches.iter().any(may_be_empty),
        Pattern::Repeat { pattern, min, .. } => *min == 0 || may_be_empty(pattern),
    }
}
