//! What a lookup join has emitted, beside the left row for which it was.
//!
//! A row here is (left columns, epoch, matches, right columns): a left row, when it came, and one of the right rows that
//! were there, with how often it was; without any, 0 matches and NULLs. The rows of a partition are ordered by all
//! columns, so those of one left row stand together, those of each epoch in a run, the first epoch first:
//!
//! ```text
//!   a  3   2  x       the left row a came in epoch 3, twice (the weight of both rows is 2), when x was there
//!   a  3   1  y       twice and y once; and once more in epoch 7, when nothing was there
//!   a  7   0  .
//! ```
//! To find the rows of a left row that goes, a row with epoch -1 is put before them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::datatypes::{DataType, Int64Type};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Epoch, Error, Result};

use crate::operator::{OpenContext, StateTable, StateWriter};
use crate::operators::ordered_rows::OrderedRows;
use crate::operators::positional_schema;

/// Rows that were emitted.
pub(super) struct Emitted {
    left_width: usize,
    right_types: Vec<DataType>,
    types: Vec<DataType>,
    rows: OrderedRows,
}

/// Left rows beside right ones: positions of the former, slots of the latter (`NONE` without a match).
#[derive(Default)]
pub(super) struct Pairs {
    pub left: Vec<u32>,
    right: Vec<u32>,
    /// How often each right row is there.
    pub matches: Vec<i64>,
}

impl Pairs {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.matches.len()
    }

    pub fn push(&mut self, left: u32, right: u32, matches: i64) {
        self.left.push(left);
        self.right.push(right);
        self.matches.push(matches);
    }

    /// The columns of the right rows.
    pub fn gather(&self, rows: &OrderedRows) -> Result<Vec<ArrayRef>> {
        (0..rows.rows.width()).map(|column| rows.rows.gather_found(column, &self.right)).collect()
    }
}

/// Emitted rows that are taken back.
pub(super) struct Taken {
    pub left: Vec<ArrayRef>,
    pub right: Vec<ArrayRef>,
    pub matches: Vec<i64>,
}

impl Emitted {
    /// None yet, of inputs of these types, by these columns of the left one.
    pub fn new(keys: &[usize], left: &[DataType], right: &[DataType]) -> Result<Emitted> {
        let both = [DataType::Int64, DataType::Int64];
        let types: Vec<DataType> = left.iter().chain(&both).chain(right).cloned().collect();
        let rows = OrderedRows::new(keys, &[], &types)?.in_table(StateTable(0));
        Ok(Emitted { left_width: left.len(), right_types: right.to_vec(), types, rows })
    }

    /// Keeps rows that are emitted in an epoch.
    pub fn keep(
        &mut self,
        epoch: Epoch,
        left: Vec<ArrayRef>,
        right: Vec<ArrayRef>,
        matches: Vec<i64>,
    ) -> Result<()> {
        let epoch = i64::try_from(epoch.0).map_err(Error::internal)?;
        self.insert(epoch, left, matches, right).map(|_| ())
    }

    /// Finds the rows of left rows that go: slots before them.
    pub fn find(&mut self, left: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let none = self.right_types.iter().map(|ty| new_null_array(ty, rows)).collect();
        let touched = self.rows.touched_slots().len();
        self.insert(-1, left.to_vec(), vec![0; rows], none)?;
        let mut found = self.rows.touched_slots()[touched..].to_vec();
        found.dedup();
        Ok(found)
    }

    fn insert(
        &mut self,
        epoch: i64,
        left: Vec<ArrayRef>,
        matches: Vec<i64>,
        right: Vec<ArrayRef>,
    ) -> Result<()> {
        let rows = matches.len();
        let own: [ArrayRef; 2] =
            [Arc::new(Int64Array::from(vec![epoch; rows])), Arc::new(Int64Array::from(matches))];
        let columns = left.into_iter().chain(own).chain(right).collect();
        self.rows.apply(&ChangeBatch::inserts(record_batch(positional_schema(&self.types), columns, rows)?))
    }

    /// Takes back what was emitted for the last of the left rows that go, so many rows or a few more.
    pub fn take(&mut self, going: &mut Vec<u32>, rows_max: usize) -> Result<Taken> {
        let mut slots = Vec::new();
        while let Some(mark) = going.pop() {
            let taken = self.oldest(mark)?;
            self.rows.forget(mark);
            for (slot, copies) in taken {
                self.rows.take(slot, copies)?;
                slots.extend(std::iter::repeat_n(slot, copies as usize));
            }
            if slots.len() >= rows_max {
                break;
            }
        }
        let columns = self.rows.rows.gather_all(&slots)?;
        let matches = columns[self.left_width + 1].as_primitive::<Int64Type>().values().to_vec();
        let (left, right) = (columns[..self.left_width].to_vec(), columns[self.left_width + 2..].to_vec());
        Ok(Taken { left, right, matches })
    }

    /// The rows that were emitted first for as many left rows as the mark has copies, with how often each goes.
    fn oldest(&self, mark: u32) -> Result<Vec<(u32, u64)>> {
        let [_, mut going] = self.rows.copies(mark);
        let (list, place) = self.rows.place(mark)?;
        let mut taken: Vec<(u32, u64)> = Vec::new();
        let mut copies = 0;
        for slot in list.after(place) {
            let [_, there] = self.rows.copies(slot);
            if !self.rows.rows.equal_in(0..self.left_width, mark, slot) {
                break;
            }
            let same_epoch = |(other, _): &(u32, u64)| {
                self.rows.rows.equal_in(self.left_width..self.left_width + 1, *other, slot)
            };
            if !taken.last().is_some_and(same_epoch) {
                going -= copies;
                copies = going.min(there);
            }
            if going == 0 {
                break;
            }
            taken.push((slot, copies));
        }
        match going == copies {
            true => Ok(taken),
            false => Err(Error::internal("a row was deleted that was never inserted")),
        }
    }

    /// The epoch is over.
    pub fn settle(&mut self) -> Result<()> {
        self.rows.settle()
    }

    /// Writes what changed since the last checkpoint.
    pub fn persist(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)
    }

    /// Loads the last checkpoint.
    pub fn restore(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}
