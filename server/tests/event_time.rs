//! Event time through a real server: rows that come too late, watermarks that do not go back over a kill, state that is
//! freed, and random orders of rows against a model.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use support::{Server, eventually, first_value, rows, sorted};
use tokio_postgres::Client;
use weir_common::seam::Rng;

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

const TABLES: &str =
    "CREATE TABLE ev (k int, ts timestamp, v int, WATERMARK FOR ts AS ts - INTERVAL '10 seconds');
     CREATE TABLE late (job text, relation text, message text, \"row\" jsonb)";

/// Counts by minute and key; late rows go into a table.
const FINAL: &str = "SELECT k, window_start, window_end, count(*) AS n, sum(v) AS s
     FROM TUMBLE(ev, ts, INTERVAL '1 minute') GROUP BY k, window_start, window_end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_left_out_counted_and_kept() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    run(&client, TABLES).await;
    run(&client, &format!("CREATE MATERIALIZED VIEW done AS {FINAL} EMIT ON WINDOW CLOSE LATE INTO late"))
        .await;
    run(&client, &format!("CREATE MATERIALIZED VIEW live AS {FINAL}")).await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:01', 5), (2, '2024-05-01 10:00:59', 6)").await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:30', 7), (1, '2024-05-01 10:01:09.999999', 8)")
        .await;
    assert!(rows(&client, "SELECT * FROM done").await.is_empty(), "10:01:00 has not passed");
    run(&client, "INSERT INTO ev VALUES (2, '2024-05-01 10:00:00', 9)").await;
    run(&client, "INSERT INTO ev VALUES (3, '2024-05-01 10:01:10', 1)").await;
    let first =
        ["1|2024-05-01 10:00:00|2024-05-01 10:01:00|2|12", "2|2024-05-01 10:00:00|2024-05-01 10:01:00|2|15"];
    let first = first.map(str::to_owned);
    assert_eq!(sorted(&client, "SELECT * FROM done").await, first);
    // Too late: an insert, and what UPDATE takes back and puts in its place.
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:58', 100), (3, '2024-05-01 10:01:00', 2)")
        .await;
    assert_eq!(sorted(&client, "SELECT * FROM done").await, first);
    let letter = eventually(&client, "SELECT count(*) FROM late", |n| n == "1").await;
    assert_eq!(letter, "1");
    let kept = "SELECT job, relation, \"row\"->>'v', message FROM late";
    let message = "the row came after event time had passed its \"window_start\"";
    assert_eq!(rows(&client, kept).await, [format!("done|ev|100|{message}")]);
    let count = "SELECT view, rows FROM sys.late_rows";
    assert_eq!(sorted(&client, count).await, ["done|1", "live|1"]);
    let marks = "SELECT view, relation, column_name, event_time::timestamp, blocks FROM sys.watermarks \
         WHERE view = 'done'";
    let expected = [
        "done|done|window_end|2024-05-01 10:02:00|NULL",
        "done|done|window_start|2024-05-01 10:01:00|NULL",
        "done|ev|ts|2024-05-01 10:01:10|t",
    ];
    assert_eq!(sorted(&client, marks).await, expected);
    server.crash_and_restart();
    client = server.connect().await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:57', 100)").await;
    assert_eq!(sorted(&client, "SELECT * FROM done").await, first);
    assert_eq!(sorted(&client, count).await, ["done|2", "live|2"]);
    assert_eq!(sorted(&client, marks).await, expected);
    eventually(&client, "SELECT count(*) FROM late", |n| n == "2").await;
    run(&client, "INSERT INTO ev VALUES (9, '2024-05-01 11:00:00', 0)").await;
    let all = "SELECT k, window_start::time, n, s FROM done WHERE k = 3";
    assert_eq!(rows(&client, all).await, ["3|10:01:00|2|3"]);
}

/// One epoch after another of a random stream, as a view should see it.
#[derive(Default)]
struct Model {
    watermark: Option<i64>,
    /// By (key, minute): rows and their sum.
    groups: BTreeMap<(i64, i64), (i64, i64)>,
    late: i64,
}

impl Model {
    /// Takes the rows (key, second, value) of a commit in.
    fn commit(&mut self, rows: &[(i64, i64, i64)]) {
        for (key, second, value) in rows {
            let minute = second.div_euclid(60);
            if self.watermark.is_some_and(|watermark| minute < watermark.div_euclid(60)) {
                self.late += 1;
                continue;
            }
            let group = self.groups.entry((*key, minute)).or_default();
            *group = (group.0 + 1, group.1 + value);
        }
        let latest = rows.iter().map(|(_, second, _)| second - 10).max();
        self.watermark = self.watermark.max(latest);
    }

