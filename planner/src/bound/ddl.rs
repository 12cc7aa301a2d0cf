//! Bound DDL: what is created, altered, dropped.

use std::collections::BTreeMap;

use weir_catalog::{CheckDef, ColumnDef, IndexDef, Object, ObjectKind, SequenceDef, TableDef, WatermarkDef};
use weir_common::{Column, Error, ObjectId, RelationKey, Result, SqlType};

use super::{BoundQuery, OutputColumn};
use crate::ast::Watermark;

/// A name for an object to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewName {
    pub schema: ObjectId,
    pub name: String,
}

/// CREATE TABLE.
#[derive(Clone, Debug)]
pub struct BoundCreateTable {
    pub name: NewName,
    pub if_not_exists: bool,
    /// Whether the name is taken: then IF NOT EXISTS was given, and nothing is to be done but a NOTICE.
    pub exists: bool,
    pub columns: Vec<ColumnDef>,
    /// Column ids of the primary key; empty for a bag.
    pub primary_key: Vec<u16>,
    /// Name of the primary key constraint: `orders_pkey` unless given.
    pub key_constraint_name: Option<String>,
    pub checks: Vec<CheckDef>,
    /// UNIQUE constraints.
    pub unique_keys: Vec<UniqueKey>,
    /// Sequences of serial and identity columns, to be created with the table.
    pub sequences: Vec<OwnedSequence>,
    /// Sequences that defaults use.
    pub depends_on: Vec<ObjectId>,
    pub watermark: Option<WatermarkDef>,
    /// The whole statement.
    pub definition: String,
}

/// A UNIQUE constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    pub name: String,
    /// Ids of its columns, in order.
    pub columns: Vec<u16>,
}

/// CREATE INDEX.
#[derive(Clone, Debug)]
pub struct BoundCreateIndex {
    pub name: NewName,
    /// Whether the name is taken: then IF NOT EXISTS was given.
    pub exists: bool,
    /// Whether it must not stand in a transaction block.
    pub concurrently: bool,
    pub index: IndexDef,
    pub definition: String,
}

/// CREATE TABLE … AS query.
#[derive(Clone, Debug)]
pub struct BoundCreateTableAs {
    pub table: BoundCreateTable,
    /// The query that gives the rows; `None` with NO DATA.
    pub query_sql: Option<String>,
}

/// A sequence that a column brings along.
#[derive(Clone, Debug)]
pub struct OwnedSequence {
    pub column: u16,
    pub name: String,
    pub def: SequenceDef,
}

/// CREATE SEQUENCE.
#[derive(Clone, Debug)]
pub struct BoundCreateSequence {
    pub name: NewName,
    pub if_not_exists: bool,
    pub exists: bool,
    pub def: SequenceDef,
    pub definition: String,
}

/// ALTER TABLE: what the table is after it.
#[derive(Clone, Debug)]
pub struct BoundAlter {
    pub kind: DropKind,
    /// `None`: IF EXISTS found nothing.
    pub object: Option<ObjectId>,
    /// Its name from now on.
    pub name: String,
    /// A table's definition while its rows get their values; only ever more columns, at the end.
    pub table: Option<TableDef>,
    /// New columns that get a value in every row there is.
    pub filled: Vec<FilledColumn>,
    /// Then these change places.
    pub retyped: Vec<RetypedColumn>,
    pub dropped: Vec<DroppedColumn>,
    /// Columns in which no row may have NULL.
    pub not_null: Vec<String>,
    /// New constraints, which every row must meet.
    pub must_hold: Vec<CheckDef>,
    /// New UNIQUE constraints.
    pub new_keys: Vec<UniqueKey>,
    /// Indexes of UNIQUE constraints that go.
    pub dropped_keys: Vec<ObjectId>,
    /// Sequences that new defaults use.
    pub depends_on: Vec<ObjectId>,
    /// Whether a name changes that views may use.
    pub renames: bool,
    pub notices: Vec<String>,
}

