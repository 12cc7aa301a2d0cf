//! One client's session with everything the protocol keeps beside it: output, portals, the implicit block.
//!
//! Place in the flow: `connection` reads messages and calls [`Client::answer`]; `simple` and `extended` add the
//! two ways to run a statement. Invariants: whatever future of this type is dropped, the next message finds a
//! consistent client; errors are sent in one place, [`Client::fail`].

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgwire::messages::startup::ParameterStatus;
use tokio::sync::mpsc::UnboundedReceiver;
use weir_common::{Error, Result, SqlState};
use weir_table::{ImplicitEnd, Notice, Outcome, ParamValue, Prepared, Session, TransactionStatus};

use super::copy::Copying;
use super::extended::Portal;
use super::frontend::FrontendMessage;
use super::report::{self, Severity};
use super::rows::Failure;
use super::wire::{FLUSH_BYTES, Writer, violation};

/// Whether more statements of the same pipeline have arrived already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    More,
    Last,
}

/// A session and what belongs to its connection.
pub struct Client {
    pub session: Session,
    pub writer: Writer,
    /// Portals by name; the unnamed one is "".
    pub portals: HashMap<String, Portal>,
    /// Names of prepared statements without any text, which the session does not know.
    pub empty_statements: HashSet<String>,
    /// The COPY FROM STDIN that is under way.
    pub copying: Option<Copying>,
    /// Whether what runs only reads, so that it may be given up when its reader has gone.
    abandonable: Arc<AtomicBool>,
    /// Whether statements run in a block that the protocol, not the user, has opened.
    implicit: bool,
    /// What a statement tells while it runs.
    prompt_notices: Option<UnboundedReceiver<Notice>>,
}

impl Client {
    pub fn new(mut session: Session, writer: Writer, abandonable: Arc<AtomicBool>) -> Client {
        Client {
            prompt_notices: session.take_prompt_notices(),
            session,
            writer,
            portals: HashMap::new(),
            empty_statements: HashSet::new(),
            copying: None,
            abandonable,
            implicit: false,
        }
    }

    /// Does what a message asks for. Dropping the future cancels it.
    pub async fn answer(&mut self, message: FrontendMessage, pipeline: Pipeline) -> Result<(), Failure> {
        if self.copying.is_some() {
            return self.copy_message(message).await;
        }
        match message {
            FrontendMessage::Query(sql) => {
                self.simple_query(&sql).await?;
                return if self.copying.is_none() { self.ready().await } else { Ok(()) };
            }
            FrontendMessage::Parse { name, query, param_types } => self.parse(name, &query, &param_types)?,
            FrontendMessage::Bind(bind) => self.bind(bind)?,
            FrontendMessage::Describe(target) => self.describe(&target)?,
            FrontendMessage::Execute { portal, max_rows } => {
                self.execute(&portal, max_rows, pipeline).await?
            }
            FrontendMessage::Close(target) => self.close_target(&target),
            FrontendMessage::Flush => self.writer.flush().await?,
            FrontendMessage::Sync => return self.sync().await,
            FrontendMessage::FunctionCall => {
                return Err(Error::unsupported("the function call protocol message").into());
            }
            FrontendMessage::Password => return Err(violation("no password was asked for").into()),
            FrontendMessage::Terminate
            | FrontendMessage::CopyData(_)
            | FrontendMessage::CopyDone
            | FrontendMessage::CopyFail(_) => {}
        }
        if self.writer.pending() >= FLUSH_BYTES {
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// Runs a prepared statement, sent as `sql`, up to its outcome. What it tells on the way goes out at once.
    pub async fn run(&mut self, sql: &str, prepared: &Prepared, params: Vec<ParamValue>) -> Result<Outcome> {
        self.abandonable.store(prepared.only_reads(), Ordering::Relaxed);
        let Some(notices) = &mut self.prompt_notices else {
            return self.session.execute_text(sql, prepared, params).await;
        };
        let mut execution = std::pin::pin!(self.session.execute_text(sql, prepared, params));
        loop {
            let notice = tokio::select! {
                biased;
                outcome = &mut execution => return outcome,
                Some(notice) = notices.recv() => notice,
            };
            self.writer.send(&report::notice(&notice));
            // A client that has gone is noticed by whoever reads from it; the statement may be worth finishing.
            let _ = self.writer.flush().await;
        }
    }

    /// Sends the notices and parameter changes that a statement left behind.
    pub fn announce(&mut self) {
        let prompt = self.prompt_notices.iter_mut().flat_map(|n| std::iter::from_fn(|| n.try_recv().ok()));
        for notice in prompt.chain(self.session.take_notices()) {
            self.writer.send(&report::notice(&notice));
        }
        for (name, value) in self.session.take_parameter_changes() {
            self.writer.send(&ParameterStatus::new(name.to_string(), value));
        }
    }

    /// Tells the client that what it asked for failed, and undoes what the protocol had opened for it.
    pub async fn fail(&mut self, severity: Severity, error: &Error) {
        self.copying = None;
        self.session.settle().await;
        self.session.fail_transaction();
        // The statement's own error is what the client needs to hear.
        let _ = self.end_implicit(ImplicitEnd::Rollback).await;
        self.abandonable.store(false, Ordering::Relaxed);
        self.announce();
        self.writer.send(&report::error(severity, error));
    }

    /// Opens a block for statements that succeed or fail together, unless the user has one.
    pub fn begin_implicit(&mut self) {
        self.implicit = true;
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.session.begin_implicit();
        }
    }

    /// Whether statements succeed or fail together.
    pub fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// Ends that block, if there is one.
    pub async fn end_implicit(&mut self, end: ImplicitEnd) -> Result<()> {
        if std::mem::take(&mut self.implicit) { self.session.end_implicit(end).await } else { Ok(()) }
    }

    /// Tells the client that the next message is welcome.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let status = self.session.transaction_status();
        if status == TransactionStatus::Idle {
            // A portal lives as long as its transaction.
            self.portals.clear();
        }
        self.abandonable.store(false, Ordering::Relaxed);
        self.writer.send(&report::ready(status));
        Ok(self.writer.flush().await?)
    }

    /// A duration setting; `None` when it is off.
    pub fn timeout(&self, setting: &str) -> Option<Duration> {
        parse_duration(&self.session.parameter(setting)?).filter(|limit| !limit.is_zero())
    }
}

/// Lets a statement run for at most this long (57014).
pub async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else { return work.await };
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout").into())
        }
    }
}

/// A setting as SHOW prints it: `0`, `250ms`, `5s`, `1min`; a bare number is milliseconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let number: f64 = digits.trim().parse().ok().filter(|n: &f64| *n >= 0.0)?;
    let unit_seconds = match text[digits.len()..].trim() {
        "us" => 1e-6,
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit_seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_show_prints_them() {
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("soon"), None);
    }

    #[tokio::test]
    async fn a_statement_beyond_its_time_is_cancelled() {
        let endless = std::future::pending::<Result<(), Failure>>();
        let failure = within(Some(Duration::from_millis(1)), endless).await.unwrap_err();
        assert!(matches!(failure, Failure::Statement(e) if e.state() == SqlState::QUERY_CANCELED));
    }
}
