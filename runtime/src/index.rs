//! Secondary indexes of tables and views at run time: how one is added while everybody goes on, and UNIQUE.
//!
//! ```text
//!   attach ─► build (a thread of its own) ─► complete (checkpoint thread) ─► UNIQUE: fence, verify ─► known
//! ```
//! The store of the relation keeps an index in step with the rows (see `weir_storage::relation`); here is who knows of
//! it. Invariants: an index is durable up to its relation's last checkpoint before [`Runtime::create_index`] returns, so
//! that the catalog names none that would have to be built at a start; a UNIQUE index is checked by every commit from
//! before its rows are verified, so that no duplicate is in neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use tokio::sync::oneshot;
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState};
use weir_storage::backend::{Keyspace, WriteBatch};
use weir_storage::relation::{IndexBuild, IndexSpec};

use crate::checkpoint::CheckpointEvent;
use crate::engine::State;
use crate::meta::{self, TableRecord};
use crate::relation::Relation;
use crate::runtime::Runtime;
use crate::sequencer::Request;

/// Rows that are verified at once.
const VERIFY_ROWS: usize = 8 * 1024;

/// An index of a relation.
#[derive(Clone)]
pub struct RelationIndex {
    /// The table or view.
    pub relation: ObjectId,
    pub spec: IndexSpec,
    pub unique: Option<Unique>,
}

/// What a UNIQUE index says when it is violated.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The name of the constraint, or of the index.
    pub name: String,
    /// Its columns, as the DETAIL names them.
    pub columns: Vec<UniqueColumn>,
}

/// A column of a UNIQUE index.
#[derive(Clone, Debug)]
pub enum UniqueColumn {
    /// A column of the relation, by position.
    Column(usize),
    /// An expression, as SQL text.
    Expression(String),
}

impl RelationIndex {
    /// 23505 for the row of a batch.
    pub fn duplicate(&self, unique: &Unique, rows: &RecordBatch, row: usize) -> Error {
        let message = format!("duplicate key value violates unique constraint \"{}\"", unique.name);
        let detail = match self.describe(unique, rows, row) {
            Ok(key) => format!("Key {key} already exists."),
            Err(_) => "The key already exists.".to_owned(),
        };
        Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail)
    }

    /// `(a, b)=(1, x)`
    fn describe(&self, unique: &Unique, rows: &RecordBatch, row: usize) -> Result<String> {
        let columns = self.spec.columns.values(&rows.slice(row, 1))?;
        let schema = rows.schema();
        let name = |column: &UniqueColumn| match column {
            UniqueColumn::Column(position) => schema.field(*position).name().clone(),
            UniqueColumn::Expression(sql) => sql.clone(),
        };
        let names: Vec<String> = unique.columns.iter().map(name).collect();
        let text = |(column, ty): (&ArrayRef, &weir_common::SqlType)| {
            let mut text = String::new();
            Formatter::new(ty, &FormatOptions::default()).write(column.as_ref(), 0, &mut text);
            text
        };
        let types = self.spec.columns.types();
        let values: Vec<String> = columns.iter().zip(&types).map(text).collect();
        Ok(format!("({})=({})", names.join(", "), values.join(", ")))
    }
}

/// The error of a row that an index cannot hold, before any row is written.
pub fn check_computed(relation: &Relation, changes: &[ChangeBatch]) -> Result<()> {
    for index in relation.indexes().iter().filter(|index| index.spec.columns.may_fail()) {
        changes.iter().try_for_each(|batch| index.spec.columns.values(&batch.rows).map(|_| ()))?;
    }
    Ok(())
}

/// 23505 when a key of a UNIQUE index would stand twice after these changes, which are not applied yet. Keys with a
/// NULL in them are all distinct.
pub fn check_unique(relation: &Relation, changes: &[ChangeBatch]) -> Result<()> {
    for index in relation.indexes() {
        let (Some(unique), Some(store)) = (&index.unique, relation.store.index(index.spec.id)) else {
            continue;
        };
        // By key: how many rows more there are, and the last one that came.
        let mut deltas: BTreeMap<Vec<u8>, (i64, (usize, usize))> = BTreeMap::new();
        for (b, batch) in changes.iter().enumerate() {
            for (row, key) in store.keys_of(&batch.rows)?.into_iter().enumerate() {
                let Some(key) = key else { continue };
                let (delta, place) = deltas.entry(key).or_default();
                *delta += i64::from(batch.op(row));
                if batch.op(row) > 0 {
                    *place = (b, row);
                }
            }
        }
        deltas.retain(|_, (delta, _)| *delta > 0);
        let keys: Vec<&[u8]> = deltas.keys().map(Vec::as_slice).collect();
        for (there, (delta, (batch, row))) in store.latest_counts(&keys)?.into_iter().zip(deltas.values()) {
            if i64::try_from(there).unwrap_or(i64::MAX).saturating_add(*delta) > 1 {
                return Err(index.duplicate(unique, &changes[*batch].rows, *row));
            }
        }
    }
    Ok(())
}

