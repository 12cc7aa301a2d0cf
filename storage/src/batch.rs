//! `WriteBatch`: changes to a backend, packed one behind the other.
//!
//! ```text
//!   chunk: [kind u8 | keyspace u8 | key length u32 | value length u32 | key | value]*
//! ```
//! A checkpoint has millions of entries; an allocation for each would cost more than writing them. Batches are put
//! together by moving chunks, and a backend lets go of each chunk as it has read it.

use crate::backend::Keyspace;

/// Bytes of a chunk, unless one entry is larger.
const CHUNK_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 10;

/// One change to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'b> {
    Put(Keyspace, &'b [u8], &'b [u8]),
    Delete(Keyspace, &'b [u8]),
    /// All keys of `start..end`.
    DeleteRange(Keyspace, &'b [u8], &'b [u8]),
}

/// Changes that become visible and durable together or not at all. Later changes win.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// In order of application.
    chunks: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
}

impl WriteBatch {
    /// Sets an entry.
    pub fn put(&mut self, space: Keyspace, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, space, [key, &[]], value);
    }

    /// Sets an entry whose key is given in two parts.
    pub fn put_joined(&mut self, space: Keyspace, key: [&[u8]; 2], value: &[u8]) {
        self.push(Kind::Put, space, key, value);
    }

    /// Removes an entry.
    pub fn delete(&mut self, space: Keyspace, key: &[u8]) {
        self.push(Kind::Delete, space, [key, &[]], &[]);
    }

    /// Removes an entry whose key is given in two parts.
    pub fn delete_joined(&mut self, space: Keyspace, key: [&[u8]; 2]) {
        self.push(Kind::Delete, space, key, &[]);
    }

    /// Removes all keys of `start..end`.
    pub fn delete_range(&mut self, space: Keyspace, start: &[u8], end: &[u8]) {
        self.push(Kind::DeleteRange, space, [start, &[]], end);
    }

    /// Adds the changes of another batch behind these.
    pub fn append(&mut self, mut other: WriteBatch) {
        self.chunks.append(&mut other.chunks);
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes of all keys and values, about.
    pub fn size_bytes(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Visits the changes in order of application.
    pub fn for_each(&self, mut visit: impl FnMut(Write<'_>)) {
        self.chunks.iter().for_each(|chunk| visit_chunk(chunk, &mut visit));
    }

    /// As [`Self::for_each`], letting go of what was visited.
    pub fn drain(self, mut visit: impl FnMut(Write<'_>)) {
        self.chunks.into_iter().for_each(|chunk| visit_chunk(&chunk, &mut visit));
    }

    fn push(&mut self, kind: Kind, space: Keyspace, key: [&[u8]; 2], value: &[u8]) {
        let key_length = key[0].len() + key[1].len();
        let length = HEAD_BYTES + key_length + value.len();
        let fits = |chunk: &Vec<u8>| chunk.len() + length <= CHUNK_BYTES;
        if !self.chunks.last().is_some_and(fits) {
            // The first chunk grows with a small batch; the others are filled.
            let capacity = if self.chunks.is_empty() { length } else { CHUNK_BYTES.max(length) };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let chunk = self.chunks.last_mut().expect("a chunk was pushed");
        chunk.extend_from_slice(&[kind as u8, space as u8]);
        for part in [key_length, value.len()] {
            let length =
                u32::try_from(part).expect("keys and values are below 4 GiB, as their encodings are");
            chunk.extend_from_slice(&length.to_le_bytes());
        }
        [key[0], key[1], value].iter().for_each(|part| chunk.extend_from_slice(part));
    }
}

fn visit_chunk(mut rest: &[u8], visit: &mut impl FnMut(Write<'_>)) {
    while let Some((head, tail)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let length =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (key, tail) = tail.split_at(length(2));
        let (value, tail) = tail.split_at(length(6));
        rest = tail;
        let space = Keyspace::ALL[head[1] as usize];
        visit(match head[0] {
            kind if kind == Kind::Put as u8 => Write::Put(space, key, value),
            kind if kind == Kind::Delete as u8 => Write::Delete(space, key),
            _ => Write::DeleteRange(space, key, value),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order_over_chunks() {
        let large = vec![7u8; CHUNK_BYTES + 1];
        let mut batch = WriteBatch::default();
        batch.put(Keyspace::State, b"a", b"1");
        batch.put_joined(Keyspace::Relation, [b"b", b"c"], &large);
        let mut other = WriteBatch::default();
        other.delete(Keyspace::Meta, b"d");
        other.delete_range(Keyspace::Changelog, b"e", b"f");
        other.delete_joined(Keyspace::State, [b"g", b"h"]);
        batch.append(other);
        let expected = [
            Write::Put(Keyspace::State, b"a", b"1"),
            Write::Put(Keyspace::Relation, b"bc", &large),
            Write::Delete(Keyspace::Meta, b"d"),
            Write::DeleteRange(Keyspace::Changelog, b"e", b"f"),
            Write::Delete(Keyspace::State, b"gh"),
        ];
        let mut at = 0;
        batch.for_each(|write| {
            assert_eq!(write, expected[at]);
            at += 1;
        });
        assert_eq!(at, expected.len());
        assert!(!batch.is_empty() && batch.size_bytes() > large.len());
        batch.drain(|_| at -= 1);
        assert_eq!(at, 0);
    }
}
