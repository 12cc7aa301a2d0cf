//! `BoundStatement`: a statement whose names and types are resolved.
//!
//! Place in the flow: [`crate::bind`] makes it, the session layer carries it out. Invariant: a bound statement
//! refers to objects by id and holds no unresolved name, except names of objects that are yet to be created and
//! of prepared statements, which are the session's.

use std::collections::BTreeMap;

use datafusion::logical_expr::{Expr, LogicalPlan};
use weir_catalog::{CheckDef, ColumnDef, Object, ObjectKind, SequenceDef, TableDef, WatermarkDef};
use weir_common::{Column, Error, ObjectId, RelationKey, Result, SqlType};

use crate::ast::ParsedStatement;
use crate::copy::{BoundCopyFrom, BoundCopyTo};

/// A column of a result as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// May be the same for several columns.
    pub name: String,
    pub ty: SqlType,
    /// Relation and column id it is taken from unchanged.
    pub origin: Option<(ObjectId, u16)>,
}

/// A query: its columns are those of `plan`, in order.
#[derive(Clone, Debug)]
pub struct BoundQuery {
    /// Column names in it are unique and mean nothing.
    pub plan: LogicalPlan,
    pub columns: Vec<OutputColumn>,
    /// Tables, materialized views and sources it reads, each once.
    pub relations: Vec<ObjectId>,
    /// Whether ORDER BY decides the order of rows.
    pub ordered: bool,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct BoundInsert {
    pub table: ObjectId,
    pub rules: RowRules,
    /// Yields all columns of the table in order, defaults filled in, in the columns' types.
    pub query: BoundQuery,
    pub conflict: Option<BoundConflict>,
    /// RETURNING, over the rows inserted or updated.
    pub returning: Option<BoundQuery>,
}

/// What a table's definition says of a row that is written: expressions over the table's columns by name.
#[derive(Clone, Debug, Default)]
pub struct RowRules {
    /// Positions of generated columns, with their values.
    pub generated: Vec<(usize, Expr)>,
    /// CHECK constraints in the order in which they are checked: by name.
    pub checks: Vec<(String, Expr)>,
}

/// ON CONFLICT on the primary key.
#[derive(Clone, Debug)]
pub struct BoundConflict {
    /// Over given rows (number int8, row that is there, row proposed): yields (number, new row) for those to be
    /// updated. `None` is DO NOTHING.
    pub update: Option<BoundQuery>,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct BoundUpdate {
    pub table: ObjectId,
    pub rules: RowRules,
    /// Yields the columns of the old row, those of the new row, with RETURNING those of the joined items, and the
    /// row's number.
    pub query: BoundQuery,
    /// Whether the last column numbers the rows of a table without a key: the first row of a number counts.
    pub is_numbered: bool,
    /// RETURNING, over the new row and the columns of the joined items.
    pub returning: Option<BoundQuery>,
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct BoundDelete {
    pub table: ObjectId,
    /// Yields the rows to delete, with RETURNING the columns of the joined items, and the row's number.
    pub query: BoundQuery,
    /// As in [`BoundUpdate`].
    pub is_numbered: bool,
    /// RETURNING, over the old row and the columns of the joined items.
    pub returning: Option<BoundQuery>,
}

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
    /// Sequences of serial and identity columns, to be created with the table.
    pub sequences: Vec<OwnedSequence>,
    /// Sequences that defaults use.
    pub depends_on: Vec<ObjectId>,
    /// The whole statement.
    pub definition: String,
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
    /// A table's definition from now on; only ever more columns, at the end.
    pub table: Option<TableDef>,
    /// New columns that get a value in every row there is.
    pub filled: Vec<String>,
    /// Columns in which no row may have NULL.
    pub not_null: Vec<String>,
    /// New constraints, which every row must meet.
    pub must_hold: Vec<CheckDef>,
    /// Sequences that new defaults use.
    pub depends_on: Vec<ObjectId>,
    /// Whether a name changes that views may use.
    pub renames: bool,
    pub notices: Vec<String>,
}

impl BoundAlter {
    pub(crate) fn of(kind: DropKind, object: &Object) -> BoundAlter {
        let table = match &object.kind {
            ObjectKind::Table(table) => Some(table.clone()),
            _ => None,
        };
        BoundAlter {
            kind,
            object: Some(object.id),
            name: object.name.clone(),
            table,
            filled: Vec::new(),
            not_null: Vec::new(),
            must_hold: Vec::new(),
            depends_on: Vec::new(),
            renames: false,
            notices: Vec::new(),
        }
    }

