//! INSERT … ON CONFLICT: rows whose key stands already are passed over, or update the row that has it.
//!
//! The statement holds the table's lock, so the rows it read do not change before it commits; a plain INSERT of
//! another session takes no lock and may come first with the same key. The commit finds that, and the statement
//! decides again over what is there then. In a block the decision cannot be taken again: COMMIT answers 40001.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema};
use weir_catalog::{Object, TableDef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result, SqlState, SqlType};
use weir_planner::bound::{BoundConflict, BoundInsert, BoundQuery};

use super::keys::{Existing, PrimaryKey};
use super::returning::answer;
use super::rows::{concat, table_rows, take};
use super::rules::Rules;
use crate::locks::TableLock;
use crate::outcome::Outcome;
use crate::session::Session;
use crate::transaction::Block;

/// The statement.
pub(super) struct Upsert<'s> {
    pub insert: &'s BoundInsert,
    pub conflict: &'s BoundConflict,
    pub rules: Rules,
}

/// What the statement does in the end.
struct Resolved {
    /// Rows that are there and are replaced.
    replaced: RecordBatch,
    /// Rows inserted and new rows of those replaced, in the order of the rows proposed.
    written: RecordBatch,
}

/// The new rows that DO UPDATE makes, by the number of the proposed row.
struct Updates {
    rows: RecordBatch,
    keys: Vec<Vec<u8>>,
    by_number: HashMap<usize, u32>,
}

impl Session {
    pub(super) async fn insert_or_update(
        &mut self,
        upsert: &Upsert<'_>,
        target: (&Object, &TableDef),
        proposed: Vec<RecordBatch>,
        mut lock: Option<TableLock>,
    ) -> Result<Outcome> {
        let insert = upsert.insert;
        let proposed = concat(target.1, &proposed)?;
        loop {
            let held = match lock.take() {
                Some(lock) => Some(lock),
                None => self.lock(target.0).await?,
            };
            let Resolved { replaced, written } = self.resolve(upsert, target, &proposed).await?;
            let returned = self.returning(insert.returning.as_ref(), std::slice::from_ref(&written)).await?;
            let count = written.num_rows();
            let mut changes = vec![ChangeBatch::deletes(replaced), ChangeBatch::inserts(written)];
            changes.retain(|batch| !batch.is_empty());
            let in_block = self.transaction.block() != Block::None;
            if in_block {
                self.transaction.decided_conflicts();
            }
            match self.write(insert.table, changes, held).await {
                Err(error) if error.state() == SqlState::UNIQUE_VIOLATION && !in_block => continue,
                written => written?,
            }
            return Ok(answer("INSERT 0", count, returned));
        }
    }

    /// Decides what becomes of each proposed row, over what is there now.
    async fn resolve(
        &mut self,
        upsert: &Upsert<'_>,
        (object, table): (&Object, &TableDef),
        proposed: &RecordBatch,
    ) -> Result<Resolved> {
        let key = PrimaryKey::new(table)?;
        let keys = key.of_rows(proposed)?;
        let existing = self.existing_rows(object.id, table, keys.iter().map(Vec::as_slice)).await?;
        let updates = match &upsert.conflict.update {
            None => None,
            Some(update) => {
                let pairs = self.pairs(proposed, &keys, &existing)?;
                Some(self.updates(update, &upsert.rules, (object, table), pairs).await?)
            }
        };
        let walk = Walk::over(&keys, &existing, updates.as_ref())?;
        if let Some(updates) = &updates {
            let moved = walk.moved.iter().map(|row| updates.keys[*row as usize].as_slice());
            let others = self.existing_rows(object.id, table, moved).await?;
            let stands = |row: &&u32| {
                let key = &updates.keys[**row as usize];
                others.places.contains_key(key) && !walk.vacated.contains(key.as_slice())
            };
            if let Some(row) = walk.moved.iter().find(stands) {
                return Err(key.taken(object, table, &updates.rows, *row as usize));
            }
        }
        let replaced = take(&existing.rows, walk.replaced)?;
        let written = match &updates {
            None => take(proposed, walk.written)?,
            Some(updates) => take(&concat(table, &[proposed.clone(), updates.rows.clone()])?, walk.written)?,
        };
        Ok(Resolved { replaced, written })
    }

