//! The 22 queries of TPC-H as materialized views: while orders come and go each view equals the same query in PostgreSQL 15.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::Instant;

use futures::SinkExt;
use support::postgres::Postgres;
use support::tpch::{Scale, TABLES};
use support::{Server, rows};
use tokio_postgres::Client;

const DATA: Scale = Scale::thousandths(2);

/// Orders that a round brings and takes.
const ROUND: u64 = 40;

/// PostgreSQL has an index for each foreign key, as one who asks it these queries would make.
const INDEXES: &str = "CREATE INDEX ON lineitem (l_partkey, l_suppkey); CREATE INDEX ON orders (o_custkey); \
    CREATE INDEX ON partsupp (ps_suppkey); CREATE INDEX ON customer (c_nationkey); ANALYZE";

/// Changes of the tables that the refresh functions leave alone.
const UPDATES: [&str; 6] = [
    "UPDATE customer SET c_acctbal = c_acctbal - 2500, c_mktsegment = 'BUILDING' WHERE c_custkey % 7 = 0",
    "UPDATE supplier SET s_nationkey = s_nationkey + 1, s_acctbal = s_acctbal * 2 WHERE s_suppkey IN (1, 5, 6)",
    "UPDATE partsupp SET ps_supplycost = ps_supplycost / 2, ps_availqty = ps_availqty + 100 WHERE ps_partkey % 5 = 1",
    "UPDATE part SET p_brand = 'Brand#23', p_size = 15 WHERE p_partkey % 9 = 2",
    "UPDATE lineitem SET l_quantity = 50, l_discount = 0.06 WHERE l_orderkey % 11 = 3",
    "UPDATE nation SET n_regionkey = (n_regionkey + 1) % 5 WHERE n_nationkey % 6 = 1",
];

#[tokio::test]
async fn all_22_queries_equal_postgres_while_orders_come_and_go() {
    let postgres = Postgres::start();
    let reference = postgres.connect().await;
    let server = Server::start_with(&["--workers", "3"]);
    let client = server.connect().await;
    let queries = queries();
    for target in [&client, &reference] {
        create_tables(target).await;
    }
    create_views(&client, "MATERIALIZED VIEW", &queries[..11]).await;
    for target in [&client, &reference] {
        for (table, _) in TABLES {
            copy(target, table, &DATA.initial(table)).await;
        }
    }
    create_views(&client, "MATERIALIZED VIEW", &queries[11..]).await;
    create_views(&reference, "VIEW", &queries).await;
    reference.batch_execute(INDEXES).await.unwrap();
    compare(&client, &reference, &queries, "at the start").await;
    for round in 0..3 {
        for target in [&client, &reference] {
            bring(target, DATA.orders + round * ROUND, ROUND).await;
            take(target, round * ROUND, ROUND).await;
        }
        compare(&client, &reference, &queries, &format!("after round {round}")).await;
    }
    for update in UPDATES {
        for target in [&client, &reference] {
            target.batch_execute(update).await.unwrap();
        }
        compare(&client, &reference, &queries, update).await;
    }
    measure(&client, &reference, &queries).await;
}

/// Name and text of each query.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tpch");
    let query = |number: u32| {
        let name = format!("q{number:02}");
        let text = std::fs::read_to_string(folder.join(format!("{name}.sql"))).unwrap();
        (name, text)
    };
    (1..=22).map(query).collect()
}

async fn create_tables(target: &Client) {
    for (table, columns) in TABLES {
        target.batch_execute(&format!("CREATE TABLE {table} ({columns})")).await.unwrap();
    }
}

async fn create_views(target: &Client, kind: &str, queries: &[(String, String)]) {
    for (name, query) in queries {
        let created = target.batch_execute(&format!("CREATE {kind} {name} AS {query}")).await;
        created.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
}

async fn copy(target: &Client, table: &str, lines: &[String]) {
    let sink = target.copy_in::<_, bytes::Bytes>(&format!("COPY {table} FROM STDIN")).await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send((lines.join("\n") + "\n").into()).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), lines.len() as u64);
}

/// The first refresh function: orders after this one arrive with their lines.
async fn bring(target: &Client, after: u64, count: u64) {
    let (orders, lines): (Vec<String>, Vec<Vec<String>>) =
        (after + 1..=after + count).map(|key| DATA.order(key)).unzip();
    target.batch_execute("BEGIN").await.unwrap();
    copy(target, "orders", &orders).await;
    copy(target, "lineitem", &lines.concat()).await;
    target.batch_execute("COMMIT").await.unwrap();
}

/// The second refresh function: orders after this one leave with their lines.
async fn take(target: &Client, after: u64, count: u64) {
    let last = after + count;
    let deletes = format!(
        "BEGIN; DELETE FROM lineitem WHERE l_orderkey > {after} AND l_orderkey <= {last}; \
         DELETE FROM orders WHERE o_orderkey > {after} AND o_orderkey <= {last}; COMMIT"
    );
    target.batch_execute(&deletes).await.unwrap();
}

async fn compare(client: &Client, reference: &Client, queries: &[(String, String)], when: &str) {
    for (name, _) in queries {
        let read = format!("SELECT * FROM {name}");
        let (mut actual, mut expected) = (rows(client, &read).await, rows(reference, &read).await);
        actual.sort();
        expected.sort();
        assert!(!expected.is_empty() && expected[0] != "NULL", "{name} {when} has no rows: {expected:?}");
        let different = actual.iter().zip(&expected).find(|(a, e)| a != e);
        assert_eq!(different, None, "{name} {when}");
        assert_eq!(actual.len(), expected.len(), "{name} {when}");
    }
}

/// How long it takes until a change of 0.1 % of the orders is in all results: in the views, and by asking again.
async fn measure(client: &Client, reference: &Client, queries: &[(String, String)]) {
    let change = DATA.orders / 1000;
    let mut times = Vec::new();
    for target in [client, reference] {
        let start = Instant::now();
        bring(target, 2 * DATA.orders, change).await;
        take(target, DATA.orders / 2, change).await;
        for (name, _) in queries {
            rows(target, &format!("SELECT * FROM {name}")).await;
        }
        times.push(start.elapsed());
    }
    eprintln!("all 22 results after a change of 0.1 %: views {:?}, PostgreSQL {:?}", times[0], times[1]);
    compare(client, reference, queries, "after the measured change").await;
}
