//! `state_ttl` through a real server: what is forgotten, what stays, and that the changelog of such a view is exact, also
//! after a kill. What was read of a source is sure with the next checkpoint only, so a kill waits for one.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use support::life::wait_for_checkpoint;
use support::{Server, eventually, first_value, rows, sorted, sqlstate};
use tokio_postgres::Client;

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

fn append(folder: &Path, file: &str, text: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(folder.join(file)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A source of rows of a folder's file.
fn source(name: &str, folder: &Path) -> String {
    format!(
        "CREATE SOURCE {name} (k text, v int, ts timestamp, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = '{}', format = 'csv')",
        folder.join(name).display()
    )
}

const SHOWN: &str = "SELECT string_agg(k || ' ' || n || ' ' || s, ', ' ORDER BY k) FROM per_key";
const HITS: &str = "SELECT expired_hits FROM sys.jobs WHERE name = 'per_key'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_comes_again_begins_anew() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    let folder = tempfile::tempdir().unwrap();
    append(
        folder.path(),
        "ev",
        "a,1,2024-05-01 10:00:00\nb,2,2024-05-01 10:00:30\na,4,2024-05-01 10:00:50\n",
    );
    run(&client, &source("ev", folder.path())).await;
    run(
        &client,
        "SET require_bounded_state = error;
         CREATE MATERIALIZED VIEW per_key WITH (state_ttl = '1 minute', state_ttl_time = 'event') AS
             SELECT k, count(*) AS n, sum(v) AS s FROM ev GROUP BY k;
         SET require_bounded_state = off;
         CREATE MATERIALIZED VIEW total AS SELECT count(*) AS keys, sum(n) AS n, sum(s) AS s FROM per_key;
         CREATE MATERIALIZED VIEW once WITH (state_ttl = '1 minute', state_ttl_time = 'event') AS
             SELECT DISTINCT k FROM ev",
    )
    .await;
    let total = "SELECT keys || ' ' || n || ' ' || s FROM total";
    assert_eq!(first_value(&client, SHOWN).await, "a 2 5, b 1 2");
    // Of b nothing has come for a minute then, of a something has.
    append(folder.path(), "ev", "c,7,2024-05-01 10:01:40\n");
    eventually(&client, SHOWN, |all| all == "a 2 5, b 1 2, c 1 7").await;
    append(folder.path(), "ev", "a,8,2024-05-01 10:01:41\nb,16,2024-05-01 10:01:42\n");
    eventually(&client, SHOWN, |all| all == "a 3 13, b 1 16, c 1 7").await;
    assert_eq!(
        (first_value(&client, HITS).await, first_value(&client, total).await),
        ("1".into(), "3 5 36".into())
    );
    wait_for_checkpoint(&client).await.unwrap();
    server.crash_and_restart();
    client = server.connect().await;
    assert_eq!(first_value(&client, SHOWN).await, "a 3 13, b 1 16, c 1 7");
    append(folder.path(), "ev", "d,0,2024-05-01 10:03:00\n");
    eventually(&client, SHOWN, |all| all.ends_with("d 1 0")).await;
    append(
        folder.path(),
        "ev",
        "a,32,2024-05-01 10:03:01\nb,64,2024-05-01 10:03:02\nd,1,2024-05-01 10:03:03\n",
    );
    eventually(&client, SHOWN, |all| all == "a 1 32, b 1 64, c 1 7, d 2 1").await;
    assert_eq!(
        (first_value(&client, HITS).await, first_value(&client, total).await),
        ("3".into(), "4 5 104".into())
    );
    assert_eq!(sorted(&client, "SELECT k FROM once").await, ["a", "b", "c", "d"]);
    let plan = rows(&client, "EXPLAIN (STATE) MATERIALIZED VIEW per_key").await.join("\n");
    assert!(plan.contains("assumed by state_ttl: until nothing of a group has come for 00:01:00"), "{plan}");
}

const PAIRS: &str = "SELECT string_agg(v || '-' || w, ', ' ORDER BY v, w) FROM pairs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_forgets_each_side_in_its_time() {
    let mut server = Server::start_with(&["--workers", "2"]);
    let mut client = server.connect().await;
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "l", "a,1,2024-05-01 10:00:00\n");
    append(folder.path(), "r", "a,10,2024-05-01 10:00:00\n");
    run(&client, &source("l", folder.path())).await;
    run(&client, &source("r", folder.path())).await;
    let options = "state_ttl = '1 minute', \"state_ttl.r\" = '1 hour', state_ttl_time = 'event'";
    run(
        &client,
        &format!(
            "CREATE MATERIALIZED VIEW pairs WITH ({options}) AS SELECT l.v, r.v AS w FROM l JOIN r ON l.k = r.k;
             CREATE MATERIALIZED VIEW outer_pairs WITH ({options}) AS
                 SELECT l.v, r.v AS w FROM l LEFT JOIN r ON l.k = r.k"
        ),
    )
    .await;
    assert_eq!(first_value(&client, PAIRS).await, "1-10");
    append(folder.path(), "l", "x,0,2024-05-01 10:05:00\n");
    append(folder.path(), "r", "x,0,2024-05-01 10:05:00\n");
    eventually(&client, PAIRS, |all| all == "0-0, 1-10").await;
    // The left row of 10:00 is forgotten, the right one is not.
    append(folder.path(), "l", "a,2,2024-05-01 10:05:01\n");
    append(folder.path(), "r", "a,20,2024-05-01 10:05:01\n");
    eventually(&client, PAIRS, |all| all == "0-0, 1-10, 2-10, 2-20").await;
    wait_for_checkpoint(&client).await.unwrap();
    server.crash_and_restart();
    client = server.connect().await;
    append(folder.path(), "l", "a,3,2024-05-01 10:05:02\n");
    eventually(&client, PAIRS, |all| all == "0-0, 1-10, 2-10, 2-20, 3-10, 3-20").await;
    let outer = PAIRS.replace("pairs", "outer_pairs");
    eventually(&client, &outer, |all| all == "0-0, 1-10, 2-10, 2-20, 3-10, 3-20").await;
    let shown = rows(&client, "SHOW CREATE MATERIALIZED VIEW pairs").await.join("\n");
    assert!(
        shown.contains("\"state_ttl\".r = '1 hour'") || shown.contains("state_ttl.r = '1 hour'"),
        "{shown}"
    );
}

