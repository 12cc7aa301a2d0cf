//! `HashJoin`: the symmetric join of two changing inputs, of any kind.
//!
//! Each side keeps its rows; a batch of one side first joins its own side's rows, then is matched with the
//! other side as it is now. Whatever the order of batches within an epoch, each pair of rows meets exactly
//! once, and its op is the product of both: Δ(L⋈R) = ΔL⋈R + L⋈ΔR + ΔL⋈ΔR.
//!
//! ```text
//!   batch ─► rows with a NULL key drop out ─► keys → ids (one table for both sides)
//!         ─► own side: store, link into the key's chain            (side.rs)
//!         ─► other side: walk the chains → pairs of (row, slot)    (probe.rs, count.rs)
//!              ─► residual filter over the pairs ─► gather the projected columns
//!   end of the epoch ─► rows that show by the number of their matches (matches.rs, transitions.rs)
//!   checkpoint ─► rows that changed (persist.rs); keys without rows go, all but recent ones may (shed.rs)
//! ```
//! Rows that no row on time can match any more are forgotten, if the join says by which columns that is known
//! (`closing.rs`). One side may have its rows in the relation they come from, where others read them too (`shared.rs`).
//!
//! A side stores only columns that the projection or the filter reads, and no key column whose value the other
//! side's key has anyway (`layout.rs`). Rows that only differ elsewhere are duplicates then: rows carry
//! weights. Weights may be negative within an epoch, when a delete comes before its insert.
//!
//! An inner join pays for none of what outer, semi, anti and mark joins need: it counts no matches and has nothing
//! to do at the end of an epoch. Without a filter a semi or anti join does not look for pairs either, its right side
//! is a number for each key.

mod closing;
mod count;
#[cfg(test)]
mod kind_tests;
mod layout;
mod matches;
mod persist;
mod probe;
mod shared;
mod shed;
mod side;
#[cfg(test)]
mod tests;
mod transitions;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::closing::Closing;
use self::layout::Layout;
use self::matches::{Preserved, Totals};
use self::probe::Probe;
use self::shared::Shared;
use self::shed::Residence;
use self::side::JoinSide;
use self::transitions::Transitions;
use super::null_keys::split_nulls;
use super::positional_schema;
use crate::compile::{CompiledExpr, compile};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateTable, StateWriter};
use crate::spec::{ChangelogMode, JoinKind, NodeSpec, OperatorSpec};
use crate::state::KeyTable;

/// The streaming join operator.
pub struct HashJoin {
    kind: JoinKind,
    layout: Layout,
    /// Key columns of each side in which NULL equals nothing.
    null_keys: [Vec<usize>; 2],
    filter: Option<CompiledExpr>,
    schema: SchemaRef,
    keys: KeyTable,
    /// Left and right.
    sides: [JoinSide; 2],
    /// Matching that goes on.
    probe: Option<Probe>,
    /// The end of an epoch that goes on.
    transitions: Option<Transitions>,
    /// Which keys are in memory.
    residence: Residence,
    /// If a side's rows are not the join's own.
    shared: Option<Shared>,
    /// Of each side whose rows are forgotten some time: when.
    closing: [Option<Closing>; 2],
}