    pub(crate) fn missing(kind: DropKind, name: String) -> BoundAlter {
        let notices = vec![format!("relation \"{name}\" does not exist, skipping")];
        BoundAlter {
            kind,
            object: None,
            name,
            table: None,
            filled: Vec::new(),
            not_null: Vec::new(),
            must_hold: Vec::new(),
            depends_on: Vec::new(),
            renames: false,
            notices,
        }
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
    pub watermark: Option<WatermarkDef>,
    pub options: BTreeMap<String, String>,
    pub definition: String,
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
    pub query: BoundQuery,
    pub options: BTreeMap<String, String>,
    pub definition: String,
    pub depends_on: Vec<ObjectId>,
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

/// The stage of planning that EXPLAIN shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainStage {
    /// The one that runs: the batch plan of a query, the stream plan of a view.
    #[default]
    Default,
    Logical,
    Stream,
    Job,
}

/// How EXPLAIN prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
}

/// EXPLAIN's parenthesised options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    pub stage: ExplainStage,
    pub format: ExplainFormat,
    /// EXPLAIN ANALYZE.
    pub analyze: bool,
}

/// How far a SET reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetScope {
    Session,
    /// SET LOCAL: to the end of the transaction.
    Transaction,
}

/// What DISCARD throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    All,
    Plans,
    Sequences,
    Temp,
}

/// What is done with a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavepointAction {
    /// SAVEPOINT.
    Set,
    /// RELEASE SAVEPOINT.
    Release,
    /// ROLLBACK TO SAVEPOINT.
    RollBackTo,
}

/// BEGIN's and SET TRANSACTION's modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    pub read_only: Option<bool>,
    /// Isolation level as `SHOW transaction_isolation` prints it; every level is given strict serializability.
    pub isolation: Option<&'static str>,
}

/// SUBSCRIBE: the changes of a relation as rows.
#[derive(Clone, Debug)]
pub struct BoundSubscribe {
    pub relation: ObjectId,
    /// `op`, `ts`, then the relation's.
    pub columns: Vec<OutputColumn>,
    pub from: SubscribeFrom,
    pub progress: bool,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// With the rows there are now, as inserts.
    Snapshot,
    /// With the first change after now.
    Now,
    /// With the first change after the one with this `ts`, in microseconds since 1970.
    After(i64),
}

/// How long a cursor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holdability {
    /// To the end of its transaction.
    Transaction,
    /// To CLOSE, or the end of the session.
    WithHold,
}

/// FETCH answers with the rows, MOVE only counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchKind {
    Fetch,
    Move,
}

impl FetchKind {
    /// The command's name.
    pub fn word(self) -> &'static str {
        match self {
            FetchKind::Fetch => "FETCH",
            FetchKind::Move => "MOVE",
        }
    }
}

/// How many rows FETCH takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCount {
    Rows(usize),
    All,
}

