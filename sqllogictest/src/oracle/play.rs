//! Runs scenarios on Weir and on PostgreSQL and compares as they go, up to the first difference.
//!
//! Place in the flow: `weir-oracle` and the test own a [`Stage`], on which servers stay up between scenarios;
//! `shrink` plays smaller ones on it. Weir is asked first: what it refuses with 0A000 PostgreSQL does not get to see,
//! but for an error in its place inside a transaction, which keeps both in step. A change that Weir makes and PostgreSQL
//! refuses (it has no FULL JOIN on any condition) ends the scenario: from there on the two hold different rows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::circumstances::Circumstances;
use super::outcome::{Class, Failure, Outcome, Tags, difference, rows_differ};
use super::scenario::{End, Scenario, Step};
use crate::Result;
use crate::postgres::Postgres;
use crate::server::{Options, Server};
use crate::wire::{Connection, Protocol};

/// What a scenario that is refused, or fails on both, is counted as.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub failure: Option<Failure>,
    /// What Weir refused with 0A000, in its words.
    pub refused: Vec<String>,
    /// SQLSTATEs of statements that failed on both.
    pub errors: Vec<String>,
    /// The change that PostgreSQL refused and Weir made, in PostgreSQL's words: the scenario ended with it.
    pub ended: Option<String>,
    /// Answers that were compared.
    pub compared: usize,
}

/// Servers to play on.
pub struct Stage {
    binary: PathBuf,
    servers: HashMap<Options, Weir>,
    reference: Connection,
    /// Ended when dropped, after the connection.
    _postgres: Postgres,
}

struct Weir {
    server: Server,
    connection: Connection,
    /// Lines of its log that were there before.
    complaints: usize,
}

impl Stage {
    /// Starts PostgreSQL; servers of ours start when a scenario needs them.
    pub fn set(binary: &Path) -> Result<Stage> {
        let postgres = Postgres::start()?;
        let mut reference = Connection::open(&postgres.address())?;
        // Compiling a query over a few rows takes longer than running it.
        for sql in ["SET statement_timeout = '10s'", "SET client_min_messages = error", "SET jit = off"] {
            reference.run(sql, Protocol::Simple)?.map_err(|e| e.message)?;
        }
        let binary = binary.to_path_buf();
        Ok(Stage { binary, servers: HashMap::new(), reference, _postgres: postgres })
    }

    /// Plays a scenario. The error is one of PostgreSQL's or of the machine.
    pub fn play(&mut self, scenario: &Scenario) -> Result<Report> {
        let circumstances = scenario.circumstances;
        let mut weir = match self.servers.remove(&circumstances.server) {
            Some(weir) => weir,
            None => Weir::start(&self.binary, circumstances.server)?,
        };
        for sql in ["ROLLBACK", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
            self.reference.run(sql, Protocol::Simple)?.map_err(|e| format!("{sql}: {}", e.message))?;
        }
        let mut run = Run::new(&mut weir, &mut self.reference, circumstances);
        let mut failure = run.all(&scenario.steps)?;
        let is_clean = run.clear();
        let mut report = run.report;
        let complaints = weir.server.complaints();
        if let (None, Some(line)) = (&failure, complaints.get(weir.complaints)) {
            let step = scenario.steps.len() - 1;
            failure = Some(Failure { step, class: Class::Log, detail: line.clone() });
        }
        weir.complaints = complaints.len();
        if is_clean {
            self.servers.insert(circumstances.server, weir);
        }
        report.failure = failure;
        Ok(report)
    }

    /// What PostgreSQL says to these statements on an empty schema.
    pub fn ask_postgres(&mut self, statements: &[String]) -> Result<Vec<Outcome>> {
        for sql in ["ROLLBACK", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
            self.reference.run(sql, Protocol::Simple)?.map_err(|e| format!("{sql}: {}", e.message))?;
        }
        statements.iter().map(|sql| self.reference.run(sql, Protocol::Simple)).collect()
    }
}

impl Weir {
    fn start(binary: &Path, options: Options) -> Result<Weir> {
        let server = Server::start(binary, options)?;
        let connection = Connection::open(&server.address())?;
        Ok(Weir { server, connection, complaints: 0 })
    }
}

struct Run<'s> {
    weir: &'s mut Weir,
    reference: &'s mut Connection,
    circumstances: Circumstances,
    tables: Vec<String>,
    views: Vec<View>,
    twins: Vec<(String, String)>,
    report: Report,
}

struct View {
    name: String,
    query: String,
    maintained: bool,
    /// Whether it is there: it is not when Weir refused it.
    made: bool,
}

type Difference = Option<(Class, String)>;

