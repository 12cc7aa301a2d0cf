//! One byte of one file is another: XX001 with the name of the file, at the start or at the read, or right results.
//!
//! The files are those of a real data folder, all of them, so that no kind can be forgotten. `WEIR_FAULTS=long` damages
//! many more places of each.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use support::cases::{block_on, run_all};
use support::life::wait_for_checkpoint;
use support::{Launch, Server, is_long};
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Places of each file, beside its first and last byte.
const PLACES: usize = 3;
const PLACES_LONG: usize = 300;

/// What is read, by scans, through an index, and from views whose state was loaded.
const READS: [&str; 6] = [
    "SELECT k, v, note FROM t ORDER BY k",
    "SELECT k FROM t WHERE note = 'n1' ORDER BY k",
    "SELECT k, v FROM t WHERE k = 17",
    "SELECT v, n, s FROM sums ORDER BY v",
    "SELECT n FROM most",
    "SELECT relname, relkind FROM pg_class WHERE oid >= 16384 ORDER BY relname",
];

/// Rows, or the error.
type Answer = Result<Vec<String>, String>;

/// A data folder with something in each of its files, and what its server answers.
struct Original {
    folder: TempDir,
    answers: Vec<Answer>,
}

impl Original {
    async fn make() -> Original {
        let mut server = Server::start();
        let client = server.connect().await;
        for sql in [
            "CREATE TABLE t (k int PRIMARY KEY, v int NOT NULL, note text)",
            "CREATE INDEX t_note ON t (note)",
            "CREATE MATERIALIZED VIEW sums AS SELECT v, count(*) AS n, sum(k) AS s FROM t GROUP BY v",
            "INSERT INTO t SELECT i, i % 7, 'n' || i % 3 FROM generate_series(1, 400) AS i",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        wait_for_checkpoint(&client).await.unwrap();
        // What the state's own log holds goes to tables at the next start.
        server.crash_and_restart();
        let client = server.connect().await;
        for sql in [
            "CREATE MATERIALIZED VIEW most AS SELECT max(n) AS n FROM sums",
            "CREATE TABLE other (x int)",
            "DELETE FROM t WHERE k % 50 = 0",
            "INSERT INTO t VALUES (1001, 1, 'n1')",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        wait_for_checkpoint(&client).await.unwrap();
        for k in 2000..2004 {
            client.batch_execute(&format!("INSERT INTO t VALUES ({k}, 2, 'late')")).await.unwrap();
        }
        let answers = answers(&client).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        server.kill();
        let folder = TempDir::new().unwrap();
        copy(&server.data_dir(), folder.path());
        Original { folder, answers }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn copy(from: &Path, into: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").args([from, into]).status().unwrap().success());
}

async fn answers(client: &Client) -> Vec<Answer> {
    let mut answers = Vec::new();
    for sql in READS {
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        answers.push(match client.simple_query(sql).await {
            Ok(messages) => Ok(messages.into_iter().filter_map(row).collect()),
            Err(error) => Err(match error.as_db_error() {
                Some(error) => format!("{}: {}", error.code().code(), error.message()),
                None => format!("{error:?}"),
            }),
        });
    }
    answers
}

#[derive(Debug)]
struct Case {
    /// Below the data folder.
    file: PathBuf,
    at: usize,
}

fn cases(data_dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut folders = vec![data_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let len = entry.metadata().unwrap().len() as usize;
            let file = entry.path().strip_prefix(data_dir).unwrap().to_owned();
            let places = if is_long() { PLACES_LONG } else { PLACES };
            let inner = (1..=places).map(|place| place * len / (places + 1) + place % 3);
            let mut places: Vec<usize> = [0].into_iter().chain(inner).chain(len.checked_sub(1)).collect();
            places.retain(|at| *at < len);
            places.dedup();
            cases.extend(places.into_iter().map(|at| Case { file: file.clone(), at }));
        }
    }
    cases
}

/// Whether an error says that data is damaged, and where.
fn names_damage(text: &str, file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    // Of the state's own files not all are known by name when one is missing.
    let folder = file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "state");
    text.contains("data corrupted") && (text.contains(name) || (folder && text.contains("/state")))
}

async fn run(original: &Original, case: &Case) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    copy(&original.data_dir(), folder.path());
    let data_dir = folder.path().join("data");
    let path = data_dir.join(&case.file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[case.at] ^= 0x41;
    std::fs::write(&path, bytes).unwrap();
    let (server, is_ready) = Server::try_launch(Launch::default().in_dir(data_dir));
    let is_named = |text: &str| names_damage(text, &case.file);
    if !is_ready {
        return if is_named(&server.log()) { Ok(()) } else { Err(format!("no start: {}", server.log())) };
    }
    let found = answers(&server.connect().await).await;
    for ((sql, expected), found) in READS.iter().zip(&original.answers).zip(found) {
        match &found {
            Ok(_) if found == *expected => {}
            Err(error) if is_named(error) || (!error.contains("XX000") && is_named(&server.log())) => {}
            _ => return Err(format!("{sql}: {found:.300?}\n{}", server.log())),
        }
    }
    Ok(())
}

#[test]
fn a_damaged_byte_is_reported_or_harmless() {
    let original = block_on(Original::make());
    let cases = cases(&original.data_dir());
    let kinds: Vec<&str> = cases.iter().filter_map(|case| case.file.to_str()).collect();
    for kind in ["FORMAT", "catalog.log", "log/", ".sst", "state/MANIFEST", "state/CURRENT", "state/OPTIONS"]
    {
        assert!(kinds.iter().any(|file| file.contains(kind)), "no {kind} among {kinds:?}");
    }
    run_all(&cases, |case| block_on(run(&original, case)));
}
