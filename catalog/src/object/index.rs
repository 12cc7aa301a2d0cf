//! A secondary index: `CREATE INDEX`, or what enforces a UNIQUE constraint.
//!
//! The primary key's index is no object of its own but part of its table, whose rows are stored in the key's order.

use serde::{Deserialize, Serialize};
use weir_common::{ObjectId, SqlType};

/// What an index is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexDef {
    /// The table or materialized view.
    pub relation: ObjectId,
    /// Its key columns, in order.
    pub columns: Vec<IndexColumn>,
    /// Ids of the columns of `INCLUDE`.
    pub include: Vec<u16>,
    /// Whether no two rows may have the same key.
    pub unique: bool,
    /// Whether a UNIQUE constraint made it: it goes with the constraint alone.
    pub is_constraint: bool,
}

/// A key column of an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexColumn {
    pub value: IndexedValue,
    /// The order that was asked for. Entries are ascending whatever it is: no plan relies on it.
    pub descending: bool,
    pub nulls_first: bool,
}

/// What a key column holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IndexedValue {
    /// A column of the relation, by id.
    Column(u16),
    /// An expression over the relation's columns, as SQL text.
    Expression { sql: String, ty: SqlType },
}

impl IndexColumn {
    /// A column of the relation in ascending order.
    pub fn plain(column: u16) -> IndexColumn {
        IndexColumn { value: IndexedValue::Column(column), descending: false, nulls_first: false }
    }

    /// Bits of `pg_index.indoption`: 1 descending, 2 NULLs first.
    pub fn option_bits(&self) -> i32 {
        i32::from(self.descending) + 2 * i32::from(self.nulls_first)
    }
}

impl IndexDef {
    /// Ids of the relation's columns that are key columns.
    pub fn plain_columns(&self) -> impl Iterator<Item = u16> {
        self.columns.iter().filter_map(|column| match column.value {
            IndexedValue::Column(id) => Some(id),
            IndexedValue::Expression { .. } => None,
        })
    }
}
