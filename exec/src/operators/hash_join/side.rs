//! `JoinSide`: the rows of one input of a join, chained by key.
//!
//! A row is a slot of a `RowStore`; `head` of a key and `next` of a slot make the chain of a key. An input that
//! only grows needs no more. One that deletes finds the row to delete by a hash of key and row, keeps weights
//! for duplicates, and links backwards to take a row out of its chain.
//!
//! Every stored row has a *sequence number*, the tail of its key on disk. It must be unique among the rows of
//! its join key, on disk: the owner of a key has restored all rows of the key, wherever they were written,
//! and starts above the highest number it restored. So numbers of different workers may coincide, but never
//! under one key, also after the owner has changed. Numbers grow, hence a row was written by the last
//! checkpoint exactly when its number is below the mark that the checkpoint left.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use weir_common::key::EncodedKeys;
use weir_common::row::RowCodec;
use weir_common::{Error, Result};

use super::matches::{Preserved, Totals};
use crate::operator::StateTable;
use crate::operators::checkpoint::{append_sequences, weighted_codec};
use crate::spec::ChangelogMode;
use crate::state::native::{hash_column, mix, tag_of};
use crate::state::{HashIndex, KeyTable, NONE, RowStore};

/// One input's rows.
pub(super) struct JoinSide {
    pub rows: RowStore,
    /// First slot of each key.
    pub heads: Vec<u32>,
    /// The slot that follows in the chain.
    pub next: Vec<u32>,
    /// The sequence number of the next row.
    pub next_sequence: u64,
    /// What changed since the last checkpoint, and what it takes to delete.
    pub journal: Journal,
    pub table: StateTable,
    pub codec: RowCodec,
    /// If this side's rows show by the number of their matches. Such a side always has a `Retraction`.
    pub preserved: Option<Box<Preserved>>,
    /// Rows of each key, if the other side's rows count them.
    pub totals: Option<Box<Totals>>,
    slots: Vec<u32>,
}

/// How a side keeps track of its rows beyond their chains.
pub(super) enum Journal {
    AppendOnly(Appended),
    Retract(Box<Retraction>),
}

/// Rows that were added since the last checkpoint.
#[derive(Default)]
pub(super) struct Appended {
    /// Their slots, which grow; between the ranges lie rows that were read again.
    pub slots: Vec<Range<u32>>,
    /// The key of each.
    pub keys: Vec<u32>,
}

impl Appended {
    fn add(&mut self, ids: &[u32], slots: &[u32]) {
        self.keys.extend_from_slice(ids);
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return };
        match self.slots.last_mut() {
            Some(range) if range.end == *first => range.end = last + 1,
            _ => self.slots.push(*first..last + 1),
        }
    }
}

/// What an input that deletes needs to know by slot.
#[derive(Default)]
pub(super) struct Retraction {
    /// Key of each slot.
    pub keys: Vec<u32>,
    previous: Vec<u32>,
    /// How often the row is there; 0 marks a free slot.
    pub weights: Vec<i32>,
    pub sequences: Vec<u64>,
    /// Hash of key and row → slot.
    pub index: HashIndex,
    /// Rows from this number on are not on disk.
    pub saved_below: u64,
    /// (slot, sequence number) of rows that are new or whose weight changed. One that died since no longer has
    /// the number.
    pub changed: Vec<(u32, u64)>,
    /// Keys on disk of rows that died.
    pub deleted: EncodedKeys,
}

impl JoinSide {
    /// An empty side storing these columns, by input position.
    pub fn new(mode: ChangelogMode, stored: &[(u16, DataType)], table: StateTable) -> Result<JoinSide> {
        let types: Vec<DataType> = stored.iter().map(|(_, ty)| ty.clone()).collect();
        let journal = match mode {
            ChangelogMode::AppendOnly => Journal::AppendOnly(Appended::default()),
            ChangelogMode::Retract => Journal::Retract(Box::default()),
        };
        Ok(JoinSide {
            rows: RowStore::new(&types)?,
            heads: Vec::new(),
            next: Vec::new(),
            next_sequence: 0,
            journal,
            table,
            codec: weighted_codec(stored)?,
            preserved: None,
            totals: None,
            slots: Vec::new(),
        })
    }

