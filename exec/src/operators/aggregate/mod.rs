//! `Aggregate`: GROUP BY over changing input; without calls, DISTINCT; without group columns, one global row.
//!
//! A batch is taken in column by column: the keys of all rows become dense group ids (`KeyTable`), then every
//! call updates its own vectors. Nothing leaves before the epoch ends: then each group that was touched emits
//! the delete of its row before the epoch and the insert of its row now, or nothing if they are equal. To know
//! the former, a group's results are evaluated when an epoch touches it first, before its update.
//!
//! ```text
//!   on_batch      keys → ids;  newly touched ids: evaluate, remember;  calls.update(ids)
//!   on_epoch_end  touched ids: evaluate, compare with remembered, emit −old +new      (emit.rs)
//!   checkpoint    dirty ids → entries; groups without rows are deleted  (persist.rs)
//!   shed          groups that this checkpoint did not write are forgotten; the next batch that has one of them
//!                 reads it again  (shed.rs)
//!   on_watermark  groups whose time has passed are forgotten when the epoch is emitted  (closing.rs)
//! ```
//!
//! Invariants: between epochs a group has a row count above zero, or waits for the checkpoint that deletes it and the
//! one after: till then its entry may still be read; what a group without rows leaves in accumulators equals the state of a new one. The global row exists from
//! the first epoch end on, at the worker that owns the key group of the empty key.

mod accumulator;
mod bits;
mod bool_counts;
mod call;
mod closing;
mod emit;
mod exact_float;
mod exact_moments;
mod extremum;
mod float_moments;
mod float_sum;
#[cfg(test)]
mod function_tests;
pub(crate) mod grouped;
mod ordered_bag;
mod ordered_bags;
mod ordered_set;
mod ordered_value;
mod persist;
mod shed;
mod sum;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ttl_tests;
mod value_counts;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::{ChangeBatch, Epoch, Result};

use self::call::{Call, Input};
use self::closing::Closing;
use self::emit::TouchedGroups;
use self::shed::Shedding;
use super::positional_schema;
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{AggregateCall, ChangelogMode, GroupTtl};
use crate::state::KeyTable;

/// The current epoch touched the group.
const TOUCHED: u8 = 1;
/// The group changed since the last checkpoint.
const DIRTY: u8 = 2;
/// The last checkpoint has an entry of the group.
const PERSISTED: u8 = 4;
/// All of the group is in memory, and there is no entry of it. Every group in memory has a flag.
const ABSENT: u8 = 8;

/// The streaming GROUP BY operator.
pub struct Aggregate {
    group: Vec<usize>,
    group_types: Vec<DataType>,
    schema: SchemaRef,
    keys: KeyTable,
    /// Rows of each group.
    rows: Vec<i64>,
    flags: Vec<u8>,
    calls: Vec<Call>,
    touched: TouchedGroups,
    /// Groups with the flag `DIRTY`.
    dirty: Vec<u32>,
    /// What the last checkpoint wrote, and what it deleted.
    written: Vec<u32>,
    deleted: Vec<u32>,
    /// What it takes to let go of groups.
    shedding: Shedding,
    /// Of an aggregate whose groups end: when.
    closing: Option<Closing>,
    /// Of an aggregate without group columns: what became of its row.
    global: GlobalRow,
    ids: Vec<u32>,
}

/// The one row of an aggregate without group columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobalRow {
    /// There are group columns, or another worker has the row.
    Elsewhere,
    /// It will be emitted at the end of this epoch.
    Pending,
    /// It was emitted.
    Present,
}

impl Aggregate {
    /// An aggregate over input columns of the types `input`.
    pub fn new(
        group: &[usize],
        calls: &[AggregateCall],
        mode: ChangelogMode,
        input: &[DataType],
    ) -> Result<Aggregate> {
        let group_types: Vec<DataType> = group.iter().map(|column| input[*column].clone()).collect();
        let results = calls.iter().map(|call| call.result.clone());
        let output: Vec<DataType> = group_types.iter().cloned().chain(results).collect();
        Ok(Aggregate {
            group: group.to_vec(),
            schema: positional_schema(&output),
            keys: KeyTable::new(&group_types)?,
            group_types,
            rows: Vec::new(),
            flags: Vec::new(),
            calls: calls.iter().map(|call| Call::new(call, mode, input)).collect::<Result<_>>()?,
            touched: TouchedGroups::new(calls.len()),
            dirty: Vec::new(),
            written: Vec::new(),
            deleted: Vec::new(),
            shedding: Shedding::new(calls, mode, input),
            closing: None,
            global: GlobalRow::Elsewhere,
            ids: Vec::new(),
        })
    }

