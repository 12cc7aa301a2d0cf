//! `lifecycle`: what a server costs when it starts, rests, and comes back after `kill -9`.
//!
//! Printed: seconds from the start of the process to its first answer, on an empty folder and after a kill with a view
//! of a million rows (first correct answer); CPU and memory at rest.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::server::Server;

/// Rows of the view that is there at the restart.
const ROWS: u64 = 1_000_000;
/// How long the server is left alone.
const REST: Duration = Duration::from_secs(10);

/// Runs and prints the figures.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut server = Server::start(None).await?;
    server.client.simple_query("SELECT 1").await?;
    println!("empty server, first answer: {:.3} s", start.elapsed().as_secs_f64());

    let before = server.usage();
    tokio::time::sleep(REST).await;
    let after = server.usage();
    let cpu = (after.cpu_seconds - before.cpu_seconds) / REST.as_secs_f64() * 100.0;
    println!("empty server at rest: {cpu:.2} % CPU, {:.0} MB resident", after.rss_mib);

    let client = &server.client;
    client.batch_execute("CREATE TABLE t (k bigint PRIMARY KEY, v bigint)").await?;
    let fill = format!("INSERT INTO t SELECT k, k % 1000 FROM generate_series(1, {ROWS}) AS k");
    let start = Instant::now();
    client.batch_execute(&fill).await?;
    println!("INSERT … SELECT of {ROWS} rows: {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    client.batch_execute("CREATE MATERIALIZED VIEW m AS SELECT k, v, k + v AS s FROM t").await?;
    println!("CREATE MATERIALIZED VIEW over them: {:.2} s", start.elapsed().as_secs_f64());
    client.batch_execute("INSERT INTO t VALUES (0, 0)").await?;
    // The last checkpoint is some seconds old when a server is killed, so let one pass and add to it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.batch_execute("INSERT INTO t VALUES (-1, 0)").await?;

    let start = Instant::now();
    server.kill_and_restart().await?;
    let started = start.elapsed();
    let rows = server.client.query_one("SELECT count(*) FROM m", &[]).await?.get::<_, i64>(0);
    let seconds = start.elapsed().as_secs_f64();
    if rows != ROWS as i64 + 2 {
        return Err(format!("the view has {rows} rows after the restart").into());
    }
    println!(
        "after kill -9 with a view of {rows} rows: first correct answer {seconds:.2} s (ready after {:.2} s)",
        started.as_secs_f64()
    );
    Ok(())
}
