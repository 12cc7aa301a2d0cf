//! COPY on the wire: text in from CopyData messages, rows out as CopyData messages.
//!
//! ```text
//! COPY … FROM STDIN ─► CopyInResponse, then CopyData* and CopyDone or CopyFail from the client ─► complete
//! COPY … TO STDOUT  ─► CopyOutResponse, CopyData for each row, CopyDone ─► complete
//! ```
//! Place in the flow: `simple` and `extended` begin a COPY; while one is under way `connection` hands its messages
//! here. A COPY FROM is a state of the client, not a loop, so that it is cancelled and ended like anything else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BufMut;
use futures::StreamExt;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use weir_common::{Error, Result, SqlState};
use weir_table::{CopyIn, CopyOut, Outcome, ParsedStatement};

use super::client::Client;
use super::frontend::FrontendMessage;
use super::report;
use super::rows::Failure;
use super::wire::{FLUSH_BYTES, violation};

/// A producer that is silent for this long gets its rows flushed.
const PAUSE: Duration = Duration::from_millis(5);
/// Format code of text.
const TEXT: i8 = 0;

/// A COPY FROM STDIN that waits for its text.
pub struct Copying {
    copy: Box<CopyIn>,
    pub origin: CopyOrigin,
    deadline: Option<Instant>,
}

/// The protocol that began a COPY.
pub enum CopyOrigin {
    /// The statements that follow in the same text.
    Simple(VecDeque<ParsedStatement>),
    Extended,
}

impl Client {
    /// Asks the client for the text of a COPY FROM STDIN.
    pub(super) async fn start_copy(&mut self, copy: Box<CopyIn>, origin: CopyOrigin) -> Result<(), Failure> {
        let columns = copy.columns();
        self.announce();
        self.writer.send(&CopyInResponse::new(TEXT, columns as i16, vec![i16::from(TEXT); columns]));
        let deadline = self.timeout("statement_timeout").map(|limit| Instant::now() + limit);
        self.copying = Some(Copying { copy, origin, deadline });
        Ok(self.writer.flush().await?)
    }

    /// Takes a message while a COPY FROM is under way.
    pub(super) async fn copy_message(&mut self, message: FrontendMessage) -> Result<(), Failure> {
        match message {
            FrontendMessage::CopyData(bytes) => Ok(self.copy_data(&bytes).await?),
            FrontendMessage::CopyDone => self.copy_done().await,
            FrontendMessage::CopyFail(reason) => {
                let message = format!("COPY from stdin failed: {reason}");
                Err(Error::new(SqlState::QUERY_CANCELED, message).into())
            }
            // A client that pipelines sends its Sync before it knows that text is wanted.
            FrontendMessage::Flush | FrontendMessage::Sync => Ok(()),
            _ => Err(violation("unexpected message type during COPY from stdin").into()),
        }
    }

    /// Takes a piece of the text.
    pub(super) async fn copy_data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(copying) = &mut self.copying else { return Ok(()) };
        if copying.deadline.is_some_and(|deadline| deadline < Instant::now()) {
            return Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout"));
        }
        self.session.push_copy(&mut copying.copy, bytes).await
    }

    async fn copy_done(&mut self) -> Result<(), Failure> {
        let Some(Copying { copy, origin, .. }) = self.copying.take() else { return Ok(()) };
        let tag = match self.session.finish_copy(copy).await? {
            Outcome::Command { tag } => tag,
            _ => return Err(Error::internal("COPY ended without a tag").into()),
        };
        self.announce();
        self.writer.send(&report::complete(tag));
        match origin {
            CopyOrigin::Extended => Ok(()),
            CopyOrigin::Simple(rest) => {
                self.run_statements(rest).await?;
                if self.copying.is_none() { self.ready().await } else { Ok(()) }
            }
        }
    }

    /// Sends the rows of a COPY TO STDOUT, each in a message of its own; the command tag.
    pub(super) async fn send_copy(&mut self, copy: CopyOut) -> Result<String, Failure> {
        let CopyOut { columns, mut stream, mut encoder } = copy;
        self.announce();
        self.writer.send(&CopyOutResponse::new(TEXT, columns as i16, vec![i16::from(TEXT); columns]));
        if let Some(header) = encoder.header() {
            self.put_copy_data(&header);
        }
        let mut line = String::new();
        let mut rows = 0_u64;
        loop {
            let next = tokio::time::timeout(PAUSE, stream.next());
            let batch = match next.await {
                Ok(Some(batch)) => batch?,
                Ok(None) => break,
                Err(_) => {
                    self.writer.flush().await?;
                    match stream.next().await {
                        Some(batch) => batch?,
                        None => break,
                    }
                }
            };
            for row in 0..batch.num_rows() {
                line.clear();
                encoder.row(&batch, row, &mut line);
                self.put_copy_data(&line);
                if self.writer.pending() >= FLUSH_BYTES {
                    self.writer.flush().await?;
                }
            }
            rows += batch.num_rows() as u64;
        }
        self.writer.send(&CopyDone::new());
        Ok(format!("COPY {rows}"))
    }

    fn put_copy_data(&mut self, line: &str) {
        let out = &mut self.writer.buffer;
        out.put_u8(b'd');
        out.put_i32(line.len() as i32 + 4);
        out.put_slice(line.as_bytes());
    }
}
