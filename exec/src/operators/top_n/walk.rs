//! The walk over a partition: two views of it, before the epoch and now, are numbered side by side.

use std::ops::Range;

use super::TopN;
use crate::spec::{ChangelogMode, Numbering, RowBounds};

/// Rows to emit: slots with op and number.
#[derive(Default)]
pub(super) struct Changes {
    pub slots: Vec<u32>,
    pub ops: Vec<i8>,
    pub numbers: Vec<i64>,
}

/// The rows of a partition that were walked, at one time.
#[derive(Clone, Copy, Default)]
struct View {
    /// How many.
    rows: u64,
    /// The set of peers of the last one.
    peers: u64,
    /// `rank()` of the last one.
    rank: u64,
    /// `dense_rank()` of the last one.
    dense_rank: u64,
}

impl View {
    /// Takes copies of a row of this set of peers; the numbers that those of them have that are shown.
    fn advance(&mut self, copies: u64, peers: u64, bounds: &RowBounds) -> Shown {
        if copies == 0 {
            return Shown::default();
        }
        if self.rows == 0 || self.peers != peers {
            (self.peers, self.rank, self.dense_rank) = (peers, self.rows + 1, self.dense_rank + 1);
        }
        let first = self.rows.max(bounds.skip);
        self.rows += copies;
        let last = bounds.last.unwrap_or(u64::MAX);
        let number = match bounds.numbering {
            Numbering::Row => return Shown::Each(first..self.rows.min(last).max(first)),
            Numbering::Rank => self.rank,
            Numbering::DenseRank => self.dense_rank,
        };
        let shown = if number <= last { self.rows.saturating_sub(first) } else { 0 };
        Shown::Same { number, copies: shown }
    }

    /// Whether no row is shown any more, at the beginning of a set of peers or within it.
    fn is_past(&self, begins_peers: bool, bounds: &RowBounds) -> bool {
        let Some(last) = bounds.last else { return false };
        match bounds.numbering {
            Numbering::Row => self.rows >= last,
            Numbering::Rank => begins_peers && self.rows >= last,
            Numbering::DenseRank => begins_peers && self.dense_rank >= last,
        }
    }
}

/// The copies of a row that are shown, by their numbers.
#[derive(Clone, PartialEq, Eq)]
enum Shown {
    /// A number each, counted from 0.
    Each(Range<u64>),
    /// The same number.
    Same { number: u64, copies: u64 },
}

impl Default for Shown {
    fn default() -> Self {
        Shown::Same { number: 0, copies: 0 }
    }
}

impl Shown {
    fn copies(&self) -> u64 {
        match self {
            Shown::Each(numbers) => numbers.end - numbers.start,
            Shown::Same { copies, .. } => *copies,
        }
    }
}

impl Changes {
    /// Emits what makes one the other, of rows with numbers.
    fn renumber(&mut self, slot: u32, before: &Shown, now: &Shown) {
        if let (Shown::Same { number: old, .. }, Shown::Same { number: new, .. }) = (before, now)
            && old == new
        {
            return self.recount(slot, before.copies(), now.copies(), *new);
        }
        for (op, shown, other) in [(-1, before, now), (1, now, before)] {
            match shown {
                Shown::Same { number, copies } => self.push(slot, op, *copies, *number),
                Shown::Each(numbers) => {
                    let kept = |number: &u64| matches!(other, Shown::Each(other) if other.contains(number));
                    for number in numbers.clone().filter(|number| !kept(number)) {
                        self.push(slot, op, 1, number + 1);
                    }
                }
            }
        }
    }

    /// Emits what makes so many copies so many.
    fn recount(&mut self, slot: u32, before: u64, now: u64, number: u64) {
        let op = if now > before { 1 } else { -1 };
        self.push(slot, op, now.abs_diff(before), number);
    }

    fn push(&mut self, slot: u32, op: i8, copies: u64, number: u64) {
        for _ in 0..copies {
            self.slots.push(slot);
            self.ops.push(op);
            self.numbers.push(number as i64);
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * 4 + self.ops.capacity() + self.numbers.capacity() * 8
    }
}

impl TopN {
    /// Finds the changes of a partition, and forgets rows that will not be shown again.
    pub(super) fn walk(&mut self, partition: u32) {
        let (mut before, mut now) = (View::default(), View::default());
        let (mut peers, mut previous) = (0, None);
        let (mut before_is_past, mut now_is_past) = (false, false);
        let forgets = self.mode == ChangelogMode::AppendOnly;
        let mut behind = Vec::new();
        for slot in self.rows.list(partition).iter() {
            let begins_peers = previous.is_none_or(|previous| !self.rows.are_peers(previous, slot));
            peers += u64::from(begins_peers);
            previous = Some(slot);
            before_is_past |= before.is_past(begins_peers, &self.bounds);
            now_is_past |= now.is_past(begins_peers, &self.bounds);
            if now_is_past && forgets {
                behind.push(slot);
            } else if now_is_past && before_is_past {
                break;
            }
            let copies = self.rows.copies(slot);
            let was = before.advance(copies[0], peers, &self.bounds);
            let is = now.advance(copies[1], peers, &self.bounds);
            match self.numbered {
                true => self.changes.renumber(slot, &was, &is),
                false => self.changes.recount(slot, was.copies(), is.copies(), 0),
            }
        }
        behind.into_iter().for_each(|slot| self.rows.forget(slot));
    }
}
