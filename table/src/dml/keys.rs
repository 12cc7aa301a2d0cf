//! Rows of a table by a unique key, as a statement sees them: committed ones and those of its own block.
//!
//! In a block a key that would stand twice is refused by the statement that writes it; outside of one the commit
//! refuses it, which is the same moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use weir_catalog::{Object, TableDef};
use weir_common::key::{KeyEncoder, KeyRange};
use weir_common::text::Formatter;
use weir_common::{Error, ObjectId, Result, SqlState};
use weir_planner::bound::Arbiter;
use weir_runtime::{RelationIndex, Unique};

use super::rows::concat;
use crate::indexes::relation_index;
use crate::query::{Overlay, Purpose};
use crate::session::Session;
use crate::transaction::Block;

/// Encoded values of a key; `None` where one of them is NULL, which is like no other.
pub(super) type Keys = Vec<Option<Vec<u8>>>;

/// A key that no two rows of a table may share.
pub(crate) enum UniqueKey {
    /// The primary key, which rows are stored by: positions of its columns.
    Primary { positions: Vec<usize>, encoder: KeyEncoder },
    /// A UNIQUE index.
    Index { index: RelationIndex, unique: Unique, encoder: KeyEncoder },
}

/// Rows that are there, by key.
pub(crate) struct Existing {
    pub rows: RecordBatch,
    pub places: HashMap<Vec<u8>, u32>,
}

impl UniqueKey {
    /// The primary key of a table that has one.
    pub(crate) fn primary(table: &TableDef) -> Result<UniqueKey> {
        let positions = table.key_positions();
        let types: Vec<_> = positions.iter().map(|i| table.columns[*i].column.ty.arrow()).collect();
        Ok(UniqueKey::Primary { positions, encoder: KeyEncoder::new(&types)? })
    }

    fn index(index: RelationIndex) -> Result<Option<UniqueKey>> {
        let Some(unique) = index.unique.clone() else { return Ok(None) };
        let types: Vec<_> = index.spec.columns.types().iter().map(|ty| ty.arrow()).collect();
        Ok(Some(UniqueKey::Index { index, unique, encoder: KeyEncoder::new(&types)? }))
    }

    /// Whether it is the one that ON CONFLICT names.
    pub(super) fn is(&self, arbiter: Arbiter) -> bool {
        match (self, arbiter) {
            (UniqueKey::Primary { .. }, Arbiter::PrimaryKey) => true,
            (UniqueKey::Index { index, .. }, Arbiter::Index(id)) => index.spec.id == id,
            _ => false,
        }
    }

    /// The key of each row.
    pub(super) fn of_rows(&self, rows: &RecordBatch) -> Result<Keys> {
        let (columns, encoder): (Vec<ArrayRef>, _) = match self {
            UniqueKey::Primary { positions, encoder } => {
                (positions.iter().map(|i| ArrayRef::clone(rows.column(*i))).collect(), encoder)
            }
            UniqueKey::Index { index, encoder, .. } => (index.spec.columns.values(rows)?, encoder),
        };
        let keys = encoder.encode_rows(&columns, rows.num_rows())?;
        let is_null = |row: usize| columns.iter().any(|column| column.is_null(row));
        Ok(keys.iter().enumerate().map(|(row, key)| (!is_null(row)).then(|| key.to_vec())).collect())
    }

    /// 23505 for a row whose key is taken.
    pub(super) fn taken(&self, object: &Object, table: &TableDef, rows: &RecordBatch, row: usize) -> Error {
        let positions = match self {
            UniqueKey::Primary { positions, .. } => positions,
            UniqueKey::Index { index, unique, .. } => return index.duplicate(unique, rows, row),
        };
        let names: Vec<_> = positions.iter().map(|i| table.columns[*i].column.name.as_str()).collect();
        let value = |i: &usize| {
            let mut text = String::new();
            let formatter = Formatter::new(&table.columns[*i].column.ty, &Default::default());
            formatter.write(rows.column(*i).as_ref(), row, &mut text);
            text
        };
        let values: Vec<_> = positions.iter().map(value).collect();
        let constraint = table.key_constraint_name.clone();
        let constraint = constraint.unwrap_or_else(|| format!("{}_pkey", object.name));
        let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
        let detail = format!("Key ({})=({}) already exists.", names.join(", "), values.join(", "));
        Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail)
    }
}

