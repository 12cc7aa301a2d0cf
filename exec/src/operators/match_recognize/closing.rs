//! Rows that are in no match that may still change, if the first column of ORDER BY has a watermark W: rows come and go
//! at W or behind it.
//!
//! An attempt is final when W has passed all rows that it looked at. One that came to the end of the rows is final when a
//! row at W would come too late for it: so far behind its first row that WITHIN is over. What comes before a restart all
//! of whose attempts are final never changes, and is forgotten:
//!
//! ```text
//!   A B+ C within 10    a1 b2 c3 a4 b5 │ W = 9      a1 is final, it looked at c3; a4 may go on
//!                                      │ W = 14     a4 is final: no row behind it comes before 14
//! ```
//! but for some rows before it that matches read with PREV. Where matching begins behind those, and how many matches came
//! before, is the partition's [`Base`], which is kept on disk beside the rows. Where no pattern asks for it there is none.

use weir_common::{Error, KeyGroup, Result};

use super::matches::Restart;
use super::{MatchRecognize, Moment};
use crate::operator::{OpenContext, StateTable, StateWriter};
use crate::operators::checkpoint::{scan_chunks, storage_order};
use crate::spec::{MatchInput, Pattern, RowPattern};
use crate::state::{FirstTimes, NONE};

/// Where bases are on disk: by partition, the number of matches and of rows before, 8 bytes each, little-endian.
const BASES: StateTable = StateTable(1);

/// Where matching begins in a partition.
#[derive(Clone, Copy, Default)]
pub(super) struct Base {
    /// Matches before it.
    pub number: i64,
    /// Rows before it that are still there.
    pub before: usize,
}

/// What is known of a partition besides its restarts.
#[derive(Clone, Copy, Default)]
struct Known {
    base: Base,
    /// The end of the rows, as a restart: how many matches came before, and when they are final.
    end: Option<(i64, i64)>,
}

/// When rows may go.
pub(super) struct Closing {
    /// `None` without a watermark: then nothing is noted.
    watermark: Option<i64>,
    /// Whether the partitions that were there when the watermark came are noted.
    has_begun: bool,
    /// Rows before a base that stay.
    rows_kept: usize,
    partitions: Vec<Known>,
    /// Partitions by when some of their rows may go.
    by_time: FirstTimes,
    /// Partitions whose base has changed since the last checkpoint.
    moved: Vec<u32>,
}

impl Closing {
    /// For a pattern.
    pub fn of(pattern: &RowPattern) -> Closing {
        let counts = |input: &MatchInput| matches!(input, MatchInput::MatchNumber);
        let needs_base = pattern.pattern.contains(&Pattern::Start)
            || pattern.expressions().flat_map(|expr| &expr.inputs).any(counts);
        Closing {
            watermark: None,
            has_begun: false,
            // A base is that of rows.
            rows_kept: pattern.margins().0.max(usize::from(needs_base)),
            partitions: Vec::new(),
            by_time: FirstTimes::default(),
            moved: Vec::new(),
        }
    }

    /// Event time has come this far.
    pub fn advance(&mut self, watermark: i64) {
        self.watermark = Some(watermark);
    }

    /// Where matching begins in a partition.
    pub fn base(&self, partition: u32) -> Base {
        self.partitions.get(partition as usize).map_or_else(Base::default, |known| known.base)
    }

    /// Matches have been found up to the end of a partition, so many of them; when they are final.
    pub fn set_end(&mut self, partition: u32, number: i64, final_at: i64) {
        if self.watermark.is_some() {
            self.known(partition).end = Some((number, final_at));
        }
    }

    fn known(&mut self, partition: u32) -> &mut Known {
        let at = partition as usize;
        if at >= self.partitions.len() {
            self.partitions.resize(at + 1, Known::default());
        }
        &mut self.partitions[at]
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.partitions.capacity() * size_of::<Known>()
            + self.by_time.memory_bytes()
            + self.moved.capacity() * 4
    }
}

