//! `Session`: one client's conversation with the engine.
//!
//! Place in the flow: the server makes one a connection and calls it statement by statement:
//! `parse → prepare → execute`. Invariants: a statement is cancelled by dropping its future or its stream, which
//! leaves no lock and no half-done change behind; after an error in a transaction block everything but its end is
//! refused (25P02).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use weir_catalog::system::{Activity, Setting};
use weir_common::text::FormatOptions;
use weir_common::{Epoch, Error, Result, SqlState, SqlType};
use weir_planner::bound::SavepointAction;
use weir_planner::{
    BindContext, BoundStatement, ParamTypes, ParamValues, ParsedStatement, SequenceAccess, SessionInfo,
    Statement,
};

use crate::activity::Seat;
use crate::copy::CopyOut;
use crate::cursors::Cursors;
use crate::environment::Environment;
use crate::outcome::{ImplicitEnd, Notice, Outcome, ParamValue, Prepared, RowStream, TransactionStatus};
use crate::params;
use crate::prepared::{PreparedBy, PreparedStatements};
use crate::query::KeptPlan;
use crate::recent::RecentStatements;
use crate::sequences::SessionSequences;
use crate::settings::Settings;
use crate::templates::Templates;
use crate::transaction::{Block, Transaction, aborted};

/// A statement that was bound this short a time ago is executed as it was bound.
const BINDING_FRESH: Duration = Duration::from_millis(20);

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// `weir` unless said otherwise.
    pub user: String,
    /// `weir` unless said otherwise.
    pub database: String,
    /// Startup parameters (`application_name`, `TimeZone`, …), applied like SET.
    pub parameters: Vec<(String, String)>,
    /// What `pg_stat_activity.client_addr` shows.
    pub client_address: Option<String>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            user: "weir".into(),
            database: "weir".into(),
            parameters: Vec::new(),
            client_address: None,
        }
    }
}

/// A session.
pub struct Session {
    pub(crate) env: Arc<Environment>,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) settings: Settings,
    pub(crate) transaction: Transaction,
    pub(crate) statements: PreparedStatements,
    pub(crate) cursors: Cursors,
    pub(crate) notices: Vec<Notice>,
    pub(crate) sequences: Arc<SessionSequences>,
    /// The epoch of the session's last commit.
    pub(crate) last_commit: Epoch,
    /// Notices of a statement that is under way; the receiver until somebody takes it.
    pub(crate) prompt_notices: (UnboundedSender<Notice>, Option<UnboundedReceiver<Notice>>),
    /// The task of the statement under way, or of one that was cancelled.
    pub(crate) unsettled: Option<JoinHandle<()>>,
    /// Whether a statement of several steps is in a block that it began.
    pub(crate) in_own_block: bool,
    seat: Seat,
    pub(crate) recent: RecentStatements,
    /// What `prepare` bound last, for the `execute` that follows at once.
    fresh: Option<FreshBinding>,
    pub(crate) templates: Templates,
}

struct FreshBinding {
    statement: Arc<ParsedStatement>,
    bound: BoundStatement,
    catalog_version: u64,
    at: Instant,
}

