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
}
