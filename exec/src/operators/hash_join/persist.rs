//! A join's state on disk.
//!
//! Table 0 holds the left rows, table 1 the right ones. Key: join key in the canonical encoding, then the row's
//! sequence number, 8 bytes big-endian. Value: a row of the stored columns, column `n` of the input with id
//! `n + 2`, and the weight with id 1 (absent or NULL: 1). The key group is that of the join key alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::row::RowCodec;
use weir_common::{Error, KeyGroup, Result};

use super::HashJoin;
use super::side::{JoinSide, Journal};
use crate::operator::{OpenContext, StateWriter};
use crate::operators::checkpoint::{CHUNK_ROWS, scan_chunks, storage_order};
use crate::state::KeyTable;

const WEIGHT_COLUMN: u16 = 1;
const FIRST_COLUMN: u16 = 2;
const SEQUENCE_BYTES: usize = size_of::<u64>();

/// The format of stored rows; `stored` names the columns by input position.
pub(super) fn codec(stored: &[(u16, DataType)]) -> Result<RowCodec> {
    let columns = stored.iter().map(|(position, ty)| (position + FIRST_COLUMN, ty.clone()));
    let columns: Vec<_> = std::iter::once((WEIGHT_COLUMN, DataType::Int64)).chain(columns).collect();
    RowCodec::new(&columns)
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

impl HashJoin {
    /// Writes what changed since the last checkpoint.
    pub(super) fn persist(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.sides.iter_mut().try_for_each(|side| side.persist(&self.keys, state))
    }

    /// Loads the last checkpoint.
    pub(super) fn restore(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        let key_types: Vec<DataType> = self.keys.types().to_vec();
        let encoder = KeyEncoder::new(&key_types)?;
        for side in 0..self.sides.len() {
            let codec = self.sides[side].codec.clone();
            let mut ids = Vec::with_capacity(CHUNK_ROWS);
            scan_chunks(cx.state, self.sides[side].table, &mut |keys, values| {
                let (prefixes, sequences) = split_keys(keys)?;
                let columns = if key_types.is_empty() { Vec::new() } else { encoder.decode(&prefixes)? };
                self.keys.upsert(&columns, keys.len(), &mut ids)?;
                self.sides.iter_mut().for_each(|s| s.reserve_keys(self.keys.id_bound()));
                let columns = codec.decode(values)?;
                let weights = columns[0].as_primitive::<Int64Type>();
                let weight = |row| if weights.is_valid(row) { weights.value(row) } else { 1 };
                let weights: Vec<i64> = (0..keys.len()).map(weight).collect();
                self.sides[side].restore(&ids, &columns[1..], &weights, &sequences)
            })?;
        }
        Ok(())
    }
}

fn split_keys<'a>(keys: &[&'a [u8]]) -> Result<(Vec<&'a [u8]>, Vec<u64>)> {
    let split = |key: &&'a [u8]| {
        let (prefix, sequence) = key.split_last_chunk::<SEQUENCE_BYTES>()?;
        Some((prefix, u64::from_be_bytes(*sequence)))
    };
    let split = keys.iter().map(split).collect::<Option<Vec<_>>>();
    Ok(split.ok_or_else(|| Error::corrupted("a key of a join's state is too short"))?.into_iter().unzip())
}

/// Rows to write.
struct Unsaved {
    slots: Vec<u32>,
    /// Key id of each.
    ids: Vec<u32>,
    sequences: Vec<u64>,
}

impl JoinSide {
    fn persist(&mut self, keys: &KeyTable, state: &mut dyn StateWriter) -> Result<()> {
        let deleted = self.take_deleted();
        let group_of = |key: &[u8]| KeyGroup::of(&key[..key.len() - SEQUENCE_BYTES]);
        for (group, at) in storage_order(&deleted, |i| group_of(deleted.row(i))) {
            state.delete(self.table, group, deleted.row(at as usize));
        }
        let unsaved = self.take_unsaved();
        let mut full = EncodedKeys::default();
        append_sequences(&keys.encode(&unsaved.ids)?, unsaved.sequences.iter().copied(), &mut full)?;
        for chunk in storage_order(&full, |i| group_of(full.row(i))).chunks(CHUNK_ROWS) {
            let slots: Vec<u32> = chunk.iter().map(|(_, at)| unsaved.slots[*at as usize]).collect();
            let weights: Int64Array = slots.iter().map(|slot| Some(i64::from(self.weight(*slot)))).collect();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(weights)];
            columns.extend(self.rows.gather_all(&slots)?);
            let values = self.codec.encode(&columns)?;
            for (i, (group, at)) in chunk.iter().enumerate() {
                state.put(self.table, *group, full.row(*at as usize), values.row(i));
            }
        }
        Ok(())
    }

    fn take_deleted(&mut self) -> EncodedKeys {
        match &mut self.journal {
            Journal::AppendOnly(_) => EncodedKeys::default(),
            Journal::Retract(retraction) => std::mem::take(&mut retraction.deleted),
        }
    }

    fn take_unsaved(&mut self) -> Unsaved {
        match &mut self.journal {
            Journal::AppendOnly(appended) => {
                let ids = std::mem::take(&mut appended.keys);
                let first = appended.first_slot;
                appended.first_slot += ids.len() as u32;
                let sequences = self.next_sequence - ids.len() as u64..self.next_sequence;
                Unsaved { slots: (first..appended.first_slot).collect(), ids, sequences: sequences.collect() }
            }
            Journal::Retract(retraction) => {
                retraction.saved_below = self.next_sequence;
                let mut changed = std::mem::take(&mut retraction.changed);
                changed.sort_unstable();
                changed.dedup();
                let live = |(slot, sequence): &(u32, u64)| {
                    retraction.weights[*slot as usize] != 0
                        && retraction.sequences[*slot as usize] == *sequence
                };
                changed.retain(live);
                let ids = changed.iter().map(|(slot, _)| retraction.keys[*slot as usize]).collect();
                let (slots, sequences) = changed.into_iter().unzip();
                Unsaved { slots, ids, sequences }
            }
        }
    }
}
