//! Transaction blocks.

use weir_common::SqlState;

use super::{Db, run};
use crate::outcome::{ImplicitEnd, TransactionStatus};

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_visible_as_a_whole_at_its_commit() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY)", "CREATE TABLE u (k int)"]).await;
    let mut other = db.another_session();
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("INSERT INTO t VALUES (1)", "INSERT 0 1"),
        ("INSERT INTO u VALUES (2)", "INSERT 0 1"),
        ("INSERT INTO t VALUES (3)", "INSERT 0 1"),
    ])
    .await;
    assert_eq!(db.session.transaction_status(), TransactionStatus::InTransaction);
    assert_eq!(run(&mut other, "SELECT count(*) FROM t").await, "0");
    assert_eq!(db.run("COMMIT").await, "COMMIT");
    assert_eq!(run(&mut other, "SELECT count(*) FROM t").await, "2");
    assert_eq!(run(&mut other, "SELECT count(*) FROM u").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_forgets() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int)"]).await;
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("INSERT INTO t VALUES (1)", "INSERT 0 1"),
        ("ROLLBACK", "ROLLBACK"),
        ("SELECT count(*) FROM t", "0"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_aborts_the_block() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int)"]).await;
    let aborted =
        "ERROR 25P02: current transaction is aborted, commands ignored until end of transaction block";
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("INSERT INTO t VALUES (1)", "INSERT 0 1"),
        ("SELECT 1 / 0", "ERROR 22012: division by zero"),
        ("SELECT 1", aborted),
        ("COMMIT", "ROLLBACK"),
        ("SELECT count(*) FROM t", "0"),
        ("BEGIN", "BEGIN"),
        ("SELEC", "ERROR 42601: syntax error at or near \"SELEC\""),
        ("SELECT 1", aborted),
        ("ROLLBACK", "ROLLBACK"),
    ])
    .await;
    assert_eq!(db.session.transaction_status(), TransactionStatus::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_in_a_block_is_refused() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY, v int)",
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t",
    ])
    .await;
    for sql in ["CREATE SINK s FROM t WITH (connector = 'blackhole')", "SELECT * FROM m"] {
        db.setup(&["BEGIN", "INSERT INTO t VALUES (1, 1)"]).await;
        let got = db.run(sql).await;
        assert!(got.starts_with("ERROR 0A000"), "{sql}: {got}");
        assert_eq!(db.run("ROLLBACK").await, "ROLLBACK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_tell_of_blocks_that_are_not_there() {
    let mut db = Db::open();
    db.setup(&["COMMIT", "BEGIN", "BEGIN", "ROLLBACK"]).await;
    let states: Vec<SqlState> = db.session.take_notices().into_iter().map(|n| n.state).collect();
    assert_eq!(states, [SqlState::NO_ACTIVE_SQL_TRANSACTION, SqlState::ACTIVE_SQL_TRANSACTION]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_block_sees_one_epoch() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int)", "CREATE TABLE u (k int)"]).await;
    let mut other = db.another_session();
    db.setup(&["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT * FROM t"]).await;
    assert_eq!(run(&mut other, "INSERT INTO u VALUES (1)").await, "INSERT 0 1");
    db.check(&[
        ("SELECT count(*) FROM u", "0"),
        ("COMMIT", "COMMIT"),
        ("SELECT count(*) FROM u", "1"),
        ("BEGIN READ ONLY", "BEGIN"),
        ("INSERT INTO t VALUES (1)", "ERROR 25006: cannot execute INSERT in a read-only transaction"),
        ("ROLLBACK", "ROLLBACK"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_implicit_block_commits_or_forgets_as_one() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int)"]).await;
    let mut other = db.another_session();
    db.session.begin_implicit();
    db.setup(&["INSERT INTO t VALUES (1)"]).await;
    assert_eq!(run(&mut other, "SELECT count(*) FROM t").await, "0");
    db.session.end_implicit(ImplicitEnd::Rollback).await.expect("nothing to do");
    db.session.begin_implicit();
    db.setup(&["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"]).await;
    assert_eq!(db.run("SELECT count(*) FROM t").await, "2");
    db.setup(&["INSERT INTO t VALUES (3)"]).await;
    db.session.end_implicit(ImplicitEnd::Commit).await.expect("committed");
    assert_eq!(run(&mut other, "SELECT count(*) FROM t").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_may_insert_the_key_it_deleted() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)"]).await;
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("DELETE FROM t WHERE k = 1", "DELETE 1"),
        ("INSERT INTO t VALUES (1, 2)", "INSERT 0 1"),
        ("COMMIT", "COMMIT"),
        ("SELECT * FROM t", "1|2"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_sees_its_own_writes_to_tables() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 10), (2, 20)"]).await;
    let mut other = db.another_session();
    db.check(&[
        ("BEGIN", "BEGIN"),
        ("INSERT INTO t VALUES (3, 30)", "INSERT 0 1"),
        ("SELECT v FROM t WHERE k = 3", "30"),
        ("UPDATE t SET v = v + 1 WHERE k > 1", "UPDATE 2"),
        ("DELETE FROM t WHERE k = 1", "DELETE 1"),
        ("SELECT * FROM t ORDER BY k", "2|21\n3|31"),
    ])
    .await;
    assert_eq!(run(&mut other, "SELECT sum(v) FROM t").await, "30");
    assert_eq!(db.run("COMMIT").await, "COMMIT");
    assert_eq!(run(&mut other, "SELECT * FROM t ORDER BY k").await, "2|21\n3|31");
}
