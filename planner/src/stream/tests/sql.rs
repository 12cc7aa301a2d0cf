//! From SQL text to stream plans: the binder's plans through rules and lowering.

use std::sync::Arc;

use insta::assert_snapshot;
use weir_catalog::{
    Catalog, CatalogChange, ColumnDef, MaterializedViewDef, Object, ObjectKind, SourceDef, TableDef, ViewDef,
    WatermarkDef,
};
use weir_common::seam::OsFileSystem;
use weir_common::{Column, JobId, ObjectId, RelationKey, RelationSchema, Result, SqlType};

use crate::bound::BoundStatement;
use crate::context::{BindContext, SessionInfo};
use crate::explain::render_stream;
use crate::rules::DisabledRules;
use crate::stream::{JobTarget, PlannedJob, TargetOutput, plan_job};

fn columns(list: &[(&str, SqlType)]) -> Vec<Column> {
    let column = |(i, (name, ty)): (usize, &(&str, SqlType))| Column {
        id: i as u16 + 1,
        name: (*name).to_owned(),
        ty: ty.clone(),
        nullable: i > 0,
    };
    list.iter().enumerate().map(column).collect()
}

fn source(list: &[(&str, SqlType)]) -> ObjectKind {
    ObjectKind::Source(SourceDef { columns: columns(list), options: Default::default(), watermark: None })
}

/// A view with these columns.
fn materialized(list: &[(&str, SqlType)], grows: bool) -> ObjectKind {
    ObjectKind::MaterializedView(MaterializedViewDef {
        schema: RelationSchema { columns: columns(list), key: RelationKey::Bag },
        query_sql: String::new(),
        options_sql: String::new(),
        emission_sql: String::new(),
        watermarks: Vec::new(),
        grows,
        plan: Vec::new(),
    })
}

/// Table `t` with a key, plain view `positive` over it, Nexmark's sources `auction` and `bid`, source `timed` with a
/// watermark, `zoned` without, view `raw` that grows, `total` that does not.
fn context() -> BindContext {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(Arc::new(OsFileSystem), dir.path()).unwrap();
    let public = catalog.snapshot().schema_id("public").unwrap();
    let t = columns(&[("id", SqlType::Int4), ("v", SqlType::Int8), ("s", SqlType::Text)]);
    let column = |column: Column| ColumnDef::plain(column, None);
    let table = TableDef {
        columns: t.clone().into_iter().map(column).collect(),
        primary_key: vec![1],
        key_constraint_name: None,
        key_index_id: None,
        checks: Vec::new(),
        watermark: None,
    };
    let positive = ViewDef { columns: t, query_sql: "SELECT * FROM t WHERE v > 0".into() };
    let (int8, time) = (SqlType::Int8, SqlType::Timestamp);
    let auction = [
        ("id", int8.clone()),
        ("category", int8.clone()),
        ("date_time", time.clone()),
        ("expires", time.clone()),
    ];
    let bid = [("auction", int8.clone()), ("bidder", int8.clone()), ("price", int8), ("date_time", time)];
    let timed = ObjectKind::Source(SourceDef {
        columns: columns(&[("k", SqlType::Int8), ("ts", SqlType::Timestamp), ("v", SqlType::Int8)]),
        options: Default::default(),
        watermark: Some(WatermarkDef::new(2, "ts - INTERVAL '5 seconds'")),
    });
    let zoned = source(&[("k", SqlType::Int8), ("at", SqlType::Timestamptz)]);
    let kinds = [
        ("t", ObjectKind::Table(table)),
        ("positive", ObjectKind::View(positive)),
        ("auction", source(&auction)),
        ("bid", source(&bid)),
        ("timed", timed),
        ("zoned", zoned),
        ("raw", materialized(&bid, true)),
        ("total", materialized(&[("n", SqlType::Int8)], false)),
    ];
    let changes = kinds.into_iter().enumerate().map(|(i, (name, kind))| {
        CatalogChange::Create(Object::new(ObjectId(16384 + i as u32), public, name, "weir", kind))
    });
    catalog.apply(changes.collect()).unwrap();
    BindContext::new(catalog.snapshot(), SessionInfo::default())
}

pub fn plan(query: &str) -> Result<PlannedJob> {
    plan_with("", query)
}