/// A column and the SQL text of its value in the rows there are; without one it is the column's default.
#[derive(Clone, Debug)]
pub struct FilledColumn {
    pub name: String,
    pub value: Option<String>,
}

/// A column that another one, of a new type, takes the place of.
#[derive(Clone, Debug)]
pub struct RetypedColumn {
    /// Ids of the old one and the new one.
    pub from: u16,
    pub to: u16,
    pub name: String,
}

/// A column that goes.
#[derive(Clone, Debug)]
pub struct DroppedColumn {
    pub name: String,
    /// `attnum`.
    pub number: u16,
    /// Whether what depends on it goes with it.
    pub cascade: bool,
}

impl BoundAlter {
    /// ALTER of an object that changes nothing yet.
    pub(crate) fn of(kind: DropKind, object: &Object) -> BoundAlter {
        let table = match &object.kind {
            ObjectKind::Table(table) => Some(table.clone()),
            _ => None,
        };
        BoundAlter { object: Some(object.id), table, ..BoundAlter::missing(kind, object.name.clone()) }
    }

    /// ALTER of what is not there.
    pub(crate) fn missing(kind: DropKind, name: String) -> BoundAlter {
        BoundAlter {
            kind,
            object: None,
            name,
            table: None,
            filled: Vec::new(),
            retyped: Vec::new(),
            dropped: Vec::new(),
            not_null: Vec::new(),
            must_hold: Vec::new(),
            new_keys: Vec::new(),
            dropped_keys: Vec::new(),
            depends_on: Vec::new(),
            renames: false,
            notices: Vec::new(),
        }
    }

    /// 0A000 for a column that the same statement gives another type.
    pub(crate) fn check_not_retyped(&self, column: &str) -> Result<()> {
        if self.retyped.iter().all(|retyped| retyped.name != column) {
            return Ok(());
        }
        let what = "a new type and another change of the same column in one statement";
        Err(Error::unsupported(what).with_hint("Send two statements."))
    }

    /// A table's definition when its rows have their values.
    pub fn finished(&self) -> Option<TableDef> {
        let mut table = self.table.clone()?;
        for RetypedColumn { from, to, name } in &self.retyped {
            let mut nullable = true;
            for old in table.columns.iter_mut().filter(|c| c.column.id == *from) {
                nullable = old.column.nullable;
                old.drop_for(Some(*to));
            }
            for new in table.columns.iter_mut().filter(|c| c.column.id == *to) {
                new.column.name.clone_from(name);
                new.column.nullable = nullable;
            }
        }
        Some(table)
    }

    pub(crate) fn table_mut(&mut self) -> Result<&mut TableDef> {
        self.table.as_mut().ok_or_else(|| Error::internal("ALTER of columns of what is no table"))
    }
}

impl BoundCreateTable {
    /// What identifies a row of the new table.
    pub fn key(&self) -> RelationKey {
        if self.primary_key.is_empty() {
            return RelationKey::Bag;
        }
        let position = |id: &u16| self.columns.iter().position(|c| c.column.id == *id);
        RelationKey::Columns(self.primary_key.iter().filter_map(position).collect())
    }
}

/// CREATE SOURCE. Whether the options make sense is the connector's to say.
#[derive(Clone, Debug)]
pub struct BoundCreateSource {
    pub name: NewName,
    pub if_not_exists: bool,
    pub exists: bool,
    /// Empty when the connector defines them itself.
    pub columns: Vec<Column>,
    /// Bound when the columns are known.
    pub watermark: Option<Watermark>,
    pub options: BTreeMap<String, String>,
    pub definition: String,
    /// The table of ON ERROR INTO.
    pub depends_on: Vec<ObjectId>,
}

