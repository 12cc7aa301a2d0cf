//! Views and materialized views.

use super::Db;

async fn shop() -> Db {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE orders (id int PRIMARY KEY, customer int, amount int)",
        "CREATE TABLE customers (id int PRIMARY KEY, name text)",
        "INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob')",
        "INSERT INTO orders VALUES (10, 1, 5), (11, 1, 7), (12, 2, 100)",
    ])
    .await;
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_every_write_before_it() {
    let mut db = shop().await;
    db.check(&[
        (
            "CREATE MATERIALIZED VIEW big AS SELECT id, amount FROM orders WHERE amount > 6",
            "CREATE MATERIALIZED VIEW",
        ),
        ("SELECT * FROM big ORDER BY id", "11|7\n12|100"),
        ("INSERT INTO orders VALUES (13, 2, 9)", "INSERT 0 1"),
        ("SELECT * FROM big ORDER BY id", "11|7\n12|100\n13|9"),
        ("UPDATE orders SET amount = 1 WHERE id = 12", "UPDATE 1"),
        ("SELECT * FROM big ORDER BY id", "11|7\n13|9"),
        ("DELETE FROM orders WHERE id = 13", "DELETE 1"),
        ("SELECT * FROM big ORDER BY id", "11|7"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_groups_follow_their_tables() {
    let mut db = shop().await;
    db.check(&[
        (
            "CREATE MATERIALIZED VIEW spent AS SELECT c.name, count(*) AS n, sum(o.amount) AS total \
             FROM orders o JOIN customers c ON c.id = o.customer GROUP BY c.name",
            "CREATE MATERIALIZED VIEW",
        ),
        ("SELECT * FROM spent ORDER BY name", "Ada|2|12\nBob|1|100"),
        ("INSERT INTO orders VALUES (14, 1, 3)", "INSERT 0 1"),
        ("SELECT * FROM spent ORDER BY name", "Ada|3|15\nBob|1|100"),
        ("DELETE FROM customers WHERE id = 2", "DELETE 1"),
        ("SELECT * FROM spent ORDER BY name", "Ada|3|15"),
        ("UPDATE customers SET name = 'Eve' WHERE id = 1", "UPDATE 1"),
        ("SELECT * FROM spent ORDER BY name", "Eve|3|15"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_stand_on_views() {
    let mut db = shop().await;
    db.setup(&[
        "CREATE VIEW named AS SELECT o.id, c.name, o.amount FROM orders o JOIN customers c ON c.id = o.customer",
        "CREATE MATERIALIZED VIEW per_name AS SELECT name, sum(amount) AS total FROM named GROUP BY name",
        "CREATE MATERIALIZED VIEW rich AS SELECT name FROM per_name WHERE total > 50",
    ])
    .await;
    db.check(&[
        ("SELECT * FROM rich", "Bob"),
        ("INSERT INTO orders VALUES (20, 1, 90)", "INSERT 0 1"),
        ("SELECT * FROM rich ORDER BY name", "Ada\nBob"),
        ("FLUSH", "FLUSH"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_without_groups_has_one_row() {
    let mut db = Db::open();
    db.check(&[
        ("CREATE TABLE t (x int)", "CREATE TABLE"),
        (
            "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n, max(x) AS top FROM t",
            "CREATE MATERIALIZED VIEW",
        ),
        ("SELECT * FROM n", "0|NULL"),
        ("INSERT INTO t VALUES (4), (9)", "INSERT 0 2"),
        ("SELECT * FROM n", "2|9"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_computed_is_not_created() {
    let mut db = Db::open();
    db.check(&[
        ("CREATE TABLE t (x int)", "CREATE TABLE"),
        ("INSERT INTO t VALUES (0)", "INSERT 0 1"),
        ("CREATE MATERIALIZED VIEW bad AS SELECT 1 / x AS y FROM t", "ERROR 22012: division by zero"),
        ("SELECT * FROM bad", "ERROR 42P01: relation \"bad\" does not exist"),
        ("DELETE FROM t", "DELETE 1"),
        ("CREATE MATERIALIZED VIEW bad AS SELECT 1 / x AS y FROM t", "CREATE MATERIALIZED VIEW"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_fails_later_fails_alone() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (x int)",
        "CREATE MATERIALIZED VIEW bad AS SELECT 1 / x AS y FROM t",
        "CREATE MATERIALIZED VIEW good AS SELECT sum(x) AS s FROM t",
        "INSERT INTO t VALUES (1), (0)",
    ])
    .await;
    let failed = db.run("SELECT * FROM bad").await;
    assert!(failed.starts_with("ERROR") && failed.contains("division by zero"), "{failed}");
    db.check(&[
        ("SELECT s FROM good", "1"),
        ("INSERT INTO t VALUES (5)", "INSERT 0 1"),
        ("SELECT s FROM good", "6"),
        ("FLUSH", "FLUSH"),
        ("DROP MATERIALIZED VIEW bad", "DROP MATERIALIZED VIEW"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_respect_dependents() {
    let mut db = shop().await;
    db.setup(&["CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM orders"]).await;
    db.check(&[
        ("DROP TABLE orders", "ERROR 2BP01: cannot drop table orders because other objects depend on it"),
        ("DROP TABLE orders CASCADE", "DROP TABLE"),
        ("SELECT * FROM m", "ERROR 42P01: relation \"m\" does not exist"),
        ("DROP TABLE IF EXISTS orders", "DROP TABLE"),
        ("CREATE TABLE IF NOT EXISTS customers (id int)", "CREATE TABLE"),
    ])
    .await;
    let notices: Vec<String> = db.session.take_notices().into_iter().map(|n| n.message).collect();
    assert_eq!(
        notices,
        [
            "drop cascades to materialized view m",
            "table \"orders\" does not exist, skipping",
            "relation \"customers\" already exists, skipping",
        ]
    );
}
