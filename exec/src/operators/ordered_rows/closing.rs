//! Partitions that end, by a column with a watermark: as the groups of an aggregate, they are forgotten.

use arrow::array::Array;
use weir_common::Result;

use super::OrderedRows;
use crate::state::TimeIndex;
use crate::state::native::int_values;

/// When the partitions of an input end.
pub(super) struct Closing {
    /// Position of the time among the partition's columns.
    column: usize,
    watermark: i64,
    /// Partitions by their time; one that went and came again may be there twice.
    by_time: TimeIndex<u32>,
    /// Whether a partition is there.
    is_noted: Vec<bool>,
}

impl Closing {
    /// By the partition column at this position.
    pub fn by(column: usize) -> Closing {
        Closing { column, watermark: i64::MIN, by_time: TimeIndex::default(), is_noted: Vec::new() }
    }

    /// A partition is gone.
    pub fn forget(&mut self, partition: u32) {
        if let Some(is_noted) = self.is_noted.get_mut(partition as usize) {
            *is_noted = false;
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.by_time.memory_bytes() + self.is_noted.capacity()
    }
}

impl OrderedRows {
    /// Event time has come this far: partitions of an earlier time end with the epoch.
    pub fn advance(&mut self, watermark: i64) {
        if let Some(closing) = &mut self.closing {
            closing.watermark = watermark;
        }
    }

    /// Notes the time of the touched partitions that are new.
    pub(super) fn note_partitions(&mut self) -> Result<()> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        closing.is_noted.resize(self.lists.len(), false);
        let is_new = |id: &u32| !std::mem::replace(&mut closing.is_noted[*id as usize], true);
        let new: Vec<u32> = self.touched.partitions.iter().copied().filter(is_new).collect();
        closing.by_time.add_all(&self.partitions.gather(&new)?[closing.column], &new)
    }

    /// Forgets the rows of partitions that have ended; whether there were any.
    pub(super) fn forget_ended(&mut self) -> Result<bool> {
        let Some(closing) = &mut self.closing else { return Ok(false) };
        let ended = closing.by_time.take_before(closing.watermark);
        if ended.is_empty() {
            return Ok(false);
        }
        let (column, watermark) = (closing.column, closing.watermark);
        let times = &self.partitions.gather(&ended)?[column];
        let values = int_values(times)?;
        for (row, id) in ended.into_iter().enumerate() {
            // The id may have gone to another partition, which has not ended.
            if times.is_valid(row) && values[row] < watermark {
                let rows: Vec<u32> = self.lists[id as usize].iter().collect();
                rows.into_iter().for_each(|slot| self.forget(slot));
            }
        }
        Ok(true)
    }
}
