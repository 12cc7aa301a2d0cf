//! Tables: INSERT, UPDATE, DELETE and what they refuse.

use super::{Db, run};

const PEOPLE: &str = "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, age int)";

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_change_and_go() {
    let mut db = Db::open();
    db.check(&[
        (PEOPLE, "CREATE TABLE"),
        ("INSERT INTO people VALUES (1, 'Ada', 36), (2, 'Bob', NULL), (3, 'Cy', 20)", "INSERT 0 3"),
        ("SELECT * FROM people ORDER BY id", "1|Ada|36\n2|Bob|NULL\n3|Cy|20"),
        ("UPDATE people SET age = age + 1 WHERE age IS NOT NULL", "UPDATE 2"),
        ("SELECT name, age FROM people WHERE id = 1", "Ada|37"),
        ("DELETE FROM people WHERE name = 'Bob'", "DELETE 1"),
        ("SELECT count(*), sum(age) FROM people", "2|58"),
        ("DELETE FROM people", "DELETE 2"),
        ("SELECT * FROM people", ""),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_shifted_by_one_update() {
    let mut db = Db::open();
    db.check(&[
        ("CREATE TABLE t (k int PRIMARY KEY)", "CREATE TABLE"),
        ("INSERT INTO t VALUES (1), (2), (3)", "INSERT 0 3"),
        ("UPDATE t SET k = k + 1", "UPDATE 3"),
        ("SELECT k FROM t ORDER BY k", "2\n3\n4"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_hold_duplicates() {
    let mut db = Db::open();
    db.check(&[
        ("CREATE TABLE bag (x int)", "CREATE TABLE"),
        ("INSERT INTO bag VALUES (1), (1), (2)", "INSERT 0 3"),
        ("INSERT INTO bag SELECT x FROM bag", "INSERT 0 3"),
        ("SELECT x, count(*) FROM bag GROUP BY x ORDER BY x", "1|4\n2|2"),
        ("DELETE FROM bag WHERE x = 1", "DELETE 4"),
        ("SELECT * FROM bag", "2\n2"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_are_refused_and_change_nothing() {
    let mut db = Db::open();
    db.setup(&[PEOPLE, "INSERT INTO people VALUES (1, 'Ada', 36)"]).await;
    let duplicate = db.run("INSERT INTO people VALUES (2, 'Bob', 1), (1, 'Eve', 2)").await;
    assert!(
        duplicate.starts_with("ERROR 23505: duplicate key value violates unique constraint"),
        "{duplicate}"
    );
    let missing =
        "ERROR 23502: null value in column \"name\" of relation \"people\" violates not-null constraint";
    assert_eq!(db.run("INSERT INTO people (id, age) VALUES (7, 3)").await, missing);
    let no_key =
        "ERROR 23502: null value in column \"id\" of relation \"people\" violates not-null constraint";
    assert_eq!(db.run("INSERT INTO people VALUES (NULL, 'x', 1)").await, no_key);
    assert_eq!(db.run("SELECT count(*) FROM people").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_not_null_violation_shows_the_row() {
    let mut db = Db::open();
    db.setup(&[PEOPLE]).await;
    let statement = db.session.parse("INSERT INTO people VALUES (1, NULL, 5)").expect("valid").remove(0);
    let prepared = db.session.prepare(&statement, &[]).expect("valid");
    let error = db.session.execute(&prepared, Vec::new()).await.err().expect("refused");
    assert_eq!(error.detail(), Some("Failing row contains (1, null, 5)."));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_statements_have_postgres_errors() {
    let mut db = Db::open();
    db.setup(&[PEOPLE]).await;
    for (sql, state) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM people", "42703"),
        ("SELECT 1 / 0", "22012"),
        ("INSERT INTO people VALUES ('x', 'y', 1)", "22P02"),
        ("CREATE TABLE people (id int)", "42P07"),
        ("DROP TABLE nowhere", "42P01"),
    ] {
        let got = db.run(sql).await;
        assert!(got.starts_with(&format!("ERROR {state}")), "{sql}: {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_lose_nothing() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE c (k int PRIMARY KEY, n int)", "INSERT INTO c VALUES (1, 0)"]).await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        let mut session = db.another_session();
        writers.push(tokio::spawn(async move {
            for _ in 0..10 {
                assert_eq!(run(&mut session, "UPDATE c SET n = n + 1 WHERE k = 1").await, "UPDATE 1");
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!(db.run("SELECT n FROM c").await, "40");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_are_scanned_in_batches() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE big (k int PRIMARY KEY, v int)"]).await;
    let rows: Vec<String> = (0..20_000).map(|i| format!("({i}, {})", i % 7)).collect();
    db.setup(&[&format!("INSERT INTO big VALUES {}", rows.join(", "))]).await;
    db.check(&[
        ("SELECT count(*), sum(v), max(k) FROM big", "20000|59997|19999"),
        ("SELECT k FROM big WHERE k IN (5, 19999, 20000) ORDER BY k", "5\n19999"),
        ("SELECT count(*) FROM (SELECT k FROM big LIMIT 10) AS few", "10"),
    ])
    .await;
}
