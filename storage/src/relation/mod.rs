//! `RelationStore`: the current rows of a table or view, by version.
//!
//! ```text
//!            first generation          newest generation
//!   base ──► [run run run] ──next──► [run run …]  ◄── apply(epoch, batch)
//!   rows up to the last checkpoint     changes since, in memory
//! ```
//! A row's versions are the changes in memory, each stamped with its epoch, over the base in the backend. A
//! checkpoint at epoch e calls [`RelationStore::flush`], which adds the net of everything `<= e` to its write
//! batch, and once that is durable [`RelationStore::flushed`], which replaces the base. Readers pin: they keep
//! the base and generations they found, and reach later generations through `next`.
//!
//! Secondary indexes of a relation are relations of entries below it, changed, checkpointed and pinned with it: see
//! [`IndexStore`].
//!
//! Invariants: a snapshot never changes; changes of one epoch may be applied in any order and from any
//! thread; `flush(e)` is called when all of `<= e` has been applied, by one thread at a time.

mod generation;
mod index;
mod layout;
mod lookup;
mod run;
mod scan;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use weir_common::{ChangeBatch, Epoch, Error, ObjectId, RelationSchema, Result};

use self::generation::Generation;
pub use self::index::{IndexBuild, IndexColumns, IndexSnapshot, IndexSpec, IndexStore, PlainColumns};
use self::layout::{Entry, Layout};
use self::run::{Run, sort_entries};
pub use self::scan::RelationScan;
pub use self::snapshot::{RelationPin, RelationSnapshot};
use crate::backend::{Keyspace, StateBackend, StateSnapshot, WriteBatch};

/// What the key of a relation's row count in `Keyspace::Meta` begins with; its id follows.
const ROWS_KEY: &[u8] = b"relation-rows/";
/// Keys looked up in the base at once while flushing a bag.
const FLUSH_KEYS: usize = 4096;

/// A generation that took a run, and those that took the entries it makes.
type Pushed = (Arc<Generation>, Vec<(Arc<RelationStore>, Arc<Generation>)>);

/// The rows of one relation.
pub struct RelationStore {
    id: ObjectId,
    shape: RwLock<Shape>,
    backend: Arc<dyn StateBackend>,
    versions: RwLock<Versions>,
    /// Inserts minus deletes since the base.
    changed_rows: AtomicI64,
    /// Rows that the last flush added to the base, until it is durable.
    flushing: Mutex<i64>,
}

/// The columns as they are now, and their encodings.
#[derive(Clone)]
struct Shape {
    schema: Arc<RelationSchema>,
    layout: Arc<Layout>,
}

struct Versions {
    base: Arc<dyn StateSnapshot>,
    base_epoch: Epoch,
    base_rows: i64,
    first: Arc<Generation>,
    newest: Arc<Generation>,
    indexes: Arc<Vec<Indexed>>,
}

/// An index of the relation.
#[derive(Clone)]
struct Indexed {
    store: Arc<IndexStore>,
    /// Whether it has entries of all rows: readers find it, and checkpoints write it.
    is_complete: bool,
}

impl RelationStore {
    /// The relation as the backend has it.
    pub fn open(
        id: ObjectId,
        schema: RelationSchema,
        backend: Arc<dyn StateBackend>,
    ) -> Result<Arc<RelationStore>> {
        let layout = Layout::new(id, &schema)?;
        RelationStore::with_layout(id, schema, layout, backend)
    }

    fn with_layout(
        id: ObjectId,
        schema: RelationSchema,
        layout: Layout,
        backend: Arc<dyn StateBackend>,
    ) -> Result<Arc<RelationStore>> {
        let layout = Arc::new(layout);
        let base = backend.snapshot();
        let base_rows = match base.point(Keyspace::Meta, &rows_key(id))? {
            None => 0,
            Some(value) => i64::from_le_bytes(
                value[..]
                    .try_into()
                    .map_err(|_| Error::corrupted(format!("the row count of relation {id}")))?,
            ),
        };
        let first = Arc::new(Generation::default());
        let newest = first.clone();
        let indexes = Arc::default();
        let base_epoch = Epoch::ZERO;
        let versions = RwLock::new(Versions { base, base_epoch, base_rows, first, newest, indexes });
        let changed_rows = AtomicI64::new(0);
        Ok(Arc::new(RelationStore {
            id,
            shape: RwLock::new(Shape { schema: Arc::new(schema), layout }),
            backend,
            versions,
            changed_rows,
            flushing: Mutex::new(0),
        }))
    }

    /// Columns and key of the relation.
    pub fn schema(&self) -> Arc<RelationSchema> {
        self.shape.read().schema.clone()
    }

