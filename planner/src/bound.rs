//! `BoundStatement`: a statement whose names and types are resolved.
//!
//! Place in the flow: [`crate::bind`] makes it, the session layer carries it out. Invariant: a bound statement
//! refers to objects by id and holds no unresolved name, except names of objects that are yet to be created and
//! of prepared statements, which are the session's.

mod ddl;

use datafusion::logical_expr::{Expr, LogicalPlan};
use weir_common::{ObjectId, SqlType};

use crate::ast::ParsedStatement;
use crate::copy::{BoundCopyFrom, BoundCopyTo};

pub use ddl::{
    BoundAlter, BoundCreateIndex, BoundCreateSequence, BoundCreateSink, BoundCreateSource, BoundCreateTable,
    BoundCreateTableAs, BoundCreateView, BoundDrop, BoundSinkTable, DropKind, DroppedColumn, Emission,
    FilledColumn, NewName, OwnedSequence, RetypedColumn, StateTtl, UniqueKey, columns_of,
};

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

/// A key that decides whether a row conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbiter {
    PrimaryKey,
    /// A UNIQUE index.
    Index(ObjectId),
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub struct BoundConflict {
    /// The keys it speaks of; one for DO UPDATE.
    pub arbiters: Vec<Arbiter>,
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

/// The stage of planning that EXPLAIN shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainStage {
    /// The one that runs: the batch plan of a query, the stream plan of a view.
    #[default]
    Default,
    Logical,
    Stream,
    Job,
    /// What state the plan keeps, and what limits it.
    State,
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
    /// Where the relation's are in its stored rows.
    pub positions: Vec<usize>,
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
    CreateTableAs(BoundCreateTableAs),
    CreateSource(BoundCreateSource),
    CreateView(BoundCreateView),
    CreateMaterializedView(BoundCreateView),
    CreateSink(BoundCreateSink),
    CreateSequence(BoundCreateSequence),
    CreateIndex(BoundCreateIndex),
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
    /// Ends the statement that creates a view or sink. One in another session's block has a name, but is no object yet.
    CancelJob {
        object: Option<ObjectId>,
        name: String,
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
