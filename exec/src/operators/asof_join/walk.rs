//! The end of an epoch: which left rows have another match than before, and which came or went.
//!
//! A walk goes through the right rows that came or went from the last to the first, in the order of their lists. A *run*
//! starts at one of them and goes on towards the beginning of both lists:
//!
//! ```text
//!   right   …   p        q        r   (r has changed)          matches: what is reached first from r on,
//!   left    … l   l   l     l   l                                       before the epoch and now
//!                           └─ these reach r, but not q ─┘
//! ```
//! The left rows between q and r have these two matches. If they are the same, the run is over: nothing before r is
//! touched by it. If not, the left rows are emitted, q is next, and takes the place of either match if it was, or is,
//! there. So each right row that has changed is passed once, whatever else has changed around it.

use std::collections::HashSet;

use weir_common::Result;

use super::AsofJoin;
use crate::state::{NONE, Place};

/// What is left to do at the end of an epoch.
pub(super) struct Walk {
    /// Right rows that came or went, in order; those from `right_left` on are done.
    right_changed: Vec<u32>,
    right_left: usize,
    run: Option<Run>,
    /// Left rows that came or went, in order; those before `left_done` are done.
    left_changed: Vec<u32>,
    left_done: usize,
    /// Those of them that were met on a run.
    met: HashSet<u32>,
    /// The partition on the other side of each touched partition of a side; left and right.
    mates: [Vec<u32>; 2],
}

/// A part of a partition's left rows, whose matches are being corrected.
struct Run {
    left_partition: u32,
    right_partition: u32,
    /// The left rows before this place are to do.
    left_end: Place,
    /// The right row that the last of them reach, or one that is reached by more.
    right: Place,
    /// What is reached first from there on, before the epoch and now.
    matches: [u32; 2],
}

impl Walk {
    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let vectors = [&self.right_changed, &self.left_changed, &self.mates[0], &self.mates[1]];
        let words: usize = vectors.iter().map(|vector| vector.capacity()).sum();
        (words + self.met.capacity() * 2) * size_of::<u32>()
    }
}

impl AsofJoin {
    pub(super) fn begin_walk(&mut self) -> Result<Walk> {
        self.left.drop_passing();
        self.right.drop_passing();
        let mut mates = [Vec::new(), Vec::new()];
        let mut found = Vec::new();
        self.right.mates(&self.left, self.left.touched(), &mut found)?;
        scatter(self.left.touched(), &found, &mut mates[0]);
        self.left.mates(&self.right, self.right.touched(), &mut found)?;
        scatter(self.right.touched(), &found, &mut mates[1]);
        let right_changed = self.right.changed_in_order();
        Ok(Walk {
            right_left: right_changed.len(),
            right_changed,
            run: None,
            left_changed: self.left.changed_in_order(),
            left_done: 0,
            met: HashSet::new(),
            mates,
        })
    }

    /// Finds changes until there are `enough`; false when there are no more.
    pub(super) fn advance(&mut self, walk: &mut Walk, enough: usize) -> Result<bool> {
        while self.changes.len() < enough {
            if let Some(mut run) = walk.run.take() {
                if self.advance_run(&mut run, walk, enough) {
                    walk.run = Some(run);
                }
            } else if walk.right_left > 0 {
                walk.right_left -= 1;
                walk.run = self.begin_run(walk.right_changed[walk.right_left], &walk.mates[1])?;
            } else if let Some(left) = walk.left_changed.get(walk.left_done).copied() {
                walk.left_done += 1;
                if !walk.met.contains(&left) {
                    let found = self.lookup(left, walk.mates[0][self.left.partition(left) as usize]);
                    self.change(left, [found, found]);
                }
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A run from a right row; none if no left row reaches it.
    fn begin_run(&self, right: u32, mates: &[u32]) -> Result<Option<Run>> {
        let right_partition = self.right.partition(right);
        let left_partition = mates[right_partition as usize];
        if left_partition == NONE {
            return Ok(None);
        }
        let left_end = self.left.end_of(left_partition, |left| self.reaches(left, right));
        if self.left.list(left_partition).step_back(left_end).is_none() {
            return Ok(None);
        }
        let (list, place) = self.right.place(right)?;
        let first = |view: usize| list.from(place).find(|slot| self.right.copies(*slot)[view] > 0);
        let matches = [0, 1].map(|view| first(view).unwrap_or(NONE));
        Ok(Some(Run { left_partition, right_partition, left_end, right: place, matches }))
    }

    /// Emits the left rows that a run is at; false when it is over.
    fn advance_run(&mut self, run: &mut Run, walk: &mut Walk, enough: usize) -> bool {
        if run.matches[0] == run.matches[1] {
            return false;
        }
        let right = self.right.list(run.right_partition);
        let next = right.step_back(run.right).map(|place| (place, right.slot(place)));
        while self.changes.len() < enough {
            let lefts = self.left.list(run.left_partition);
            let Some(place) = lefts.step_back(run.left_end) else { return false };
            let left = lefts.slot(place);
            if let Some((place, slot)) = next.filter(|(_, slot)| self.reaches(left, *slot)) {
                run.right = place;
                let copies = self.right.copies(slot);
                (0..2).filter(|view| copies[*view] > 0).for_each(|view| run.matches[view] = slot);
                if walk.right_changed[..walk.right_left].last() == Some(&slot) {
                    walk.right_left -= 1;
                }
                return true;
            }
            run.left_end = place;
            let [before, now] = self.left.copies(left);
            if before != now {
                walk.met.insert(left);
            }
            self.change(left, run.matches);
        }
        true
    }

    /// The match of a left row in a partition where it is the same before the epoch and now.
    fn lookup(&self, left: u32, right_partition: u32) -> u32 {
        if right_partition == NONE {
            return NONE;
        }
        let place = self.right.end_of(right_partition, |right| !self.reaches(left, right));
        let mut reached = self.right.list(right_partition).from(place);
        reached.find(|right| self.right.copies(*right)[1] > 0).unwrap_or(NONE)
    }

    /// Whether a right row may be the match of a left one, by time.
    #[inline]
    pub(super) fn reaches(&self, left: u32, right: u32) -> bool {
        let order = self.left.compare_across(left, &self.right, right);
        order.is_lt() || (order.is_eq() && self.nearest.includes_equal())
    }

    /// Adds what makes the rows of a left row with its match before the epoch those with its match now.
    fn change(&mut self, left: u32, matches: [u32; 2]) {
        let [before, now] = self.left.copies(left);
        let kept = if matches[0] == matches[1] { before.min(now) } else { 0 };
        for (op, copies, found) in [(-1, before - kept, matches[0]), (1, now - kept, matches[1])] {
            if found != NONE || self.outer {
                self.changes.push(left, found, op, copies);
            }
        }
    }
}

/// Puts each value where its position says; the rest is of no interest.
fn scatter(positions: &[u32], values: &[u32], into: &mut Vec<u32>) {
    into.resize(positions.iter().max().map_or(0, |max| *max as usize + 1), NONE);
    positions.iter().zip(values).for_each(|(position, value)| into[*position as usize] = *value);
}