/// A statement with every name and type resolved.
#[derive(Clone, Debug)]
pub enum BoundStatement {
    /// A statement without content (`;`).
    Empty,
    /// SELECT, VALUES, TABLE; also what SHOW TABLES, DESCRIBE and their like are lowered to.
    Query(BoundQuery),
    Insert(BoundInsert),
    Update(BoundUpdate),
    Delete(BoundDelete),
    /// TRUNCATE: all rows of each table.
    Truncate(Vec<BoundDelete>),
    CopyFrom(BoundCopyFrom),
    CopyTo(BoundCopyTo),
    CreateTable(BoundCreateTable),
    CreateSource(BoundCreateSource),
    CreateView(BoundCreateView),
    CreateMaterializedView(BoundCreateView),
    CreateSink(BoundCreateSink),
    CreateSequence(BoundCreateSequence),
    Alter(BoundAlter),
    Drop(BoundDrop),
    Explain {
        options: ExplainOptions,
        statement: Box<BoundStatement>,
    },
    /// EXPLAIN MATERIALIZED VIEW name / SINK name: the plan that runs.
    ExplainObject {
        options: ExplainOptions,
        object: ObjectId,
    },
    /// SHOW name; `all` for SHOW ALL.
    ShowVariable {
        name: String,
    },
    /// SHOW CREATE x: one row with name and home form.
    ShowCreate {
        object: ObjectId,
    },
    /// SET; `None` is DEFAULT.
    SetVariable {
        scope: SetScope,
        name: String,
        value: Option<String>,
    },
    SetTransaction(TransactionModes),
    /// RESET name; `all` for RESET ALL.
    Reset {
        name: String,
    },
    Begin(TransactionModes),
    Commit,
    Rollback,
    Savepoint {
        name: String,
        action: SavepointAction,
    },
    /// Waits until every healthy view reflects all writes before it.
    Flush,
    /// Waits until the view reflects all writes before it.
    Wait {
        view: ObjectId,
    },
    /// Stops the job of a materialized view or sink for a while.
    Pause {
        object: ObjectId,
    },
    Resume {
        object: ObjectId,
    },
    Subscribe(BoundSubscribe),
    /// DECLARE … CURSOR FOR a query or SUBSCRIBE.
    DeclareCursor {
        name: String,
        hold: Holdability,
        statement: Box<BoundStatement>,
    },
    /// FETCH and MOVE; `timeout_ms`: how long to wait for rows of a subscription.
    Fetch {
        name: String,
        kind: FetchKind,
        count: FetchCount,
        timeout_ms: Option<u64>,
    },
    /// CLOSE; `None` is ALL.
    CloseCursor {
        name: Option<String>,
    },
    Prepare {
        name: String,
        /// Types as declared; the rest is inferred.
        types: Vec<Option<SqlType>>,
        statement: Box<ParsedStatement>,
    },
    /// EXECUTE: `args` is a one-row query without FROM, or `None` without arguments. The session casts its columns
    /// to the parameters' types by assignment.
    Execute {
        name: String,
        args: Option<BoundQuery>,
    },
    /// DEALLOCATE name; `None` is ALL.
    Deallocate {
        name: Option<String>,
    },
    Discard(DiscardTarget),
    /// COMMENT ON; `column` is a column id. `None` removes the comment.
    Comment {
        object: ObjectId,
        column: Option<u16>,
        comment: Option<String>,
    },
    /// CLOSE name / CLOSE ALL, LISTEN-less UNLISTEN, and others that clients send and that need nothing done here;
    /// `tag` is the command tag to answer with.
    NoOperation {
        tag: &'static str,
    },
    /// REFRESH MATERIALIZED VIEW: a NOTICE, views are always fresh.
    Refresh {
        object: ObjectId,
    },
}

impl BoundStatement {
    /// The columns of the rows this statement answers with; `None` when it answers with a command tag only, or
    /// with rows whose shape is the session's to say (EXPLAIN, SHOW).
    pub fn columns(&self) -> Option<&[OutputColumn]> {
        let query = match self {
            BoundStatement::Query(query) => Some(query),
            BoundStatement::Insert(insert) => insert.returning.as_ref(),
            BoundStatement::Update(update) => update.returning.as_ref(),
            BoundStatement::Delete(delete) => delete.returning.as_ref(),
            BoundStatement::Subscribe(subscribe) => return Some(&subscribe.columns),
            _ => None,
        };
        query.map(|query| query.columns.as_slice())
    }
}
