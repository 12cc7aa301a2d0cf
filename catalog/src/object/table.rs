//! A stored table: `CREATE TABLE`. Rows come by DML, a primary key is enforced.

use serde::{Deserialize, Serialize};
use weir_common::{Column, ObjectId, RelationKey, RelationSchema};

use super::WatermarkDef;

/// A table's columns and primary key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableDef {
    /// As rows are stored: a column keeps its place for as long as the table is there, dropped or not. Statements see
    /// [`TableDef::shown`].
    pub columns: Vec<ColumnDef>,
    /// Ids of the primary key's columns, in the key's order; empty when there is none.
    pub primary_key: Vec<u16>,
    /// `t_pkey`, or what `CONSTRAINT` said; `None` when there is no key.
    pub key_constraint_name: Option<String>,
    /// The OID under which the primary key shows as an index (an id of its own); `None` when there is no key.
    pub key_index_id: Option<ObjectId>,
    /// CHECK constraints, in the order written.
    pub checks: Vec<CheckDef>,
    pub watermark: Option<WatermarkDef>,
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
    /// The column was dropped: rows may still hold a value, which nobody sees. With an id, that column has its place, name
    /// and number instead, because its type was changed.
    Dropped(Option<u16>),
}

/// Whether a statement may give the value of an identity column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityKind {
    Always,
    ByDefault,
}

/// A column of a table that is there, as statements see it.
#[derive(Clone, Copy, Debug)]
pub struct ShownColumn<'t> {
    /// Its place in stored rows.
    pub position: usize,
    /// `attnum`: the id it had when it was made, whatever its type has become.
    pub number: u16,
    pub def: &'t ColumnDef,
}

impl ShownColumn<'_> {
    /// The column under its number.
    pub fn column(&self) -> Column {
        Column { id: self.number, ..self.def.column.clone() }
    }
}

impl ColumnDef {
    fn replacement(&self) -> Option<u16> {
        match self.generation {
            Generation::Dropped(replacement) => replacement,
            _ => None,
        }
    }

    /// Whether it is not there any more.
    pub fn is_dropped(&self) -> bool {
        matches!(self.generation, Generation::Dropped(_))
    }

    /// Takes the column away; another may have its place.
    pub fn drop_for(&mut self, replacement: Option<u16>) {
        self.column.name = format!("........pg.dropped.{}........", self.column.id);
        self.column.nullable = true;
        self.default_sql = None;
        self.generation = Generation::Dropped(replacement);
    }

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

    /// The columns that are there, in the order of `SELECT *`.
    pub fn shown(&self) -> Vec<ShownColumn<'_>> {
        let replacements: Vec<u16> = self.columns.iter().filter_map(ColumnDef::replacement).collect();
        let firsts = self.columns.iter().filter(|c| !replacements.contains(&c.column.id));
        firsts.filter_map(|first| self.shown_for(first)).collect()
    }

    /// What has a column's place now.
    fn shown_for<'t>(&'t self, first: &'t ColumnDef) -> Option<ShownColumn<'t>> {
        let mut id = first.column.id;
        loop {
            let position = self.columns.iter().position(|c| c.column.id == id)?;
            let def = &self.columns[position];
            match def.generation {
                Generation::Dropped(replacement) => id = replacement?,
                _ => return Some(ShownColumn { position, number: first.column.id, def }),
            }
        }
    }

    /// The number that the column with this id shows under.
    pub fn number(&self, id: u16) -> u16 {
        self.shown().into_iter().find(|shown| shown.def.column.id == id).map_or(id, |shown| shown.number)
    }

    /// Whether the column with this number got another type since the table was made.
    pub fn is_retyped(&self, number: u16) -> bool {
        self.shown().iter().any(|shown| shown.number == number && shown.def.column.id != number)
    }

    /// The column of this name.
    pub fn find(&self, name: &str) -> Option<ShownColumn<'_>> {
        self.shown().into_iter().find(|shown| shown.def.column.name == name)
    }

    /// The position of the column that the watermark is for.
    pub fn time_column(&self) -> Option<usize> {
        let watermark = self.watermark.as_ref()?;
        self.columns.iter().position(|c| c.column.id == watermark.column)
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
