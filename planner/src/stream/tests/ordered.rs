//! Plans with ORDER BY, DISTINCT ON and window functions.

use insta::assert_snapshot;
use weir_common::RelationKey;

use super::sql::{plan, stream};

#[test]
fn order_with_limit_is_one_partition() {
    let query = "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 3 OFFSET 1";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id, v], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamTopN { order: [v DESC, id], offset: 1, limit: 3, output: [id, v] }  mode=retract key=[0] dist=single state=the rows of its input
        StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn a_hidden_sort_key_is_dropped_by_the_operator() {
    let query = "SELECT s FROM t ORDER BY v DESC NULLS LAST, id LIMIT 1";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [s], key: none }  mode=retract key=[] dist=single state=none
      StreamTopN { order: [v DESC NULLS LAST, id], limit: 1, output: [s] }  mode=retract key=[] dist=single state=the rows of its input
        StreamScan { t: [s, v, id] }  mode=retract key=[2] dist=any state=none
    ");
}

#[test]
fn limits_of_limits_are_one() {
    let query = "SELECT id FROM (SELECT id FROM t ORDER BY v LIMIT 10 OFFSET 2) q LIMIT 3 OFFSET 1";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamTopN { order: [v], offset: 3, limit: 3, output: [id] }  mode=retract key=[0] dist=single state=the rows of its input
        StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn a_growing_input_keeps_the_first_rows() {
    let query = "SELECT price FROM bid ORDER BY price DESC LIMIT 10";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [price], key: none }  mode=retract key=none dist=single state=none
      StreamTopN { order: [price DESC], limit: 10, output: [price] }  mode=retract key=none dist=single state=10 rows
        StreamSource { bid: [price] }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn distinct_on_is_keyed_by_its_columns() {
    let query = "SELECT DISTINCT ON (s) s, id, v FROM t ORDER BY s, v DESC";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [s, id, v], key: [s] }  mode=retract key=[0] dist=by[0] state=none
      StreamTopN { partition: [s], order: [v DESC], limit: 1, output: [s, id, v] }  mode=retract key=[0] dist=by[0] state=the rows of its input
        StreamScan { t: [s, id, v] }  mode=retract key=[1] dist=any state=none
    ");
}

#[test]
fn ties_are_a_rank() {
    let query = "SELECT id, v FROM t ORDER BY v FETCH FIRST 3 ROWS WITH TIES";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id, v], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamTopN { order: [v], rank: 3, output: [id, v] }  mode=retract key=[0] dist=single state=the rows of its input
        StreamScan { t: [id, v] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn nexmark_q18_finds_last_bids() {
    let query = "SELECT auction, bidder, price FROM (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS r FROM bid) q WHERE r <= 1";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [auction, bidder, price], key: [bidder, auction] }  mode=retract key=[1, 0] dist=by[1, 0] state=none
      StreamTopN { partition: [bidder, auction], order: [date_time DESC], limit: 1, output: [auction, bidder, price] }  mode=retract key=[1, 0] dist=by[1, 0] state=unbounded: the Top-N keeps one row for each (bidder, auction), and source "bid" goes on without end
        StreamSource { bid: [auction, bidder, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn nexmark_q19_finds_top_bids() {
    let query = "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid) q WHERE rank_number <= 10";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [auction, bidder, price, date_time, rank_number], key: [auction, rank_number] }  mode=retract key=[0, 4] dist=by[0, 4] state=none
      StreamTopN { partition: [auction], order: [price DESC], limit: 10, output: [auction, bidder, price, date_time, window] }  mode=retract key=[0, 4] dist=by[0] state=unbounded: the Top-N keeps 10 rows for each (auction), and source "bid" goes on without end
        StreamSource { bid: [auction, bidder, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn numbers_are_bounded_from_both_sides() {
    let query = "SELECT id FROM (SELECT id, s, row_number() OVER (PARTITION BY v ORDER BY id) AS r FROM t) q WHERE r > 2 AND r < 6 AND s <> 'x'";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamCalc { filter: s <> 'x', project: [id] }  mode=retract key=[0] dist=any state=none
        StreamTopN { partition: [v], order: [id], offset: 2, limit: 3, output: [id, s] }  mode=retract key=[0] dist=any state=the rows of its input
          StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn window_functions_of_one_order_share_an_operator() {
    let query = "SELECT id, rank() OVER w, sum(v) OVER (w ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), lag(v, 2, 0) OVER w FROM t WINDOW w AS (PARTITION BY s ORDER BY v DESC)";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id, rank, sum, lag], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamWindow { partition: [s], order: [v DESC], calls: [rank(), sum(v) ROWS 2 PRECEDING..CURRENT ROW, lag(v, 2, 0)], output: [id] }  mode=retract key=[0] dist=any state=the rows of its input
        StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn windows_of_other_orders_are_stacked() {
    let query = "SELECT id, row_number() OVER (ORDER BY v), count(*) FILTER (WHERE v > 0) OVER (PARTITION BY s) FROM t";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [id, row_number, count], key: [id] }  mode=retract key=[0] dist=by[0] state=none
      StreamWindow { partition: [s], order: [], calls: [count(1) FILTER (WHERE v > 0)], output: [id, window] }  mode=retract key=[0] dist=any state=the rows of its input
        StreamCalc { project: [id, v, s, row_number, v > 0] }  mode=retract key=[0] dist=single state=none
          StreamWindow { order: [v], calls: [row_number()], output: [id, v, s] }  mode=retract key=[0] dist=single state=the rows of its input
            StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn one_row_a_partition_makes_a_key() {
    let planned = plan("SELECT DISTINCT ON (s) v, s FROM t ORDER BY s, v").unwrap();
    assert_eq!(planned.schema.key, RelationKey::Columns(vec![1]));
    let numbered = "SELECT v, r FROM (SELECT v, row_number() OVER (PARTITION BY v ORDER BY s) AS r FROM t) q \
                    WHERE r <= 5";
    assert_eq!(plan(numbered).unwrap().schema.key, RelationKey::Columns(vec![0, 1]));
}
