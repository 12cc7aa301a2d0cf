//! EXPLAIN shows how a statement runs.

use super::Db;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_up_and_the_rest_is_scanned() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))"]).await;
    for (filter, access) in [
        ("a = 1 AND b = 'x'", "KeyLookup: t keys=1"),
        ("a IN (1, 2) AND b = 'x' AND v > 0", "KeyLookup: t keys=2"),
        ("a = 1", "KeyRange: t ranges=1"),
        ("a > 1 AND b = 'x'", "KeyRange: t ranges=1"),
        ("a = 1 AND b BETWEEN 'a' AND 'c'", "KeyRange: t ranges=1"),
        ("a IN (1, 2)", "KeyRange: t ranges=2"),
        ("b = 'x'", "RelationScan: t"),
        ("a = 1 OR b = 'x'", "RelationScan: t"),
    ] {
        let plan = db.run(&format!("EXPLAIN SELECT v FROM t WHERE {filter}")).await;
        assert!(plan.contains(access), "{filter}: {plan}");
        let is_lookup = access.starts_with("KeyLookup");
        assert!(!is_lookup || !plan.contains("Repartition"), "a lookup stays on its thread: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_explained_by_stage() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int, v int)",
        "CREATE MATERIALIZED VIEW m AS SELECT k, sum(v) AS s FROM t GROUP BY k",
    ])
    .await;
    let stream =
        db.run("EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT k, sum(v) AS s FROM t GROUP BY k").await;
    assert!(stream.contains("Aggregate"), "{stream}");
    assert_eq!(db.run("SELECT count(*) FROM t").await, "0");
    let job = db.run("EXPLAIN (STAGE job) MATERIALIZED VIEW m").await;
    assert!(job.starts_with("Job "), "{job}");
    let analyzed = db.run("EXPLAIN ANALYZE SELECT count(*) FROM t").await;
    assert!(analyzed.contains("metrics"), "{analyzed}");
}
