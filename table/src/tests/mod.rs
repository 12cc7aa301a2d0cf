//! SQL end to end on a real data folder, without the wire.
//!
//! `Db::run` gives what a client would see as text: rows as `a|b` lines, a command's tag, or an error as
//! `ERROR 42P01: message`.

mod bounded_state;
mod changefeeds;
mod ddl_blocks;
mod dml;
mod explain;
mod failures;
mod kept;
mod recovery;
mod sessions;
mod transactions;
mod views;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use futures::TryStreamExt;
use tempfile::TempDir;
use weir_common::config::EngineConfig;
use weir_common::text::Formatter;
use weir_common::{Error, Result};

use crate::{Environment, Outcome, OutputColumn, Session, SessionOptions};

/// A server's engine with one session.
pub struct Db {
    pub env: Arc<Environment>,
    pub session: Session,
    dir: TempDir,
}

impl Db {
    pub fn open() -> Db {
        let dir = tempfile::tempdir().expect("a folder");
        Db::open_in(dir)
    }

    fn open_in(dir: TempDir) -> Db {
        let env = open_environment(dir.path());
        let session = env.session(SessionOptions::default()).expect("a session");
        Db { env, session, dir }
    }

    /// Stops and starts on the same folder.
    pub fn reopen(self) -> Db {
        let Db { env, session, dir } = self;
        drop(session);
        env.shutdown();
        assert_eq!(Arc::strong_count(&env), 1, "the environment ends here");
        drop(env);
        Db::open_in(dir)
    }

    pub async fn run(&mut self, sql: &str) -> String {
        run(&mut self.session, sql).await
    }

    /// Runs statements that must succeed.
    pub async fn setup(&mut self, statements: &[&str]) {
        for sql in statements {
            let got = self.run(sql).await;
            assert!(!got.starts_with("ERROR"), "{sql}: {got}");
        }
    }

    /// Runs each statement and compares what it gave.
    pub async fn check(&mut self, cases: &[(&str, &str)]) {
        for (sql, expect) in cases {
            assert_eq!(self.run(sql).await, *expect, "{sql}");
        }
    }

    pub fn another_session(&self) -> Session {
        self.env.session(SessionOptions::default()).expect("a session")
    }
}

fn open_environment(path: &Path) -> Arc<Environment> {
    Environment::open(EngineConfig::new(path, 2)).expect("an environment")
}

/// What a client would see of one or several statements, the last one's only.
pub async fn run(session: &mut Session, sql: &str) -> String {
    match try_run(session, sql).await {
        Ok(text) => text,
        Err(error) => render_error(&error),
    }
}

pub fn render_error(error: &Error) -> String {
    format!("ERROR {}: {error}", error.state().0)
}

async fn try_run(session: &mut Session, sql: &str) -> Result<String> {
    let mut text = String::new();
    for statement in session.parse(sql)? {
        let prepared = session.prepare(&statement, &[])?;
        let outcome = session.execute(&prepared, Vec::new()).await?;
        text = render(session, outcome).await?;
    }
    Ok(text)
}

pub async fn render(session: &Session, outcome: Outcome) -> Result<String> {
    match outcome {
        Outcome::Command { tag } => Ok(tag),
        Outcome::Rows { columns, stream, .. } => {
            let batches: Vec<RecordBatch> = stream.try_collect().await?;
            let lines = batches.iter().flat_map(|batch| render_batch(session, &columns, batch));
            Ok(lines.collect::<Vec<_>>().join("\n"))
        }
        Outcome::CopyIn(copy) => Ok(format!("COPY of {} columns", copy.columns())),
        Outcome::CopyOut(copy) => Ok(format!("COPY of {} columns", copy.columns)),
    }
}

fn render_batch(session: &Session, columns: &[OutputColumn], batch: &RecordBatch) -> Vec<String> {
    let options = session.format_options();
    let formatters: Vec<Formatter> = columns.iter().map(|c| Formatter::new(&c.ty, &options)).collect();
    let line = |row: usize| {
        let mut line = String::new();
        for (i, (formatter, column)) in formatters.iter().zip(batch.columns()).enumerate() {
            line.push_str(if i == 0 { "" } else { "|" });
            match column.is_null(row) {
                true => line.push_str("NULL"),
                false => formatter.write(column, row, &mut line),
            }
        }
        line
    };
    (0..batch.num_rows()).map(line).collect()
}