    /// Makes room for keys below `bound`.
    pub fn reserve_keys(&mut self, bound: usize) {
        if self.heads.len() < bound {
            self.heads.resize(bound, NONE);
        }
        if let Some(totals) = &mut self.totals {
            totals.reserve(bound);
        }
    }

    /// The first slot of a key's chain.
    #[inline]
    pub fn head(&self, key: u32) -> u32 {
        self.heads[key as usize]
    }

    /// The slot after this one.
    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.next[slot as usize]
    }

    /// How often the row of a slot is there.
    #[inline]
    pub fn weight(&self, slot: u32) -> i32 {
        match &self.journal {
            Journal::AppendOnly(_) => 1,
            Journal::Retract(retraction) => retraction.weights[slot as usize],
        }
    }

    /// The key of a slot of a side that deletes.
    #[inline]
    pub fn key_of(&self, slot: u32) -> u32 {
        match &self.journal {
            Journal::AppendOnly(_) => NONE,
            Journal::Retract(retraction) => retraction.keys[slot as usize],
        }
    }

    /// Takes rows in by key id, stored columns and op.
    /// A row of a preserved side stays in its chain until [`JoinSide::end_epoch`], even if none is left of it.
    pub fn insert(
        &mut self,
        ids: &[u32],
        stored: &[ArrayRef],
        ops: Option<&[i8]>,
        keys: &KeyTable,
    ) -> Result<()> {
        let mut slots = std::mem::take(&mut self.slots);
        self.rows.insert(stored, ids.len(), &mut slots)?;
        self.next.resize(self.rows.slot_bound(), NONE);
        if let Some(totals) = &mut self.totals {
            ids.iter().enumerate().for_each(|(row, id)| totals.add(*id, ops.map_or(1, |ops| ops[row])));
        }
        match &mut self.journal {
            Journal::AppendOnly(appended) => {
                if ops.is_some() {
                    return Err(Error::internal("a row was deleted from an append-only input of a join"));
                }
                appended.add(ids, &slots);
                link_all(&mut self.heads, &mut self.next, ids, &slots);
                self.next_sequence += ids.len() as u64;
            }
            Journal::Retract(_) => self.apply(ids, stored, ops, &slots, keys)?,
        }
        self.slots = slots;
        Ok(())
    }

    /// Rows of the last checkpoint have these numbers: new ones get higher ones.
    pub fn number_above(&mut self, sequences: &[u64]) {
        let highest = sequences.iter().max().map_or(0, |highest| highest + 1);
        self.next_sequence = self.next_sequence.max(highest);
        if let Journal::Retract(retraction) = &mut self.journal {
            retraction.saved_below = self.next_sequence;
        }
    }

    /// Adds rows that are on disk, and were not in memory; their slots.
    pub fn add_saved(
        &mut self,
        ids: &[u32],
        stored: &[ArrayRef],
        weights: &[i64],
        sequences: &[u64],
    ) -> Result<Vec<u32>> {
        let mut slots = Vec::with_capacity(ids.len());
        self.rows.insert(stored, ids.len(), &mut slots)?;
        self.next.resize(self.rows.slot_bound(), NONE);
        if let Some(totals) = &mut self.totals {
            ids.iter().zip(weights).for_each(|(id, weight)| totals.restore(*id, *weight));
        }
        if let Some(preserved) = &mut self.preserved {
            preserved.reserve(self.rows.slot_bound());
        }
        match &mut self.journal {
            Journal::AppendOnly(_) => {
                if weights.iter().any(|weight| *weight != 1) {
                    return Err(Error::corrupted("a row of an append-only join input has a weight"));
                }
                link_all(&mut self.heads, &mut self.next, ids, &slots);
            }
            Journal::Retract(retraction) => {
                retraction.resize(self.rows.slot_bound());
                let tags = row_tags(ids, stored)?;
                for (row, slot) in slots.iter().enumerate() {
                    retraction.link(&mut self.heads, &mut self.next, *slot, ids[row], tags[row]);
                    retraction.weights[*slot as usize] = weights[row] as i32;
                    retraction.sequences[*slot as usize] = sequences[row];
                }
            }
        }
        Ok(slots)
    }

    /// Inserts and deletes of an input that deletes; the rows lie in `slots` for comparison.
    fn apply(
        &mut self,
        ids: &[u32],
        stored: &[ArrayRef],
        ops: Option<&[i8]>,
        slots: &[u32],
        keys: &KeyTable,
    ) -> Result<()> {
        let Journal::Retract(retraction) = &mut self.journal else { return Ok(()) };
        retraction.resize(self.rows.slot_bound());
        if let Some(preserved) = &mut self.preserved {
            preserved.begin_batch(ids.len(), self.rows.slot_bound());
        }
        let tags = row_tags(ids, stored)?;
        let mut dead = Vec::new();
        for (row, (slot, id)) in slots.iter().zip(ids).enumerate() {
            let op = ops.map_or(1, |ops| i32::from(ops[row]));
            let rows = &self.rows;
            let same = |other: u32| retraction.keys[other as usize] == *id && rows.equal(other, *slot);
            let Some(old) = retraction.index.find(tags[row], same) else {
                retraction.link(&mut self.heads, &mut self.next, *slot, *id, tags[row]);
                retraction.weights[*slot as usize] = op;
                retraction.sequences[*slot as usize] = self.next_sequence;
                retraction.changed.push((*slot, self.next_sequence));
                self.next_sequence += 1;
                if let Some(preserved) = &mut self.preserved {
                    preserved.add_fresh(row, *slot);
                }
                continue;
            };
            self.rows.remove(*slot);
            let sequence = retraction.sequences[old as usize];
            let saved = sequence < retraction.saved_below;
            let weight = &mut retraction.weights[old as usize];
            if let Some(preserved) = &mut self.preserved {
                preserved.touch(old, *weight);
            }
            *weight = weight
                .checked_add(op)
                .ok_or_else(|| Error::unsupported("more than 2^31 equal rows in a join"))?;
            if *weight != 0 {
                if saved {
                    retraction.changed.push((old, sequence));
                }
                continue;
            }
            if self.preserved.is_some() {
                continue;
            }
            retraction.unlink(&mut self.heads, &mut self.next, old, tags[row]);
            self.rows.remove(old);
            if saved {
                dead.push((*id, sequence));
            }
        }
        retraction.bury(&dead, keys)
    }

    /// Forgets what changed in the epoch, and the rows of which none is left.
    pub fn end_epoch(&mut self, keys: &KeyTable) -> Result<()> {
        if let Some(totals) = &mut self.totals {
            totals.end_epoch();
        }
        let (Some(preserved), Journal::Retract(retraction)) = (&mut self.preserved, &mut self.journal) else {
            return Ok(());
        };
        let mut slots = preserved.end_epoch();
        slots.retain(|slot| retraction.weights[*slot as usize] == 0);
        let ids: Vec<u32> = slots.iter().map(|slot| retraction.keys[*slot as usize]).collect();
        let tags = row_tags(&ids, &self.rows.gather_all(&slots)?)?;
        let mut dead = Vec::new();
        for ((slot, id), tag) in slots.into_iter().zip(ids).zip(tags) {
            retraction.unlink(&mut self.heads, &mut self.next, slot, tag);
            self.rows.remove(slot);
            let sequence = retraction.sequences[slot as usize];
            if sequence < retraction.saved_below {
                dead.push((id, sequence));
            }
        }
        retraction.bury(&dead, keys)
    }

    /// Of a side that deletes: how many changes since the last checkpoint are noted.
    pub fn changes(&self) -> usize {
        match &self.journal {
            Journal::AppendOnly(_) => 0,
            Journal::Retract(retraction) => retraction.changed.len(),
        }
    }

    /// The rows, by slot and number, that are new among the changes from this one on.
    pub fn new_rows(&self, from: usize, first: u64) -> Vec<(u32, u64)> {
        let Journal::Retract(retraction) = &self.journal else { return Vec::new() };
        let is_new = |(slot, sequence): &&(u32, u64)| {
            *sequence >= first
                && retraction.weights[*slot as usize] != 0
                && retraction.sequences[*slot as usize] == *sequence
        };
        retraction.changed[from..].iter().filter(is_new).copied().collect()
    }

    /// Forgets those of these rows, by slot and number, that are there still; the keys that they were of.
    pub fn forget(&mut self, rows: &[(u32, u64)], keys: &KeyTable) -> Result<Vec<u32>> {
        let Journal::Retract(retraction) = &mut self.journal else { return Ok(Vec::new()) };
        let is_there = |(slot, sequence): &&(u32, u64)| {
            retraction.weights[*slot as usize] != 0 && retraction.sequences[*slot as usize] == *sequence
        };
        let slots: Vec<u32> = rows.iter().filter(is_there).map(|(slot, _)| *slot).collect();
        let ids: Vec<u32> = slots.iter().map(|slot| retraction.keys[*slot as usize]).collect();
        let tags = row_tags(&ids, &self.rows.gather_all(&slots)?)?;
        let mut dead = Vec::new();
        for ((slot, id), tag) in slots.iter().zip(&ids).zip(tags) {
            retraction.unlink(&mut self.heads, &mut self.next, *slot, tag);
            self.rows.remove(*slot);
            let weight = std::mem::take(&mut retraction.weights[*slot as usize]);
            if let Some(totals) = &mut self.totals {
                totals.restore(*id, -i64::from(weight));
            }
            let sequence = retraction.sequences[*slot as usize];
            if sequence < retraction.saved_below {
                dead.push((*id, sequence));
            }
        }
        retraction.bury(&dead, keys)?;
        Ok(ids)
    }

    /// Slots with a row, of a side that deletes.
    pub fn live_slots(&self) -> Vec<u32> {
        (0..self.rows.slot_bound() as u32)
            .filter(|slot| match &self.journal {
                Journal::AppendOnly(_) => true,
                Journal::Retract(retraction) => retraction.weights[*slot as usize] != 0,
            })
            .collect()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let journal = match &self.journal {
            Journal::AppendOnly(appended) => appended.keys.capacity() * 4,
            Journal::Retract(r) => {
                (r.keys.capacity() + r.previous.capacity() + r.weights.capacity()) * 4
                    + r.sequences.capacity() * 8
                    + r.index.memory_bytes()
                    + r.changed.capacity() * 16
                    + r.deleted.bytes.capacity()
                    + r.deleted.offsets.capacity() * 4
            }
        };
        journal
            + self.preserved.as_ref().map_or(0, |preserved| preserved.memory_bytes())
            + self.totals.as_ref().map_or(0, |totals| totals.memory_bytes())
            + self.rows.memory_bytes()
            + (self.heads.capacity() + self.next.capacity() + self.slots.capacity()) * size_of::<u32>()
    }
}

