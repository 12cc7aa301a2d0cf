//! Which keys a join has in memory: those without rows go, and when memory is tight all but recent ones.
//!
//! A key is in memory with all its rows of both sides or not at all. Right after a checkpoint every row is on disk
//! or on its way there, so the join may forget a key; but not one that changed since the checkpoint before, since what is
//! read again may be as old as that. A key without rows is forgotten by the same rule: till then its deleted rows may
//! still be found on disk. A batch first reads again the keys that are not in memory, then goes on as always.
//!
//! A join without key columns, one that forgets rows by their time, or whose rows count the matches that pass a filter, keeps everything.

use std::sync::Arc;

use arrow::array::ArrayRef;
use weir_common::{Error, KeyGroup, Result};

use super::HashJoin;
use super::side::{JoinSide, Journal};
use crate::operator::{OpenContext, StateLookup, StateReader};
use crate::operators::checkpoint::{CHUNK_ROWS, decode_weights, storage_order};
use crate::spec::NodeSpec;
use crate::state::NONE;

/// All rows of the key are in memory.
const RESIDENT: u8 = 1;
/// Rows of the key came or went since the last checkpoint.
const TOUCHED: u8 = 2;
/// The shared side has the key's rows.
pub(super) const LOADED: u8 = 4;
/// The shared side's rows of the key are not those of the snapshot any more.
pub(super) const CHANGED: u8 = 8;
/// The key's rows are being looked up.
pub(super) const WANTED: u8 = 16;

/// Which keys are in memory.
pub(super) struct Residence {
    /// What the join was made from.
    pub spec: NodeSpec,
    durable: Option<Arc<dyn StateLookup>>,
    /// Whether there may be keys on disk that are not in memory.
    is_incomplete: bool,
    /// Of each key id.
    pub flags: Vec<u8>,
    /// Keys with the flag `TOUCHED`.
    touched: Vec<u32>,
    /// Keys that the last checkpoint wrote rows of, or deleted some; those of the one before too while it is not durable.
    settled: Vec<u32>,
}

impl Residence {
    /// Of a join without keys.
    pub fn new(spec: &NodeSpec) -> Residence {
        let (flags, touched, settled) = Default::default();
        Residence { spec: spec.clone(), durable: None, is_incomplete: false, flags, touched, settled }
    }

    /// Remembers where durable state is.
    pub fn open(&mut self, cx: &OpenContext<'_>) {
        self.durable = Some(cx.durable.clone());
    }

    /// These keys are in memory; ids are below `bound`.
    pub fn resident(&mut self, ids: &[u32], bound: usize) {
        self.flags.resize(bound, 0);
        ids.iter().for_each(|id| self.flags[*id as usize] |= RESIDENT);
    }

    /// Rows of these keys went.
    pub fn forgotten(&mut self, ids: &[u32], bound: usize) {
        self.touch(ids, bound);
    }

    /// Marks keys whose rows come or go; those that are not in memory, each once.
    fn touch(&mut self, ids: &[u32], bound: usize) -> Vec<u32> {
        self.flags.resize(bound, 0);
        let mut missing = Vec::new();
        for id in ids {
            let flags = &mut self.flags[*id as usize];
            if *flags & TOUCHED == 0 {
                self.touched.push(*id);
                if self.is_incomplete && *flags & RESIDENT == 0 {
                    missing.push(*id);
                }
                *flags |= RESIDENT | TOUCHED;
            }
        }
        missing
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.flags.capacity() + (self.touched.capacity() + self.settled.capacity()) * 4
    }
}

impl HashJoin {
    /// Rows of these keys come to a side or go: reads the keys again that are not in memory.
    pub(super) fn touch(&mut self, side: usize, ids: &[u32]) -> Result<()> {
        let missing = self.residence.touch(ids, self.keys.id_bound());
        if !missing.is_empty() {
            self.read_again(&missing)?;
        }
        if self.shared.is_some() {
            let missing: Vec<u32> = ids.iter().copied().filter(|id| self.residence.load(*id)).collect();
            self.look_up(&missing)?;
            self.change_shared(side, ids);
        }
        Ok(())
    }

    fn read_again(&mut self, missing: &[u32]) -> Result<()> {
        let durable = self.residence.durable.clone();
        let durable = durable.ok_or_else(|| Error::internal("a join that was not opened"))?;
        let keys = self.keys.encode(missing)?;
        let order = storage_order(&keys, |i| KeyGroup::of(keys.row(i)));
        let asked: Vec<(KeyGroup, &[u8])> =
            order.iter().map(|(group, at)| (*group, keys.row(*at as usize))).collect();
        let shared = self.shared.as_ref().map(|shared| shared.side);
        for (_, side) in self.sides.iter_mut().enumerate().filter(|(side, _)| Some(*side) != shared) {
            let mut found = Found::default();
            durable.prefixed(side.table, &asked, &mut |position, sequence, value| {
                let sequence = sequence
                    .try_into()
                    .map_err(|_| Error::corrupted("a key of a stored row has no sequence number"))?;
                found.ids.push(missing[order[position].1 as usize]);
                found.sequences.push(u64::from_be_bytes(sequence));
                found.values.push(value.to_vec());
                if found.ids.len() == CHUNK_ROWS { found.add_to(side) } else { Ok(()) }
            })?;
            found.add_to(side)?;
        }
        Ok(())
    }

