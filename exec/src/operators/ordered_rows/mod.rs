//! `OrderedRows`: the rows of a changing input by partition, each partition in the order of an ORDER BY.
//!
//! What Top-N and window functions stand on. A row is a slot of a `RowStore`, kept once with a weight; a partition
//! is a list of slots. Rows equal in the ORDER BY are ordered by all their columns ([`RowStore::compare`]), so the
//! order is total, and the same on every worker and after every restart.
//!
//! ```text
//!   batch ─► partition keys → ids ─► rows → slots, order keys → prefixes
//!         ─► each row: binary search in its partition: there already → its weight changes, else → it is linked
//!   end of the epoch ─► the owner walks the touched partitions and emits ─► settle: rows of weight 0 go
//! ```
//! Until `settle` a row stays in its list even if none is left of it, and the weight it had before the epoch stays
//! beside the one it has now: one walk over a list sees the partition before the epoch and after it. So nothing that
//! was emitted is kept, it is derived from the rows again. Weights may be negative within an epoch, when a
//! delete comes before its insert.

mod across;
mod closing;
mod epoch;
mod persist;

use std::cmp::Ordering;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use weir_common::key::{EncodedKeys, KeyOrder};
use weir_common::row::RowCodec;
use weir_common::{ChangeBatch, Error, Result};

use self::closing::Closing;
use super::checkpoint::weighted_codec;
use crate::operator::StateTable;
use crate::spec::SortColumn;
use crate::state::{KeyTable, NONE, Place, RowList, RowStore, SortKeys};

/// Bytes that a row takes in the list of its partition, about.
const LIST_BYTES_PER_ROW: usize = 8;

/// The rows of an input, ordered within partitions.
pub(super) struct OrderedRows {
    partition: Vec<usize>,
    order: Vec<usize>,
    partitions: KeyTable,
    pub rows: RowStore,
    sort: SortKeys,
    /// The rows of each partition.
    lists: Vec<RowList>,
    /// What belongs to each slot.
    slots: Slots,
    touched: Touched,
    journal: Journal,
    /// Where the rows are on disk.
    table: StateTable,
    codec: RowCodec,
    scratch: Scratch,
    /// Of partitions that end: when.
    closing: Option<Closing>,
}

/// Vectors by slot.
#[derive(Default)]
struct Slots {
    partitions: Vec<u32>,
    /// How often the row is there.
    weights: Vec<i32>,
    /// How often it was there before the epoch.
    before: Vec<i32>,
    /// The tail of its key on disk.
    sequences: Vec<u64>,
}

/// What the current epoch has changed.
#[derive(Default)]
struct Touched {
    partitions: Vec<u32>,
    /// Whether a partition is among them.
    is_touched: Vec<bool>,
    /// Slots whose weight changed, maybe repeatedly.
    slots: Vec<u32>,
}

/// What changed since the last checkpoint. Numbers grow, hence a row was written by the last checkpoint exactly when
/// its number is below the mark that the checkpoint left.
#[derive(Default)]
struct Journal {
    next_sequence: u64,
    saved_below: u64,
    /// (slot, sequence number) of rows that are new or whose weight changed. One that died since no longer has
    /// the number.
    changed: Vec<(u32, u64)>,
    /// Keys on disk of rows that died.
    deleted: EncodedKeys,
}

/// Buffers reused from batch to batch.
#[derive(Default)]
struct Scratch {
    ids: Vec<u32>,
    slots: Vec<u32>,
    keys: EncodedKeys,
}

impl OrderedRows {
    /// No rows yet, of an input with columns of these types.
    pub fn new(partition: &[usize], order: &[SortColumn], input: &[DataType]) -> Result<OrderedRows> {
        let partition_types: Vec<DataType> = partition.iter().map(|column| input[*column].clone()).collect();
        let sort: Vec<(DataType, KeyOrder)> = order
            .iter()
            .map(|key| (input[key.column].clone(), KeyOrder::of(key.descending, key.nulls_first)))
            .collect();
        let stored: Vec<(u16, DataType)> =
            input.iter().enumerate().map(|(position, ty)| (position as u16, ty.clone())).collect();
        Ok(OrderedRows {
            partition: partition.to_vec(),
            order: order.iter().map(|key| key.column).collect(),
            partitions: KeyTable::new(&partition_types)?,
            rows: RowStore::new(input)?,
            sort: SortKeys::new(&sort)?,
            lists: Vec::new(),
            slots: Slots::default(),
            touched: Touched::default(),
            journal: Journal::default(),
            table: StateTable(0),
            codec: weighted_codec(&stored)?,
            scratch: Scratch::default(),
            closing: None,
        })
    }

    /// The same, of partitions that end when event time has passed their column at position `time`.
    #[must_use]
    pub fn closing_by(mut self, time: Option<usize>) -> OrderedRows {
        self.closing = time.map(Closing::by);
        self
    }

