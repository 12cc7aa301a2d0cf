//! `RowList`: slots in an order that the caller decides.
//!
//! A short list is one vector. A longer one is a vector of blocks, so that an insert moves a block's slots at most,
//! and a lookup is two binary searches. A list costs its slots and three words.

use std::cmp::Ordering;

/// Most slots of a block.
const BLOCK_SLOTS: usize = 512;

/// Slots in order.
#[derive(Debug)]
pub enum RowList {
    Few(Vec<u32>),
    /// Blocks, none of them empty.
    Many(Vec<Vec<u32>>),
}

/// A place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    block: usize,
    at: usize,
}

impl Default for RowList {
    fn default() -> Self {
        RowList::Few(Vec::new())
    }
}

impl RowList {
    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        match self {
            RowList::Few(slots) => slots.is_empty(),
            RowList::Many(blocks) => blocks.is_empty(),
        }
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks().iter().flatten().copied()
    }

    /// The slot at this position.
    pub fn nth(&self, mut position: usize) -> Option<u32> {
        for block in self.blocks() {
            match block.get(position) {
                Some(slot) => return Some(*slot),
                None => position -= block.len(),
            }
        }
        None
    }

    /// Where the slot is that `order` calls equal; else where it would be. `order` compares a slot of the list with
    /// what is looked for.
    pub fn find(&self, mut order: impl FnMut(u32) -> Ordering) -> Result<Place, Place> {
        let blocks = self.blocks();
        let block = match blocks.len() {
            1 => 0,
            _ => blocks.partition_point(|block| order(block[0]).is_le()).saturating_sub(1),
        };
        let slots = blocks.get(block).map_or(&[][..], Vec::as_slice);
        let found = slots.binary_search_by(|slot| order(*slot));
        found.map(|at| Place { block, at }).map_err(|at| Place { block, at })
    }

    /// The slot at a place where one was found.
    pub fn slot(&self, place: Place) -> u32 {
        self.blocks()[place.block][place.at]
    }

    /// The place before this one, where there is a slot.
    pub fn step_back(&self, place: Place) -> Option<Place> {
        if let Some(at) = place.at.checked_sub(1) {
            return Some(Place { at, ..place });
        }
        let block = place.block.checked_sub(1)?;
        let at = self.blocks().get(block)?.len().checked_sub(1)?;
        Some(Place { block, at })
    }

    /// The slots before a place, backwards.
    pub fn before(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let blocks = &self.blocks()[..=place.block];
        let tail = blocks[place.block].len() - place.at;
        blocks.iter().rev().flat_map(|block| block.iter().rev()).skip(tail).copied()
    }

    /// The slots after a place.
    pub fn after(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        self.from(place).skip(1)
    }

    /// The slots from a place on, or from where a slot was not found.
    pub fn from(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        self.blocks().get(place.block..).unwrap_or_default().iter().flatten().skip(place.at).copied()
    }

    /// Puts a slot where it was not found.
    pub fn insert(&mut self, place: Place, slot: u32) {
        match self {
            RowList::Few(slots) => slots.insert(place.at, slot),
            RowList::Many(blocks) if blocks.is_empty() => blocks.push(vec![slot]),
            RowList::Many(blocks) => blocks[place.block].insert(place.at, slot),
        }
        self.split(place.block);
    }

    /// Takes out the slot at a place where it was found.
    pub fn remove(&mut self, place: Place) {
        match self {
            RowList::Few(slots) => {
                slots.remove(place.at);
            }
            RowList::Many(blocks) => {
                blocks[place.block].remove(place.at);
                if blocks[place.block].is_empty() {
                    blocks.remove(place.block);
                }
            }
        }
    }

    fn blocks(&self) -> &[Vec<u32>] {
        match self {
            RowList::Few(slots) => std::slice::from_ref(slots),
            RowList::Many(blocks) => blocks,
        }
    }

    fn split(&mut self, block: usize) {
        if let RowList::Few(slots) = self {
            if slots.len() <= BLOCK_SLOTS {
                return;
            }
            *self = RowList::Many(vec![std::mem::take(slots)]);
        }
        let RowList::Many(blocks) = self else { return };
        if blocks[block].len() > BLOCK_SLOTS {
            let tail = blocks[block].split_off(BLOCK_SLOTS / 2);
            blocks.insert(block + 1, tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_as_an_ordered_set_at_every_size() {
        let (mut list, mut model) = (RowList::default(), BTreeSet::new());
        let mut random = 7u32;
        for round in 0..60_000u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let slot = random >> 16;
            // First the list grows, then it shrinks to nothing.
            let grows = round < 20_000;
            let slot = if grows { slot } else { model.range(slot..).next().copied().unwrap_or(slot) };
            match list.find(|other| other.cmp(&slot)) {
                Ok(place) => {
                    assert_eq!(list.slot(place), slot);
                    list.remove(place);
                    assert!(model.remove(&slot));
                }
                Err(place) if grows => {
                    list.insert(place, slot);
                    assert!(model.insert(slot));
                }
                Err(_) => assert!(!model.contains(&slot)),
            }
            if round % 1000 == 0 {
                assert!(list.iter().eq(model.iter().copied()));
                assert_eq!(list.nth(model.len() / 2), model.iter().nth(model.len() / 2).copied());
                assert_eq!(list.nth(model.len()), None);
                if let Ok(place) = list.find(|other| other.cmp(&slot)) {
                    assert!(list.before(place).eq(model.range(..slot).rev().copied()));
                    assert!(list.after(place).eq(model.range(slot + 1..).copied()));
                    let previous = list.step_back(place).map(|place| list.slot(place));
                    assert_eq!(previous, model.range(..slot).next_back().copied());
                    assert!(list.from(place).eq(model.range(slot..).copied()));
                }
            }
        }
        assert!(list.iter().eq(model.iter().copied()));
        assert_eq!(list.is_empty(), model.is_empty());
    }
}
