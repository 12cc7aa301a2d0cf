//! PostgreSQL 15 as the reference, with connections of a driver.

use tokio_postgres::{Client, NoTls};

use super::sorted;

/// A running PostgreSQL.
pub struct Postgres(weir_sqllogictest::postgres::Postgres);

impl Postgres {
    /// Initialises and starts a cluster.
    pub fn start() -> Postgres {
        Postgres(weir_sqllogictest::postgres::Postgres::start().unwrap())
    }

    /// A connection.
    pub async fn connect(&self) -> Client {
        let address = self.0.address();
        let url = format!("host={} user={} dbname={}", address.host, address.user, address.database);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// Checks that a query gives the rows that another one gives in PostgreSQL, in any order.
pub async fn assert_same(client: &Client, query: &str, reference: &Client, in_postgres: &str) {
    let (actual, expected) = (sorted(client, query).await, sorted(reference, in_postgres).await);
    let different = actual.iter().zip(&expected).find(|(a, e)| a != e);
    assert_eq!(different, None, "{query}");
    assert_eq!(actual.len(), expected.len(), "{query}");
}