impl State {
    /// Gives a relation that was just opened the indexes that it has.
    pub fn adopt_indexes(&self, relation: &Relation) -> Result<()> {
        for index in self.indexes.get(&relation.id).into_iter().flatten() {
            relation.store.adopt_index(index.spec.clone())?;
            relation.add_index(Arc::clone(index));
        }
        Ok(())
    }

    /// Forgets an index; whether there was one.
    pub fn forget_index(&mut self, id: ObjectId) -> bool {
        for (relation, indexes) in &mut self.indexes {
            let before = indexes.len();
            indexes.retain(|index| index.spec.id != id);
            if indexes.len() < before {
                if let Some(relation) = self.relations.get(relation) {
                    relation.remove_index(id);
                }
                return true;
            }
        }
        false
    }
}

/// Tells a build to stop when whoever waits for it has gone.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Runtime {
    /// Adds an index to a relation that is empty and that nobody knows yet.
    pub fn create_index_of_new(&self, index: RelationIndex) -> Result<()> {
        let index = Arc::new(index);
        let mut state = self.engine.state.lock();
        let relation = state.relation(index.relation)?.clone();
        relation.store.adopt_index(index.spec.clone())?;
        relation.add_index(Arc::clone(&index));
        state.indexes.entry(index.relation).or_default().push(index);
        Ok(())
    }

    /// Adds an index to a table or a view, while others read and write it. On an error nothing is left. 23505 when it
    /// is to be unique and the rows are not.
    pub async fn create_index(&self, index: RelationIndex) -> Result<()> {
        let id = index.spec.id;
        let created = self.build_index(Arc::new(index)).await;
        if created.is_err() {
            self.drop_objects(&[id]).await?;
        }
        created
    }

    async fn build_index(&self, index: Arc<RelationIndex>) -> Result<()> {
        let id = index.spec.id;
        let relation = self.engine.state.lock().relation(index.relation)?.clone();
        // By this record a start finds what a crash leaves of it.
        let mut record = WriteBatch::default();
        record.put(Keyspace::Meta, &meta::table_key(id), &meta::encode(&TableRecord::default())?);
        self.engine.backend.write(record)?;
        let build = relation.store.attach_index(index.spec.clone())?;
        let detach = Detach { relation: Some(Arc::clone(&relation)), id };
        run_build(build).await?;
        let (done, completed) = oneshot::channel();
        self.engine.checkpoint_event(CheckpointEvent::Indexed { relation: Arc::clone(&relation), id, done });
        completed.await.map_err(|_| shutting_down())??;
        relation.add_index(Arc::clone(&index));
        if let Some(unique) = &index.unique {
            self.fence().await?;
            verify(&relation, &index, unique).await?;
        }
        let mut state = self.engine.state.lock();
        // A view that was restarted meanwhile is another relation.
        if !state.relations.get(&relation.id).is_some_and(|now| Arc::ptr_eq(now, &relation)) {
            let message =
                format!("could not create the index: \"{}\" was restarted or dropped", relation.name);
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message).with_hint("Try again."));
        }
        state.indexes.entry(relation.id).or_default().push(index);
        detach.keep();
        Ok(())
    }

    /// Waits until every commit that was checked before is applied.
    async fn fence(&self) -> Result<()> {
        let (reply, passed) = oneshot::channel();
        self.engine.request(Request::Fence { reply });
        passed.await.map_err(|_| shutting_down())
    }
}

/// Takes an index off its relation again, unless it is kept.
struct Detach {
    relation: Option<Arc<Relation>>,
    id: ObjectId,
}

impl Detach {
    fn keep(mut self) {
        self.relation = None;
    }
}

impl Drop for Detach {
    fn drop(&mut self) {
        if let Some(relation) = &self.relation {
            relation.remove_index(self.id);
        }
    }
}

async fn run_build(build: IndexBuild) -> Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let _stop = StopOnDrop(Arc::clone(&stopped));
    let go_on = move || match stopped.load(Ordering::Relaxed) {
        true => Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
        false => Ok(()),
    };
    let built = tokio::task::spawn_blocking(move || build.run(go_on)).await;
    built.map_err(|e| Error::internal(format!("the build of an index: {e}")))?
}

/// 23505 when two rows have the same key.
async fn verify(relation: &Arc<Relation>, index: &Arc<RelationIndex>, unique: &Unique) -> Result<()> {
    let (relation, index, unique) = (Arc::clone(relation), Arc::clone(index), unique.clone());
    let verified = tokio::task::spawn_blocking(move || {
        let duplicate = relation.store.first_duplicate(index.spec.id, VERIFY_ROWS)?;
        let Some(rows) = duplicate else { return Ok(()) };
        let message = format!("could not create unique index \"{}\"", unique.name);
        let detail = format!("Key {} is duplicated.", index.describe(&unique, &rows, 0)?);
        Err(Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail))
    });
    verified.await.map_err(|e| Error::internal(format!("the check of an index: {e}")))?
}

fn shutting_down() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down")
}
