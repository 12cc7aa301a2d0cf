//! `SortKeys`: the ORDER BY key of each slot, in the memcomparable encoding of `weir_common::key`.
//!
//! Keys are encoded a batch at a time; comparing two is one comparison of 128-bit numbers, the first 16 bytes of
//! each. The rest of a longer key lies in a [`ByteArena`], which a key of one or two numbers does without. No
//! encoding is a prefix of another, so shorter keys may be filled up with zeros.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use weir_common::Result;
use weir_common::key::{EncodedKeys, KeyEncoder, KeyOrder};

use super::ByteArena;

const PREFIX_BYTES: usize = size_of::<u128>();

/// The order keys of rows by slot. Equal keys are what SQL calls peers.
pub struct SortKeys {
    encoder: KeyEncoder,
    prefixes: Vec<u128>,
    /// What follows the prefix, if keys can be longer than it.
    rests: Option<ByteArena>,
}

impl SortKeys {
    /// No key yet. Without columns all keys are equal. 0A000 for a type that cannot be ordered.
    pub fn new(columns: &[(DataType, KeyOrder)]) -> Result<SortKeys> {
        let encoder = KeyEncoder::ordered(columns)?;
        let short = encoder.fixed_width().is_some_and(|width| width <= PREFIX_BYTES);
        Ok(SortKeys { encoder, prefixes: Vec::new(), rests: (!short).then(ByteArena::default) })
    }

    /// The keys of a batch, in `keys` (overwritten).
    pub fn encode(&self, columns: &[ArrayRef], rows: usize, keys: &mut EncodedKeys) -> Result<()> {
        self.encoder.encode_into(columns, rows, keys)
    }

    /// Makes room for slots below `bound`.
    pub fn reserve(&mut self, bound: usize) {
        self.prefixes.resize(bound.max(self.prefixes.len()), 0);
    }

    /// Sets the key of a slot.
    #[inline]
    pub fn set(&mut self, slot: u32, key: &[u8]) {
        self.prefixes[slot as usize] = prefix(key);
        if let Some(rests) = &mut self.rests {
            rests.set(slot, rest(key));
        }
    }

    /// Frees what a slot holds beyond its prefix.
    pub fn clear(&mut self, slot: u32) {
        if let Some(rests) = &mut self.rests {
            rests.clear(slot);
        }
    }

    /// The order of two slots.
    #[inline]
    pub fn compare(&self, a: u32, b: u32) -> Ordering {
        let prefixes = self.prefixes[a as usize].cmp(&self.prefixes[b as usize]);
        match &self.rests {
            Some(rests) if prefixes.is_eq() => rests.bytes(a).cmp(rests.bytes(b)),
            _ => prefixes,
        }
    }

    /// The order of a slot, and a slot of other keys over columns of the same types and orders.
    #[inline]
    pub fn compare_across(&self, a: u32, other: &SortKeys, b: u32) -> Ordering {
        let prefixes = self.prefixes[a as usize].cmp(&other.prefixes[b as usize]);
        match (&self.rests, &other.rests) {
            (Some(rests), Some(others)) if prefixes.is_eq() => rests.bytes(a).cmp(others.bytes(b)),
            _ => prefixes,
        }
    }

    /// The order of an encoded key and a slot's.
    #[inline]
    pub fn compare_encoded(&self, key: &[u8], slot: u32) -> Ordering {
        let prefixes = prefix(key).cmp(&self.prefixes[slot as usize]);
        match &self.rests {
            Some(rests) if prefixes.is_eq() => rest(key).cmp(rests.bytes(slot)),
            _ => prefixes,
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.prefixes.capacity() * PREFIX_BYTES + self.rests.as_ref().map_or(0, ByteArena::memory_bytes)
    }
}

#[inline]
fn prefix(key: &[u8]) -> u128 {
    match key.first_chunk::<PREFIX_BYTES>() {
        Some(first) => u128::from_be_bytes(*first),
        None => {
            let mut filled = [0; PREFIX_BYTES];
            filled[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(filled)
        }
    }
}

#[inline]
fn rest(key: &[u8]) -> &[u8] {
    key.get(PREFIX_BYTES..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    /// The slots of a batch in the order of their keys.
    fn sorted(columns: &[ArrayRef], orders: &[KeyOrder]) -> Vec<u32> {
        let types: Vec<_> =
            columns.iter().map(|c| c.data_type().clone()).zip(orders.iter().copied()).collect();
        let rows = columns[0].len();
        let (mut sort, mut keys) = (SortKeys::new(&types).unwrap(), EncodedKeys::default());
        sort.encode(columns, rows, &mut keys).unwrap();
        sort.reserve(rows);
        (0..rows).for_each(|row| sort.set(row as u32, keys.row(row)));
        let mut slots: Vec<u32> = (0..rows as u32).collect();
        slots.sort_by(|a, b| sort.compare(*a, *b));
        for (a, b) in slots.iter().zip(&slots[1..]) {
            assert_eq!(sort.compare_encoded(keys.row(*a as usize), *b), sort.compare(*a, *b));
        }
        slots
    }

    #[test]
    fn keys_of_any_length_have_sql_s_order() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(-1), Some(3)]));
        assert_eq!(sorted(std::slice::from_ref(&numbers), &[KeyOrder::Ascending]), [2, 0, 3, 1]);
        assert_eq!(sorted(std::slice::from_ref(&numbers), &[KeyOrder::Descending]), [1, 0, 3, 2]);
        let long = "a".repeat(20);
        let texts = vec![Some(format!("{long}b")), Some(long.clone()), None, Some("b".into())];
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        assert_eq!(sorted(std::slice::from_ref(&texts), &[KeyOrder::AscendingNullsFirst]), [2, 1, 0, 3]);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, f64::INFINITY, -1.0]));
        assert_eq!(sorted(&[floats], &[KeyOrder::Ascending]), [3, 1, 2, 0]);
        assert_eq!(sorted(&[numbers, texts], &[KeyOrder::Ascending, KeyOrder::Descending]), [2, 3, 0, 1]);
    }
}
