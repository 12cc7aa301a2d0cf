//! The Table API for embedding: SQL in, batches out, without a session of one's own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use weir_common::{Error, Result};

use crate::environment::Environment;
use crate::outcome::Outcome;
use crate::session::SessionOptions;

impl Environment {
    /// Runs one or several statements, each committed on its own, and returns the rows of the last one.
    ///
    /// ```no_run
    /// # async fn example(env: std::sync::Arc<weir_table::Environment>) -> weir_common::Result<()> {
    /// env.execute("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS rows FROM orders").await?;
    /// let batches = env.execute("SELECT rows FROM n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(self: &Arc<Self>, sql: &str) -> Result<Vec<RecordBatch>> {
        let mut session = self.session(SessionOptions::default())?;
        let mut rows = Vec::new();
        for statement in session.parse(sql)? {
            let prepared = session.prepare(&statement, &[])?;
            rows = match session.execute(&prepared, Vec::new()).await? {
                Outcome::Rows { stream, .. } => stream.try_collect().await?,
                Outcome::Command { .. } => Vec::new(),
                Outcome::CopyIn(_) | Outcome::CopyOut(_) => {
                    return Err(
                        Error::unsupported("COPY without a client").with_hint("Use INSERT or SELECT.")
                    );
                }
            };
        }
        Ok(rows)
    }
}
