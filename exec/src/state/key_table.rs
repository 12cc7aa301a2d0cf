//! `KeyTable`: key columns → dense ids, a batch at a time.
//!
//! Ids count up from 0 and are reused after removal, so whatever belongs to a key lies in plain vectors beside
//! the table. Up to [`INT_COLUMNS_MAX`] int-like key columns are kept and compared as they are; other keys as
//! bytes in the canonical encoding of `weir_common::key`. Either way all rows of a batch are hashed first and
//! their home slots read next, so that the loads of a batch overlap; only then keys are compared.
//!
//! NULL is a key value like any other here. A table without key columns has at most one key, id 0.

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use weir_common::Result;
use weir_common::key::{EncodedKeys, KeyEncoder};
use xxhash_rust::xxh3::xxh3_64;

use super::native::{int_array, int_values, is_int_like, mix, tag_of};
use super::{ByteArena, HashIndex, NONE};

/// Most int-like columns of a key that is kept without encoding it.
pub const INT_COLUMNS_MAX: usize = 4;

/// An index of the distinct keys seen.
pub struct KeyTable {
    types: Vec<DataType>,
    encoder: KeyEncoder,
    keys: Keys,
    free: Vec<u32>,
    /// Ids are below this.
    bound: u32,
    scratch: Scratch,
}

enum Keys {
    None,
    One(IntKeys<1>),
    Two(IntKeys<2>),
    Three(IntKeys<3>),
    Four(IntKeys<4>),
    Bytes { index: HashIndex, arena: ByteArena },
}

/// Buffers reused from batch to batch.
#[derive(Default)]
struct Scratch {
    tags: Vec<u32>,
    hints: Vec<u64>,
}

impl KeyTable {
    /// An empty table of keys with these column types. Equal keys are one; which of them `gather` gives, or an equal
    /// one, is open.
    pub fn new(types: &[DataType]) -> Result<KeyTable> {
        KeyTable::with_encoder(types, KeyEncoder::new(types)?)
    }

    /// An empty table that tells keys apart that are equal and not the same, as `1 mon` and `30 days`.
    pub fn exact(types: &[DataType]) -> Result<KeyTable> {
        KeyTable::with_encoder(types, KeyEncoder::new(types)?.exact()?)
    }

    fn with_encoder(types: &[DataType], encoder: KeyEncoder) -> Result<KeyTable> {
        let keys = match (types.iter().all(is_int_like), types.len()) {
            (_, 0) => Keys::None,
            (true, 1) => Keys::One(IntKeys::default()),
            (true, 2) => Keys::Two(IntKeys::default()),
            (true, 3) => Keys::Three(IntKeys::default()),
            (true, INT_COLUMNS_MAX) => Keys::Four(IntKeys::default()),
            _ => Keys::Bytes { index: HashIndex::new(), arena: ByteArena::default() },
        };
        Ok(KeyTable {
            types: types.to_vec(),
            encoder,
            keys,
            free: Vec::new(),
            bound: 0,
            scratch: Scratch::default(),
        })
    }

    /// The id of each row's key, in `ids` (overwritten); keys that are new get one.
    pub fn upsert(&mut self, columns: &[ArrayRef], rows: usize, ids: &mut Vec<u32>) -> Result<()> {
        if self.types.is_empty() {
            self.bound = self.bound.max(rows.min(1) as u32);
        }
        self.find(columns, rows, IfNew::Add, ids)
    }

    /// The id of each row's key, in `ids` (overwritten); [`NONE`] for a key that is not there.
    pub fn lookup(&mut self, columns: &[ArrayRef], rows: usize, ids: &mut Vec<u32>) -> Result<()> {
        self.find(columns, rows, IfNew::Skip, ids)
    }

