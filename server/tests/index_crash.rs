//! Kills while indexed tables are written and indexes are made: a read through an index finds what a read without it
//! finds, no key of a UNIQUE constraint stands twice, and nothing is left of an index that was not finished.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Server, first_value, rows, sqlstate};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const VALUES: i64 = 12;
const KEYS: i64 = 400;

async fn create(client: &Client) {
    for sql in [
        "CREATE TABLE items (id bigint PRIMARY KEY, code bigint UNIQUE, kind int, note text)",
        "CREATE TABLE bag (kind int, note text)",
        "CREATE INDEX items_kind ON items (kind, note)",
        "CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS n FROM items GROUP BY kind",
        "CREATE INDEX kinds_n ON kinds (n)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
}

/// Writes until the connection breaks; returns the codes of the last statements that were acknowledged.
fn write(client: Client, writer: i64) -> JoinHandle<Vec<i64>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for step in 0.. {
            // Several writers want the same codes.
            let (id, code, kind) = (step * 10 + writer, (step * 7) % KEYS, step % VALUES);
            let inserted = format!("INSERT INTO items VALUES ({id}, {code}, {kind}, 'n{}')", step % 5);
            match client.batch_execute(&inserted).await {
                Ok(()) => acknowledged.push(code),
                Err(error) if error.code().is_some_and(|code| code.code() == "23505") => {}
                Err(_) => return acknowledged,
            }
            let sql = match step % 3 {
                0 => format!(
                    "UPDATE items SET kind = {} WHERE code = {}",
                    (kind + 1) % VALUES,
                    (step * 3) % KEYS
                ),
                1 => format!("INSERT INTO bag VALUES ({kind}, 'x'), ({kind}, 'x'), ({kind}, 'y')"),
                _ => format!("DELETE FROM bag WHERE kind = {} AND note = 'x'", (kind + 5) % VALUES),
            };
            if client.batch_execute(&sql).await.is_err() {
                return acknowledged;
            }
        }
        acknowledged
    })
}

/// Makes and drops indexes until the connection breaks.
fn index(client: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        for sql in ["CREATE INDEX bag_kind ON bag (kind)", "CREATE INDEX items_note ON items (note)"]
            .into_iter()
            .chain(["DROP INDEX bag_kind", "DROP INDEX items_note"])
            .cycle()
        {
            if client.batch_execute(sql).await.is_err() && client.is_closed() {
                return;
            }
        }
    })
}

/// What is read by an expression that no index has must be what is read by the column.
async fn check(client: &Client) {
    for kind in 0..VALUES {
        for (table, by_index, by_scan) in [
            ("items", format!("kind = {kind}"), format!("kind + 0 = {kind}")),
            (
                "items",
                format!("kind = {kind} AND note > 'n2'"),
                format!("kind + 0 = {kind} AND note || '' > 'n2'"),
            ),
            ("bag", format!("kind = {kind}"), format!("kind + 0 = {kind}")),
        ] {
            let count = "SELECT count(*), min(note), max(note)";
            let found = rows(client, &format!("{count} FROM {table} WHERE {by_index}")).await;
            let scanned = rows(client, &format!("{count} FROM {table} WHERE {by_scan}")).await;
            assert_eq!(found, scanned, "{table} WHERE {by_index}");
        }
    }
    let twice = "SELECT count(*) FROM (SELECT code FROM items GROUP BY code HAVING count(*) > 1) AS twice";
    assert_eq!(first_value(client, twice).await, "0");
    for code in (0..KEYS).step_by(37) {
        let by_index = first_value(client, &format!("SELECT count(*) FROM items WHERE code = {code}")).await;
        let by_scan =
            first_value(client, &format!("SELECT count(*) FROM items WHERE code + 0 = {code}")).await;
        assert_eq!(by_index, by_scan, "code {code}");
    }
    let by_index = rows(client, "SELECT kind, n FROM kinds WHERE n BETWEEN 1 AND 30 ORDER BY kind").await;
    let by_scan = rows(client, "SELECT kind, n FROM kinds WHERE n + 0 BETWEEN 1 AND 30 ORDER BY kind").await;
    assert_eq!(by_index, by_scan);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_follow_their_rows_through_kills() {
    let mut server = Server::start();
    create(&server.connect().await).await;
    for round in 0..4u64 {
        let mut writers = Vec::new();
        for writer in 0..3 {
            let id = writer + 3 * i64::try_from(round).unwrap();
            writers.push(write(server.connect().await, 1_000_000 * id));
        }
        let indexer = index(server.connect().await);
        tokio::time::sleep(Duration::from_millis(700 + 300 * round)).await;
        server.crash_and_restart();
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        indexer.await.unwrap();
        let client = server.connect().await;
        check(&client).await;
        let codes = rows(&client, "SELECT code FROM items").await;
        assert!(acknowledged.iter().all(|code| codes.contains(&code.to_string())));
        assert!(round > 0 || !acknowledged.is_empty());
    }
    let client = server.connect().await;
    let taken = first_value(&client, "SELECT min(code) FROM items").await;
    let again = format!("INSERT INTO items VALUES (-1, {taken}, 0, 'again')");
    assert_eq!(sqlstate(&client, &again).await, "23505");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_want_the_same_key_one_gets_it() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE seats (id bigint, seat int UNIQUE)").await.unwrap();
    let mut takers = Vec::new();
    for taker in 0..4i64 {
        let client = server.connect().await;
        takers.push(tokio::spawn(async move {
            let mut taken = 0;
            for seat in 0..100 {
                let id = taker * 1000 + seat;
                let sql = format!("INSERT INTO seats VALUES ({id}, {seat})");
                match client.batch_execute(&sql).await {
                    Ok(()) => taken += 1,
                    Err(error) => assert_eq!(error.code().unwrap().code(), "23505"),
                }
            }
            taken
        }));
    }
    let mut taken = 0;
    for taker in takers {
        taken += taker.await.unwrap();
    }
    assert_eq!(taken, 100);
    assert_eq!(first_value(&client, "SELECT count(DISTINCT seat) FROM seats").await, "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_is_made_while_rows_come() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (a int, b int)").await.unwrap();
    client.batch_execute("INSERT INTO t SELECT i, i FROM generate_series(1, 20000) AS i").await.unwrap();
    let other = server.connect().await;
    let writer = tokio::spawn(async move {
        let mut refused = 0;
        for i in 0..300 {
            // Every third one is there already, as soon as anybody looks.
            let a = if i % 3 == 0 { i + 1 } else { 100_000 + i };
            if other.batch_execute(&format!("INSERT INTO t VALUES ({a}, -1)")).await.is_err() {
                refused += 1;
            }
        }
        refused
    });
    let created = client.batch_execute("CREATE UNIQUE INDEX t_a ON t (a)").await;
    writer.await.unwrap();
    let twice = "SELECT count(*) FROM (SELECT a FROM t GROUP BY a HAVING count(*) > 1) AS twice";
    let is_unique = first_value(&client, twice).await == "0";
    match created {
        Ok(()) => assert!(is_unique, "an index over rows that are not unique"),
        Err(error) => assert_eq!(error.code().unwrap().code(), "23505"),
    }
}
