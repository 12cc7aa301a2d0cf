//! `Layout`: how the rows of one relation become keys and values, and how versions of a row net out.
//!
//! ```text
//!   backend key    relation id u32 big-endian | storage key (canonical encoding of the key columns)
//!   backend value  keyed: row         bag: weight i64 little-endian | row
//! ```
//! In a keyed relation the newest epoch that says anything about a key decides; within it, weights of equal
//! rows add up, so that the order of changes does not matter. In a bag all weights of a key add up; its keys leave
//! NULLs at the end out, so that a column added later changes none of them.

use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::row::{EncodedRows, RowCodec};
use weir_common::{ChangeBatch, Epoch, Error, ObjectId, RelationKey, RelationSchema, Result};

/// Encodings of one relation.
pub(super) struct Layout {
    pub(super) id: ObjectId,
    pub(super) is_bag: bool,
    pub(super) schema: SchemaRef,
    pub(super) codec: RowCodec,
    /// The columns from here on are in the value; those before are in the key alone.
    stored_from: usize,
    key_columns: Vec<usize>,
    encoder: KeyEncoder,
}

/// One change of one row, as it lies in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) epoch: Epoch,
    pub(super) row: &'a [u8],
    /// Inserts minus deletes.
    pub(super) weight: i64,
}

/// A row and how often it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weighted<'a> {
    pub(super) weight: i64,
    pub(super) row: &'a [u8],
}

/// What all entries of one key do to what was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net<'a> {
    /// Nothing.
    Unchanged,
    /// Replaces it by this row, or by nothing.
    Set(Option<&'a [u8]>),
    /// Adds to its weight.
    Add(Weighted<'a>),
}

impl Layout {
    pub(super) fn new(id: ObjectId, schema: &RelationSchema) -> Result<Layout> {
        let types = schema.data_types();
        let key_columns = schema.key_columns();
        let key_types: Vec<_> = key_columns.iter().map(|position| types[*position].clone()).collect();
        let columns: Vec<_> = schema.columns.iter().map(|column| column.id).zip(types).collect();
        Ok(Layout {
            id,
            is_bag: matches!(schema.key, RelationKey::Bag),
            schema: schema.arrow(),
            codec: RowCodec::new(&columns)?,
            stored_from: 0,
            key_columns,
            encoder: KeyEncoder::new(&key_types)?,
        })
    }

    /// The same keys, with values that hold the columns from `first` on alone: what is read then are those.
    pub(super) fn storing_from(self, first: usize) -> Result<Layout> {
        let fields = self.schema.fields()[first..].to_vec();
        let columns: Vec<_> =
            fields.iter().zip(1u16..).map(|(field, id)| (id, field.data_type().clone())).collect();
        let codec = RowCodec::new(&columns)?;
        Ok(Layout { schema: Arc::new(Schema::new(fields)), codec, stored_from: first, ..self })
    }

    /// Keys and rows of a batch.
    pub(super) fn encode(&self, batch: &ChangeBatch) -> Result<(EncodedKeys, EncodedRows)> {
        let stored = &batch.columns()[self.stored_from..];
        Ok((self.keys(batch)?, self.codec.encode_rows(stored, batch.len())?))
    }

    /// Keys of a batch.
    pub(super) fn keys(&self, batch: &ChangeBatch) -> Result<EncodedKeys> {
        let key: Vec<_> =
            self.key_columns.iter().map(|position| batch.rows.column(*position).clone()).collect();
        let keys = self.encoder.encode_rows(&key, batch.len())?;
        Ok(if self.is_bag { self.encoder.without_last_nulls(keys, &key) } else { keys })
    }

    /// How many columns a key has.
    pub(super) fn key_width(&self) -> usize {
        self.key_columns.len()
    }

    /// The schema of these columns.
    pub(super) fn project(&self, project: &[usize]) -> SchemaRef {
        let fields: Vec<_> = project.iter().map(|position| self.schema.fields()[*position].clone()).collect();
        Arc::new(Schema::new(fields))
    }

    /// The first bytes of every backend key of the relation.
    pub(super) fn prefix(&self) -> [u8; 4] {
        bounds(self.id).0
    }

    /// The first backend key after all of the relation.
    pub(super) fn end(&self) -> [u8; 4] {
        bounds(self.id).1
    }

    pub(super) fn backend_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix(), key].concat()
    }

    pub(super) fn backend_value(&self, row: Weighted<'_>) -> Vec<u8> {
        if self.is_bag { [&row.weight.to_le_bytes(), row.row].concat() } else { row.row.to_vec() }
    }

    pub(super) fn read_value<'a>(&self, value: &'a [u8]) -> Result<Weighted<'a>> {
        if !self.is_bag {
            return Ok(Weighted { weight: 1, row: value });
        }
        let (weight, row) = value
            .split_first_chunk::<8>()
            .ok_or_else(|| Error::corrupted(format!("a stored row of relation {} is too short", self.id)))?;
        Ok(Weighted { weight: i64::from_le_bytes(*weight), row })
    }

    /// What the entries of one key, in order of (epoch, row), come to.
    pub(super) fn net<'a>(&self, entries: &[Entry<'a>]) -> Net<'a> {
        if self.is_bag { net_of_bag(entries) } else { net_of_keyed(entries) }
    }

    /// What is there after a change; weight 0 when nothing is.
    pub(super) fn change<'a>(&self, before: Option<Weighted<'a>>, net: Net<'a>) -> Weighted<'a> {
        let before = before.unwrap_or(Weighted { weight: 0, row: &[] });
        match net {
            Net::Unchanged => before,
            Net::Set(row) => Weighted { weight: i64::from(row.is_some()), row: row.unwrap_or_default() },
            Net::Add(added) => {
                let row = if before.weight > 0 { before.row } else { added.row };
                Weighted { weight: before.weight + added.weight, row }
            }
        }
    }
}

fn net_of_bag<'a>(entries: &[Entry<'a>]) -> Net<'a> {
    let weight: i64 = entries.iter().map(|entry| entry.weight).sum();
    // Equal rows may differ in representation (−0.0 and 0.0): show one that was inserted.
    match entries.iter().find(|entry| entry.weight > 0).or(entries.first()) {
        Some(entry) if weight != 0 => Net::Add(Weighted { weight, row: entry.row }),
        _ => Net::Unchanged,
    }
}

fn net_of_keyed<'a>(entries: &[Entry<'a>]) -> Net<'a> {
    let mut decided = Net::Unchanged;
    for epoch in entries.chunk_by(|a, b| a.epoch == b.epoch) {
        let mut deleted = false;
        let mut inserted = None;
        for same_row in epoch.chunk_by(|a, b| a.row == b.row) {
            match same_row.iter().map(|entry| entry.weight).sum::<i64>() {
                0 => {}
                1.. => inserted = Some(same_row[0].row),
                _ => deleted = true,
            }
        }
        if inserted.is_some() || deleted {
            decided = Net::Set(inserted);
        }
    }
    decided
}

/// The first bytes of every backend key of a relation, and the first key after all of it.
pub(super) fn bounds(id: ObjectId) -> ([u8; 4], [u8; 4]) {
    (id.0.to_be_bytes(), (id.0 + 1).to_be_bytes())
}