    /// The same, of groups that end when event time has passed the group column at position `time`, or when nothing of
    /// them has come for long.
    #[must_use]
    pub fn closing_by(mut self, time: Option<usize>, ttl: Option<GroupTtl>) -> Aggregate {
        self.closing = time.map(Closing::by).or(ttl.map(Closing::after));
        self
    }

    /// Makes room for every group of the key table.
    fn resize(&mut self) {
        let bound = self.keys.id_bound();
        if self.rows.len() == bound {
            return;
        }
        self.rows.resize(bound, 0);
        self.flags.resize(bound, 0);
        self.calls
            .iter_mut()
            .filter_map(Call::accumulator_mut)
            .for_each(|accumulator| accumulator.resize(bound));
    }

    /// Remembers the rows of groups that this epoch did not touch yet.
    fn touch(&mut self, ids: &[u32]) -> Result<()> {
        let first = self.touched.ids.len();
        for id in ids {
            let flags = &mut self.flags[*id as usize];
            if *flags & TOUCHED == 0 {
                *flags |= TOUCHED;
                self.touched.ids.push(*id);
            }
        }
        let fresh = &self.touched.ids[first..];
        if fresh.is_empty() {
            return Ok(());
        }
        self.touched.present.extend(fresh.iter().map(|id| match self.global {
            GlobalRow::Elsewhere => self.rows[*id as usize] > 0,
            global => global == GlobalRow::Present,
        }));
        for (call, chunks) in self.calls.iter().zip(&mut self.touched.old) {
            chunks.push(call.evaluate(fresh, &self.rows)?);
        }
        Ok(())
    }

    fn take_in(&mut self, ids: &[u32], batch: &ChangeBatch) -> Result<()> {
        self.touch(ids)?;
        match batch.ops.as_deref() {
            None => ids.iter().for_each(|id| self.rows[*id as usize] += 1),
            Some(ops) => ids.iter().zip(ops).for_each(|(id, op)| self.rows[*id as usize] += i64::from(*op)),
        }
        let input = Input::of(batch);
        self.calls.iter_mut().try_for_each(|call| call.update(ids, &input))
    }
}

impl Operator for Aggregate {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.shedding.durable = Some(cx.durable.clone());
        self.restore(cx)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        let keys: Vec<ArrayRef> = self.group.iter().map(|column| batch.columns()[*column].clone()).collect();
        let mut ids = std::mem::take(&mut self.ids);
        self.keys.upsert(&keys, batch.len(), &mut ids)?;
        self.resize();
        if self.shedding.is_incomplete {
            self.read_again(&ids)?;
        }
        self.take_in(&ids, &batch)?;
        self.ids = ids;
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        if let Some(closing) = &mut self.closing {
            closing.watermark = watermark;
        }
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        if self.global == GlobalRow::Pending {
            self.keys.upsert(&[], 1, &mut self.ids)?;
            self.resize();
            self.touch(&[0])?;
        }
        self.touched.seal()?;
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        self.emit(out)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.persist(state)
    }

    fn shed(&mut self) -> Result<()> {
        self.let_go()
    }

    fn first_time(&self) -> Option<i64> {
        self.closing.as_ref().and_then(Closing::first_time)
    }

    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
            + self.rows.capacity() * 8
            + self.flags.capacity()
            + (self.dirty.capacity() + self.ids.capacity()) * 4
            + (self.written.capacity() + self.deleted.capacity()) * 4
            + self.touched.memory_bytes()
            + self.closing.as_ref().map_or(0, Closing::memory_bytes)
            + self.calls.iter().map(Call::memory_bytes).sum::<usize>()
    }
}
