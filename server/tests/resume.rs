//! SUBSCRIBE goes on from its token after the server was killed: each change once, or a clear error.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, eventually, rows, sqlstate};
use tokio_postgres::Client;

/// Op, time and data of what a cursor has now.
async fn fetch(client: &Client, cursor: &str) -> Vec<(String, String, String)> {
    let found = rows(client, &format!("FETCH ALL FROM {cursor}")).await;
    let parts = |line: &String| {
        let mut parts = line.splitn(3, '|').map(str::to_owned);
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
    };
    found.iter().map(parts).collect()
}

/// The same without times.
fn changes(rows: &[(String, String, String)]) -> Vec<String> {
    rows.iter().map(|(op, _, data)| format!("{op}|{data}")).collect()
}

async fn run(client: &Client, statements: &[&str]) {
    for sql in statements {
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
}

/// What was acknowledged is in the base rows: a checkpoint was written.
async fn checkpointed(client: &Client) {
    let in_memory = "SELECT coalesce(sum(bytes), 0) FROM sys.relations WHERE name IN ('t', 'bag', 'v')";
    eventually(client, in_memory, |bytes| bytes == "0").await;
}

async fn create(client: &Client) {
    run(
        client,
        &[
            "CREATE TABLE t (k int PRIMARY KEY, v int)",
            "CREATE TABLE bag (x int)",
            "CREATE MATERIALIZED VIEW v AS SELECT k % 2 AS odd, sum(v) AS total FROM t GROUP BY 1",
            "INSERT INTO t VALUES (1, 10), (2, 20)",
            "INSERT INTO bag VALUES (0)",
        ],
    )
    .await;
}

/// Kills the server before or after a checkpoint has what the clients have not seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_after_a_kill() {
    for after_checkpoint in [false, true, true] {
        let mut server = Server::start();
        let client = server.connect().await;
        create(&client).await;
        checkpointed(&client).await;
        run(
            &client,
            &[
                "DECLARE ct CURSOR FOR SUBSCRIBE t WITH (snapshot = false)",
                "DECLARE cb CURSOR FOR SUBSCRIBE bag WITH (snapshot = false)",
                "DECLARE cv CURSOR FOR SUBSCRIBE v WITH (snapshot = false)",
                "INSERT INTO t VALUES (3, 30)",
                "INSERT INTO bag VALUES (1)",
            ],
        )
        .await;
        let [seen_t, seen_b, seen_v] =
            [fetch(&client, "ct").await, fetch(&client, "cb").await, fetch(&client, "cv").await];
        assert_eq!(changes(&seen_t), ["insert|3|30"]);
        assert_eq!(changes(&seen_b), ["insert|1"]);
        assert_eq!(changes(&seen_v), ["update_delete|1|10", "update_insert|1|40"]);
        let [token_t, token_b, token_v] =
            [&seen_t, &seen_b, &seen_v].map(|rows| rows.last().unwrap().1.clone());
        run(
            &client,
            &[
                "UPDATE t SET v = 31 WHERE k = 3",
                "DELETE FROM t WHERE k = 2",
                "INSERT INTO bag VALUES (2), (2)",
                "SELECT count(*) FROM v",
            ],
        )
        .await;
        // Given out, but lost on its way.
        assert_eq!(changes(&fetch(&client, "cb").await), ["insert|2", "insert|2"]);
        if after_checkpoint {
            checkpointed(&client).await;
        }
        server.crash_and_restart();
        let client = server.connect().await;
        for (cursor, relation, token) in
            [("ct", "t", &token_t), ("cb", "bag", &token_b), ("cv", "v", &token_v)]
        {
            let declare =
                format!("DECLARE {cursor} CURSOR FOR SUBSCRIBE {relation} WITH (after = '{token}')");
            run(&client, &[&declare]).await;
        }
        run(&client, &["INSERT INTO t VALUES (5, 5)", "DELETE FROM bag WHERE x = 0"]).await;
        let [more_t, more_b, more_v] =
            [fetch(&client, "ct").await, fetch(&client, "cb").await, fetch(&client, "cv").await];
        let expected = ["update_delete|3|30", "update_insert|3|31", "delete|2|20", "insert|5|5"];
        assert_eq!(changes(&more_t), expected);
        assert_eq!(changes(&more_b), ["insert|2", "insert|2", "delete|0"]);
        let expected = [
            "update_delete|1|40",
            "update_insert|1|41",
            "delete|0|20",
            "update_delete|1|41",
            "update_insert|1|46",
        ];
        assert_eq!(changes(&more_v), expected);
        let times: Vec<&String> = more_t.iter().map(|(_, time, _)| time).collect();
        assert!(times.is_sorted() && times[0] > &token_t, "times go on growing: {token_t} {times:?}");
        // Once more from the same token, after another kill, and from a later one.
        let later = more_t[1].1.clone();
        checkpointed(&client).await;
        server.crash_and_restart();
        let client = server.connect().await;
        for (token, skipped) in [(&token_t, 0), (&later, 2)] {
            let declare = format!("DECLARE c CURSOR FOR SUBSCRIBE t WITH (after = '{token}')");
            run(&client, &[&declare]).await;
            assert_eq!(changes(&fetch(&client, "c").await), changes(&more_t)[skipped..]);
            run(&client, &["CLOSE c"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_is_a_clear_error() {
    let mut server = Server::start();
    let client = server.connect().await;
    create(&client).await;
    checkpointed(&client).await;
    run(
        &client,
        &["DECLARE c CURSOR FOR SUBSCRIBE t WITH (snapshot = false)", "INSERT INTO t VALUES (3, 30)"],
    )
    .await;
    let token = fetch(&client, "c").await.last().unwrap().1.clone();
    server.crash_and_restart();
    let client = server.connect().await;
    let after = |relation: &str, token: &str| {
        format!("DECLARE d CURSOR FOR SUBSCRIBE {relation} WITH (after = '{token}')")
    };
    assert_eq!(sqlstate(&client, &after("t", "2020-01-01 00:00:00+00")).await, "55000");
    // Nobody subscribed to these before.
    run(&client, &["INSERT INTO bag VALUES (7)"]).await;
    assert_eq!(sqlstate(&client, &after("bag", &token)).await, "55000");
    // A view that begins again has another history.
    run(&client, &["DROP MATERIALIZED VIEW v", "CREATE MATERIALIZED VIEW v AS SELECT k FROM t"]).await;
    assert_eq!(sqlstate(&client, &after("v", &token)).await, "55000");
    run(&client, &[&after("t", &token)]).await;
    assert_eq!(changes(&fetch(&client, "d").await), [""; 0]);
}
