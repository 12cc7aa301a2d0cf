//! `TimeIndex`: things by their time, to be found when it has passed.
//!
//! What the index is given stays until its time is taken. A thing that is gone by then, or whose place is another's, is
//! told apart by whoever takes it.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use weir_common::Result;

use super::native::int_values;

/// Small things by time.
pub struct TimeIndex<T>(BTreeMap<i64, Vec<T>>);

impl<T> Default for TimeIndex<T> {
    fn default() -> Self {
        TimeIndex(BTreeMap::new())
    }
}

impl<T: Copy + Ord> TimeIndex<T> {
    /// Adds a thing.
    pub fn add(&mut self, time: i64, thing: T) {
        self.0.entry(time).or_default().push(thing);
    }

    /// Adds things with the times in a column; those without a time are never found.
    pub fn add_all(&mut self, times: &ArrayRef, things: &[T]) -> Result<()> {
        let values = int_values(times)?;
        let mut rows = (0..things.len()).filter(|row| times.is_valid(*row)).peekable();
        // Neighbours mostly have one time.
        while let Some(first) = rows.next() {
            let same = self.0.entry(values[first]).or_default();
            same.push(things[first]);
            while let Some(row) = rows.next_if(|row| values[*row] == values[first]) {
                same.push(things[row]);
            }
        }
        Ok(())
    }

    /// Takes all things of earlier times out, each once, in order.
    pub fn take_before(&mut self, time: i64) -> Vec<T> {
        let later = self.0.split_off(&time);
        let mut taken: Vec<T> = std::mem::replace(&mut self.0, later).into_values().flatten().collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// The first time there is.
    pub fn first(&self) -> Option<i64> {
        self.0.keys().next().copied()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let list = |things: &Vec<T>| things.capacity() * size_of::<T>() + size_of::<(i64, Vec<T>)>();
        self.0.values().map(list).sum()
    }
}

/// Things with small numbers, each by the first time at which something is to be done about it. What that is may have
/// changed when its time has passed; then it is noted again.
#[derive(Default)]
pub struct FirstTimes {
    by_time: TimeIndex<u32>,
    /// The first time that each is noted under.
    first: Vec<i64>,
}

impl FirstTimes {
    /// Notes a thing under a time, unless it is noted under an earlier one; never if there is no such time, `i64::MAX`.
    pub fn note(&mut self, thing: u32, time: i64) {
        let at = thing as usize;
        if at >= self.first.len() {
            self.first.resize(at + 1, i64::MAX);
        }
        if time < self.first[at] {
            self.first[at] = time;
            self.by_time.add(time, thing);
        }
    }

    /// Takes all things of earlier times out, each once, in order.
    pub fn take_before(&mut self, time: i64) -> Vec<u32> {
        let taken = self.by_time.take_before(time);
        taken.iter().for_each(|thing| self.first[*thing as usize] = i64::MAX);
        taken
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.by_time.memory_bytes() + self.first.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn things_are_taken_once_when_their_time_has_passed() {
        let mut index = TimeIndex::default();
        let times: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(5), None, Some(3), Some(5)]));
        index.add_all(&times, &[1, 2, 3, 4, 1]).unwrap();
        index.add(9, 7);
        assert_eq!((index.first(), index.take_before(3)), (Some(3), vec![]));
        assert_eq!((index.take_before(6), index.first()), (vec![1, 2, 4], Some(9)));
        index.clear();
        assert!(index.take_before(i64::MAX).is_empty());
    }

    #[test]
    fn a_thing_is_noted_under_its_first_time() {
        let mut times = FirstTimes::default();
        [(3, 9), (3, 5), (3, 7), (1, 6), (2, i64::MAX)]
            .into_iter()
            .for_each(|(thing, time)| times.note(thing, time));
        assert_eq!(times.take_before(6), [3]);
        times.note(3, 6);
        assert_eq!(times.take_before(i64::MAX), [1, 3]);
        assert!(times.take_before(i64::MAX).is_empty());
    }
}
