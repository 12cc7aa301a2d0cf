//! DDL in transaction blocks, and savepoints.

use super::{Db, run};

#[tokio::test(flavor = "multi_thread")]
async fn ddl_in_a_block_shows_to_the_block_alone_until_its_commit() {
    let mut db = Db::open();
    let mut other = db.another_session();
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("CREATE TABLE t (k serial PRIMARY KEY, v int CHECK (v > 0))", "CREATE TABLE"),
        ("INSERT INTO t (v) VALUES (10), (20)", "INSERT 0 2"),
        ("CREATE VIEW plain AS SELECT v * 2 AS w FROM t", "CREATE VIEW"),
        ("CREATE MATERIALIZED VIEW total AS SELECT sum(v) AS s FROM t", "CREATE MATERIALIZED VIEW"),
        ("COMMENT ON TABLE t IS 'mine'", "COMMENT"),
        ("SELECT k, v FROM t ORDER BY k", "1|10\n2|20"),
        ("SELECT obj_description('t'::regclass)", "mine"),
        ("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'plain', 'total', 't_pkey')", "4"),
    ])
    .await;
    let missing = "ERROR 42P01: relation \"t\" does not exist";
    assert_eq!(run(&mut other, "SELECT * FROM t").await, missing);
    assert_eq!(run(&mut other, "SELECT count(*) FROM pg_class WHERE relname = 't'").await, "0");
    db.check(&[("COMMIT", "COMMIT"), ("SELECT s FROM total", "30")]).await;
    assert_eq!(run(&mut other, "SELECT w FROM plain ORDER BY w").await, "20\n40");
    assert_eq!(run(&mut other, "INSERT INTO t (v) VALUES (5)").await, "INSERT 0 1");
    assert_eq!(run(&mut other, "SELECT s FROM total").await, "35");
    drop(other);
    let mut db = db.reopen();
    db.check(&[("SELECT s FROM total", "35"), ("INSERT INTO t (v) VALUES (1)", "INSERT 0 1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_block_leaves_nothing_and_frees_its_names() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE kept (k int)", "INSERT INTO kept VALUES (1)"]).await;
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("CREATE TABLE t (k int)", "CREATE TABLE"),
        ("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM kept", "CREATE MATERIALIZED VIEW"),
        ("SELECT n FROM n", "1"),
        ("DROP TABLE t", "DROP TABLE"),
        ("SELECT * FROM t", "ERROR 42P01: relation \"t\" does not exist"),
        ("COMMIT", "ROLLBACK"),
        ("SELECT n FROM n", "ERROR 42P01: relation \"n\" does not exist"),
        ("BEGIN", "BEGIN"),
        ("DROP TABLE kept", "DROP TABLE"),
        ("ROLLBACK", "ROLLBACK"),
        ("SELECT k FROM kept", "1"),
        ("CREATE TABLE t (v text)", "CREATE TABLE"),
        ("CREATE TABLE n (v text)", "CREATE TABLE"),
    ])
    .await;
    assert_eq!(db.env.runtime.jobs().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_in_its_block_rolls_back() {
    let mut db = Db::open();
    let mut other = db.another_session();
    db.setup(&["CREATE TABLE kept (k int)"]).await;
    for sql in ["BEGIN", "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM kept"] {
        run(&mut other, sql).await;
    }
    assert_eq!(db.env.runtime.jobs().len(), 1);
    drop(other);
    while !db.env.runtime.jobs().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    db.check(&[("DROP TABLE kept", "DROP TABLE")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_do_not_fit_together_are_told_at_commit() {
    let mut db = Db::open();
    let mut other = db.another_session();
    db.setup(&["CREATE TABLE base (k int)"]).await;
    db.setup(&["BEGIN", "CREATE TABLE t (k int)"]).await;
    assert_eq!(run(&mut other, "CREATE TABLE t (k int)").await, "CREATE TABLE");
    db.check(&[
        ("COMMIT", "ERROR 42P07: relation \"t\" already exists"),
        ("BEGIN", "BEGIN"),
        ("CREATE VIEW v AS SELECT k FROM base", "CREATE VIEW"),
    ])
    .await;
    assert_eq!(run(&mut other, "DROP TABLE base").await, "DROP TABLE");
    db.check(&[("COMMIT", "ERROR 40001: could not serialize access due to concurrent DDL")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_refused_in_a_block() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int)", "BEGIN"]).await;
    let refused = db.run("CREATE SINK s FROM t WITH (connector = 'blackhole')").await;
    assert!(refused.starts_with("ERROR 0A000: CREATE SINK inside a transaction block"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_undo_what_came_after_them() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY)"]).await;
    db.check(&[
        ("SAVEPOINT a", "ERROR 25P01: SAVEPOINT can only be used in transaction blocks"),
        ("BEGIN", "BEGIN"),
        ("INSERT INTO t VALUES (1)", "INSERT 0 1"),
        ("SAVEPOINT a", "SAVEPOINT"),
        ("SET LOCAL TimeZone = 'Asia/Tokyo'", "SET"),
        ("INSERT INTO t VALUES (2)", "INSERT 0 1"),
        ("CREATE TABLE u (k int)", "CREATE TABLE"),
        ("SAVEPOINT b", "SAVEPOINT"),
        ("INSERT INTO u VALUES (1)", "INSERT 0 1"),
        ("SELECT 1 / 0", "ERROR 22012: division by zero"),
        (
            "RELEASE b",
            "ERROR 25P02: current transaction is aborted, commands ignored until end of transaction block",
        ),
        ("ROLLBACK TO b", "ROLLBACK"),
        ("SELECT count(*) FROM u", "0"),
        ("RELEASE SAVEPOINT b", "RELEASE"),
        ("ROLLBACK TO SAVEPOINT a", "ROLLBACK"),
        ("SHOW TimeZone", "UTC"),
        ("SELECT k FROM t", "1"),
        ("INSERT INTO t VALUES (3)", "INSERT 0 1"),
        ("RELEASE a", "RELEASE"),
        ("COMMIT", "COMMIT"),
        ("SELECT k FROM t ORDER BY k", "1\n3"),
        ("SELECT * FROM u", "ERROR 42P01: relation \"u\" does not exist"),
        ("BEGIN", "BEGIN"),
        ("ROLLBACK TO nothing", "ERROR 3B001: savepoint \"nothing\" does not exist"),
        ("ROLLBACK", "ROLLBACK"),
    ])
    .await;
}
