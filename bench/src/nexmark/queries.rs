//! The queries, as the public suite (nexmark-flink) defines them, in `server/tests/data/nexmark`.
//!
//! What differs is spelling: `to_char` for DATE_FORMAT, `split_part` for SPLIT_INDEX, a column's length without a letter for
//! the function that counts it. q6 ranks its winning bids, since a view's windows may be over what changes; q13 joins its
//! side table as it is now, q19 ranks equal prices by time. The windows of q12 are of processing time, so only its
//! counts by bidder are compared.

use std::error::Error;

use tokio_postgres::Client;

/// Event time of the first event: 2015-07-15 00:00:00 UTC in seconds.
pub const START_SECONDS: f64 = 1_436_918_400.0;

/// The table that q13 joins.
const SIDE_INPUT: &str = "CREATE TABLE side_input (key bigint PRIMARY KEY, value text); \
    INSERT INTO side_input SELECT i, 'value-' || i FROM generate_series(0, 9999) AS i";

/// Where a query's rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    View,
    Blackhole,
}

/// One query.
pub struct Query {
    pub name: &'static str,
    pub tables: &'static [&'static str],
    pub target: Target,
    pub sql: &'static str,
}

macro_rules! query {
    ($name:literal, $file:literal, $tables:expr, $target:ident) => {
        Query {
            name: $name,
            tables: &$tables,
            target: Target::$target,
            sql: include_str!(concat!("../../../server/tests/data/nexmark/", $file, ".sql")),
        }
    };
}

/// Every query there is.
pub const QUERIES: [Query; 23] = [
    query!("q0", "q00", ["bid"], Blackhole),
    query!("q1", "q01", ["bid"], Blackhole),
    query!("q2", "q02", ["bid"], Blackhole),
    query!("q3", "q03", ["auction", "person"], View),
    query!("q4", "q04", ["auction", "bid"], View),
    query!("q5", "q05", ["bid"], View),
    query!("q6", "q06", ["auction", "bid"], View),
    query!("q7", "q07", ["bid"], View),
    query!("q8", "q08", ["person", "auction"], View),
    query!("q9", "q09", ["auction", "bid"], View),
    query!("q10", "q10", ["bid"], Blackhole),
    query!("q11", "q11", ["bid"], View),
    query!("q12", "q12", ["bid"], View),
    query!("q13", "q13", ["bid"], View),
    query!("q14", "q14", ["bid"], Blackhole),
    query!("q15", "q15", ["bid"], View),
    query!("q16", "q16", ["bid"], View),
    query!("q17", "q17", ["bid"], View),
    query!("q18", "q18", ["bid"], View),
    query!("q19", "q19", ["bid"], View),
    query!("q20", "q20", ["auction", "bid"], View),
    query!("q21", "q21", ["bid"], Blackhole),
    query!("q22", "q22", ["bid"], Blackhole),
];

impl Query {
    /// Starts the query as the job `q`.
    pub async fn create(&self, client: &Client) -> Result<(), Box<dyn Error>> {
        let sql = match self.target {
            Target::View => format!("CREATE MATERIALIZED VIEW q AS {}", self.sql),
            Target::Blackhole => format!("CREATE SINK q AS {} WITH (connector = 'blackhole')", self.sql),
        };
        Ok(client.batch_execute(&sql).await?)
    }

    /// Makes the tables that the query reads besides the sources.
    pub async fn create_side_tables(&self, client: &Client) -> Result<(), Box<dyn Error>> {
        match self.sql.contains("side_input") {
            true => Ok(client.batch_execute(SIDE_INPUT).await?),
            false => Ok(()),
        }
    }

    /// The same query over the views of the sources' rows.
    pub fn over_rows(&self) -> String {
        let rows = |table: &&str| format!("{table} AS (SELECT * FROM {table}_rows)");
        let tables: Vec<String> = self.tables.iter().map(rows).collect();
        format!("WITH {} {}", tables.join(", "), self.sql)
    }

    /// What of its rows is the same whenever it runs.
    pub fn compared(&self, rows: &str) -> String {
        match self.reads_clock() {
            true => format!("SELECT bidder, sum(bid_count) FROM ({rows}) AS counted GROUP BY bidder"),
            false => rows.to_owned(),
        }
    }

    fn reads_clock(&self) -> bool {
        self.sql.contains("PROCTIME() AS")
    }

    /// Whether PostgreSQL knows all of it: it has no windows of time.
    pub fn is_known_to_postgres(&self) -> bool {
        !self.sql.contains("FROM TABLE(") && !self.reads_clock()
    }
}
