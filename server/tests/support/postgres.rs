//! PostgreSQL 15 as the reference, with connections of a driver.

use tokio_postgres::{Client, NoTls};

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