/// Of a view with these options.
pub fn plan_with(options: &str, query: &str) -> Result<PlannedJob> {
    let statements = crate::parse(&format!("CREATE MATERIALIZED VIEW m {options} AS {query}"))?;
    let BoundStatement::CreateMaterializedView(view) = crate::bind(&statements[0], &context())? else {
        panic!("{query} is not a view")
    };
    let output = TargetOutput::ToRelation(ObjectId(16500));
    let (emission, ttl) = (view.emission, view.ttl);
    let target = JobTarget { emission, ttl, ..JobTarget::new(JobId(16500), "m", output) };
    plan_job(&view.query, target, &DisabledRules::default())
}

pub fn stream(query: &str) -> String {
    render_stream(&plan(query).unwrap_or_else(|e| panic!("{query}: {e:?}")).stream).join("\n")
}

#[test]
fn nexmark_q1_computes_a_price() {
    assert_snapshot!(stream("SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid"), @"
    StreamMaterialize { m: [auction, bidder, price, date_time], key: none }  mode=append key=none dist=any state=none
      StreamCalc { project: [auction, bidder, numeric_mul(0.908, int8_to_numeric(38,0)(price)) AS price, date_time] }  mode=append key=none dist=any state=none
        StreamSource { bid: [auction, bidder, price, date_time] }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn nexmark_q2_filters() {
    assert_snapshot!(stream("SELECT auction, price FROM bid WHERE auction % 123 = 0"), @"
    StreamMaterialize { m: [auction, price], key: none }  mode=append key=none dist=any state=none
      StreamCalc { filter: int8mod(auction, 123) = 0, project: [auction, price] }  mode=append key=none dist=any state=none
        StreamSource { bid: [auction, price] }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn nexmark_q4_averages_winning_prices() {
    let query = "SELECT category, avg(final) FROM (SELECT max(b.price) AS final, a.category FROM auction a \
                 JOIN bid b ON a.id = b.auction WHERE b.date_time BETWEEN a.date_time AND a.expires \
                 GROUP BY a.id, a.category) q GROUP BY category";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [category, avg], key: [category] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [category], calls: [avg(max)] }  mode=retract key=[0] dist=by[0] state=unbounded: the aggregate keeps one row for each (category), and sources "auction" and "bid" go on without end
        StreamCalc { project: [category, max] }  mode=retract key=none dist=any state=none
          StreamAggregate { group: [id, category], calls: [max(price)] }  mode=retract key=[0, 1] dist=by[0, 1] state=unbounded: the aggregate keeps one row for each (id, category), and sources "auction" and "bid" go on without end
            StreamHashJoin { on: [id = auction], filter: (date_time >= date_time) AND (date_time <= expires), output: [id, category, price] }  mode=append key=none dist=by[0] state=unbounded: the join keeps every row of the left input, and source "auction" goes on without end; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
              StreamSource { auction: [id, category, date_time, expires] }  mode=append key=none dist=any state=none
              StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn a_guarded_division_is_evaluated_after_its_guard() {
    assert_snapshot!(stream("SELECT id FROM t WHERE v <> 0 AND 100 / v > 3"), @"
    StreamMaterialize { m: [id], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamCalc { filter: CASE WHEN v <> 0 THEN int8div(100, v) > 3 ELSE false END, project: [id] }  mode=retract key=[0] dist=any state=none
        StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn plain_views_dissolve() {
    let planned = plan("SELECT id, s FROM positive WHERE s LIKE 'a%'").unwrap();
    assert_eq!(planned.schema.key, RelationKey::Columns(vec![0]));
    assert_snapshot!(render_stream(&planned.stream).join("\n"), @"
    StreamMaterialize { m: [id, s], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamCalc { filter: (v > 0) AND (s LIKE 'a%'), project: [id, s] }  mode=retract key=[0] dist=any state=none
        StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn having_union_and_in() {
    let query = "SELECT s, count(*) AS n, sum(v) FILTER (WHERE v > 0) FROM t GROUP BY s HAVING count(*) > 1 \
                 UNION ALL SELECT DISTINCT s, 0, 0 FROM t WHERE v IN (SELECT price FROM bid)";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [s, n, sum], key: none }  mode=retract key=none dist=by[0, 1, 2] state=none
      StreamUnion  mode=retract key=none dist=any state=none
        StreamCalc { filter: count > 1, project: [s, count AS n, sum] }  mode=retract key=[0] dist=by[0] state=none
          StreamAggregate { group: [s], calls: [count(*), sum(v) FILTER (WHERE v > 0)] }  mode=retract key=[0] dist=by[0] state=one row for each (s)
            StreamCalc { project: [s, v, v > 0] }  mode=retract key=none dist=any state=none
              StreamScan { t: [v, s] }  mode=retract key=none dist=any state=none
        StreamCalc { project: [s, ?column?::Int64 AS n, int4_to_numeric(38,0)(?column?) AS sum] }  mode=retract key=none dist=any state=none
          StreamAggregate { group: [s, ?column?, ?column?], calls: [] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=one row for each (s, ?column?, ?column?)
            StreamCalc { project: [s, 0 AS ?column?, 0 AS ?column?] }  mode=retract key=none dist=any state=none
              StreamHashJoin { semi, on: [v = price], output: [s] }  mode=retract key=none dist=any state=the rows of the left input; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
                StreamScan { t: [v, s] }  mode=retract key=none dist=any state=none
                StreamSource { bid: [price] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn one_expression_serves_several_aggregates() {
    assert_snapshot!(stream("SELECT v % 10, min(v + 1), max(v + 1), avg(v + 1) FROM t GROUP BY v % 10"), @"
    StreamMaterialize { m: [?column?, min, max, avg], key: [?column?] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [group], calls: [min(__common_expr_1), max(__common_expr_1), avg(__common_expr_1)] }  mode=retract key=[0] dist=by[0] state=the distinct values of its arguments for each (group)
        StreamCalc { project: [int8mod(v, 10) AS group, int8pl(v, 1) AS __common_expr_1] }  mode=retract key=none dist=any state=none
          StreamScan { t: [v] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn output_types_are_the_querys() {
    let planned = plan("SELECT count(*) AS n, sum(v) AS total, avg(v) AS mean FROM t").unwrap();
    let types: Vec<String> = planned.schema.columns.iter().map(|c| c.ty.to_string()).collect();
    assert_eq!(types, ["bigint", "numeric(38,0)", "numeric"].map(|t| t.replace("(38,0)", "")));
    assert_eq!(planned.schema.key, RelationKey::Bag);
}

#[test]
fn the_clock_filters_and_nothing_else() {
    let lines =
        stream("SELECT auction FROM bid WHERE price > 1 AND date_time > now() - INTERVAL '5 minutes'");
    let filter = "StreamTemporalFilter { until: shows until }  mode=retract key=none";
    assert!(lines.contains(filter) && lines.contains("filter: price > 1"), "{lines}");
    let both = stream("SELECT id FROM auction WHERE date_time <= now() AND now() < expires");
    assert!(both.contains("StreamTemporalFilter { from: shows from, until: shows until }"), "{both}");
    for sql in [
        "SELECT id, now() FROM t",
        "SELECT id FROM auction WHERE expires > now() - INTERVAL '1 month'",
        "SELECT id FROM auction WHERE expires > now() OR id = 1",
        "SELECT id FROM auction WHERE expires = now()",
        "SELECT 1 FROM (VALUES (timestamptz '2020-01-01')) v (x) WHERE x < now()",
    ] {
        let error = plan(sql).unwrap_err();
        assert_eq!(error.state(), weir_common::SqlState::FEATURE_NOT_SUPPORTED, "{sql}");
    }
}

/// The columns of a query that have a watermark, and how many times late rows are left out.
pub(super) fn watermarks(sql: &str) -> (String, usize) {
    let lines = stream(sql);
    let first = lines.lines().next().unwrap_or_default();
    let own = first.split(" watermark=").nth(1).and_then(|rest| rest.split(" state").next());
    (own.unwrap_or("none").to_owned(), lines.matches("StreamLateFilter").count())
}

/// Rows of time that were passed: late ones are left out before what closes, and nowhere else.
#[test]
fn watermarks_follow_monotone_functions() {
    for (sql, columns, filters) in [
        ("SELECT k, ts FROM timed", "[1]", 0),
        ("SELECT ts + INTERVAL '1 day' AS a, -v AS b, date_trunc('hour', ts) AS c FROM timed", "[0, 2]", 0),
        ("SELECT k, count(*) FROM timed GROUP BY k", "none", 0),
        ("SELECT date_bin('5 minutes', ts, '2000-01-01') AS b, count(*) FROM timed GROUP BY 1", "[0]", 1),
        (
            "SELECT window_start, window_end, count(*) FROM HOP(timed, ts, '1 min', '5 min') GROUP BY 1, 2",
            "[0, 1]",
            1,
        ),
        (
            "SELECT k, window_end, count(*) FROM SESSION(timed PARTITION BY k, ts, '1 min') GROUP BY k, window_end",
            "[1]",
            1,
        ),
        ("SELECT l.ts, r.v FROM timed l JOIN timed r ON l.k = r.k", "none", 0),
        (
            "SELECT l.ts, r.ts AS u FROM timed l JOIN timed r ON l.k = r.k AND r.ts BETWEEN l.ts AND l.ts + '1 min'::interval",
            "[0, 1]",
            2,
        ),
        ("SELECT l.ts, l.v FROM timed l JOIN bid b ON l.k = b.auction AND b.date_time <= l.ts", "none", 0),
        ("SELECT ts FROM timed UNION ALL SELECT date_time FROM bid", "none", 0),
        ("SELECT ts FROM timed UNION ALL SELECT ts + INTERVAL '1 s' FROM timed", "[0]", 0),
        ("SELECT DISTINCT ON (k) k, ts FROM timed ORDER BY k, ts", "none", 0),
    ] {
        assert_eq!(watermarks(sql), (columns.to_owned(), filters), "{}", stream(sql));
    }
}

#[test]
fn unnest_keeps_the_columns_that_are_read() {
    let sql = "SELECT b.auction, w, n FROM bid b LEFT JOIN unnest(ARRAY[b.bidder, b.price]) WITH ORDINALITY AS x(w, n) ON true \
               WHERE b.price > 5";
    assert_snapshot!(stream(sql), @"
    StreamMaterialize { m: [auction, w, n], key: none }  mode=append key=none dist=any state=none
      StreamUnnest { outer, lists: [__common_expr_1, ordinals(__common_expr_1)], output: [auction, unnest, ordinality] }  mode=append key=none dist=any state=none
        StreamCalc { filter: price > 5, project: [auction, make_array(bidder, price) AS __common_expr_1] }  mode=append key=none dist=any state=none
          StreamSource { bid: [auction, bidder, price] }  mode=append key=none dist=any state=none
    ");
    assert_snapshot!(stream("SELECT unnest(string_to_array(s, ',')) AS word, count(*) FROM t GROUP BY word"), @"
    StreamMaterialize { m: [word, count], key: [word] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [set], calls: [count(*)] }  mode=retract key=[0] dist=by[0] state=one row for each (set)
        StreamUnnest { lists: [text_to_array(s, ',')], output: [set] }  mode=retract key=none dist=any state=none
          StreamScan { t: [s] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn a_constant_series_is_not_made_while_planning() {
    assert_snapshot!(stream("SELECT g FROM generate_series(1, 40000000) AS g WHERE g % 1000000 = 0"), @"
    StreamMaterialize { m: [g], key: none }  mode=append key=none dist=any state=none
      StreamCalc { filter: int4mod(generate_series, 1000000) = 0, project: [generate_series] }  mode=append key=none dist=any state=none
        StreamUnnest { lists: [generate_series_int4(1, 40000000)], output: [generate_series] }  mode=append key=none dist=any state=none
          StreamValues { rows: 1 }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn a_row_wise_lateral_subquery_needs_no_join() {
    let sql = "SELECT t.id, x.k, x.w FROM t, LATERAL (VALUES ('v', t.v), ('id', t.id::int8)) AS x(k, w) WHERE x.w > 1";
    assert_snapshot!(stream(sql), @"
    StreamMaterialize { m: [id, k, w], key: none }  mode=retract key=none dist=by[0, 1, 2] state=none
      StreamCalc { filter: column2 > 1, project: [id, column1, column2] }  mode=retract key=none dist=any state=none
        StreamUnnest { lists: [ARRAY['v', 'id'], make_array(v, id::Int64)], output: [id, column1, column2] }  mode=retract key=none dist=any state=none
          StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}
