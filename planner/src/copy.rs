//! COPY, bound: where rows go or come from, and how their text looks.
//!
//! Place in the flow: the binder makes these, `table/src/copy` carries them out. Invariant: options are checked
//! here, so whoever reads or writes the text can rely on them.

use datafusion::logical_expr::Expr;
use weir_common::ObjectId;

use crate::bound::{BoundStatement, RowRules};

/// COPY … FROM STDIN.
#[derive(Clone, Debug)]
pub struct BoundCopyFrom {
    pub table: ObjectId,
    /// Positions of the columns that a record has, in its order.
    pub columns: Vec<usize>,
    pub rules: RowRules,
    /// The values of the table's other columns, by position; they name no column.
    pub defaults: Vec<(usize, Expr)>,
    pub options: CopyOptions,
}

/// COPY … TO STDOUT.
#[derive(Clone, Debug)]
pub struct BoundCopyTo {
    /// What yields the rows: a query, or DML with RETURNING.
    pub statement: Box<BoundStatement>,
    pub options: CopyOptions,
}

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Fields between delimiters, with backslash escapes.
    Text,
    /// Fields between delimiters, quoted where need be.
    Csv,
}

/// Whether the first line holds column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyHeader {
    Absent,
    Present,
    /// They must be the names of the columns read.
    Match,
}

/// How rows are written as text. Delimiter, quote and escape are ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub header: CopyHeader,
    pub quote: u8,
    pub escape: u8,
    /// For each column: values that are not NULL are always quoted (COPY TO).
    pub force_quote: Vec<bool>,
    /// For each column: an unquoted value is never NULL (COPY FROM).
    pub force_not_null: Vec<bool>,
    /// For each column: a quoted value may be NULL too (COPY FROM).
    pub force_null: Vec<bool>,
}
