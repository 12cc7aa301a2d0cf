//! Reads that prepared statements keep: they hold while catalog and settings do, and see what the session sees.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use weir_common::SqlType;

use super::{Db, render};
use crate::outcome::{ParamValue, Prepared};

const BY_KEY: &str = "SELECT v FROM t WHERE k = $1";

fn prepare(db: &mut Db, sql: &str) -> Arc<Prepared> {
    let declared = [Some(SqlType::Int4)];
    let statements = db.session.parse(sql).expect("it parses");
    let prepared = db.session.prepare(&statements[0], &declared).expect("it binds");
    let prepared = Arc::new(prepared);
    db.session.remember(sql, &declared, &prepared);
    prepared
}

fn is_recalled(db: &Db, sql: &str) -> bool {
    db.session.recall(sql, &[Some(SqlType::Int4)]).is_some()
}

async fn run(db: &mut Db, prepared: &Prepared, key: i32) -> String {
    let value: ArrayRef = Arc::new(Int32Array::from(vec![key]));
    let outcome = db.session.execute(prepared, vec![ParamValue::Value(value)]).await.expect("it runs");
    render(&db.session, outcome).await.expect("it gives rows")
}

async fn open() -> Db {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"])
        .await;
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_read_sees_what_the_session_sees() {
    let mut db = open().await;
    let by_key = prepare(&mut db, BY_KEY);
    assert_eq!(run(&mut db, &by_key, 1).await, "one");
    assert_eq!(run(&mut db, &by_key, 3).await, "");
    db.setup(&["UPDATE t SET v = 'uno' WHERE k = 1"]).await;
    assert_eq!(run(&mut db, &by_key, 1).await, "uno");
    db.setup(&["BEGIN", "UPDATE t SET v = 'mine' WHERE k = 2", "INSERT INTO t VALUES (3, 'new')"]).await;
    assert_eq!(run(&mut db, &by_key, 2).await, "mine");
    assert_eq!(run(&mut db, &by_key, 3).await, "new");
    db.setup(&["DELETE FROM t WHERE k = 1"]).await;
    assert_eq!(run(&mut db, &by_key, 1).await, "");
    db.setup(&["ROLLBACK"]).await;
    assert_eq!(run(&mut db, &by_key, 2).await, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_read_is_made_again_when_the_catalog_or_a_setting_changes() {
    let mut db = open().await;
    let by_key = prepare(&mut db, BY_KEY);
    for change in [
        "ALTER TABLE t ADD COLUMN w int DEFAULT 7",
        "CREATE INDEX t_v ON t (v)",
        "SET TimeZone = 'Europe/Berlin'",
        "DROP INDEX t_v",
    ] {
        assert!(is_recalled(&db, BY_KEY), "before {change}");
        db.setup(&[change]).await;
        assert!(!is_recalled(&db, BY_KEY), "after {change}");
        assert_eq!(run(&mut db, &by_key, 2).await, "two", "{change}");
    }
    db.setup(&[
        "DROP TABLE t",
        "CREATE TABLE t (v text, k int PRIMARY KEY)",
        "INSERT INTO t VALUES ('zwei', 2)",
    ])
    .await;
    assert_eq!(run(&mut db, &by_key, 2).await, "zwei");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_mean_something_else_next_time_is_not_kept() {
    let mut db = open().await;
    db.setup(&["CREATE VIEW stamped AS SELECT k, v, now() AS at FROM t"]).await;
    for sql in [
        "SELECT now() FROM t WHERE k = $1",
        "SELECT v FROM stamped WHERE k = $1",
        "UPDATE t SET v = 'x' WHERE k = $1",
    ] {
        prepare(&mut db, sql);
        assert!(!is_recalled(&db, sql), "{sql}");
    }
    let by_key = prepare(&mut db, BY_KEY);
    db.setup(&["BEGIN"]).await;
    assert!(is_recalled(&db, BY_KEY));
    db.setup(&["ALTER TABLE t ADD COLUMN w int"]).await;
    assert!(!is_recalled(&db, BY_KEY), "a draft has no version of its own");
    assert_eq!(run(&mut db, &by_key, 1).await, "one");
    db.setup(&["ROLLBACK"]).await;
}
