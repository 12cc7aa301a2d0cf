//! The loop of one connection: a message, its answer, and whatever may interrupt either.
//!
//! ```text
//! wait for a message ──► answer it ──► wait …
//!    ▲ shutdown, idle       ▲ cancel, shutdown,
//!      timeout                the client has gone
//! ```
//! Place in the flow: `server` makes a [`Connection`] once the session stands; it ends when the client does.
//! Invariant: an answer that is interrupted is dropped, which stops its work; the client then hears an error
//! and, unless the connection ends, may go on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use weir_common::{Error, Result, SqlState};
use weir_table::{Session, TransactionStatus};

use super::backends::Registration;
use super::client::{Client, Pipeline};
use super::copy::CopyOrigin;
use super::frontend::{self, FrontendMessage};
use super::report::Severity;
use super::rows::Failure;
use super::wire::{RawMessage, ReadFailure, Reader, Writer};
use crate::shutdown::Watch;

/// How often a statement that may be given up is looked at once its client has gone.
const GONE_POLL: Duration = Duration::from_millis(100);

/// A client with a session.
pub struct Connection {
    reader: Reader,
    client: Client,
    registration: Registration,
    watch: Watch,
    abandonable: Arc<AtomicBool>,
    /// After an error in the extended protocol, until the client's Sync.
    skipping: bool,
    /// Cancels that had come before the last statement began.
    cancels: usize,
}

/// What is not listened to after an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skips {
    ToSync,
    Nothing,
}

/// Why a connection ends.
enum End {
    /// The client ended it, or has gone.
    Closed,
    /// The client is told this first.
    Fatal(Error),
}

impl Connection {
    pub fn new(
        reader: Reader,
        writer: Writer,
        session: Session,
        registration: Registration,
        watch: Watch,
    ) -> Connection {
        let abandonable = Arc::new(AtomicBool::new(false));
        let client = Client::new(session, writer, Arc::clone(&abandonable));
        Connection { reader, client, registration, watch, abandonable, skipping: false, cancels: 0 }
    }

    /// Serves the client to the end.
    pub async fn run(mut self) {
        let end = loop {
            let handled = match self.next_message().await {
                Ok(Some(message)) => self.handle(message).await,
                Ok(None) => self.tell(self.skips_after(frontend::COPY_DATA), cancelled()).await,
                Err(end) => Err(end),
            };
            if let Err(end) = handled {
                break end;
            }
        };
        if let End::Fatal(error) = &end {
            self.client.fail(Severity::Fatal, error).await;
        }
        // A client that has gone does not hear the goodbye.
        let _ = self.client.writer.close().await;
    }

    /// The next message; none when a COPY FROM that waits for its text is cancelled.
    async fn next_message(&mut self) -> Result<Option<RawMessage>, End> {
        let is_copying = self.client.copying.is_some();
        let backend = Arc::clone(&self.registration.backend);
        let mut cancel = std::pin::pin!(backend.cancel.notified());
        cancel.as_mut().enable();
        let (cancels, before) = (&backend.cancels, self.cancels);
        let cancelled = async move {
            if cancels.load(Ordering::SeqCst) == before {
                cancel.await;
            }
        };
        let idle_limit = match self.client.session.transaction_status() {
            TransactionStatus::Idle => None,
            _ => self.client.timeout("idle_in_transaction_session_timeout"),
        };
        let idle = async {
            match idle_limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.watch.ended() => Err(End::Fatal(admin_shutdown())),
            message = self.reader.message() => message.map(Some).map_err(|failure| match failure {
                ReadFailure::Closed => End::Closed,
                ReadFailure::Fatal(error) => End::Fatal(error),
            }),
            // After the messages that are there: the Sync of a pipeline belongs to what is cancelled.
            () = cancelled, if is_copying => Ok(None),
            () = idle => Err(End::Fatal(Error::new(
                SqlState("25P03"),
                "terminating connection due to idle-in-transaction timeout",
            ))),
        }
    }

    /// Answers a message, and says so when that fails.
    async fn handle(&mut self, raw: RawMessage) -> Result<(), End> {
        let kind = raw.kind;
        let skips = self.skips_after(kind);
        match kind {
            frontend::TERMINATE => return Err(End::Closed),
            frontend::SYNC => self.skipping = false,
            _ if self.skipping => return Ok(()),
            // The text of a COPY comes in many small messages: nothing is to be waited for.
            frontend::COPY_DATA | frontend::COPY_DONE if self.is_cancelled() => {
                return self.tell(skips, cancelled()).await;
            }
            frontend::COPY_DATA => {
                return match self.client.copy_data(&raw.body).await {
                    Ok(()) => Ok(()),
                    Err(error) => self.tell(skips, error).await,
                };
            }
            _ => {}
        }
        if self.client.copying.is_none() {
            self.cancels = self.registration.backend.cancels.load(Ordering::SeqCst);
        }
        let answered = match raw.decode() {
            Ok(message) => self.answer(message).await?,
            Err(error) => Err(Failure::Statement(error)),
        };
        let error = match answered {
            Ok(()) => return Ok(()),
            Err(Failure::Lost) => return Err(End::Closed),
            Err(Failure::Statement(error)) => error,
        };
        self.tell(skips, error).await
    }

    /// Whether a COPY FROM is under way and was cancelled.
    fn is_cancelled(&self) -> bool {
        self.client.copying.is_some()
            && self.registration.backend.cancels.load(Ordering::SeqCst) != self.cancels
    }

    /// Whether an error of a message of this type is followed by a skip to the next Sync.
    fn skips_after(&self, kind: u8) -> Skips {
        let is_extended = match &self.client.copying {
            Some(copying) => matches!(copying.origin, CopyOrigin::Extended),
            None => is_extended(kind),
        };
        if is_extended { Skips::ToSync } else { Skips::Nothing }
    }

    /// Tells the client that what it asked for failed.
    async fn tell(&mut self, skips: Skips, error: Error) -> Result<(), End> {
        self.client.fail(Severity::Error, &error).await;
        let told = if skips == Skips::ToSync {
            self.skipping = true;
            self.client.writer.flush().await.map_err(Failure::from)
        } else {
            self.client.ready().await
        };
        told.map_err(|_| End::Closed)
    }

    /// The answer, unless something interrupts it. A panic is a defect that ends this connection only.
    async fn answer(&mut self, message: FrontendMessage) -> Result<Result<(), Failure>, End> {
        let pipeline = if self.reader.more_before_sync() { Pipeline::More } else { Pipeline::Last };
        let (reader, abandonable) = (&mut self.reader, &self.abandonable);
        let gone = async {
            reader.gone().await;
            while !abandonable.load(Ordering::Relaxed) {
                tokio::time::sleep(GONE_POLL).await;
            }
        };
        let answer = AssertUnwindSafe(self.client.answer(message, pipeline)).catch_unwind();
        tokio::select! {
            biased;
            () = self.registration.backend.cancel.notified() => {
                Ok(Err(Failure::Statement(cancelled())))
            }
            () = self.watch.ended() => Err(End::Fatal(admin_shutdown())),
            () = gone => Err(End::Closed),
            answered = answer => answered.map_err(|panic| End::Fatal(Error::internal(panic_text(panic.as_ref())))),
        }
    }
}

/// Whether a message type belongs to the extended protocol.
fn is_extended(kind: u8) -> bool {
    matches!(kind, frontend::PARSE | frontend::BIND | frontend::EXECUTE | b'D' | b'C' | b'H')
}

fn cancelled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

/// What clients hear when the server ends.
pub fn admin_shutdown() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_string())
}
