//! Plans of ASOF joins, joins with versions and lookup joins.

use insta::assert_snapshot;

use super::sql::{plan, stream, watermarks};
use crate::explain::render_logical;

#[test]
fn an_asof_join_reads_columns_and_is_keyed_by_its_left_side() {
    let query = "SELECT t.id, b.price FROM t ASOF LEFT JOIN bid b MATCH_CONDITION (t.v >= b.bidder) ON t.id = b.auction";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [id, price], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamAsofJoin { left, on: [id::Int64 = auction], nearest: v >= bidder, output: [id, price] }  mode=retract key=[0] dist=any state=the rows of the left input; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
        StreamCalc { project: [id, v, id::Int64] }  mode=retract key=[0] dist=any state=none
          StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
        StreamSource { bid: [auction, bidder, price] }  mode=append key=none dist=any state=none
    "#);
    assert_snapshot!(render_logical(&plan(query).unwrap().logical).join("\n"), @"
    Projection: t.id, b.price
      Left AsofJoin: CAST(t.id AS Int64) = b.auction AND t.v >= b.bidder
        TableScan: t projection=[id, v]
        TableScan: b projection=[auction, bidder, price]
    ");
}

#[test]
fn conditions_on_the_left_side_and_on_keys_go_below() {
    let query = "SELECT a.id, b.price FROM auction a ASOF JOIN bid b ON a.id = b.auction AND a.date_time > b.date_time \
                 WHERE a.id > 5 AND a.category = 1 AND b.price > 2";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [id, price], key: none }  mode=retract key=none dist=by[0] state=none
      StreamCalc { filter: price > 2, project: [id, price] }  mode=retract key=none dist=by[0] state=none
        StreamAsofJoin { on: [id = auction], nearest: date_time > date_time, output: [id, price] }  mode=retract key=none dist=by[0] state=unbounded: the join keeps every row of the left input, and source "auction" goes on without end; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
          StreamCalc { filter: (id > 5) AND (category = 1), project: [id, category, date_time] }  mode=append key=none dist=any state=none
            StreamSource { auction: [id, category, date_time] }  mode=append key=none dist=any state=none
          StreamCalc { filter: auction > 5, project: [auction, price, date_time] }  mode=append key=none dist=any state=none
            StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn a_version_is_found_by_its_only_time() {
    let query = "SELECT a.id, b.price FROM auction a LEFT JOIN bid FOR SYSTEM_TIME AS OF a.date_time b \
                 ON a.id = b.auction AND b.price > 5";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [id, price], key: none }  mode=retract key=none dist=by[0] state=none
      StreamCalc { project: [id, CASE WHEN price > 5 THEN price END AS price] }  mode=retract key=none dist=by[0] state=none
        StreamAsofJoin { left, on: [id = auction], nearest: date_time >= date_time, output: [id, price] }  mode=retract key=none dist=by[0] state=unbounded: the join keeps every row of the left input, and source "auction" goes on without end; unbounded: the join keeps every row of the right input, and source "bid" goes on without end
          StreamSource { auction: [id, date_time] }  mode=append key=none dist=any state=none
          StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn a_lookup_join_of_a_growing_input_only_grows() {
    let query = "SELECT a.category, t.s FROM auction a JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON a.id = t.id AND t.v > 1";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [category, s], key: none }  mode=append key=none dist=any state=none
      StreamLookupJoin { on: [id = id::Int64], output: [category, s] }  mode=append key=none dist=any state=the rows of the right input
        StreamSource { auction: [id, category] }  mode=append key=none dist=any state=none
        StreamCalc { filter: v > 1, project: [id, v, s, id::Int64] }  mode=retract key=[0] dist=any state=none
          StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
    let query = "SELECT t.id, t.v, positive.v AS w FROM t LEFT JOIN positive FOR SYSTEM_TIME AS OF PROCTIME() USING (id)";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id, v, w], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamLookupJoin { left, on: [id = id], output: [id, v, v] }  mode=retract key=[0] dist=by[0] state=the rows of the right input; what each left row was joined with
        StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
        StreamCalc { filter: v > 0, project: [id, v] }  mode=retract key=[0] dist=any state=none
          StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}

