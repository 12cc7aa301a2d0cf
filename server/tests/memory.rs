//! The memory limit: what does not fit is kept on disk, spilled, or refused with 53200; the server stays within it.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Server, first_value, rows, sqlstate};
use tokio_postgres::Client;

const LIMIT_MIB: usize = 512;

fn start() -> Server {
    Server::start_with(&["--workers", "2", "--memory-limit", &format!("{LIMIT_MIB}MiB")])
}

/// The most memory that the server has occupied so far, in MiB.
fn peak_mib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() >> 10
}

fn assert_within_limit(server: &Server) {
    let peak = peak_mib(server);
    assert!(peak * 10 <= LIMIT_MIB * 12, "{peak} MiB are more than 1.2 times {LIMIT_MIB} MiB");
}

/// A table of `rows` rows with keys from 0 on, inserted in parts.
async fn fill(client: &Client, table: &str, rows: usize) {
    const PART: usize = 100_000;
    client.batch_execute(&format!("CREATE TABLE {table} (k bigint, name text, v bigint)")).await.unwrap();
    for from in (0..rows).step_by(PART) {
        let to = rows.min(from + PART) - 1;
        let insert = format!(
            "INSERT INTO {table} SELECT i, 'a name that takes some room, number ' || i, i % 10 \
             FROM generate_series({from}, {to}) AS i"
        );
        client.batch_execute(&insert).await.unwrap();
    }
}

#[tokio::test]
async fn groups_beyond_the_limit_live_on_disk() {
    const ROWS: usize = 2_000_000;
    // Without a limit.
    const WHOLE_STATE_MIB: usize = 218;
    let mut server = start();
    let client = server.connect().await;
    fill(&client, "t", ROWS).await;
    let view =
        "CREATE MATERIALIZED VIEW groups AS SELECT name, count(*) AS n, sum(v) AS s FROM t GROUP BY name";
    client.batch_execute(view).await.unwrap();
    let totals = "SELECT count(*) || ' ' || sum(n) || ' ' || sum(s) FROM groups";
    assert_eq!(first_value(&client, totals).await, format!("{ROWS} {ROWS} {}", ROWS / 10 * 45));
    assert_within_limit(&server);
    let state = first_value(&client, "SELECT state_bytes >> 20 FROM sys.jobs").await;
    let kept = state.parse::<usize>().unwrap();
    assert!(kept * 10 < WHOLE_STATE_MIB * 9, "{kept} MiB of state are in memory: little was shed");
    for change in [
        "INSERT INTO t SELECT k, name, 5 FROM t WHERE k % 1000 = 0",
        "DELETE FROM t WHERE k % 1000 = 1",
        "UPDATE t SET v = v + 1 WHERE k % 1000 = 2",
    ] {
        client.batch_execute(change).await.unwrap();
    }
    let recomputed = "SELECT count(*) || ' ' || sum(n) || ' ' || sum(s) FROM \
        (SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k) AS g";
    let expected = first_value(&client, recomputed).await;
    assert_eq!(first_value(&client, totals).await, expected);
    let one = "SELECT n, s FROM groups WHERE name LIKE '%number 2000'";
    assert_eq!(rows(&client, one).await, ["2|5"]);
    assert_within_limit(&server);
    server.crash_and_restart();
    let client = server.connect().await;
    assert_eq!(first_value(&client, totals).await, expected);
    client.batch_execute("UPDATE t SET v = v + 1 WHERE k = 2000").await.unwrap();
    assert_eq!(rows(&client, one).await, ["2|7"]);
    assert_within_limit(&server);
}

#[tokio::test]
async fn narrow_rows_that_come_fast_stay_within_the_limit() {
    let server = start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k bigint, v bigint)").await.unwrap();
    for part in 0..40 {
        let (from, to) = (part * 100_000, part * 100_000 + 99_999);
        let insert = format!("INSERT INTO t SELECT i, i % 10 FROM generate_series({from}, {to}) AS i");
        client.batch_execute(&insert).await.unwrap();
    }
    assert_eq!(first_value(&client, "SELECT count(*) || ' ' || sum(v) FROM t").await, "4000000 18000000");
    assert_within_limit(&server);
}

