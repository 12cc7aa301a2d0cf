//! A server that dies while it builds a view: the next one goes on with the building, and does not begin again.
//!
//! ```text
//!   CREATE ─► steps ─► changes ─► one step more ─► crash ─► restart ─► the rest ─► changes
//! ```

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::path::Path;

use support::life::wait_for_checkpoint;
use support::{Server, eventually, first_value, rows};
use tokio_postgres::Client;
use weir_common::failpoint::{BACKFILL_AFTER_STEP, JOB_RUN};

/// Steps of some thousand rows.
const STEPS: [&str; 4] = ["--state-memory", "64KiB", "--batch-rows", "256"];
const ROWS: u64 = 60_000;

/// `k` is the storage key; 60,000 rows.
const TABLE: &str = "CREATE TABLE t (k int PRIMARY KEY, g int, v int); \
    INSERT INTO t SELECT i, i % 7000, i % 100 FROM generate_series(1, 60000) AS i";
/// On both sides of where the reading is: rows that come, go, change, and get other keys.
const CHANGES: &str = "DELETE FROM t WHERE k % 10 = 0; UPDATE t SET v = v + 1, g = g / 2 WHERE k % 10 = 1; \
    INSERT INTO t SELECT k + 100000, g, v FROM t WHERE k % 10 = 2; \
    INSERT INTO t SELECT -k, g, v FROM t WHERE k % 10 = 3 AND k < 60000; \
    UPDATE t SET k = k + 200000 WHERE k % 100 = 4; UPDATE t SET k = 1000000 - k WHERE k > 210000";

fn options(workers: &'static str) -> Vec<&'static str> {
    STEPS.into_iter().chain(["--workers", workers]).collect()
}

/// Starts a server that, while it builds its first view, rests after the third step and dies after the fourth.
fn start(workers: &'static str) -> Server {
    let failpoint = format!("{BACKFILL_AFTER_STEP}=2*off->1*sleep(4000)->panic");
    let mut server = Server::start_failing_with(&options(workers), &failpoint);
    server.expect_complaints();
    server
}

/// Creates a view; changes come while it is built; and the server dies.
async fn die_building(server: &mut Server, view: &str, changes: &str) {
    let (creator, writer) = (server.connect().await, server.connect().await);
    let create = format!("CREATE MATERIALIZED VIEW view AS {view}");
    let creating = tokio::spawn(async move { creator.batch_execute(&create).await });
    eventually(&writer, "SELECT coalesce(max(rows_done), 0) FROM sys.backfill", |rows| rows != "0").await;
    writer.batch_execute(changes).await.unwrap();
    assert!(creating.await.unwrap().is_err());
    assert!(!server.wait().success() && server.log().contains(BACKFILL_AFTER_STEP), "another end");
}

/// Asserts that the view is its query.
async fn assert_right(client: &Client) {
    let query = first_value(client, "SELECT definition FROM pg_matviews WHERE matviewname = 'view'").await;
    let (mut found, mut expected) = (rows(client, "SELECT * FROM view").await, rows(client, &query).await);
    found.sort();
    expected.sort();
    assert!(found == expected, "{} rows, {} are expected", found.len(), expected.len());
    assert!(!found.is_empty());
}

/// The numbers of rows in the lines of the log that say this of the view.
fn logged(server: &Server, what: &str) -> Vec<u64> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains(what) && line.contains("job=view "));
    let rows = |line: &str| line.split_once("rows=").unwrap().1.trim().parse().unwrap();
    lines.map(rows).collect()
}

