//! Kills: whatever was acknowledged is there once, statements are whole or absent, views agree with tables.
//!
//! Random kills while statements are in flight; `crash_matrix` has a kill at each failpoint. A kill that met nothing
//! proves nothing, so the tests assert that it met something.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use support::ledger::{MONEY, check, create, insert_entries, transfer};
use support::{Server, eventually, first_value};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Reads table and views in one statement until the connection breaks; returns how often.
fn watch_money(client: Client) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let sql =
            "SELECT (SELECT sum(balance) FROM accounts), (SELECT total FROM money), (SELECT total FROM rich)";
        for reads in 0.. {
            let Ok(messages) = client.simple_query(sql).await else { return reads };
            for message in messages {
                if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                    for column in 0..3 {
                        assert_eq!(
                            row.get(column),
                            Some(MONEY.to_string().as_str()),
                            "money was made or lost"
                        );
                    }
                }
            }
        }
        unreachable!("the loop ends with the connection")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_and_double_nothing() {
    let mut server = Server::start();
    create(&server.connect().await).await;
    let next = Arc::new(AtomicI64::new(0));
    let mut all = Vec::new();
    let mut met = 0;
    for round in 0..6u64 {
        let mut writers = Vec::new();
        for _ in 0..3 {
            writers.push(insert_entries(server.connect().await, next.clone()));
        }
        let transfers = transfer(server.connect().await);
        let watcher = watch_money(server.connect().await);
        let target = next.load(Ordering::SeqCst) + 40 + 90 * round as i64;
        let end = tokio::time::Instant::now() + support::DEADLINE;
        while next.load(Ordering::SeqCst) < target {
            assert!(tokio::time::Instant::now() < end, "the writers make no progress");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.crash_and_restart();
        for writer in writers {
            let written = writer.await.unwrap();
            met += usize::from(written.in_flight.is_some());
            all.push(written);
        }
        transfers.await.unwrap();
        watcher.await.unwrap();
        check(&server.connect().await, &all).await;
    }
    assert!(met >= 6, "kills met {met} statements in flight");
}

/// A server that dies at a failpoint when a block with DDL and rows commits. `None` when a checkpoint met it before.
async fn killed_at_commit(failpoint: &str, passed: u32) -> Option<Server> {
    let mut server = Server::start_failing(&format!("{failpoint}={passed}*off->panic"));
    server.expect_complaints();
    let client = server.connect().await;
    let block = "BEGIN; CREATE TABLE new (k int PRIMARY KEY); INSERT INTO new VALUES (1), (2);
        CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM new; INSERT INTO old VALUES (2)";
    for sql in ["CREATE TABLE old (k int PRIMARY KEY)", "INSERT INTO old VALUES (1)", block] {
        client.batch_execute(sql).await.ok()?;
    }
    assert!(client.batch_execute("COMMIT").await.is_err(), "{failpoint} was not hit");
    assert!(!server.wait().success(), "{failpoint} was not hit");
    Some(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_block_with_ddl_commits_leaves_all_or_nothing() {
    use weir_common::failpoint::{
        CATALOG_AFTER_SYNC, CATALOG_BEFORE_SYNC, DDL_BEFORE_CATALOG_COMMIT, LOG_AFTER_SYNC, LOG_BEFORE_SYNC,
    };
    // The catalog's log is written to for ids, a table, what is prepared, and its commit; the log for one row before.
    // What is not synced may have reached the disk or not; the others must have one outcome.
    for (failpoint, passed, kept) in [
        (CATALOG_BEFORE_SYNC, 2, Some(false)),
        (CATALOG_AFTER_SYNC, 2, Some(false)),
        (LOG_BEFORE_SYNC, 1, None),
        (LOG_AFTER_SYNC, 1, Some(true)),
        (DDL_BEFORE_CATALOG_COMMIT, 0, Some(true)),
        (CATALOG_BEFORE_SYNC, 3, Some(true)),
        (CATALOG_AFTER_SYNC, 3, Some(true)),
    ] {
        let mut server = loop {
            if let Some(server) = killed_at_commit(failpoint, passed).await {
                break server;
            }
        };
        server.restart();
        let client = server.connect().await;
        let of_names = "SELECT count(*) FROM pg_class WHERE relname IN ('new', 'n')";
        let found =
            [first_value(&client, of_names).await, first_value(&client, "SELECT count(*) FROM old").await];
        let is_kept = found == ["2", "2"];
        assert!(is_kept || found == ["0", "1"], "{failpoint} after {passed}: {found:?}");
        assert!(kept.is_none_or(|kept| kept == is_kept), "{failpoint} after {passed}: {found:?}");
        if is_kept {
            assert_eq!(first_value(&client, "SELECT n FROM n").await, "2");
        } else {
            client.batch_execute("CREATE TABLE new (v text); CREATE TABLE n (v text)").await.unwrap();
        }
    }
}

/// A fault that passes: the view, and the view over it, fail, and go on by themselves with every row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_by_a_passing_fault_is_restarted() {
    let failpoint = weir_common::failpoint::JOB_RUN;
    let mut server = Server::start_failing(&format!("{failpoint}=2000*off->2*return"));
    server.expect_complaints();
    let client = server.connect().await;
    create(&client).await;
    let mut written = 0;
    while client.simple_query("SELECT entry_total.total FROM entry_total, rich").await.is_ok() {
        client.batch_execute(&format!("INSERT INTO entries VALUES ({written}, 1)")).await.unwrap();
        written += 1;
        assert!(written < 10_000, "{failpoint} was not hit");
    }
    eventually(&client, "SELECT count(*) FROM sys.jobs WHERE state <> 'running'", |count| count == "0").await;
    assert_eq!(first_value(&client, "SELECT total FROM entry_total").await, written.to_string());
    assert_eq!(first_value(&client, "SELECT total FROM rich").await, MONEY.to_string());
}

#[tokio::test]
async fn a_source_goes_on_where_it_was() {
    let mut server = Server::start();
    let client = server.connect().await;
    let source =
        "CREATE SOURCE bid WITH (connector = 'nexmark', table = 'bid', events = '500000', rate = '100000')";
    client.batch_execute(source).await.unwrap();
    let view = "CREATE MATERIALIZED VIEW v AS SELECT auction % 10 AS k, count(*) AS n, sum(price) AS s FROM bid GROUP BY 1";
    client.batch_execute(view).await.unwrap();
    for _ in 0..2 {
        let client = server.connect().await;
        let before = first_value(&client, "SELECT coalesce(sum(n), 0) FROM v").await;
        eventually(&client, "SELECT coalesce(sum(n), 0) FROM v", |n| {
            n == "460000" || (n != before && n != "0")
        })
        .await;
        server.crash_and_restart();
    }
    let client = server.connect().await;
    eventually(&client, "SELECT sum(n) FROM v", |n| n == "460000").await;
    let again = "CREATE MATERIALIZED VIEW w AS SELECT auction % 10 AS k, count(*) AS n, sum(price) AS s FROM bid GROUP BY 1";
    client.batch_execute(again).await.unwrap();
    let difference = "SELECT count(*) FROM v FULL JOIN w ON v.k = w.k AND v.n = w.n AND v.s = w.s \
                      WHERE v.k IS NULL OR w.k IS NULL";
    assert_eq!(first_value(&client, difference).await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_never_gives_a_value_twice() {
    const WRITERS: usize = 3;
    let mut server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE SEQUENCE s").await.unwrap();
    client.batch_execute("CREATE TABLE t (id bigserial, n bigint)").await.unwrap();
    let mut given = std::collections::HashSet::new();
    for round in 0..4 {
        let (told, mut values) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..WRITERS {
            let (client, told) = (server.connect().await, told.clone());
            tokio::spawn(async move {
                loop {
                    let drawn = client.query_one("SELECT nextval('s')", &[]).await;
                    let inserted = client.batch_execute("INSERT INTO t (n) VALUES (1), (2)").await;
                    let Ok(row) = drawn else { return };
                    if told.send(row.get::<_, i64>(0)).is_err() || inserted.is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let before = given.len();
        while given.len() < before + 100 + 40 * round {
            assert!(given.insert(values.recv().await.unwrap()), "a value was given twice");
        }
        server.crash_and_restart();
        while let Some(value) = values.recv().await {
            assert!(given.insert(value), "value {value} was given twice");
        }
        let client = server.connect().await;
        let same = "SELECT count(*) = count(DISTINCT id) AND count(*) > 0 FROM t";
        assert_eq!(first_value(&client, same).await, "t");
    }
}
