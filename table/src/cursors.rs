//! Cursors: DECLARE, FETCH, MOVE, CLOSE, over queries and over subscriptions.
//!
//! A cursor over a query reads its rows as they are asked for, from the snapshot it was declared on, and ends with its
//! transaction unless it was declared WITH HOLD. A cursor over SUBSCRIBE lives until CLOSE or the end of the session:
//! FETCH gives what was committed before it and not fetched yet, and with a timeout waits that long for the first row.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use parking_lot::Mutex;
use weir_common::{Error, Result, SqlState};
use weir_planner::bound::{FetchCount, FetchKind, Holdability};
use weir_planner::{BoundStatement, OutputColumn};

use crate::changefeed::Changefeed;
use crate::outcome::{Outcome, RowStream, RowsTag};
use crate::query::Purpose;
use crate::session::Session;
use crate::transaction::Block;

/// The open cursors of a session.
#[derive(Default)]
pub(crate) struct Cursors(BTreeMap<String, Cursor>);

struct Cursor {
    columns: Vec<OutputColumn>,
    rows: CursorRows,
    /// Rows that were read and not fetched yet.
    ahead: VecDeque<RecordBatch>,
    ends_with_transaction: bool,
}

enum CursorRows {
    /// Never locked: the mutex only lets a session be shared by reference.
    Query(Mutex<RowStream>),
    Changes(Box<Changefeed>),
}

impl Cursors {
    /// The result columns of FETCH, or 34000.
    pub(crate) fn columns(&self, name: &str) -> Result<&[OutputColumn]> {
        self.0.get(name).map(|cursor| cursor.columns.as_slice()).ok_or_else(|| missing(name))
    }

    /// Closes what lives no longer than the transaction.
    pub(crate) fn end_transaction(&mut self) {
        self.0.retain(|_, cursor| !cursor.ends_with_transaction);
    }

    /// CLOSE; `None` is ALL.
    pub(crate) fn close(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.0.clear(),
            Some(name) => drop(self.0.remove(name).ok_or_else(|| missing(name))?),
        }
        Ok(())
    }
}

impl Session {
    /// DECLARE.
    pub(crate) async fn declare_cursor(
        &mut self,
        name: String,
        hold: Holdability,
        statement: BoundStatement,
    ) -> Result<Outcome> {
        if self.cursors.0.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, message));
        }
        let is_query = matches!(statement, BoundStatement::Query(_));
        let ends_with_transaction = is_query && hold == Holdability::Transaction;
        if ends_with_transaction && self.transaction.block() != Block::Explicit {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message)
                .with_hint("Send BEGIN before it, or declare the cursor WITH HOLD."));
        }
        let (columns, rows) = match statement {
            BoundStatement::Query(query) => {
                let stream = self.query_stream(&query, Purpose::Select).await?;
                (query.columns, CursorRows::Query(Mutex::new(stream)))
            }
            BoundStatement::Subscribe(bound) => {
                let feed = Box::new(self.changefeed(&bound).await?);
                (bound.columns, CursorRows::Changes(feed))
            }
            _ => return Err(Error::internal("a cursor for neither a query nor SUBSCRIBE")),
        };
        let mut cursor = Cursor { columns, rows, ahead: VecDeque::new(), ends_with_transaction };
        cursor.begin().await?;
        self.cursors.0.insert(name, cursor);
        Ok(Outcome::Command { tag: "DECLARE CURSOR".into() })
    }

    /// FETCH and MOVE.
    pub(crate) async fn fetch(
        &mut self,
        name: &str,
        kind: FetchKind,
        count: FetchCount,
        timeout: Option<Duration>,
    ) -> Result<Outcome> {
        let wanted = match count {
            FetchCount::All => usize::MAX,
            FetchCount::Rows(rows) => rows,
        };
        let cursor = self.cursors.0.get_mut(name).ok_or_else(|| missing(name))?;
        cursor.read(wanted, timeout).await?;
        let batches = cursor.take(wanted);
        if kind == FetchKind::Move {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            return Ok(Outcome::Command { tag: format!("MOVE {rows}") });
        }
        let stream = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        Ok(Outcome::Rows { columns: cursor.columns.clone(), stream, tag: RowsTag::Counted("FETCH") })
    }
}

impl Cursor {
    /// A subscription's first rows are those of its snapshot.
    async fn begin(&mut self) -> Result<()> {
        if let CursorRows::Changes(feed) = &mut self.rows {
            let mut snapshot = feed.snapshot();
            while let Some(batch) = snapshot.next().await {
                self.ahead.push_back(batch?);
            }
        }
        Ok(())
    }

    fn rows_ahead(&self) -> usize {
        self.ahead.iter().map(RecordBatch::num_rows).sum()
    }

    /// Reads until `wanted` rows are there, or as many as there are now.
    async fn read(&mut self, wanted: usize, timeout: Option<Duration>) -> Result<()> {
        let ahead = self.rows_ahead();
        match &mut self.rows {
            CursorRows::Query(stream) => {
                let mut rows = ahead;
                while rows < wanted {
                    let Some(batch) = stream.get_mut().next().await else { break };
                    let batch = batch?;
                    rows += batch.num_rows();
                    self.ahead.push_back(batch);
                }
            }
            CursorRows::Changes(feed) => {
                if ahead < wanted {
                    self.ahead.extend(feed.next_committed().await?);
                }
                if let Some(timeout) = timeout
                    && self.rows_ahead() == 0
                {
                    let CursorRows::Changes(feed) = &mut self.rows else { return Ok(()) };
                    self.ahead.extend(first_rows(feed, timeout).await?);
                }
            }
        }
        Ok(())
    }

    /// Takes up to `wanted` rows of those that were read.
    fn take(&mut self, wanted: usize) -> Vec<RecordBatch> {
        let mut left = wanted;
        let mut taken = Vec::new();
        while left > 0 {
            let Some(batch) = self.ahead.pop_front() else { break };
            if batch.num_rows() > left {
                self.ahead.push_front(batch.slice(left, batch.num_rows() - left));
                taken.push(batch.slice(0, left));
                break;
            }
            left -= batch.num_rows();
            taken.push(batch);
        }
        taken
    }
}

/// The next rows of a feed, none when there are none within `timeout`.
async fn first_rows(feed: &mut Changefeed, timeout: Duration) -> Result<Vec<RecordBatch>> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        match tokio::time::timeout_at(deadline, feed.next()).await {
            Err(_) => return Ok(Vec::new()),
            Ok(Ok(batches)) if batches.is_empty() => {}
            Ok(result) => return result,
        }
    }
}

/// 34000.
fn missing(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