    /// Gives the relation columns at the end, which are NULL in every row there is, or takes such columns away again.
    /// Who has pinned it goes on to see the columns of then.
    pub fn alter(&self, schema: RelationSchema) -> Result<()> {
        let layout = Arc::new(Layout::new(self.id, &schema)?);
        *self.shape.write() = Shape { schema: Arc::new(schema), layout };
        Ok(())
    }

    fn layout(&self) -> Arc<Layout> {
        self.shape.read().layout.clone()
    }

    /// Adds changes of an epoch. They become part of every snapshot at or after that epoch.
    pub fn apply(&self, epoch: Epoch, batch: &ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let layout = self.layout();
        let (keys, values) = layout.encode(batch)?;
        let run = Run::of_encoded(&layout, epoch, batch, &keys, &values);
        let rows: i64 = (0..batch.len()).map(|row| i64::from(batch.op(row))).sum();
        self.changed_rows.fetch_add(rows, Ordering::Relaxed);
        let (generation, entries) = self.push_indexed(run, |index| index.run_of(epoch, batch, &keys))?;
        generation.compact(&layout);
        entries.iter().for_each(|(entries, generation)| generation.compact(&entries.layout()));
        Ok(())
    }

    /// Adds a run with the runs of entries that it makes, none of them without the others. Returns the generations
    /// they are in.
    fn push_indexed(&self, run: Run, entries_of: impl Fn(&IndexStore) -> Result<Run>) -> Result<Pushed> {
        loop {
            let indexes = Arc::clone(&self.versions.read().indexes);
            let entries: Vec<Run> = indexes.iter().map(|i| entries_of(&i.store)).collect::<Result<_>>()?;
            // Held while pushing: a generation takes no run after it is sealed.
            let versions = self.versions.read();
            if !Arc::ptr_eq(&indexes, &versions.indexes) {
                continue;
            }
            versions.newest.push(run);
            let push = |(index, run): (&Indexed, Run)| {
                let entries = &index.store.entries;
                (Arc::clone(entries), entries.push(run))
            };
            let entries = indexes.iter().zip(entries).map(push).collect();
            return Ok((versions.newest.clone(), entries));
        }
    }

    /// Adds a run alone.
    fn push(&self, run: Run) -> Arc<Generation> {
        let versions = self.versions.read();
        versions.newest.push(run);
        versions.newest.clone()
    }

