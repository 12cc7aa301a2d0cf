//! The same query in a PostgreSQL that runs already, over the same rows in tables.

use std::time::Instant;

use futures::{SinkExt, StreamExt};
use tokio_postgres::Client;

use super::queries::Query;
use super::{Outcome, rows, sorted};

/// Tables of the three kinds of events, whose columns are the sources'.
const TABLES: &str = "DROP SCHEMA IF EXISTS nexmark CASCADE; CREATE SCHEMA nexmark; SET search_path = nexmark; \
    CREATE TABLE person (id bigint, name text, email_address text, credit_card text, city text, state text, \
        date_time timestamp, extra text); \
    CREATE TABLE auction (id bigint, item_name text, description text, initial_bid bigint, reserve bigint, \
        date_time timestamp, expires timestamp, seller bigint, category bigint, extra text); \
    CREATE TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamp, \
        extra text)";

/// Seconds that PostgreSQL needs for the query, and its result.
pub async fn answer(query: &Query, weir: &Client, connect: &str) -> Outcome<(f64, Vec<Vec<String>>)> {
    let (client, connection) = tokio_postgres::connect(connect, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(TABLES).await?;
    query.create_side_tables(&client).await?;
    for table in query.tables {
        copy(weir, &client, table).await?;
    }
    client.batch_execute("ANALYZE").await?;
    let start = Instant::now();
    let found = rows(&client, query.sql).await?;
    let seconds = start.elapsed().as_secs_f64();
    client.batch_execute("DROP SCHEMA nexmark CASCADE").await?;
    Ok((seconds, sorted(found)))
}

/// The rows of a source, from the view that keeps them.
async fn copy(from: &Client, to: &Client, table: &str) -> Outcome<()> {
    let lines = from.copy_out(&format!("COPY (SELECT * FROM {table}_rows) TO STDOUT")).await?;
    let sink = to.copy_in::<_, bytes::Bytes>(&format!("COPY {table} FROM STDIN")).await?;
    let (mut lines, mut sink) = (std::pin::pin!(lines), std::pin::pin!(sink));
    while let Some(line) = lines.next().await {
        sink.feed(line?).await?;
    }
    sink.finish().await?;
    Ok(())
}

/// Rows with numbers as short as they can be: how many zeros an average ends in depends on what it was divided by, which
/// PostgreSQL knows when it prints it.
pub fn without_zeros(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let short = |value: String| match value.contains('.') && value.parse::<f64>().is_ok() {
        true => value.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => value,
    };
    sorted(rows.into_iter().map(|row| row.into_iter().map(short).collect()).collect())
}
