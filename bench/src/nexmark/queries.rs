//! The queries, as the public suite defines them.

use std::error::Error;

use tokio_postgres::Client;

/// Event time of the first event: 2015-07-15 00:00:00 UTC in seconds.
pub const START_SECONDS: f64 = 1_436_918_400.0;

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

/// Every query there is.
pub const QUERIES: [Query; 5] = [
    Query {
        name: "q0",
        tables: &["bid"],
        target: Target::Blackhole,
        sql: "SELECT auction, bidder, price, date_time FROM bid",
    },
    Query {
        name: "q1",
        tables: &["bid"],
        target: Target::Blackhole,
        sql: "SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid",
    },
    Query {
        name: "q2",
        tables: &["bid"],
        target: Target::Blackhole,
        sql: "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    },
    Query {
        name: "q3",
        tables: &["auction", "person"],
        target: Target::View,
        sql: "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id \
              WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
    },
    Query {
        name: "q4",
        tables: &["auction", "bid"],
        target: Target::View,
        sql: "SELECT category, avg(final) AS average FROM (SELECT max(b.price) AS final, a.category \
              FROM auction a JOIN bid b ON a.id = b.auction WHERE b.date_time BETWEEN a.date_time AND a.expires \
              GROUP BY a.id, a.category) AS q GROUP BY category",
    },
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

    /// The same query over the views of the sources' rows.
    pub fn over_rows(&self) -> String {
        let mut sql = self.sql.to_owned();
        for table in self.tables {
            for keyword in ["FROM", "JOIN"] {
                sql = replace_word(&sql, keyword, table);
            }
        }
        sql
    }
}

/// `keyword table` becomes `keyword table_rows`, where `table` ends there.
fn replace_word(sql: &str, keyword: &str, table: &str) -> String {
    let wanted = format!("{keyword} {table}");
    match sql.find(&wanted) {
        Some(at) => {
            let end = at + wanted.len();
            format!("{}_rows{}", &sql[..end], &sql[end..])
        }
        None => sql.to_owned(),
    }
}
