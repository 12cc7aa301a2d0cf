//! Two months of flights replayed as a stream, in many small commits, with the server killed in the middle: windows in
//! event time with rows that are late, each flight with the weather as of its time, rotations of planes, rolling means.
//! PostgreSQL 15 puts the rows in the order of their arrival and says what is to come out.
//!
//! A flight is told when it departs, and a cancelled one when it should have. Its time is the scheduled one: so a flight
//! that is delayed comes late, by its delay. The weather of an hour is told ten minutes after it.

#![allow(clippy::unwrap_used)]

mod support;

use support::csv::{FLIGHTS_AND_WEATHER, flights_file, insert};
use support::postgres::{Postgres, assert_same};
use support::{Server, eventually, first_value, rows};
use tokio_postgres::Client;

/// How long after a flight's time no other of an earlier time is expected.
const DISORDER: &str = "INTERVAL '30 minutes'";

/// The flights and the weather of January and February, each with the commit it comes in: what became known in the same
/// half hour. At last come a flight and a report of March, with the time at which the stream ends.
const ARRIVALS: &str = "
    CREATE TABLE flight AS
        SELECT row_number() OVER (ORDER BY sched + delay, carrier, flight, origin, sched)::int AS id,
            floor(extract(epoch FROM sched + delay) / 1800)::int AS batch, carrier, tailnum, origin, dest, sched,
            (sched AT TIME ZONE 'America/New_York')::date AS day, dep, dep_delay
        FROM (SELECT *, time_hour + minute * INTERVAL '1 minute' AS sched,
                  time_hour + (minute + dep_delay) * INTERVAL '1 minute' AS dep,
                  coalesce(dep_delay, 0) * INTERVAL '1 minute' AS delay
              FROM flights WHERE month <= 2) AS f;
    INSERT INTO flight
        SELECT max(id) + 1, max(batch) + 1, 'XX', NULL, 'EWR', 'END', '2013-03-03 00:00Z', '2013-03-02', NULL, NULL
        FROM flight;
    CREATE TABLE observed AS
        SELECT batch, 'END' AS origin, sched AS at, NULL::float8 AS temp, NULL::float8 AS wind_speed, NULL::float8 AS visib
        FROM flight WHERE dest = 'END' UNION ALL
        SELECT floor(extract(epoch FROM time_hour + INTERVAL '10 minutes') / 1800)::int AS batch, origin, time_hour AS at,
            temp, wind_speed, visib
        FROM weather WHERE month <= 2";

/// The rows of each commit as SQL, in order.
const COMMITS: &str = "
    SELECT string_agg(statement, '; ' ORDER BY statement) FROM (
        SELECT batch, 'INSERT INTO flight VALUES ' || string_agg(format('(%s, %L, %L, %L, %L, %L, %L, %L, %L)',
            id, carrier, tailnum, origin, dest, sched, day, dep, dep_delay), ', ' ORDER BY id) AS statement
        FROM flight GROUP BY batch
        UNION ALL
        SELECT batch, 'INSERT INTO observed VALUES ' || string_agg(format('(%L, %L, %L, %L, %L)',
            origin, at, temp, wind_speed, visib), ', ')
        FROM observed GROUP BY batch) AS s
    GROUP BY batch ORDER BY batch";

/// What comes in each commit, and what of it is late, by what came in the commits before: a flight for its hour (`late`),
/// and either for a join of both, which is as far as the slower of them (`is_past`).
const JUDGED: &str = "
    CREATE TABLE seen AS
        SELECT batch, max(max(sched)) OVER w - {disorder} AS sched_passed, max(max(at)) OVER w AS at_passed
        FROM (SELECT batch, sched, NULL AS at FROM flight UNION ALL SELECT batch, NULL, at FROM observed) AS r
        GROUP BY batch WINDOW w AS (ORDER BY batch ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING);
    CREATE TABLE judged AS
        SELECT f.*, hour, coalesce(hour < date_trunc('hour', sched_passed), false) AS late,
            coalesce(sched < sched_passed AND sched < at_passed, false) AS is_past
        FROM flight f JOIN seen USING (batch), LATERAL date_trunc('hour', sched) AS hour;
    CREATE TABLE observed_on_time AS
        SELECT o.* FROM observed o JOIN seen USING (batch) WHERE (at < sched_passed AND at < at_passed) IS NOT true;
    CREATE INDEX ON observed_on_time (origin, at);
    ANALYZE";