impl Session {
    pub(crate) fn start(env: Arc<Environment>, options: SessionOptions) -> Result<Session> {
        if options.database != weir_catalog::snapshot::DATABASE {
            return Err(Error::new(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{}\" does not exist", options.database),
            ));
        }
        let settings = Settings::start(&options.user, &options.parameters)?;
        let now = env.clock.now_micros();
        let seat = env.activities.enter(Activity {
            user: options.user.clone(),
            application_name: settings.show("application_name").unwrap_or_default(),
            client_addr: options.client_address,
            backend_start: now,
            state_change: Some(now),
            state: "idle".into(),
            ..Activity::default()
        });
        let sequences = Arc::new(SessionSequences::new(Arc::clone(&env.catalog)));
        let (prompt, receiver) = tokio::sync::mpsc::unbounded_channel();
        Ok(Session {
            env,
            user: options.user,
            database: options.database,
            settings,
            transaction: Transaction::default(),
            statements: PreparedStatements::default(),
            cursors: Cursors::default(),
            notices: Vec::new(),
            sequences,
            last_commit: Epoch::ZERO,
            prompt_notices: (prompt, Some(receiver)),
            unsettled: None,
            in_own_block: false,
            seat,
            recent: RecentStatements::default(),
            fresh: None,
            templates: Templates::default(),
        })
    }

    /// The number that `pg_backend_pid()` gives; no two sessions of an environment have the same.
    pub fn backend_pid(&self) -> i32 {
        self.seat.pid()
    }

    /// The statements of a query string. A syntax error fails the transaction block.
    pub fn parse(&mut self, sql: &str) -> Result<Vec<ParsedStatement>> {
        let parsed = weir_planner::parse(sql);
        self.note_failure(parsed)
    }

    /// Binds a statement to know its parameters and columns. `params` are the types the client declared.
    pub fn prepare(&mut self, statement: &ParsedStatement, params: &[Option<SqlType>]) -> Result<Prepared> {
        let prepared = self.prepare_checked(statement, params);
        self.note_failure(prepared)
    }

    /// Runs a prepared statement. An error fails the transaction block, at once or when the stream gives it.
    pub async fn execute(&mut self, prepared: &Prepared, params: Vec<ParamValue>) -> Result<Outcome> {
        self.execute_text(&prepared.statement.sql, prepared, params).await
    }

    /// As [`Session::execute`], of a statement that the client sent as `sql`.
    pub async fn execute_text(
        &mut self,
        sql: &str,
        prepared: &Prepared,
        params: Vec<ParamValue>,
    ) -> Result<Outcome> {
        self.note_start(sql);
        let is_endless = matches!(prepared.statement.statement, Statement::Subscribe(_));
        let limit = self.settings.timeout_ms("statement_timeout").filter(|_| !is_endless);
        let deadline = limit.map(Duration::from_millis);
        let deadline = deadline.map(|limit| tokio::time::Instant::now() + limit);
        let outcome = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, self.run(prepared, params)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    self.settle().await;
                    Err(timed_out())
                }
            },
            None => self.run(prepared, params).await,
        };
        self.note_end();
        let outcome = self.note_failure(outcome)?;
        Ok(match outcome {
            Outcome::Rows { columns, stream, tag } => {
                Outcome::Rows { columns, stream: self.watched(stream, deadline), tag }
            }
            Outcome::CopyOut(copy) => {
                Outcome::CopyOut(CopyOut { stream: self.watched(copy.stream, deadline), ..copy })
            }
            other @ (Outcome::Command { .. } | Outcome::CopyIn(_)) => other,
        })
    }

    /// Fails the transaction block for an error that the caller found: a bad message, a cancel request.
    pub fn fail_transaction(&mut self) {
        self.transaction.fail();
    }

    /// Where the session stands with its transaction block.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// The statements from here to [`Self::end_implicit`] belong together, unless the session is in a block.
    pub fn begin_implicit(&mut self) {
        if self.transaction.block() == Block::None {
            self.transaction.begin(Block::Implicit, self.env.clock.now_micros());
            self.settings.begin();
        }
    }

    /// Ends what [`Self::begin_implicit`] began. An explicit block that a BEGIN made of it goes on.
    pub async fn end_implicit(&mut self, end: ImplicitEnd) -> Result<()> {
        if self.transaction.block() != Block::Implicit {
            return Ok(());
        }
        let committed = match end {
            ImplicitEnd::Commit => self.commit_writes().await,
            ImplicitEnd::Rollback => Ok(()),
        };
        match (end, &committed) {
            (ImplicitEnd::Commit, Ok(())) => self.settings.commit(),
            _ => self.settings.rollback(),
        }
        self.transaction.end();
        self.note_end();
        committed
    }

    /// The notices since the last call, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        if let Some(prompt) = &mut self.prompt_notices.1 {
            self.notices.extend(std::iter::from_fn(|| prompt.try_recv().ok()));
        }
        std::mem::take(&mut self.notices)
    }

    /// What SHOW prints for a parameter, in any letter case; `None` when there is none of that name.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.settings.show(name).ok()
    }

    /// The parameters that a server reports when a client connects.
    pub fn reported_parameters(&self) -> Vec<(&'static str, String)> {
        self.settings.reported()
    }

    /// The reported parameters that changed since the last call.
    pub fn take_parameter_changes(&mut self) -> Vec<(&'static str, String)> {
        self.settings.take_changes()
    }

    /// How values are printed as text.
    pub fn format_options(&self) -> FormatOptions {
        self.settings.format_options()
    }

    /// Keeps a statement under a name (the protocol's Parse). Error 42P05 when the name is taken.
    pub fn store_prepared(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        let now = self.env.clock.now_micros();
        let stored = self.statements.store(name, prepared, PreparedBy::Protocol, now);
        self.note_failure(stored)
    }

    /// The statement of a name, whoever prepared it. Error 26000; the caller fails the block then.
    pub fn find_prepared(&self, name: &str) -> Result<Arc<Prepared>> {
        self.statements.find(name).map(Arc::clone)
    }

    /// Forgets a statement, if there is one of this name (the protocol's Close).
    pub fn drop_prepared(&mut self, name: &str) {
        self.statements.forget(name);
    }

    /// Binds with these parameter types and, to run it, values.
    pub(crate) fn bind(
        &self,
        statement: &ParsedStatement,
        types: ParamTypes,
        values: ParamValues,
    ) -> Result<(BoundStatement, BindContext)> {
        let context = BindContext {
            catalog: self.catalog(),
            session: self.session_info(),
            params: types,
            param_values: values,
            sequences: Some(Arc::clone(&self.sequences) as Arc<dyn SequenceAccess>),
        };
        let bound = weir_planner::bind(statement, &context)?;
        Ok((bound, context))
    }

    /// The facts that can change what a statement means.
    pub(crate) fn session_info(&self) -> SessionInfo {
        SessionInfo {
            user: self.user.clone(),
            database: self.database.clone(),
            search_path: self.settings.search_path(),
            time_zone: self.settings.show("TimeZone").unwrap_or_else(|_| "UTC".into()),
            backend_pid: self.backend_pid(),
            settings: self.settings.by_name(),
            now_micros: self.transaction.time(self.env.clock.now_micros()),
        }
    }

    /// The settings as `pg_settings` shows them.
    pub(crate) fn setting_rows(&self) -> Vec<Setting> {
        let row = |(name, value, description): (String, String, &str)| {
            let default = crate::settings::definition::find(&name).map_or("", |d| d.default).to_string();
            Setting { name, value, default, description: description.to_string() }
        };
        self.settings.all().into_iter().map(row).collect()
    }

    pub(crate) fn prepare_checked(
        &mut self,
        statement: &ParsedStatement,
        params: &[Option<SqlType>],
    ) -> Result<Prepared> {
        self.check_not_aborted(statement)?;
        let statement = Arc::new(statement.clone());
        let bind = |values| self.bind(&statement, ParamTypes::declared(params.to_vec()), values);
        let kept = if self.is_keepable(&statement) { bind(ParamValues::Kept).ok() } else { None };
        let is_kept = kept.is_some();
        let (bound, context) = kept.map_or_else(|| bind(ParamValues::Described), Ok)?;
        let params = context.params.resolved()?;
        let columns = self.describe(&bound)?;
        let kept = if is_kept { self.keep(&bound, &params) } else { KeptPlan::default() };
        // A draft's catalog changes without a version of its own.
        self.fresh = (params.is_empty() && self.transaction.draft.is_none()).then(|| FreshBinding {
            statement: Arc::clone(&statement),
            bound,
            catalog_version: context.catalog.version(),
            at: Instant::now(),
        });
        Ok(Prepared { statement, params, columns, kept })
    }

    async fn run(&mut self, prepared: &Prepared, params: Vec<ParamValue>) -> Result<Outcome> {
        self.check_not_aborted(&prepared.statement)?;
        if let Some(outcome) = self.run_kept(prepared, &params).await? {
            return Ok(outcome);
        }
        let values = params::literals(&prepared.params, &params, &self.format_options())?;
        let bound = match self.take_fresh(&prepared.statement) {
            Some(bound) if values.is_empty() => bound,
            _ => {
                let types = prepared.params.iter().cloned().map(Some).collect();
                self.bind(&prepared.statement, ParamTypes::declared(types), ParamValues::Given(values))?.0
            }
        };
        self.run_bound(bound, &prepared.statement).await
    }

    fn take_fresh(&mut self, statement: &Arc<ParsedStatement>) -> Option<BoundStatement> {
        let fresh = self.fresh.take()?;
        let is_usable = self.transaction.draft.is_none()
            && fresh.at.elapsed() < BINDING_FRESH
            && fresh.catalog_version == self.catalog().version()
            && Arc::ptr_eq(&fresh.statement, statement);
        is_usable.then_some(fresh.bound)
    }

    fn check_not_aborted(&self, statement: &ParsedStatement) -> Result<()> {
        let is_end = matches!(
            statement.statement,
            Statement::Commit
                | Statement::Rollback
                | Statement::Savepoint { action: SavepointAction::RollBackTo, .. }
        );
        match self.transaction.status() {
            TransactionStatus::Failed if !is_end => Err(aborted()),
            _ => Ok(()),
        }
    }

    pub(crate) fn note_failure<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.transaction.fail();
        }
        result
    }

    /// The stream, made to fail the transaction with its error, and to end at the deadline.
    fn watched(&self, stream: RowStream, deadline: Option<tokio::time::Instant>) -> RowStream {
        let failed = self.transaction.failure_flag();
        let watched = futures::stream::unfold(Some(stream), move |stream| {
            let failed = Arc::clone(&failed);
            async move {
                let mut stream = stream?;
                let next = match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, stream.next())
                        .await
                        .unwrap_or_else(|_| Some(Err(timed_out()))),
                    None => stream.next().await,
                };
                match next? {
                    Ok(batch) => Some((Ok(batch), Some(stream))),
                    Err(error) => {
                        failed.store(true, std::sync::atomic::Ordering::SeqCst);
                        Some((Err(error), None))
                    }
                }
            }
        });
        watched.boxed()
    }

    fn note_start(&self, sql: &str) {
        let now = self.env.clock.now_micros();
        self.seat.update(|row| {
            row.query = sql.to_string();
            row.query_start = Some(now);
            row.state_change = Some(now);
            row.state = "active".into();
        });
    }

    fn note_end(&self) {
        let now = self.env.clock.now_micros();
        let state = match self.transaction.status() {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
        let application_name = self.settings.show("application_name").unwrap_or_default();
        self.seat.update(|row| {
            row.state = state.into();
            row.state_change = Some(now);
            row.xact_start = self.transaction.started_at();
            row.application_name = application_name;
        });
    }
}

fn timed_out() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}
