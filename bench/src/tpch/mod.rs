//! `tpch`: the 22 queries of TPC-H at scale factor 0.1 as live views, beside a PostgreSQL that computes them anew.
//!
//! PostgreSQL is one that runs already, named by `--postgres "host=… port=… user=… dbname=…"`; it gets an index for each
//! foreign key and is analysed. A round brings and takes orders as the benchmark's refresh functions do, 0.1 % each.
//! Printed, of each round: how long it takes Weir until the change is committed and all 22 results that reflect it are
//! read, how long PostgreSQL needs for the 22 queries alone, and their ratio. The results are compared.

mod data;

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use futures::SinkExt;
use tokio_postgres::{Client, SimpleQueryMessage};

use self::data::{Scale, TABLES};
use crate::server::Server;

const DATA: Scale = Scale::thousandths(100);
const ROUNDS: u64 = 5;
/// Orders that a round brings, and takes.
const CHANGE: u64 = DATA.orders / 1000;
/// Lines that are sent at once.
const CHUNK: usize = 4096;

const INDEXES: &str = "CREATE INDEX ON lineitem (l_partkey, l_suppkey); CREATE INDEX ON orders (o_custkey); \
    CREATE INDEX ON partsupp (ps_suppkey); CREATE INDEX ON customer (c_nationkey); ANALYZE";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs and prints the figures.
pub async fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let reference = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--postgres"), Some(connect)) => connect,
        _ => return Err("tpch needs --postgres \"host=… port=… user=… dbname=…\"".into()),
    };
    let (postgres, connection) = tokio_postgres::connect(&reference, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let server = Server::start(None).await?;
    let queries = queries()?;
    postgres
        .batch_execute("DROP SCHEMA IF EXISTS tpch CASCADE; CREATE SCHEMA tpch; SET search_path = tpch")
        .await?;
    load(&postgres).await?;
    create_views(&postgres, "VIEW", &queries).await?;
    postgres.batch_execute(INDEXES).await?;
    load(&server.client).await?;
    let start = Instant::now();
    create_views(&server.client, "MATERIALIZED VIEW", &queries).await?;
    println!("22 views created over the data in {:.1} s", start.elapsed().as_secs_f64());
    println!("| round | Weir, ms | PostgreSQL, ms | ratio |\n|---|---|---|---|");
    for round in 0..ROUNDS {
        let start = Instant::now();
        refresh(&server.client, round).await?;
        let ours = results(&server.client, &queries).await?;
        let weir = start.elapsed().as_secs_f64() * 1e3;
        refresh(&postgres, round).await?;
        let start = Instant::now();
        let theirs = results(&postgres, &queries).await?;
        let postgres = start.elapsed().as_secs_f64() * 1e3;
        println!("| {} | {weir:.0} | {postgres:.0} | {:.1} |", round + 1, postgres / weir);
        for (((name, _), ours), theirs) in queries.iter().zip(ours).zip(theirs) {
            if ours != theirs {
                return Err(format!("{name} differs after round {}", round + 1).into());
            }
        }
    }
    let usage = server.usage();
    println!("peak {:.0} MiB, {:.0} MiB at the end", usage.peak_rss_mib, usage.rss_mib);
    postgres.batch_execute("DROP SCHEMA tpch CASCADE").await?;
    Ok(())
}

/// Name and text of each query.
fn queries() -> Result<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data/tpch");
    let query = |number: u32| {
        let name = format!("q{number:02}");
        let text = std::fs::read_to_string(folder.join(format!("{name}.sql")))?;
        Ok((name, text))
    };
    (1..=22).map(query).collect()
}

async fn load(target: &Client) -> Result<()> {
    for (table, columns) in TABLES {
        target.batch_execute(&format!("CREATE TABLE {table} ({columns})")).await?;
        copy(target, table, &DATA.initial(table)).await?;
    }
    Ok(())
}

async fn copy(target: &Client, table: &str, lines: &[String]) -> Result<()> {
    let sink = target.copy_in::<_, bytes::Bytes>(&format!("COPY {table} FROM STDIN")).await?;
    let mut sink = std::pin::pin!(sink);
    for lines in lines.chunks(CHUNK) {
        sink.send((lines.join("\n") + "\n").into()).await?;
    }
    sink.finish().await?;
    Ok(())
}

async fn create_views(target: &Client, kind: &str, queries: &[(String, String)]) -> Result<()> {
    for (name, query) in queries {
        target.batch_execute(&format!("CREATE {kind} {name} AS {query}")).await?;
    }
    Ok(())
}

/// Both refresh functions: new orders arrive with their lines, old ones leave with theirs.
async fn refresh(target: &Client, round: u64) -> Result<()> {
    let after = DATA.orders + round * CHANGE;
    let (orders, lines): (Vec<String>, Vec<Vec<String>>) =
        (after + 1..=after + CHANGE).map(|key| DATA.order(key)).unzip();
    target.batch_execute("BEGIN").await?;
    copy(target, "orders", &orders).await?;
    copy(target, "lineitem", &lines.concat()).await?;
    let (from, to) = (round * CHANGE, (round + 1) * CHANGE);
    target
        .batch_execute(&format!(
            "DELETE FROM lineitem WHERE l_orderkey > {from} AND l_orderkey <= {to}; \
             DELETE FROM orders WHERE o_orderkey > {from} AND o_orderkey <= {to}; COMMIT"
        ))
        .await?;
    Ok(())
}

/// The rows of each view as text, sorted.
async fn results(target: &Client, queries: &[(String, String)]) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for (name, _) in queries {
        let answer = target.simple_query(&format!("SELECT * FROM {name}")).await?;
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
                Some(values.join("|"))
            }
            _ => None,
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort_unstable();
        all.push(rows);
    }
    Ok(all)
}