    fn find(&mut self, columns: &[ArrayRef], rows: usize, if_new: IfNew, ids: &mut Vec<u32>) -> Result<()> {
        ids.clear();
        ids.reserve(rows);
        let mut ticket = Ids { if_new, free: &mut self.free, bound: &mut self.bound };
        match &mut self.keys {
            Keys::None => {
                ids.resize(rows, if self.bound > 0 { 0 } else { NONE });
                Ok(())
            }
            Keys::One(keys) => keys.upsert(columns, rows, &mut ticket, &mut self.scratch, ids),
            Keys::Two(keys) => keys.upsert(columns, rows, &mut ticket, &mut self.scratch, ids),
            Keys::Three(keys) => keys.upsert(columns, rows, &mut ticket, &mut self.scratch, ids),
            Keys::Four(keys) => keys.upsert(columns, rows, &mut ticket, &mut self.scratch, ids),
            Keys::Bytes { index, arena } => {
                let encoded = self.encoder.encode(columns)?;
                upsert_bytes(index, arena, &encoded, &mut ticket, &mut self.scratch, ids)
            }
        }
    }

    /// Types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Ids that were ever given out are below this: the length of vectors beside the table.
    pub fn id_bound(&self) -> usize {
        self.bound as usize
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.bound as usize - self.free.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets a key; its id will be given to another one.
    pub fn remove(&mut self, id: u32) {
        match &mut self.keys {
            Keys::None => return,
            Keys::One(keys) => keys.remove(id),
            Keys::Two(keys) => keys.remove(id),
            Keys::Three(keys) => keys.remove(id),
            Keys::Four(keys) => keys.remove(id),
            Keys::Bytes { index, arena } => {
                index.remove(bytes_tag(arena.bytes(id)), id);
                arena.clear(id);
            }
        }
        self.free.push(id);
    }

    /// The key columns of these ids.
    pub fn gather(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.keys {
            Keys::None => Ok(Vec::new()),
            Keys::One(keys) => keys.gather(ids, &self.types),
            Keys::Two(keys) => keys.gather(ids, &self.types),
            Keys::Three(keys) => keys.gather(ids, &self.types),
            Keys::Four(keys) => keys.gather(ids, &self.types),
            Keys::Bytes { arena, .. } => {
                let keys: Vec<&[u8]> = ids.iter().map(|id| arena.bytes(*id)).collect();
                self.encoder.decode(&keys)
            }
        }
    }

    /// The encodings of the keys of these ids.
    pub fn encode(&self, ids: &[u32]) -> Result<EncodedKeys> {
        match &self.keys {
            Keys::None => Ok(EncodedKeys { bytes: Vec::new(), offsets: vec![0; ids.len() + 1] }),
            Keys::Bytes { arena, .. } => {
                let mut encoded = EncodedKeys::default();
                ids.iter().for_each(|id| encoded.push(arena.bytes(*id)));
                Ok(encoded)
            }
            _ => self.encoder.encode(&self.gather(ids)?),
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::None => 0,
            Keys::One(keys) => keys.memory_bytes(),
            Keys::Two(keys) => keys.memory_bytes(),
            Keys::Three(keys) => keys.memory_bytes(),
            Keys::Four(keys) => keys.memory_bytes(),
            Keys::Bytes { index, arena } => index.memory_bytes() + arena.memory_bytes(),
        };
        keys + (self.free.capacity() + self.scratch.tags.capacity()) * 4 + self.scratch.hints.capacity() * 8
    }
}

/// What becomes of a key that is not there.
#[derive(Clone, Copy)]
enum IfNew {
    Add,
    Skip,
}

/// Gives out ids.
struct Ids<'a> {
    if_new: IfNew,
    free: &'a mut Vec<u32>,
    bound: &'a mut u32,
}

impl Ids<'_> {
    /// An id for a key that is not there, if it shall be.
    #[inline]
    fn next(&mut self) -> Option<u32> {
        if let IfNew::Skip = self.if_new {
            return None;
        }
        Some(self.free.pop().unwrap_or_else(|| {
            *self.bound += 1;
            *self.bound - 1
        }))
    }
}

