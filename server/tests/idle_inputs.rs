//! Inputs that fall silent: nobody waits for an idle table or split, also after a kill; and sources of one group that wait
//! for each other.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Server, eventually, first_value, rows, sorted, sqlstate};
use tokio_postgres::Client;

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

/// Counts by minute of both tables, of one of them through a view; and minutes of minutes.
const VIEWS: &str = "CREATE TABLE a (ts timestamp, WATERMARK FOR ts AS ts);
     CREATE TABLE b (ts timestamp, WATERMARK FOR ts AS ts WITH (idle_timeout = '500 ms'));
     CREATE MATERIALIZED VIEW through AS SELECT ts FROM b WHERE ts IS NOT NULL;
     CREATE MATERIALIZED VIEW done AS SELECT window_start AS minute, count(*) AS n
         FROM TUMBLE((SELECT ts FROM a UNION ALL SELECT ts FROM through), ts, INTERVAL '1 minute')
         GROUP BY window_start EMIT ON WINDOW CLOSE;
     CREATE MATERIALIZED VIEW hours AS SELECT window_start, sum(n) AS n
         FROM TUMBLE(done, minute, INTERVAL '1 hour') GROUP BY window_start EMIT ON WINDOW CLOSE";

const DONE: &str = "SELECT string_agg(minute::time || ' ' || n, ', ' ORDER BY minute) FROM done";
const LATE: &str = "SELECT rows FROM sys.late_rows WHERE view = 'done'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_table_that_is_idle() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    run(&client, VIEWS).await;
    run(&client, "INSERT INTO b VALUES ('2024-05-01 10:00:02')").await;
    run(&client, "INSERT INTO a VALUES ('2024-05-01 10:00:01'), ('2024-05-01 10:05:00')").await;
    eventually(&client, DONE, |all| all == "10:00:00 2").await;
    let idle = "SELECT view, relation FROM sys.watermarks WHERE idle AND view IN ('through', 'done')";
    assert_eq!(sorted(&client, idle).await, ["done|through", "through|b", "through|through"]);
    // It comes again, behind what was closed without it, and then on time.
    run(&client, "INSERT INTO b VALUES ('2024-05-01 10:04:59')").await;
    eventually(&client, LATE, |late| late == "1").await;
    run(&client, "INSERT INTO b VALUES ('2024-05-01 10:05:30')").await;
    assert_eq!(first_value(&client, DONE).await, "10:00:00 2");
    server.crash_and_restart();
    client = server.connect().await;
    assert_eq!(first_value(&client, DONE).await, "10:00:00 2", "what was closed stays closed");
    run(&client, "INSERT INTO b VALUES ('2024-05-01 10:00:30'), ('2024-05-01 10:05:31')").await;
    run(&client, "INSERT INTO a VALUES ('2024-05-01 11:00:00')").await;
    eventually(&client, DONE, |all| all == "10:00:00 2, 10:05:00 3").await;
    assert_eq!(first_value(&client, LATE).await, "2");
    eventually(&client, "SELECT n FROM hours", |n| n == "5").await;
    server.crash_and_restart();
    client = server.connect().await;
    let closed = "SELECT (SELECT count(*) FROM done) || ' ' || (SELECT n FROM hours)";
    assert_eq!(first_value(&client, closed).await, "2 5", "that it is idle is in the log");
    // A view that begins now finds it idle.
    run(
        &client,
        "CREATE MATERIALIZED VIEW fresh AS SELECT window_start, count(*) AS n
         FROM TUMBLE((SELECT ts FROM a UNION ALL SELECT ts FROM b), ts, INTERVAL '1 hour')
         GROUP BY window_start EMIT ON WINDOW CLOSE",
    )
    .await;
    eventually(&client, "SELECT n FROM fresh", |n| n == "7").await;
}

