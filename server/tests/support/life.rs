//! The life of a server in steps, which touch everything that is made durable, and what must be there after each.
//!
//! ```text
//!   states[0] ─ step 0 ─► states[1] ─ step 1 ─► states[2] …     seen once, on a server that nothing happens to
//! ```
//! A fault that meets a server in step k must leave `states[k]`, or `states[k + 1]` if the step was under way: all that
//! was acknowledged, once, and nothing half done. In each state every view equals its query.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{DEADLINE, Launch, Server, first_value, rows};

/// What a client can see: relations with their rows, and jobs.
pub type State = BTreeMap<String, Vec<String>>;

/// Waits until a checkpoint holds everything.
const CHECKPOINT: &str = "";
/// The statement that fails, after its view was in the catalog; and what a fault may leave of it.
const FAILS: &str = "CREATE MATERIALIZED VIEW wrong AS SELECT 1 / (k - 1) AS q FROM t";
const UNDO_FAILED: &str = "DROP MATERIALIZED VIEW IF EXISTS wrong";

const STEPS: [&str; 34] = [
    "CREATE TABLE t (k int PRIMARY KEY, v int NOT NULL, note text)",
    "INSERT INTO t SELECT i, i % 7, 'n' || i % 3 FROM generate_series(1, 40) AS i",
    "CREATE MATERIALIZED VIEW sums AS SELECT v, count(*) AS n, sum(k) AS s FROM t GROUP BY v",
    "CREATE MATERIALIZED VIEW most AS SELECT max(n) AS n FROM sums",
    "CREATE VIEW plain AS SELECT count(*) AS n FROM t",
    "CREATE TABLE copy (k int PRIMARY KEY, v int)",
    "CREATE SINK to_copy INTO copy AS SELECT k, v FROM t",
    "CREATE SINK to_files FROM sums WITH (connector = 'file', path = '{files}', format = 'csv')",
    "INSERT INTO t VALUES (100, 1, 'x'), (101, 2, NULL)",
    "UPDATE t SET v = v + 1 WHERE k % 5 = 0",
    "DELETE FROM t WHERE k % 11 = 0",
    CHECKPOINT,
    "CREATE INDEX t_note ON t (note)",
    "CREATE UNIQUE INDEX t_pair ON t (v, k)",
    "ALTER TABLE t ADD COLUMN w int DEFAULT 7",
    "UPDATE t SET w = k WHERE k > 20",
    "BEGIN; CREATE TABLE u (k int PRIMARY KEY, v int UNIQUE); INSERT INTO u SELECT k, k FROM t; \
     CREATE MATERIALIZED VIEW of_u AS SELECT count(*) AS n, sum(v) AS s FROM u; \
     INSERT INTO t VALUES (200, 0, 'b', 0); COMMIT",
    "BEGIN; ALTER TABLE u ADD COLUMN w int DEFAULT 1; DROP MATERIALIZED VIEW of_u; \
     INSERT INTO t VALUES (300, 0, 'r', 0); ROLLBACK",
    "BEGIN; DROP MATERIALIZED VIEW of_u; ALTER TABLE u RENAME TO renamed; INSERT INTO renamed VALUES (1000, 1000); \
     CREATE MATERIALIZED VIEW of_renamed AS SELECT max(k) AS k FROM renamed; COMMIT",
    "ALTER TABLE renamed DROP COLUMN v",
    FAILS,
    "UPDATE t SET note = 'changed' WHERE v = 3",
    "CREATE TABLE big (k int, name text)",
    "INSERT INTO big SELECT i, 'a name of some length ' || i FROM generate_series(1, 8000) AS i",
    "CREATE MATERIALIZED VIEW of_big AS SELECT k % 1000 AS g, count(*) AS n FROM big GROUP BY 1",
    "DELETE FROM big WHERE k % 2 = 0",
    CHECKPOINT,
    "DROP MATERIALIZED VIEW of_big",
    "DROP TABLE big",
    "DROP INDEX t_note",
    "INSERT INTO t VALUES (400, 4, 'late')",
    "CREATE TABLE last (x int)",
    "INSERT INTO last VALUES (1), (1)",
    "DELETE FROM t WHERE k = 400",
];

/// Small steps and batches, so that there is more than one of each.
const OPTIONS: [&str; 4] = ["--state-memory", "16KiB", "--batch-rows", "256"];

/// The steps, and what is there before the first and after each.
pub struct Life {
    pub states: Vec<State>,
}

/// How far a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps that were acknowledged.
    pub done: usize,
    /// Whether one more had no answer.
    pub in_flight: bool,
}

/// How a server of this life is started.
pub fn launch() -> Launch {
    Launch::with(&OPTIONS)
}

/// Where the server's file sink writes, beside its data.
pub fn files_of(data_dir: &Path) -> PathBuf {
    data_dir.with_file_name("files")
}

impl Life {
    /// Lives it undisturbed.
    pub async fn observe() -> Life {
        let mut server = Server::launch(launch());
        // One statement fails.
        server.expect_complaints();
        let client = server.connect().await;
        let mut states = vec![state(&client).await];
        let life = Life { states: Vec::new() };
        for (step, sql) in STEPS.iter().enumerate() {
            let progress = life.live(&client, &files_of(&server.data_dir()), step, step + 1).await;
            assert_eq!(progress, Progress { done: step + 1, in_flight: false }, "{sql}");
            states.push(state(&client).await);
        }
        check_files(&client, &files_of(&server.data_dir())).await;
        Life { states }
    }