/// Asserts that so many starts went on with what they found, each with more, and that the last one read what was left
/// of about `total` rows.
async fn assert_went_on(server: &Server, starts: usize, total: u64) {
    let found = logged(server, "goes on with a backfill");
    assert!(found.len() == starts && found[0] > total / 5 && found.is_sorted(), "{found:?}");
    let read = logged(server, "has read the rows of its inputs");
    assert!(read.len() == 1, "{read:?}");
    let all = read[0] + found[starts - 1];
    assert!(all > total * 8 / 10 && all < total * 12 / 10, "{found:?} and {read:?} of {total}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_and_sees_what_has_changed() {
    let view = "SELECT g, count(*) AS n, sum(v) AS s, max(k) AS k FROM t GROUP BY g";
    for (before, after) in [("1", "3"), ("3", "2")] {
        let mut server = start(before);
        server.connect().await.batch_execute(TABLE).await.unwrap();
        die_building(&mut server, view, CHANGES).await;
        server.restart_with(&options(after), None);
        let client = server.connect().await;
        assert_right(&client).await;
        assert_went_on(&server, 1, ROWS).await;
        client
            .batch_execute("DELETE FROM t WHERE g % 5 = 1; UPDATE t SET g = g + 1 WHERE k % 2 = 0")
            .await
            .unwrap();
        assert_right(&client).await;
        wait_for_checkpoint(&client).await.unwrap();
        server.crash_and_restart();
        assert_right(&server.connect().await).await;
        assert_went_on(&server, 1, ROWS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_after_each_of_several_crashes() {
    let mut server = start("2");
    server.connect().await.batch_execute(TABLE).await.unwrap();
    die_building(&mut server, "SELECT g, sum(v) AS s, count(DISTINCT v) AS d FROM t GROUP BY g", CHANGES)
        .await;
    for change in ["UPDATE t SET v = v + 3 WHERE k % 3 = 0", "DELETE FROM t WHERE k % 7 = 0"] {
        let failpoint = format!("{BACKFILL_AFTER_STEP}=1*sleep(3000)->panic");
        assert!(server.restart_with(&options("2"), Some(&failpoint)));
        server.connect().await.batch_execute(change).await.unwrap();
        assert!(!server.wait().success());
    }
    server.restart();
    assert_right(&server.connect().await).await;
    assert_went_on(&server, 3, ROWS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_input_goes_on_from_where_it_was() {
    let mut server = start("1");
    let setup = format!(
        "{TABLE}; CREATE TABLE names (g int, name text); \
         INSERT INTO names SELECT i % 6000, 'name ' || i % 5 FROM generate_series(1, 12000) AS i"
    );
    server.connect().await.batch_execute(&setup).await.unwrap();
    let view = "SELECT t.k, t.v, n.name FROM t FULL JOIN names AS n ON t.g = n.g WHERE v IS NULL OR v < 30";
    let changes = format!(
        "{CHANGES}; DELETE FROM names WHERE g % 9 = 0; INSERT INTO names SELECT g, 'new' FROM names WHERE g < 10"
    );
    die_building(&mut server, view, &changes).await;
    server.restart_with(&options("3"), None);
    let client = server.connect().await;
    assert_right(&client).await;
    assert_went_on(&server, 1, ROWS + 12_000).await;
    client.batch_execute("DELETE FROM names WHERE name = 'name 1'; DELETE FROM t WHERE v = 7").await.unwrap();
    assert_right(&client).await;
}

fn append(file: &Path, numbers: std::ops::Range<u64>) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    let text: String = numbers.map(|i| format!("{i},{}\n", i % 7000)).collect();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_goes_on_at_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("a.csv"), folder.path().join("b.csv")];
    append(&files[0], 0..40_000);
    append(&files[1], 40_000..60_000);
    let mut server = start("2");
    let client = server.connect().await;
    let source = format!(
        "CREATE SOURCE s (k bigint, g int) WITH (connector = 'file', path = '{}', format = 'csv'); \
         CREATE TABLE more (k bigint, g int)",
        folder.path().display()
    );
    client.batch_execute(&source).await.unwrap();
    let appended = files.clone();
    let appending = tokio::spawn(async move {
        eventually(&client, "SELECT coalesce(max(rows_done), 0) FROM sys.backfill", |rows| rows != "0").await;
        append(&appended[1], 60_000..61_000);
    });
    let view = "SELECT g, count(*) AS n, sum(k) AS s FROM (SELECT * FROM s UNION ALL SELECT * FROM more) AS all_of GROUP BY g";
    die_building(&mut server, view, "INSERT INTO more VALUES (1, 1), (2, 2)").await;
    appending.await.unwrap();
    append(&files[0], 61_000..62_000);
    server.restart_with(&options("3"), None);
    let client = server.connect().await;
    client.batch_execute("FLUSH").await.unwrap();
    assert_went_on(&server, 1, ROWS).await;
    let totals = "SELECT sum(n) || ' ' || sum(s) FROM view";
    let sum = (0..62_000).sum::<u64>() + 3;
    assert_eq!(first_value(&client, totals).await, format!("62002 {sum}"));
    append(&files[1], 62_000..62_001);
    client.batch_execute("FLUSH; DELETE FROM more").await.unwrap();
    assert_eq!(first_value(&client, totals).await, format!("62001 {}", sum + 62_000 - 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_over_a_view_goes_on_if_the_view_has_a_checkpoint() {
    const BELOW: &str =
        "CREATE MATERIALIZED VIEW below AS SELECT k, g, v + 1 AS v FROM t WHERE k % 1000 <> 5";
    for has_checkpoint in [true, false] {
        let mut server = Server::start_with(&options("1"));
        server.expect_complaints();
        let client = server.connect().await;
        client.batch_execute(&format!("{TABLE}; {BELOW}")).await.unwrap();
        wait_for_checkpoint(&client).await.unwrap();
        server.kill();
        let failpoint = format!("{BACKFILL_AFTER_STEP}=2*off->1*sleep(4000)->panic");
        assert!(server.restart_with(&options("1"), Some(&failpoint)));
        let client = server.connect().await;
        match has_checkpoint {
            true => wait_for_checkpoint(&client).await.unwrap(),
            false => client.batch_execute("UPDATE t SET v = v + 1 WHERE k < 1000").await.unwrap(),
        }
        die_building(&mut server, "SELECT g, count(*) AS n, sum(v) AS s FROM below GROUP BY g", CHANGES)
            .await;
        server.restart_with(&options("3"), None);
        let client = server.connect().await;
        assert_right(&client).await;
        if has_checkpoint {
            assert_went_on(&server, 1, ROWS).await;
        }
        client.batch_execute("DELETE FROM t WHERE g % 5 = 1").await.unwrap();
        assert_right(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_goes_on_too() {
    let mut server = start("2");
    server.connect().await.batch_execute(TABLE).await.unwrap();
    die_building(&mut server, "SELECT g, sum(v) AS s FROM t GROUP BY g", "DELETE FROM t WHERE k = 1").await;
    assert!(server.restart_with(&options("2"), Some(&format!("{JOB_RUN}=sleep(200)"))));
    let client = server.connect().await;
    let progress = "SELECT rows_done FROM sys.backfill WHERE stage = 'reading' AND eta > now()";
    let seen = eventually(&client, progress, |done| !done.is_empty()).await;
    let done = seen.parse::<u64>().unwrap();
    let before = logged(&server, "goes on with a backfill")[0];
    assert!(done >= before && done < ROWS, "{done} after {before}");
    assert_right(&client).await;
    assert_went_on(&server, 1, ROWS).await;
}