/// Keys of `N` int-like columns. A NULL counts as 0 in `keys` and as a bit of `nulls`.
#[derive(Default)]
struct IntKeys<const N: usize> {
    index: HashIndex,
    keys: Vec<IntKey<N>>,
    /// Which columns of a key are NULL; shorter than `keys` when the rest has none.
    nulls: Vec<u8>,
    batch_keys: Vec<IntKey<N>>,
    batch_nulls: Vec<u8>,
}

/// A key row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct IntKey<const N: usize>([i64; N]);

impl<const N: usize> IntKey<N> {
    #[inline]
    fn tag(&self, nulls: u8) -> u32 {
        let hash = self.0.iter().fold(u64::from(nulls), |hash, value| mix(hash, *value as u64));
        tag_of(hash)
    }
}

impl<const N: usize> IntKeys<N> {
    fn upsert(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        fresh: &mut Ids<'_>,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        self.transpose(columns, rows)?;
        let null_of = |nulls: &[u8], at: usize| nulls.get(at).copied().unwrap_or(0);
        scratch.tags.clear();
        scratch.tags.extend(
            self.batch_keys.iter().enumerate().map(|(row, key)| key.tag(null_of(&self.batch_nulls, row))),
        );
        self.index.hints(&scratch.tags, &mut scratch.hints);
        for row in 0..rows {
            let (key, tag) = (self.batch_keys[row], scratch.tags[row]);
            let nulls = null_of(&self.batch_nulls, row);
            let (keys, key_nulls) = (&self.keys, &self.nulls);
            let equal = |id: u32| keys[id as usize] == key && null_of(key_nulls, id as usize) == nulls;
            let found = HashIndex::hinted(scratch.hints[row], tag).filter(|id| equal(*id));
            let id = match found.or_else(|| self.index.find(tag, equal)) {
                Some(id) => id,
                None => match fresh.next() {
                    Some(id) => self.add(key, nulls, tag, id),
                    None => NONE,
                },
            };
            ids.push(id);
        }
        Ok(())
    }

    /// The batch's key columns as rows.
    fn transpose(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        self.batch_keys.clear();
        self.batch_keys.resize(rows, IntKey([0; N]));
        self.batch_nulls.clear();
        for (c, column) in columns.iter().enumerate() {
            let values = int_values(column)?;
            self.batch_keys.iter_mut().zip(values.iter()).for_each(|(key, value)| key.0[c] = *value);
            let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) else { continue };
            self.batch_nulls.resize(rows, 0);
            for row in (0..rows).filter(|row| nulls.is_null(*row)) {
                self.batch_keys[row].0[c] = 0;
                self.batch_nulls[row] |= 1 << c;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: IntKey<N>, nulls: u8, tag: u32, id: u32) -> u32 {
        if self.keys.len() <= id as usize {
            self.keys.resize(id as usize + 1, IntKey([0; N]));
        }
        self.keys[id as usize] = key;
        if nulls != 0 && self.nulls.len() <= id as usize {
            self.nulls.resize(id as usize + 1, 0);
        }
        if let Some(slot) = self.nulls.get_mut(id as usize) {
            *slot = nulls;
        }
        self.index.insert(tag, id);
        id
    }

    fn remove(&mut self, id: u32) {
        let nulls = self.nulls.get(id as usize).copied().unwrap_or(0);
        self.index.remove(self.keys[id as usize].tag(nulls), id);
    }

    fn gather(&self, ids: &[u32], types: &[DataType]) -> Result<Vec<ArrayRef>> {
        let mask = |id: u32| self.nulls.get(id as usize).copied().unwrap_or(0);
        let any_null = !self.nulls.is_empty() && ids.iter().any(|id| mask(*id) != 0);
        let column = |(c, ty): (usize, &DataType)| {
            let values = ids.iter().map(|id| self.keys[*id as usize].0[c]).collect();
            let nulls =
                any_null.then(|| ids.iter().map(|id| mask(*id) >> c & 1 == 0).collect::<NullBuffer>());
            int_array(values, nulls.filter(|nulls| nulls.null_count() > 0), ty)
        };
        types.iter().enumerate().map(column).collect()
    }

    fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
            + (self.keys.capacity() + self.batch_keys.capacity()) * size_of::<IntKey<N>>()
            + self.nulls.capacity()
            + self.batch_nulls.capacity()
    }
}