    /// Each proposed row whose key is there, with its number and the row that is there.
    fn pairs(&self, proposed: &RecordBatch, keys: &[Vec<u8>], existing: &Existing) -> Result<RecordBatch> {
        let places = keys.iter().zip(0u32..).filter_map(|(key, i)| Some((i, *existing.places.get(key)?)));
        let (numbers, there): (Vec<u32>, Vec<u32>) = places.unzip();
        pairs(take(&existing.rows, there)?, take(proposed, numbers.clone())?, &numbers)
    }

    /// Runs DO UPDATE over pairs.
    async fn updates(
        &mut self,
        update: &BoundQuery,
        rules: &Rules,
        (object, table): (&Object, &TableDef),
        pairs: RecordBatch,
    ) -> Result<Updates> {
        let mut rows = Vec::new();
        let mut by_number = HashMap::new();
        if pairs.num_rows() > 0 {
            for batch in self.query_given(update, &[pairs]).await? {
                let first = by_number.len() as u32;
                let numbers = batch.column(0).as_primitive::<Int64Type>().values().iter();
                by_number.extend(numbers.map(|number| *number as usize).zip(first..));
                rows.push(rules.complete(object, table, table_rows(table, &batch, 1)?)?);
            }
        }
        let rows = concat(table, &rows)?;
        let keys = PrimaryKey::new(table)?.of_rows(&rows)?;
        Ok(Updates { rows, keys, by_number })
    }
}

/// Number, row that is there, row proposed: what DO UPDATE is computed from.
fn pairs(existing: RecordBatch, proposed: RecordBatch, numbers: &[u32]) -> Result<RecordBatch> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| i64::from(*n))));
    let mut fields = vec![Arc::new(Field::new("number", SqlType::Int8.arrow(), true))];
    fields.extend(existing.schema().fields().iter().chain(proposed.schema().fields()).cloned());
    let rows = numbers.len();
    let columns = std::iter::once(numbers).chain(existing.columns().iter().cloned());
    let columns = columns.chain(proposed.columns().iter().cloned()).collect();
    record_batch(Arc::new(Schema::new(fields)), columns, rows)
}

/// The decisions, row after row in the order proposed.
#[derive(Default)]
struct Walk<'k> {
    /// Places among the rows that are there.
    replaced: Vec<u32>,
    /// Places among the rows proposed, and behind them the new rows.
    written: Vec<u32>,
    /// New rows that have another key than the row they replace.
    moved: Vec<u32>,
    /// Keys that rows replaced had.
    vacated: HashSet<&'k [u8]>,
}

impl<'k> Walk<'k> {
    fn over(keys: &'k [Vec<u8>], existing: &Existing, updates: Option<&'k Updates>) -> Result<Walk<'k>> {
        let mut walk = Walk::default();
        // Keys that rows written by this statement have.
        let mut written: HashSet<&[u8]> = HashSet::new();
        for (i, key) in keys.iter().enumerate() {
            if written.contains(key.as_slice()) {
                match updates {
                    None => continue,
                    Some(_) => return Err(second_time()),
                }
            }
            let there = existing.places.get(key).filter(|_| !walk.vacated.contains(key.as_slice()));
            match (there, updates) {
                (None, _) => {
                    walk.written.push(i as u32);
                    written.insert(key);
                }
                (Some(_), None) => {}
                (Some(place), Some(updates)) => {
                    let Some(row) = updates.by_number.get(&i) else { continue };
                    let new_key = &updates.keys[*row as usize];
                    walk.replaced.push(*place);
                    walk.written.push(keys.len() as u32 + row);
                    walk.vacated.insert(key);
                    if new_key != key {
                        walk.moved.push(*row);
                    }
                    written.insert(new_key);
                }
            }
        }
        Ok(walk)
    }
}

fn second_time() -> Error {
    Error::new(
        SqlState::CARDINALITY_VIOLATION,
        "ON CONFLICT DO UPDATE command cannot affect row a second time",
    )
    .with_hint(
        "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
    )
}