/// Departures by origin and hour, in Weir.
const HOURS: &str = "SELECT origin, window_start, count(*) AS flights, count(dep) AS departed, avg(dep_delay) AS mean,
    max(dep_delay) AS worst, max(id) AS last FROM TUMBLE(flight, sched, INTERVAL '1 hour') GROUP BY origin, window_start, window_end";

/// The same in PostgreSQL, of some of the rows.
fn hours(condition: &str) -> String {
    format!(
        "SELECT origin, hour, count(*), count(dep), avg(dep_delay), max(dep_delay), max(id) FROM judged
         WHERE {condition} GROUP BY origin, hour"
    )
}

/// Views, and the queries that give the same in PostgreSQL.
const VIEWS: [(&str, &str, &str); 6] = [
    (
        "flight_weather",
        "SELECT f.id, f.origin, w.at, w.temp, w.wind_speed, w.visib
         FROM flight f LEFT JOIN observed FOR SYSTEM_TIME AS OF f.sched AS w ON f.origin = w.origin",
        "SELECT f.id, f.origin, w.at, w.temp, w.wind_speed, w.visib
         FROM judged f LEFT JOIN LATERAL (SELECT * FROM observed_on_time o WHERE o.origin = f.origin AND o.at <= f.sched
             ORDER BY at DESC LIMIT 1) AS w ON true WHERE NOT is_past",
    ),
    (
        "weather_hours",
        "SELECT origin, window_start, count(*) AS flights, count(at) AS known, min(visib) AS worst, max(dep_delay) AS delay
         FROM TUMBLE((
             SELECT f.origin, f.sched, f.dep_delay, w.at, w.visib
             FROM flight f LEFT JOIN observed FOR SYSTEM_TIME AS OF f.sched AS w ON f.origin = w.origin),
             sched, INTERVAL '1 hour')
         GROUP BY origin, window_start EMIT ON WINDOW CLOSE",
        "SELECT f.origin, hour, count(*), count(at), min(visib), max(dep_delay)
         FROM judged f LEFT JOIN LATERAL (SELECT * FROM observed_on_time o WHERE o.origin = f.origin AND o.at <= f.sched
             ORDER BY at DESC LIMIT 1) AS w ON true WHERE NOT is_past AND dest <> 'END' GROUP BY f.origin, hour",
    ),
    (
        "turnarounds",
        "SELECT * FROM (SELECT * FROM flight WHERE dep IS NOT NULL) AS f MATCH_RECOGNIZE (
             PARTITION BY tailnum ORDER BY dep, id
             MEASURES away.id AS id, away.dest AS dest, back.id AS next, back.origin AS origin, back.dep - away.dep AS gone
             AFTER MATCH SKIP TO NEXT ROW
             PATTERN (away back) DEFINE back AS back.dep < away.dep + INTERVAL '2 days') AS m",
        "SELECT * FROM (
             SELECT tailnum, id, dest, lead(id) OVER w AS next, lead(origin) OVER w, lead(dep) OVER w - dep AS gone
             FROM flight WHERE dep IS NOT NULL WINDOW w AS (PARTITION BY tailnum ORDER BY dep, id)) AS f
         WHERE gone < INTERVAL '2 days'",
    ),
    (
        "rotations",
        "SELECT * FROM (SELECT * FROM flight WHERE dep IS NOT NULL) AS f MATCH_RECOGNIZE (
             PARTITION BY tailnum ORDER BY dep, id
             MEASURES FIRST(dep) AS since, LAST(dep) AS until, count(*) AS flights, max(dep_delay) AS worst
             PATTERN (leg again+) DEFINE again AS again.dep <= PREV(again.dep) + INTERVAL '8 hours') AS m",
        "SELECT tailnum, min(dep), max(dep), count(*), max(dep_delay) FROM (
             SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY tailnum ORDER BY dep, id) AS rotation
             FROM (SELECT *, coalesce(dep > lag(dep) OVER w + INTERVAL '8 hours', true) AS begins
                   FROM flight WHERE dep IS NOT NULL WINDOW w AS (PARTITION BY tailnum ORDER BY dep, id)) AS l) AS r
         GROUP BY tailnum, rotation HAVING count(*) > 1",
    ),
    (
        "rolling",
        "SELECT id, carrier, avg(dep_delay) OVER (PARTITION BY carrier ORDER BY sched, id
             ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) AS mean FROM flight",
        "",
    ),
    (
        "rolling_hours",
        "SELECT id, carrier, avg(dep_delay) OVER (PARTITION BY carrier, day ORDER BY sched
             RANGE BETWEEN INTERVAL '3 hours' PRECEDING AND CURRENT ROW) AS mean FROM flight",
        "",
    ),
];