impl Session {
    /// The unique keys of a table, the primary one first.
    pub(super) fn unique_keys(&self, object: &Object, table: &TableDef) -> Result<Vec<UniqueKey>> {
        let mut keys = Vec::new();
        if !table.primary_key.is_empty() {
            keys.push(UniqueKey::primary(table)?);
        }
        let catalog = self.catalog();
        for (index, def) in catalog.indexes_of(object.id).filter(|(_, def)| def.unique) {
            keys.extend(UniqueKey::index(relation_index(&catalog, index.id, &index.name, def)?)?);
        }
        Ok(keys)
    }

    /// The rows of the table with these keys.
    pub(crate) async fn existing_rows(
        &mut self,
        id: ObjectId,
        table: &TableDef,
        key: &UniqueKey,
        keys: impl IntoIterator<Item = &[u8]>,
    ) -> Result<Existing> {
        let keys: BTreeSet<&[u8]> = keys.into_iter().collect();
        let snapshot = self.read(&[id], Purpose::Write).await?.remove(&id);
        let snapshot = snapshot.ok_or_else(|| Error::internal("the table was not read"))?;
        let stored = match key {
            UniqueKey::Primary { .. } => snapshot.points(&keys.iter().copied().collect::<Vec<_>>())?,
            UniqueKey::Index { index, .. } => {
                let entries = snapshot.index(index.spec.id);
                let entries = entries.ok_or_else(|| Error::internal("a UNIQUE index without entries"))?;
                let ranges: Vec<KeyRange> = keys.iter().map(|key| KeyRange::of_prefix(key)).collect();
                let found = entries.row_keys(&ranges, usize::MAX)?.unwrap_or_default();
                snapshot.points(&found.iter().map(Vec::as_slice).collect::<Vec<_>>())?
            }
        };
        let rows = match self.transaction.writes_of(id) {
            Some(changes) => {
                let overlay = Arc::new(Overlay::new(&table.relation_schema(), changes)?);
                let shown = overlay.lay_over(&stored)?;
                let wanted = key.of_rows(&shown)?;
                let is_wanted = |key: &Option<Vec<u8>>| key.as_deref().is_some_and(|key| keys.contains(key));
                let wanted: BooleanArray = wanted.iter().map(|key| Some(is_wanted(key))).collect();
                filter_record_batch(&shown, &wanted).map_err(Error::internal)?
            }
            None => stored,
        };
        let places = key.of_rows(&rows)?.into_iter().zip(0..);
        let places = places.filter_map(|(key, place)| Some((key?, place))).collect();
        Ok(Existing { rows, places })
    }

    /// In a block: refuses rows whose keys stand already, unless this statement removes them.
    pub(crate) async fn check_keys_free(
        &mut self,
        object: &Object,
        table: &TableDef,
        removed: &[RecordBatch],
        added: &[RecordBatch],
    ) -> Result<()> {
        if self.transaction.block() == Block::None {
            return Ok(());
        }
        let keys = self.unique_keys(object, table)?;
        self.check_free(object, table, &keys, (removed, added)).await
    }

    /// Refuses rows of which some key stands already, unless this statement removes the row that has it.
    pub(super) async fn check_free(
        &mut self,
        object: &Object,
        table: &TableDef,
        keys: &[UniqueKey],
        (removed, added): (&[RecordBatch], &[RecordBatch]),
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (removed, added) = (concat(table, removed)?, concat(table, added)?);
        for key in keys {
            let added_keys = key.of_rows(&added)?;
            let asked = added_keys.iter().flatten().map(Vec::as_slice);
            let existing = self.existing_rows(object.id, table, key, asked).await?;
            // How many rows have each key when the statement has removed what it removes.
            let mut counts: HashMap<Vec<u8>, i64> = HashMap::new();
            for there in key.of_rows(&existing.rows)?.into_iter().flatten() {
                *counts.entry(there).or_default() += 1;
            }
            for gone in key.of_rows(&removed)?.into_iter().flatten() {
                *counts.entry(gone).or_default() -= 1;
            }
            for (row, key_of_row) in added_keys.into_iter().enumerate() {
                let Some(key_of_row) = key_of_row else { continue };
                let count = counts.entry(key_of_row).or_default();
                *count += 1;
                if *count > 1 {
                    return Err(key.taken(object, table, &added, row));
                }
            }
        }
        Ok(())
    }
}
