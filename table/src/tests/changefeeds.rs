//! SUBSCRIBE and cursors.

use futures::StreamExt;

use super::{Db, run};
use crate::{Outcome, Session};

/// Tables with a key and without, and a view over them.
async fn shop() -> Db {
    let mut db = Db::open();
    db.setup(&[
        "CREATE TABLE t (k int PRIMARY KEY, v text)",
        "CREATE TABLE bag (x int)",
        "CREATE MATERIALIZED VIEW per_v AS SELECT v, count(*) AS n FROM t GROUP BY v",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    ])
    .await;
    db
}

/// Without the column `ts`, which every run has another one of.
fn without_time(rows: &str) -> Vec<String> {
    let line = |line: &str| {
        let (op, rest) = line.split_once('|').unwrap();
        format!("{op}|{}", rest.split_once('|').unwrap().1)
    };
    rows.lines().map(line).collect()
}

async fn fetch(db: &mut Db, sql: &str) -> Vec<String> {
    let rows = db.run(sql).await;
    assert!(!rows.starts_with("ERROR"), "{sql}: {rows}");
    without_time(&rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_over_a_subscription_gives_what_was_committed() {
    let mut db = shop().await;
    db.check(&[
        ("DECLARE c CURSOR FOR SUBSCRIBE t", "DECLARE CURSOR"),
        ("DECLARE v CURSOR FOR SUBSCRIBE TO per_v WITH (snapshot = false)", "DECLARE CURSOR"),
        ("DECLARE c CURSOR FOR SUBSCRIBE t", "ERROR 42P03: cursor \"c\" already exists"),
    ])
    .await;
    let mut snapshot = fetch(&mut db, "FETCH ALL FROM c").await;
    snapshot.sort();
    assert_eq!(snapshot, ["insert|1|a", "insert|2|b"]);
    db.setup(&[
        "UPDATE t SET v = 'b' WHERE k = 1",
        "INSERT INTO t VALUES (3, 'c')",
        "DELETE FROM t WHERE k = 2",
    ])
    .await;
    assert_eq!(
        fetch(&mut db, "FETCH 3 FROM c").await,
        ["update_delete|1|a", "update_insert|1|b", "insert|3|c"]
    );
    assert_eq!(fetch(&mut db, "FETCH FORWARD 10 IN c").await, ["delete|2|b"]);
    assert_eq!(fetch(&mut db, "FETCH c").await, [""; 0]);
    let view = fetch(&mut db, "FETCH ALL v").await;
    assert_eq!(
        view,
        [
            "delete|a|1",
            "update_delete|b|1",
            "update_insert|b|2",
            "insert|c|1",
            "update_delete|b|2",
            "update_insert|b|1"
        ]
    );
    db.check(&[
        ("CLOSE c", "CLOSE CURSOR"),
        ("FETCH 1 FROM c", "ERROR 34000: cursor \"c\" does not exist"),
        ("CLOSE ALL", "CLOSE CURSOR ALL"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_transaction_have_one_time_and_bags_have_no_updates() {
    let mut db = shop().await;
    db.setup(&[
        "DECLARE c CURSOR FOR SUBSCRIBE bag WITH (progress)",
        "BEGIN",
        "INSERT INTO bag VALUES (1), (1), (2)",
        "INSERT INTO bag VALUES (3)",
        "DELETE FROM bag WHERE x = 3",
        "COMMIT",
        "UPDATE bag SET x = 4 WHERE x = 2",
    ])
    .await;
    let rows = db.run("FETCH ALL FROM c").await;
    let times = |prefix: &str| {
        let mut times: Vec<&str> =
            rows.lines().filter(|l| l.starts_with(prefix)).map(|l| l.split('|').nth(1).unwrap()).collect();
        times.dedup();
        times
    };
    let mut changes: Vec<String> = without_time(&rows);
    changes.retain(|line| !line.starts_with("progress"));
    changes.sort();
    assert_eq!(changes, ["delete|2", "insert|1", "insert|1", "insert|2", "insert|4"]);
    assert_eq!(times("insert").len(), 2, "two commits: {rows}");
    let last = rows.lines().last().unwrap();
    assert!(last.starts_with("progress|") && last.ends_with("|NULL"), "{rows}");
    assert!(last.split('|').nth(1) >= times("delete").last().copied());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_after_the_last_time_it_saw() {
    let mut db = shop().await;
    db.setup(&["DECLARE c CURSOR FOR SUBSCRIBE per_v", "INSERT INTO t VALUES (3, 'a')"]).await;
    let rows = db.run("FETCH ALL FROM c").await;
    let token = rows.lines().last().unwrap().split('|').nth(1).unwrap().to_string();
    db.setup(&["CLOSE c", "INSERT INTO t VALUES (4, 'd')", "DELETE FROM t WHERE k = 2"]).await;
    db.setup(&[&format!("DECLARE again CURSOR FOR SUBSCRIBE per_v WITH (after = '{token}')")]).await;
    assert_eq!(fetch(&mut db, "FETCH ALL FROM again").await, ["insert|d|1", "delete|b|1"]);
    db.check(&[(
        "SUBSCRIBE per_v WITH (after = '2020-01-01')",
        "ERROR 55000: the changes after this time are not kept any more",
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_changes_follows_other_sessions() {
    let mut db = shop().await;
    let mut reader = db.another_session();
    let mut stream = stream_of(&mut reader, "SUBSCRIBE t").await;
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 2);
    for k in 10..13 {
        db.setup(&[&format!("INSERT INTO t VALUES ({k}, 'x')")]).await;
        let batch = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next()).await;
        assert_eq!(batch.expect("changes come by themselves").unwrap().unwrap().num_rows(), 1);
    }
    db.setup(&["DROP MATERIALIZED VIEW per_v", "DROP TABLE t"]).await;
    let error = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next()).await;
    assert_eq!(error.expect("a drop is noticed").unwrap().unwrap_err().state().0, "42P01");
}

async fn stream_of(session: &mut Session, sql: &str) -> crate::RowStream {
    let statement = session.parse(sql).unwrap().remove(0);
    let prepared = session.prepare(&statement, &[]).unwrap();
    match session.execute(&prepared, Vec::new()).await.unwrap() {
        Outcome::Rows { stream, .. } => stream,
        _ => panic!("no rows"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_with_a_timeout_waits_for_the_first_row() {
    let mut db = shop().await;
    db.setup(&["DECLARE c CURSOR FOR SUBSCRIBE bag"]).await;
    assert_eq!(fetch(&mut db, "FETCH 1 FROM c WITH (timeout = '10 ms')").await, [""; 0]);
    let mut writer = db.another_session();
    let written = tokio::spawn(async move { run(&mut writer, "INSERT INTO bag VALUES (7)").await });
    assert_eq!(fetch(&mut db, "FETCH 5 FROM c WITH (timeout = '20s')").await, ["insert|7"]);
    assert_eq!(written.await.unwrap(), "INSERT 0 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_over_queries_end_with_their_transaction() {
    let mut db = shop().await;
    db.check(&[
        (
            "DECLARE q CURSOR FOR SELECT k FROM t",
            "ERROR 25P01: DECLARE CURSOR can only be used in transaction blocks",
        ),
        ("BEGIN", "BEGIN"),
        ("DECLARE q CURSOR FOR SELECT n FROM generate_series(1, 10000) n ORDER BY n", "DECLARE CURSOR"),
        ("FETCH 2 FROM q", "1\n2"),
        ("FETCH NEXT FROM q", "3"),
        ("MOVE 9000 IN q", "MOVE 9000"),
        ("FETCH FORWARD q", "9004"),
        ("MOVE ALL q", "MOVE 996"),
        ("FETCH q", ""),
        ("COMMIT", "COMMIT"),
        ("FETCH q", "ERROR 34000: cursor \"q\" does not exist"),
        ("DECLARE h CURSOR WITH HOLD FOR SELECT k FROM t ORDER BY k", "DECLARE CURSOR"),
        ("INSERT INTO t VALUES (0, 'new')", "INSERT 0 1"),
        ("FETCH ALL h", "1\n2"),
        ("FETCH PRIOR FROM h", "ERROR 0A000: FETCH PRIOR is not supported"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_subscribed_to_says_why() {
    let mut db = shop().await;
    db.setup(&["CREATE VIEW plain AS SELECT * FROM t"]).await;
    db.check(&[
        ("SUBSCRIBE nowhere", "ERROR 42P01: relation \"nowhere\" does not exist"),
        ("SUBSCRIBE plain", "ERROR 42809: cannot subscribe to view \"plain\""),
        ("SUBSCRIBE t WITH (snapshto = false)", "ERROR 22023: unknown option \"snapshto\""),
        (
            "SUBSCRIBE t WITH (progress = maybe)",
            "ERROR 22023: invalid value for option \"progress\": \"maybe\"",
        ),
    ])
    .await;
}
