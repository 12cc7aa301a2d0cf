//! RETURNING: a query over the rows that a statement changes, and what the statement answers.

use arrow::array::RecordBatch;
use futures::StreamExt;
use weir_common::Result;
use weir_planner::bound::BoundQuery;

use crate::outcome::{Outcome, RowsTag};
use crate::session::Session;

/// The rows of RETURNING with their query; `None` without RETURNING.
pub(super) type Returned<'q> = Option<(&'q BoundQuery, Vec<RecordBatch>)>;

impl Session {
    /// Computes RETURNING over these rows.
    pub(super) async fn returning<'q>(
        &mut self,
        query: Option<&'q BoundQuery>,
        rows: &[RecordBatch],
    ) -> Result<Returned<'q>> {
        let Some(query) = query else { return Ok(None) };
        Ok(Some((query, self.query_given(query, rows).await?)))
    }
}

/// What a statement answers that changed `count` rows. `word` begins its tag: `INSERT 0`.
pub(super) fn answer(word: &'static str, count: usize, returned: Returned<'_>) -> Outcome {
    match returned {
        None => Outcome::Command { tag: format!("{word} {count}") },
        Some((query, rows)) => Outcome::Rows {
            columns: query.columns.clone(),
            stream: futures::stream::iter(rows.into_iter().map(Ok)).boxed(),
            tag: RowsTag::Counted(word),
        },
    }
}
