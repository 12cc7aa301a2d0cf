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
async fn rows_that_come_in_order_are_not_sorted() {
    let mut db = Db::open();
    db.setup(&["CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))"]).await;
    db.setup(&["INSERT INTO t SELECT i % 9, 'b' || i, i FROM generate_series(1, 100) AS i"]).await;
    for (query, is_sorted) in [
        ("SELECT a, b FROM t ORDER BY a, b LIMIT 3", false),
        ("SELECT a, v FROM t WHERE a > 3 ORDER BY a LIMIT 3", false),
        ("SELECT a, b FROM t ORDER BY a DESC", true),
        ("SELECT a, b FROM t ORDER BY b", true),
    ] {
        let plan = db.run(&format!("EXPLAIN {query}")).await;
        assert_eq!(plan.contains("SortExec"), is_sorted, "{query}: {plan}");
    }
    assert_eq!(db.run("SELECT a, b FROM t WHERE a >= 8 ORDER BY a, b LIMIT 2").await, "8|b17\n8|b26");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_is_bounded_best_is_read() {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (a int, b text, v int UNIQUE, w int, PRIMARY KEY (a, b))",
        "CREATE INDEX t_w ON t (w, v)",
        "CREATE INDEX t_lower ON t (lower(b))",
        "CREATE MATERIALIZED VIEW m AS SELECT w, count(*) AS n FROM t GROUP BY w",
        "CREATE INDEX m_n ON m (n)",
    ])
    .await;
    for (query, access) in [
        ("SELECT * FROM t WHERE v = 3", "IndexLookup: t using t_v_key ranges=1"),
        ("SELECT * FROM t WHERE v = 3 AND w = 4", "IndexLookup: t using t_v_key"),
        ("SELECT * FROM t WHERE w = 3 AND a > 4", "IndexLookup: t using t_w"),
        ("SELECT * FROM t WHERE w IN (1, 2) AND v > 4", "IndexLookup: t using t_w ranges=2"),
        ("SELECT * FROM t WHERE w = 3 AND a = 1 AND b = 'x'", "KeyLookup: t keys=1"),
        ("SELECT * FROM t WHERE a = 1 AND w > 4", "KeyRange: t"),
        ("SELECT * FROM t WHERE lower(b) = 'x'", "IndexLookup: t using t_lower"),
        ("SELECT * FROM t WHERE upper(b) = 'X'", "RelationScan: t"),
        ("SELECT * FROM m WHERE n = 2", "IndexLookup: m using m_n"),
        ("UPDATE t SET v = 4 WHERE v = 3", "IndexLookup: t using t_v_key"),
        ("DELETE FROM t WHERE w = 3", "IndexLookup: t using t_w"),
    ] {
        let plan = db.run(&format!("EXPLAIN {query}")).await;
        assert!(plan.contains(access), "{query}: {plan}");
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
