//! DML as a driver uses it: RETURNING in both protocols, ON CONFLICT under concurrency.

#![allow(clippy::unwrap_used)]

mod support;

use support::raw::{Raw, Reply};
use support::{Server, first_value, rows, sqlstate};

#[tokio::test]
async fn returning_in_the_extended_protocol() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text DEFAULT 'none')").await.unwrap();
    let insert =
        client.prepare("INSERT INTO t (k) VALUES ($1), ($2) RETURNING k + 1 AS next, v").await.unwrap();
    let names: Vec<&str> = insert.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["next", "v"]);
    let rows = client.query(&insert, &[&1, &2]).await.unwrap();
    let values: Vec<(i32, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(values, [(2, "none"), (3, "none")]);
    let update = client.prepare("UPDATE t SET v = $1 WHERE k = $2 RETURNING v").await.unwrap();
    assert_eq!(client.query_one(&update, &[&"new", &2]).await.unwrap().get::<_, &str>(0), "new");
    assert_eq!(client.execute(&update, &[&"x", &99]).await.unwrap(), 0);
    let gone = client.query_one("DELETE FROM t WHERE k = $1 RETURNING *", &[&2]).await.unwrap();
    assert_eq!((gone.get::<_, i32>(0), gone.get::<_, &str>(1)), (2, "new"));
    assert_eq!(client.query("DELETE FROM t RETURNING k", &[]).await.unwrap().len(), 1);
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
}

#[test]
fn returning_has_the_tag_of_its_command() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    raw.query("CREATE TABLE t (k int PRIMARY KEY)");
    let tag = |replies: &[Reply]| {
        let complete = replies.iter().find(|r| r.kind == 'C').unwrap();
        String::from_utf8_lossy(&complete.body).trim_end_matches('\0').to_owned()
    };
    let kinds = |replies: &[Reply]| replies.iter().map(|r| r.kind).collect::<String>();
    let inserted = raw.query("INSERT INTO t VALUES (1), (2) RETURNING k");
    assert_eq!((kinds(&inserted).as_str(), tag(&inserted).as_str()), ("TDDCZ", "INSERT 0 2"));
    let updated = raw.query("UPDATE t SET k = k + 10 RETURNING k");
    assert_eq!(tag(&updated), "UPDATE 2");
    let deleted = raw.query("DELETE FROM t WHERE k = 11 RETURNING k");
    assert_eq!(tag(&deleted), "DELETE 1");
    assert_eq!(tag(&raw.query("TRUNCATE t")), "TRUNCATE TABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_upserts_count_every_one_once() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 60;
    const KEYS: usize = 5;
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE counts (k int PRIMARY KEY, c int NOT NULL)").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW total AS SELECT sum(c) AS c FROM counts").await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = server.connect().await;
        writers.push(tokio::spawn(async move {
            let mut plain = 0;
            for round in 0..ROUNDS {
                let key = (writer + round) % KEYS;
                let upsert = format!(
                    "INSERT INTO counts VALUES ({key}, 1), ({}, 1) ON CONFLICT (k) DO UPDATE SET c = counts.c + 1",
                    key + KEYS
                );
                client.batch_execute(&upsert).await.unwrap();
                // A plain INSERT takes no lock and may come between an upsert's read and its commit.
                let fresh = 100 + round;
                let insert = format!("INSERT INTO counts VALUES ({fresh}, 1)");
                match client.batch_execute(&insert).await {
                    Ok(()) => plain += 1,
                    Err(e) => assert_eq!(e.code().unwrap().code(), "23505"),
                }
                let upsert = format!(
                    "INSERT INTO counts VALUES ({fresh}, 1) ON CONFLICT (k) DO UPDATE SET c = counts.c + 1"
                );
                client.batch_execute(&upsert).await.unwrap();
            }
            plain
        }));
    }
    let mut plain = 0;
    for writer in writers {
        plain += writer.await.unwrap();
    }
    assert_eq!(plain, ROUNDS, "each new key was inserted once");
    let expected = WRITERS * ROUNDS * 3 + plain;
    let counted: usize = first_value(&client, "SELECT sum(c) FROM counts").await.parse().unwrap();
    assert_eq!(counted, expected);
    assert_eq!(first_value(&client, "SELECT c FROM total").await, counted.to_string());
}

#[tokio::test]
async fn a_block_whose_decision_was_overtaken_is_told_to_retry() {
    let server = Server::start();
    let (one, two) = (server.connect().await, server.connect().await);
    one.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text)").await.unwrap();
    one.batch_execute("BEGIN; INSERT INTO t VALUES (1, 'one') ON CONFLICT (k) DO NOTHING").await.unwrap();
    two.batch_execute("INSERT INTO t VALUES (1, 'two')").await.unwrap();
    assert_eq!(sqlstate(&one, "COMMIT").await, "40001");
    assert_eq!(rows(&one, "SELECT v FROM t").await, ["two"]);
    let again = "BEGIN; INSERT INTO t VALUES (1, 'one') ON CONFLICT (k) DO UPDATE SET v = excluded.v; COMMIT";
    one.batch_execute(again).await.unwrap();
    assert_eq!(rows(&one, "SELECT v FROM t").await, ["one"]);
}
