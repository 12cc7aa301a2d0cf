//! `IndexStore`: a secondary index of a relation, kept in step with its rows.
//!
//! ```text
//!   entry       the index's columns, then the row's storage key       (key of the entry)
//!               the row's storage key                                 (value of the entry)
//! ```
//! The entries are a relation of their own below that of the rows: each change of a row, stamped with its epoch, makes
//! changes of entries with the same stamp in the same call, a checkpoint writes both in one batch, and whoever pins the
//! rows pins the entries. So at every epoch the entries are those of the rows at that epoch, and a read through the
//! index waits for nothing.
//!
//! An index of a relation that has rows is *built* while others go on to read and write:
//!
//! ```text
//!   attach      from now on changes make entries; what there is before is pinned
//!   build       entries of the pinned base go to the backend, those of pinned changes into memory
//!   complete    the entries catch up with the relation's last checkpoint; from now on readers find the index
//! ```
//! Attaching and applying exclude each other, so a change is either before, and in what is pinned, or after, and has
//! made its entries.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use weir_common::change::record_batch;
use weir_common::key::{EncodedKeys, KeyEncoder, KeyRange};
use weir_common::{
    ChangeBatch, Column, Epoch, Error, ObjectId, RelationKey, RelationSchema, Result, SqlType,
};

use super::generation::Generation;
use super::layout::{Entry, Layout, Weighted};
use super::run::Run;
use super::{Indexed, RelationPin, RelationSnapshot, RelationStore};
use crate::backend::{Keyspace, StateBackend, WriteBatch};

/// Rows of the base that are indexed in one batch.
const BUILD_ROWS: usize = 16 * 1024;

/// What an index is over.
pub trait IndexColumns: Send + Sync {
    /// The types of its columns.
    fn types(&self) -> Vec<SqlType>;
    /// Its columns for each row of the relation.
    fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>>;
    /// Whether some row may have no such values: then they are tried before a row is written.
    fn may_fail(&self) -> bool {
        false
    }
}

/// Columns of the relation, by position.
pub struct PlainColumns(pub Vec<(usize, SqlType)>);

impl IndexColumns for PlainColumns {
    fn types(&self) -> Vec<SqlType> {
        self.0.iter().map(|(_, ty)| ty.clone()).collect()
    }

    fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |(position, _): &(usize, SqlType)| {
            let column = rows.columns().get(*position).cloned();
            column.ok_or_else(|| Error::internal("an index over a column that is not there"))
        };
        self.0.iter().map(column).collect()
    }
}

/// An index as it is asked for.
#[derive(Clone)]
pub struct IndexSpec {
    pub id: ObjectId,
    pub columns: Arc<dyn IndexColumns>,
}

/// The entries of one index.
pub struct IndexStore {
    pub(super) spec: IndexSpec,
    pub(super) entries: Arc<RelationStore>,
    schema: Arc<Schema>,
    /// Encodes the index's own columns.
    encoder: KeyEncoder,
}

impl IndexStore {
    /// The entries as the backend has them; `rows` is the schema of the relation.
    pub(super) fn open(
        spec: IndexSpec,
        rows: &RelationSchema,
        backend: Arc<dyn StateBackend>,
    ) -> Result<Arc<IndexStore>> {
        let mut types = spec.columns.types();
        let arrow: Vec<DataType> = types.iter().map(SqlType::arrow).collect();
        let encoder = KeyEncoder::new(&arrow)?;
        types.push(SqlType::Bytea);
        let column = |(ty, id): (SqlType, u16)| Column { id, name: format!("c{id}"), ty, nullable: true };
        let columns: Vec<Column> = types.into_iter().zip(1u16..).map(column).collect();
        // A row that a bag holds twice has an entry twice.
        let key = match rows.key {
            RelationKey::Bag => RelationKey::Bag,
            RelationKey::Columns(_) => RelationKey::Columns((0..columns.len()).collect()),
        };
        let entries = RelationSchema { columns, key };
        let schema = entries.arrow();
        let stored = entries.columns.len() - 1;
        let layout = Layout::new(spec.id, &entries)?.storing_from(stored)?;
        let entries = RelationStore::with_layout(spec.id, entries, layout, backend)?;
        Ok(Arc::new(IndexStore { spec, entries, schema, encoder }))
    }

    /// The entries of rows whose storage keys are these.
    fn entries_of(&self, rows: &RecordBatch, keys: &EncodedKeys) -> Result<RecordBatch> {
        let mut columns = self.spec.columns.values(rows)?;
        columns.push(Arc::new(BinaryArray::from_iter_values(keys.iter())));
        record_batch(Arc::clone(&self.schema), columns, keys.len())
    }

    /// The changes of entries that changes of rows make.
    pub(super) fn run_of(&self, epoch: Epoch, batch: &ChangeBatch, keys: &EncodedKeys) -> Result<Run> {
        let rows = self.entries_of(&batch.rows, keys)?;
        Run::of_batch(&self.entries.layout(), epoch, &ChangeBatch { rows, ops: batch.ops.clone() })
    }

