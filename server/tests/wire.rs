//! The protocol as a driver uses it: queries of both kinds, types, portals, transactions, cancels, notices.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt;
use support::raw::{Raw, Reply, error_code};
use support::{Server, first_value, rows, sqlstate};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};

#[tokio::test]
async fn simple_queries_answer_statement_by_statement() {
    let server = Server::start();
    let client = server.connect().await;
    let sql = "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, NULL)";
    for statement in sql.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    assert_eq!(
        rows(&client, "SELECT k, v FROM t ORDER BY k; SELECT 'second'").await,
        ["1|one", "2|NULL", "second"]
    );
    let messages =
        client.simple_query("INSERT INTO t VALUES (3, 'three'); SELECT v FROM t WHERE k = 3").await.unwrap();
    assert!(matches!(messages[0], SimpleQueryMessage::CommandComplete(1)));
    for nothing in ["", " ; -- nothing\n"] {
        let messages = client.simple_query(nothing).await.unwrap();
        assert!(matches!(messages.as_slice(), [SimpleQueryMessage::CommandComplete(0)]), "{messages:?}");
    }
}

#[test]
fn messages_come_in_the_order_of_the_protocol() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    let kinds = |replies: Vec<Reply>| replies.iter().map(|r| r.kind).collect::<String>();
    assert_eq!(kinds(raw.query("SELECT 1 AS one; SELECT 2 WHERE false")), "TDCTCZ");
    assert_eq!(kinds(raw.query("")), "IZ");
    // A row description may be out before its rows fail; the statements behind never start.
    let failed = kinds(raw.query("SELECT 1; SELECT 1/0; SELECT 2"));
    assert!(matches!(failed.as_str(), "TDCEZ" | "TDCTEZ"), "{failed}");
    assert_eq!(kinds(raw.query("SET application_name = 'x'")), "SCZ");
    assert_eq!(kinds(raw.query("DROP TABLE IF EXISTS nowhere")), "NCZ");
    let ready = |replies: Vec<Reply>| replies.last().map(|r| r.body[0] as char);
    assert_eq!(ready(raw.query("BEGIN")), Some('T'));
    assert_eq!(ready(raw.query("SELECT nonsense")), Some('E'));
    assert_eq!(ready(raw.query("ROLLBACK")), Some('I'));
}

#[tokio::test]
async fn a_message_of_several_statements_is_one_transaction() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    let failed = sqlstate(&client, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT 1/0").await;
    assert_eq!(failed, "22012");
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "0");
    client.batch_execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(first_value(&client, "SELECT count(*) FROM t").await, "2");
}

/// A value of a type, out as text and in and out in binary.
async fn comes_back<'a, T>(client: &'a tokio_postgres::Client, ty: &str, value: T, text: &str)
where
    T: ToSql + Sync + PartialEq + std::fmt::Debug + for<'b> FromSql<'b>,
{
    let statement = client.prepare(&format!("SELECT $1::{ty}, $1::{ty}::text")).await.unwrap();
    let row = client.query_one(&statement, &[&value]).await.unwrap_or_else(|e| panic!("{ty}: {e:?}"));
    assert_eq!(row.get::<_, T>(0), value, "{ty}");
    assert_eq!(row.get::<_, String>(1), text, "{ty}");
    let null = client.query_one(&statement, &[&None::<T>]).await.unwrap();
    assert_eq!(null.get::<_, Option<T>>(0), None, "{ty}");
}

