//! What a session hands to whoever drives it (the wire protocol, the Table API): outcomes of statements,
//! parameters, notices, transaction status.
//!
//! Plain data; nothing here runs anything. Place in the flow: `Session::execute` makes an [`Outcome`], the
//! server writes it to the client.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use futures::stream::BoxStream;
use weir_common::{Result, SqlState, SqlType};
use weir_planner::{OutputColumn, ParsedStatement};

use crate::copy::{CopyIn, CopyOut};
use crate::query::KeptPlan;

/// Rows of a statement, made as they are polled. Dropping the stream cancels the statement.
pub type RowStream = BoxStream<'static, Result<RecordBatch>>;

/// What a statement gave.
pub enum Outcome {
    /// A result set, possibly empty. Batches have the columns in order; names are in `columns`. An error ends
    /// the stream and has failed the transaction block already.
    Rows { columns: Vec<OutputColumn>, stream: RowStream, tag: RowsTag },
    /// No result set, only a command tag.
    Command { tag: String },
    /// COPY FROM STDIN: text is to be pushed, and then [`crate::Session::finish_copy`] called.
    CopyIn(Box<CopyIn>),
    /// COPY TO STDOUT; the tag is `COPY` with the number of rows.
    CopyOut(CopyOut),
}

/// The command tag of a statement that returns rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsTag {
    /// The word and the number of rows: `SELECT 3`, `INSERT 0 1`.
    Counted(&'static str),
    /// Only the word: `SHOW`, `EXPLAIN`.
    Plain(&'static str),
}

impl RowsTag {
    /// The tag after `rows` rows went out.
    pub fn complete(&self, rows: u64) -> String {
        match self {
            RowsTag::Counted(word) => format!("{word} {rows}"),
            RowsTag::Plain(word) => (*word).to_string(),
        }
    }
}

/// A statement that was bound once: its parameters' types and its result columns are known.
#[derive(Clone)]
pub struct Prepared {
    /// The statement as parsed.
    pub statement: Arc<ParsedStatement>,
    /// The types of `$1`, `$2`, …, declared or inferred.
    pub params: Vec<SqlType>,
    /// The result columns; `None` when the statement returns no rows.
    pub columns: Option<Vec<OutputColumn>>,
    /// Its read, compiled.
    pub(crate) kept: KeptPlan,
}

impl Prepared {
    /// Whether it changes nothing, so that it may be given up half-way.
    pub fn only_reads(&self) -> bool {
        use weir_planner::Statement;
        let writes = matches!(
            self.statement.statement,
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::Execute { .. }
        );
        self.columns.is_some() && !writes
    }
}

/// The value of a parameter.
#[derive(Clone, Debug)]
pub enum ParamValue {
    /// SQL NULL.
    Null,
    /// In PostgreSQL's text format, still to be read as the parameter's type.
    Text(String),
    /// An array of one element, of the Arrow type of the parameter's SQL type.
    Value(ArrayRef),
}

/// Where a session stands with its transaction block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a block (`I`).
    Idle,
    /// In a block (`T`).
    InTransaction,
    /// In a block that an error has aborted (`E`).
    Failed,
}

/// How an implicit block (a simple query of several statements) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImplicitEnd {
    /// Every statement went well.
    Commit,
    /// One failed; the writes of the block are forgotten.
    Rollback,
}

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Notice,
    Warning,
}

impl Severity {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
        }
    }
}

/// Something to tell the user that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub state: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Notice {
    /// A NOTICE (00000).
    pub fn notice(message: impl Into<String>) -> Notice {
        Notice {
            severity: Severity::Notice,
            state: SqlState::SUCCESSFUL_COMPLETION,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// A WARNING with its SQLSTATE.
    pub fn warning(state: SqlState, message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Warning, state, ..Notice::notice(message) }
    }

    /// The same notice with another SQLSTATE.
    #[must_use]
    pub fn with_state(mut self, state: SqlState) -> Notice {
        self.state = state;
        self
    }
}
