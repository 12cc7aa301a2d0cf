//! `Run`: changes of a relation, sorted and immutable, as one applied batch or a merge of several.
//!
//! Entries are in order of (key, epoch, row); entries that agree in all three are added up, and those that
//! come to nothing are left out. Keys and rows lie in two buffers: no allocation per row.

use weir_common::key::EncodedKeys;
use weir_common::row::EncodedRows;
use weir_common::{ChangeBatch, Epoch, Result};

use super::layout::{Entry, Layout};

/// A sorted, immutable set of changes.
pub(super) struct Run {
    keys: EncodedKeys,
    rows: EncodedRows,
    epochs: Vec<Epoch>,
    weights: Vec<i64>,
    pub(super) oldest: Epoch,
    pub(super) newest: Epoch,
}

impl Run {
    /// The changes of one batch, all of one epoch.
    pub(super) fn of_batch(layout: &Layout, epoch: Epoch, batch: &ChangeBatch) -> Result<Run> {
        let (keys, rows) = layout.encode(batch)?;
        Ok(Run::of_encoded(layout, epoch, batch, &keys, &rows))
    }

    /// The changes of one batch, whose keys and rows are these.
    pub(super) fn of_encoded(
        layout: &Layout,
        epoch: Epoch,
        batch: &ChangeBatch,
        keys: &EncodedKeys,
        rows: &EncodedRows,
    ) -> Run {
        let entry = |row: usize| Entry {
            key: keys.row(row),
            epoch,
            row: rows.row(row),
            weight: i64::from(batch.op(row)),
        };
        Run::of_sorted(layout, sorted_rows(keys).into_iter().map(entry))
    }

    /// All changes of several runs that satisfy `keep`.
    pub(super) fn merge(layout: &Layout, runs: &[impl AsRef<Run>], keep: impl Fn(Epoch) -> bool) -> Run {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for run in runs {
            let run = run.as_ref();
            entries.extend(run.entries(0, run.len()).filter(|entry| keep(entry.epoch)));
        }
        sort_entries(&mut entries);
        Run::of_sorted(layout, entries.into_iter())
    }

    /// Entries sorted by key at least.
    pub(super) fn of_sorted<'a>(layout: &Layout, entries: impl Iterator<Item = Entry<'a>>) -> Run {
        let mut run = Run {
            keys: EncodedKeys::default(),
            rows: EncodedRows::default(),
            epochs: Vec::new(),
            weights: Vec::new(),
            oldest: Epoch::MAX,
            newest: Epoch::ZERO,
        };
        let mut group: Vec<Entry<'_>> = Vec::new();
        for entry in entries {
            if group.first().is_some_and(|first| first.key != entry.key) {
                run.push_group(layout, &mut group);
            }
            group.push(entry);
        }
        run.push_group(layout, &mut group);
        run
    }

    /// Adds the entries of one key, summed up; empties `group`.
    fn push_group(&mut self, layout: &Layout, group: &mut Vec<Entry<'_>>) {
        if group.len() > 1 {
            group.sort_by(|a, b| (a.epoch, a.row).cmp(&(b.epoch, b.row)));
        }
        for same in group.chunk_by(|a, b| a.epoch == b.epoch && (layout.is_bag || a.row == b.row)) {
            let weight: i64 = same.iter().map(|entry| entry.weight).sum();
            if weight != 0 {
                let shown = same.iter().find(|entry| entry.weight > 0).unwrap_or(&same[0]);
                self.push(Entry { weight, ..*shown });
            }
        }
        group.clear();
    }

    fn push(&mut self, entry: Entry<'_>) {
        self.keys.push(entry.key);
        self.rows.push(entry.row);
        self.epochs.push(entry.epoch);
        self.weights.push(entry.weight);
        self.oldest = self.oldest.min(entry.epoch);
        self.newest = self.newest.max(entry.epoch);
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.epochs.len()
    }

    /// The key of an entry.
    pub(super) fn key(&self, at: usize) -> &[u8] {
        self.keys.row(at)
    }

    /// Entries `start..end`.
    pub(super) fn entries(&self, start: usize, end: usize) -> impl Iterator<Item = Entry<'_>> {
        (start..end).map(|at| Entry {
            key: self.keys.row(at),
            epoch: self.epochs[at],
            row: self.rows.row(at),
            weight: self.weights[at],
        })
    }

    /// The first entry at or after `from` for which `before` does not hold, galloping: cost grows with the
    /// logarithm of the distance.
    pub(super) fn seek(&self, from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        let mut low = from;
        let mut step = 1;
        while low + step <= self.len() && before(self.key(low + step - 1)) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.key(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Bytes of keys and rows.
    pub(super) fn data_bytes(&self) -> usize {
        self.keys.bytes.len() + self.rows.bytes.len()
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let entry = size_of::<Epoch>() + size_of::<i64>();
        self.keys.memory_size() + self.rows.memory_size() + self.epochs.capacity() * entry
    }
}

/// Puts entries in order of (key, epoch, row). Made of sorted pieces, they are merged rather than sorted.
pub(super) fn sort_entries(entries: &mut [Entry<'_>]) {
    entries.sort_by(|a, b| a.key.cmp(b.key).then_with(|| (a.epoch, a.row).cmp(&(b.epoch, b.row))));
}

/// Row numbers in key order. Sorting looks at a key's first 16 bytes in place before it goes to the key.
fn sorted_rows(keys: &EncodedKeys) -> Vec<usize> {
    if keys.iter().is_sorted() {
        return (0..keys.len()).collect();
    }
    let mut order: Vec<(u128, usize)> = keys.iter().map(first_bytes).zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| keys.row(a.1).cmp(keys.row(b.1))));
    order.into_iter().map(|(_, row)| row).collect()
}

fn first_bytes(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let len = key.len().min(16);
    bytes[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(bytes)
}
