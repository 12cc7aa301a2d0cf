//! `RelationPin` and `RelationSnapshot`: a relation as of one epoch, whatever happens to it meanwhile.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use bytes::Bytes;
use weir_common::change::record_batch;
use weir_common::key::KeyRange;
use weir_common::{ChangeBatch, Epoch, Error, ObjectId, Result};

use super::generation::Generation;
use super::index::IndexSnapshot;
use super::layout::{Entry, Layout, Net, Weighted};
use super::run::{Run, sort_entries};
use super::scan::{RelationScan, merge};
use crate::backend::{Keyspace, StateSnapshot};

/// A hold on a relation: from now on every epoch at or after the last checkpoint stays readable.
#[derive(Clone)]
pub struct RelationPin {
    pub(super) layout: Arc<Layout>,
    pub(super) base: Arc<dyn StateSnapshot>,
    /// The base holds everything up to this epoch.
    pub(super) base_epoch: Epoch,
    pub(super) first: Arc<Generation>,
    /// The entries of its indexes, pinned with it.
    pub(super) indexes: Vec<(ObjectId, RelationPin)>,
    /// About how many rows there are.
    pub(super) rows: u64,
}

impl RelationPin {
    /// The oldest epoch that can be read.
    pub fn oldest(&self) -> Epoch {
        self.base_epoch
    }

    /// The relation after every change stamped `<= epoch`. All of them must have been applied, and the pin
    /// must not have been taken after a checkpoint beyond `epoch`.
    pub fn at(self, epoch: Epoch) -> RelationSnapshot {
        assert!(
            epoch >= self.base_epoch,
            "epoch {epoch} was read after checkpoint {} replaced it",
            self.base_epoch
        );
        let mut runs = Vec::new();
        for generation in self.first.chain() {
            let all = generation.runs();
            runs.extend(all.into_iter().filter(|run| run.oldest <= epoch && run.newest > self.base_epoch));
        }
        RelationSnapshot {
            layout: self.layout,
            base: self.base,
            runs,
            after: self.base_epoch,
            upto: epoch,
            indexes: self.indexes,
            rows: self.rows,
        }
    }
}

/// A relation at one epoch. Holds memory and disk space of that epoch until it is dropped.
#[derive(Clone)]
pub struct RelationSnapshot {
    pub(super) layout: Arc<Layout>,
    pub(super) base: Arc<dyn StateSnapshot>,
    pub(super) runs: Vec<Arc<Run>>,
    after: Epoch,
    pub(super) upto: Epoch,
    indexes: Vec<(ObjectId, RelationPin)>,
    rows: u64,
}

impl RelationSnapshot {
    /// About how many rows there are: as many as when it was pinned.
    pub fn rows_estimate(&self) -> u64 {
        self.rows
    }

    /// All rows, in order of their storage keys, in batches of at most `batch_rows`, with the columns at
    /// positions `project`. A row that a bag holds n times comes n times.
    pub fn scan(&self, project: &[usize], batch_rows: usize) -> RelationScan {
        self.scan_range(&KeyRange::default(), project, batch_rows)
    }

    /// As [`RelationSnapshot::scan`], of the rows whose storage keys are in a range; nothing else is read.
    pub fn scan_range(&self, range: &KeyRange, project: &[usize], batch_rows: usize) -> RelationScan {
        RelationScan::new(self.clone(), range, project, batch_rows)
    }

    /// Those changes of a batch that are of rows whose storage keys are at most `position`.
    pub fn changes_upto(&self, position: &[u8], batch: &ChangeBatch) -> Result<ChangeBatch> {
        let keys = self.layout.keys(batch)?;
        let found = keys.iter().zip(0u32..).filter(|(key, _)| *key <= position);
        let found: Vec<u32> = found.map(|(_, row)| row).collect();
        if found.len() == batch.len() { Ok(batch.clone()) } else { batch.take(&UInt32Array::from(found)) }
    }

