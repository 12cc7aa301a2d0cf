//! `RelationScan`: reads a snapshot or a range of its keys in key order, chunk by chunk, without holding any lock
//! between chunks.
//!
//! A chunk takes a bounded piece of the base and of every run, up to a key that all pieces reach, merges the
//! two and decodes what is there. So memory is bounded by (runs + 1) × batch rows, whatever the sizes.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use weir_common::Result;
use weir_common::change::record_batch;
use weir_common::key::KeyRange;

use super::layout::{Entry, Layout, Weighted};
use super::run::{Run, sort_entries};
use super::snapshot::{RelationSnapshot, take_rows};
use crate::backend::Keyspace;

/// An iterator over the rows of a snapshot. After an error it ends.
pub struct RelationScan {
    snapshot: RelationSnapshot,
    schema: SchemaRef,
    project: Vec<usize>,
    batch_rows: usize,
    base: BaseCursor,
    /// The next entry of each run, and the one where the range ends.
    positions: Vec<(usize, usize)>,
    /// The last key of the chunk that was read last; `None` before the first and for the last one.
    reached: Option<Vec<u8>>,
    /// The last chunk has been read.
    done: bool,
    decoded: Option<Decoded>,
}

impl RelationScan {
    pub(super) fn new(
        snapshot: RelationSnapshot,
        range: &KeyRange,
        project: &[usize],
        batch_rows: usize,
    ) -> RelationScan {
        let position = |run: &Arc<Run>| {
            let first = run.seek(0, |key| key < range.start.as_slice());
            let last =
                range.end.as_ref().map_or(run.len(), |end| run.seek(first, |key| key < end.as_slice()));
            (first, last)
        };
        RelationScan {
            schema: snapshot.layout.project(project),
            project: project.to_vec(),
            batch_rows: batch_rows.max(1),
            base: BaseCursor::new(&snapshot.layout, range),
            positions: snapshot.runs.iter().map(position).collect(),
            reached: None,
            done: false,
            decoded: None,
            snapshot,
        }
    }

    /// Rows of a batch from now on.
    pub fn by(&mut self, batch_rows: usize) {
        self.batch_rows = batch_rows.max(1);
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The storage key up to which every row has been handed out, and none behind it; `None` in the middle of a chunk, and
    /// when there is nothing behind it. Rows behind it are those of a scan of [`KeyRange::after`] it.
    pub fn position(&self) -> Option<&[u8]> {
        let is_through = self.decoded.as_ref().is_none_or(Decoded::is_through);
        self.reached.as_deref().filter(|_| is_through)
    }

    /// Reads and decodes the next chunk.
    fn advance(&mut self) -> Result<()> {
        self.base.fill(&self.snapshot, self.batch_rows)?;
        let bound = self.bound();
        self.done = bound.is_none();
        let base = self.base.take(bound.as_deref());
        let snapshot = &self.snapshot;
        let mut entries = Vec::new();
        for (run, (position, last)) in snapshot.runs.iter().zip(&mut self.positions) {
            let end =
                bound.as_ref().map_or(*last, |bound| run.seek(*position, |key| key <= bound.as_slice()));
            entries.extend(run.entries(*position, end).filter(|entry| snapshot.shows(entry.epoch)));
            *position = end;
        }
        sort_entries(&mut entries);
        let rows = merge(&snapshot.layout, &base, &entries)?;
        self.decoded = Some(self.decode(&rows)?);
        self.reached = bound;
        Ok(())
    }

    /// The last key of the next chunk; `None` when the chunk takes all that is left.
    fn bound(&self) -> Option<Vec<u8>> {
        let ahead = self.snapshot.runs.iter().zip(&self.positions).filter_map(|(run, (position, end))| {
            let last = position + self.batch_rows - 1;
            (last + 1 < *end).then(|| run.key(last))
        });
        ahead.chain(self.base.last_key()).min().map(<[u8]>::to_vec)
    }

    fn decode(&self, rows: &[Weighted<'_>]) -> Result<Decoded> {
        let slices: Vec<&[u8]> = rows.iter().map(|row| row.row).collect();
        let columns = self.snapshot.layout.codec.decode_projected(&slices, &self.project)?;
        let batch = record_batch(self.schema.clone(), columns, rows.len())?;
        let repeated = rows.iter().any(|row| row.weight != 1);
        let weights = repeated.then(|| rows.iter().map(|row| row.weight).collect());
        Ok(Decoded { batch, weights, next: 0 })
    }
}

impl Iterator for RelationScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let rows = self.batch_rows;
            if let Some(batch) = self.decoded.as_mut().and_then(|decoded| decoded.next(rows).transpose()) {
                return Some(batch);
            }
            self.decoded = None;
            if self.done {
                return None;
            }
            if let Err(error) = self.advance() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}

/// Reads the base ahead.
struct BaseCursor {
    /// Where the range begins and ends.
    start: Vec<u8>,
    end: Vec<u8>,
    /// Entries read but not used yet; keys with the relation's prefix.
    entries: VecDeque<(Bytes, Bytes)>,
    last: Option<Bytes>,
    exhausted: bool,
}

/// Bytes of a relation's prefix in a backend key.
const PREFIX_BYTES: usize = 4;

impl BaseCursor {
    fn new(layout: &Layout, range: &KeyRange) -> BaseCursor {
        let start = layout.backend_key(&range.start);
        let end = range.end.as_ref().map_or(layout.end().to_vec(), |end| layout.backend_key(end));
        BaseCursor { start, end, entries: VecDeque::new(), last: None, exhausted: range.is_empty() }
    }

