//! `tables`: what clients of tables and small views see, beside a PostgreSQL in the same run.
//!
//! PostgreSQL is one that runs already, named by `--postgres "host=… port=… user=… dbname=…"`; it should have its
//! data on the same disk, and fsync on. `pgbench` drives both with the same scripts. Printed: transactions or rows a
//! second of each and their ratio; then, of Weir alone, how long it takes until a row is in a view three views deep, and what
//! many small views cost.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::SinkExt;
use tokio_postgres::{Client, Config, NoTls};

use crate::server::Server;

/// Rows that COPY brings, and that point reads choose from.
const ROWS: u64 = 1_000_000;
/// How long pgbench runs a script.
const SECONDS: u32 = 10;
/// Rows whose way into a view is timed.
const ROUNDS: i64 = 1000;
/// Small views that are made.
const VIEWS: usize = 1000;
/// Of those, how many there are when the server is left alone to see what they cost.
const IDLE_VIEWS: usize = 100;
const REST: Duration = Duration::from_secs(10);

const SCHEMA: &str = "DROP TABLE IF EXISTS points; DROP TABLE IF EXISTS inserted; \
    CREATE TABLE points (k bigint PRIMARY KEY, name text, v bigint); \
    CREATE TABLE inserted (id bigserial PRIMARY KEY, v bigint)";
const INSERT: &str = "\\set v random(1, 1000000)\nINSERT INTO inserted (v) VALUES (:v);\n";
const READ: &str = "\\set k random(1, 1000000)\nSELECT name, v FROM points WHERE k = :k;\n";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A database that pgbench and we talk to.
struct Target {
    client: Client,
    connect: String,
}

impl Target {
    async fn new(connect: &str) -> Result<Target> {
        let config: Config = connect.parse()?;
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(Target { client, connect: connect.to_owned() })
    }

    /// Transactions a second of a script.
    fn pgbench(&self, script: &str, clients: u32, protocol: &str) -> Result<f64> {
        let file = std::env::temp_dir().join(format!("weir-bench-{}.sql", std::process::id()));
        std::fs::write(&file, script)?;
        let output = Command::new("pgbench")
            .args(["-n", "-M", protocol, "-c", &clients.to_string(), "-j", "1", "-T", &SECONDS.to_string()])
            .arg("-f")
            .arg(&file)
            .arg(&self.connect)
            .output()
            .map_err(|e| format!("pgbench: {e}"))?;
        std::fs::remove_file(&file)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.ok_or_else(|| format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Rows a second of COPY FROM STDIN.
    async fn copy(&self, text: &[u8]) -> Result<f64> {
        let start = Instant::now();
        let sink = self.client.copy_in("COPY points FROM STDIN").await?;
        let mut sink = std::pin::pin!(sink);
        for chunk in text.chunks(64 << 10) {
            sink.send(bytes::Bytes::copy_from_slice(chunk)).await?;
        }
        let rows = sink.finish().await?;
        Ok(rows as f64 / start.elapsed().as_secs_f64())
    }
}

/// Runs and prints the figures.
pub async fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let reference = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--postgres"), Some(connect)) => connect,
        _ => return Err("tables needs --postgres \"host=… port=… user=… dbname=…\"".into()),
    };
    let server = Server::start(None).await?;
    let (weir, postgres) = (Target::new(&server.connect).await?, Target::new(&reference).await?);
    beside(&weir, &postgres).await?;
    freshness(&weir.client).await?;
    many_views(&server, &weir.client).await
}

async fn beside(weir: &Target, postgres: &Target) -> Result<()> {
    for target in [weir, postgres] {
        target.client.batch_execute(SCHEMA).await?;
    }
    println!("| what | Weir | PostgreSQL | ratio |\n|---|---|---|---|");
    let show = |what: &str, ours: f64, theirs: f64| {
        println!("| {what} | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
    };
    let text: String = (1..=ROWS).map(|k| format!("{k}\tname of {k}\t{}\n", k * 7 % 1000)).collect();
    show("COPY, rows/s", weir.copy(text.as_bytes()).await?, postgres.copy(text.as_bytes()).await?);
    postgres.client.batch_execute("VACUUM ANALYZE points").await?;
    for (what, script, clients, protocol) in [
        ("INSERT, 1 client, /s", INSERT, 1, "simple"),
        ("INSERT, 16 clients, /s", INSERT, 16, "simple"),
        ("point read, extended, 1 client, /s", READ, 1, "extended"),
        ("point read, prepared, 1 client, /s", READ, 1, "prepared"),
        ("point read, prepared, 16 clients, /s", READ, 16, "prepared"),
    ] {
        let ours = weir.pgbench(script, clients, protocol)?;
        show(what, ours, postgres.pgbench(script, clients, protocol)?);
    }
    Ok(())
}

/// From sending an INSERT to having read the row in a view over a view over a view.
async fn freshness(client: &Client) -> Result<()> {
    client
        .batch_execute(
            "CREATE TABLE deep (k bigint PRIMARY KEY, v bigint); \
             CREATE MATERIALIZED VIEW deep1 AS SELECT k, v + 1 AS v FROM deep; \
             CREATE MATERIALIZED VIEW deep2 AS SELECT k % 100 AS g, count(*) AS n, max(k) AS k FROM deep1 GROUP BY 1; \
             CREATE MATERIALIZED VIEW deep3 AS SELECT sum(n) AS n, max(k) AS k FROM deep2",
        )
        .await?;
    let insert = client.prepare("INSERT INTO deep VALUES ($1, 0)").await?;
    let read = client.prepare("SELECT k FROM deep3").await?;
    let mut took = Vec::new();
    for k in 1..=ROUNDS {
        let start = Instant::now();
        client.execute(&insert, &[&k]).await?;
        let seen: i64 = client.query_one(&read, &[]).await?.get(0);
        took.push(start.elapsed());
        if seen != k {
            return Err(format!("row {k} is not in the third view: {seen}").into());
        }
    }
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000 - 1].as_secs_f64() * 1000.0;
    println!(
        "INSERT and read in a 3-deep view: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(500),
        at(990),
        at(1000)
    );
    Ok(())
}

async fn many_views(server: &Server, client: &Client) -> Result<()> {
    let before = server.usage();
    let start = Instant::now();
    for i in 0..VIEWS {
        let view =
            format!("CREATE MATERIALIZED VIEW small{i} AS SELECT g, n FROM deep2 WHERE g % 10 = {}", i % 10);
        client.batch_execute(&view).await?;
        if i + 1 == IDLE_VIEWS {
            println!("{IDLE_VIEWS} small views at rest: {:.2} % CPU", idle_cpu(server).await);
        }
    }
    let seconds = start.elapsed().as_secs_f64() - REST.as_secs_f64();
    let mib = server.usage().rss_mib;
    println!(
        "{VIEWS} small views: {:.0} made a second, {mib:.0} MiB resident ({:.0} before), {:.2} % CPU at rest",
        VIEWS as f64 / seconds,
        before.rss_mib,
        idle_cpu(server).await
    );
    Ok(())
}

async fn idle_cpu(server: &Server) -> f64 {
    let before = server.usage();
    tokio::time::sleep(REST).await;
    (server.usage().cpu_seconds - before.cpu_seconds) / REST.as_secs_f64() * 100.0
}
