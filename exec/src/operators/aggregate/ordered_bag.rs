//! `OrderedBag`: values in order, each with how often it is there, with access by rank.
//!
//! A sorted list cut into blocks of at most [`BLOCK_MAX`] values. A block knows how many occurrences it holds and what
//! its most frequent value's count is, so that the value at a rank and the most frequent value are found by going over
//! blocks first, and a change moves at most one block.
//!
//! A count may be negative for a while within an epoch, when a delete comes before its insert; zero removes a value.

/// Most values of a block.
const BLOCK_MAX: usize = 128;

/// A multiset in order.
#[derive(Clone, Debug, Default)]
pub(super) struct OrderedBag {
    blocks: Vec<Block>,
    /// Occurrences of all values.
    total: i64,
}

#[derive(Clone, Debug, Default)]
struct Block {
    entries: Vec<Entry>,
    total: i64,
    /// The largest count of an entry.
    peak: i64,
}

/// A value and how often it is there.
type Entry = (Box<[u8]>, i64);

impl OrderedBag {
    /// Bytes that a value takes beside its own, about: blocks are half to entirely full.
    pub const VALUE_BYTES: usize = size_of::<Entry>() * 3 / 2;

    /// Adds a value this many times; `true` if it is now there and was not, `false` if it is gone, or else `None`.
    pub fn add(&mut self, value: &[u8], times: i64) -> Option<bool> {
        self.total += times;
        let at = self.blocks.partition_point(|block| block.first() <= value).saturating_sub(1);
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        let change = self.blocks[at].add(value, times);
        match self.blocks[at].entries.len() {
            0 => drop(self.blocks.remove(at)),
            len if len > BLOCK_MAX => {
                let upper = self.blocks[at].split();
                self.blocks.insert(at + 1, upper);
            }
            _ => {}
        }
        change
    }

    /// Occurrences of all values.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// All values in order, with their counts.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.blocks.iter().flat_map(|block| &block.entries).map(|(value, count)| (value.as_ref(), *count))
    }

    /// The value of the occurrence at this rank, from 0.
    pub fn at_rank(&self, rank: i64) -> Option<&[u8]> {
        let mut rest = rank;
        let block = self.blocks.iter().find(|block| {
            let inside = rest < block.total;
            rest -= if inside { 0 } else { block.total };
            inside
        })?;
        let entry = block.entries.iter().find(|(_, count)| {
            let inside = rest < *count;
            rest -= if inside { 0 } else { *count };
            inside
        });
        entry.map(|(value, _)| value.as_ref())
    }

    /// The first of the values that are there most often.
    pub fn most_frequent(&self) -> Option<&[u8]> {
        let peak = self.blocks.iter().map(|block| block.peak).max()?;
        let block = self.blocks.iter().find(|block| block.peak == peak)?;
        block.entries.iter().find(|(_, count)| *count == peak).map(|(value, _)| value.as_ref())
    }
}

impl Block {
    fn first(&self) -> &[u8] {
        self.entries.first().map_or(&[], |(value, _)| value)
    }

    fn add(&mut self, value: &[u8], times: i64) -> Option<bool> {
        self.total += times;
        match self.entries.binary_search_by(|(known, _)| known.as_ref().cmp(value)) {
            Err(_) if times == 0 => None,
            Err(at) => {
                self.entries.insert(at, (value.into(), times));
                self.peak = self.peak.max(times);
                Some(true)
            }
            Ok(at) => {
                let before = self.entries[at].1;
                let after = before + times;
                self.entries[at].1 = after;
                if after == 0 {
                    self.entries.remove(at);
                }
                if times > 0 {
                    self.peak = self.peak.max(after);
                } else if before == self.peak {
                    self.find_peak();
                }
                (after == 0).then_some(false)
            }
        }
    }

    /// Takes the upper half out.
    fn split(&mut self) -> Block {
        let mut upper = Block { entries: self.entries.split_off(self.entries.len() / 2), ..Block::default() };
        upper.total = upper.entries.iter().map(|(_, count)| count).sum();
        self.total -= upper.total;
        upper.find_peak();
        self.find_peak();
        upper
    }

    fn find_peak(&mut self) {
        self.peak = self.entries.iter().map(|(_, count)| *count).max().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(bag: &OrderedBag, model: &BTreeMap<u16, i64>) {
        let entries: Vec<(Vec<u8>, i64)> = bag.entries().map(|(v, count)| (v.to_vec(), count)).collect();
        let expected: Vec<(Vec<u8>, i64)> =
            model.iter().map(|(v, count)| (v.to_be_bytes().to_vec(), *count)).collect();
        assert_eq!(entries, expected);
        let ranks: Vec<u16> = model.iter().flat_map(|(v, n)| std::iter::repeat_n(*v, *n as usize)).collect();
        assert_eq!(bag.total(), ranks.len() as i64);
        for (rank, value) in ranks.iter().enumerate() {
            assert_eq!(bag.at_rank(rank as i64), Some(value.to_be_bytes().as_slice()));
        }
        assert_eq!(bag.at_rank(ranks.len() as i64), None);
        let most = model.values().max().copied();
        let mode = model.iter().find(|(_, n)| Some(**n) == most).map(|(v, _)| v.to_be_bytes().to_vec());
        assert_eq!(bag.most_frequent().map(<[u8]>::to_vec), mode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_bag_is_a_sorted_map_of_counts(
            steps in prop::collection::vec((0u16..700, any::<bool>()), 0..3000),
        ) {
            let (mut bag, mut model) = (OrderedBag::default(), BTreeMap::new());
            for (value, insert) in steps {
                let count: i64 = model.get(&value).copied().unwrap_or(0);
                let times = if insert || count == 0 { 1 } else { -1 };
                bag.add(&value.to_be_bytes(), times);
                match count + times {
                    0 => { model.remove(&value); }
                    count => { model.insert(value, count); }
                }
            }
            check(&bag, &model);
            for (value, count) in model.clone() {
                prop_assert_eq!(bag.add(&value.to_be_bytes(), -count), Some(false));
            }
            check(&bag, &BTreeMap::new());
        }
    }

    #[test]
    fn a_delete_may_come_before_its_insert() {
        let mut bag = OrderedBag::default();
        bag.add(b"a", -1);
        bag.add(b"b", 1);
        bag.add(b"a", 1);
        assert_eq!(bag.entries().collect::<Vec<_>>(), [(b"b".as_slice(), 1)]);
    }
}
