//! One run of a suite: every step in order, on one server, under one set of circumstances.
//!
//! Place in the flow: takes steps from `order`, sends them through `wire`, judges with `compare`. A failed record does
//! not stop the run; a broken connection does.

use std::collections::HashMap;

use regex::Regex;

use crate::Result;
use crate::compare::difference;
use crate::order::{Crash, Step, Views, steps};
use crate::script::{Action, Condition, Expected, Record, Script, Sort};
use crate::server::Server;
use crate::wire::{Address, Answer, Connection, Protocol, SqlError};

/// Failures after which a run is given up.
const FAILURES_MAX: usize = 25;

/// What runs the SQL.
pub enum Target {
    /// A server of ours, which can be crashed.
    Weir(Server),
    /// A PostgreSQL with a database that may be emptied. Materialized views are made as plain views there, since
    /// PostgreSQL's own are stale.
    Postgres(Address),
}

/// The circumstances of a run.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    pub views: Views,
    pub crash: Crash,
    /// How statements are sent; queries are sent both ways.
    pub statements: Protocol,
}

/// Runs a suite; each failure is a message with the place of its record.
pub fn run(script: &Script, target: Target, circumstances: Circumstances) -> Result<Vec<String>> {
    let mut run = Run::start(target, circumstances)?;
    for step in steps(script, circumstances.views, circumstances.crash) {
        match step {
            Step::Crash => run.crash()?,
            Step::Record(record) if !run.applies(record) => {}
            Step::Record(Record { action: Action::Halt, .. }) => break,
            Step::Record(record) => run.record(record).map_err(|e| format!("{}: {e}", record.place))?,
        }
        if run.failures.len() >= FAILURES_MAX {
            run.failures.push("too many failures, the rest was not tried".into());
            break;
        }
    }
    if let Target::Weir(server) = &run.target {
        run.failures.extend(server.complaints().into_iter().map(|line| format!("the server's log: {line}")));
    }
    Ok(run.failures)
}

struct Run {
    target: Target,
    connection: Connection,
    circumstances: Circumstances,
    materialized: Regex,
    hash_threshold: usize,
    /// Results by label; equal labels must have equal results.
    labelled: HashMap<String, Answer>,
    failures: Vec<String>,
}

impl Run {
    fn start(target: Target, circumstances: Circumstances) -> Result<Run> {
        let mut connection = Connection::open(&address(&target))?;
        if matches!(target, Target::Postgres(_)) {
            for sql in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "SET TimeZone = 'UTC'"] {
                connection.run(sql, Protocol::Simple)?.map_err(|e| format!("{sql}: {}", e.message))?;
            }
        }
        let materialized =
            Regex::new(r"(?i)\b(CREATE|DROP)\s+MATERIALIZED\s+VIEW").map_err(|e| e.to_string())?;
        let (labelled, failures) = (HashMap::new(), Vec::new());
        Ok(Run { target, connection, circumstances, materialized, hash_threshold: 0, labelled, failures })
    }

    fn crash(&mut self) -> Result<()> {
        if let Target::Weir(server) = &mut self.target {
            server.crash()?;
            self.connection = Connection::open(&address(&self.target))?;
        }
        Ok(())
    }

    /// Whether the conditions of a record hold here.
    fn applies(&self, record: &Record) -> bool {
        let system = match self.target {
            Target::Weir(_) => "weir",
            Target::Postgres(_) => "postgres",
        };
        let here = |name: &String| name == system || name == self.circumstances.views.name();
        record.conditions.iter().all(|condition| match condition {
            Condition::Skip(name) => !here(name),
            Condition::Only(name) => here(name),
        })
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        match &record.action {
            Action::Statement { sql, expected } => {
                let outcome = self.send(sql, self.circumstances.statements)?;
                self.judge(record, sql, "", difference(&outcome, expected, Sort::No, 0, 0));
            }
            Action::Query { sql, sort, label, columns, expected } => {
                for protocol in [Protocol::Simple, Protocol::Extended] {
                    let outcome = self.send(sql, protocol)?;
                    let differs = difference(&outcome, expected, *sort, *columns, self.hash_threshold);
                    self.judge(record, sql, protocol.name(), differs);
                    if let (Some(label), Ok(mut answer)) = (label, outcome) {
                        if *sort != Sort::No {
                            answer.rows.sort();
                        }
                        self.compare_label(record, label, answer);
                    }
                    if matches!(expected, Expected::Error(_)) {
                        break;
                    }
                }
            }
            Action::HashThreshold(threshold) => self.hash_threshold = *threshold,
            Action::Halt => {}
        }
        Ok(())
    }

    fn send(&mut self, sql: &str, protocol: Protocol) -> Result<Result<Answer, SqlError>> {
        match self.target {
            Target::Weir(_) => self.connection.run(sql, protocol),
            Target::Postgres(_) => {
                let sql = self.materialized.replace_all(sql, "$1 VIEW").into_owned();
                self.connection.run(&sql, protocol)
            }
        }
    }

    fn compare_label(&mut self, record: &Record, label: &str, answer: Answer) {
        let first = self.labelled.entry(label.to_string()).or_insert_with(|| answer.clone());
        if first.rows != answer.rows {
            self.failures
                .push(format!("{}: another result than the first query labelled {label}", record.place));
        }
    }

    fn judge(&mut self, record: &Record, sql: &str, how: &str, differs: Option<String>) {
        if let Some(what) = differs {
            self.failures.push(format!("{}: {how}\n  {}\n  {what}", record.place, sql.replace('\n', "\n  ")));
        }
    }
}

fn address(target: &Target) -> Address {
    match target {
        Target::Weir(server) => server.address(),
        Target::Postgres(address) => address.clone(),
    }
}
