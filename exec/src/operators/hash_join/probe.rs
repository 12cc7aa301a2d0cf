//! Matching a batch with the rows of the other side.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result};

use super::HashJoin;
use super::layout::Origin;
use super::side::JoinSide;
use crate::operator::{Flow, Output};
use crate::operators::BATCH_ROWS;
use crate::state::NONE;

/// A batch that is being matched, and how far it got.
pub(super) struct Probe {
    pub side: usize,
    batch: ChangeBatch,
    /// Key id of each row.
    ids: Vec<u32>,
    /// The row that is being matched.
    row: usize,
    /// The slot it meets next; `None` when it has not begun.
    slot: Option<u32>,
}

/// Pairs of a row of the batch and a slot of the other side.
#[derive(Default)]
pub(super) struct Pairs {
    pub rows: Vec<u32>,
    pub slots: Vec<u32>,
    /// Empty for pairs that are not weighed yet.
    ops: Vec<i8>,
}

impl Probe {
    /// A batch of `side`, not begun.
    pub fn new(side: usize, batch: ChangeBatch, ids: Vec<u32>) -> Probe {
        Probe { side, batch, ids, row: 0, slot: None }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.batch.memory_size() + self.ids.capacity() * 4
    }

    /// +1 or −1 of a row of the batch.
    #[inline]
    pub fn op(&self, row: u32) -> i8 {
        self.batch.op(row as usize)
    }

    /// Finds up to [`BATCH_ROWS`] more pairs, whatever they weigh; `None` when the batch is through.
    pub fn candidates(&mut self, other: &JoinSide) -> Option<Pairs> {
        let mut pairs = Pairs::default();
        while self.row < self.ids.len() {
            let mut slot = self.slot.take().unwrap_or_else(|| other.head(self.ids[self.row]));
            while slot != NONE {
                if pairs.rows.len() >= BATCH_ROWS {
                    self.slot = Some(slot);
                    return Some(pairs);
                }
                pairs.rows.push(self.row as u32);
                pairs.slots.push(slot);
                slot = other.next(slot);
            }
            self.row += 1;
        }
        (!pairs.rows.is_empty()).then_some(pairs)
    }

    /// Finds up to about [`BATCH_ROWS`] more pairs; none when the batch is through.
    fn pairs(&mut self, other: &JoinSide) -> Pairs {
        let mut pairs = Pairs::default();
        while self.row < self.ids.len() {
            let op = i32::from(self.batch.op(self.row));
            let mut slot = self.slot.take().unwrap_or_else(|| other.head(self.ids[self.row]));
            while slot != NONE {
                if pairs.rows.len() >= BATCH_ROWS {
                    self.slot = Some(slot);
                    return pairs;
                }
                pairs.push(self.row as u32, slot, op * other.weight(slot));
                slot = other.next(slot);
            }
            self.row += 1;
        }
        pairs
    }
}

impl Pairs {
    #[inline]
    pub fn push(&mut self, row: u32, slot: u32, weight: i32) {
        for _ in 0..weight.unsigned_abs() {
            self.rows.push(row);
            self.slots.push(slot);
            self.ops.push(weight.signum() as i8);
        }
    }

    pub fn slice(&self, from: usize, to: usize) -> Pairs {
        let part = |values: &[u32]| values[from..to].to_vec();
        Pairs { rows: part(&self.rows), slots: part(&self.slots), ops: self.ops[from..to].to_vec() }
    }

    fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        let weighed = !self.ops.is_empty();
        let mut kept = 0;
        for i in (0..self.rows.len()).filter(|i| keep(*i)) {
            self.rows[kept] = self.rows[i];
            self.slots[kept] = self.slots[i];
            if weighed {
                self.ops[kept] = self.ops[i];
            }
            kept += 1;
        }
        self.rows.truncate(kept);
        self.slots.truncate(kept);
        self.ops.truncate(kept);
    }
}

impl HashJoin {
    /// Matches until the batch is through or the fuel is used up. Pairs that do not pass the filter cost fuel too.
    pub(super) fn advance(&self, probe: &mut Probe, out: &mut Output) -> Result<Flow> {
        loop {
            let pairs = probe.pairs(&self.sides[1 - probe.side]);
            let found = pairs.rows.len();
            if found <= BATCH_ROWS {
                self.emit_passing(probe, pairs, out)?;
            } else {
                for from in (0..found).step_by(BATCH_ROWS) {
                    self.emit_passing(probe, pairs.slice(from, found.min(from + BATCH_ROWS)), out)?;
                }
            }
            if probe.row == probe.ids.len() {
                return Ok(Flow::Done);
            }
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
        }
    }

    fn emit_passing(&self, probe: &Probe, mut pairs: Pairs, out: &mut Output) -> Result<()> {
        let candidates = pairs.rows.len();
        self.keep_passing(probe, &mut pairs)?;
        out.fuel -= (candidates - pairs.rows.len()) as i64;
        self.emit(probe, pairs, out)
    }

    /// Drops the pairs that do not pass the filter.
    pub(super) fn keep_passing(&self, probe: &Probe, pairs: &mut Pairs) -> Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        let candidates = pairs.rows.len();
        let columns = self.gather(probe, &self.layout.filter_input(probe.side), pairs)?;
        let passed = filter.evaluate(&columns, candidates)?;
        let passed =
            passed.as_boolean_opt().ok_or_else(|| Error::internal("a join filter is not boolean"))?;
        if passed.null_count() > 0 || passed.true_count() < candidates {
            pairs.keep(|pair| passed.is_valid(pair) && passed.value(pair));
        }
        Ok(())
    }

    /// Emits weighed pairs.
    pub(super) fn emit(&self, probe: &Probe, pairs: Pairs, out: &mut Output) -> Result<()> {
        let rows = pairs.rows.len();
        if rows == 0 {
            return Ok(());
        }
        let columns = self.gather(probe, &self.layout.output(probe.side), &pairs)?;
        let rows = record_batch(self.schema.clone(), columns, rows)?;
        out.push(ChangeBatch::new(rows, ScalarBuffer::from(pairs.ops)));
        Ok(())
    }

    fn gather(&self, probe: &Probe, origins: &[Origin], pairs: &Pairs) -> Result<Vec<ArrayRef>> {
        let rows = UInt32Array::from(pairs.rows.clone());
        let other = &self.sides[1 - probe.side];
        let column = |origin: &Origin| match origin {
            Origin::Batch(column) => {
                take(&probe.batch.columns()[*column], &rows, None).map_err(Error::internal)
            }
            Origin::Stored(column) => other.rows.gather(*column, &pairs.slots),
        };
        origins.iter().map(column).collect()
    }
}