impl<'s> Run<'s> {
    fn new(weir: &'s mut Weir, reference: &'s mut Connection, circumstances: Circumstances) -> Run<'s> {
        let (tables, views, twins) = (Vec::new(), Vec::new(), Vec::new());
        Run { weir, reference, circumstances, tables, views, twins, report: Report::default() }
    }

    /// Every step, up to the first that fails.
    fn all(&mut self, steps: &[Step]) -> Result<Option<Failure>> {
        if let Some((class, detail)) = self.begin_session() {
            return Ok(Some(Failure { step: 0, class, detail }));
        }
        for (step, what) in steps.iter().enumerate() {
            if let Some((class, detail)) = self.step(what)? {
                return Ok(Some(Failure { step, class, detail }));
            }
            if self.report.ended.is_some() {
                break;
            }
        }
        Ok(None)
    }

    /// What a new session is told.
    fn begin_session(&mut self) -> Difference {
        let sql = self.circumstances.first_statement().unwrap_or("RESET weir.disabled_rules".to_string());
        match self.ask_weir(&sql) {
            Ok(Ok(_)) => None,
            // In a transaction that has failed nothing can be set.
            Ok(Err(error)) if error.code == "25P02" => None,
            Ok(Err(error)) => Some((Class::Broken, format!("{sql}\n{}", error.message))),
            Err(broken) => Some(broken),
        }
    }

    fn step(&mut self, step: &Step) -> Result<Difference> {
        match step {
            Step::Table { name, create } => {
                self.tables.push(name.clone());
                self.statement(&create.to_string(), Tags::Ignore)
            }
            Step::Data(statements, end) => self.data(statements.iter().map(|s| s.to_string()), *end),
            Step::View { name, query, maintained } => self.create_view(name, query.to_string(), *maintained),
            Step::Index(statement) | Step::Query(statement) => {
                self.statement(&statement.to_string(), Tags::Ignore)
            }
            Step::Twins(one, other) => {
                self.twins.push((one.clone(), other.clone()));
                Ok(None)
            }
            Step::Check => self.check(),
            Step::Crash => Ok(self.crash()),
        }
    }

    /// Runs a statement on both.
    fn statement(&mut self, sql: &str, tags: Tags) -> Result<Difference> {
        match self.ask_weir(sql) {
            Err(broken) => Ok(Some(broken)),
            Ok(weir) => self.against_postgres(weir, [sql, sql], tags, "SELECT 1"),
        }
    }

    /// Compares an outcome of Weir's with PostgreSQL's, for a statement in the words of each. PostgreSQL sees `instead` of
    /// what Weir refuses.
    fn against_postgres(
        &mut self,
        weir: Outcome,
        [ours, sql]: [&str; 2],
        tags: Tags,
        instead: &str,
    ) -> Result<Difference> {
        if let Err(error) = &weir
            && error.code == "0A000"
        {
            self.report.refused.push(error.message.clone());
            // An error is what this may be for.
            let _ = self.reference.run(instead, Protocol::Simple)?;
            return Ok(self.needs_rule(ours, &error.message));
        }
        let postgres = self.reference.run(sql, Protocol::Simple)?;
        if let Err(error) = &postgres
            && (error.code == "0A000" || error.code == "57014")
        {
            if weir.is_ok() && tags == Tags::Compare {
                self.report.ended = Some(error.message.clone());
            }
            return Ok(None);
        }
        if let (Err(_), Err(error)) = (&weir, &postgres) {
            self.report.errors.push(format!("{} {}", error.code, error.message));
        }
        self.report.compared += 1;
        Ok(difference(&weir, &postgres, tags).map(|(class, detail)| (class, format!("{sql}\n{detail}"))))
    }

    /// Whether a statement is refused for want of the rule that is switched off: then no session may switch it off. In a
    /// transaction, which has failed, there is no telling.
    fn needs_rule(&mut self, sql: &str, refusal: &str) -> Difference {
        let rule = self.circumstances.without_rule?;
        let again = self.ask_weir("RESET weir.disabled_rules").and_then(|_| self.ask_weir(sql));
        match again {
            Ok(Ok(_)) => Some((Class::Rule(rule), format!("{sql}\nwithout {rule}: {refusal}"))),
            Ok(Err(_)) => self.begin_session(),
            Err(broken) => Some(broken),
        }
    }

    fn data(&mut self, statements: impl Iterator<Item = String>, end: End) -> Result<Difference> {
        let (before, after) = match end {
            End::Auto => (None, None),
            End::Commit => (Some("BEGIN"), Some("COMMIT")),
            End::Rollback => (Some("BEGIN"), Some("ROLLBACK")),
        };
        let instead = if end == End::Auto { "SELECT 1" } else { "SELECT 1/0" };
        let all = before.map(str::to_string).into_iter().chain(statements).chain(after.map(str::to_string));
        for sql in all {
            let weir = match self.ask_weir(&sql) {
                Ok(weir) => weir,
                Err(broken) => return Ok(Some(broken)),
            };
            let differs = self.against_postgres(weir, [&sql, &sql], Tags::Compare, instead)?;
            if differs.is_some() || self.report.ended.is_some() {
                return Ok(differs);
            }
        }
        Ok(None)
    }

    fn create_view(&mut self, name: &str, query: String, maintained: bool) -> Result<Difference> {
        let kind = if maintained { "MATERIALIZED VIEW" } else { "VIEW" };
        let (ours, theirs) =
            (format!("CREATE {kind} {name} AS {query}"), format!("CREATE VIEW {name} AS {query}"));
        let weir = match self.ask_weir(&ours) {
            Ok(weir) => weir,
            Err(broken) => return Ok(Some(broken)),
        };
        let (made, refused) = (weir.is_ok(), weir.as_ref().is_err_and(|error| error.code == "0A000"));
        let differs = self.against_postgres(weir, [&ours, &theirs], Tags::Ignore, "SELECT 1")?;
        if made || refused {
            self.views.push(View { name: name.to_string(), query, maintained, made });
        }
        Ok(differs)
    }

    /// Compares everything there is.
    fn check(&mut self) -> Result<Difference> {
        for i in 0..self.tables.len() {
            let differs = self.statement(&format!("SELECT * FROM {}", self.tables[i]), Tags::Ignore)?;
            if differs.is_some() {
                return Ok(differs);
            }
        }
        for i in 0..self.views.len() {
            let differs = self.check_view(i)?;
            if differs.is_some() {
                return Ok(differs);
            }
        }
        for (one, other) in self.twins.clone() {
            if let Some(differs) = self.check_twins(&one, &other) {
                return Ok(Some(differs));
            }
        }
        Ok(None)
    }

    fn check_view(&mut self, i: usize) -> Result<Difference> {
        let View { name, query, maintained, made } = &self.views[i];
        let (read, query, is_view) = (format!("SELECT * FROM {name}"), query.clone(), *maintained && *made);
        let differs = self.statement(&query, Tags::Ignore)?;
        if differs.is_some() || !self.views[i].made {
            return Ok(differs);
        }
        let differs = self.statement(&read, Tags::Ignore)?;
        Ok(differs.map(|(class, detail)| match class {
            Class::Rows if is_view => (Class::View, format!("{detail}\nthe view is: {query}")),
            class => (class, format!("{detail}\nthe view is: {query}")),
        }))
    }

    fn check_twins(&mut self, one: &str, other: &str) -> Difference {
        let read = |name: &str| format!("SELECT * FROM {name}");
        let (left, right) = (self.ask_weir(&read(one)), self.ask_weir(&read(other)));
        match (left, right) {
            (Ok(Ok(left)), Ok(Ok(right))) => {
                self.report.compared += 1;
                rows_differ(&left, &right, [one, other]).map(|detail| (Class::Twins, detail))
            }
            // One of them was refused.
            _ => None,
        }
    }

    fn ask_weir(&mut self, sql: &str) -> Result<Outcome, (Class, String)> {
        self.weir
            .connection
            .run(sql, self.circumstances.protocol)
            .map_err(|e| (Class::Broken, format!("{sql}\n{e}")))
    }

    fn crash(&mut self) -> Difference {
        let again = self.weir.server.crash().and_then(|()| Connection::open(&self.weir.server.address()));
        match again {
            Ok(connection) => {
                self.weir.connection = connection;
                self.begin_session()
            }
            Err(error) => Some((Class::Broken, format!("kill and restart\n{error}"))),
        }
    }

    /// Drops everything; false when that was not possible, so that the server is of no use any more.
    fn clear(&mut self) -> bool {
        let views = self.views.iter().rev().filter(|view| view.made).map(|view| {
            let kind = if view.maintained { "MATERIALIZED VIEW" } else { "VIEW" };
            format!("DROP {kind} {}", view.name)
        });
        let tables = self.tables.iter().map(|table| format!("DROP TABLE IF EXISTS {table}"));
        // Outside of a transaction ROLLBACK is a warning.
        let drops: Vec<String> = std::iter::once("ROLLBACK".to_string()).chain(views).chain(tables).collect();
        drops.iter().all(|sql| matches!(self.ask_weir(sql), Ok(Ok(_))))
    }
}
