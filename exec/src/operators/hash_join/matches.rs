//! How many matches rows have, and what rows and keys were like when the epoch began.
//!
//! Without a filter all rows of a key have the same matches: the other side's rows of the key, one number a key
//! (`Totals`). With a filter each row has a number of its own (`Preserved::matches`). Neither is on disk: a restore
//! counts again.
//!
//! Within an epoch rows come and go, and matches with them. The first change of a row or key notes what was before;
//! only at the epoch's end the two are compared (`transitions.rs`).

use crate::state::NONE;

/// A row that may show differently than before.
#[derive(Clone, Copy)]
pub(super) struct Touched {
    pub slot: u32,
    /// How often the row was there.
    pub weight: i32,
    /// Matches it had, where rows have numbers of their own.
    pub matches: i64,
}

/// What a preserved side keeps for each slot.
#[derive(Default)]
pub(super) struct Preserved {
    pub touched: Vec<Touched>,
    is_touched: Vec<bool>,
    /// Matches of each slot, if there is a filter.
    pub matches: Option<Vec<i64>>,
    /// Of each row of the last batch: the slot that it opened, or `NONE`.
    fresh: Vec<u32>,
}

impl Preserved {
    /// Rows with numbers of their own, or with those of their keys.
    pub fn new(counts_rows: bool) -> Preserved {
        Preserved { matches: counts_rows.then(Vec::new), ..Preserved::default() }
    }

    /// Makes room for slots below `bound`.
    pub fn reserve(&mut self, bound: usize) {
        if self.is_touched.len() < bound {
            self.is_touched.resize(bound, false);
            if let Some(matches) = &mut self.matches {
                matches.resize(bound, 0);
            }
        }
    }

    /// A batch of the side begins.
    pub fn begin_batch(&mut self, rows: usize, bound: usize) {
        self.reserve(bound);
        self.fresh.clear();
        self.fresh.resize(rows, NONE);
    }

    /// A row of the batch is in a slot of its own.
    pub fn add_fresh(&mut self, row: usize, slot: u32) {
        if let Some(matches) = &mut self.matches {
            matches[slot as usize] = 0;
        }
        self.fresh[row] = slot;
        self.touch(slot, 0);
    }

    /// Counts matches of a row of the last batch, if it opened a slot: an older one's are known.
    #[inline]
    pub fn add_to_fresh(&mut self, row: u32, count: i32) {
        let slot = self.fresh[row as usize];
        if let Some(matches) = self.matches.as_mut().filter(|_| slot != NONE) {
            matches[slot as usize] += i64::from(count);
        }
    }

    /// Counts matches of a stored row, which is `weight` times there.
    #[inline]
    pub fn add(&mut self, slot: u32, weight: i32, count: i64) {
        self.touch(slot, weight);
        if let Some(matches) = &mut self.matches {
            matches[slot as usize] += count;
        }
    }

    /// Notes a row before it changes.
    #[inline]
    pub fn touch(&mut self, slot: u32, weight: i32) {
        if !std::mem::replace(&mut self.is_touched[slot as usize], true) {
            let matches = self.matches.as_ref().map_or(0, |matches| matches[slot as usize]);
            self.touched.push(Touched { slot, weight, matches });
        }
    }

    /// Forgets the epoch; the slots that were touched.
    pub fn end_epoch(&mut self) -> Vec<u32> {
        let slots: Vec<u32> = self.touched.drain(..).map(|touched| touched.slot).collect();
        slots.iter().for_each(|slot| self.is_touched[*slot as usize] = false);
        slots
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.touched.capacity() * size_of::<Touched>()
            + self.is_touched.capacity()
            + self.matches.as_ref().map_or(0, |matches| matches.capacity() * 8)
            + self.fresh.capacity() * 4
    }
}

/// How many rows of a side each key has.
#[derive(Default)]
pub(super) struct Totals {
    of_key: Vec<i64>,
    /// (key, number before the epoch).
    pub touched: Vec<(u32, i64)>,
    /// Of each key its position in `touched`, or `NONE`.
    position: Vec<u32>,
}

impl Totals {
    /// Makes room for keys below `bound`.
    pub fn reserve(&mut self, bound: usize) {
        if self.of_key.len() < bound {
            self.of_key.resize(bound, 0);
            self.position.resize(bound, NONE);
        }
    }

    /// A row comes or goes.
    #[inline]
    pub fn add(&mut self, key: u32, op: i8) {
        let position = &mut self.position[key as usize];
        if *position == NONE {
            *position = self.touched.len() as u32;
            self.touched.push((key, self.of_key[key as usize]));
        }
        self.of_key[key as usize] += i64::from(op);
    }

    /// Rows that were there before.
    pub fn restore(&mut self, key: u32, weight: i64) {
        self.of_key[key as usize] += weight;
    }

    /// Rows of a key now.
    #[inline]
    pub fn now(&self, key: u32) -> i64 {
        self.of_key[key as usize]
    }

    /// Rows of a key before the epoch.
    #[inline]
    pub fn before(&self, key: u32) -> i64 {
        match self.position[key as usize] {
            NONE => self.of_key[key as usize],
            position => self.touched[position as usize].1,
        }
    }

    /// Forgets the epoch.
    pub fn end_epoch(&mut self) {
        let Totals { touched, position, .. } = self;
        touched.drain(..).for_each(|(key, _)| position[key as usize] = NONE);
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.of_key.capacity() * 8 + self.touched.capacity() * 16 + self.position.capacity() * 4
    }
}