/// A checkpoint takes several times the memory of what it writes: a source must not fill it with what none has written.
#[tokio::test]
async fn a_source_waits_for_checkpoints() {
    const EVENTS: usize = 1_500_000;
    let server = start();
    let client = server.connect().await;
    for table in ["auction", "bid"] {
        let source = format!(
            "CREATE SOURCE {table} WITH (connector = 'nexmark', table = '{table}', events = '{EVENTS}')"
        );
        client.batch_execute(&source).await.unwrap();
    }
    let query = include_str!("data/nexmark/q20.sql");
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW q AS {query}")).await.unwrap();
    let read = (EVENTS / 50 * 49).to_string();
    let progress = "SELECT coalesce(error, rows_in::text) FROM sys.jobs WHERE name = 'q'";
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let so_far = first_value(&client, progress).await;
        if so_far == read {
            break;
        }
        assert!(so_far.parse::<usize>().is_ok() && Instant::now() < end, "{so_far}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.batch_execute("FLUSH").await.unwrap();
    let bids_and_categories = "SELECT count(*) > 200000 AND min(category) = 10 AND max(category) = 10 FROM q";
    assert_eq!(first_value(&client, bids_and_categories).await, "t");
    assert_within_limit(&server);
}

#[tokio::test]
async fn who_takes_too_much_is_refused_alone() {
    let mut server = start();
    server.expect_complaints();
    let client = server.connect().await;
    fill(&client, "t", 500_000).await;
    client
        .batch_execute("CREATE MATERIALIZED VIEW small AS SELECT v, count(*) AS n FROM t GROUP BY v")
        .await
        .unwrap();
    // Every pair is a row of state.
    let hopeless = "CREATE MATERIALIZED VIEW pairs AS SELECT count(DISTINCT (a.k * 500000 + b.k)) AS n \
        FROM t AS a JOIN t AS b ON a.v = b.v";
    assert_eq!(sqlstate(&client, hopeless).await, "53200");
    assert_eq!(sqlstate(&client, "SELECT array_agg(repeat(name, 30)) FROM t").await, "53200");
    let large = "INSERT INTO t SELECT k, repeat(name, 50), v FROM t";
    assert_eq!(sqlstate(&client, large).await, "53200");
    assert_within_limit(&server);
    let small = "SELECT count(*) || ' ' || sum(n) FROM small";
    assert_eq!(first_value(&client, small).await, "10 500000");
    client.batch_execute("DELETE FROM t WHERE k < 10").await.unwrap();
    assert_eq!(first_value(&client, small).await, "10 499990");
    assert_eq!(first_value(&client, "SELECT count(*) FROM pg_class WHERE relname = 'pairs'").await, "0");
}

/// A server that takes large snapshots in many steps.
const STEPS: [&str; 4] = ["--state-memory", "64KiB", "--batch-rows", "512"];

/// 50,000 rows; the sum of `v` is 0 until the last ones come.
const SLOW_START: &str = "CREATE TABLE t (k int PRIMARY KEY, v int); \
    INSERT INTO t SELECT i, CASE WHEN i > 49000 THEN 1 ELSE 0 END FROM generate_series(1, 50000) AS i";

#[tokio::test]
async fn what_fails_only_between_two_steps_does_not_fail() {
    let mut server = Server::start_with(&STEPS);
    let client = server.connect().await;
    client.batch_execute(SLOW_START).await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW part AS SELECT 50000 / sum(v) AS q FROM t").await.unwrap();
    assert_eq!(first_value(&client, "SELECT q FROM part").await, "50");
    server.expect_complaints();
    let wrong = "CREATE MATERIALIZED VIEW none AS SELECT 1 / (sum(v) - 1000) AS q FROM t";
    assert_eq!(sqlstate(&client, wrong).await, "22012");
}
