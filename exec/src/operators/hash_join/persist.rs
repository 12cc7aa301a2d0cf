//! A join's state on disk.
//!
//! Table 0 holds the left rows, table 1 the right ones, as weighted rows (`operators::checkpoint`) under the join key.

use arrow::datatypes::DataType;
use weir_common::Result;
use weir_common::key::{EncodedKeys, KeyEncoder};

use super::HashJoin;
use super::side::{JoinSide, Journal};
use crate::operator::{OpenContext, StateWriter};
use crate::operators::checkpoint::{
    CHUNK_ROWS, append_sequences, decode_weights, encode_weights, group_of, scan_chunks, split_sequences,
    storage_order,
};
use crate::state::KeyTable;

impl HashJoin {
    /// Writes what changed since the last checkpoint.
    pub(super) fn persist(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        for side in 0..self.sides.len() {
            match self.is_own(side) {
                true => self.sides[side].persist(&self.keys, state)?,
                false => self.sides[side].forget_changes(&self.keys),
            }
        }
        Ok(())
    }

    /// Loads the last checkpoint.
    pub(super) fn restore(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        let key_types: Vec<DataType> = self.keys.types().to_vec();
        let encoder = KeyEncoder::new(&key_types)?;
        for side in (0..self.sides.len()).filter(|side| self.is_own(*side)).collect::<Vec<_>>() {
            let codec = self.sides[side].codec.clone();
            let mut ids = Vec::with_capacity(CHUNK_ROWS);
            scan_chunks(cx.state, self.sides[side].table, &mut |keys, values| {
                let (prefixes, sequences) = split_sequences(keys)?;
                self.sides[side].number_above(&sequences);
                if self.stays_on_disk(cx.state)? {
                    return Ok(());
                }
                let columns = if key_types.is_empty() { Vec::new() } else { encoder.decode(&prefixes)? };
                self.keys.upsert(&columns, keys.len(), &mut ids)?;
                self.sides.iter_mut().for_each(|s| s.reserve_keys(self.keys.id_bound()));
                self.residence.resident(&ids, self.keys.id_bound());
                let columns = codec.decode(values)?;
                let weights = decode_weights(&columns[0]);
                let slots = self.sides[side].add_saved(&ids, &columns[1..], &weights, &sequences)?;
                let rows: Vec<(u32, u64)> = slots.into_iter().zip(sequences).collect();
                self.note_rows(side, &rows)
            })?;
        }
        Ok(())
    }
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
        for (group, at) in storage_order(&deleted, |i| group_of(deleted.row(i))) {
            state.delete(self.table, group, deleted.row(at as usize));
        }
        let unsaved = self.take_unsaved();
        let mut full = EncodedKeys::default();
        append_sequences(&keys.encode(&unsaved.ids)?, unsaved.sequences.iter().copied(), &mut full)?;
        for chunk in storage_order(&full, |i| group_of(full.row(i))).chunks(CHUNK_ROWS) {
            let slots: Vec<u32> = chunk.iter().map(|(_, at)| unsaved.slots[*at as usize]).collect();
            let mut columns = vec![encode_weights(slots.iter().map(|slot| self.weight(*slot)))];
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
                let slots = std::mem::take(&mut appended.slots).into_iter().flatten().collect();
                let sequences = self.next_sequence - ids.len() as u64..self.next_sequence;
                Unsaved { slots, ids, sequences: sequences.collect() }
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
