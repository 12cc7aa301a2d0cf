//! A side that keeps no rows: they are looked up in the relation they come from, which all joins by the same key share.
//!
//! ```text
//!   snapshot of the relation, as of the last checkpoint ──► rows of a key, when it is first met since
//!   changes since then                                  ──► applied to what was looked up, as on any side
//!   checkpoint ─► the snapshot goes on to it, and all rows are forgotten again
//! ```
//! So the side holds the keys of one checkpoint interval. When the relation cannot be had as of the checkpoint, since it
//! has gone on while this job is behind, the snapshot stays as it is: keys that changed since it was taken must stay in
//! memory then, whatever else is let go of.
//!
//! Nothing of the side is in the join's state on disk: a restart gets a snapshot as of its checkpoint.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use super::HashJoin;
use super::shed::{CHANGED, LOADED, WANTED};
use super::side::{JoinSide, Journal, row_tags};
use crate::operator::{OpenContext, Operator, Output, Port, SharedRows};
use crate::operators::calc::Calc;
use crate::operators::checkpoint::CHUNK_ROWS;
use crate::spec::{NodeSpec, OperatorSpec, SharedSide};
use crate::state::{KeyTable, NONE};

/// Where a side's rows are looked up.
pub(super) struct Shared {
    pub side: usize,
    /// Which of the join's keys lead the relation's key.
    key: Vec<usize>,
    calc: Option<Calc>,
    /// Of an opened join.
    rows: Option<Arc<dyn SharedRows>>,
}

impl Shared {
    /// A side before the join is opened.
    pub fn new(spec: &SharedSide) -> Result<Shared> {
        let calc = spec.calc.as_ref().map(calc).transpose()?;
        Ok(Shared { side: spec.side, key: spec.key.clone(), calc, rows: None })
    }

    /// Takes over what an opened join looks up from.
    pub fn go_on_from(&mut self, other: &Shared) {
        self.rows.clone_from(&other.rows);
    }

    pub fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.clone_from(&cx.shared);
        self.rows().map(|_| ())
    }

    fn rows(&self) -> Result<Arc<dyn SharedRows>> {
        self.rows.clone().ok_or_else(|| Error::internal("a join without the rows that it shares"))
    }

    /// The side's input made of rows of the relation.
    fn input(&mut self, rows: RecordBatch) -> Result<Vec<ChangeBatch>> {
        let rows = ChangeBatch::inserts(rows);
        let Some(calc) = &mut self.calc else { return Ok(vec![rows]) };
        let mut out = Output::new();
        let _ = calc.on_batch(Port(0), rows, &mut out)?;
        Ok(out.batches)
    }
}

fn calc(spec: &NodeSpec) -> Result<Calc> {
    match &spec.operator {
        OperatorSpec::Calc { filter, project } => {
            Calc::new(filter.as_ref(), project, &spec.inputs[0], &spec.output)
        }
        _ => Err(Error::internal("a shared side is made by a Calc")),
    }
}

impl HashJoin {
    /// Looks up the rows of keys that the shared side was not asked for since the snapshot.
    pub(super) fn look_up(&mut self, missing: &[u32]) -> Result<()> {
        let Some(mut shared) = self.shared.take() else { return Ok(()) };
        let rows = shared.rows()?;
        for ids in missing.chunks(CHUNK_ROWS) {
            let keys = self.keys.gather(ids)?;
            let key: Vec<ArrayRef> = shared.key.iter().map(|at| keys[*at].clone()).collect();
            self.residence.mark(ids, WANTED);
            rows.visit(&key, &mut |found| {
                let batches = shared.input(found)?;
                batches.iter().try_for_each(|batch| self.add_looked_up(shared.side, batch))
            })?;
            self.residence.unmark(ids, WANTED);
        }
        self.shared = Some(shared);
        Ok(())
    }

