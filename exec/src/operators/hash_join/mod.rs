//! `HashJoin`: the symmetric inner equi-join of two changing inputs.
//!
//! Each side keeps its rows; a batch of one side first joins its own side's rows, then is matched with the
//! other side as it is now. Whatever the order of batches within an epoch, each pair of rows meets exactly
//! once, and its op is the product of both: Δ(L⋈R) = ΔL⋈R + L⋈ΔR + ΔL⋈ΔR.
//!
//! ```text
//!   batch ─► rows with a NULL key drop out ─► keys → ids (one table for both sides)
//!         ─► own side: store, link into the key's chain            (side.rs)
//!         ─► other side: walk the chains → pairs of (row, slot)    (probe.rs)
//!              ─► residual filter over the pairs ─► gather the projected columns
//! ```
//! A side stores only columns that the projection or the filter reads, and no key column whose value the other
//! side's key has anyway (`layout.rs`). Rows that only differ elsewhere are duplicates then: rows carry
//! weights. Weights may be negative within an epoch, when a delete comes before its insert.

mod layout;
mod persist;
mod probe;
mod side;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::{ChangeBatch, Error, Result};

use self::layout::Layout;
use self::probe::Probe;
use self::side::JoinSide;
use super::positional_schema;
use crate::compile::{CompiledExpr, compile};
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateTable, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec};
use crate::state::{KeyTable, NONE};

/// The streaming inner join operator.
pub struct HashJoin {
    layout: Layout,
    filter: Option<CompiledExpr>,
    schema: SchemaRef,
    keys: KeyTable,
    /// Left and right.
    sides: [JoinSide; 2],
    /// Matching that goes on.
    probe: Option<Probe>,
}

impl HashJoin {
    /// The join that a `HashJoin` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<HashJoin> {
        let OperatorSpec::HashJoin { left_keys, right_keys, filter, project, left_mode, right_mode } =
            &spec.operator
        else {
            return Err(Error::internal("a join is built from a join's specification"));
        };
        let key_types = key_types(left_keys, &spec.inputs[0])?;
        if key_types != self::key_types(right_keys, &spec.inputs[1])? {
            return Err(Error::internal("the key columns of a join differ in type"));
        }
        let layout = Layout::new([left_keys, right_keys], filter.as_ref(), project, &spec.inputs);
        let filter = layout.filter.as_ref().map(|filter| compile(&filter.expr, &filter.types)).transpose()?;
        let side = |s: usize, mode| JoinSide::new(mode, &layout.stored_types(s), StateTable(s as u8));
        Ok(HashJoin {
            sides: [side(0, *left_mode)?, side(1, *right_mode)?],
            layout,
            filter,
            schema: positional_schema(&spec.output),
            keys: KeyTable::new(&key_types)?,
            probe: None,
        })
    }

    /// Takes a batch without NULL keys into its side; the ids of its keys.
    fn store(&mut self, side: usize, batch: &ChangeBatch) -> Result<Vec<u32>> {
        let keys: Vec<ArrayRef> =
            self.layout.keys[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let mut ids = Vec::with_capacity(batch.len());
        self.keys.upsert(&keys, batch.len(), &mut ids)?;
        self.sides.iter_mut().for_each(|s| s.reserve_keys(self.keys.id_bound()));
        let stored: Vec<ArrayRef> =
            self.layout.stored[side].iter().map(|c| batch.columns()[*c].clone()).collect();
        let emptied = self.sides[side].insert(&ids, &stored, batch.ops.as_deref(), &self.keys)?;
        for id in emptied {
            if self.sides.iter().all(|s| s.head(id) == NONE) {
                self.keys.remove(id);
            }
        }
        Ok(ids)
    }
}

impl Operator for HashJoin {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.restore(cx)
    }

    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let batch = without_null_keys(batch, &self.layout.keys[port.0])?;
        if batch.is_empty() {
            return Ok(Flow::Done);
        }
        let ids = self.store(port.0, &batch)?;
        self.probe = Some(Probe::new(port.0, batch, ids));
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let Some(mut probe) = self.probe.take() else { return Ok(Flow::Done) };
        let flow = self.advance(&mut probe, out)?;
        if flow == Flow::Yield {
            self.probe = Some(probe);
        }
        Ok(flow)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.persist(state)
    }

    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
            + self.sides.iter().map(JoinSide::memory_bytes).sum::<usize>()
            + self.probe.as_ref().map_or(0, Probe::memory_bytes)
    }
}

fn key_types(keys: &[usize], input: &[DataType]) -> Result<Vec<DataType>> {
    let ty = |column: &usize| {
        input.get(*column).cloned().ok_or_else(|| Error::internal("a key is no input column"))
    };
    keys.iter().map(ty).collect()
}

/// The rows that can match: NULL equals nothing.
fn without_null_keys(batch: ChangeBatch, keys: &[usize]) -> Result<ChangeBatch> {
    let nulls = |column: &usize| batch.columns()[*column].nulls().filter(|nulls| nulls.null_count() > 0);
    let valid = keys.iter().filter_map(nulls).map(|nulls| nulls.inner().clone());
    let Some(mask) = valid.reduce(|a: BooleanBuffer, b| &a & &b) else { return Ok(batch) };
    batch.filter(&BooleanArray::new(mask, None))
}
