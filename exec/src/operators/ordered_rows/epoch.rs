//! What an owner may do with the rows of an epoch before it is settled.

use weir_common::{Error, Result};

use super::OrderedRows;

impl OrderedRows {
    /// All rows there are.
    pub fn live_rows(&self) -> Vec<u32> {
        (0..self.slots.weights.len() as u32).filter(|slot| self.slots.weights[*slot as usize] > 0).collect()
    }

    /// The partitions that have rows.
    pub fn live_partitions(&self) -> Vec<u32> {
        (0..self.lists.len() as u32).filter(|id| !self.lists[*id as usize].is_empty()).collect()
    }

    /// Forgets a row that will never be asked for again.
    pub fn forget(&mut self, slot: u32) {
        self.touch(self.slots.partitions[slot as usize]);
        self.slots.weights[slot as usize] = 0;
        self.touched.slots.push(slot);
    }

    /// Takes copies of a row away.
    pub fn take(&mut self, slot: u32, copies: u64) -> Result<()> {
        let weight = &mut self.slots.weights[slot as usize];
        *weight -= i32::try_from(copies).map_err(Error::internal)?;
        self.touched.slots.push(slot);
        Ok(())
    }

    /// The rows whose number of copies changed in the epoch, one repeatedly, in the order of the changes.
    pub fn touched_slots(&self) -> &[u32] {
        &self.touched.slots
    }

    /// The rows that came more often than they went, or the other way round, with the difference; for an owner that
    /// lets go of all rows after each epoch ([`OrderedRows::clear`]).
    pub fn net(&self) -> Vec<(u32, i32)> {
        let mut touched = self.touched.slots.clone();
        touched.sort_unstable();
        touched.dedup();
        let weighed = touched.into_iter().map(|slot| (slot, self.slots.weights[slot as usize]));
        weighed.filter(|(_, weight)| *weight != 0).collect()
    }

    /// Lets go of all rows of the epoch.
    pub fn clear(&mut self) -> Result<()> {
        for slot in &self.touched.slots {
            self.slots.weights[*slot as usize] = 0;
        }
        self.settle()
    }

    /// Takes out the rows that came and went within the epoch, so that nobody has to step over them.
    pub fn drop_passing(&mut self) {
        let mut touched = std::mem::take(&mut self.touched.slots);
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|slot| {
            let passes = self.slots.weights[*slot as usize] == 0 && self.slots.before[*slot as usize] == 0;
            if passes {
                self.unlink(*slot);
            }
            !passes
        });
        self.touched.slots = touched;
    }
}