    /// Takes in those of the rows whose keys are wanted: keys that only begin alike are not.
    fn add_looked_up(&mut self, side: usize, batch: &ChangeBatch) -> Result<()> {
        let keys: Vec<ArrayRef> =
            self.layout.keys[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let mut ids = Vec::with_capacity(batch.len());
        self.keys.upsert(&keys, batch.len(), &mut ids)?;
        let bound = self.keys.id_bound();
        self.sides.iter_mut().for_each(|side| side.reserve_keys(bound));
        let strays = self.residence.unknown(&ids, bound);
        let wanted: Vec<u32> =
            (0..batch.len() as u32).filter(|row| self.residence.has(ids[*row as usize], WANTED)).collect();
        let kept: Vec<u32> = wanted.iter().map(|row| ids[*row as usize]).collect();
        let stored: Vec<ArrayRef> =
            self.layout.stored[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let stored = take_arrays(&stored, &UInt32Array::from(wanted), None).map_err(Error::internal)?;
        self.sides[side].add_looked_up(&kept, &stored)?;
        strays.into_iter().for_each(|id| self.keys.remove(id));
        Ok(())
    }

    /// A checkpoint was taken: the snapshot goes on to it, if it can.
    pub(super) fn renew(&mut self, epoch: Epoch) -> Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let side = shared.side;
        if shared.rows()?.renew(epoch) {
            self.residence.forget_looked_up();
            self.sides[side] = self.empty_side(side)?;
            self.sides[side].reserve_keys(self.keys.id_bound());
        }
        Ok(())
    }

    /// Rows of the shared side change: their keys cannot be looked up again until the snapshot goes on.
    pub(super) fn change_shared(&mut self, side: usize, ids: &[u32]) {
        if self.shared.as_ref().is_some_and(|shared| shared.side == side) {
            self.residence.mark(ids, CHANGED);
        }
    }

    /// Whether the rows of this side are the join's own.
    pub(super) fn is_own(&self, side: usize) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.side != side)
    }
}

impl JoinSide {
    /// Adds rows of keys that had none; equal ones are one with a weight.
    fn add_looked_up(&mut self, ids: &[u32], stored: &[ArrayRef]) -> Result<()> {
        let mut slots = Vec::with_capacity(ids.len());
        self.rows.insert(stored, ids.len(), &mut slots)?;
        self.next.resize(self.rows.slot_bound(), NONE);
        if let Some(totals) = &mut self.totals {
            ids.iter().for_each(|id| totals.restore(*id, 1));
        }
        let Journal::Retract(retraction) = &mut self.journal else {
            return Err(Error::internal("a shared side that cannot delete"));
        };
        retraction.resize(self.rows.slot_bound());
        let tags = row_tags(ids, stored)?;
        for ((slot, id), tag) in slots.into_iter().zip(ids).zip(tags) {
            let rows = &self.rows;
            let same = |other: u32| retraction.keys[other as usize] == *id && rows.equal(other, slot);
            if let Some(old) = retraction.index.find(tag, same) {
                retraction.weights[old as usize] += 1;
                self.rows.remove(slot);
                continue;
            }
            retraction.link(&mut self.heads, &mut self.next, slot, *id, tag);
            retraction.weights[slot as usize] = 1;
            retraction.sequences[slot as usize] = self.next_sequence;
            self.next_sequence += 1;
        }
        Ok(())
    }

    /// Forgets what a checkpoint of rows of its own would write.
    pub(super) fn forget_changes(&mut self, keys: &KeyTable) {
        debug_assert!(self.preserved.is_none() && !keys.types().is_empty(), "such a side is not shared");
        if let Journal::Retract(retraction) = &mut self.journal {
            retraction.changed.clear();
            retraction.deleted = Default::default();
        }
    }
}

/// Marks of key ids that [`Shared`] needs beside those of rows of the join's own.
impl super::shed::Residence {
    /// Whether the key needs its rows looked up; from now on it has them.
    pub(super) fn load(&mut self, id: u32) -> bool {
        let flags = &mut self.flags[id as usize];
        *flags & LOADED == 0 && {
            *flags |= LOADED;
            true
        }
    }

    fn mark(&mut self, ids: &[u32], mark: u8) {
        ids.iter().for_each(|id| self.flags[*id as usize] |= mark);
    }

    fn unmark(&mut self, ids: &[u32], mark: u8) {
        ids.iter().for_each(|id| self.flags[*id as usize] &= !mark);
    }

    fn has(&self, id: u32, mark: u8) -> bool {
        self.flags[id as usize] & mark != 0
    }

    /// The ids that no row of a batch has brought, each once; ids are below `bound`.
    fn unknown(&mut self, ids: &[u32], bound: usize) -> Vec<u32> {
        self.flags.resize(bound, 0);
        let mut unknown: Vec<u32> = ids.iter().copied().filter(|id| self.flags[*id as usize] == 0).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    fn forget_looked_up(&mut self) {
        self.flags.iter_mut().for_each(|flags| *flags &= !(LOADED | CHANGED));
    }

    /// Keys that changed since the snapshot.
    pub(super) fn changed(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.flags).filter(|(_, flags)| **flags & CHANGED != 0).map(|(id, _)| id)
    }
}