    /// The row of a storage key, of everything applied so far.
    pub fn latest(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.latest_many(&[key])?.pop().flatten())
    }

    /// As [`RelationStore::latest`] for many keys, in their order.
    pub fn latest_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.pin().at(Epoch::MAX).find(keys)?;
        Ok(found.into_iter().map(|found| found.map(|found| found.row.into())).collect())
    }

    /// Holds on to what there is now; cheap.
    pub fn pin(&self) -> RelationPin {
        self.pin_of(&self.versions.read())
    }

    fn pin_of(&self, versions: &Versions) -> RelationPin {
        let complete = versions.indexes.iter().filter(|index| index.is_complete);
        RelationPin {
            layout: self.layout(),
            base: versions.base.clone(),
            base_epoch: versions.base_epoch,
            first: versions.first.clone(),
            indexes: complete.map(|index| (index.store.id(), index.store.entries.pin())).collect(),
            rows: self.rows_of(versions),
        }
    }

    /// Adds to `batch` what turns the base into the relation at `upto`, in key order, and the row count; then the same
    /// of its indexes.
    pub fn flush(&self, upto: Epoch, batch: &mut WriteBatch) -> Result<()> {
        self.flush_rows(upto, batch)?;
        let indexes = Arc::clone(&self.versions.read().indexes);
        let mut complete = indexes.iter().filter(|index| index.is_complete);
        complete.try_for_each(|index| index.store.entries.flush_rows(upto, batch))
    }

    fn flush_rows(&self, upto: Epoch, batch: &mut WriteBatch) -> Result<()> {
        self.seal();
        let snapshot = self.pin().at(upto);
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for run in &snapshot.runs {
            entries.extend(run.entries(0, run.len()).filter(|entry| snapshot.shows(entry.epoch)));
        }
        let rows: i64 = entries.iter().map(|entry| entry.weight).sum();
        *self.flushing.lock() = rows;
        if entries.is_empty() {
            return Ok(());
        }
        sort_entries(&mut entries);
        let groups: Vec<&[Entry<'_>]> = entries.chunk_by(|a, b| a.key == b.key).collect();
        for groups in groups.chunks(FLUSH_KEYS) {
            self.flush_groups(&*snapshot.base, groups, batch)?;
        }
        let count = self.versions.read().base_rows + rows;
        batch.put(Keyspace::Meta, &rows_key(self.id), &count.to_le_bytes());
        Ok(())
    }

    /// Writes the net of the entries of some keys. Only a bag must know what the base has.
    fn flush_groups(
        &self,
        base: &dyn StateSnapshot,
        groups: &[&[Entry<'_>]],
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let layout = self.layout();
        let keys: Vec<Vec<u8>> = groups.iter().map(|group| layout.backend_key(group[0].key)).collect();
        let before = if layout.is_bag {
            base.points(Keyspace::Relation, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>())?
        } else {
            vec![None; keys.len()]
        };
        for ((key, group), before) in keys.into_iter().zip(groups).zip(&before) {
            let net = layout.net(group);
            if net == layout::Net::Unchanged {
                continue;
            }
            let before = before.as_ref().map(|value| layout.read_value(value)).transpose()?;
            let after = layout.change(before, net);
            match after.weight {
                0 => batch.delete(Keyspace::Relation, &key),
                _ => batch.put(Keyspace::Relation, &key, &layout.backend_value(after)),
            }
        }
        Ok(())
    }

    /// Begins a new generation, so that the older ones do not change any more.
    fn seal(&self) {
        let mut versions = self.versions.write();
        let next = Arc::new(Generation::default());
        versions.newest.seal(next.clone());
        versions.newest = next;
    }

    /// The batch of `flush(upto)` is durable: new readers find it in the base, and its memory is let go with
    /// the last old reader.
    pub fn flushed(&self, upto: Epoch) {
        self.replace_bases(upto, Some(upto));
    }

    /// As [`RelationStore::flushed`], in the middle of epoch `upto`: what comes of it later is shown too.
    pub fn flushed_in_part(&self, upto: Epoch) {
        self.replace_bases(upto, None);
    }

    fn replace_bases(&self, upto: Epoch, complete: Option<Epoch>) {
        self.replace_base(upto, complete);
        // After the rows: the base of an index is never ahead of theirs.
        let indexes = Arc::clone(&self.versions.read().indexes);
        let kept = indexes.iter().filter(|index| index.is_complete);
        kept.for_each(|index| index.store.entries.replace_base(upto, complete));
    }

    fn replace_base(&self, upto: Epoch, complete: Option<Epoch>) {
        let base = self.backend.snapshot();
        let (first, newest) = {
            let versions = self.versions.read();
            (versions.first.clone(), versions.newest.clone())
        };
        let sealed = first.chain().take_while(|generation| !Arc::ptr_eq(generation, &newest));
        let mut left: Vec<Arc<Run>> = sealed.flat_map(|generation| generation.runs()).collect();
        left.retain(|run| run.newest > upto);
        let rest = Run::merge(&self.layout(), &left, |epoch| epoch > upto);
        let first = match rest.len() {
            0 => newest,
            _ => Arc::new(Generation::of_rest(rest, newest)),
        };
        let rows = std::mem::take(&mut *self.flushing.lock());
        let mut versions = self.versions.write();
        versions.base = base;
        versions.base_epoch = complete.unwrap_or(versions.base_epoch);
        versions.base_rows += rows;
        versions.first = first;
        self.changed_rows.fetch_sub(rows, Ordering::Relaxed);
    }

    /// Forgets the changes since the base: their job has failed, and what it starts next is another.
    pub fn clear(&self) {
        let empty = Arc::new(Generation::default());
        let mut versions = self.versions.write();
        versions.newest.seal(empty.clone());
        (versions.first, versions.newest) = (empty.clone(), empty);
        self.changed_rows.store(0, Ordering::Relaxed);
        versions.indexes.iter().for_each(|index| index.store.entries.clear());
    }

    /// How many rows there are, duplicates counted; exact when every delete met its row.
    pub fn row_count_estimate(&self) -> u64 {
        self.rows_of(&self.versions.read())
    }

    fn rows_of(&self, versions: &Versions) -> u64 {
        u64::try_from(versions.base_rows + self.changed_rows.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes of memory that changes since the last checkpoint take.
    pub fn memory_bytes(&self) -> usize {
        let (first, indexes) = {
            let versions = self.versions.read();
            (versions.first.clone(), versions.indexes.clone())
        };
        let entries: usize = indexes.iter().map(|index| index.store.entries.memory_bytes()).sum();
        let runs = first.chain().flat_map(|generation| generation.runs());
        entries + runs.map(|run| run.memory_bytes()).sum::<usize>()
    }
}

/// Adds to `batch` what removes a relation from the backend.
pub fn drop_rows(id: ObjectId, batch: &mut WriteBatch) {
    let (start, end) = layout::bounds(id);
    batch.delete_range(Keyspace::Relation, &start, &end);
    batch.delete(Keyspace::Meta, &rows_key(id));
}

fn rows_key(id: ObjectId) -> Vec<u8> {
    [ROWS_KEY, &id.0.to_be_bytes()].concat()
}
