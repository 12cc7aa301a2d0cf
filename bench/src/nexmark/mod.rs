//! `nexmark`: each query over N events to completion, as a materialized view or into a blackhole sink.
//!
//! For each query a fresh server with default durability is started. Printed: events/s, rows out, CPU seconds,
//! peak RSS, state bytes, freshness at half of the rate reached. Then, over fewer events that are kept as views
//! of their rows, the same query runs once as a batch SELECT in the same server: results must be equal. With `--postgres
//! "host=… port=… user=… dbname=…"` it also runs once in that PostgreSQL, over the same rows, and must give the same, but for trailing zeros.

mod postgres;
mod queries;

use std::error::Error;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::server::Server;
use queries::{QUERIES, Query};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a run may take altogether.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long freshness is sampled.
const FRESHNESS_FOR: Duration = Duration::from_secs(4);

/// What to run.
pub struct Options {
    events: u64,
    check_events: u64,
    workers: Option<usize>,
    queries: Vec<&'static Query>,
    postgres: Option<String>,
}

impl Options {
    /// Reads the command line after `nexmark`.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            events: 1_000_000,
            check_events: 200_000,
            workers: None,
            queries: QUERIES.iter().collect(),
            postgres: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            let number =
                || value.replace('_', "").parse::<u64>().map_err(|_| format!("{name} needs a number"));
            match name.as_str() {
                "--events" => options.events = number()?,
                "--check-events" => options.check_events = number()?,
                "--postgres" => options.postgres = Some(value),
                "--workers" => options.workers = Some(number()? as usize),
                "--queries" => {
                    let find =
                        |q: &str| QUERIES.iter().find(|known| known.name == q).ok_or(format!("no query {q}"));
                    options.queries = value.split(',').map(find).collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("unknown option {name}\n{}", crate::USAGE)),
            }
        }
        Ok(options)
    }
}

/// Runs and prints the table.
pub async fn run(options: Options) -> Outcome<()> {
    println!(
        "{} events a query, workers: {}",
        options.events,
        options.workers.map_or("cores".into(), |n| n.to_string())
    );
    println!(
        "| query | events/s | seconds | rows out | CPU s | peak RSS MiB | state MiB | fresh p50/p99 ms | batch s | stream/batch | PostgreSQL s | equal |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for query in &options.queries {
        let speed = measure(query, &options).await?;
        let fresh = freshness(query, &options, speed.events_a_second / 2.0).await?;
        let check = check(query, &options).await?;
        println!(
            "| {} | {:.0} | {:.2} | {} | {:.2} | {:.0} | {:.1} | {:.0}/{:.0} | {:.3} | {:.2} | {} | {} |",
            query.name,
            speed.events_a_second,
            speed.seconds,
            speed.rows_out,
            speed.cpu_seconds,
            speed.peak_rss_mib,
            speed.state_mib,
            fresh.0,
            fresh.1,
            check.batch_seconds,
            check.stream_seconds / check.batch_seconds,
            check.postgres_seconds.map_or("–".into(), |seconds| format!("{seconds:.3}")),
            check.equal
        );
        if !check.equal {
            return Err(format!("{}: the view differs from the query", query.name).into());
        }
    }
    Ok(())
}

struct Speed {
    events_a_second: f64,
    seconds: f64,
    rows_out: u64,
    cpu_seconds: f64,
    peak_rss_mib: f64,
    state_mib: f64,
}

async fn measure(query: &Query, options: &Options) -> Outcome<Speed> {
    let server = Server::start(options.workers).await?;
    create_sources(&server.client, query, options.events, None).await?;
    let before = server.usage();
    let start = Instant::now();
    query.create(&server.client).await?;
    wait_for_end(&server.client, query, options.events).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = server.usage();
    let job = "SELECT rows_out, state_bytes FROM sys.jobs WHERE name = 'q'";
    let row = rows(&server.client, job).await?.pop().ok_or("the job is gone")?;
    Ok(Speed {
        events_a_second: options.events as f64 / seconds,
        seconds,
        rows_out: row[0].parse()?,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        peak_rss_mib: after.peak_rss_mib,
        state_mib: row[1].parse::<f64>()? / f64::from(1 << 20),
    })
}

