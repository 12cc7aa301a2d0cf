//! The parser: what is accepted, how texts are split, and what syntax errors say and where.

use weir_common::SqlState;

use super::parse;
use crate::ast::{CopyDirection, CreateView, Show, ShowObjects, SinkInput, Statement};

fn one(sql: &str) -> Statement {
    let mut statements = parse(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0).statement
}

#[test]
fn splits_and_keeps_each_text() {
    let statements = parse("select 1 ;; -- c\n  select ';' ; ").unwrap();
    let texts: Vec<&str> = statements.iter().map(|s| s.sql.as_str()).collect();
    assert_eq!(texts, ["select 1", "select ';'"]);
    assert!(parse(" ; -- nothing\n").unwrap().is_empty());
}

#[test]
fn syntax_errors_name_the_token_and_its_position() {
    let cases = [
        ("selec 1", "syntax error at or near \"selec\"", 1),
        ("select 1; selec 2", "syntax error at or near \"selec\"", 11),
        ("select * from", "syntax error at end of input", 14),
        ("select * from;", "syntax error at or near \";\"", 14),
        ("select (1", "syntax error at end of input", 10),
        ("create table t (a int,", "syntax error at end of input", 23),
        ("select 1 1", "syntax error at or near \"1\"", 10),
        ("drop thing x", "syntax error at or near \"thing\"", 6),
        ("select 'abc", "unterminated quoted string at or near \"'abc\"", 8),
        ("é é", "syntax error at or near \"é\"", 1),
    ];
    for (sql, message, position) in cases {
        let error = parse(sql).unwrap_err();
        assert_eq!(error.message(), message, "{sql}");
        assert_eq!(error.state(), SqlState::SYNTAX_ERROR, "{sql}");
        assert_eq!(error.position(), Some(position), "{sql}");
    }
}

#[test]
fn deep_texts_are_refused() {
    let parens = format!("select {}1{}", "(".repeat(200_000), ")".repeat(200_000));
    let sums = format!("select 1{}", " + 1".repeat(200_000));
    let casts = format!("select 1{}", "::int".repeat(200_000));
    let nots = format!("select {} true", "not ".repeat(200_000));
    let minuses = format!("select {} 1", "- ".repeat(200_000));
    let unions = format!("select 1{}", " union select 1".repeat(100_000));
    let cases = format!("select {}", "case when true then ".repeat(100_000));
    for sql in [parens, sums, casts, nots, minuses, unions, cases] {
        assert_eq!(parse(&sql).unwrap_err().state(), SqlState::STATEMENT_TOO_COMPLEX, "{}", &sql[..30]);
    }
    assert!(parse(&format!("select 1 where {} true", "true or ".repeat(4000))).is_ok());
}

#[test]
fn moderate_nesting_is_quick() {
    let shapes = [
        ("select ", "abs(", "1", ")"),
        ("select ", "(", "1", ")"),
        ("select ", "array[", "1", "]"),
        ("select ", "cast(", "1", " as int)"),
        ("select ", "case when true then ", "1", " end"),
        ("select ", "(select ", "1", ")"),
        ("select ", "coalesce(a, ", "1", ")"),
        ("select * from ", "(select * from ", "t", ") x"),
        ("select 1 from a join ", "(a join ", "b", " on true)"),
        ("select 1 where a in ", "(select b from c where a in ", "(1)", ")"),
    ];
    for (before, open, middle, close) in shapes {
        let sql = format!("{before}{}{middle}{}", open.repeat(50), close.repeat(50));
        match parse(&sql) {
            Ok(_) => {}
            Err(error) if error.state() == SqlState::STATEMENT_TOO_COMPLEX => {}
            // A join needs its ON after the innermost one too; that it is refused in no time is what counts.
            Err(error) => assert_eq!(error.state(), SqlState::SYNTAX_ERROR, "{open}: {error:?}"),
        }
    }
}

#[test]
fn create_source_options_may_be_dotted_or_quoted() {
    let Statement::CreateSource(source) =
        one("CREATE SOURCE s (a int, ts timestamptz, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') \
         WITH (connector = 'file', Format.Kind = csv, 'x.y' = 3)")
    else {
        panic!("not a source")
    };
    let options: Vec<(&str, &str)> = source.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(options, [("connector", "file"), ("format.kind", "csv"), ("x.y", "3")]);
    assert_eq!(source.watermark.unwrap().column.value, "ts");
}

#[test]
fn views_keep_the_text_of_their_query() {
    let Statement::CreateView(CreateView { query_sql, materialized, if_not_exists, .. }) =
        one("create materialized view if not exists m as  select a,  b from t ;")
    else {
        panic!("not a view")
    };
    assert_eq!((query_sql.as_str(), materialized, if_not_exists), ("select a,  b from t", true, true));
}

