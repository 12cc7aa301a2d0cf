//! Restarts: what was acknowledged is there again.

use std::sync::Arc;

use super::{Db, render_error};
use crate::Environment;
use weir_common::config::EngineConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY, v int)",
        "INSERT INTO t VALUES (1, 10), (2, 20)",
        "CREATE MATERIALIZED VIEW total AS SELECT sum(v) AS s FROM t",
        "CREATE VIEW doubled AS SELECT k, v * 2 AS w FROM t",
        "UPDATE t SET v = 11 WHERE k = 1",
        "DELETE FROM t WHERE k = 2",
    ])
    .await;
    let mut db = db.reopen();
    db.check(&[
        ("SELECT * FROM t", "1|11"),
        ("SELECT * FROM total", "11"),
        ("SELECT * FROM doubled", "1|22"),
        ("INSERT INTO t VALUES (3, 30)", "INSERT 0 1"),
        ("SELECT * FROM total", "41"),
    ])
    .await;
    let mut db = db.reopen();
    db.check(&[("SELECT * FROM total", "41"), ("SELECT count(*) FROM t", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_stays_away() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int)",
        "INSERT INTO t VALUES (1)",
        "CREATE MATERIALIZED VIEW m AS SELECT k FROM t",
        "DROP TABLE t CASCADE",
        "CREATE TABLE t (k int)",
    ])
    .await;
    let mut db = db.reopen();
    db.check(&[
        ("SELECT count(*) FROM t", "0"),
        ("SELECT * FROM m", "ERROR 42P01: relation \"m\" does not exist"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_view_is_failed_after_a_restart_and_the_rest_runs() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (x int)",
        "CREATE MATERIALIZED VIEW bad AS SELECT 1 / x AS y FROM t",
        "CREATE MATERIALIZED VIEW good AS SELECT count(*) AS n FROM t",
        "INSERT INTO t VALUES (0)",
    ])
    .await;
    let mut db = db.reopen();
    assert!(db.run("SELECT * FROM bad").await.starts_with("ERROR"));
    assert_eq!(db.run("SELECT * FROM good").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_opened_once() {
    let db = Db::open();
    let second = Environment::open(EngineConfig::new(db.dir.path(), 1));
    let error = second.map(|_: Arc<Environment>| ()).expect_err("locked");
    assert!(render_error(&error).starts_with("ERROR 55006"), "{error}");
}
