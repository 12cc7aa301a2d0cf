//! Entries that are counted and money that is moved: writers that know what was acknowledged, and what must hold of it
//! whatever happened to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{first_value, rows};

const ACCOUNTS: i64 = 20;
/// What all accounts hold together, always.
pub const MONEY: i64 = ACCOUNTS * 100;

/// What a writer did before its connection broke.
#[derive(Default)]
pub struct Written {
    pub acknowledged: Vec<i64>,
    /// The statement that had no answer.
    pub in_flight: Option<i64>,
}

/// Makes the tables, views over them, and the money.
pub async fn create(client: &Client) {
    for sql in [
        "CREATE TABLE entries (id bigint PRIMARY KEY, amount bigint NOT NULL)",
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE MATERIALIZED VIEW entry_total AS SELECT count(*) AS n, sum(amount) AS total FROM entries",
        "CREATE MATERIALIZED VIEW money AS SELECT sum(balance) AS total FROM accounts",
        "CREATE MATERIALIZED VIEW rich AS SELECT total FROM money WHERE total > 0",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let accounts: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, 100)")).collect();
    client.batch_execute(&format!("INSERT INTO accounts VALUES {}", accounts.join(", "))).await.unwrap();
}

/// Inserts entries with numbers from `next` until the connection breaks.
pub fn insert_entries(client: Client, next: Arc<AtomicI64>) -> JoinHandle<Written> {
    tokio::spawn(async move {
        let mut written = Written::default();
        loop {
            let id = next.fetch_add(1, Ordering::SeqCst);
            match client.batch_execute(&format!("INSERT INTO entries VALUES ({id}, {id})")).await {
                Ok(()) => written.acknowledged.push(id),
                Err(_) => {
                    written.in_flight = Some(id);
                    return written;
                }
            }
        }
    })
}

/// Moves money between accounts until the connection breaks.
pub fn transfer(client: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        for i in 0i64.. {
            let (from, to) = (i * 7 % ACCOUNTS, (i * 11 + 1) % ACCOUNTS);
            let sql = format!(
                "UPDATE accounts SET balance = balance + CASE WHEN id = {to} THEN 5 ELSE 0 END \
                 - CASE WHEN id = {from} THEN 5 ELSE 0 END WHERE id IN ({from}, {to})"
            );
            if client.batch_execute(&sql).await.is_err() {
                return;
            }
        }
    })
}

/// What was acknowledged is there once, nothing is there that nobody wrote, and views agree with tables.
pub async fn check(client: &Client, all: &[Written]) {
    let present: Vec<i64> = rows(client, "SELECT id FROM entries ORDER BY id")
        .await
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    for written in all {
        for id in &written.acknowledged {
            assert!(present.binary_search(id).is_ok(), "entry {id} was acknowledged and is gone");
        }
    }
    let known = |id: &i64| all.iter().any(|w| w.in_flight == Some(*id) || w.acknowledged.contains(id));
    assert!(present.iter().all(known), "an entry is there that nobody wrote");
    let both = "SELECT v.n = t.n AND v.total IS NOT DISTINCT FROM t.total FROM entry_total v, \
                (SELECT count(*) AS n, sum(amount) AS total FROM entries) t";
    assert_eq!(rows(client, both).await, ["t"]);
    assert_eq!(first_value(client, "SELECT total FROM rich").await, MONEY.to_string());
}