impl HashJoin {
    /// The join that a `HashJoin` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<HashJoin> {
        let OperatorSpec::HashJoin {
            kind,
            left_keys,
            right_keys,
            null_equal,
            filter,
            project,
            shared,
            closing,
            ..
        } = &spec.operator
        else {
            return Err(Error::internal("a join is built from a join's specification"));
        };
        let key_types = key_types(left_keys, &spec.inputs[0])?;
        if key_types != self::key_types(right_keys, &spec.inputs[1])? || null_equal.len() != key_types.len() {
            return Err(Error::internal("the key columns of a join differ in type"));
        }
        let strict = |keys: &[usize]| {
            keys.iter().zip(null_equal).filter(|(_, equal)| !**equal).map(|(key, _)| *key).collect()
        };
        let times = closing.map(|closing| closing.map(|closing| closing.column));
        let layout = Layout::new([left_keys, right_keys], filter.as_ref(), project, times, &spec.inputs);
        let filter = layout.filter.as_ref().map(|filter| compile(&filter.expr, &filter.types)).transpose()?;
        let side = |s: usize| join_side(&spec.operator, filter.is_some(), s, &layout);
        Ok(HashJoin {
            kind: *kind,
            null_keys: [strict(left_keys), strict(right_keys)],
            sides: [side(0)?, side(1)?],
            layout,
            filter,
            schema: positional_schema(&spec.output),
            keys: KeyTable::new(&key_types)?,
            probe: None,
            transitions: None,
            residence: Residence::new(spec),
            shared: shared.as_ref().map(|shared| Shared::new(shared)).transpose()?,
            closing: closing.map(|closing| closing.map(Closing::of)),
        })
    }

    /// Takes a batch without NULL keys into its side; the ids of its keys.
    fn store(&mut self, side: usize, batch: &ChangeBatch) -> Result<Vec<u32>> {
        let keys: Vec<ArrayRef> =
            self.layout.keys[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let mut ids = Vec::with_capacity(batch.len());
        self.keys.upsert(&keys, batch.len(), &mut ids)?;
        self.sides.iter_mut().for_each(|s| s.reserve_keys(self.keys.id_bound()));
        self.touch(side, &ids)?;
        let stored: Vec<ArrayRef> =
            self.layout.stored[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let (changes, first) = (self.sides[side].changes(), self.sides[side].next_sequence);
        self.sides[side].insert(&ids, &stored, batch.ops.as_deref(), &self.keys)?;
        if self.closing[side].is_some() {
            let new = self.sides[side].new_rows(changes, first);
            self.note_rows(side, &new)?;
        }
        Ok(ids)
    }

    /// A side without rows.
    fn empty_side(&self, side: usize) -> Result<JoinSide> {
        join_side(&self.residence.spec.operator, self.filter.is_some(), side, &self.layout)
    }

    fn advance_probe(&mut self, out: &mut Output) -> Result<Flow> {
        let Some(mut probe) = self.probe.take() else { return Ok(Flow::Done) };
        let flow = if self.kind == JoinKind::Inner || self.filter.is_none() {
            self.advance(&mut probe, out)?
        } else {
            self.advance_counted(&mut probe, out)?
        };
        if flow == Flow::Yield {
            self.probe = Some(probe);
        }
        Ok(flow)
    }
}

impl Operator for HashJoin {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.residence.open(cx);
        self.shared.iter_mut().try_for_each(|shared| shared.open(cx))?;
        self.restore(cx)?;
        self.recount()
    }

    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let (batch, unmatched) = split_nulls(batch, &self.null_keys[port.0])?;
        if let Some(unmatched) = unmatched {
            self.emit_unmatched(port.0, &unmatched, out)?;
        }
        if batch.is_empty() {
            return Ok(Flow::Done);
        }
        let ids = self.store(port.0, &batch)?;
        if !self.kind.emits_pairs() && self.filter.is_none() {
            return Ok(Flow::Done);
        }
        self.probe = Some(Probe::new(port.0, batch, ids));
        self.advance_probe(out)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.closing.iter_mut().flatten().for_each(|closing| closing.watermark = watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        if self.kind == JoinKind::Inner {
            return self.close_rows().map(|()| Flow::Done);
        }
        self.transitions = Some(Transitions::default());
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let Some(mut transitions) = self.transitions.take() else { return self.advance_probe(out) };
        match self.advance_transitions(&mut transitions, out)? {
            Flow::Yield => self.transitions = Some(transitions),
            Flow::Done => return self.close_rows().map(|()| Flow::Done),
        }
        Ok(Flow::Yield)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.persist(state)?;
        self.settle(state.is_last_durable());
        self.renew(state.epoch())
    }

    fn shed(&mut self) -> Result<()> {
        self.let_go()
    }

    fn first_time(&self) -> Option<i64> {
        self.closing.iter().flatten().filter_map(Closing::first_time).min()
    }

    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
            + self.residence.memory_bytes()
            + self.sides.iter().map(JoinSide::memory_bytes).sum::<usize>()
            + self.probe.as_ref().map_or(0, Probe::memory_bytes)
            + self.closing.iter().flatten().map(Closing::memory_bytes).sum::<usize>()
    }
}

fn key_types(keys: &[usize], input: &[DataType]) -> Result<Vec<DataType>> {
    let ty = |column: &usize| {
        input.get(*column).cloned().ok_or_else(|| Error::internal("a key is no input column"))
    };
    keys.iter().map(ty).collect()
}

/// A side of a join, with what this kind of join counts on it.
fn join_side(join: &OperatorSpec, filtered: bool, side: usize, layout: &Layout) -> Result<JoinSide> {
    let OperatorSpec::HashJoin { kind, left_mode, right_mode, shared, closing, .. } = join else {
        return Err(Error::internal("a side of something that is no join"));
    };
    let preserves = kind.preserves();
    let is_shared = shared.as_ref().is_some_and(|shared| shared.side == side);
    // Rows that only count are kept once with a weight; what is looked up changes in any way, and what is forgotten
    // goes like a deleted row.
    let weighs = preserves[side] || !kind.emits_pairs() || is_shared || closing[side].is_some();
    let mode = if weighs { ChangelogMode::Retract } else { [*left_mode, *right_mode][side] };
    let mut joined = JoinSide::new(mode, &layout.stored_types(side), StateTable(side as u8))?;
    joined.preserved = preserves[side].then(|| Box::new(Preserved::new(filtered)));
    joined.totals = (preserves[1 - side] && !filtered).then(|| Box::new(Totals::default()));
    Ok(joined)
}
