//! What stateful operators share at checkpoints: entries in storage order, scans in chunks, rows with weights.
//!
//! A *weighted row* is an entry of an operator that keeps rows of its input under a key. Its key on disk is the
//! canonical encoding of that key, then the row's sequence number, 8 bytes big-endian; its value is a row of the
//! stored columns, column `n` of the input with id `n + 2`, and the weight with id 1 (absent or NULL: 1). The key
//! group is that of the key alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use weir_common::key::EncodedKeys;
use weir_common::row::RowCodec;
use weir_common::{Error, KeyGroup, Result};

use crate::operator::{StateReader, StateTable};

/// Entries that are encoded or decoded at once.
pub(super) const CHUNK_ROWS: usize = 8192;

/// The key group of each key, and the positions of the keys in (key group, key) order. Storage takes entries
/// in that order several times faster than in another.
pub(super) fn storage_order(
    keys: &EncodedKeys,
    group_of: impl Fn(usize) -> KeyGroup,
) -> Vec<(KeyGroup, u32)> {
    let mut order: Vec<(KeyGroup, u32)> = (0..keys.len()).map(|i| (group_of(i), i as u32)).collect();
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| keys.row(a.1 as usize).cmp(keys.row(b.1 as usize)))
    });
    order
}

/// Takes keys and the value of each.
pub(super) type VisitChunk<'a> = dyn FnMut(&[&[u8]], &[&[u8]]) -> Result<()> + 'a;

/// Visits the keys and values of a table, up to [`CHUNK_ROWS`] at once.
pub(super) fn scan_chunks(
    state: &dyn StateReader,
    table: StateTable,
    visit: &mut VisitChunk<'_>,
) -> Result<()> {
    let mut keys = Concatenated::default();
    let mut values = Concatenated::default();
    state.scan(table, &mut |_, key, value| {
        keys.push(key);
        values.push(value);
        if keys.ends.len() < CHUNK_ROWS {
            return Ok(());
        }
        visit(&keys.slices(), &values.slices())?;
        keys.clear();
        values.clear();
        Ok(())
    })?;
    if keys.ends.is_empty() { Ok(()) } else { visit(&keys.slices(), &values.slices()) }
}

const WEIGHT_COLUMN: u16 = 1;
const FIRST_COLUMN: u16 = 2;
const SEQUENCE_BYTES: usize = size_of::<u64>();

/// The format of weighted rows; `stored` names the columns by input position.
pub(super) fn weighted_codec(stored: &[(u16, DataType)]) -> Result<RowCodec> {
    let columns = stored.iter().map(|(position, ty)| (position + FIRST_COLUMN, ty.clone()));
    let columns: Vec<_> = std::iter::once((WEIGHT_COLUMN, DataType::Int64)).chain(columns).collect();
    RowCodec::new(&columns)
}

/// Weights as the first column of weighted rows.
pub(super) fn encode_weights(weights: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(weights.map(|weight| Some(i64::from(weight))).collect::<Int64Array>())
}

/// The weights in the first column of weighted rows.
pub(super) fn decode_weights(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<Int64Type>().iter().map(|weight| weight.unwrap_or(1)).collect()
}

/// Appends to `out` each key followed by its sequence number.
pub(super) fn append_sequences(
    keys: &EncodedKeys,
    sequences: impl Iterator<Item = u64>,
    out: &mut EncodedKeys,
) -> Result<()> {
    for (row, sequence) in sequences.enumerate() {
        out.bytes.extend_from_slice(keys.row(row));
        out.bytes.extend_from_slice(&sequence.to_be_bytes());
        out.offsets.push(u32::try_from(out.bytes.len()).map_err(Error::internal)?);
    }
    Ok(())
}

/// The keys of weighted rows, and their sequence numbers.
pub(super) fn split_sequences<'a>(keys: &[&'a [u8]]) -> Result<(Vec<&'a [u8]>, Vec<u64>)> {
    let split = |key: &&'a [u8]| {
        let (prefix, sequence) = key.split_last_chunk::<SEQUENCE_BYTES>()?;
        Some((prefix, u64::from_be_bytes(*sequence)))
    };
    let split = keys.iter().map(split).collect::<Option<Vec<_>>>();
    Ok(split.ok_or_else(|| Error::corrupted("a key of a stored row is too short"))?.into_iter().unzip())
}

/// The key group of a weighted row, by its key on disk.
pub(super) fn group_of(key: &[u8]) -> KeyGroup {
    KeyGroup::of(&key[..key.len() - SEQUENCE_BYTES])
}

/// Byte strings one behind the other.
#[derive(Default)]
struct Concatenated {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Concatenated {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