    fn fill(&mut self, snapshot: &RelationSnapshot, limit: usize) -> Result<()> {
        if self.exhausted || !self.entries.is_empty() {
            return Ok(());
        }
        let start = self.last.as_ref().map_or(Bound::Included(&self.start[..]), |last| Bound::Excluded(last));
        let end = Bound::Excluded(self.end.as_slice());
        let entries = snapshot.base.range(Keyspace::Relation, start, end, limit)?;
        self.exhausted = entries.len() < limit;
        self.last = entries.last().map(|(key, _)| key.clone());
        self.entries = entries.into();
        Ok(())
    }

    /// How far the base is known; `None` when all of it is.
    fn last_key(&self) -> Option<&[u8]> {
        let last = if self.exhausted { None } else { self.entries.back() };
        last.map(|(key, _)| &key[PREFIX_BYTES..])
    }

    /// Takes the entries up to `bound`.
    fn take(&mut self, bound: Option<&[u8]>) -> VecDeque<(Bytes, Bytes)> {
        let Some(bound) = bound else { return std::mem::take(&mut self.entries) };
        let count = self.entries.partition_point(|(key, _)| &key[PREFIX_BYTES..] <= bound);
        let rest = self.entries.split_off(count);
        std::mem::replace(&mut self.entries, rest)
    }
}

/// Base entries and changes of the same key range, both in key order, as the rows that are there.
pub(super) fn merge<'a>(
    layout: &Layout,
    base: &'a VecDeque<(Bytes, Bytes)>,
    entries: &[Entry<'a>],
) -> Result<Vec<Weighted<'a>>> {
    let mut rows = Vec::with_capacity(base.len() + entries.len());
    let mut base = base.iter().peekable();
    for group in entries.chunk_by(|a, b| a.key == b.key) {
        let key = group[0].key;
        while let Some((_, value)) = base.next_if(|(other, _)| &other[PREFIX_BYTES..] < key) {
            rows.push(layout.read_value(value)?);
        }
        let before = base.next_if(|(other, _)| &other[PREFIX_BYTES..] == key);
        let before = before.map(|(_, value)| layout.read_value(value)).transpose()?;
        rows.push(layout.change(before, layout.net(group)));
    }
    for (_, value) in base {
        rows.push(layout.read_value(value)?);
    }
    rows.retain(|row| row.weight > 0);
    Ok(rows)
}

/// A decoded chunk that is handed out piece by piece.
struct Decoded {
    batch: RecordBatch,
    /// How often each row is still to come; absent when each comes once.
    weights: Option<Vec<i64>>,
    next: usize,
}

impl Decoded {
    fn is_through(&self) -> bool {
        self.next == self.batch.num_rows()
    }

    /// Up to `limit` rows more.
    fn next(&mut self, limit: usize) -> Result<Option<RecordBatch>> {
        let left = self.batch.num_rows() - self.next;
        if left == 0 {
            return Ok(None);
        }
        let Some(weights) = &mut self.weights else {
            let piece = self.batch.slice(self.next, left.min(limit));
            self.next += piece.num_rows();
            return Ok(Some(piece));
        };
        let mut indices: Vec<u32> = Vec::new();
        while self.next < weights.len() && indices.len() < limit {
            let room = i64::try_from(limit - indices.len()).unwrap_or(i64::MAX);
            let count = weights[self.next].min(room);
            indices.extend((0..count).map(|_| self.next as u32));
            weights[self.next] -= count;
            self.next += usize::from(weights[self.next] == 0);
        }
        take_rows(&self.batch, &UInt32Array::from(indices)).map(Some)
    }
}