    /// The encoding of the index's columns for each row; `None` where one of them is NULL.
    pub fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<Option<Vec<u8>>>> {
        let columns = self.spec.columns.values(rows)?;
        let keys = self.encoder.encode_rows(&columns, rows.num_rows())?;
        let has_null = |row: usize| columns.iter().any(|column| column.is_null(row));
        Ok(keys.iter().enumerate().map(|(row, key)| (!has_null(row)).then(|| key.to_vec())).collect())
    }

    /// How many rows have each of these keys, of everything applied so far. Keys as of [`Self::keys_of`], in order.
    pub fn latest_counts(&self, keys: &[&[u8]]) -> Result<Vec<usize>> {
        self.entries.pin().at(Epoch::MAX).count_prefixes(keys)
    }

    /// The id it was asked for under.
    pub fn id(&self) -> ObjectId {
        self.spec.id
    }
}

impl RelationStore {
    /// Adds an index whose entries the backend has, in step with the rows: nothing was applied since it was opened.
    pub fn adopt_index(&self, spec: IndexSpec) -> Result<()> {
        let store = IndexStore::open(spec, &self.schema(), Arc::clone(&self.backend))?;
        let mut versions = self.versions.write();
        versions.indexes = with(&versions.indexes, Indexed { store, is_complete: true });
        Ok(())
    }

    /// Adds an index of which the backend has nothing. The build makes the entries of what there is; then
    /// [`RelationStore::complete_index`] lets readers find it.
    pub fn attach_index(&self, spec: IndexSpec) -> Result<IndexBuild> {
        let store = IndexStore::open(spec, &self.schema(), Arc::clone(&self.backend))?;
        let mut versions = self.versions.write();
        let next = Arc::new(Generation::default());
        versions.newest.seal(Arc::clone(&next));
        versions.newest = Arc::clone(&next);
        let build = IndexBuild {
            index: Arc::clone(&store),
            pin: self.pin_of(&versions),
            rows: versions.base_rows,
            until: next,
        };
        versions.indexes = with(&versions.indexes, Indexed { store, is_complete: false });
        Ok(build)
    }

    /// Makes the entries of a build durable up to the relation's last checkpoint: from now on they are part of every
    /// checkpoint, and readers find them. By the thread that flushes.
    pub fn complete_index(&self, id: ObjectId) -> Result<()> {
        let Some(index) = self.index(id) else { return Ok(()) };
        let upto = self.versions.read().base_epoch;
        let mut batch = WriteBatch::default();
        index.entries.flush_rows(upto, &mut batch)?;
        self.backend.write(batch)?;
        index.entries.replace_base(upto, Some(upto));
        let mut versions = self.versions.write();
        let mut indexes = versions.indexes.to_vec();
        indexes.iter_mut().filter(|i| i.store.id() == id).for_each(|i| i.is_complete = true);
        versions.indexes = Arc::new(indexes);
        Ok(())
    }

    /// Forgets an index; what the backend has of it stays.
    pub fn detach_index(&self, id: ObjectId) {
        let mut versions = self.versions.write();
        let kept = versions.indexes.iter().filter(|index| index.store.id() != id);
        versions.indexes = Arc::new(kept.cloned().collect());
    }

    /// The index of this id, complete or not.
    pub fn index(&self, id: ObjectId) -> Option<Arc<IndexStore>> {
        let versions = self.versions.read();
        let index = versions.indexes.iter().find(|index| index.store.id() == id)?;
        Some(Arc::clone(&index.store))
    }

    /// A row, as a batch of its own, whose key in a complete index another row has too, of everything applied so far.
    pub fn first_duplicate(&self, id: ObjectId, batch_rows: usize) -> Result<Option<RecordBatch>> {
        let snapshot = self.pin().at(Epoch::MAX);
        let (Some(index), Some(entries)) = (self.index(id), snapshot.index(id)) else { return Ok(None) };
        let mut last: Option<Vec<u8>> = None;
        for batch in entries.0.scan(&[0], batch_rows) {
            let batch = batch?;
            let keys: Vec<&[u8]> = row_keys(&batch)?.iter().flatten().collect();
            let rows = snapshot.points(&keys)?;
            for (row, key) in index.keys_of(&rows)?.into_iter().enumerate() {
                if key.is_some() && key == last {
                    return Ok(Some(rows.slice(row, 1)));
                }
                last = key;
            }
        }
        Ok(None)
    }

    /// The base is what the backend has now, which is everything up to `epoch`.
    fn rebase(&self, epoch: Epoch, rows: i64) {
        let mut versions = self.versions.write();
        versions.base = self.backend.snapshot();
        versions.base_epoch = epoch;
        versions.base_rows = rows;
    }
}

fn row_keys(entries: &RecordBatch) -> Result<&BinaryArray> {
    let column = entries.column(0).as_any().downcast_ref();
    column.ok_or_else(|| Error::internal("entries without storage keys"))
}

fn with(indexes: &[Indexed], index: Indexed) -> Arc<Vec<Indexed>> {
    Arc::new(indexes.iter().cloned().chain([index]).collect())
}

/// An index at one epoch.
pub struct IndexSnapshot(pub(super) RelationSnapshot);

