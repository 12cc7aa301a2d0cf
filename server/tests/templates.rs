//! INSERTs that come again and again with other literals mean what each of them says.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, first_value, rows, sqlstate};

#[tokio::test]
async fn an_insert_means_the_same_however_often_it_came() {
    let server = Server::start();
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (k bigserial PRIMARY KEY, i int, s varchar(3), n numeric(6,2), f float8); \
             CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS rows, sum(i) AS i, sum(n) AS n FROM t",
        )
        .await
        .unwrap();
    for i in 0..5 {
        let insert = format!("INSERT INTO t (i, s, n, f) VALUES ({i}, 'x{i}', {i}, -{i})");
        client.batch_execute(&insert).await.unwrap();
    }
    assert_eq!(rows(&client, "SELECT * FROM sums").await, ["5|10|10.00"]);
    assert_eq!(rows(&client, "SELECT * FROM t WHERE k = 5").await, ["5|4|x4|4.00|-4"]);
    for (values, state) in [
        ("(99999999999, 'x', 1, 1)", "22003"),
        ("(1, 'long', 1, 1)", "22001"),
        ("(1, 'x', 123456, 1)", "22003"),
        ("('a', 'x', 1, 1)", "22P02"),
    ] {
        assert_eq!(sqlstate(&client, &format!("INSERT INTO t (i, s, n, f) VALUES {values}")).await, state);
    }
    let text = "long".to_owned();
    let error = client.execute("INSERT INTO t (s) VALUES ($1)", &[&text]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22001", "a parameter is no other than a literal");
    client.batch_execute("INSERT INTO t (i, s, n, f) VALUES ('7', 'it', '1.555', 'NaN')").await.unwrap();
    assert_eq!(rows(&client, "SELECT i, s, n, f FROM t ORDER BY k DESC LIMIT 1").await, ["7|it|1.56|NaN"]);
}

#[tokio::test]
async fn it_follows_the_catalog_the_settings_and_the_block() {
    let server = Server::start();
    let client = server.connect().await;
    client
        .batch_execute("CREATE TABLE t (k int PRIMARY KEY, d timestamptz); SET TimeZone = 'Asia/Tokyo'")
        .await
        .unwrap();
    for k in 0..3 {
        client.batch_execute(&format!("INSERT INTO t VALUES ({k}, '2026-01-02 09:00')")).await.unwrap();
    }
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (3, '2026-01-02 09:00')").await.unwrap();
    client.batch_execute("ALTER TABLE t ADD COLUMN more int DEFAULT 7").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (4, '2026-01-02 09:00')").await.unwrap();
    let all = "SELECT k, d, more FROM t WHERE k > 1 ORDER BY k";
    assert_eq!(
        rows(&client, all).await,
        ["2|2026-01-02 00:00:00+00|7", "3|2026-01-02 09:00:00+00|7", "4|2026-01-02 09:00:00+00|7",]
    );
    assert_eq!(sqlstate(&client, "INSERT INTO t VALUES (4, '2026-01-02 09:00')").await, "23505");
    client.batch_execute("BEGIN; INSERT INTO t VALUES (5, '2026-01-02 09:00')").await.unwrap();
    assert_eq!(sqlstate(&client, "INSERT INTO t VALUES (5, '2026-01-02 09:00')").await, "23505");
    assert_eq!(sqlstate(&client, "INSERT INTO t VALUES (6, '2026-01-02 09:00')").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (5, '2026-01-02 09:00')").await.unwrap();
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "6");
    client.batch_execute("DROP TABLE t; CREATE TABLE t (name text, yes bool)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (8, '1')").await.unwrap();
    assert_eq!(rows(&client, "SELECT * FROM t").await, ["8|t"]);
    assert_eq!(sqlstate(&client, "INSERT INTO t VALUES (8, 1)").await, "42804");
    assert_eq!(sqlstate(&client, "INSERT INTO t VALUES (9, 1)").await, "42804");
}