/// The clock forgets too, when nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_forgets() {
    let server = Server::start_with(&["--workers", "2"]);
    let client = server.connect().await;
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "ev", "a,1,2024-05-01 10:00:00\na,4,2024-05-01 10:00:50\n");
    append(folder.path(), "other", "a,5,2024-05-01 10:00:00\n");
    run(&client, &source("ev", folder.path())).await;
    run(&client, &source("other", folder.path())).await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW per_key WITH (state_ttl = '1 second') AS
             SELECT k, count(*) AS n, sum(v) AS s FROM ev GROUP BY k;
         CREATE MATERIALIZED VIEW pairs WITH (state_ttl = '1 second') AS
             SELECT ev.v, other.v AS w FROM ev JOIN other ON ev.k = other.k",
    )
    .await;
    assert_eq!(first_value(&client, SHOWN).await, "a 2 5");
    let bytes = "SELECT bool_and(state_bytes < 1000) FROM sys.jobs WHERE name = 'per_key'";
    eventually(&client, bytes, |is_gone| is_gone == "t").await;
    let second =
        "SELECT clock_timestamp() > started_at + INTERVAL '1.1 seconds' FROM sys.jobs WHERE name = 'pairs'";
    eventually(&client, second, |has_passed| has_passed == "t").await;
    append(folder.path(), "ev", "a,8,2024-05-01 10:00:00\n");
    eventually(&client, SHOWN, |all| all == "a 1 8").await;
    assert_eq!(first_value(&client, PAIRS).await, "1-5, 4-5");
    assert_eq!(first_value(&client, HITS).await, "1");
    run(&client, "CREATE TABLE t (k text PRIMARY KEY, v int)").await;
    for (view, state) in [
        ("WITH (state_ttl = '0 s') AS SELECT 1 AS a", "22023"),
        ("WITH (state_ttl_time = 'event') AS SELECT 1 AS a", "22023"),
        ("WITH (state_ttl_nonsense = '1 s') AS SELECT 1 AS a", "22023"),
        ("WITH (\"state_ttl.nobody\" = '1 s') AS SELECT k FROM ev", "22023"),
        ("WITH (state_ttl = '1 s') AS SELECT ev.v FROM ev FULL JOIN other ON ev.k = other.k", "0A000"),
        (
            "WITH (state_ttl = '1 s') AS SELECT n, count(*) FROM (SELECT k, count(*) AS n FROM ev GROUP BY k) x GROUP BY n",
            "0A000",
        ),
        ("WITH (state_ttl = '1 s') AS SELECT ev.v, t.v AS w FROM ev JOIN t ON ev.k = t.k", "00000"),
    ] {
        let sql = format!("CREATE MATERIALIZED VIEW wrong {view}");
        assert_eq!(sqlstate(&client, &sql).await, state, "{sql}");
    }
}