/// CREATE [OR REPLACE] VIEW and CREATE MATERIALIZED VIEW.
#[derive(Clone, Debug)]
pub struct BoundCreateView {
    pub name: NewName,
    pub if_not_exists: bool,
    pub exists: bool,
    /// The view that OR REPLACE replaces.
    pub replaces: Option<ObjectId>,
    /// Its output columns carry the view's column names, which are distinct.
    pub query: BoundQuery,
    /// The text of the query alone, as written.
    pub query_sql: String,
    pub definition: String,
    /// Everything the query names directly, plain views included.
    pub depends_on: Vec<ObjectId>,
    /// The table that gets the rows whose expressions fail; `None` when they stop the job.
    pub letters: Option<ObjectId>,
    pub emission: Emission,
    pub ttl: StateTtl,
    /// The same as SQL text: what stands before AS, and what stands behind the query.
    pub emission_sql: [String; 2],
}

/// What a materialized view does with event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// EMIT ON WINDOW CLOSE: rows show when they are final.
    pub on_close: bool,
    /// LATE INTO: the table that gets the rows that come too late.
    pub late: Option<ObjectId>,
    /// So much behind the inputs' watermarks are the view's, in microseconds.
    pub lateness_micros: i64,
}

/// `state_ttl`: what a materialized view may forget of its state, although rows to come might still need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateTtl {
    /// Of all state that nothing else bounds, in microseconds.
    pub all: Option<i64>,
    /// Of the rows that a join keeps of one relation, by its name.
    pub of_relations: BTreeMap<String, i64>,
    /// Whether it is event time that has to pass, not the clock.
    pub by_event_time: bool,
}

impl StateTtl {
    /// Whether nothing is forgotten.
    pub fn is_none(&self) -> bool {
        self.all.is_none() && self.of_relations.is_empty()
    }
}

impl BoundCreateView {
    /// The view's columns.
    pub fn columns(&self) -> Vec<Column> {
        columns_of(&self.query)
    }
}

/// CREATE SINK … FROM relation or AS query.
#[derive(Clone, Debug)]
pub struct BoundCreateSink {
    pub name: NewName,
    pub if_not_exists: bool,
    pub exists: bool,
    /// The relation named after FROM; `None` for AS query.
    pub from: Option<ObjectId>,
    /// The table that it writes into; the query's columns have the types of the table's then.
    pub into: Option<BoundSinkTable>,
    pub query: BoundQuery,
    pub options: BTreeMap<String, String>,
    pub definition: String,
    pub depends_on: Vec<ObjectId>,
}

/// The table that a sink writes into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSinkTable {
    pub table: ObjectId,
    pub name: String,
    /// Ids of the table's columns that the query's columns go into.
    pub columns: Vec<u16>,
    /// The query's columns that are the table's primary key; `None` when it has none, or gets some of it otherwise.
    pub key: Option<Vec<usize>>,
}

/// The columns that a relation made of this query has: numbered from 1, all nullable.
pub fn columns_of(query: &BoundQuery) -> Vec<Column> {
    let column = |(i, c): (usize, &OutputColumn)| Column {
        id: u16::try_from(i + 1).unwrap_or(u16::MAX),
        name: c.name.clone(),
        ty: if c.ty == SqlType::Unknown { SqlType::Text } else { c.ty.clone() },
        nullable: true,
    };
    query.columns.iter().enumerate().map(column).collect()
}

/// Kinds of objects that DROP, SHOW CREATE and COMMENT name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropKind {
    Table,
    View,
    MaterializedView,
    Source,
    Sink,
    Sequence,
    Index,
}

impl DropKind {
    /// As PostgreSQL's messages say it: `materialized view`.
    pub fn noun(self) -> &'static str {
        match self {
            DropKind::Table => "table",
            DropKind::View => "view",
            DropKind::MaterializedView => "materialized view",
            DropKind::Source => "source",
            DropKind::Sink => "sink",
            DropKind::Sequence => "sequence",
            DropKind::Index => "index",
        }
    }
}

/// DROP.
#[derive(Clone, Debug)]
pub struct BoundDrop {
    pub kind: DropKind,
    /// Objects that exist, in the order given.
    pub objects: Vec<ObjectId>,
    /// Names that IF EXISTS forgives; each deserves a NOTICE.
    pub missing: Vec<String>,
    /// Whether dependents go too; otherwise they are an error (2BP01), which the session layer raises.
    pub cascade: bool,
    pub if_exists: bool,
}
