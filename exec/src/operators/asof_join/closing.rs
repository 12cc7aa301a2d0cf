//! Rows that an ASOF join forgets: such behind the watermark W of both sides as no row that is on time has to do with.
//!
//! A left row that looks back has its final match when W has passed it, since a right row that comes or goes is not
//! behind W. A left row that comes reaches the latest right row behind W before all others there, and that one stays:
//!
//! ```text
//!   right   …  9     │ 7   4   2       W = 8: 4 and 2 go
//!   left    …  9  8  │ 7   6   3              7, 6 and 3 go
//!                    W
//! ```
//! Where left rows look ahead, no left row that comes reaches a right row behind W, and those that do have found their
//! final match:
//!
//! ```text
//!   right   2   4   7    │ 9           W = 9: 2, 4 and 7 go
//!   left    2   3   6  8 │ 9                  2, 3 and 6 go, 8 waits
//!                        W
//! ```
//! A partition is noted under the time of the first of its rows that may go.

use arrow::datatypes::DataType;
use weir_common::Result;

use super::AsofJoin;
use crate::operators::ordered_rows::OrderedRows;
use crate::state::native::{int_array, int_values};
use crate::state::{FirstTimes, NONE};

/// When rows of either side may go.
pub(super) struct Closing {
    /// The time of each side.
    times: [usize; 2],
    time_type: DataType,
    /// `None` without a watermark: then nothing is noted.
    watermark: Option<i64>,
    /// Whether the partitions that were there when the watermark came are noted.
    has_begun: bool,
    /// Partitions of each side by when the first of their rows may go.
    sides: [FirstTimes; 2],
}

impl Closing {
    /// By the times of both sides, which are of this type.
    pub fn of(times: [usize; 2], time_type: &DataType) -> Closing {
        let sides = [FirstTimes::default(), FirstTimes::default()];
        Closing { times, time_type: time_type.clone(), watermark: None, has_begun: false, sides }
    }

    /// Event time has come this far.
    pub fn advance(&mut self, watermark: i64) {
        self.watermark = Some(watermark);
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.sides.iter().map(FirstTimes::memory_bytes).sum()
    }
}

impl AsofJoin {
    /// The epoch is over and emitted: what was touched is the state before the next one, without the rows that are final.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(watermark) = self.closing.watermark else { return self.settle_rows() };
        let changed = match std::mem::replace(&mut self.closing.has_begun, true) {
            true => [&self.left, &self.right].map(|rows| rows.touched().to_vec()),
            false => [&self.left, &self.right].map(OrderedRows::live_partitions),
        };
        self.settle_rows()?;
        self.note(&changed)?;
        let ended = [0, 1].map(|side| self.closing.sides[side].take_before(watermark));
        if ended.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let time = int_array(vec![watermark], None, &self.closing.time_type)?;
        let key = self.right.order_keys(&[time])?;
        if self.nearest.looks_back() {
            forget_behind(&mut self.left, &ended[0], key.row(0), 0);
            forget_behind(&mut self.right, &ended[1], key.row(0), 1);
        } else {
            self.forget_found(&ended[1], key.row(0))?;
        }
        self.settle_rows()?;
        self.note(&ended)
    }

    fn settle_rows(&mut self) -> Result<()> {
        self.left.settle()?;
        self.right.settle()
    }

    /// Notes when the first rows of partitions may go.
    fn note(&mut self, partitions: &[Vec<u32>; 2]) -> Result<()> {
        let looks_back = self.nearest.looks_back();
        for (side, rows) in [&self.left, &self.right].into_iter().enumerate() {
            let first = |partition: &u32| match (looks_back, side) {
                (true, _) => from_last(rows, *partition).nth(side),
                (false, 0) => None,
                (false, _) => rows.list(*partition).iter().next(),
            };
            let found = partitions[side].iter().filter_map(|partition| Some((*partition, first(partition)?)));
            let (noted, slots): (Vec<u32>, Vec<u32>) = found.unzip();
            let times = int_values(&rows.rows.gather(self.closing.times[side], &slots)?)?;
            noted.iter().zip(times.iter()).for_each(|(id, time)| self.closing.sides[side].note(*id, *time));
        }
        Ok(())
    }

    /// Forgets the right rows behind a time, and the left rows that look ahead and reach one of them.
    fn forget_found(&mut self, partitions: &[u32], time: &[u8]) -> Result<()> {
        let mut last = Vec::new();
        for partition in partitions {
            let end = self.right.end_of(*partition, |right| self.right.compare_to(right, time).is_lt());
            let behind: Vec<u32> = self.right.list(*partition).before(end).collect();
            last.extend(behind.first().map(|right| (*partition, *right)));
            behind.into_iter().for_each(|right| self.right.forget(right));
        }
        let (partitions, last): (Vec<u32>, Vec<u32>) = last.into_iter().unzip();
        let mut mates = Vec::new();
        self.left.mates(&self.right, &partitions, &mut mates)?;
        for (mate, right) in mates.into_iter().zip(last).filter(|(mate, _)| *mate != NONE) {
            let end = self.left.end_of(mate, |left| self.reaches(left, right));
            let found: Vec<u32> = self.left.list(mate).before(end).collect();
            found.into_iter().for_each(|left| self.left.forget(left));
        }
        Ok(())
    }
}

/// Forgets the rows of partitions, ordered by falling time, that are behind a time, but for the first ones.
fn forget_behind(rows: &mut OrderedRows, partitions: &[u32], time: &[u8], but_for: usize) {
    for partition in partitions {
        let start = rows.end_of(*partition, |slot| rows.compare_to(slot, time).is_le());
        let behind: Vec<u32> = rows.list(*partition).from(start).skip(but_for).collect();
        behind.into_iter().for_each(|slot| rows.forget(slot));
    }
}

/// The rows of a partition, from the last to the first.
fn from_last(rows: &OrderedRows, partition: u32) -> impl Iterator<Item = u32> {
    rows.list(partition).before(rows.end_of(partition, |_| true))
}