    /// The whole rows with these storage keys, in their order; keys without a row are passed over.
    pub fn points(&self, keys: &[&[u8]]) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..self.layout.schema.fields().len()).collect();
        self.points_of(keys, &all)
    }

    /// As [`RelationSnapshot::points`], with the columns at positions `project`.
    pub fn points_of(&self, keys: &[&[u8]], project: &[usize]) -> Result<RecordBatch> {
        let found: Vec<Found> = self.find(keys)?.into_iter().flatten().collect();
        let rows: Vec<&[u8]> = found.iter().map(|found| &found.row[..]).collect();
        let columns = self.layout.codec.decode_projected(&rows, project)?;
        let batch = record_batch(self.layout.project(project), columns, rows.len())?;
        if found.iter().all(|found| found.weight == 1) {
            return Ok(batch);
        }
        let repeated = found.iter().zip(0u32..).flat_map(|(found, at)| (0..found.weight).map(move |_| at));
        take_rows(&batch, &UInt32Array::from_iter_values(repeated))
    }

    /// An index at the same epoch; `None` when there is none, or it is not complete yet.
    pub fn index(&self, id: ObjectId) -> Option<IndexSnapshot> {
        let (_, pin) = self.indexes.iter().find(|(index, _)| *index == id)?;
        Some(IndexSnapshot(pin.clone().at(self.upto)))
    }

    /// Whether a change of this epoch is part of the snapshot and not of its base.
    pub(super) fn shows(&self, epoch: Epoch) -> bool {
        self.after < epoch && epoch <= self.upto
    }

    /// Rows of these storage keys, each where its key is. Looks them up in key order.
    pub(super) fn find(&self, keys: &[&[u8]]) -> Result<Vec<Option<Found>>> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|at| keys[*at]);
        let nets = self.nets(keys, &order);
        let undecided: Vec<usize> =
            order.into_iter().filter(|at| !matches!(nets[*at], Net::Set(_))).collect();
        let backend_keys: Vec<Vec<u8>> =
            undecided.iter().map(|at| self.layout.backend_key(keys[*at])).collect();
        let asked: Vec<&[u8]> = backend_keys.iter().map(Vec::as_slice).collect();
        let mut bases: Vec<Option<Bytes>> = vec![None; keys.len()];
        if let [only] = asked.as_slice() {
            // One key is not worth the setup of many.
            bases[undecided[0]] = self.base.point(Keyspace::Relation, only)?;
        } else if !asked.is_empty() {
            for (at, value) in undecided.into_iter().zip(self.base.points(Keyspace::Relation, &asked)?) {
                bases[at] = value;
            }
        }
        nets.into_iter().zip(&bases).map(|(net, base)| self.found(net, base.as_ref())).collect()
    }

    fn found(&self, net: Net<'_>, base: Option<&Bytes>) -> Result<Option<Found>> {
        let before = base.map(|value| self.layout.read_value(value)).transpose()?;
        let Weighted { weight, row } = self.layout.change(before, net);
        Ok((weight > 0).then(|| Found {
            weight,
            row: match base {
                Some(base) if before.is_some_and(|before| std::ptr::eq(before.row, row)) => {
                    base.slice_ref(row)
                }
                _ => Bytes::copy_from_slice(row),
            },
        }))
    }

    /// How many rows have storage keys that begin with each of these prefixes, which are in order.
    pub(super) fn count_prefixes(&self, prefixes: &[&[u8]]) -> Result<Vec<usize>> {
        let asked: Vec<Vec<u8>> = prefixes.iter().map(|prefix| self.layout.backend_key(prefix)).collect();
        let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        let bases = self.base.prefixes(Keyspace::Relation, &asked)?;
        let mut positions = vec![0; self.runs.len()];
        let mut entries: Vec<Entry<'_>> = Vec::new();
        let mut counts = Vec::with_capacity(prefixes.len());
        for (prefix, base) in prefixes.iter().zip(bases) {
            entries.clear();
            for (run, position) in self.runs.iter().zip(&mut positions) {
                *position = run.seek(*position, |key| key < *prefix);
                let end = run.seek(*position, |key| key.starts_with(prefix));
                entries.extend(run.entries(*position, end).filter(|entry| self.shows(entry.epoch)));
            }
            sort_entries(&mut entries);
            let rows = merge(&self.layout, &base.into(), &entries)?.iter().map(|row| row.weight).sum::<i64>();
            counts.push(usize::try_from(rows).unwrap_or(0));
        }
        Ok(counts)
    }

    /// What the runs say about each key; `order` sorts the keys.
    fn nets(&self, keys: &[&[u8]], order: &[usize]) -> Vec<Net<'_>> {
        let mut positions = vec![0; self.runs.len()];
        let mut nets = vec![Net::Unchanged; keys.len()];
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for at in order {
            let key = keys[*at];
            entries.clear();
            for (run, position) in self.runs.iter().zip(&mut positions) {
                *position = run.seek(*position, |other| other < key);
                let end = run.seek(*position, |other| other <= key);
                entries.extend(run.entries(*position, end).filter(|entry| self.shows(entry.epoch)));
            }
            sort_entries(&mut entries);
            nets[*at] = self.layout.net(&entries);
        }
        nets
    }
}

/// The rows at `indices`, also of a batch without columns.
pub(super) fn take_rows(batch: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch> {
    let columns = take_arrays(batch.columns(), indices, None).map_err(Error::internal)?;
    record_batch(batch.schema(), columns, indices.len())
}

/// A row that a lookup found.
pub(super) struct Found {
    pub(super) weight: i64,
    pub(super) row: Bytes,
}
