//! Sinks into tables through kills: every row is delivered exactly once, and a table that refuses one is left alone.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Server, eventually, first_value, rows, sqlstate};
use tokio_postgres::Client;

const EVENTS: &str = "120000";

/// A source that goes on for some seconds, a log of it without a key, and a count with one.
async fn create(client: &Client) {
    let source = format!(
        "CREATE SOURCE made (n bigint, k int) WITH (connector = 'datagen', events = '{EVENTS}', rate = '20000', \
         fields.k.min = '0', fields.k.max = '9')"
    );
    for sql in [
        source.as_str(),
        "CREATE TABLE log (n bigint NOT NULL)",
        "CREATE TABLE counts (k int PRIMARY KEY, n bigint, note text DEFAULT 'kept')",
        "CREATE SINK to_log INTO log AS SELECT n FROM made",
        "CREATE SINK to_counts INTO counts (k, n) AS SELECT k, count(*) FROM made GROUP BY k",
    ] {
        // The kill may come early: what there is goes on.
        let _ = client.batch_execute(sql).await;
    }
}

async fn check(client: &Client) {
    let all = format!("{EVENTS}|{EVENTS}");
    let logged = "SELECT count(*)::text || '|' || count(DISTINCT n)::text FROM log";
    eventually(client, logged, |found| {
        let count: u64 = found.split('|').next().unwrap().parse().unwrap();
        assert!(count <= EVENTS.parse().unwrap(), "a row was delivered twice: {found}");
        found == all
    })
    .await;
    eventually(client, "SELECT sum(n) FROM counts", |n| n == EVENTS).await;
    assert_eq!(first_value(client, "SELECT count(*) FROM counts WHERE note = 'kept'").await, "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_each_step_loses_and_doubles_nothing() {
    use weir_common::failpoint::{
        CHECKPOINT_AFTER_WRITE, CHECKPOINT_BEFORE_WRITE, LOG_AFTER_SYNC, LOG_BEFORE_SYNC,
    };
    for (failpoint, passed) in [
        (LOG_BEFORE_SYNC, 40),
        (LOG_AFTER_SYNC, 40),
        (CHECKPOINT_BEFORE_WRITE, 3),
        (CHECKPOINT_AFTER_WRITE, 3),
    ] {
        let mut server = Server::start_failing(&format!("{failpoint}={passed}*off->panic"));
        server.expect_complaints();
        create(&server.connect().await).await;
        assert!(!server.wait().success(), "{failpoint} was not hit");
        server.restart();
        let client = server.connect().await;
        let is_there = "SELECT count(*) FROM sys.jobs WHERE kind = 'sink'";
        assert_eq!(first_value(&client, is_there).await, "2", "{failpoint} came before the sinks");
        check(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_between_deliveries_lose_and_double_nothing() {
    let mut server = Server::start();
    create(&server.connect().await).await;
    let mut before = 0;
    for _ in 0..4 {
        let client = server.connect().await;
        let grown = |n: &str| n.parse::<u64>().unwrap() > before;
        before = eventually(&client, "SELECT count(*) FROM log", grown).await.parse().unwrap();
        server.crash_and_restart();
    }
    assert!(before < EVENTS.parse().unwrap(), "the kills met nothing under way");
    check(&server.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_table_refuses_fails_the_sink_alone() {
    let mut server = Server::start();
    server.expect_complaints();
    let client = server.connect().await;
    for sql in [
        "CREATE TABLE src (id int PRIMARY KEY, v int)",
        "CREATE TABLE dst (id int PRIMARY KEY, v int CHECK (v < 100))",
        "INSERT INTO src VALUES (1, 1)",
        "CREATE SINK s INTO dst FROM src",
        "INSERT INTO src VALUES (2, 100)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let refused = "CREATE SINK r INTO dst AS SELECT id + 10 AS id, v FROM src GROUP BY 1, 2";
    assert_eq!(sqlstate(&client, refused).await, "42P10");
    let refused = "CREATE SINK r INTO dst AS SELECT id, v + 100 AS v FROM src";
    assert_eq!(sqlstate(&client, refused).await, "23514", "at once it fails the statement");
    assert_eq!(first_value(&client, "SELECT count(*) FROM sys.jobs WHERE name = 'r'").await, "0");
    let state = "SELECT state || ' ' || coalesce(sqlstate, '') FROM sys.jobs WHERE name = 's'";
    for _ in 0..2 {
        let client = server.connect().await;
        eventually(&client, state, |state| state == "failed 23514").await;
        let error = first_value(&client, "SELECT error FROM sys.jobs WHERE name = 's'").await;
        assert!(error.contains("violates check constraint \"dst_v_check\""), "{error}");
        assert_eq!(rows(&client, "SELECT id FROM dst").await, ["1"]);
        // The reason outlives the server, and nothing is delivered again.
        server.crash_and_restart();
    }
    let client = server.connect().await;
    assert_eq!(sqlstate(&client, "RESUME SINK s").await, "55000");
    for sql in
        ["INSERT INTO dst VALUES (3, 3)", "INSERT INTO src VALUES (4, 4)", "DROP SINK s", "DROP TABLE dst"]
    {
        client.batch_execute(sql).await.unwrap();
    }
}

/// Whoever reads before it writes holds the table's lock, and the sink waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_and_a_writer_of_the_same_rows_take_turns() {
    let server = Server::start();
    let (client, writer) = (server.connect().await, server.connect().await);
    for sql in [
        "CREATE TABLE src (id int PRIMARY KEY, v int)",
        "CREATE TABLE dst (id int PRIMARY KEY, v int, seen int DEFAULT 0)",
        "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(v) AS v, sum(seen) AS seen FROM dst",
        "INSERT INTO src SELECT i, 0 FROM generate_series(1, 50) i",
        "CREATE SINK s INTO dst (id, v) FROM src",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let updates = tokio::spawn(async move {
        for _ in 0..40 {
            writer.batch_execute("UPDATE dst SET seen = seen + 1").await.unwrap();
        }
    });
    for _ in 0..40 {
        client.batch_execute("UPDATE src SET v = v + 1").await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    updates.await.unwrap();
    client.batch_execute("FLUSH").await.unwrap();
    let of_table = "SELECT count(*), sum(v), sum(seen) FROM dst";
    assert_eq!(rows(&client, of_table).await, ["50|2000|2000"]);
    assert_eq!(rows(&client, "SELECT n, v, seen FROM total").await, ["50|2000|2000"]);
}