impl Retraction {
    pub fn resize(&mut self, bound: usize) {
        self.keys.resize(bound, NONE);
        self.previous.resize(bound, NONE);
        self.weights.resize(bound, 0);
        self.sequences.resize(bound, 0);
    }

    pub fn link(&mut self, heads: &mut [u32], next: &mut [u32], slot: u32, key: u32, tag: u32) {
        let follower = std::mem::replace(&mut heads[key as usize], slot);
        next[slot as usize] = follower;
        if follower != NONE {
            self.previous[follower as usize] = slot;
        }
        self.previous[slot as usize] = NONE;
        self.keys[slot as usize] = key;
        self.index.insert(tag, slot);
    }

    fn unlink(&mut self, heads: &mut [u32], next: &mut [u32], slot: u32, tag: u32) {
        let (before, after) = (self.previous[slot as usize], next[slot as usize]);
        if before == NONE {
            heads[self.keys[slot as usize] as usize] = after;
        } else {
            next[before as usize] = after;
        }
        if after != NONE {
            self.previous[after as usize] = before;
        }
        self.index.remove(tag, slot);
    }

    /// Remembers the keys on disk of dead rows, while their join keys still have ids.
    fn bury(&mut self, dead: &[(u32, u64)], keys: &KeyTable) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        let ids: Vec<u32> = dead.iter().map(|(id, _)| *id).collect();
        let encoded = keys.encode(&ids)?;
        append_sequences(&encoded, dead.iter().map(|(_, sequence)| *sequence), &mut self.deleted)
    }
}

/// Links rows in front of their keys' chains.
fn link_all(heads: &mut [u32], next: &mut [u32], ids: &[u32], slots: &[u32]) {
    for (id, slot) in ids.iter().zip(slots) {
        next[*slot as usize] = std::mem::replace(&mut heads[*id as usize], *slot);
    }
}

/// Hashes of key and row.
pub(super) fn row_tags(ids: &[u32], stored: &[ArrayRef]) -> Result<Vec<u32>> {
    let mut hashes: Vec<u64> = ids.iter().map(|id| mix(0, u64::from(*id))).collect();
    stored.iter().try_for_each(|column| hash_column(column, &mut hashes))?;
    Ok(hashes.into_iter().map(tag_of).collect())
}