fn append(folder: &Path, file: &str, text: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(folder.join(file)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_split_that_is_idle() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "old.csv", "2024-05-01 10:00:05\n");
    append(folder.path(), "new.csv", "2024-05-01 10:00:30\n2024-05-01 11:00:00\n");
    let source = format!(
        "CREATE SOURCE s (ts timestamp, WATERMARK FOR ts AS ts WITH (idle_timeout = '500 ms'))
         WITH (connector = 'file', path = '{}', format = 'csv')",
        folder.path().display()
    );
    run(&client, &source).await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW done AS SELECT window_start AS minute, count(*) AS n
         FROM TUMBLE(s, ts, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE",
    )
    .await;
    eventually(&client, DONE, |all| all == "10:00:00 2").await;
    append(folder.path(), "new.csv", "2024-05-01 12:00:00\n");
    eventually(&client, DONE, |all| all == "10:00:00 2, 11:00:00 1").await;
    // What is idle is durable, and with it all that was read before.
    let is_idle = "SELECT bool_and(idle) FROM sys.watermarks WHERE relation = 's'";
    eventually(&client, is_idle, |all| all == "t").await;
    server.crash_and_restart();
    client = server.connect().await;
    append(folder.path(), "old.csv", "2024-05-01 11:00:30\n2024-05-01 12:00:10\n");
    eventually(&client, LATE, |late| late == "1").await;
    append(folder.path(), "new.csv", "2024-05-01 13:00:00\n");
    eventually(&client, DONE, |all| all == "10:00:00 2, 11:00:00 1, 12:00:00 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_source_waits_for_a_slow_one() {
    let server = Server::start_with(&["--workers", "2"]);
    let client = server.connect().await;
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "slow.csv", "2015-07-15 00:00:01\n");
    let aligned = "alignment_group = 'g', max_drift = '10 seconds'";
    let sources = format!(
        "CREATE SOURCE fast (WATERMARK FOR date_time AS date_time WITH ({aligned}))
             WITH (connector = 'nexmark', \"table\" = 'bid');
         CREATE SOURCE slow (ts timestamp, WATERMARK FOR ts AS ts WITH ({aligned}))
             WITH (connector = 'file', path = '{}', format = 'csv');",
        folder.path().display()
    );
    run(&client, &sources).await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW both AS SELECT window_start, count(*) AS n
         FROM TUMBLE((SELECT date_time AS ts FROM fast UNION ALL SELECT ts FROM slow), ts, INTERVAL '1 second')
         GROUP BY window_start",
    )
    .await;
    let fast = "SELECT max(extract(epoch FROM event_time AT TIME ZONE 'UTC' - '2015-07-15'::timestamp))::int \
         FROM sys.watermarks WHERE relation = 'fast'";
    let stopped_at = stops(&client, fast).await;
    assert!(stopped_at > 11, "{stopped_at} s: it reads until it is ahead by ten seconds");
    append(folder.path(), "slow.csv", "2015-07-15 00:05:00\n");
    let ahead = |seconds: &str| seconds.parse::<i64>().is_ok_and(|at| at >= 310);
    eventually(&client, fast, ahead).await;
    let stopped_again = stops(&client, fast).await;
    assert!(
        stopped_again < 700,
        "{stopped_again} s: no more than three epochs of a million rows were under way"
    );
    let wrong = [
        ("CREATE TABLE x (ts timestamp, WATERMARK FOR ts AS ts WITH (max_drift = '1 s'))", "0A000"),
        (
            "CREATE SOURCE x (ts timestamp, WATERMARK FOR ts AS ts WITH (max_jump = '1 s')) WITH (connector = 'datagen')",
            "0A000",
        ),
        (
            "CREATE SOURCE x (ts timestamp, WATERMARK FOR ts AS ts WITH (max_drift = '1 s')) WITH (connector = 'datagen')",
            "22023",
        ),
        (
            "CREATE SOURCE x (ts timestamp, WATERMARK FOR ts AS ts WITH (idle_timeout = 'soon')) WITH (connector = 'datagen')",
            "22007",
        ),
    ];
    for (sql, state) in wrong {
        assert_eq!(sqlstate(&client, sql).await, state, "{sql}");
    }
    let shown = rows(&client, "SHOW CREATE SOURCE fast").await.join("\n");
    let clause = "WATERMARK FOR date_time AS date_time \
         WITH (alignment_group = 'g', max_drift = '00:00:10')";
    assert!(shown.contains(clause), "{shown}");
}

/// The value that a query stays at for a second, in which the source is asked ten times and more.
async fn stops(client: &Client, query: &str) -> i64 {
    let last = RefCell::new((String::new(), Instant::now()));
    let has_stopped = |now: &str| {
        let mut last = last.borrow_mut();
        if now.is_empty() || now == "NULL" || now != last.0 {
            *last = (now.to_owned(), Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(1)
    };
    eventually(client, query, has_stopped).await.parse().unwrap()
}
