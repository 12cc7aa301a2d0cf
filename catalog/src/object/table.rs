//! A stored table: `CREATE TABLE`. Rows come by DML, a primary key is enforced.

use serde::{Deserialize, Serialize};
use weir_common::{Column, ObjectId, RelationKey, RelationSchema};

/// A table's columns and primary key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableDef {
    /// In the order of `SELECT *`.
    pub columns: Vec<ColumnDef>,
    /// Ids of the primary key's columns, in the key's order; empty when there is none.
    pub primary_key: Vec<u16>,
    /// `t_pkey`, or what `CONSTRAINT` said; `None` when there is no key.
    pub key_constraint_name: Option<String>,
    /// The OID under which the primary key shows as an index (an id of its own); `None` when there is no key.
    pub key_index_id: Option<ObjectId>,
    /// CHECK constraints, in the order written.
    pub checks: Vec<CheckDef>,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckDef {
    pub name: String,
    /// The condition as SQL text; it names columns of the table alone.
    pub condition_sql: String,
    /// Ids of the columns it names.
    pub columns: Vec<u16>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Name, type, id and whether NULL is allowed.
    pub column: Column,
    /// `DEFAULT`'s expression as SQL text.
    pub default_sql: Option<String>,
    /// Where its values come from when not from the statement that writes the row.
    pub generation: Generation,
}

/// What generates a column's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Generation {
    /// Nothing; the statement gives them, or the default does.
    #[default]
    Nothing,
    /// `GENERATED ALWAYS AS (expression) STORED`, the expression as SQL text.
    Stored(String),
    /// `GENERATED … AS IDENTITY`: a sequence of the column's own.
    Identity { kind: IdentityKind, sequence: ObjectId },
}

/// Whether a statement may give the value of an identity column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityKind {
    Always,
    ByDefault,
}

impl ColumnDef {
    /// A column whose values statements give.
    pub fn plain(column: Column, default_sql: Option<String>) -> ColumnDef {
        ColumnDef { column, default_sql, generation: Generation::Nothing }
    }
}

impl TableDef {
    /// Columns and key. Without a primary key the table is a bag.
    pub fn relation_schema(&self) -> RelationSchema {
        let columns: Vec<Column> = self.columns.iter().map(|c| c.column.clone()).collect();
        let key = if self.primary_key.is_empty() {
            RelationKey::Bag
        } else {
            RelationKey::Columns(self.key_positions())
        };
        RelationSchema { columns, key }
    }

    /// Positions of the primary key's columns.
    pub fn key_positions(&self) -> Vec<usize> {
        let position = |id: &u16| self.columns.iter().position(|c| c.column.id == *id);
        self.primary_key.iter().filter_map(position).collect()
    }

    /// OID and name of the primary key's index.
    pub fn key_index(&self) -> Option<(ObjectId, &str)> {
        Some((self.key_index_id?, self.key_constraint_name.as_deref()?))
    }
}
