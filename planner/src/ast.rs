//! The AST: our statements around sqlparser's queries and expressions.
//!
//! Place in the flow: [`crate::parse`] makes it, [`crate::bind`] takes it. Invariants: synonyms are normalised
//! here already; spans point into the whole query string, which [`ParsedStatement::source`] holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast::{
    AlterTableOperation, ColumnDef, DataType, Delete, Expr, Ident, Insert, ObjectName, Query,
    TableConstraint, Update,
};

use crate::bound::{
    DiscardTarget, DropKind, ExplainOptions, FetchCount, FetchKind, Holdability, SavepointAction, SetScope,
    TransactionModes,
};
use crate::position::SourceText;

/// One statement of a query string.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStatement {
    pub statement: Statement,
    /// Its own text, without the semicolon.
    pub sql: String,
    /// The query string it came in: error positions count in it.
    pub source: Arc<SourceText>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Query(Box<Query>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Truncate {
        names: Vec<ObjectName>,
    },
    Copy(Box<Copy>),
    CreateTable(CreateTable),
    CreateTableAs(CreateTableAs),
    CreateSource(CreateSource),
    CreateView(CreateView),
    CreateSink(CreateSink),
    CreateSequence(CreateSequence),
    CreateIndex(CreateIndex),
    Alter(Alter),
    Drop {
        kind: DropKind,
        names: Vec<ObjectName>,
        if_exists: bool,
        cascade: bool,
    },
    Show(Show),
    Explain {
        options: ExplainOptions,
        target: ExplainTarget,
    },
    Flush,
    /// WAIT FOR MATERIALIZED VIEW.
    Wait {
        name: ObjectName,
    },
    /// PAUSE a materialized view or sink.
    Pause {
        name: ObjectName,
    },
    Resume {
        name: ObjectName,
    },
    Subscribe(Subscribe),
    DeclareCursor {
        name: String,
        hold: Holdability,
        /// A query or SUBSCRIBE.
        statement: Box<ParsedStatement>,
    },
    Fetch {
        name: String,
        kind: FetchKind,
        count: FetchCount,
        options: Options,
    },
    /// `None` is ALL.
    CloseCursor {
        name: Option<String>,
    },
    Begin(TransactionModes),
    Commit,
    Rollback,
    Savepoint {
        name: String,
        action: SavepointAction,
    },
    Set {
        scope: SetScope,
        name: String,
        value: Option<String>,
    },
    SetTransaction(TransactionModes),
    Reset {
        name: String,
    },
    Discard(DiscardTarget),
    Prepare {
        name: String,
        types: Vec<DataType>,
        statement: Box<ParsedStatement>,
    },
    Execute {
        name: String,
        args: Vec<Expr>,
    },
    Deallocate {
        name: Option<String>,
    },
    Comment {
        target: CommentTarget,
        comment: Option<String>,
    },
    Refresh {
        name: ObjectName,
    },
    /// Valid PostgreSQL that clients send and that means nothing here.
    NoOperation {
        tag: &'static str,
    },
    /// Valid PostgreSQL or dialect that is not there: what it is, and what to do instead.
    Unsupported {
        what: String,
        hint: &'static str,
    },
}

/// COPY.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    pub source: CopySource,
    pub direction: CopyDirection,
    pub end: CopyEnd,
    /// Names in lower case, as in the parenthesised form; older forms are normalised to it.
    pub options: Vec<(String, CopyValue)>,
    /// WHERE was given.
    pub filtered: bool,
}

/// What COPY copies.
#[derive(Clone, Debug, PartialEq)]
pub enum CopySource {
    /// The columns are empty when none are named.
    Table {
        name: ObjectName,
        columns: Vec<Ident>,
    },
    Statement(Box<ParsedStatement>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    From,
    To,
}

/// Where the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    Client,
    File,
    Program,
}

/// The value of an option of COPY.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyValue {
    Absent,
    Text(String),
    Columns(Vec<Ident>),
    AllColumns,
}

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub constraints: Vec<TableConstraint>,
    pub options: Options,
}

/// `WITH (k = 'v', …)`: keys in lower case unless quoted, dots kept.
pub type Options = BTreeMap<String, String>;

/// CREATE TABLE … AS query.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTableAs {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub query: Box<Query>,
    /// The text of the query as written.
    pub query_sql: String,
    pub with_data: bool,
}

/// CREATE SOURCE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSource {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub constraints: Vec<TableConstraint>,
    pub watermark: Option<Watermark>,
    pub options: Options,
}

/// `WATERMARK FOR column AS expression`; without AS the column itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    pub column: Ident,
    pub expression: Expr,
}

/// CREATE [OR REPLACE] VIEW and CREATE MATERIALIZED VIEW.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    pub name: ObjectName,
    pub materialized: bool,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub query: Box<Query>,
    /// The text of the query as written.
    pub query_sql: String,
}

/// ALTER TABLE, or another kind of relation.
#[derive(Clone, Debug, PartialEq)]
pub struct Alter {
    pub kind: DropKind,
    pub name: ObjectName,
    pub if_exists: bool,
    pub operations: Vec<AlterTableOperation>,
}

/// CREATE INDEX.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    /// `None`: one is chosen.
    pub name: Option<Ident>,
    pub if_not_exists: bool,
    pub concurrently: bool,
    pub unique: bool,
    pub relation: ObjectName,
    pub columns: Vec<IndexItem>,
    pub include: Vec<Ident>,
}

/// A key column of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexItem {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

/// CREATE SEQUENCE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSequence {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub ty: Option<DataType>,
    pub options: SequenceOptions,
}

/// A sequence's options; what is not given has a default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceOptions {
    pub increment: Option<i64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub start: Option<i64>,
    pub cycle: bool,
}

/// CREATE SINK.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSink {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub input: SinkInput,
    pub options: Options,
}

/// What a sink writes.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkInput {
    Relation(ObjectName),
    Query(Box<Query>),
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub name: ObjectName,
    pub options: Options,
}

/// SHOW.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// A run-time parameter; `all` for SHOW ALL.
    Variable(String),
    Objects(ShowObjects),
    /// SHOW COLUMNS FROM x, DESCRIBE x.
    Columns(ObjectName),
    /// SHOW CREATE [kind] x.
    Create(ObjectName),
}

/// What SHOW lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowObjects {
    Tables,
    Sources,
    MaterializedViews,
    Views,
    Sinks,
    Jobs,
    Schemas,
    Databases,
}

/// What EXPLAIN explains.
#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    Statement(Box<ParsedStatement>),
    /// EXPLAIN MATERIALIZED VIEW name.
    Object(ObjectName),
}

/// What COMMENT ON comments.
#[derive(Clone, Debug, PartialEq)]
pub enum CommentTarget {
    Relation(ObjectName),
    Column { relation: ObjectName, column: Ident },
}