/// Milliseconds, p50 and p99, between the moment an event is due and a reader's seeing it counted, with the
/// query running beside the counting view at `rate` events a second.
async fn freshness(query: &Query, options: &Options, rate: f64) -> Outcome<(f64, f64)> {
    let server = Server::start(options.workers).await?;
    let rate = (rate as u64).max(1000);
    create_sources(&server.client, query, 0, Some(rate)).await?;
    let table = query.tables[0];
    let count =
        format!("CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n, max(date_time) AS t FROM {table}");
    server.client.batch_execute(&count).await?;
    query.create(&server.client).await?;
    let start = Instant::now();
    let mut offsets = Vec::new();
    while start.elapsed() < FRESHNESS_FOR {
        let row = rows(&server.client, "SELECT extract(epoch FROM t) FROM seen").await?;
        let now = start.elapsed().as_secs_f64();
        if let Some(seen) = row.first().and_then(|r| r[0].parse::<f64>().ok()) {
            // An event lasts 100 µs of event time, and is due 1/rate seconds after the one before.
            offsets.push(now - (seen - queries::START_SECONDS) / 1e-4 / rate as f64);
        }
    }
    // The clock of the source began at an unknown moment: the freshest sample is taken as one beat's start.
    let freshest = offsets.iter().copied().fold(f64::INFINITY, f64::min);
    offsets.iter_mut().for_each(|lag| *lag = (*lag - freshest) * 1e3);
    offsets.sort_by(f64::total_cmp);
    let at = |share: f64| {
        offsets.get(((offsets.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN)
    };
    Ok((at(0.5), at(0.99)))
}

struct Check {
    batch_seconds: f64,
    stream_seconds: f64,
    postgres_seconds: Option<f64>,
    equal: bool,
}

/// The view against the batch query over the same events, kept as views of their rows.
async fn check(query: &Query, options: &Options) -> Outcome<Check> {
    let server = Server::start(options.workers).await?;
    let client = &server.client;
    create_sources(client, query, options.check_events, None).await?;
    let start = Instant::now();
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW q AS {}", query.sql)).await?;
    wait_for_end(client, query, options.check_events).await?;
    let stream_seconds = start.elapsed().as_secs_f64();
    for table in query.tables {
        client
            .batch_execute(&format!("CREATE MATERIALIZED VIEW {table}_rows AS SELECT * FROM {table}"))
            .await?;
    }
    wait_for_end(client, query, options.check_events).await?;
    let batch = query.compared(&query.over_rows());
    let start = Instant::now();
    let expected = sorted(rows(client, &batch).await?);
    let batch_seconds = start.elapsed().as_secs_f64();
    let view = query.compared("SELECT * FROM q");
    let mut equal = expected == sorted(rows(client, &view).await?);
    let mut postgres_seconds = None;
    if let Some(connect) = options.postgres.as_ref().filter(|_| query.is_known_to_postgres()) {
        let (seconds, found) = postgres::answer(query, client, connect).await?;
        equal &= postgres::without_zeros(found) == postgres::without_zeros(expected);
        postgres_seconds = Some(seconds);
    }
    Ok(Check { batch_seconds, stream_seconds, postgres_seconds, equal })
}

async fn create_sources(client: &Client, query: &Query, events: u64, rate: Option<u64>) -> Outcome<()> {
    for table in query.tables {
        let rate = rate.map(|r| format!(", rate = '{r}'")).unwrap_or_default();
        let sql = format!(
            "CREATE SOURCE {table} WITH (connector = 'nexmark', table = '{table}', events = '{events}'{rate})"
        );
        client.batch_execute(&sql).await?;
    }
    query.create_side_tables(client).await
}

/// Waits until every source is read to its end and every job has taken it in.
async fn wait_for_end(client: &Client, query: &Query, events: u64) -> Outcome<()> {
    let start = Instant::now();
    let done = format!("\"events\":{events}");
    loop {
        let offsets = rows(client, "SELECT offsets FROM sys.sources").await?;
        let read = |row: &&Vec<String>| row[0].replace(' ', "").contains(&done);
        if offsets.iter().filter(read).count() == query.tables.len() {
            break;
        }
        if start.elapsed() > DEADLINE {
            return Err(format!("{} did not end in time", query.name).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.batch_execute("FLUSH").await?;
    Ok(())
}

async fn rows(client: &Client, sql: &str) -> Outcome<Vec<Vec<String>>> {
    let messages = client.simple_query(sql).await?;
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    Ok(messages.iter().filter_map(text).collect())
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}
