//! `HashIndex`: open addressing from 32 hash bits (a *tag*) to a dense `u32` id.
//!
//! A slot is one word, `tag << 32 | id + 1`, 0 when free, so a probe reads one cache line and a growing table
//! needs nothing but its own slots. The home of a tag is its leading bits; collisions go to the next slot
//! (linear probing); removal shifts the followers back, so there are no tombstones. The caller keeps the keys
//! and decides equality; two keys may share a tag.
//!
//! Invariant: at most five of eight slots are taken, hence every probe ends at a free slot.

/// Fewest slots of a table.
const SLOTS_MIN_LOG2: u32 = 4;

/// An index from hash tags to ids.
#[derive(Clone, Debug)]
pub struct HashIndex {
    slots: Vec<u64>,
    /// `32 - log2(slots.len())`.
    shift: u32,
    len: usize,
}

impl Default for HashIndex {
    fn default() -> Self {
        HashIndex::new()
    }
}

impl HashIndex {
    /// An empty index.
    pub fn new() -> HashIndex {
        HashIndex { slots: vec![0; 1 << SLOTS_MIN_LOG2], shift: 32 - SLOTS_MIN_LOG2, len: 0 }
    }

    /// How many ids are indexed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no id is indexed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// Reads the home slot of each tag: independent loads that overlap in the memory system. Each result is
    /// a hint for [`HashIndex::hinted`], and stays valid as one while ids are added.
    pub fn hints(&self, tags: &[u32], hints: &mut Vec<u64>) {
        hints.clear();
        hints.extend(tags.iter().map(|tag| self.slots[self.home(*tag)]));
    }

    /// The id in a hint if its tag is this one.
    #[inline]
    pub fn hinted(hint: u64, tag: u32) -> Option<u32> {
        (hint != 0 && (hint >> 32) as u32 == tag).then(|| id_of(hint))
    }

    /// The first id with this tag that `equal` accepts.
    #[inline]
    pub fn find(&self, tag: u32, mut equal: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == tag && equal(id_of(slot)) {
                return Some(id_of(slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an id, which must not be there.
    #[inline]
    pub fn insert(&mut self, tag: u32, id: u32) {
        if (self.len + 1) * 8 > self.slots.len() * 5 {
            self.grow();
        }
        self.place(slot_of(tag, id));
        self.len += 1;
    }

    /// Removes an id, which must be there under this tag.
    pub fn remove(&mut self, tag: u32, id: u32) {
        let mask = self.slots.len() - 1;
        let wanted = slot_of(tag, id);
        let mut hole = self.home(tag);
        while self.slots[hole] != wanted {
            assert_ne!(self.slots[hole], 0, "only indexed ids are removed");
            hole = (hole + 1) & mask;
        }
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let slot = self.slots[next];
            if slot == 0 {
                break;
            }
            let home = self.home((slot >> 32) as u32);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = next;
            }
        }
        self.slots[hole] = 0;
        self.len -= 1;
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (u64::from(tag) >> self.shift) as usize
    }

    #[inline]
    fn place(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home((slot >> 32) as u32);
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        assert!(self.shift > 0, "a table of 2^32 slots outgrows its ids first");
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        self.shift -= 1;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.place(slot);
        }
    }
}

#[inline]
fn slot_of(tag: u32, id: u32) -> u64 {
    (u64::from(tag) << 32) | (u64::from(id) + 1)
}

#[inline]
fn id_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_map_even_when_tags_collide(steps in prop::collection::vec((0u32..300, any::<bool>()), 0..600)) {
            let tag = |key: u32| (key % 7) << 30 | (key % 40);
            let mut index = HashIndex::new();
            let mut model = BTreeMap::new();
            for (key, insert) in steps {
                if insert && !model.contains_key(&key) {
                    index.insert(tag(key), key);
                    model.insert(key, ());
                } else if !insert && model.remove(&key).is_some() {
                    index.remove(tag(key), key);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for key in 0..300 {
                let found = index.find(tag(key), |id| id == key);
                prop_assert_eq!(found.is_some(), model.contains_key(&key));
            }
        }
    }

    #[test]
    fn a_hint_names_the_home_slot() {
        let mut index = HashIndex::new();
        index.insert(9 << 28, 5);
        let mut hints = Vec::new();
        index.hints(&[9 << 28, 1 << 28], &mut hints);
        assert_eq!(HashIndex::hinted(hints[0], 9 << 28), Some(5));
        assert_eq!(HashIndex::hinted(hints[1], 1 << 28), None);
    }
}
