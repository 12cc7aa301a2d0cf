//! A view over much data as its user sees it while it is built: progress, and an end to it when it is not wanted.
//!
//! A failpoint makes the operators slow, so that there is something to see and to cancel.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::raw::{Raw, Reply};
use support::{DEADLINE, Server, eventually, first_value, rows, sqlstate};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

const ROWS: usize = 300_000;
const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT k % 10 AS g, count(*) AS n FROM t GROUP BY 1";
const READ_SO_FAR: &str = "SELECT coalesce(max(rows_done), 0) FROM sys.backfill";

/// A server with a table, on which each call of an operator takes this long.
async fn slow_server(pause_ms: u32) -> Server {
    let server = Server::start_failing(&format!("{}=sleep({pause_ms})", weir_common::failpoint::JOB_RUN));
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k bigint, v text)").await.unwrap();
    let insert = format!("INSERT INTO t SELECT i, 'value' FROM generate_series(1, {ROWS}) i");
    client.batch_execute(&insert).await.unwrap();
    server
}

/// What a client hears between its statement and the end of it, and when the first thing came.
fn told(raw: &mut Raw) -> (Vec<Reply>, Instant) {
    let mut replies = Vec::new();
    let mut first_notice = None;
    loop {
        let reply = raw.reply().unwrap();
        if reply.kind == 'N' {
            first_notice.get_or_insert(Instant::now());
        }
        let is_end = reply.kind == 'Z';
        replies.push(reply);
        if is_end {
            return (replies, first_notice.expect("a notice"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_while_a_view_is_built() {
    let server = slow_server(700).await;
    let client = server.connect().await;
    let simple = |raw: &mut Raw| raw.send('Q', format!("{VIEW}\0").as_bytes());
    let extended = |raw: &mut Raw| {
        raw.send('P', format!("\0{VIEW}\0\0\0").as_bytes());
        raw.send('B', b"\0\0\0\0\0\0\0\0");
        raw.send('E', b"\0\0\0\0\0");
        raw.send('S', b"");
    };
    for send in [&simple as &dyn Fn(&mut Raw), &extended] {
        let mut raw = Raw::session(server.port);
        send(&mut raw);
        let reading = tokio::task::spawn_blocking(move || told(&mut raw));
        let seen = "SELECT count(*) FROM sys.backfill WHERE view = 'v' AND stage = 'reading' AND rows_done > 0 \
                    AND rows_done <= rows_total AND percent BETWEEN 0 AND 100 AND started_at < now() AND eta > now()";
        eventually(&client, seen, |count| count == "1").await;
        let (replies, first_notice) = reading.await.unwrap();
        assert!(first_notice.elapsed() > Duration::from_millis(500), "the notice came with the end");
        let notices: Vec<&Reply> = replies.iter().filter(|r| r.kind == 'N').collect();
        let message = notices[0].field('M').unwrap();
        assert!(message.starts_with("building \"v\": ") && message.contains("of 300000 rows ("), "{message}");
        assert!(notices[0].field('H').unwrap().contains("CANCEL JOB v"));
        assert!(notices.iter().skip(1).all(|notice| notice.field('H').is_none()));
        assert!(replies.iter().any(|r| r.kind == 'C'), "{replies:?}");
        assert_eq!(first_value(&client, "SELECT sum(n) FROM v").await, ROWS.to_string());
        assert_eq!(first_value(&client, "SELECT count(*) FROM sys.backfill").await, "0");
        client.batch_execute("DROP MATERIALIZED VIEW v").await.unwrap();
    }
}

/// Runs statements on a connection of its own; what the last one fails with.
fn run(client: Client, statements: &'static [&'static str]) -> JoinHandle<(Client, String)> {
    tokio::spawn(async move {
        let mut state = String::new();
        for sql in statements {
            state = sqlstate(&client, sql).await;
        }
        (client, state)
    })
}

/// Asserts that nobody sees anything of the view, that its name is free, and that nothing is kept for it.
async fn nothing_is_left(client: &Client) {
    let traces = "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'v') + (SELECT count(*) FROM sys.jobs) \
                  + (SELECT count(*) FROM sys.backfill)";
    assert_eq!(first_value(client, traces).await, "0");
    for sql in ["CREATE TABLE v (k int)", "DROP TABLE v", "INSERT INTO t VALUES (0, 'more')"] {
        client.batch_execute(sql).await.unwrap();
    }
    assert_eq!(first_value(client, "SELECT backlog FROM sys.relations WHERE name = 't'").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_view_leaves_nothing() {
    let mut server = slow_server(300).await;
    let watcher = server.connect().await;
    let ways: [(&str, &'static [&'static str]); 4] = [
        ("cancel request", &[VIEW]),
        ("cancel job", &[VIEW]),
        ("timeout", &["SET statement_timeout = '700ms'", VIEW]),
        ("cancel job", &["BEGIN", VIEW]),
    ];
    for (way, statements) in ways {
        let client = server.connect().await;
        let cancel = client.cancel_token();
        let running = run(client, statements);
        if way != "timeout" {
            eventually(&watcher, READ_SO_FAR, |rows| rows != "0").await;
        }
        let begin = Instant::now();
        match way {
            "cancel request" => cancel.cancel_query(NoTls).await.unwrap(),
            "cancel job" => {
                watcher.batch_execute("CANCEL JOB v").await.unwrap();
                if statements.len() == 1 {
                    nothing_is_left(&watcher).await;
                }
            }
            _ => {}
        }
        let (client, state) = running.await.unwrap();
        assert_eq!(state, "57014", "{way}");
        assert!(begin.elapsed() < DEADLINE / 3, "{way} took {:?}", begin.elapsed());
        client.batch_execute("ROLLBACK; RESET statement_timeout").await.unwrap();
        nothing_is_left(&client).await;
    }
    assert_eq!(sqlstate(&watcher, "CANCEL JOB v").await, "42704");
    server.crash_and_restart();
    let client = server.connect().await;
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, (ROWS + 5).to_string());
    assert!(!server.log().contains("what objects left"), "the state backend held something of the view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_block_made_before_a_cancelled_view_can_be_gone_back_to() {
    let server = slow_server(300).await;
    let watcher = server.connect().await;
    let statements = &["BEGIN", "CREATE TABLE before (k int)", "SAVEPOINT s", VIEW];
    let running = run(server.connect().await, statements);
    eventually(&watcher, READ_SO_FAR, |rows| rows != "0").await;
    watcher.batch_execute("CANCEL JOB v").await.unwrap();
    let (client, state) = running.await.unwrap();
    assert_eq!(state, "57014");
    client.batch_execute("ROLLBACK TO s; INSERT INTO before VALUES (1); COMMIT").await.unwrap();
    assert_eq!(rows(&watcher, "SELECT k FROM before").await, ["1"]);
    nothing_is_left(&watcher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_statement_builds_can_be_cancelled() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int)").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT k FROM t").await.unwrap();
    for (sql, expected) in [
        ("CANCEL JOB v", "55000"),
        ("CANCEL JOB t", "42809"),
        ("CANCEL JOB nothing", "42704"),
        ("CANCEL JOB", "42601"),
    ] {
        assert_eq!(sqlstate(&client, sql).await, expected, "{sql}");
    }
    assert_eq!(first_value(&client, "SELECT count(*) FROM v").await, "0");
}

/// Of a small table beside a large one all is read before anybody knows that the large one takes several steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_read_early_takes_part_in_every_step() {
    for workers in ["1", "2"] {
        let options = ["--workers", workers, "--batch-rows", "1", "--state-memory", "64"];
        let server = Server::start_with(&options);
        let client = server.connect().await;
        // Equal rows are read at once: the step ends with the last one, after several rounds of the worker.
        let tables = "CREATE TABLE large (k boolean, v int); CREATE TABLE small (k boolean, w int);
             INSERT INTO large SELECT false, 1 FROM generate_series(1, 60) i";
        client.batch_execute(tables).await.unwrap();
        for kind in ["LEFT JOIN", "JOIN"] {
            let query = format!("SELECT l.v, s.w FROM large l {kind} small s ON l.k = s.k WHERE NOT l.k");
            let create = format!("CREATE MATERIALIZED VIEW joined AS {query}");
            tokio::time::timeout(DEADLINE, client.batch_execute(&create)).await.expect(kind).unwrap();
            let expected = rows(&client, &format!("SELECT count(*), sum(v), sum(w) FROM ({query}) q")).await;
            assert_eq!(
                rows(&client, "SELECT count(*), sum(v), sum(w) FROM joined").await,
                expected,
                "{kind}"
            );
            client.batch_execute("DROP MATERIALIZED VIEW joined").await.unwrap();
        }
    }
}
