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

/// Whatever the consistency, a statement shows its relations at one epoch: the view over pairs has the square of the
/// table's count, however far it lags behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_view_is_read_at_one_epoch_with_its_table() {
    const ROWS: i64 = 1500;
    let mut db = Db::open();
    let insert = format!("INSERT INTO t SELECT 1 FROM generate_series(1, {ROWS})");
    db.setup(&[
        "CREATE TABLE t (k int)",
        "CREATE MATERIALIZED VIEW pairs AS SELECT count(*) AS n FROM t a JOIN t b ON a.k = b.k",
    ])
    .await;
    let both = "SELECT (SELECT count(*) FROM t), (SELECT n FROM pairs)";
    let shown = |rows: i64| format!("{rows}|{}", rows * rows);
    for round in 1..=3 {
        db.setup(&["SET weir.consistency = eventual", &insert]).await;
        for _ in 0..5 {
            let seen = db.run(both).await;
            let rows: i64 = seen.split('|').next().unwrap().parse().unwrap();
            assert_eq!(seen, shown(rows));
            assert!(rows == (round - 1) * ROWS || rows == round * ROWS, "{seen}");
        }
        let level = if round == 2 { "session" } else { "strict" };
        db.setup(&[&format!("SET weir.consistency = {level}")]).await;
        assert_eq!(db.run(both).await, shown(round * ROWS), "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_view_holds_nobody_back_and_catches_up() {
    let mut db = shop().await;
    db.setup(&[
        "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM orders",
        "CREATE MATERIALIZED VIEW twice AS SELECT n * 2 AS n FROM n",
        "CREATE MATERIALIZED VIEW other AS SELECT sum(amount) AS total FROM orders",
    ])
    .await;
    db.check(&[
        ("PAUSE MATERIALIZED VIEW n", "PAUSE"),
        ("INSERT INTO orders VALUES (20, 1, 1)", "INSERT 0 1"),
        ("SELECT * FROM other", "113"),
        ("FLUSH", "FLUSH"),
        ("SELECT state FROM sys.jobs ORDER BY name", "paused\nrunning\nrunning"),
        ("SELECT * FROM n", "ERROR 55000: materialized view \"n\" is paused"),
        ("SELECT * FROM twice", "ERROR 55000: materialized view \"n\" is paused"),
        ("WAIT FOR MATERIALIZED VIEW n", "ERROR 55000: materialized view \"n\" is paused"),
        ("SET weir.consistency = eventual", "SET"),
        ("SELECT * FROM n", "3"),
        ("RESET weir.consistency", "RESET"),
        ("RESUME MATERIALIZED VIEW n", "RESUME"),
        ("WAIT FOR MATERIALIZED VIEW twice", "WAIT"),
        ("SELECT * FROM twice", "8"),
        ("PAUSE MATERIALIZED VIEW twice", "PAUSE"),
        ("INSERT INTO orders VALUES (21, 1, 1)", "INSERT 0 1"),
        ("SELECT * FROM n", "5"),
        ("PAUSE MATERIALIZED VIEW orders", "ERROR 42809: \"orders\" is not a materialized view or sink"),
    ])
    .await;
    let mut db = db.reopen();
    db.check(&[("SELECT * FROM twice", "10")]).await;
}
