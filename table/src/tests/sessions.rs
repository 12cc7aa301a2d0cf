//! Settings, prepared statements, parameters, system tables, cancellation.

use std::time::Duration;

use weir_common::SqlType;

use super::{Db, render, render_error};
use crate::SessionOptions;
use crate::outcome::{ParamValue, TransactionStatus};

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_set_shown_and_reset() {
    let mut db = Db::open();
    db.check(&[
        ("SHOW server_version", crate::settings::definition::SERVER_VERSION),
        ("SET application_name = 'tests'", "SET"),
        ("SHOW application_name", "tests"),
        ("RESET application_name", "RESET"),
        ("SHOW application_name", ""),
        ("SET TIME ZONE 'Europe/Berlin'", "SET"),
        ("SHOW timezone", "Europe/Berlin"),
        ("SET no_such = 1", "ERROR 42704: unrecognized configuration parameter \"no_such\""),
        ("SET rw_implicit_flush = true", "SET"),
    ])
    .await;
    assert_eq!(db.session.take_notices().len(), 1);
    assert_eq!(db.session.take_parameter_changes().last(), Some(&("application_name", String::new())));
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_parameters() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"])
        .await;
    let statement = db.session.parse("SELECT v FROM t WHERE k = $1").expect("valid").remove(0);
    let prepared = db.session.prepare(&statement, &[]).expect("valid");
    assert_eq!(prepared.params, [SqlType::Int4]);
    assert_eq!(prepared.columns.as_ref().map(Vec::len), Some(1));
    for (value, expect) in [("2", "two"), ("1", "one")] {
        let outcome =
            db.session.execute(&prepared, vec![ParamValue::Text(value.into())]).await.expect("runs");
        assert_eq!(render(&db.session, outcome).await.expect("rows"), expect);
    }
    let missing = db.session.execute(&prepared, Vec::new()).await.err().expect("refused");
    assert_eq!(render_error(&missing), "ERROR 42P02: there is no parameter $1");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_and_execute_work_in_sql() {
    let mut db = Db::open();
    db.check(&[
        ("CREATE TABLE t (k int PRIMARY KEY, v text)", "CREATE TABLE"),
        ("PREPARE put (int, text) AS INSERT INTO t VALUES ($1, $2)", "PREPARE"),
        ("EXECUTE put(1 + 1, 'x')", "INSERT 0 1"),
        ("PREPARE ask AS SELECT v FROM t WHERE k = $1", "PREPARE"),
        ("EXECUTE ask(2)", "x"),
        ("DEALLOCATE ask", "DEALLOCATE"),
        ("EXECUTE ask(2)", "ERROR 26000: prepared statement \"ask\" does not exist"),
    ])
    .await;
    let wrong = db.run("EXECUTE put(1)").await;
    assert!(wrong.starts_with("ERROR 42601: wrong number of parameters"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn system_tables_show_what_is_there() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY)",
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t",
    ])
    .await;
    db.check(&[
        (
            "SELECT relname, relkind FROM pg_catalog.pg_class WHERE relname IN ('t', 'm') ORDER BY 1",
            "m|m\nt|r",
        ),
        ("SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid()", "1"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_at_its_timeout_and_fails_the_block() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)"]).await;
    let mut other = db.another_session();
    assert_eq!(super::run(&mut other, "BEGIN").await, "BEGIN");
    assert_eq!(super::run(&mut other, "UPDATE t SET v = 2").await, "UPDATE 1");
    db.check(&[
        ("SET statement_timeout = '100ms'", "SET"),
        ("BEGIN", "BEGIN"),
        ("UPDATE t SET v = 3", "ERROR 57014: canceling statement due to statement timeout"),
    ])
    .await;
    assert_eq!(db.session.transaction_status(), TransactionStatus::Failed);
    assert_eq!(super::run(&mut other, "COMMIT").await, "COMMIT");
    db.check(&[("ROLLBACK", "ROLLBACK"), ("SELECT v FROM t", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_statement_leaves_no_lock() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (k int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)"]).await;
    let mut holder = db.another_session();
    assert_eq!(super::run(&mut holder, "BEGIN; UPDATE t SET v = 2").await, "UPDATE 1");
    let mut waiting = db.another_session();
    let cancelled =
        tokio::time::timeout(Duration::from_millis(50), super::run(&mut waiting, "UPDATE t SET v = 3")).await;
    assert!(cancelled.is_err(), "it waits for the lock");
    drop(holder);
    assert_eq!(db.run("UPDATE t SET v = 4").await, "UPDATE 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_name_what_they_connect_to() {
    let db = Db::open();
    let options = SessionOptions { database: "nowhere".into(), ..SessionOptions::default() };
    let refused = db.env.session(options).err().expect("refused");
    assert_eq!(render_error(&refused), "ERROR 3D000: database \"nowhere\" does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_api_gives_batches() {
    let db = Db::open();
    let batches =
        db.env.execute("CREATE TABLE t (k int); INSERT INTO t VALUES (1), (2); SELECT * FROM t").await;
    assert_eq!(batches.expect("runs").iter().map(|b| b.num_rows()).sum::<usize>(), 2);
}