impl IndexSnapshot {
    /// The storage keys of the rows whose entries are in the ranges, in order, each once; `None` when there are more
    /// than `limit` entries.
    pub fn row_keys(&self, ranges: &[KeyRange], limit: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let mut keys = Vec::new();
        for range in ranges {
            for batch in self.0.scan_range(range, &[0], BUILD_ROWS.min(limit.saturating_add(1))) {
                let batch = batch?;
                let column = row_keys(&batch)?;
                if keys.len() + column.len() > limit {
                    return Ok(None);
                }
                keys.extend(column.iter().flatten().map(<[u8]>::to_vec));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(Some(keys))
    }
}

/// An index that was attached and has no entries yet of what there was before.
pub struct IndexBuild {
    index: Arc<IndexStore>,
    /// The rows before.
    pin: RelationPin,
    /// How many of them are in the base.
    rows: i64,
    /// The first generation of the changes that have made their entries.
    until: Arc<Generation>,
}

impl IndexBuild {
    /// The index that is built.
    pub fn id(&self) -> ObjectId {
        self.index.id()
    }

    /// Makes the entries. Takes as long as a scan; `go_on` is asked between batches, and error 57014 ends the build.
    pub fn run(&self, go_on: impl Fn() -> Result<()>) -> Result<()> {
        self.index_base(&go_on)?;
        self.index_changes(&go_on)?;
        self.index.entries.rebase(self.pin.base_epoch, self.rows);
        Ok(())
    }

    fn index_base(&self, go_on: &impl Fn() -> Result<()>) -> Result<()> {
        let layout = &self.pin.layout;
        let mut start = layout.prefix().to_vec();
        let end = layout.end();
        let mut is_first = true;
        loop {
            go_on()?;
            let bound = if is_first { Bound::Included(&start[..]) } else { Bound::Excluded(&start[..]) };
            let page = self.pin.base.range(Keyspace::Relation, bound, Bound::Excluded(&end), BUILD_ROWS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.write_page(&page)?;
            (start, is_first) = (last.to_vec(), false);
        }
    }

    /// Writes the entries of rows of the base.
    fn write_page(&self, page: &[(Bytes, Bytes)]) -> Result<()> {
        let layout = &self.pin.layout;
        let rows: Vec<Weighted<'_>> =
            page.iter().map(|(_, value)| layout.read_value(value)).collect::<Result<_>>()?;
        let mut keys = EncodedKeys::default();
        page.iter().for_each(|(key, _)| keys.push(&key[layout.prefix().len()..]));
        let batch = decode(layout, rows.iter().map(|row| row.row))?;
        let entries = self.index.entries_of(&batch, &keys)?;
        let own = self.index.entries.layout();
        let (entry_keys, values) = own.encode(&ChangeBatch::inserts(entries))?;
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by(|a, b| entry_keys.row(*a).cmp(entry_keys.row(*b)));
        let mut batch = WriteBatch::default();
        for at in order {
            let value = own.backend_value(Weighted { weight: rows[at].weight, row: values.row(at) });
            batch.put(Keyspace::Relation, &own.backend_key(entry_keys.row(at)), &value);
        }
        self.index.entries.backend.write(batch)
    }

    /// Puts the entries of pinned changes beside those that are made since.
    fn index_changes(&self, go_on: &impl Fn() -> Result<()>) -> Result<()> {
        let before = self.pin.first.chain().take_while(|generation| !Arc::ptr_eq(generation, &self.until));
        let runs: Vec<Arc<Run>> = before.flat_map(|generation| generation.runs()).collect();
        for run in runs {
            let entries: Vec<Entry<'_>> =
                run.entries(0, run.len()).filter(|entry| entry.epoch > self.pin.base_epoch).collect();
            for entries in entries.chunks(BUILD_ROWS) {
                go_on()?;
                self.index_entries(entries)?;
            }
        }
        Ok(())
    }

    fn index_entries(&self, changes: &[Entry<'_>]) -> Result<()> {
        let rows = decode(&self.pin.layout, changes.iter().map(|change| change.row))?;
        let mut keys = EncodedKeys::default();
        changes.iter().for_each(|change| keys.push(change.key));
        let entries = self.index.entries_of(&rows, &keys)?;
        let own = self.index.entries.layout();
        let (keys, values) = own.encode(&ChangeBatch::inserts(entries))?;
        let entry = |(at, change): (usize, &Entry<'_>)| (at, change.epoch, change.weight);
        let mut order: Vec<_> = changes.iter().enumerate().map(entry).collect();
        order.sort_unstable_by(|a, b| keys.row(a.0).cmp(keys.row(b.0)).then(a.1.cmp(&b.1)));
        let entries = order.into_iter().map(|(at, epoch, weight)| Entry {
            key: keys.row(at),
            epoch,
            row: values.row(at),
            weight,
        });
        self.index.entries.push(Run::of_sorted(&own, entries));
        Ok(())
    }
}

fn decode<'a>(layout: &Layout, rows: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
    let rows: Vec<&[u8]> = rows.collect();
    record_batch(layout.schema.clone(), layout.codec.decode(&rows)?, rows.len())
}