#[tokio::test]
async fn every_type_in_binary() {
    let server = Server::start();
    let client = server.connect().await;
    comes_back(&client, "bool", true, "true").await;
    comes_back(&client, "int2", -2i16, "-2").await;
    comes_back(&client, "int4", i32::MIN, "-2147483648").await;
    comes_back(&client, "int8", i64::MAX, "9223372036854775807").await;
    comes_back(&client, "float4", 1.5f32, "1.5").await;
    comes_back(&client, "float8", 1e20f64, "1e+20").await;
    comes_back(&client, "text", "naïve \\ \"text\"".to_string(), "naïve \\ \"text\"").await;
    comes_back(&client, "varchar(20)", "short".to_string(), "short").await;
    comes_back(&client, "bytea", vec![0u8, 255], "\\x00ff").await;
    comes_back(&client, "oid", 4_000_000_000u32, "4000000000").await;
    let date = chrono::NaiveDate::from_ymd_opt(1999, 12, 31).unwrap();
    comes_back(&client, "date", date, "1999-12-31").await;
    let time = chrono::NaiveTime::from_hms_milli_opt(12, 34, 56, 500).unwrap();
    comes_back(&client, "time", time, "12:34:56.5").await;
    comes_back(&client, "timestamp", date.and_time(time), "1999-12-31 12:34:56.5").await;
    comes_back(&client, "timestamptz", date.and_time(time).and_utc(), "1999-12-31 12:34:56.5+00").await;
    let json = serde_json::json!({"a": [1, null, "x"]});
    comes_back(&client, "jsonb", json, "{\"a\": [1, null, \"x\"]}").await;
    comes_back(&client, "int4[]", vec![Some(1), None], "{1,NULL}").await;
    comes_back(&client, "text[]", vec!["a b".to_string(), String::new()], "{\"a b\",\"\"}").await;
    comes_back(&client, "float8[]", Vec::<f64>::new(), "{}").await;
}

/// Numeric, interval and uuid as the bytes on the wire: the driver knows no type of its own for them.
#[derive(Debug, PartialEq, Clone)]
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Bytes(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Bytes {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(tokio_postgres::types::IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    tokio_postgres::types::to_sql_checked!();
}

#[tokio::test]
async fn types_that_are_bytes_to_the_driver() {
    let server = Server::start();
    let client = server.connect().await;
    // -12345.678: weight 1, negative, scale 3, digits 1 2345 6780.
    let numeric = Bytes(vec![0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
    comes_back(&client, "numeric(10,3)", numeric, "-12345.678").await;
    let interval =
        Bytes([&1_500_000i64.to_be_bytes()[..], &2i32.to_be_bytes(), &3i32.to_be_bytes()].concat());
    comes_back(&client, "interval", interval, "3 mons 2 days 00:00:01.5").await;
    let uuid = Bytes((0..16).collect());
    comes_back(&client, "uuid", uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f").await;
}

/// Parse, Bind with text parameters, Describe, Execute and Sync, by hand.
#[test]
fn text_parameters_and_text_results() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    for (ty, given, expected) in [
        ("bool", "yes", "t"),
        ("int4", " 42 ", "42"),
        ("numeric(9,3)", "1.5", "1.500"),
        ("float8", "1e3", "1000"),
        ("date", "2024-02-29", "2024-02-29"),
        ("timestamptz", "2024-01-01 12:00:00+02", "2024-01-01 10:00:00+00"),
        ("interval", "90 minutes", "01:30:00"),
        ("bytea", "\\xDEAD", "\\xdead"),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("jsonb", "{\"b\":1,\"a\":2}", "{\"a\": 2, \"b\": 1}"),
        ("int4[]", "{1,2}", "{1,2}"),
    ] {
        raw.send('P', format!("\0SELECT $1::{ty}\0\0\0").as_bytes());
        let length = (given.len() as u32).to_be_bytes();
        raw.send('B', &[b"\0\0\0\0\0\x01", &length[..], given.as_bytes(), b"\0\0"].concat());
        raw.send('D', b"P\0");
        raw.send('E', b"\0\0\0\0\0");
        raw.send('S', b"");
        let replies = raw.replies();
        let kinds: String = replies.iter().map(|r| r.kind).collect();
        assert_eq!(kinds, "12TDCZ", "{ty}: {replies:?}");
        assert_eq!(replies[3].values(), [Some(expected.to_string())], "{ty}");
    }
}

#[tokio::test]
async fn prepared_statements_and_their_descriptions() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v varchar(20))").await.unwrap();
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    assert_eq!(insert.params(), [Type::INT4, Type::VARCHAR]);
    assert!(insert.columns().is_empty());
    for k in 0..3 {
        assert_eq!(client.execute(&insert, &[&k, &format!("v{k}")]).await.unwrap(), 1);
    }
    let select = client.prepare("SELECT v, k + 1 AS next FROM t WHERE k >= $1 ORDER BY k").await.unwrap();
    let names: Vec<&str> = select.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["v", "next"]);
    assert_eq!(select.columns()[0].type_(), &Type::VARCHAR);
    assert_eq!(select.columns()[0].column_id(), Some(2));
    assert!(select.columns()[0].table_oid().is_some() && select.columns()[1].table_oid().is_none());
    let found = client.query(&select, &[&1]).await.unwrap();
    assert_eq!(found.iter().map(|r| r.get::<_, i32>(1)).collect::<Vec<_>>(), [2, 3]);
    let error = client.query("SELECT $1::int4", &[&"text"]).await.unwrap_err();
    assert!(error.code().is_none(), "the driver itself refuses the type");
}

#[tokio::test]
async fn portals_hand_out_rows_in_portions() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1), (2), (3), (4), (5)").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT k FROM t ORDER BY k", &[]).await.unwrap();
    let mut portions = Vec::new();
    for limit in [2, 2, 2, 2] {
        let portion = transaction.query_portal(&portal, limit).await.unwrap();
        portions.push(portion.iter().map(|r| r.get::<_, i32>(0)).collect::<Vec<_>>());
    }
    assert_eq!(portions, [vec![1, 2], vec![3, 4], vec![5], vec![]]);
    transaction.commit().await.unwrap();
}

