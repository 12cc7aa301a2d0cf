//! The queries of Nexmark as materialized views over its sources: each equals the same query over the sources' rows, with any
//! number of workers, while events come, and when the server was killed in between.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::{Server, eventually, first_value, rows};
use tokio_postgres::Client;

const EVENTS: u64 = 15_000;
/// Bids among them.
const BIDS: u64 = EVENTS / 50 * 46;
/// Events a second where the server is killed: the events last about as long as three of its lives.
const RATE: u64 = 6_000;
const SOURCES: [&str; 3] = ["person", "auction", "bid"];

/// The table that q13 joins.
const SIDE_INPUT: &str = "CREATE TABLE side_input (key bigint PRIMARY KEY, value text); \
    INSERT INTO side_input SELECT i, 'value-' || i FROM generate_series(0, 9999) AS i";

#[tokio::test]
async fn each_view_equals_its_query() {
    for workers in ["1", "3"] {
        let server = Server::start_with(&["--workers", workers]);
        let client = server.connect().await;
        create(&client, "").await;
        eventually(&client, "SELECT count(*) FROM bid_rows", |bids| bids == BIDS.to_string()).await;
        compare(&client, workers).await;
    }
}

#[tokio::test]
async fn each_view_equals_its_query_through_crashes() {
    let mut server = Server::start_with(&["--workers", "2"]);
    create(&server.connect().await, &format!(", rate = '{RATE}'")).await;
    for share in [4, 2] {
        let client = server.connect().await;
        let is_enough = |bids: &str| bids.parse::<u64>().is_ok_and(|bids| bids >= BIDS / share);
        eventually(&client, "SELECT count(*) FROM bid_rows", is_enough).await;
        server.crash_and_restart();
    }
    let client = server.connect().await;
    for (name, query) in queries() {
        let view = format!("SELECT * FROM {name}");
        let query = over_rows(&format!(
            "SELECT count(*) FROM (({view} EXCEPT ALL ({query})) UNION ALL (({query}) EXCEPT ALL {view})) AS different"
        ));
        assert_eq!(first_value(&client, &query).await, "0", "{name} while events come");
    }
    eventually(&client, "SELECT count(*) FROM bid_rows", |bids| bids == BIDS.to_string()).await;
    compare(&client, "2").await;
}

/// The sources, views of their rows, and a view of each query.
async fn create(client: &Client, options: &str) {
    client.batch_execute(SIDE_INPUT).await.unwrap();
    for source in SOURCES {
        let create = format!(
            "CREATE SOURCE {source} WITH (connector = 'nexmark', table = '{source}', events = '{EVENTS}'{options}); \
             CREATE MATERIALIZED VIEW {source}_rows AS SELECT * FROM {source}"
        );
        client.batch_execute(&create).await.unwrap();
    }
    for (name, query) in queries() {
        let created = client.batch_execute(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await;
        created.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    create_windows_of_the_clock(client).await;
}

async fn compare(client: &Client, workers: &str) {
    for (name, query) in queries() {
        let mut view = rows(client, &format!("SELECT * FROM {name}")).await;
        let mut expected = rows(client, &over_rows(&query)).await;
        view.sort();
        expected.sort();
        assert!(!expected.is_empty(), "{name} has no rows");
        let different = view.iter().zip(&expected).find(|(view, query)| view != query);
        assert_eq!(different, None, "{name}, {workers} workers");
        assert_eq!(view.len(), expected.len(), "{name}, {workers} workers");
    }
    check_windows_of_the_clock(client).await;
}

/// A query in which the sources' names stand for their rows.
fn over_rows(query: &str) -> String {
    let rows = SOURCES.map(|source| format!("{source} AS (SELECT * FROM {source}_rows)"));
    format!("WITH {} {query}", rows.join(", "))
}

/// Partial results of slices of time, over rows that are only added.
const SLICES: &str = "SELECT bidder % 10 AS k, window_start, count(*) AS n, min(price) AS low, max(price) AS high, \
    max(channel) AS channel, avg(price) AS average, sum(auction) FILTER (WHERE price > 1000) AS auctions \
    FROM HOP(bid, date_time, INTERVAL '100 ms', INTERVAL '400 ms') GROUP BY bidder % 10, window_start, window_end";

/// The windows of q12 are those in which bids came: of a second here, as rows that change and as final ones.
async fn create_windows_of_the_clock(client: &Client) {
    let query = text_of(12).replace("'10' SECOND", "'1' SECOND");
    let all = "SELECT window_start, count(*) AS n \
        FROM TUMBLE((SELECT *, PROCTIME() AS p FROM bid), p, INTERVAL '1 second') GROUP BY window_start";
    for (name, query, emit) in [
        ("q12", query.as_str(), ""),
        ("q12_final", query.as_str(), "EMIT ON WINDOW CLOSE"),
        ("q12_all", all, "EMIT ON WINDOW CLOSE"),
    ] {
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW {name} AS {query} {emit}")).await.unwrap();
    }
}

/// Each bid is in one window, in both views the same, the last windows close although nothing comes, and nothing is
/// kept of them.
async fn check_windows_of_the_clock(client: &Client) {
    let counts =
        |rows: &str| format!("SELECT bidder, sum(bid_count) FROM {rows} GROUP BY bidder ORDER BY bidder");
    let expected =
        rows(client, "SELECT bidder, count(*) FROM bid_rows GROUP BY bidder ORDER BY bidder").await;
    assert_eq!(rows(client, &counts("q12")).await, expected);
    let total = "SELECT coalesce(sum(bid_count), 0) FROM q12_final";
    eventually(client, total, |bids| bids == BIDS.to_string()).await;
    assert_eq!(rows(client, &counts("q12_final")).await, expected);
    let total = "SELECT coalesce(sum(n), 0) FROM q12_all";
    eventually(client, total, |bids| bids == BIDS.to_string()).await;
    let different = "SELECT count(*) FROM ((SELECT * FROM q12 EXCEPT ALL SELECT * FROM q12_final) UNION ALL \
        (SELECT * FROM q12_final EXCEPT ALL SELECT * FROM q12)) AS x";
    assert_eq!(first_value(client, different).await, "0");
    let misplaced = "SELECT count(*) FROM q12 WHERE starttime <> date_bin('1 second', starttime, '2000-01-01 00:00:00Z') \
        OR endtime <> starttime + INTERVAL '1 second' OR endtime > now() + INTERVAL '1 second'";
    assert_eq!(first_value(client, misplaced).await, "0");
    let late = "SELECT count(*) FROM sys.late_rows WHERE view LIKE 'q12%' AND rows > 0";
    assert_eq!(first_value(client, late).await, "0");
}

/// Name and text of each query, but for q12, whose windows are of processing time; and of one more.
fn queries() -> Vec<(String, String)> {
    let query = |number| (format!("q{number:02}"), text_of(number));
    let more = ("slices".to_owned(), SLICES.to_owned());
    (0..=22).filter(|number| *number != 12).map(query).chain([more]).collect()
}

fn text_of(number: u32) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nexmark");
    std::fs::read_to_string(folder.join(format!("q{number:02}.sql"))).unwrap()
}