    fn rows(&self, is_final: bool) -> Vec<String> {
        let closed = |minute: i64| self.watermark.is_some_and(|w| minute < w.div_euclid(60));
        let shown = self.groups.iter().filter(|((_, minute), _)| !is_final || closed(*minute));
        let mut rows: Vec<String> =
            shown.map(|((key, minute), (n, sum))| format!("{key}|{}|{n}|{sum}", minute * 60)).collect();
        rows.sort();
        rows
    }
}

/// Rows in are rows counted and rows late, exactly, in whatever order they come, over kills, at every parallelism.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_streams_agree_with_a_model() {
    for (seed, workers) in [(1, "1"), (2, "3"), (3, "2")] {
        let mut rng = Rng::seeded(seed);
        let mut server = Server::start_with(&["--workers", workers]);
        let mut client = server.connect().await;
        run(&client, TABLES).await;
        run(&client, &format!("CREATE MATERIALIZED VIEW done AS {FINAL} EMIT ON WINDOW CLOSE")).await;
        run(&client, &format!("CREATE MATERIALIZED VIEW live AS {FINAL}")).await;
        let (mut model, mut now, mut sent) = (Model::default(), 1_000_000i64, 0);
        for round in 0..60 {
            let rows: Vec<(i64, i64, i64)> = (0..1 + rng.below(8))
                .map(|_| {
                    let disorder = if rng.below(6) == 0 { 150 } else { 9 };
                    (rng.below(4) as i64, now - rng.below(disorder) as i64, rng.below(100) as i64)
                })
                .collect();
            now += if rng.below(10) == 0 { 200 } else { rng.below(15) as i64 };
            let value = |(k, s, v): &(i64, i64, i64)| format!("({k}, to_timestamp({s})::timestamp, {v})");
            let values: Vec<String> = rows.iter().map(value).collect();
            run(&client, &format!("INSERT INTO ev VALUES {}", values.join(", "))).await;
            model.commit(&rows);
            sent += rows.len() as i64;
            if rng.below(4) == 0 {
                let query = |view: &str| {
                    format!("SELECT k, extract(epoch FROM window_start)::bigint, n, s FROM {view}")
                };
                assert_eq!(sorted(&client, &query("done")).await, model.rows(true), "seed {seed}, {round}");
                assert_eq!(sorted(&client, &query("live")).await, model.rows(false), "seed {seed}, {round}");
            }
            if rng.below(12) == 0 {
                server.crash_and_restart();
                client = server.connect().await;
            }
        }
        for view in ["done", "live"] {
            let late = format!("SELECT coalesce(sum(rows), 0) FROM sys.late_rows WHERE view = '{view}'");
            // A read waits until the view has come as far as its commits.
            let _ = rows(&client, &format!("SELECT count(*) FROM {view}")).await;
            assert_eq!(first_value(&client, &late).await, model.late.to_string(), "seed {seed}, {view}");
        }
        let counted: i64 = model.groups.values().map(|(n, _)| n).sum();
        assert_eq!(counted + model.late, sent);
        assert!(model.late > 0, "seed {seed}: some rows are late");
    }
}

