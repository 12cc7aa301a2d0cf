//! COPY: rows as text, in from the client and out to it.
//!
//! ```text
//!   CopyData bytes ─► records ─► columns ─► rows of the table ─► one commit     (FROM STDIN)
//!   rows of a query ─► encode ─► a line each                                     (TO STDOUT)
//! ```
//! Place in the flow: `Session::execute` answers COPY with an outcome; the server moves the bytes. Invariant: a
//! COPY FROM is atomic, nothing of it is written before [`Session::finish_copy`].

mod decode;
mod encode;
mod records;

use std::sync::Arc;

use weir_common::{ChangeBatch, Result};
use weir_planner::copy::{BoundCopyFrom, BoundCopyTo};

pub use decode::CopyIn;
pub use encode::CopyEncoder;

use crate::outcome::{Outcome, RowStream};
use crate::session::Session;

/// Rows on their way to the client as text.
pub struct CopyOut {
    /// Columns of a row.
    pub columns: usize,
    pub stream: RowStream,
    pub encoder: CopyEncoder,
}

impl Session {
    /// Begins a COPY FROM STDIN: the client is to send its text.
    pub(crate) fn begin_copy(&mut self, copy: &BoundCopyFrom) -> Result<Outcome> {
        self.transaction.check_writable("COPY FROM", self.default_read_only())?;
        let (object, table) = self.target(copy.table)?;
        let options = self.settings.format_options();
        CopyIn::new(object, table, copy, options).map(|copy| Outcome::CopyIn(Box::new(copy)))
    }

    /// Takes a piece of a COPY's text, when there is memory for it; else 53200 after a while.
    pub async fn push_copy(&self, copy: &mut CopyIn, text: &[u8]) -> Result<()> {
        copy.push(text)?;
        self.env.room_for(copy.held_bytes()).await
    }

    /// Ends a COPY FROM STDIN whose text has all come: writes its rows. Tag: `COPY n`. An error fails the
    /// transaction block.
    pub async fn finish_copy(&mut self, copy: Box<CopyIn>) -> Result<Outcome> {
        let written = self.write_copied(*copy).await;
        self.note_failure(written).map(|rows| Outcome::Command { tag: format!("COPY {rows}") })
    }

    async fn write_copied(&mut self, copy: CopyIn) -> Result<usize> {
        let id = copy.table();
        let rows = copy.finish()?;
        let (object, table) = self.target(id)?;
        self.check_keys_free(&object, &table, &[], &rows).await?;
        let count = rows.iter().map(|batch| batch.num_rows()).sum();
        self.write(id, rows.into_iter().map(ChangeBatch::inserts).collect(), None).await?;
        Ok(count)
    }

    /// Runs a COPY TO STDOUT.
    pub(crate) async fn copy_out(&mut self, copy: BoundCopyTo) -> Result<Outcome> {
        let BoundCopyTo { statement, options } = copy;
        match Box::pin(self.run_rows(*statement)).await? {
            Outcome::Rows { columns, stream, .. } => {
                let encoder = CopyEncoder::new(&columns, options, &self.settings.format_options());
                Ok(Outcome::CopyOut(CopyOut { columns: columns.len(), stream, encoder }))
            }
            _ => Err(weir_common::Error::internal("COPY TO of a statement without rows")),
        }
    }
}

/// The text of a line or a value as a CONTEXT shows it.
fn shown(text: &str) -> String {
    const SHOWN_BYTES: usize = 100;
    if text.len() <= SHOWN_BYTES {
        return text.to_owned();
    }
    let mut end = SHOWN_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// Whose object a COPY writes; shared by its parts.
type Target = Arc<weir_catalog::Object>;
