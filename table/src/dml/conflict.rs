//! INSERT … ON CONFLICT: rows whose key stands already are passed over, or update the row that has it.
//!
//! The statement holds the table's lock, so the rows it read do not change before it commits; a plain INSERT of
//! another session takes no lock and may come first with the same key. The commit finds that, and the statement
//! decides again over what is there then. In a block the decision cannot be taken again: COMMIT answers 40001.
//! A key that ON CONFLICT does not speak of is checked before, so that a decision that is taken again ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema};
use weir_catalog::{Object, TableDef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result, SqlState, SqlType};
use weir_planner::bound::{BoundConflict, BoundInsert, BoundQuery};

use super::keys::{Existing, Keys, UniqueKey};
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
    /// Why the row after those proposed may not be written: the error, if they have none among them.
    pub refused: Option<Error>,
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
    keys: Keys,
    by_number: HashMap<usize, u32>,
}

/// The keys of the table: those that ON CONFLICT speaks of, and the others.
struct Arbiters {
    named: Vec<UniqueKey>,
    others: Vec<UniqueKey>,
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
        let (object, table) = target;
        let proposed = concat(table, &proposed)?;
        let is_named = |key: &UniqueKey| upsert.conflict.arbiters.iter().any(|arbiter| key.is(*arbiter));
        let (named, others) = self.unique_keys(object, table)?.into_iter().partition(is_named);
        let keys = Arbiters { named, others };
        loop {
            let held = match lock.take() {
                Some(lock) => Some(lock),
                None => self.lock(object).await?,
            };
            let Resolved { replaced, written } = self.resolve(upsert, &keys, target, &proposed).await?;
            if let Some(error) = &upsert.refused {
                return Err(error.clone());
            }
            let (gone, new) = (std::slice::from_ref(&replaced), std::slice::from_ref(&written));
            self.check_free(object, table, &keys.others, (gone, new)).await?;
            let returned = self.returning(insert.returning.as_ref(), new).await?;
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
        keys: &Arbiters,
        target: (&Object, &TableDef),
        proposed: &RecordBatch,
    ) -> Result<Resolved> {
        match (&upsert.conflict.update, keys.named.as_slice()) {
            (None, named) => self.pass_over(named, target, proposed).await,
            (Some(update), [key]) => self.update_or_insert(upsert, update, key, target, proposed).await,
            _ => Err(Error::internal("DO UPDATE of more than one key")),
        }
    }

    /// DO NOTHING: rows of which no key stands are written.
    async fn pass_over(
        &mut self,
        keys: &[UniqueKey],
        (object, table): (&Object, &TableDef),
        proposed: &RecordBatch,
    ) -> Result<Resolved> {
        let mut is_passed = vec![false; proposed.num_rows()];
        let mut of_rows = Vec::with_capacity(keys.len());
        for key in keys {
            let keys_of_rows = key.of_rows(proposed)?;
            let asked = keys_of_rows.iter().flatten().map(Vec::as_slice);
            let existing = self.existing_rows(object.id, table, key, asked).await?;
            for (row, key_of_row) in keys_of_rows.iter().enumerate() {
                is_passed[row] |= key_of_row.as_ref().is_some_and(|key| existing.places.contains_key(key));
            }
            of_rows.push(keys_of_rows);
        }
        let mut seen: Vec<HashSet<&[u8]>> = vec![HashSet::new(); keys.len()];
        let mut written = Vec::new();
        for row in (0..proposed.num_rows()).filter(|row| !is_passed[*row]) {
            let own = || of_rows.iter().map(|keys: &Keys| keys[row].as_deref());
            let stands = own().zip(&seen).any(|(key, seen)| key.is_some_and(|key| seen.contains(key)));
            if !stands {
                own().zip(&mut seen).for_each(|(key, seen)| seen.extend(key));
                written.push(row as u32);
            }
        }
        Ok(Resolved { replaced: take(proposed, Vec::new())?, written: take(proposed, written)? })
    }

    /// DO UPDATE.
    async fn update_or_insert(
        &mut self,
        upsert: &Upsert<'_>,
        update: &BoundQuery,
        key: &UniqueKey,
        (object, table): (&Object, &TableDef),
        proposed: &RecordBatch,
    ) -> Result<Resolved> {
        let keys = key.of_rows(proposed)?;
        let asked = keys.iter().flatten().map(Vec::as_slice);
        let existing = self.existing_rows(object.id, table, key, asked).await?;
        let pairs = self.pairs(proposed, &keys, &existing)?;
        let updates = self.updates((update, key), &upsert.rules, (object, table), pairs).await?;
        let walk = Walk::over(&keys, &existing, &updates)?;
        let key_of = |row: u32| updates.keys[row as usize].as_deref();
        let moved = walk.moved.iter().filter_map(|row| key_of(*row));
        let others = self.existing_rows(object.id, table, key, moved).await?;
        let stands = |row: &&u32| {
            key_of(**row).is_some_and(|key| others.places.contains_key(key) && !walk.vacated.contains(key))
        };
        if let Some(row) = walk.moved.iter().find(stands) {
            return Err(key.taken(object, table, &updates.rows, *row as usize));
        }
        let replaced = take(&existing.rows, walk.replaced)?;
        let written = take(&concat(table, &[proposed.clone(), updates.rows.clone()])?, walk.written)?;
        Ok(Resolved { replaced, written })
    }

    /// Each proposed row whose key is there, with its number and the row that is there.
    fn pairs(&self, proposed: &RecordBatch, keys: &Keys, existing: &Existing) -> Result<RecordBatch> {
        let place = |key: &Option<Vec<u8>>| existing.places.get(key.as_ref()?).copied();
        let places = keys.iter().zip(0u32..).filter_map(|(key, i)| Some((i, place(key)?)));
        let (numbers, there): (Vec<u32>, Vec<u32>) = places.unzip();
        pairs(take(&existing.rows, there)?, take(proposed, numbers.clone())?, &numbers)
    }

    /// Runs DO UPDATE over pairs.
    async fn updates(
        &mut self,
        (update, key): (&BoundQuery, &UniqueKey),
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
        let keys = key.of_rows(&rows)?;
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

/// The decisions of DO UPDATE, row after row in the order proposed.
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
    fn over(keys: &'k Keys, existing: &Existing, updates: &'k Updates) -> Result<Walk<'k>> {
        let mut walk = Walk::default();
        // Keys that rows written by this statement have.
        let mut written: HashSet<&[u8]> = HashSet::new();
        for (i, key) in keys.iter().enumerate() {
            let Some(key) = key.as_deref() else {
                walk.written.push(i as u32);
                continue;
            };
            if written.contains(key) {
                return Err(second_time());
            }
            let there = existing.places.get(key).filter(|_| !walk.vacated.contains(key));
            let Some(place) = there else {
                walk.written.push(i as u32);
                written.insert(key);
                continue;
            };
            let Some(row) = updates.by_number.get(&i) else { continue };
            let new_key = updates.keys[*row as usize].as_deref();
            walk.replaced.push(*place);
            walk.written.push(keys.len() as u32 + row);
            walk.vacated.insert(key);
            if new_key != Some(key) {
                walk.moved.push(*row);
            }
            written.extend(new_key);
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
