//! Stream plans of supported queries.

use datafusion::functions_aggregate::expr_fn::{avg, count, count_distinct, max, sum};
use datafusion::logical_expr::{ExprFunctionExt, JoinType, LogicalPlanBuilder, col, in_subquery, lit};
use insta::assert_snapshot;
use weir_common::RelationKey;
use weir_exec::spec::ChangelogMode;

use super::fixture::{scan, scan_as, stream_text, view};

#[test]
fn filter_and_projection_read_only_their_columns() {
    let query = scan("t").filter(col("v").gt(lit(10i64))).unwrap().project([col("s"), col("id")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2], key: [c2] }  mode=retract key=[1] dist=by[1] state=none
      StreamCalc { filter: v > 10, project: [s, id] }  mode=retract key=[1] dist=any state=none
        StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn projection_of_a_source_is_append_only() {
    let price = datafusion::logical_expr::when(col("price").gt(lit(100i64)), col("price"))
        .otherwise(lit(0i64))
        .unwrap();
    let query = scan("bid").project([col("auction"), col("bidder"), price.alias("price")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2, c3], key: none }  mode=append key=none dist=any state=none
      StreamCalc { project: [auction, bidder, CASE WHEN price > 100 THEN price ELSE 0 END AS price] }  mode=append key=none dist=any state=none
        StreamSource { bid: [auction, bidder, price] }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn picked_columns_vanish_into_the_scan() {
    let query = scan("t").project([col("s"), col("v")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2], key: none }  mode=retract key=none dist=by[0, 1] state=none
      StreamScan { t: [s, v] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn join_of_two_tables() {
    let query = scan("t")
        .join_on(
            scan("u").build().unwrap(),
            JoinType::Inner,
            [col("t.id").eq(col("u.id")), col("t.v").lt(col("u.w"))],
        )
        .unwrap()
        .project([col("t.id"), col("t.s"), col("u.w")])
        .unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2, c3], key: [c1] }  mode=retract key=[0] dist=by[0] state=none
      StreamHashJoin { on: [id = id], filter: v < w, right rows: shared arrangement of u by [id], output: [id, s, w] }  mode=retract key=[0] dist=by[0] state=the rows of the left input
        StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
        StreamScan { u: [id, w] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn comma_join_takes_its_keys_from_where() {
    let query = scan("bid")
        .cross_join(scan("auction").build().unwrap())
        .unwrap()
        .filter(col("bid.auction").eq(col("auction.id")).and(col("auction.category").eq(lit(10i64))))
        .unwrap()
        .project([col("bid.price"), col("auction.category")])
        .unwrap();
    assert_snapshot!(stream_text(query), @r#"
    StreamMaterialize { m: [c1, c2], key: none }  mode=append key=none dist=any state=none
      StreamHashJoin { on: [auction = id], output: [price, category] }  mode=append key=none dist=any state=unbounded: the join keeps every row of the left input, and source "bid" goes on without end; unbounded: the join keeps every row of the right input, and source "auction" goes on without end
        StreamSource { bid: [auction, price] }  mode=append key=none dist=any state=none
        StreamCalc { filter: category = 10, project: [id, category] }  mode=append key=none dist=any state=none
          StreamSource { auction: [id, category] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn group_by_with_having() {
    let query = scan("t")
        .aggregate([col("s")], [count(lit(1i64)).alias("n"), sum(col("v")).alias("total")])
        .unwrap()
        .filter(col("n").gt(lit(1i64)))
        .unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2, c3], key: [c1] }  mode=retract key=[0] dist=by[0] state=none
      StreamCalc { filter: n > 1, project: [s, n, total] }  mode=retract key=[0] dist=by[0] state=none
        StreamAggregate { group: [s], calls: [count(*), sum(v)] }  mode=retract key=[0] dist=by[0] state=one row for each (s)
          StreamScan { t: [s, v] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn filtered_and_distinct_calls() {
    let cheap = count(col("price")).filter(col("price").lt(lit(100i64))).build().unwrap();
    let query = scan("bid")
        .aggregate([col("auction")], [cheap.alias("cheap"), count_distinct(col("bidder")).alias("bidders")]);
    assert_snapshot!(stream_text(query.unwrap()), @r#"
    StreamMaterialize { m: [c1, c2, c3], key: [c1] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [auction], calls: [count(price) FILTER (WHERE price < 100), count(DISTINCT bidder)] }  mode=retract key=[0] dist=by[0] state=unbounded: the aggregate keeps the distinct values of its arguments for each (auction), and source "bid" goes on without end
        StreamCalc { project: [auction, price, price < 100, bidder] }  mode=append key=none dist=any state=none
          StreamSource { bid: [auction, bidder, price] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn view_over_a_view_keeps_its_key() {
    let query = scan("per_category").filter(col("n").gt(lit(5i64))).unwrap();
    let planned = view(query.build().unwrap()).unwrap();
    assert_eq!(planned.schema.key, RelationKey::Columns(vec![0]));
    assert_eq!(planned.stream.traits.mode, ChangelogMode::Retract);
    assert!(planned.unbounded.is_empty());
}

#[test]
fn a_pruned_key_makes_a_bag() {
    let planned = view(scan("t").project([col("v")]).unwrap().build().unwrap()).unwrap();
    assert_eq!(planned.schema.key, RelationKey::Bag);
}

#[test]
fn union_all_is_a_bag() {
    let left = scan("t").project([col("v")]).unwrap();
    let query = left.union(scan("u").project([col("w")]).unwrap().build().unwrap()).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1], key: none }  mode=retract key=none dist=by[0] state=none
      StreamUnion  mode=retract key=none dist=any state=none
        StreamScan { t: [v] }  mode=retract key=none dist=any state=none
        StreamScan { u: [w] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn distinct_of_a_source_appends() {
    let query = scan("bid").project([col("bidder")]).unwrap().distinct().unwrap();
    assert_snapshot!(stream_text(query), @r#"
    StreamMaterialize { m: [c1], key: [c1] }  mode=append key=[0] dist=by[0] state=none
      StreamAggregate { group: [bidder], calls: [] }  mode=append key=[0] dist=by[0] state=unbounded: the aggregate keeps one row for each (bidder), and source "bid" goes on without end
        StreamSource { bid: [bidder] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn global_aggregate_is_one_row() {
    let none: [datafusion::logical_expr::Expr; 0] = [];
    let query = scan("log").aggregate(none, [count(lit(1i64)).alias("n")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1], key: none }  mode=retract key=[] dist=single state=none
      StreamAggregate { group: [], calls: [count(*)] }  mode=retract key=[] dist=single state=one row
        StreamScan { log: [at] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn values_without_from() {
    let query =
        LogicalPlanBuilder::empty(true).project([lit(1i32).alias("one"), lit("x").alias("x")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1, c2], key: none }  mode=append key=none dist=any state=none
      StreamCalc { project: [1 AS one, 'x' AS x] }  mode=append key=none dist=any state=none
        StreamValues { rows: 1 }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn in_subquery_is_a_semi_join() {
    let lines = scan("log").project([col("log.line")]).unwrap().build().unwrap();
    let query =
        scan("t").filter(in_subquery(col("t.s"), lines.into())).unwrap().project([col("t.v")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1], key: none }  mode=retract key=none dist=by[0] state=none
      StreamHashJoin { semi, on: [s = line], output: [v] }  mode=retract key=none dist=any state=the rows of the left input; the rows of the right input
        StreamScan { t: [v, s] }  mode=retract key=none dist=any state=none
        StreamScan { log: [line] }  mode=retract key=none dist=any state=none
    ");
}

#[test]
fn in_subquery_over_a_key_needs_no_distinct() {
    let ids = scan("u").project([col("u.id")]).unwrap().build().unwrap();
    let query =
        scan("t").filter(in_subquery(col("t.id"), ids.into())).unwrap().project([col("t.s")]).unwrap();
    assert_snapshot!(stream_text(query), @"
    StreamMaterialize { m: [c1], key: none }  mode=retract key=none dist=by[0] state=none
      StreamHashJoin { on: [id = id], right rows: shared arrangement of u by [id], output: [s] }  mode=retract key=none dist=any state=the rows of the left input
        StreamScan { t: [id, s] }  mode=retract key=[0] dist=any state=none
        StreamScan { u: [id] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn self_join_on_a_key_is_identified_by_it() {
    let query = scan_as("t", "a")
        .join(scan_as("t", "b").build().unwrap(), JoinType::Inner, (vec!["a.id"], vec!["b.id"]), None)
        .unwrap()
        .project([col("b.id"), col("a.v")])
        .unwrap();
    let planned = view(query.build().unwrap()).unwrap();
    assert_eq!(planned.schema.key, RelationKey::Columns(vec![0]));
}

/// Nexmark q4: the average of the winning prices of each category.
pub fn nexmark_q4() -> LogicalPlanBuilder {
    scan("auction")
        .join_on(scan("bid").build().unwrap(), JoinType::Inner, [col("auction.id").eq(col("bid.auction"))])
        .unwrap()
        .filter(col("bid.date_time").between(col("auction.date_time"), col("auction.expires")))
        .unwrap()
        .aggregate([col("auction.id"), col("auction.category")], [max(col("bid.price")).alias("final")])
        .unwrap()
        .aggregate(
            [col("auction.category")],
            [avg(datafusion::logical_expr::cast(col("final"), arrow::datatypes::DataType::Float64))
                .alias("average")],
        )
        .unwrap()
}

#[test]
fn nexmark_q4_plan() {
    assert_snapshot!(stream_text(nexmark_q4()), @r#"
    StreamMaterialize { m: [c1, c2], key: [c1] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [category], calls: [avg(final::Float64)] }  mode=retract key=[0] dist=by[0] state=unbounded: the aggregate keeps one row for each (category), and sources "auction" and "bid" go on without end
        StreamCalc { project: [category, final::Float64] }  mode=retract key=none dist=any state=none
          StreamAggregate { group: [id, category], calls: [max(price)] }  mode=retract key=[0, 1] dist=by[0, 1] state=unbounded: the aggregate keeps one row for each (id, category), and sources "auction" and "bid" go on without end
            StreamHashJoin { on: [id = auction], filter: (date_time >= date_time) AND (date_time <= expires), output: [id, category, price] }  mode=append key=none dist=by[0] state=unbounded: the join keeps every row of the left input, and source "auction" goes on without end; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
              StreamSource { auction: [id, category, date_time, expires] }  mode=append key=none dist=any state=none
              StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn nexmark_q4_warns_of_each_growing_state() {
    let planned = view(nexmark_q4().build().unwrap()).unwrap();
    assert_snapshot!(planned.unbounded.iter().map(|state| state.growth.as_str()).collect::<Vec<_>>().join("\n"), @r#"
    the join keeps every row of the left input, and source "auction" goes on without end
    the join keeps every row of the right input, and source "bid" goes on without end
    the aggregate keeps one row for each (id, category), and sources "auction" and "bid" go on without end
    the aggregate keeps one row for each (category), and sources "auction" and "bid" go on without end
    "#);
}