/// State goes with the windows, in both ways of emission, for aggregates, joins, Top-N and sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_windows_leave_no_state() {
    let server = Server::start_with(&["--workers", "2"]);
    let client = server.connect().await;
    run(&client, TABLES).await;
    let views = [
        ("counts", FINAL.to_owned()),
        ("distincts", "SELECT window_start, count(DISTINCT v) FROM TUMBLE(ev, ts, INTERVAL '1 minute') GROUP BY 1".into()),
        (
            "pairs",
            "SELECT a.k, a.v, b.v AS w, a.ts FROM ev a JOIN ev b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '2 seconds'"
                .into(),
        ),
        (
            "firsts",
            "SELECT DISTINCT ON (window_start, k) window_start, k, v FROM TUMBLE(ev, ts, INTERVAL '1 minute') \
             ORDER BY window_start, k, v DESC"
                .into(),
        ),
        (
            "sessions",
            "SELECT k, window_start, window_end, count(*) AS n FROM SESSION(ev PARTITION BY k, ts, INTERVAL '5 seconds') \
             GROUP BY k, window_start, window_end"
                .into(),
        ),
    ];
    for (name, query) in &views {
        run(&client, &format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await;
        run(&client, &format!("CREATE MATERIALIZED VIEW {name}_final AS {query} EMIT ON WINDOW CLOSE")).await;
    }
    let batch = |from: i64| {
        format!(
            "INSERT INTO ev SELECT i % 500, '2024-05-01'::timestamp + i * INTERVAL '20 milliseconds', i \
             FROM generate_series({from}, {}) i",
            from + 9_999
        )
    };
    // Over 50 minutes; then nothing for an hour.
    for part in 0..15 {
        run(&client, &batch(part * 10_000)).await;
    }
    run(&client, "INSERT INTO ev VALUES (-1, '2024-05-01 02:00:00', 0)").await;
    let emitted = first_value(&client, "SELECT sum(n) FROM counts_final").await;
    assert_eq!(emitted, "150000");
    assert_eq!(first_value(&client, "SELECT sum(n) FROM sessions_final").await, "150000");
    let same = "SELECT count(*) FROM (SELECT * FROM pairs WHERE k >= 0 EXCEPT SELECT * FROM pairs_final) x";
    assert_eq!(first_value(&client, same).await, "0");
    // What is left in memory is small beside what the same views take that have no end.
    let before = "SELECT sum(state_bytes) FROM sys.jobs WHERE name NOT LIKE '%final'";
    let closing: i64 = first_value(&client, before).await.parse().unwrap();
    run(&client, "CREATE TABLE endless AS SELECT * FROM ev").await;
    for (name, query) in &views {
        let query = query.replace("ev ", "endless ").replace("(ev,", "(endless,");
        run(&client, &format!("CREATE MATERIALIZED VIEW all_{name} AS {query}")).await;
    }
    let keeping = "SELECT sum(state_bytes) FROM sys.jobs WHERE name LIKE 'all%'";
    let keeping: i64 = first_value(&client, keeping).await.parse().unwrap();
    assert!(closing * 2 < keeping, "{closing} bytes, with no end {keeping}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_said() {
    let server = Server::start_with(&["--workers", "1"]);
    let client = server.connect().await;
    run(&client, TABLES).await;
    for (sql, code, part) in [
        ("CREATE TABLE x (a int, WATERMARK FOR a)", "42804", "must be a timestamp"),
        ("CREATE TABLE x (a int, WATERMARK FOR b)", "42703", "does not exist"),
        (
            "CREATE TABLE x (a timestamp, b int, WATERMARK FOR a AS a - b * INTERVAL '1 s')",
            "42P17",
            "monotone",
        ),
        (
            "CREATE TABLE x (a timestamp, WATERMARK FOR a AS '2000-01-01'::timestamp - (a - '2001-01-01'))",
            "42P17",
            "monotone",
        ),
        (
            "CREATE MATERIALIZED VIEW x AS SELECT k, count(*) FROM ev GROUP BY k EMIT ON WINDOW CLOSE",
            "0A000",
            "EMIT ON WINDOW CLOSE",
        ),
        ("CREATE MATERIALIZED VIEW x WITH (lateness = '1 s') AS SELECT * FROM ev", "22023", "unknown option"),
        (
            "CREATE MATERIALIZED VIEW x WITH (allowed_lateness = '-1 s') AS SELECT * FROM ev",
            "22023",
            "allowed_lateness",
        ),
        ("ALTER TABLE ev DROP COLUMN ts", "0A000", "watermark"),
        ("ALTER TABLE ev ALTER COLUMN ts TYPE timestamptz", "0A000", "watermark"),
        ("SELECT * FROM ev EMIT ON WINDOW CLOSE", "42601", ""),
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
        assert_eq!(error.code().code(), code, "{sql}: {}", error.message());
        assert!(error.message().contains(part), "{sql}: {}", error.message());
    }
    // A renamed column takes its watermark along.
    run(&client, "ALTER TABLE ev RENAME COLUMN ts TO at").await;
    run(&client, "CREATE MATERIALIZED VIEW x AS SELECT at, k FROM ev EMIT ON WINDOW CLOSE").await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:00', 1), (2, '2024-05-01 10:01:00', 1)").await;
    assert_eq!(rows(&client, "SELECT k FROM x").await, ["1"]);
    let shown = first_value(&client, "SHOW CREATE ev").await;
    assert!(shown.contains("ev"), "{shown}");
}

/// Rows leave by themselves, on time, also when nothing arrives; those of the future come by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_and_go_with_the_clock() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    run(
        &client,
        "CREATE TABLE seen (id int PRIMARY KEY, at timestamptz);
         CREATE MATERIALIZED VIEW recent AS SELECT id FROM seen WHERE at > now() - INTERVAL '2 seconds';
         CREATE MATERIALIZED VIEW due AS SELECT count(*) AS n FROM seen WHERE at <= now();
         CREATE MATERIALIZED VIEW busy AS
             SELECT id % 2 AS k, count(*) AS n FROM seen WHERE at BETWEEN now() - INTERVAL '1 hour' AND now()
             GROUP BY 1 HAVING count(*) > 1",
    )
    .await;
    run(
        &client,
        "INSERT INTO seen VALUES (1, now()), (2, now() - INTERVAL '1 day'), (3, now() + INTERVAL '1 day'),
             (4, NULL), (5, now() + INTERVAL '1 second')",
    )
    .await;
    assert_eq!(sorted(&client, "SELECT * FROM recent").await, ["1", "3", "5"]);
    assert_eq!(rows(&client, "SELECT * FROM due").await, ["2"]);
    assert!(rows(&client, "SELECT * FROM busy").await.is_empty());
    eventually(&client, "SELECT n FROM due", |n| n == "3").await;
    assert_eq!(rows(&client, "SELECT * FROM busy").await, ["1|2"]);
    let left = "SELECT string_agg(id::text, ',' ORDER BY id) FROM recent";
    eventually(&client, left, |ids| ids == "3").await;
    run(&client, "UPDATE seen SET at = now() WHERE id = 2; DELETE FROM seen WHERE id = 3").await;
    assert_eq!(rows(&client, "SELECT * FROM recent").await, ["2"]);
    server.crash_and_restart();
    client = server.connect().await;
    eventually(&client, "SELECT count(*) FROM recent", |n| n == "0").await;
    assert_eq!(rows(&client, "SELECT * FROM due").await, ["3"]);
    run(&client, "DELETE FROM seen WHERE id = 1").await;
    assert_eq!(rows(&client, "SELECT * FROM due").await, ["2"]);
    for (query, part) in [
        ("SELECT now() AS n, id FROM seen", "now()"),
        ("SELECT id FROM seen WHERE at > now() - INTERVAL '1 month'", "now()"),
        ("SELECT id FROM seen WHERE at > now() OR id = 1", "now()"),
        ("SELECT id FROM seen WHERE at::date = current_date", "current_date"),
    ] {
        let error =
            client.batch_execute(&format!("CREATE MATERIALIZED VIEW x AS {query}")).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "0A000", "{query}");
        assert!(error.message().contains(part), "{query}: {}", error.message());
    }
}