#[test]
fn options_after_a_query_are_not_hints_of_its_last_table() {
    for query in ["SELECT a FROM bid", "WITH x AS (SELECT 1) SELECT * FROM x, (SELECT 2) AS y"] {
        let sql = format!("CREATE SINK k AS {query} WITH (connector = 'blackhole')");
        let Statement::CreateSink(sink) = one(&sql) else { panic!("{sql}") };
        assert!(matches!(&sink.input, SinkInput::Query(parsed) if parsed.to_string() == query), "{sql}");
        assert_eq!(sink.options.get("connector").map(String::as_str), Some("blackhole"));
    }
}

#[test]
fn own_statements() {
    assert_eq!(
        one("SHOW MATERIALIZED VIEWS"),
        Statement::Show(Show::Objects(ShowObjects::MaterializedViews))
    );
    assert_eq!(
        one("show transaction isolation level"),
        Statement::Show(Show::Variable("transaction_isolation".into()))
    );
    let Statement::CreateSink(sink) = one("CREATE SINK k FROM m WITH (connector = 'blackhole')") else {
        panic!("not a sink")
    };
    assert!(matches!(sink.input, SinkInput::Relation(_)));
    let Statement::Set { name, value, .. } = one("SET TIME ZONE 'Europe/Berlin'") else { panic!("not SET") };
    assert_eq!((name.as_str(), value.as_deref()), ("timezone", Some("Europe/Berlin")));
    let Statement::Set { name, value, .. } = one("set search_path = a, \"B\"") else { panic!("not SET") };
    assert_eq!((name.as_str(), value.as_deref()), ("search_path", Some("a, B")));
    let Statement::Prepare { statement, types, .. } = one("prepare p(int) as select $1") else {
        panic!("not PREPARE")
    };
    assert_eq!((statement.sql.as_str(), types.len()), ("select $1", 1));
    assert!(matches!(one("lock t"), Statement::Unsupported { .. }));
    let Statement::Copy(copy) = one("copy t (a, b) to stdout with csv header null as '-' force quote a")
    else {
        panic!("not COPY")
    };
    let names: Vec<&str> = copy.options.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((copy.direction, names), (CopyDirection::To, vec!["format", "header", "null", "force_quote"]));
}

#[test]
fn tables_are_arguments_of_functions() {
    for sql in [
        "SELECT * FROM TABLE(TUMBLE(TABLE s.t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) AS w",
        "SELECT * FROM SESSION(TABLE t PARTITION BY (a, b), DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
        "SELECT * FROM SESSION((SELECT * FROM t) PARTITION BY a, b, ts, GAP => '1 minute')",
        "SELECT * FROM HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDE => '1 s', SIZE => '1 min')",
        "SELECT * FROM CUMULATE(TABLE (SELECT * FROM t), ts, '1 s', '1 min')",
    ] {
        assert!(matches!(one(sql), Statement::Query(_)), "{sql}");
    }
}

#[test]
fn windows_of_ksqldb_are_refused_with_the_query_in_our_words() {
    let cases = [
        (
            "SELECT page, count(*) FROM clicks WINDOW TUMBLING (SIZE 20 SECONDS, RETENTION 7 DAYS) \
             WHERE page > 1 GROUP BY page HAVING count(*) > 3 EMIT CHANGES;",
            "SELECT page, count(*) FROM TUMBLE(clicks, rowtime, INTERVAL '20 seconds') \
             WHERE page > 1 GROUP BY page, window_start, window_end HAVING count(*) > 3",
        ),
        (
            "CREATE TABLE x AS SELECT k FROM a.b t WINDOW HOPPING (SIZE 1 MINUTE, ADVANCE BY 10 SECONDS) GROUP BY k",
            "CREATE TABLE x AS SELECT k FROM HOP(a.b, rowtime, INTERVAL '10 seconds', INTERVAL '1 minute') t \
             GROUP BY k, window_start, window_end",
        ),
        (
            "SELECT k FROM s WINDOW SESSION (5 MINUTES) GROUP BY k",
            "SELECT k FROM SESSION(s PARTITION BY (k), rowtime, INTERVAL '5 minutes') \
             GROUP BY k, window_start, window_end",
        ),
    ];
    for (sql, rewritten) in cases {
        let error = parse(sql).unwrap_err();
        assert_eq!(error.state(), SqlState::SYNTAX_ERROR, "{sql}");
        let hint = format!("Write: {rewritten}, where rowtime is the column with the time.");
        assert_eq!(error.hint(), Some(hint.as_str()), "{sql}");
    }
    assert_eq!(parse("SELECT k FROM s WINDOW SESSION").unwrap_err().hint(), None);
}