    /// The same with its rows in another table on disk.
    pub fn in_table(self, table: StateTable) -> OrderedRows {
        OrderedRows { table, ..self }
    }

    /// Takes a batch in.
    pub fn apply(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.apply_admitted(batch, u64::MAX)
    }

    /// Takes a batch in, but for rows that so many rows of their partition come before. Only for an input without
    /// deletes: then they can never be among the first.
    pub fn apply_first(&mut self, batch: &ChangeBatch, rows_max: u64) -> Result<()> {
        if batch.ops.is_some() {
            return Err(Error::internal("a row was deleted from an append-only input of a Top-N"));
        }
        self.apply_admitted(batch, rows_max)
    }

    fn apply_admitted(&mut self, batch: &ChangeBatch, rows_max: u64) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let pick =
            |columns: &[usize]| columns.iter().map(|c| batch.columns()[*c].clone()).collect::<Vec<_>>();
        self.partitions.upsert(&pick(&self.partition), batch.len(), &mut scratch.ids)?;
        self.sort.encode(&pick(&self.order), batch.len(), &mut scratch.keys)?;
        self.reserve_partitions();
        let admitted = self.admitted(&scratch, rows_max);
        match admitted.len() == batch.len() {
            true => self.link(batch.columns(), batch.ops.as_deref(), &admitted, &mut scratch)?,
            false => {
                let kept = UInt32Array::from(admitted.clone());
                let columns = batch.columns().iter().map(|column| take(column, &kept, None));
                let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
                self.link(&columns, None, &admitted, &mut scratch)?;
            }
        }
        self.scratch = scratch;
        Ok(())
    }

    /// The rows of a batch that fewer than `rows_max` rows of their partition come before.
    fn admitted(&self, batch: &Scratch, rows_max: u64) -> Vec<u32> {
        let rows = 0..batch.ids.len() as u32;
        let Some(at) = usize::try_from(rows_max).ok().and_then(|max| max.checked_sub(1)) else {
            return if rows_max == 0 { Vec::new() } else { rows.collect() };
        };
        rows.filter(|row| match self.lists[batch.ids[*row as usize] as usize].nth(at) {
            Some(last) => self.sort.compare_encoded(batch.keys.row(*row as usize), last).is_le(),
            None => true,
        })
        .collect()
    }

    /// Stores rows, the ones at `positions` of the batch in `scratch`, and links them into their partitions.
    fn link(
        &mut self,
        columns: &[ArrayRef],
        ops: Option<&[i8]>,
        positions: &[u32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        self.rows.insert(columns, positions.len(), &mut scratch.slots)?;
        self.reserve();
        for (i, (slot, position)) in scratch.slots.iter().zip(positions).enumerate() {
            let id = scratch.ids[*position as usize];
            self.sort.set(*slot, scratch.keys.row(*position as usize));
            self.touch(id);
            let op = ops.map_or(1, |ops| i32::from(ops[i]));
            let list = &self.lists[id as usize];
            let changed = match list.find(|other| compare(&self.sort, &self.rows, other, *slot)) {
                Ok(place) => {
                    let known = list.slot(place);
                    let weight = &mut self.slots.weights[known as usize];
                    *weight = weight
                        .checked_add(op)
                        .ok_or_else(|| Error::unsupported("more than 2^31 equal rows in a partition"))?;
                    self.free(*slot);
                    known
                }
                Err(place) => {
                    self.lists[id as usize].insert(place, *slot);
                    self.slots.occupy(*slot, id, op, self.journal.next_sequence);
                    self.journal.next_sequence += 1;
                    *slot
                }
            };
            self.touched.slots.push(changed);
        }
        Ok(())
    }

    fn reserve(&mut self) {
        let bound = self.rows.slot_bound();
        self.sort.reserve(bound);
        self.slots.resize(bound);
    }

    fn reserve_partitions(&mut self) {
        let bound = self.partitions.id_bound();
        self.lists.resize_with(bound, RowList::default);
        self.touched.is_touched.resize(bound, false);
    }

    fn touch(&mut self, partition: u32) {
        if !std::mem::replace(&mut self.touched.is_touched[partition as usize], true) {
            self.touched.partitions.push(partition);
        }
    }

    fn free(&mut self, slot: u32) {
        self.rows.remove(slot);
        self.sort.clear(slot);
    }

    /// The partitions that this epoch has touched.
    pub fn touched(&self) -> &[u32] {
        &self.touched.partitions
    }

    /// The rows of a partition in order, as slots: those of the epoch before, those of now, and perhaps such as were
    /// there in neither.
    pub fn list(&self, partition: u32) -> &RowList {
        &self.lists[partition as usize]
    }

    /// The rows that there are more or fewer of than before the epoch, partition by partition, in order.
    pub fn changed_in_order(&self) -> Vec<u32> {
        let mut changed = self.touched.slots.clone();
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|slot| {
            let [before, now] = self.copies(*slot);
            before != now
        });
        changed.sort_unstable_by(|a, b| {
            let partition = |slot: u32| self.slots.partitions[slot as usize];
            partition(*a).cmp(&partition(*b)).then_with(|| compare(&self.sort, &self.rows, *a, *b))
        });
        changed
    }

    /// Where a row is in the list of its partition.
    pub fn place(&self, slot: u32) -> Result<(&RowList, Place)> {
        let list = &self.lists[self.slots.partitions[slot as usize] as usize];
        let place = list.find(|other| compare(&self.sort, &self.rows, other, slot));
        place.map(|place| (list, place)).map_err(|_| Error::internal("a row that is in no partition"))
    }

    /// The partition of a row.
    pub fn partition(&self, slot: u32) -> u32 {
        self.slots.partitions[slot as usize]
    }

    /// The order of two rows of a partition.
    pub fn order(&self, a: u32, b: u32) -> Ordering {
        compare(&self.sort, &self.rows, a, b)
    }

    /// How often a row was there before the epoch, and is now.
    #[inline]
    pub fn copies(&self, slot: u32) -> [u64; 2] {
        [self.slots.before[slot as usize], self.slots.weights[slot as usize]]
            .map(|weight| weight.max(0) as u64)
    }

    /// Whether two rows of a partition are equal in the ORDER BY.
    #[inline]
    pub fn are_peers(&self, a: u32, b: u32) -> bool {
        self.sort.compare(a, b).is_eq()
    }

    /// The epoch is over and emitted: what was touched is the state before the next one, without the partitions that
    /// have ended.
    pub fn settle(&mut self) -> Result<()> {
        self.note_partitions()?;
        self.settle_touched()?;
        if self.forget_ended()? { self.settle_touched() } else { Ok(()) }
    }

    fn settle_touched(&mut self) -> Result<()> {
        let mut slots = std::mem::take(&mut self.touched.slots);
        slots.sort_unstable();
        slots.dedup();
        let mut dead = Vec::new();
        for slot in &slots {
            let (weight, sequence) =
                (self.slots.weights[*slot as usize], self.slots.sequences[*slot as usize]);
            match weight.cmp(&0) {
                Ordering::Less => return Err(Error::internal("a row was deleted that was never inserted")),
                Ordering::Greater => self.journal.changed.push((*slot, sequence)),
                Ordering::Equal => {
                    if sequence < self.journal.saved_below {
                        dead.push((self.slots.partitions[*slot as usize], sequence));
                    }
                    self.unlink(*slot);
                }
            }
            self.slots.before[*slot as usize] = weight;
        }
        self.bury(&dead)?;
        for partition in std::mem::take(&mut self.touched.partitions) {
            self.touched.is_touched[partition as usize] = false;
            if self.lists[partition as usize].is_empty() {
                self.lists[partition as usize] = RowList::default();
                self.partitions.remove(partition);
                if let Some(closing) = &mut self.closing {
                    closing.forget(partition);
                }
            }
        }
        Ok(())
    }

    fn unlink(&mut self, slot: u32) {
        let list = &mut self.lists[self.slots.partitions[slot as usize] as usize];
        if let Ok(place) = list.find(|other| compare(&self.sort, &self.rows, other, slot)) {
            list.remove(place);
        }
        self.free(slot);
        self.slots.occupy(slot, NONE, 0, u64::MAX);
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.partitions.memory_bytes()
            + self.rows.memory_bytes()
            + self.sort.memory_bytes()
            + self.lists.capacity() * size_of::<RowList>()
            + self.rows.slot_bound() * LIST_BYTES_PER_ROW
            + self.slots.memory_bytes()
            + (self.touched.partitions.capacity() + self.touched.slots.capacity()) * 4
            + self.touched.is_touched.capacity()
            + self.journal.changed.capacity() * 16
            + self.journal.deleted.memory_size()
            + (self.scratch.ids.capacity() + self.scratch.slots.capacity()) * 4
            + self.scratch.keys.memory_size()
            + self.closing.as_ref().map_or(0, Closing::memory_bytes)
    }
}

/// The total order of rows in a partition.
#[inline]
fn compare(sort: &SortKeys, rows: &RowStore, a: u32, b: u32) -> Ordering {
    sort.compare(a, b).then_with(|| rows.compare(a, b))
}

impl Slots {
    fn resize(&mut self, bound: usize) {
        self.partitions.resize(bound, NONE);
        self.weights.resize(bound, 0);
        self.before.resize(bound, 0);
        self.sequences.resize(bound, 0);
    }

    fn occupy(&mut self, slot: u32, partition: u32, weight: i32, sequence: u64) {
        self.partitions[slot as usize] = partition;
        self.weights[slot as usize] = weight;
        self.before[slot as usize] = 0;
        self.sequences[slot as usize] = sequence;
    }

    fn memory_bytes(&self) -> usize {
        (self.partitions.capacity() + self.weights.capacity() + self.before.capacity()) * 4
            + self.sequences.capacity() * 8
    }
}