#[tokio::test]
async fn a_stream_of_flights_equals_postgres() {
    let postgres = Postgres::start();
    let reference = postgres.connect().await;
    let commits = arrivals(&reference).await;
    let mut server = Server::start_with(&["--workers", "3"]);
    let mut client = server.connect().await;
    create(&client).await;
    for (i, commit) in commits.iter().enumerate() {
        client.batch_execute(commit).await.unwrap();
        if i == commits.len() / 2 {
            server.crash_and_restart();
            client = server.connect().await;
        }
    }
    for (view, query, in_postgres) in VIEWS {
        let query = if in_postgres.is_empty() { query } else { in_postgres };
        assert_same(&client, &format!("SELECT * FROM {view}"), &reference, query).await;
    }
    hours_are_exact(&client, &reference).await;
}

/// What the stream is made of, in PostgreSQL, and its commits.
async fn arrivals(reference: &Client) -> Vec<String> {
    reference.batch_execute("SET timezone TO 'UTC'").await.unwrap();
    for (name, columns) in FLIGHTS_AND_WEATHER {
        reference.batch_execute(&format!("CREATE TABLE {name} ({columns})")).await.unwrap();
        let (_, lines) = flights_file(name);
        let month = if name == "flights" { 1 } else { 2 };
        let is_early = |line: &String| matches!(line.split(',').nth(month), Some("1" | "2"));
        insert(reference, name, &lines.into_iter().filter(is_early).collect::<Vec<_>>()).await;
    }
    reference.batch_execute(ARRIVALS).await.unwrap();
    reference.batch_execute(&JUDGED.replace("{disorder}", DISORDER)).await.unwrap();
    rows(reference, COMMITS).await
}

async fn create(client: &Client) {
    let tables = format!(
        "CREATE TABLE flight (id int PRIMARY KEY, carrier text, tailnum text, origin text, dest text, sched timestamptz,
             day date, dep timestamptz, dep_delay int, WATERMARK FOR sched AS sched - {DISORDER});
         CREATE TABLE observed (origin text, at timestamptz, temp float8, wind_speed float8, visib float8,
             WATERMARK FOR at);
         CREATE TABLE late (job text, relation text, message text, \"row\" jsonb);
         CREATE MATERIALIZED VIEW hours_final AS {HOURS} EMIT ON WINDOW CLOSE LATE INTO late;
         CREATE MATERIALIZED VIEW hours_so_far AS {HOURS}"
    );
    client.batch_execute(&tables).await.unwrap();
    for (view, query, _) in VIEWS {
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW {view} AS {query}")).await.unwrap();
    }
}

/// Every flight is in its hour or among the late ones, and each of both is what PostgreSQL says.
async fn hours_are_exact(client: &Client, reference: &Client) {
    let late = first_value(reference, "SELECT count(*) FROM judged WHERE late").await;
    eventually(client, "SELECT count(*) FROM late", |n| n == late).await;
    let ids = "SELECT (\"row\"->>'id')::int FROM late";
    assert_same(client, ids, reference, "SELECT id FROM judged WHERE late").await;
    assert_same(client, "SELECT * FROM hours_final", reference, &hours("NOT late AND dest <> 'END'")).await;
    assert_same(client, "SELECT * FROM hours_so_far", reference, &hours("NOT late")).await;
    let whole = "SELECT origin, hour, sum(n)::bigint FROM (
        SELECT origin, window_start AS hour, flights AS n FROM hours_so_far UNION ALL
        SELECT \"row\"->>'origin', (\"row\"->>'window_start')::timestamptz, 1 FROM late) AS r
        GROUP BY origin, hour";
    let all = "SELECT origin, hour, count(*) FROM judged GROUP BY origin, hour";
    assert_same(client, whole, reference, all).await;
    let past = "SELECT (SELECT count(*) FROM judged WHERE is_past)
        + (SELECT count(*) FROM observed) - (SELECT count(*) FROM observed_on_time)";
    let past = first_value(reference, past).await;
    let counted = "SELECT view, sum(rows) FROM sys.late_rows GROUP BY view ORDER BY view";
    let expected = [
        ("flight_weather", &past),
        ("hours_final", &late),
        ("hours_so_far", &late),
        ("weather_hours", &past),
    ];
    assert_eq!(rows(client, counted).await, expected.map(|(view, rows)| format!("{view}|{rows}")));
    assert!(late.parse::<u64>().unwrap() > 1000, "{late} flights are late");
}