    /// A checkpoint was taken: frees the keys that have been without rows since the one before, if that is durable.
    pub(super) fn settle(&mut self, is_last_durable: bool) {
        let mut touched = std::mem::take(&mut self.residence.touched);
        if !is_last_durable {
            touched.append(&mut self.residence.settled);
            touched.sort_unstable();
            touched.dedup();
        }
        let before = std::mem::replace(&mut self.residence.settled, touched);
        for id in before {
            let flags = &mut self.residence.flags[id as usize];
            let is_empty = self.sides.iter().all(|side| side.head(id) == NONE);
            if is_empty && *flags & !LOADED == RESIDENT {
                *flags = 0;
                self.keys.remove(id);
            }
        }
        let flags = &mut self.residence.flags;
        self.residence.settled.iter().for_each(|id| flags[*id as usize] &= !TOUCHED);
    }

    /// Forgets all keys but those of the last checkpoint, if that is much.
    pub(super) fn let_go(&mut self) -> Result<()> {
        let mut kept = std::mem::take(&mut self.residence.settled);
        kept.extend(self.residence.changed());
        kept.sort_unstable();
        kept.dedup();
        if !self.can_shed() || kept.len() * 4 > self.keys.len() * 3 {
            self.residence.settled = kept;
            return Ok(());
        }
        self.keep_only(&kept)
    }

    fn can_shed(&self) -> bool {
        let counts = |side: &JoinSide| side.preserved.as_ref().is_some_and(|p| p.matches.is_some());
        // Rows that are forgotten some time are found by their time in memory.
        let closes = self.closing.iter().any(Option::is_some);
        !self.keys.types().is_empty() && !closes && !self.sides.iter().any(counts)
    }

    /// While the last checkpoint is read: whether memory is tight, so that its rows stay on disk.
    pub(super) fn stays_on_disk(&mut self, state: &dyn StateReader) -> Result<bool> {
        if !self.residence.is_incomplete && self.can_shed() && state.is_tight() {
            self.keep_only(&[])?;
        }
        Ok(self.residence.is_incomplete)
    }

    fn keep_only(&mut self, kept: &[u32]) -> Result<()> {
        let mut join = HashJoin::new(&self.residence.spec)?;
        join.residence.durable = self.residence.durable.clone();
        join.residence.is_incomplete = true;
        if let (Some(new), Some(old)) = (&mut join.shared, &self.shared) {
            new.go_on_from(old);
        }
        for (new, old) in join.sides.iter_mut().zip(&self.sides) {
            new.go_on_from(old);
        }
        let mut ids = Vec::new();
        for chunk in kept.chunks(CHUNK_ROWS) {
            join.keys.upsert(&self.keys.gather(chunk)?, chunk.len(), &mut ids)?;
            let bound = join.keys.id_bound();
            join.sides.iter_mut().for_each(|side| side.reserve_keys(bound));
            join.residence.resident(&ids, bound);
            let looked_up = |id: u32| self.residence.flags[id as usize] & (LOADED | CHANGED);
            ids.iter()
                .zip(chunk)
                .for_each(|(new, old)| join.residence.flags[*new as usize] |= looked_up(*old));
            join.residence.settled.extend_from_slice(&ids);
            for (new, old) in join.sides.iter_mut().zip(&self.sides) {
                new.copy_keys(&ids, old, chunk)?;
            }
        }
        *self = join;
        Ok(())
    }
}

/// Rows that were found on disk.
#[derive(Default)]
struct Found {
    ids: Vec<u32>,
    sequences: Vec<u64>,
    values: Vec<Vec<u8>>,
}

impl Found {
    fn add_to(&mut self, side: &mut JoinSide) -> Result<()> {
        let Found { ids, sequences, values } = std::mem::take(self);
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let columns = side.codec.decode(&values)?;
        side.add_saved(&ids, &columns[1..], &decode_weights(&columns[0]), &sequences).map(drop)
    }
}

impl JoinSide {
    /// Numbers rows on where `old` stopped, with everything saved.
    fn go_on_from(&mut self, old: &JoinSide) {
        self.next_sequence = old.next_sequence;
        if let (Journal::Retract(new), Journal::Retract(old)) = (&mut self.journal, &old.journal) {
            new.saved_below = old.saved_below;
        }
    }

    /// Takes over the rows of the keys `from` of another side, which are `ids` here.
    fn copy_keys(&mut self, ids: &[u32], other: &JoinSide, from: &[u32]) -> Result<()> {
        let (mut owners, mut slots) = (Vec::new(), Vec::new());
        for (id, key) in ids.iter().zip(from) {
            let mut slot = other.head(*key);
            while slot != NONE {
                owners.push(*id);
                slots.push(slot);
                slot = other.next(slot);
            }
        }
        for (owners, slots) in owners.chunks(CHUNK_ROWS).zip(slots.chunks(CHUNK_ROWS)) {
            let stored: Vec<ArrayRef> = other.rows.gather_all(slots)?;
            let weights: Vec<i64> = slots.iter().map(|slot| i64::from(other.weight(*slot))).collect();
            let sequences: Vec<u64> = slots.iter().map(|slot| other.sequence(*slot)).collect();
            self.add_saved(owners, &stored, &weights, &sequences)?;
        }
        Ok(())
    }

    /// The number of a row of a side that deletes.
    fn sequence(&self, slot: u32) -> u64 {
        match &self.journal {
            Journal::AppendOnly(_) => 0,
            Journal::Retract(retraction) => retraction.sequences[slot as usize],
        }
    }
}
