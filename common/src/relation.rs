//! What a relation looks like to the engine: its columns, and what identifies a row.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::types::SqlType;

/// One column. Its `id` never changes and is never reused within its relation; encodings refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Stable number of the column, from 1 (PostgreSQL's `attnum`).
    pub id: u16,
    /// Name as the user sees it.
    pub name: String,
    /// Its SQL type.
    pub ty: SqlType,
    /// Whether NULL is a value of it.
    pub nullable: bool,
}

/// What identifies a row of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelationKey {
    /// These columns (positions) identify a row: at most one row a key. A later insert of a key follows the
    /// delete of its predecessor.
    Columns(Vec<usize>),
    /// Nothing does: the relation is a bag, the whole row is the key and rows have multiplicities.
    Bag,
}

/// Columns and key of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationSchema {
    /// In the order of `SELECT *`. A table without a primary key is a bag.
    pub columns: Vec<Column>,
    /// What identifies a row.
    pub key: RelationKey,
}

impl RelationSchema {
    /// The Arrow schema of a batch of this relation; every field is nullable, since NOT NULL is a constraint
    /// checked at the door and not a property that kernels may rely on.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(|c| Field::new(&c.name, c.ty.arrow(), true)).collect::<Vec<_>>(),
        ))
    }

    /// The Arrow type of each column.
    pub fn data_types(&self) -> Vec<DataType> {
        self.columns.iter().map(|c| c.ty.arrow()).collect()
    }

    /// Positions of the columns that make the storage key: the key's, or all of them for a bag.
    pub fn key_columns(&self) -> Vec<usize> {
        match &self.key {
            RelationKey::Columns(columns) => columns.clone(),
            RelationKey::Bag => (0..self.columns.len()).collect(),
        }
    }
}
