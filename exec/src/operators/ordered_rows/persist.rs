//! Ordered rows on disk, as weighted rows (`operators::checkpoint`) under the partition's key.
//!
//! Sequence numbers are unique among the rows of a partition: the owner of a partition has restored all its rows,
//! wherever they were written, and starts above the highest number it restored.

use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::{Error, Result};

use super::{OrderedRows, Touched};
use crate::operator::{OpenContext, StateWriter};
use crate::operators::checkpoint::{
    CHUNK_ROWS, append_sequences, decode_weights, encode_weights, group_of, scan_chunks, split_sequences,
    storage_order,
};

impl OrderedRows {
    /// Writes what changed since the last checkpoint.
    pub fn persist(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        let deleted = std::mem::take(&mut self.journal.deleted);
        for (group, at) in storage_order(&deleted, |i| group_of(deleted.row(i))) {
            state.delete(self.table, group, deleted.row(at as usize));
        }
        let changed = self.take_changed();
        let ids: Vec<u32> = changed.iter().map(|(slot, _)| self.slots.partitions[*slot as usize]).collect();
        let mut keys = EncodedKeys::default();
        let sequences = changed.iter().map(|(_, sequence)| *sequence);
        append_sequences(&self.partitions.encode(&ids)?, sequences, &mut keys)?;
        for chunk in storage_order(&keys, |i| group_of(keys.row(i))).chunks(CHUNK_ROWS) {
            let slots: Vec<u32> = chunk.iter().map(|(_, at)| changed[*at as usize].0).collect();
            let mut columns =
                vec![encode_weights(slots.iter().map(|slot| self.slots.weights[*slot as usize]))];
            columns.extend(self.rows.gather_all(&slots)?);
            let values = self.codec.encode(&columns)?;
            for (i, (group, at)) in chunk.iter().enumerate() {
                state.put(self.table, *group, keys.row(*at as usize), values.row(i));
            }
        }
        Ok(())
    }

    /// The rows to write, each once.
    fn take_changed(&mut self) -> Vec<(u32, u64)> {
        self.journal.saved_below = self.journal.next_sequence;
        let mut changed = std::mem::take(&mut self.journal.changed);
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|(slot, sequence)| self.slots.sequences[*slot as usize] == *sequence);
        changed
    }

    /// Remembers the keys on disk of dead rows, by partition and sequence number, while the partitions have ids.
    pub(super) fn bury(&mut self, dead: &[(u32, u64)]) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        let ids: Vec<u32> = dead.iter().map(|(id, _)| *id).collect();
        let sequences = dead.iter().map(|(_, sequence)| *sequence);
        append_sequences(&self.partitions.encode(&ids)?, sequences, &mut self.journal.deleted)
    }

    /// The keys on disk of partitions, without their rows'.
    pub fn partition_keys(&self, ids: &[u32]) -> Result<EncodedKeys> {
        self.partitions.encode(ids)
    }

    /// The partitions with these keys, `NONE` where there is none.
    pub fn partitions_by_keys(&mut self, keys: &[&[u8]]) -> Result<Vec<u32>> {
        let encoder = KeyEncoder::new(self.partitions.types())?;
        let columns = if self.partition.is_empty() { Vec::new() } else { encoder.decode(keys)? };
        let mut found = Vec::new();
        self.partitions.lookup(&columns, keys.len(), &mut found)?;
        Ok(found)
    }

    /// Loads the last checkpoint.
    pub fn restore(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        let encoder = KeyEncoder::new(self.partitions.types())?;
        let codec = self.codec.clone();
        scan_chunks(cx.state, self.table, &mut |keys, values| {
            let (prefixes, sequences) = split_sequences(keys)?;
            let partitions =
                if self.partition.is_empty() { Vec::new() } else { encoder.decode(&prefixes)? };
            let mut scratch = std::mem::take(&mut self.scratch);
            self.partitions.upsert(&partitions, keys.len(), &mut scratch.ids)?;
            self.reserve_partitions();
            let columns = codec.decode(values)?;
            let (weights, columns) = (decode_weights(&columns[0]), &columns[1..]);
            let order: Vec<_> = self.order.iter().map(|column| columns[*column].clone()).collect();
            self.sort.encode(&order, keys.len(), &mut scratch.keys)?;
            let positions: Vec<u32> = (0..keys.len() as u32).collect();
            self.link(columns, None, &positions, &mut scratch)?;
            for (row, slot) in scratch.slots.iter().enumerate() {
                let weight = i32::try_from(weights[row])
                    .map_err(|_| Error::corrupted("a row with the weight of many partitions"))?;
                self.slots.weights[*slot as usize] = weight;
                self.slots.before[*slot as usize] = weight;
                self.slots.sequences[*slot as usize] = sequences[row];
                self.journal.next_sequence = self.journal.next_sequence.max(sequences[row] + 1);
            }
            self.scratch = scratch;
            Ok(())
        })?;
        self.journal.saved_below = self.journal.next_sequence;
        // What was read is what is touched so far.
        self.note_partitions()?;
        self.touched = Touched::default();
        self.reserve_partitions();
        Ok(())
    }
}