impl MatchRecognize {
    /// The epoch is over and emitted: what was touched is the state before the next one, without the rows that are final.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(watermark) = self.closing.watermark else { return self.rows.settle() };
        let touched = self.rows.touched().to_vec();
        self.rows.settle()?;
        if !std::mem::replace(&mut self.closing.has_begun, true) {
            self.begin_closing()?;
        }
        touched.iter().for_each(|partition| self.note(*partition));
        let due = self.closing.by_time.take_before(watermark.saturating_add(1));
        for partition in &due {
            self.close(*partition, watermark)?;
        }
        self.rows.settle()?;
        due.iter().for_each(|partition| self.note(*partition));
        Ok(())
    }

    /// Finds the matches of partitions that were restored, to know when they are final.
    fn begin_closing(&mut self) -> Result<()> {
        for partition in self.rows.live_partitions() {
            if self.closing.known(partition).end.is_none() {
                let (_, restarts) = self.outcome(partition, None, Moment::Now)?;
                self.keep_restarts(partition, restarts);
            }
            self.note(partition);
        }
        Ok(())
    }

    /// Notes when rows of a partition may go.
    fn note(&mut self, partition: u32) {
        let restarts = self.restarts.get(partition as usize).map_or(&[][..], Vec::as_slice);
        let end = self.closing.known(partition).end.map(|(_, final_at)| final_at);
        if let Some(final_at) = restarts.first().map(|restart| restart.final_at).or(end) {
            self.closing.by_time.note(partition, final_at);
        }
    }

    /// Forgets the rows of a partition before the last restart that is final.
    fn close(&mut self, partition: u32, watermark: i64) -> Result<()> {
        if self.rows.list(partition).is_empty() {
            return Ok(());
        }
        let restarts = self.keep_restarts(partition, Vec::new());
        let passed = restarts.partition_point(|restart| restart.final_at <= watermark);
        let end = self.closing.known(partition).end.filter(|(_, final_at)| *final_at <= watermark);
        let list = self.rows.list(partition);
        let (place, number) = match (end, passed.checked_sub(1).map(|last| restarts[last])) {
            (Some((number, _)), _) => (self.rows.end_of(partition, |_| true), number),
            (None, Some(Restart { start, number, .. })) => (self.rows.place(start)?.1, number),
            (None, None) => {
                self.keep_restarts(partition, restarts);
                return Ok(());
            }
        };
        let (mut before, mut forgotten) = (0, Vec::new());
        for slot in list.before(place) {
            if before < self.closing.rows_kept {
                before += self.rows.copies(slot)[Moment::Now as usize] as usize;
            } else {
                forgotten.push(slot);
            }
        }
        forgotten.into_iter().for_each(|slot| self.rows.forget(slot));
        let known = self.closing.known(partition);
        known.base = if before == 0 { Base::default() } else { Base { number, before } };
        if end.is_some() {
            known.end = None;
        } else {
            self.keep_restarts(partition, restarts[passed..].to_vec());
        }
        if before > 0 {
            self.closing.moved.push(partition);
        }
        Ok(())
    }

    /// Sets the restarts of a partition, and returns those that it had.
    pub(super) fn keep_restarts(&mut self, partition: u32, restarts: Vec<Restart<u32>>) -> Vec<Restart<u32>> {
        let at = partition as usize;
        if at >= self.restarts.len() {
            self.restarts.resize_with(at + 1, Vec::new);
        }
        std::mem::replace(&mut self.restarts[at], restarts)
    }

    /// Writes the bases that changed since the last checkpoint.
    pub(super) fn persist_bases(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        let mut moved = std::mem::take(&mut self.closing.moved);
        moved.sort_unstable();
        moved.dedup();
        let keys = self.rows.partition_keys(&moved)?;
        for (group, at) in storage_order(&keys, |i| KeyGroup::of(keys.row(i))) {
            let Base { number, before } = self.closing.base(moved[at as usize]);
            let value = [number.to_le_bytes(), (before as u64).to_le_bytes()].concat();
            state.put(BASES, group, keys.row(at as usize), &value);
        }
        Ok(())
    }

    /// Loads the bases of the last checkpoint, after the rows.
    pub(super) fn restore_bases(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        scan_chunks(cx.state, BASES, &mut |keys, values| {
            let partitions = self.rows.partitions_by_keys(keys)?;
            for (partition, value) in partitions.into_iter().zip(values) {
                let (number, before) = value.split_at_checked(8).ok_or_else(damaged)?;
                let number = i64::from_le_bytes(number.try_into().map_err(|_| damaged())?);
                let before = u64::from_le_bytes(before.try_into().map_err(|_| damaged())?);
                let before = usize::try_from(before).map_err(|_| damaged())?;
                if partition == NONE {
                    return Err(damaged());
                }
                self.closing.known(partition).base = Base { number, before };
            }
            Ok(())
        })
    }
}

fn damaged() -> Error {
    Error::corrupted("where matching begins in a partition cannot be read")
}
