//! `ByteArena`: byte strings by slot, packed into blocks of 1 MiB.
//!
//! A slot costs one word beside its bytes: `block << 40 | offset << 20 | length`. Blocks are never copied to
//! grow, so memory has no peak of twice the data. Strings that do not fit a block lie beside it on their own.
//! Overwritten and cleared bytes are garbage; when garbage outweighs what lives (and the slots
//! that repacking walks over), all is repacked once.

use hashbrown::HashMap;

const LENGTH_BITS: u32 = 20;
const BLOCK_SHIFT: u32 = 2 * LENGTH_BITS;
const BLOCK_BYTES: usize = 1 << LENGTH_BITS;
const LOW: u64 = (1 << LENGTH_BITS) - 1;
/// Garbage that is not worth repacking.
const GARBAGE_BYTES_MIN: usize = 64 << 10;
/// Length that says: the bytes are in `large`.
const LARGE: u64 = LOW;

/// Byte strings by slot.
#[derive(Debug, Default)]
pub struct ByteArena {
    spans: Vec<u64>,
    blocks: Vec<Vec<u8>>,
    large: HashMap<u32, Box<[u8]>>,
    large_bytes: usize,
    live_bytes: usize,
    garbage_bytes: usize,
}

impl ByteArena {
    /// The bytes of a slot; empty when it was never set.
    #[inline]
    pub fn bytes(&self, slot: u32) -> &[u8] {
        let Some(&span) = self.spans.get(slot as usize) else { return &[] };
        let length = (span & LOW) as usize;
        if length == 0 {
            return &[];
        }
        if span & LOW == LARGE {
            return self.large.get(&slot).map_or(&[], |bytes| bytes);
        }
        let offset = ((span >> LENGTH_BITS) & LOW) as usize;
        &self.blocks[(span >> BLOCK_SHIFT) as usize][offset..offset + length]
    }

    /// Sets the bytes of a slot.
    pub fn set(&mut self, slot: u32, bytes: &[u8]) {
        self.clear(slot);
        if self.spans.len() <= slot as usize {
            self.spans.resize(slot as usize + 1, 0);
        }
        if bytes.is_empty() {
            return;
        }
        let span = if bytes.len() >= LARGE as usize {
            self.large_bytes += bytes.len();
            self.large.insert(slot, bytes.into());
            LARGE
        } else {
            self.live_bytes += bytes.len();
            append(&mut self.blocks, bytes)
        };
        self.spans[slot as usize] = span;
    }

    /// Forgets the bytes of a slot.
    pub fn clear(&mut self, slot: u32) {
        let Some(span) = self.spans.get_mut(slot as usize) else { return };
        let length = (std::mem::take(span) & LOW) as usize;
        if length as u64 == LARGE {
            self.large_bytes -= self.large.remove(&slot).map_or(0, |bytes| bytes.len());
            return;
        }
        self.live_bytes -= length;
        self.garbage_bytes += length;
        if self.garbage_bytes > self.live_bytes.max(GARBAGE_BYTES_MIN).max(self.spans.len()) {
            self.repack();
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<u64>()
            + self.blocks.iter().map(Vec::capacity).sum::<usize>()
            + self.large_bytes
            + self.large.capacity() * size_of::<(u32, Box<[u8]>)>()
    }

    fn repack(&mut self) {
        let old = std::mem::take(&mut self.blocks);
        for span in &mut self.spans {
            let length = (*span & LOW) as usize;
            if length != 0 && *span & LOW != LARGE {
                let offset = ((*span >> LENGTH_BITS) & LOW) as usize;
                *span =
                    append(&mut self.blocks, &old[(*span >> BLOCK_SHIFT) as usize][offset..offset + length]);
            }
        }
        self.garbage_bytes = 0;
    }
}

/// Puts bytes shorter than a block behind the last block's, and says where.
fn append(blocks: &mut Vec<Vec<u8>>, bytes: &[u8]) -> u64 {
    if blocks.last().is_none_or(|block| block.len() + bytes.len() > BLOCK_BYTES) {
        let first = blocks.is_empty();
        blocks.push(if first { Vec::new() } else { Vec::with_capacity(BLOCK_BYTES) });
    }
    let number = blocks.len() - 1;
    let block = &mut blocks[number];
    let span = (number as u64) << BLOCK_SHIFT | (block.len() as u64) << LENGTH_BITS | bytes.len() as u64;
    block.extend_from_slice(bytes);
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_set_through_repacking() {
        let mut arena = ByteArena::default();
        let text = |i: u32, round: u32| format!("{round}-{i}-{}", "x".repeat(i as usize % 300)).into_bytes();
        for round in 0..30 {
            for slot in 0..1000 {
                arena.set(slot, &text(slot, round));
            }
        }
        assert!(arena.memory_bytes() < 4 * BLOCK_BYTES, "garbage is reclaimed: {}", arena.memory_bytes());
        for slot in 0..1000 {
            assert_eq!(arena.bytes(slot), text(slot, 29));
        }
    }

    #[test]
    fn holds_empty_and_huge_strings() {
        let mut arena = ByteArena::default();
        let huge = vec![7u8; 3 * BLOCK_BYTES];
        arena.set(1, &huge);
        arena.set(2, b"");
        assert_eq!(arena.bytes(1), huge);
        assert_eq!(arena.bytes(2), b"");
        assert_eq!(arena.bytes(99), b"");
        assert!(arena.memory_bytes() >= huge.len());
        arena.clear(1);
        assert_eq!(arena.bytes(1), b"");
        assert!(arena.memory_bytes() < BLOCK_BYTES);
    }
}
