//! Several statements in one message are one transaction, DDL among them, as in PostgreSQL.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, first_value, rows, sqlstate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_ddl_holds_as_a_whole_or_not_at_all() {
    let server = Server::start();
    let (client, other) = (server.connect().await, server.connect().await);
    client.batch_execute("CREATE TABLE old (k int PRIMARY KEY)").await.unwrap();
    let tables = "SELECT count(*) FROM pg_class WHERE relname IN ('new', 'v', 'later')";
    for (message, expected) in [
        ("CREATE TABLE new (k int); INSERT INTO new VALUES (1); SELECT 1/0", "22012"),
        ("INSERT INTO old VALUES (1); CREATE TABLE new (k int); CREATE TABLE new (k int)", "42P07"),
        (
            "CREATE TABLE new (k int); CREATE MATERIALIZED VIEW v AS SELECT k FROM new; SELECT nothing",
            "42703",
        ),
        ("INSERT INTO old VALUES (1); ALTER TABLE old ADD COLUMN v text; SELECT 1/0", "22012"),
        ("CREATE TABLE new AS SELECT 1 AS k; DROP TABLE old; SELECT 1/0", "22012"),
        ("SET application_name = 'changed'; CREATE TABLE new (k int); SELECT 1/0", "22012"),
    ] {
        assert_eq!(sqlstate(&client, message).await, expected, "{message}");
        assert_eq!(first_value(&other, tables).await, "0", "{message}");
        assert_eq!(rows(&other, "SELECT * FROM old").await, [""; 0], "{message}");
    }
    assert_eq!(first_value(&client, "SHOW application_name").await, "");
    let message = "CREATE TABLE new (k int PRIMARY KEY); INSERT INTO new VALUES (1), (2); \
                   CREATE MATERIALIZED VIEW v AS SELECT sum(k) AS total FROM new; INSERT INTO old VALUES (7); \
                   ALTER TABLE old ADD COLUMN v text DEFAULT 'x'; SELECT count(*) FROM new";
    assert_eq!(rows(&client, message).await, ["2"]);
    assert_eq!(rows(&other, "SELECT total FROM v").await, ["3"]);
    assert_eq!(rows(&other, "SELECT * FROM old").await, ["7|x"]);
}

/// BEGIN makes the block of what came before in the message explicit; after a COMMIT another one begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_statements_divide_a_message() {
    let server = Server::start();
    let (client, other) = (server.connect().await, server.connect().await);
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    let cases = [
        ("INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT 1/0", "22012", "1"),
        ("INSERT INTO t VALUES (3); ROLLBACK; INSERT INTO t VALUES (4)", "00000", "1,4"),
        ("INSERT INTO t VALUES (5); BEGIN; INSERT INTO t VALUES (6)", "00000", "1,4"),
        ("ROLLBACK; INSERT INTO t VALUES (7); SELECT 1/0", "22012", "1,4"),
        ("BEGIN; INSERT INTO t VALUES (8); COMMIT; INSERT INTO t VALUES (9); SELECT 1/0", "22012", "1,4,8"),
        ("SAVEPOINT s; INSERT INTO t VALUES (10)", "25P01", "1,4,8"),
        (
            "SET LOCAL application_name = 'x'; INSERT INTO t SELECT 11 WHERE current_setting('application_name') = 'x'",
            "00000",
            "1,4,8,11",
        ),
    ];
    for (message, state, expected) in cases {
        assert_eq!(sqlstate(&client, message).await, state, "{message}");
        let found = rows(&other, "SELECT k FROM t ORDER BY k").await.join(",");
        assert_eq!(found, expected, "{message}");
    }
    assert_eq!(first_value(&client, "SHOW application_name").await, "");
}

/// The same by the extended protocol: what comes before one Sync.
#[test]
fn a_pipeline_with_ddl_holds_as_a_whole() {
    use support::raw::{Raw, error_code};
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    let pipeline = |raw: &mut Raw, statements: &[&str]| {
        let mut bytes = Vec::new();
        for sql in statements {
            for (kind, body) in [
                (b'P', format!("\0{sql}\0\0\0").into_bytes()),
                (b'B', b"\0\0\0\0\0\0\0\0".to_vec()),
                (b'E', b"\0\0\0\0\0".to_vec()),
            ] {
                bytes.push(kind);
                bytes.extend((body.len() as u32 + 4).to_be_bytes());
                bytes.extend(body);
            }
        }
        bytes.extend([b'S', 0, 0, 0, 4]);
        raw.write(&bytes);
        raw.replies()
    };
    let failed =
        pipeline(&mut raw, &["CREATE TABLE new (k int)", "INSERT INTO new VALUES (1)", "SELECT 1/0"]);
    assert_eq!(error_code(&failed), "22012");
    assert_eq!(error_code(&raw.query("SELECT * FROM new")), "42P01");
    let done = pipeline(&mut raw, &["CREATE TABLE new (k int)", "INSERT INTO new VALUES (1)"]);
    assert!(done.iter().all(|reply| reply.kind != 'E'), "{done:?}");
    let found = raw.query("SELECT k FROM new");
    assert!(found.iter().any(|r| r.kind == 'D' && r.values() == [Some("1".to_owned())]), "{found:?}");
}
