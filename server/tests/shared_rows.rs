//! Joins that look a table's rows up instead of keeping them: right after each change, after a kill, and when the table has
//! gone on while the view stood still; and they take less memory than joins that keep the rows.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, eventually, first_value, rows};
use tokio_postgres::Client;

/// Views that join by the whole key of one table or by the beginning of the other's.
const VIEWS: [(&str, &str); 5] = [
    ("inner_join", "SELECT l.id, l.no, l.n, o.price FROM l JOIN o ON o.id = l.id"),
    (
        "filtered",
        "SELECT o.customer, count(*) AS n, sum(l.n * o.price) AS total FROM l JOIN o ON o.id = l.id AND o.price > l.n \
         WHERE o.price % 3 <> 0 GROUP BY o.customer",
    ),
    ("outer_join", "SELECT l.id, l.no, o.customer FROM l LEFT JOIN o ON o.id = l.id"),
    ("with_lines", "SELECT o.id FROM o WHERE EXISTS (SELECT FROM l WHERE l.id = o.id AND l.n > 2)"),
    ("without_lines", "SELECT o.id, o.price FROM o WHERE o.id NOT IN (SELECT l.id FROM l)"),
];

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

/// Every view has the rows that its query has now.
async fn check(client: &Client, when: &str) {
    for (view, query) in VIEWS {
        let mut kept = rows(client, &format!("SELECT * FROM {view}")).await;
        let mut now = rows(client, query).await;
        kept.sort();
        now.sort();
        assert_eq!(kept, now, "{view}, {when}");
    }
}

async fn create(client: &Client) {
    run(
        client,
        "CREATE TABLE o (id int PRIMARY KEY, customer int, price int);
         CREATE TABLE l (id int, no int, n int, PRIMARY KEY (id, no));
         INSERT INTO o SELECT i, i % 7, i FROM generate_series(1, 1000) i;
         INSERT INTO l SELECT i % 900 + 1, i, i % 5 FROM generate_series(1, 3000) i",
    )
    .await;
    for (view, query) in VIEWS {
        run(client, &format!("CREATE MATERIALIZED VIEW {view} AS {query}")).await;
    }
}

/// Rows of both tables change, come, go and move to other keys.
async fn change(client: &Client, round: i32) {
    let new = 100_000 * (round + 1);
    for sql in [
        format!("UPDATE o SET price = price + 7, customer = customer + 1 WHERE id % 3 = {}", round % 3),
        format!("INSERT INTO l SELECT i, {new}, 3 FROM generate_series(300, 700) i"),
        format!("DELETE FROM o WHERE id BETWEEN {} AND {}", 400 + 20 * round, 419 + 20 * round),
        format!("UPDATE o SET id = id + {new} WHERE id BETWEEN 100 AND 120"),
        format!(
            "INSERT INTO o SELECT i, 1, i FROM generate_series({}, {}) i ON CONFLICT DO NOTHING",
            400,
            405 + round
        ),
        format!("BEGIN; DELETE FROM l WHERE no % 41 = {round}; UPDATE o SET price = 1 WHERE id < 50; COMMIT"),
    ] {
        run(client, &sql).await;
    }
}

/// What was acknowledged is in the base rows of the tables: they are ahead of whoever has not read it.
async fn checkpointed(client: &Client) {
    let in_memory = "SELECT coalesce(sum(bytes), 0) FROM sys.relations WHERE name IN ('o', 'l')";
    eventually(client, in_memory, |bytes| bytes == "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_follow_the_rows_that_they_share() {
    for workers in ["1", "3"] {
        let mut server = Server::start_with(&["--workers", workers]);
        let mut client = server.connect().await;
        create(&client).await;
        check(&client, "created").await;
        for round in 0..4 {
            change(&client, round).await;
            check(&client, "changed").await;
            if round % 2 == 1 {
                checkpointed(&client).await;
            }
            change(&client, round + 10).await;
            server.crash_and_restart();
            client = server.connect().await;
            check(&client, "after a kill").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_stood_still_reads_the_rows_as_of_then() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    create(&client).await;
    checkpointed(&client).await;
    for round in 0..3 {
        for (view, _) in VIEWS {
            run(&client, &format!("PAUSE MATERIALIZED VIEW {view}")).await;
        }
        change(&client, round).await;
        checkpointed(&client).await;
        change(&client, round + 10).await;
        server.crash_and_restart();
        client = server.connect().await;
        change(&client, round + 20).await;
        if round == 2 {
            checkpointed(&client).await;
            server.crash_and_restart();
            client = server.connect().await;
        }
        for (view, _) in VIEWS {
            run(&client, &format!("RESUME MATERIALIZED VIEW {view}")).await;
        }
        check(&client, "resumed").await;
        change(&client, round + 30).await;
        check(&client, "changed after").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_share_a_table_take_no_memory_for_it() {
    let server = Server::start_with(&["--workers", "2"]);
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE wide (id int PRIMARY KEY, words text);
         CREATE TABLE narrow (id int PRIMARY KEY, wide int);
         INSERT INTO wide SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 20000) i;
         INSERT INTO narrow SELECT i, i FROM generate_series(1, 200) i",
    )
    .await;
    // The second one joins by an expression: it keeps the rows of both inputs.
    run(
        &client,
        "CREATE MATERIALIZED VIEW shares AS SELECT n.id, w.words FROM narrow n JOIN wide w ON w.id = n.wide;
         CREATE MATERIALIZED VIEW keeps AS SELECT n.id, w.words FROM narrow n JOIN wide w ON w.id + 0 = n.wide",
    )
    .await;
    let state = |view: &str| format!("SELECT state_bytes FROM sys.jobs WHERE name = '{view}'");
    let keeps: i64 = first_value(&client, &state("keeps")).await.parse().unwrap();
    let shares: i64 = first_value(&client, &state("shares")).await.parse().unwrap();
    assert!(keeps > 20_000 * 128, "{keeps} bytes for all rows");
    assert!(shares < keeps / 10, "{shares} bytes where the rows are shared, {keeps} where they are kept");
    let plan = rows(
        &client,
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT n.id, w.words FROM narrow n JOIN wide w ON w.id = n.wide",
    )
    .await;
    let line = "right rows: shared arrangement of wide by [id]";
    assert!(plan.iter().any(|found| found.contains(line)), "{plan:?}");
}
