//! Rows of a table by primary key, as a statement sees them: committed ones and those of its own block.
//!
//! In a block a key that would stand twice is refused by the statement that writes it; outside of one the commit
//! refuses it, which is the same moment.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::{ArrayRef, RecordBatch};
use weir_catalog::{Object, TableDef};
use weir_common::key::KeyEncoder;
use weir_common::text::Formatter;
use weir_common::{Error, ObjectId, Result, SqlState};

use super::rows::concat;
use crate::query::{Overlay, Purpose};
use crate::session::Session;
use crate::transaction::Block;

/// The primary key of a table.
pub(super) struct PrimaryKey {
    positions: Vec<usize>,
    encoder: KeyEncoder,
}

/// Rows that are there, by key.
pub(super) struct Existing {
    pub rows: RecordBatch,
    pub places: HashMap<Vec<u8>, u32>,
}

impl PrimaryKey {
    pub(super) fn new(table: &TableDef) -> Result<PrimaryKey> {
        let positions = table.key_positions();
        let types: Vec<_> = positions.iter().map(|i| table.columns[*i].column.ty.arrow()).collect();
        Ok(PrimaryKey { positions, encoder: KeyEncoder::new(&types)? })
    }

    /// The key of each row.
    pub(super) fn of_rows(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let columns: Vec<ArrayRef> =
            self.positions.iter().map(|i| ArrayRef::clone(rows.column(*i))).collect();
        Ok(self.encoder.encode(&columns)?.iter().map(<[u8]>::to_vec).collect())
    }

    /// 23505 for a row whose key is taken.
    pub(super) fn taken(&self, object: &Object, table: &TableDef, rows: &RecordBatch, row: usize) -> Error {
        let names: Vec<_> = self.positions.iter().map(|i| table.columns[*i].column.name.as_str()).collect();
        let value = |i: &usize| {
            let mut text = String::new();
            let formatter = Formatter::new(&table.columns[*i].column.ty, &Default::default());
            formatter.write(rows.column(*i).as_ref(), row, &mut text);
            text
        };
        let values: Vec<_> = self.positions.iter().map(value).collect();
        let constraint = table.key_constraint_name.clone();
        let constraint = constraint.unwrap_or_else(|| format!("{}_pkey", object.name));
        let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
        let detail = format!("Key ({})=({}) already exists.", names.join(", "), values.join(", "));
        Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail)
    }
}

impl Session {
    /// The rows of the table with these keys.
    pub(super) async fn existing_rows(
        &mut self,
        id: ObjectId,
        table: &TableDef,
        keys: impl IntoIterator<Item = &[u8]>,
    ) -> Result<Existing> {
        let keys: BTreeSet<&[u8]> = keys.into_iter().collect();
        let schema = table.relation_schema();
        let snapshot = self.read(&[id], Purpose::Write).await?.remove(&id);
        let snapshot = snapshot.ok_or_else(|| Error::internal("the table was not read"))?;
        let stored = snapshot.points(&keys.iter().copied().collect::<Vec<_>>())?;
        let rows = match self.transaction.writes_of(id) {
            Some(changes) => Overlay::new(&schema, changes)?.shown(&stored, &keys)?,
            None => stored,
        };
        let places = PrimaryKey::new(table)?.of_rows(&rows)?.into_iter().zip(0..).collect();
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
        if self.transaction.block() == Block::None || table.primary_key.is_empty() {
            return Ok(());
        }
        let key = PrimaryKey::new(table)?;
        let added = concat(table, added)?;
        let added_keys = key.of_rows(&added)?;
        let removed: HashSet<Vec<u8>> = key.of_rows(&concat(table, removed)?)?.into_iter().collect();
        let asked = added_keys.iter().filter(|key| !removed.contains(*key)).map(Vec::as_slice);
        let existing = self.existing_rows(object.id, table, asked).await?;
        let mut seen = HashSet::new();
        match added_keys.iter().position(|key| existing.places.contains_key(key) || !seen.insert(key)) {
            Some(row) => Err(key.taken(object, table, &added, row)),
            None => Ok(()),
        }
    }
}