/// What a lookup join has found stays found, also when the server is killed right after the view was made.
/// One row from the far future does not end all windows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_time_advances_by_the_jump_that_is_declared() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    let table = "CREATE TABLE ev (ts timestamp, WATERMARK FOR ts AS ts WITH (max_jump = '30 seconds'))";
    run(&client, table).await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW done AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(ev, ts, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE",
    )
    .await;
    let time = "SELECT event_time FROM sys.watermarks WHERE relation = 'ev'";
    for (sql, expected) in [
        ("INSERT INTO ev VALUES ('2024-05-01 10:00:00')", "2024-05-01 10:00:00"),
        ("INSERT INTO ev VALUES ('2099-01-01'), ('2024-05-01 10:00:01')", "2024-05-01 10:00:30"),
        ("INSERT INTO ev VALUES ('2024-05-01 10:00:20')", "2024-05-01 10:00:30"),
        ("INSERT INTO ev VALUES ('2024-05-01 10:00:40')", "2024-05-01 10:00:40"),
    ] {
        run(&client, sql).await;
        eventually(&client, time, |at| at.starts_with(expected)).await;
    }
    server.crash_and_restart();
    client = server.connect().await;
    assert!(rows(&client, "SELECT * FROM done").await.is_empty(), "10:01 has not passed");
    run(&client, "INSERT INTO ev VALUES ('2024-05-01 10:01:01')").await;
    assert_eq!(rows(&client, "SELECT * FROM done").await, ["2024-05-01 10:00:00|4"]);
    let written = rows(&client, "SHOW CREATE TABLE ev").await.join("\n");
    assert!(written.contains("max_jump = '00:00:30'"), "{written}");
    for (options, code) in
        [("nope = 1", "0A000"), ("max_jump = '-1 s'", "22023"), ("max_jump = '1 mon'", "22023")]
    {
        let sql = format!("CREATE TABLE x (ts timestamp, WATERMARK FOR ts AS ts WITH ({options}))");
        assert_eq!(support::sqlstate(&client, &sql).await, code, "{sql}");
    }
}

