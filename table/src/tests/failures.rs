//! Views that fail by an error of their data, and go on when they are told to.

use super::Db;

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_failed_by_its_data_goes_on_when_the_data_is_right() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY, d int)",
        "CREATE MATERIALIZED VIEW quotient AS SELECT k, 100 / d AS q FROM t",
        "CREATE MATERIALIZED VIEW total AS SELECT sum(q) AS s FROM quotient",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM t",
        "INSERT INTO t VALUES (1, 5), (2, 10)",
    ])
    .await;
    db.check(&[("SELECT s FROM total", "30"), ("INSERT INTO t VALUES (3, 0)", "INSERT 0 1")]).await;
    let failed = |name| {
        format!(
            "ERROR 55000: materialized view \"{name}\" has failed: {}division by zero",
            match name {
                "total" => "its input \"quotient\" failed: ",
                _ => "",
            }
        )
    };
    let states = "SELECT name, state FROM sys.jobs ORDER BY name";
    db.check(&[
        ("SELECT n FROM counted", "3"),
        ("SELECT * FROM quotient", &failed("quotient")),
        ("SELECT * FROM total", &failed("total")),
        (states, "counted|running\nquotient|failed\ntotal|failed"),
        ("RESUME MATERIALIZED VIEW quotient", "ERROR 22012: division by zero"),
        (
            "RESUME MATERIALIZED VIEW total",
            "ERROR 55000: materialized view \"total\" reads \"quotient\", which has failed",
        ),
        ("UPDATE t SET d = 50 WHERE k = 3", "UPDATE 1"),
        ("RESUME MATERIALIZED VIEW quotient", "RESUME"),
        ("SELECT q FROM quotient ORDER BY k", "20\n10\n2"),
        ("SELECT s FROM total", "32"),
        ("INSERT INTO t VALUES (4, 100)", "INSERT 0 1"),
        ("SELECT s FROM total", "33"),
        (states, "counted|running\nquotient|running\ntotal|running"),
        ("RESUME MATERIALIZED VIEW total", "RESUME"),
    ])
    .await;
    let mut db = db.reopen();
    db.check(&[("SELECT s FROM total", "33"), ("SELECT n FROM counted", "4")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_failed_does_not_write_everything_again() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY, d int)",
        "CREATE MATERIALIZED VIEW quotient AS SELECT k, 100 / d AS q FROM t",
        "CREATE SINK out FROM quotient WITH (connector = 'blackhole')",
        "INSERT INTO t VALUES (1, 0)",
    ])
    .await;
    while !db.run("SELECT state FROM sys.jobs WHERE name = 'out'").await.contains("failed") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    db.check(&[
        ("DELETE FROM t", "DELETE 1"),
        ("RESUME MATERIALIZED VIEW quotient", "RESUME"),
        ("SELECT * FROM quotient", ""),
        ("RESUME SINK out", "ERROR 55000: sink \"out\" has failed and cannot go on"),
    ])
    .await;
}
