//! COPY over the wire: both directions, both protocols, errors with their place, CopyFail, cancel, kills.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures::{SinkExt, StreamExt, TryStreamExt};
use support::raw::{Raw, Reply, error_code};
use support::{Server, eventually, first_value, rows, sqlstate};
use tokio_postgres::{Client, NoTls};

async fn copy_in(client: &Client, sql: &str, pieces: &[&str]) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, bytes::Bytes>(sql).await?;
    let mut sink = Box::pin(sink);
    for piece in pieces {
        sink.send(bytes::Bytes::copy_from_slice(piece.as_bytes())).await?;
    }
    sink.as_mut().finish().await
}

async fn copy_out(client: &Client, sql: &str) -> String {
    let pieces: Vec<bytes::Bytes> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn rows_come_in_and_go_out_again() {
    let server = Server::start();
    let client = server.connect().await;
    let create = "CREATE TABLE t (k int PRIMARY KEY, v text, d date, n numeric(6,2) DEFAULT 1.5, b bool)";
    client.batch_execute(create).await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS c FROM t").await.unwrap();
    let text = ["1\tone\\ttab\t2024-01-01\t1.50\tt\n2\t\\N\t\\N\t", "-3.1\tf\n3\t\t1999-12-31\t\\N\t\\N\n"];
    assert_eq!(copy_in(&client, "COPY t FROM STDIN", &text).await.unwrap(), 3);
    assert_eq!(first_value(&client, "SELECT c FROM n").await, "3");
    let whole = "1\tone\\ttab\t2024-01-01\t1.50\tt\n2\t\\N\t\\N\t-3.10\tf\n3\t\t1999-12-31\t\\N\t\\N\n";
    assert_eq!(copy_out(&client, "COPY (SELECT * FROM t ORDER BY k) TO STDOUT").await, whole);
    let csv = "COPY (SELECT k, v, n FROM t ORDER BY k) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (v))";
    assert_eq!(copy_out(&client, csv).await, "k,v,n\n1,\"one\ttab\",1.50\n2,,-3.10\n3,\"\",\n");
    let csv = ["k;v\r\n10;\"a;\"\"b\"\"\r\nc\"\r\n11;", "NULL\r\n12;\"NULL\""];
    let sql = "COPY t (k, v) FROM STDIN WITH (FORMAT csv, DELIMITER ';', NULL 'NULL', HEADER match)";
    assert_eq!(copy_in(&client, sql, &csv).await.unwrap(), 3);
    let read = "SELECT k, v, n FROM t WHERE k >= 10 ORDER BY k";
    let expected = ["10|a;\"b\"\r\nc|1.50", "11|NULL|1.50", "12|NULL|1.50"];
    assert_eq!(rows(&client, read).await, expected);
    assert_eq!(first_value(&client, "SELECT count(*) FROM t WHERE v IS NULL").await, "2");
    let old = "COPY t (v, k) FROM STDIN DELIMITERS ',' WITH NULL AS 'none'";
    assert_eq!(copy_in(&client, old, &["x,20\nnone,21\n\\.\nignored"]).await.unwrap(), 2);
    assert_eq!(copy_out(&client, "COPY n TO STDOUT").await, "8\n");
    let deleted = "COPY (DELETE FROM t WHERE k >= 20 RETURNING k) TO STDOUT CSV HEADER";
    assert_eq!(copy_out(&client, deleted).await.lines().count(), 3);
    assert_eq!(first_value(&client, "SELECT c FROM n").await, "6");
}

#[tokio::test]
async fn an_error_names_its_line_and_leaves_nothing() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text NOT NULL)").await.unwrap();
    let cases = [
        ("1\tx\ntwo\ty\n", "22P02", "COPY t, line 2, column k: \"two\""),
        ("1\tx\n2\n", "22P04", "COPY t, line 2: \"2\""),
        ("1\tx\textra\n", "22P04", "COPY t, line 1: \"1\tx\textra\""),
        ("1\tx\n2\t\\N\n", "23502", "COPY t, line 2: \"2\t\\N\""),
        ("99999999999\tx\n", "22003", "COPY t, line 1, column k: \"99999999999\""),
    ];
    for (text, code, context) in cases {
        let error = copy_in(&client, "COPY t FROM STDIN", &[text]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.where_()), (code, Some(context)), "{text:?}");
    }
    let error = copy_in(&client, "COPY t FROM STDIN", &["1\tx\n1\ty\n"]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23505");
    let error = copy_in(&client, "COPY t FROM STDIN CSV", &["1,\"x\n"]).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "unterminated CSV quoted field");
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
    for (sql, code) in [
        ("COPY t FROM '/etc/passwd'", "42501"),
        ("COPY t TO PROGRAM 'cat'", "42501"),
        ("COPY t FROM STDIN (FORMAT binary)", "0A000"),
        ("COPY t FROM STDIN (FORMAT xml)", "22023"),
        ("COPY t FROM STDIN (DELIMITER 'ab')", "0A000"),
        ("COPY t FROM STDIN (QUOTE 'x')", "0A000"),
        ("COPY t FROM STDIN (NONSENSE)", "42601"),
        ("COPY t FROM STDIN (FORMAT csv, FORMAT csv)", "42601"),
        ("COPY t (nope) FROM STDIN", "42703"),
        ("COPY nowhere TO STDOUT", "42P01"),
    ] {
        assert_eq!(sqlstate(&client, sql).await, code, "{sql}");
    }
}