/// A table keeps when each row came; a view of a stream sees it in its epochs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processing_time_is_kept() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    run(
        &client,
        "CREATE TABLE seen (k int PRIMARY KEY, p AS PROCTIME(), WATERMARK FOR p AS p - INTERVAL '1 second')",
    )
    .await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW by_time AS SELECT window_start, count(*) AS n \
        FROM TUMBLE(seen, p, INTERVAL '1 hour') GROUP BY window_start",
    )
    .await;
    let before = first_value(&client, "SELECT now()").await;
    run(&client, "INSERT INTO seen VALUES (1), (2)").await;
    let of_first = format!("SELECT count(*) FROM seen WHERE p BETWEEN '{before}' AND now()");
    assert_eq!(first_value(&client, &of_first).await, "2");
    let kept = sorted(&client, "SELECT k, p FROM seen").await;
    server.crash_and_restart();
    client = server.connect().await;
    assert_eq!(sorted(&client, "SELECT k, p FROM seen").await, kept);
    run(&client, "UPDATE seen SET k = 3 WHERE k = 1").await;
    let later = "SELECT (SELECT p FROM seen WHERE k = 3) > (SELECT p FROM seen WHERE k = 2)";
    assert_eq!(first_value(&client, later).await, "t");
    assert_eq!(first_value(&client, "SELECT sum(n) FROM by_time").await, "2");
    for (sql, code) in [
        ("INSERT INTO seen (k, p) VALUES (4, now())", "428C9"),
        ("CREATE TABLE x (a int, b AS a + 1)", "0A000"),
        ("CREATE MATERIALIZED VIEW x AS SELECT k, PROCTIME() AS p FROM seen", "0A000"),
        ("CREATE MATERIALIZED VIEW x AS SELECT k FROM seen WHERE p > PROCTIME()", "0A000"),
    ] {
        assert_eq!(support::sqlstate(&client, sql).await, code, "{sql}");
    }
    let now = "SELECT PROCTIME() = now(), pg_typeof(PROCTIME())";
    assert_eq!(rows(&client, now).await, ["t|timestamp with time zone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_looked_up_stays_after_a_kill() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    run(
        &client,
        "CREATE TABLE sale (id int PRIMARY KEY, item text);
         CREATE TABLE cost (item text PRIMARY KEY, price int);
         CREATE MATERIALIZED VIEW priced AS
             SELECT s.id, c.price FROM sale s JOIN cost FOR SYSTEM_TIME AS OF PROCTIME() c ON s.item = c.item",
    )
    .await;
    for sql in [
        "INSERT INTO cost VALUES ('tea', 1)",
        "INSERT INTO sale VALUES (1, 'tea')",
        "UPDATE cost SET price = 2",
        "INSERT INTO sale VALUES (2, 'tea')",
    ] {
        run(&client, sql).await;
    }
    assert_eq!(sorted(&client, "SELECT * FROM priced").await, ["1|1", "2|2"]);
    server.crash_and_restart();
    client = server.connect().await;
    assert_eq!(sorted(&client, "SELECT * FROM priced").await, ["1|1", "2|2"]);
}

/// In a transaction block everything is there at once; infinity is no time; EMIT is a name where nothing else follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_infinity_and_aliases() {
    let server = Server::start_with(&["--workers", "2"]);
    let client = server.connect().await;
    run(&client, "BEGIN").await;
    run(&client, TABLES).await;
    run(&client, &format!("CREATE MATERIALIZED VIEW done AS {FINAL} EMIT ON WINDOW CLOSE")).await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:00', 1), (2, 'infinity', 2)").await;
    run(&client, "COMMIT").await;
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:00:30', 1), (1, '-infinity', 2)").await;
    assert!(rows(&client, "SELECT * FROM done WHERE k = 1 AND window_start > '-infinity'").await.is_empty());
    run(&client, "INSERT INTO ev VALUES (1, '2024-05-01 10:02:00', 1)").await;
    let minute = "SELECT n FROM done WHERE window_start = '2024-05-01 10:00:00'";
    assert_eq!(rows(&client, minute).await, ["2"]);
    let joined = "SELECT count(*) FROM ev JOIN ev emit ON ev.ts = emit.ts";
    assert_eq!(rows(&client, joined).await, ["5"]);
}
