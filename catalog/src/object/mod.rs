//! `Object`: one entry of the catalog. What is particular to a kind is in the file of that kind.
//!
//! An object is immutable; a change of it is a new `Object` with the same id. Everything here is encoded with
//! postcard into the catalog log, so a change of these types is a change of the log's format version.

mod dead_letters;
mod index;
mod materialized_view;
mod sequence;
mod sink;
mod source;
mod table;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_common::{Column, ObjectId, RelationKey, RelationSchema};

pub use dead_letters::LETTER_COLUMNS;
pub(crate) use dead_letters::dead_letters;
pub use index::{IndexColumn, IndexDef, IndexedValue};
pub use materialized_view::MaterializedViewDef;
pub use sequence::SequenceDef;
pub use sink::{SinkDef, SinkTable};
pub use source::{SourceDef, WatermarkDef};
pub use table::{CheckDef, ColumnDef, Generation, IdentityKind, ShownColumn, TableDef};
pub use view::ViewDef;

/// One object of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its OID; never reused.
    pub id: ObjectId,
    /// The schema it is in; [`ObjectId`] 0 for a schema.
    pub schema: ObjectId,
    /// Its name, unique among the relations (or the schemas) beside it.
    pub name: String,
    /// The role that created it.
    pub owner: String,
    /// What it is.
    pub kind: ObjectKind,
    /// The statement that created it, as the user wrote it.
    pub definition: String,
    /// The objects it reads; they cannot be dropped before it.
    pub depends_on: Vec<ObjectId>,
    /// `COMMENT ON`.
    pub comment: Option<String>,
    /// `COMMENT ON COLUMN`, by column id.
    pub column_comments: BTreeMap<u16, String>,
}

/// What an object is, with the definition of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A namespace.
    Schema,
    /// A stored table.
    Table(TableDef),
    /// A query with a name, expanded where it is used.
    View(ViewDef),
    /// A query whose result is kept up to date by a job.
    MaterializedView(MaterializedViewDef),
    /// A stream that is read from outside and not stored.
    Source(SourceDef),
    /// A job that writes a relation's changes outside.
    Sink(SinkDef),
    /// A generator of numbers.
    Sequence(SequenceDef),
    /// Entries by other columns than a relation's key.
    Index(IndexDef),
}

impl Object {
    /// An object without comments.
    pub fn new(
        id: ObjectId,
        schema: ObjectId,
        name: impl Into<String>,
        owner: impl Into<String>,
        kind: ObjectKind,
    ) -> Object {
        Object {
            id,
            schema,
            name: name.into(),
            owner: owner.into(),
            kind,
            definition: String::new(),
            depends_on: Vec::new(),
            comment: None,
            column_comments: BTreeMap::new(),
        }
    }

    /// The same object, created by this statement.
    #[must_use]
    pub fn with_definition(mut self, definition: impl Into<String>) -> Object {
        self.definition = definition.into();
        self
    }

    /// The same object, reading these others.
    #[must_use]
    pub fn with_depends_on(mut self, depends_on: Vec<ObjectId>) -> Object {
        self.depends_on = depends_on;
        self
    }

    /// Columns and key of an object that can be read, as it is stored: every kind but schemas, sinks and indexes.
    pub fn relation_schema(&self) -> Option<RelationSchema> {
        match &self.kind {
            ObjectKind::Schema | ObjectKind::Sink(_) | ObjectKind::Index(_) => None,
            ObjectKind::Table(table) => Some(table.relation_schema()),
            ObjectKind::View(view) => Some(bag(&view.columns)),
            ObjectKind::MaterializedView(view) => Some(view.schema.clone()),
            ObjectKind::Source(source) => Some(bag(&source.columns)),
            ObjectKind::Sequence(_) => Some(bag(&SequenceDef::columns())),
        }
    }

    /// Its columns as they are seen, with their numbers as ids; a schema has none, a sink's are those it writes.
    pub fn columns(&self) -> Vec<Column> {
        match &self.kind {
            ObjectKind::Sink(sink) => sink.columns.clone(),
            ObjectKind::Table(table) => table.shown().iter().map(ShownColumn::column).collect(),
            _ => self.relation_schema().map_or_else(Vec::new, |schema| schema.columns),
        }
    }

    /// Whether the object's rows are kept in the relation store.
    pub fn is_stored(&self) -> bool {
        matches!(self.kind, ObjectKind::Table(_) | ObjectKind::MaterializedView(_))
    }

    /// The index that enforces the primary key: its OID and name.
    pub fn key_index(&self) -> Option<(ObjectId, &str)> {
        match &self.kind {
            ObjectKind::Table(table) => table.key_index(),
            _ => None,
        }
    }
}

impl ObjectKind {
    /// What users call it, as in `cannot drop table t`.
    pub fn noun(&self) -> &'static str {
        match self {
            ObjectKind::Schema => "schema",
            ObjectKind::Table(_) => "table",
            ObjectKind::View(_) => "view",
            ObjectKind::MaterializedView(_) => "materialized view",
            ObjectKind::Source(_) => "source",
            ObjectKind::Sink(_) => "sink",
            ObjectKind::Sequence(_) => "sequence",
            ObjectKind::Index(_) => "index",
        }
    }
}

fn bag(columns: &[Column]) -> RelationSchema {
    RelationSchema { columns: columns.to_vec(), key: RelationKey::Bag }
}
