//! `RowStore`: rows by slot, column by column.
//!
//! A slot is the position of a row in every column; freed slots are reused. Batches are written and gathered a
//! column at a time, so the type of a column is looked at once a batch and no row is ever an allocation of its
//! own. What belongs to a row besides its values (links, weights) lies in vectors of the owner.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use weir_common::{Error, Result};

use super::NONE;
use super::stored_column::{StoredColumn, stored_column};

/// Rows in a typed columnar arena.
pub struct RowStore {
    columns: Vec<Box<dyn StoredColumn>>,
    free: Vec<u32>,
    /// Slots are below this.
    bound: u32,
}

impl RowStore {
    /// An empty store of rows with these column types.
    pub fn new(types: &[DataType]) -> Result<RowStore> {
        let columns = types.iter().map(stored_column).collect::<Result<_>>()?;
        Ok(RowStore { columns, free: Vec::new(), bound: 0 })
    }

    /// Stores the rows of a batch, and says in which slots.
    pub fn insert(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        slots.clear();
        let reused = rows.min(self.free.len());
        slots.extend(self.free.drain(self.free.len() - reused..));
        let fresh = (rows - reused) as u32;
        slots.extend(self.bound..self.bound + fresh);
        self.bound += fresh;
        for (column, array) in self.columns.iter_mut().zip(columns) {
            column.write(array, slots)?;
        }
        Ok(())
    }

    /// Frees a slot.
    pub fn remove(&mut self, slot: u32) {
        self.columns.iter_mut().for_each(|column| column.clear(slot));
        self.free.push(slot);
    }

    /// Whether two slots hold identical rows.
    pub fn equal(&self, a: u32, b: u32) -> bool {
        self.columns.iter().all(|column| column.equal(a, b))
    }

    /// Whether two slots are identical in these columns.
    pub fn equal_in(&self, columns: Range<usize>, a: u32, b: u32) -> bool {
        self.columns[columns].iter().all(|column| column.equal(a, b))
    }

    /// A total order of rows, column by column from the first: ascending, NULLs last, text by its bytes, floats by
    /// IEEE total order. `Equal` exactly for identical rows, and the same on every worker and after every restart.
    pub fn compare(&self, a: u32, b: u32) -> Ordering {
        let differing = self.columns.iter().map(|column| column.compare(a, b)).find(|order| order.is_ne());
        differing.unwrap_or(Ordering::Equal)
    }

    /// One column of the rows at `slots`.
    pub fn gather(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        self.columns[column].gather(slots)
    }

    /// One column of the rows at `slots`; NULL where the slot is [`NONE`].
    pub fn gather_found(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        if !slots.contains(&NONE) {
            return self.gather(column, slots);
        }
        let found: Vec<u32> = slots.iter().copied().filter(|slot| *slot != NONE).collect();
        let mut next = 0..found.len() as u32;
        let position = |slot: &u32| if *slot == NONE { None } else { next.next() };
        let positions: UInt32Array = slots.iter().map(position).collect();
        take(&self.gather(column, &found)?, &positions, None).map_err(Error::internal)
    }

    /// All columns of the rows at `slots`.
    pub fn gather_all(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.gather(slots)).collect()
    }

    /// How many columns a row has.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Slots that were ever used are below this: the length of vectors beside the store.
    pub fn slot_bound(&self) -> usize {
        self.bound as usize
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.memory_bytes()).sum::<usize>() + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray,
        StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int64Type;

    use super::*;

    fn columns() -> Vec<ArrayRef> {
        let uuids = [Some([1u8; 16]), None, Some([3u8; 16]), Some([1u8; 16])];
        let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(1), None])];
        vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(1)])),
            Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("a")])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
            Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0, 0.5])),
            Arc::new(Decimal128Array::from(vec![7, 8, 9, 7]).with_precision_and_scale(38, 2).unwrap()),
            Arc::new(TimestampMicrosecondArray::from(vec![5, 6, 7, 5]).with_timezone("UTC")),
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16).unwrap()),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ]
    }

    #[test]
    fn every_type_survives_and_slots_are_reused() {
        let columns = columns();
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let mut store = RowStore::new(&types).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        store.insert(&columns, 4, &mut first).unwrap();
        first.iter().for_each(|slot| store.remove(*slot));
        store.insert(&columns, 4, &mut first).unwrap();
        store.insert(&columns, 4, &mut second).unwrap();
        assert_eq!(store.slot_bound(), 8);
        let order = [second[2], first[1], first[0]];
        let expected = UInt32Array::from(vec![2, 1, 0]);
        for (stored, column) in store.gather_all(&order).unwrap().iter().zip(&columns) {
            assert_eq!(stored, &arrow::compute::take(column, &expected, None).unwrap());
        }
        let found = store.gather_found(0, &[NONE, second[2], NONE]).unwrap();
        assert_eq!(&found, &(Arc::new(Int64Array::from(vec![None, Some(3), None])) as ArrayRef));
        assert!(store.equal_in(1..2, first[1], second[1]) && !store.equal_in(0..2, first[0], second[2]));
        assert!(store.equal(first[0], second[3]));
        assert!(store.equal(first[1], second[1]), "NULL and NaN are identical to themselves");
        assert!(!store.equal(first[0], second[1]));
        assert!(store.compare(first[0], second[3]).is_eq() && store.compare(first[1], second[1]).is_eq());
        assert!(store.compare(first[0], second[2]).is_lt(), "1 comes before 3");
        assert!(store.compare(first[2], second[1]).is_lt(), "NULL comes last");
        assert!(store.memory_bytes() > 8 * 8 * 4);
    }

    #[test]
    fn an_overwritten_null_is_gone() {
        let mut store = RowStore::new(&[DataType::Int64]).unwrap();
        let mut slots = Vec::new();
        let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        store.insert(&[null], 1, &mut slots).unwrap();
        store.remove(slots[0]);
        store.insert(std::slice::from_ref(&one), 1, &mut slots).unwrap();
        assert_eq!(&store.gather(0, &slots).unwrap(), &one);
    }
}