/// What looks back keeps the left time, what looks ahead the right one, if event time is known of both sides.
#[test]
fn watermarks_go_through_joins_by_time() {
    for (sql, columns, filters) in [
        (
            "SELECT l.ts, r.ts AS u FROM timed l LEFT JOIN timed FOR SYSTEM_TIME AS OF l.ts AS r ON l.k = r.k",
            "[0]",
            2,
        ),
        ("SELECT l.ts, r.ts AS u FROM timed l ASOF JOIN timed r ON l.k = r.k AND l.ts > r.ts", "[0]", 2),
        (
            "SELECT l.ts, r.ts AS u FROM timed l ASOF LEFT JOIN timed r ON l.k = r.k AND l.ts <= r.ts",
            "[1]",
            2,
        ),
        (
            "SELECT l.ts, b.price FROM timed l ASOF JOIN bid b ON l.k = b.auction AND l.ts > b.date_time",
            "none",
            0,
        ),
        (
            "SELECT window_end, l.ts FROM TUMBLE(timed, ts, '1 min') l \
             JOIN timed FOR SYSTEM_TIME AS OF l.ts - INTERVAL '1 s' AS r ON l.k = r.k",
            "[0, 1]",
            2,
        ),
        ("SELECT l.v, l.ts FROM timed l JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON l.k = t.id", "[1]", 0),
        (
            "SELECT date_trunc('hour', l.ts), count(*) FROM timed l JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON l.k = t.id \
             GROUP BY 1",
            "[0]",
            1,
        ),
    ] {
        assert_eq!(watermarks(sql), (columns.to_owned(), filters), "{}", stream(sql));
    }
}

#[test]
fn a_join_by_time_forgets_what_is_final() {
    let query = "SELECT l.ts, r.v FROM timed l ASOF JOIN timed r ON l.k = r.k AND l.ts >= r.ts";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [ts, v], key: none }  mode=retract key=none dist=by[0, 1] watermark=[0] state=none
      StreamAsofJoin { on: [k = k], nearest: ts >= ts, output: [ts, v] }  mode=retract key=none dist=any watermark=[0] state=the rows of the left input until event time has passed ts; the rows of the right input until event time has passed ts; unbounded: the join keeps the last row of the right input that event time has passed for each (k), and source "timed" goes on without end
        StreamLateFilter { time: ts }  mode=append key=none dist=any watermark=[1] state=none
          StreamSource { timed: [k, ts] }  mode=append key=none dist=any watermark=[1] state=none
        StreamLateFilter { time: ts }  mode=append key=none dist=any watermark=[1] state=none
          StreamSource { timed: [k, ts, v] }  mode=append key=none dist=any watermark=[1] state=none
    "#);
    let query = "SELECT r.ts, r.v FROM timed l ASOF LEFT JOIN timed r ON l.k = r.k AND l.ts < r.ts";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [ts, v], key: none }  mode=retract key=none dist=by[0, 1] watermark=[0] state=none
      StreamAsofJoin { left, on: [k = k], nearest: ts < ts, output: [ts, v] }  mode=retract key=none dist=any watermark=[0] state=the rows of the left input until event time has passed ts; the rows of the right input until event time has passed ts; unbounded: the join keeps the rows of the left input without a match, and source "timed" goes on without end
        StreamLateFilter { time: ts }  mode=append key=none dist=any watermark=[1] state=none
          StreamSource { timed: [k, ts] }  mode=append key=none dist=any watermark=[1] state=none
        StreamLateFilter { time: ts }  mode=append key=none dist=any watermark=[1] state=none
          StreamSource { timed: [k, ts, v] }  mode=append key=none dist=any watermark=[1] state=none
    "#);
}