#[test]
fn a_pipeline_before_one_sync_is_one_transaction() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    raw.query("CREATE TABLE t (k int PRIMARY KEY)");
    let mut pipeline = |statements: &[&str]| {
        let mut bytes = Vec::new();
        for sql in statements {
            for (kind, body) in [
                ('P', format!("\0{sql}\0\0\0")),
                ('B', "\0\0\0\0\0\0\0\0".into()),
                ('E', "\0\0\0\0\0".into()),
            ] {
                bytes.push(kind as u8);
                bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
                bytes.extend_from_slice(body.as_bytes());
            }
        }
        bytes.extend_from_slice(b"S\0\0\0\x04");
        raw.write(&bytes);
        raw.kinds()
    };
    // Whether the error comes at Parse or at Execute, nothing behind it runs.
    let failed = pipeline(&["INSERT INTO t VALUES (1)", "SELECT 1/0", "INSERT INTO t VALUES (2)"]);
    assert!(matches!(failed.as_str(), "12CEZ" | "12C12EZ"), "{failed}");
    assert_eq!(pipeline(&["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"]), "12C12CZ");
    let count = raw.query("SELECT count(*) FROM t");
    assert_eq!(count.iter().find(|r| r.kind == 'D').unwrap().values(), [Some("2".to_string())]);
}