#[inline]
fn bytes_tag(key: &[u8]) -> u32 {
    tag_of(xxh3_64(key))
}

fn upsert_bytes(
    index: &mut HashIndex,
    arena: &mut ByteArena,
    keys: &EncodedKeys,
    fresh: &mut Ids<'_>,
    scratch: &mut Scratch,
    ids: &mut Vec<u32>,
) -> Result<()> {
    scratch.tags.clear();
    scratch.tags.extend((0..keys.len()).map(|row| bytes_tag(keys.row(row))));
    index.hints(&scratch.tags, &mut scratch.hints);
    for row in 0..keys.len() {
        let (key, tag) = (keys.row(row), scratch.tags[row]);
        let found = HashIndex::hinted(scratch.hints[row], tag).filter(|id| arena.bytes(*id) == key);
        let id = match found.or_else(|| index.find(tag, |id| arena.bytes(id) == key)) {
            Some(id) => id,
            None => match fresh.next() {
                Some(id) => {
                    arena.set(id, key);
                    index.insert(tag, id);
                    id
                }
                None => NONE,
            },
        };
        ids.push(id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, StringArray};

    use super::*;

    fn ids_of(table: &mut KeyTable, columns: &[ArrayRef]) -> Vec<u32> {
        let mut ids = Vec::new();
        table.upsert(columns, columns[0].len(), &mut ids).unwrap();
        ids
    }

    #[test]
    fn equal_keys_share_an_id_and_removed_ids_are_reused() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("a"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(0), Some(1), None]));
        for columns in [
            vec![numbers.clone()],
            vec![texts.clone()],
            vec![numbers.clone(), numbers.clone()],
            vec![texts, numbers],
        ] {
            let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
            let mut table = KeyTable::new(&types).unwrap();
            assert_eq!(ids_of(&mut table, &columns), [0, 1, 2, 0, 1]);
            let back = table.gather(&[1, 2, 0]).unwrap();
            let expected =
                arrow::compute::take(&columns[0], &arrow::array::UInt32Array::from(vec![1, 2, 0]), None)
                    .unwrap();
            assert_eq!(&back[0], &expected);
            table.remove(1);
            let second: Vec<ArrayRef> = columns.iter().map(|c| c.slice(2, 3)).collect();
            assert_eq!(ids_of(&mut table, &second), [2, 0, 1]);
            assert_eq!(table.id_bound(), 3);
            table.remove(2);
            let mut ids = Vec::new();
            table.lookup(&columns, columns[0].len(), &mut ids).unwrap();
            assert_eq!((ids, table.len()), (vec![0, 1, NONE, 0, 1], 2), "nothing is added");
        }
    }

    #[test]
    fn encodes_keys_canonically_whatever_its_layout() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(-3)]));
        let mut table = KeyTable::new(&[DataType::Int64]).unwrap();
        ids_of(&mut table, std::slice::from_ref(&column));
        let expected =
            KeyEncoder::new(&[DataType::Int64]).unwrap().encode(std::slice::from_ref(&column)).unwrap();
        let encoded = table.encode(&[0, 1, 2]).unwrap();
        assert_eq!(encoded.bytes, expected.bytes);
        assert_eq!(encoded.offsets, expected.offsets);
    }

    #[test]
    fn a_table_without_columns_has_one_key() {
        let mut table = KeyTable::new(&[]).unwrap();
        let mut ids = Vec::new();
        table.lookup(&[], 2, &mut ids).unwrap();
        assert_eq!(ids, [NONE, NONE]);
        table.upsert(&[], 3, &mut ids).unwrap();
        assert_eq!((ids, table.id_bound()), (vec![0, 0, 0], 1));
        assert_eq!(table.encode(&[0]).unwrap().row(0), b"");
    }
}
