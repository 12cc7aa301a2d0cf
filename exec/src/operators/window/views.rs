//! Partitions as they were before the epoch and as they are now, row by row.

use std::ops::Range;

use super::evaluate::Reach;
use crate::operators::ordered_rows::OrderedRows;

/// Rows of some partitions at one time, one partition after the other.
#[derive(Default)]
pub(super) struct View {
    /// The slot of each row, repeated rows repeatedly.
    pub slots: Vec<u32>,
    /// Where each partition ends.
    pub ends: Vec<usize>,
}

/// Rows of some partitions before the epoch and now.
#[derive(Default)]
pub(super) struct Views {
    pub before: View,
    pub now: View,
    /// The rows that are in both and whose results may differ: their places before and now.
    pub pairs: [Vec<u32>; 2],
    /// Places before of rows that went.
    pub deletes: Vec<u32>,
    /// Places now of rows that came.
    pub inserts: Vec<u32>,
}

impl Views {
    /// Adds what must be evaluated of a partition. With a reach these are the rows that can see a changed row, and
    /// the rows that those see:
    ///
    /// ```text
    ///   context (before) │ affected: after … first change … last change … before │ context (after)
    /// ```
    pub fn add(&mut self, rows: &OrderedRows, partition: u32, reach: Option<Reach>) {
        let Some(changed) = changed(rows, partition) else { return };
        let (affected, context) = match reach {
            None => (0..usize::MAX, 0..usize::MAX),
            Some(reach) => {
                let affected = extended(&changed, reach.after, reach.before);
                (affected.clone(), extended(&affected, reach.before, reach.after))
            }
        };
        let length = context.end - context.start;
        for (at, (slot, [before, now])) in
            present(rows, partition).enumerate().skip(context.start).take(length)
        {
            let places = [self.before.add(slot, before), self.now.add(slot, now)];
            if !affected.contains(&at) {
                continue;
            }
            let both = before.min(now) as u32;
            for (pairs, first) in self.pairs.iter_mut().zip(places) {
                pairs.extend(first..first + both);
            }
            self.deletes.extend(places[0] + both..places[0] + before as u32);
            self.inserts.extend(places[1] + both..places[1] + now as u32);
        }
        self.before.ends.push(self.before.slots.len());
        self.now.ends.push(self.now.slots.len());
    }
}

/// The rows of a partition that were there before the epoch or are now, with their copies. Only changed ones have none
/// at one of these times, so around a change a position is a row at least.
fn present(rows: &OrderedRows, partition: u32) -> impl Iterator<Item = (u32, [u64; 2])> + '_ {
    rows.list(partition).iter().map(|slot| (slot, rows.copies(slot))).filter(|(_, copies)| *copies != [0, 0])
}

/// Positions among the rows present from the first changed one to the last.
fn changed(rows: &OrderedRows, partition: u32) -> Option<Range<usize>> {
    let mut changed = present(rows, partition)
        .enumerate()
        .filter(|(_, (_, [before, now]))| before != now)
        .map(|(at, _)| at);
    let first = changed.next()?;
    let last = changed.last().unwrap_or(first);
    Some(first..last + 1)
}

/// The range with so many positions more before and after.
fn extended(range: &Range<usize>, before: usize, after: usize) -> Range<usize> {
    range.start.saturating_sub(before)..range.end.saturating_add(after)
}

impl View {
    /// Adds copies of a row; the place of the first.
    fn add(&mut self, slot: u32, copies: u64) -> u32 {
        let first = self.slots.len() as u32;
        self.slots.extend(std::iter::repeat_n(slot, copies as usize));
        first
    }
}