#[tokio::test]
async fn errors_carry_position_detail_and_hint() {
    let server = Server::start();
    let client = server.connect().await;
    let error = client.batch_execute("SELECT 1 FROM t1 WHERE").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.severity(), "ERROR");
    assert_eq!(error.code(), &SqlState::SYNTAX_ERROR);
    let error = client.batch_execute("SELECT nope").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.message()), ("42703", "column \"nope\" does not exist"));
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(8)));
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    let error = client.batch_execute("INSERT INTO t VALUES (7), (7)").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.detail(), Some("Key (k)=(7) already exists."));
    let error = client.batch_execute("COPY t FROM '/etc/passwd'").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    assert_eq!(sqlstate(&client, "SELECT $1::int4").await, "42P02");
    // The connection goes on after all of them.
    assert_eq!(first_value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn transactions_commit_roll_back_and_abort() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(rows(&client, "SELECT k FROM t").await, ["2"]);

    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    assert_eq!(sqlstate(&client, "SELECT 1/0").await, "22012");
    assert_eq!(sqlstate(&client, "SELECT 1").await, "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(rows(&client, "SELECT k FROM t").await, ["2"]);

    // A key that is taken fails the block, at the statement or at its end.
    assert_eq!(sqlstate(&client, "BEGIN; INSERT INTO t VALUES (4), (2); COMMIT").await, "23505");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(rows(&client, "SELECT k FROM t").await, ["2"]);
}

/// A table whose cross joins keep a server busy for long.
async fn busy_table(client: &tokio_postgres::Client) {
    client.batch_execute("CREATE TABLE many (k int PRIMARY KEY)").await.unwrap();
    let values: Vec<String> = (0..1000).map(|k| format!("({k})")).collect();
    client.batch_execute(&format!("INSERT INTO many VALUES {}", values.join(", "))).await.unwrap();
}

const ENDLESS: &str = "FROM many a, many b, many c";

#[tokio::test]
async fn cancel_stops_a_statement_that_computes() {
    let server = Server::start();
    let client = server.connect().await;
    busy_table(&client).await;
    let token = client.cancel_token();
    let cancelling = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        token.cancel_query(NoTls).await.unwrap();
        asked
    });
    let code = sqlstate(&client, &format!("SELECT count(*), sum(a.k * b.k % 7) {ENDLESS}")).await;
    let answered = cancelling.await.unwrap().elapsed();
    assert_eq!(code, "57014");
    assert!(answered < Duration::from_millis(500), "{answered:?}");
    assert_eq!(first_value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn cancel_stops_rows_in_midstream() {
    let server = Server::start();
    let client = server.connect().await;
    busy_table(&client).await;
    let query = format!("SELECT a.k, b.k, c.k {ENDLESS}");
    let mut stream = std::pin::pin!(client.query_raw(&query, Vec::<i32>::new()).await.unwrap());
    for _ in 0..1000 {
        stream.next().await.unwrap().unwrap();
    }
    let asked = Instant::now();
    client.cancel_token().cancel_query(NoTls).await.unwrap();
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(first_value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn statement_timeout_ends_a_statement() {
    let server = Server::start();
    let client = server.connect().await;
    busy_table(&client).await;
    client.batch_execute("SET statement_timeout = '200ms'").await.unwrap();
    assert_eq!(
        sqlstate(&client, &format!("SELECT count(*) {ENDLESS} WHERE a.k + b.k + c.k = -1")).await,
        "57014"
    );
    assert_eq!(first_value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn notices_and_parameter_changes_are_told() {
    let server = Server::start();
    let (client, mut connection) = server.config().connect(NoTls).await.unwrap();
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    assert!(connection.parameter("server_version").unwrap().starts_with("14."));
    assert_eq!(connection.parameter("standard_conforming_strings"), Some("on"));
    assert_eq!(connection.parameter("integer_datetimes"), Some("on"));
    assert_eq!(connection.parameter("DateStyle"), Some("ISO, MDY"));
    assert_eq!(connection.parameter("TimeZone").map(str::to_ascii_uppercase).as_deref(), Some("UTC"));
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                let _ = sender.send(notice);
            }
        }
    });
    client.batch_execute("DROP TABLE IF EXISTS nowhere").await.unwrap();
    let notice = notices.recv().await.unwrap();
    assert_eq!(
        (notice.severity(), notice.message()),
        ("NOTICE", "table \"nowhere\" does not exist, skipping")
    );

    let mut raw = Raw::session(server.port);
    let replies = raw.query("SET application_name = 'tester'");
    assert!(replies.iter().any(|r| r.kind == 'S' && r.body == b"application_name\0tester\0"), "{replies:?}");
    let replies = raw.query("SET no_such_setting = 1");
    assert_eq!(error_code(&replies), "42704");
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_crash() {
    let mut server = Server::start();
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text)").await.unwrap();
    client
        .batch_execute("CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v")
        .await
        .unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 'a'), (2, 'a'), (3, 'b')").await.unwrap();
    server.crash_and_restart();
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT v, n FROM m ORDER BY v").await, ["a|2", "b|1"]);
    client.batch_execute("DELETE FROM t WHERE k = 3").await.unwrap();
    assert_eq!(rows(&client, "SELECT v, n FROM m ORDER BY v").await, ["a|2"]);
}