#[tokio::test]
async fn a_copy_belongs_to_its_transaction() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let sink = transaction.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"1\n2\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    let seen: i64 = transaction.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(seen, 2);
    transaction.rollback().await.unwrap();
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
    // A sink that is dropped half-way fails the COPY; the connection goes on.
    let mut sink = Box::pin(client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
    sink.send(bytes::Bytes::from_static(b"1\n")).await.unwrap();
    drop(sink);
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
}

fn kinds(replies: &[Reply]) -> String {
    replies.iter().map(|r| r.kind).collect()
}

#[test]
fn messages_of_a_copy_in_the_simple_protocol() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    raw.query("CREATE TABLE t (k int, v text)");
    raw.send('Q', b"COPY t FROM STDIN; SELECT count(*) FROM t\0");
    assert_eq!(raw.reply().unwrap().kind, 'G');
    raw.send('d', b"1\tx\n2");
    raw.send('d', b"\ty\n");
    raw.send('c', b"");
    let replies = raw.replies();
    assert_eq!(kinds(&replies), "CTDCZ");
    assert_eq!(replies[0].body, b"COPY 2\0");
    assert_eq!(kinds(&raw.query("COPY t TO STDOUT")), "HddcCZ");
    raw.send('Q', b"COPY t FROM STDIN\0");
    assert_eq!(raw.reply().unwrap().kind, 'G');
    raw.send('f', b"changed my mind\0");
    let replies = raw.replies();
    assert_eq!((kinds(&replies).as_str(), error_code(&replies).as_str()), ("EZ", "57014"));
    // After an error what is left of the COPY is ignored.
    raw.send('Q', b"COPY t FROM STDIN\0");
    assert_eq!(raw.reply().unwrap().kind, 'G');
    raw.send('d', &[b"1\tx\n".repeat(400_000), b"z\tx\n".to_vec()].concat());
    assert_eq!(error_code(&raw.replies()), "22P02");
    raw.send('d', b"1\tx\n");
    raw.send('c', b"");
    assert_eq!(kinds(&raw.query("SELECT count(*) FROM t")), "TDCZ");
    // Another message in the middle ends it.
    raw.send('Q', b"COPY t FROM STDIN\0");
    assert_eq!(raw.reply().unwrap().kind, 'G');
    assert_eq!(error_code(&raw.query("SELECT 1")), "08P01");
}

#[tokio::test]
async fn a_copy_that_waits_is_cancelled() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int)").await.unwrap();
    let token = client.cancel_token();
    let other = server.connect().await;
    let mut sink = Box::pin(client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
    sink.send(bytes::Bytes::from_static(b"1\n")).await.unwrap();
    token.cancel_query(NoTls).await.unwrap();
    // The request travels on a connection of its own: the end of the data must not overtake it.
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY t FROM%'";
    eventually(&other, waiting, |count| count == "0").await;
    let error =
        tokio::time::timeout(Duration::from_secs(10), sink.as_mut().finish()).await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
    // Rows on their way out are cancelled too.
    let many = "COPY (SELECT a, b FROM generate_series(1, 20000) a, generate_series(1, 20000) b) TO STDOUT";
    let mut out = Box::pin(client.copy_out(many).await.unwrap());
    out.next().await.unwrap().unwrap();
    token.cancel_query(NoTls).await.unwrap();
    let failed = loop {
        match out.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the rows came to an end"),
        }
    };
    assert_eq!(failed.code().unwrap().code(), "57014");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_copies_leaves_each_whole_or_absent() {
    const ROWS: usize = 2_000;
    let mut server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (batch int, n int, PRIMARY KEY (batch, n))").await.unwrap();
    client
        .batch_execute("CREATE MATERIALIZED VIEW b AS SELECT batch, count(*) AS c FROM t GROUP BY batch")
        .await
        .unwrap();
    let mut next = 0;
    let mut acknowledged = Vec::new();
    let mut met = 0;
    for round in 0..3 {
        let (told, mut progress) = tokio::sync::mpsc::unbounded_channel();
        let client = server.connect().await;
        let first = next;
        let writer = tokio::spawn(async move {
            for batch in first.. {
                let text: String = (0..ROWS).map(|n| format!("{batch}\t{n}\n")).collect();
                if copy_in(&client, "COPY t FROM STDIN", &[&text]).await.is_err() || told.send(batch).is_err()
                {
                    return batch;
                }
            }
            unreachable!("there are always more batches")
        });
        for _ in 0..3 + round {
            acknowledged.push(progress.recv().await.unwrap());
        }
        server.crash_and_restart();
        next = writer.await.unwrap() + 1;
        while let Some(batch) = progress.recv().await {
            acknowledged.push(batch);
        }
        met += 1;
        let client = server.connect().await;
        let partial = format!("SELECT count(*) FROM b WHERE c <> {ROWS}");
        assert_eq!(first_value(&client, &partial).await, "0");
        let present = rows(&client, "SELECT batch FROM b").await;
        for batch in &acknowledged {
            assert!(present.contains(&batch.to_string()), "batch {batch} was acknowledged and is gone");
        }
        assert!(present.len() <= acknowledged.len() + met, "more batches than were sent");
    }
}