    /// Does the steps from one on until the connection breaks.
    pub async fn live_on(&self, client: &Client, files: &Path, from: usize) -> Progress {
        self.live(client, files, from, STEPS.len()).await
    }

    async fn live(&self, client: &Client, files: &Path, from: usize, to: usize) -> Progress {
        for (done, step) in STEPS.iter().enumerate().take(to).skip(from) {
            let sql = step.replace("{files}", files.to_str().unwrap());
            let went_well = match *step {
                CHECKPOINT => wait_for_checkpoint(client).await,
                _ => client.batch_execute(&sql).await,
            };
            match went_well {
                Ok(()) => assert_ne!(*step, FAILS),
                Err(error) if error.code().is_some_and(|code| *step == FAILS && code.code() == "22012") => {}
                Err(error) if client.is_closed() || error.is_closed() => {
                    return Progress { done, in_flight: *step != CHECKPOINT };
                }
                Err(error) if error.code().is_some_and(|code| ["57P01", "58030"].contains(&code.code())) => {
                    return Progress { done, in_flight: true };
                }
                Err(error) => panic!("{sql}: {error:?}"),
            }
        }
        Progress { done: to, in_flight: false }
    }

    /// Checks what a fault has left of a life that had come so far; returns the step to go on with.
    pub async fn check(&self, client: &Client, progress: Progress) -> usize {
        let Progress { done, in_flight } = progress;
        if in_flight && STEPS[done] == FAILS {
            client.batch_execute(UNDO_FAILED).await.unwrap();
        }
        let found = state(client).await;
        if found == self.states[done] {
            return done;
        }
        if in_flight && found == self.states[done + 1] {
            return done + 1;
        }
        let step = STEPS.get(done).copied().unwrap_or("the end");
        let expected = &self.states[done];
        panic!("neither before nor after {step}:\n{}", differences(expected, &found));
    }

    /// Goes on to the end, where everything must be as if nothing had happened.
    pub async fn complete(&self, client: &Client, files: &Path, from: usize) {
        let progress = self.live_on(client, files, from).await;
        assert_eq!(progress, Progress { done: STEPS.len(), in_flight: false });
        assert_eq!(self.check(client, progress).await, STEPS.len());
        check_files(client, files).await;
    }
}

/// Waits until a checkpoint holds everything.
pub async fn wait_for_checkpoint(client: &Client) -> Result<(), tokio_postgres::Error> {
    let end = Instant::now() + DEADLINE;
    loop {
        let messages = client.simple_query("SELECT coalesce(sum(bytes), 0) FROM sys.relations").await?;
        let is_empty = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("0"),
            _ => false,
        };
        if messages.iter().any(is_empty) {
            return Ok(());
        }
        assert!(Instant::now() < end, "no checkpoint was written");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Everything that can be seen, when views have caught up with their tables.
pub async fn state(client: &Client) -> State {
    client.batch_execute("FLUSH").await.unwrap();
    let mut state = State::new();
    state.insert("jobs".to_owned(), sorted(client, "SELECT name, kind, state, error FROM sys.jobs").await);
    let relations = "SELECT relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE nspname = 'public'";
    for relation in rows(client, relations).await {
        let (name, kind) = relation.split_once('|').unwrap();
        let contents = match kind {
            "r" | "v" | "m" => sorted(client, &format!("SELECT * FROM {name}")).await,
            _ => Vec::new(),
        };
        if kind == "m" {
            let query = format!("SELECT definition FROM pg_matviews WHERE matviewname = '{name}'");
            let query = first_value(client, &query).await;
            assert_eq!(contents, sorted(client, &query).await, "view {name} is not its query");
        }
        state.insert(format!("{kind} {name}"), contents);
    }
    state
}

/// The names of a result's columns and its rows in order.
async fn sorted(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
    let mut names = Vec::new();
    let mut found = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
                found.push(values.join("|"));
            }
            _ => {}
        }
    }
    found.sort();
    found.insert(0, names.join("|"));
    found
}

fn differences(expected: &State, found: &State) -> String {
    let mut text = String::new();
    for name in expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name))) {
        let (before, after) = (expected.get(name), found.get(name));
        if before != after {
            text += &format!("{name}\n  expected {before:?}\n  found    {after:?}\n");
        }
    }
    text
}

/// The changes in the sink's files add up to the rows of its view.
async fn check_files(client: &Client, files: &Path) {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut expected = rows(client, "SELECT v || ',' || n || ',' || s FROM sums").await;
        expected.sort();
        let found = net_of_files(files);
        let net: Vec<String> = found.iter().filter(|(_, n)| **n != 0).map(|(row, _)| row.clone()).collect();
        if net == expected && found.values().all(|n| (0..=1).contains(n)) {
            return;
        }
        assert!(Instant::now() < end, "the files say {found:?}, the view {expected:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// How often each row is inserted more than deleted.
fn net_of_files(files: &Path) -> BTreeMap<String, i32> {
    let mut net = BTreeMap::new();
    for entry in std::fs::read_dir(files).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines().skip(1) {
            let (op, row) = line.split_once(',').unwrap();
            *net.entry(row.to_owned()).or_default() += if op == "insert" { 1 } else { -1 };
        }
    }
    net
}
