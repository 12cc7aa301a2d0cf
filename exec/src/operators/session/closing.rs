//! Sessions that end: no row that is on time can join one whose last row lies so far behind, and its rows are forgotten.
//!
//! The watermark that the operator is told is that of a last row: a gap behind the time's own.

use weir_common::{Error, Result};

use super::Session;
use crate::state::TimeIndex;

/// When the first sessions of partitions end.
#[derive(Default)]
pub(super) struct Closing {
    /// Sessions whose last row is before it have ended; `None` without a watermark: then nothing is noted.
    pub watermark: Option<i64>,
    /// Partitions by the last time of their first session, as it was when they were noted.
    by_last: TimeIndex<u32>,
}

impl Closing {
    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.by_last.memory_bytes()
    }
}

impl Session {
    /// Notes when the first session of partitions ends, as far as is known.
    pub(super) fn note_first_sessions(&mut self, partitions: &[u32]) -> Result<()> {
        for partition in partitions {
            if let Some((last, _)) = self.first_session(*partition)? {
                self.closing.by_last.add(last, *partition);
            }
        }
        Ok(())
    }

    /// Forgets the sessions that have ended.
    pub(super) fn close_sessions(&mut self) -> Result<()> {
        let Some(watermark) = self.closing.watermark else { return Ok(()) };
        for partition in self.closing.by_last.take_before(watermark) {
            while let Some((last, rows)) = self.first_session(partition)? {
                if last >= watermark {
                    self.closing.by_last.add(last, partition);
                    break;
                }
                rows.iter().for_each(|row| self.rows.forget(*row));
                self.rows.settle()?;
            }
        }
        Ok(())
    }

    /// The last time of a partition's first session, and its rows; between epochs.
    fn first_session(&self, partition: u32) -> Result<Option<(i64, Vec<u32>)>> {
        let Some(first) = self.rows.list(partition).iter().next() else { return Ok(None) };
        let rows = self.run_around(first)?;
        let last = rows.last().ok_or_else(|| Error::internal("a session without a row"))?;
        Ok(Some((self.times(&[*last])?[0], rows)))
    }
}
