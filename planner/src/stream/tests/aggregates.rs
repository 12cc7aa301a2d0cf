//! Stream plans of aggregates that keep values.

use insta::assert_snapshot;

use super::sql::stream;

#[test]
fn statistics_and_bits_are_calls_like_any_other() {
    let query = "SELECT s, stddev(v) AS d, var_pop(DISTINCT v) AS p, bit_or(v) FILTER (WHERE id > 3) AS b, \
                 corr(v, id) AS c, every(v > 0) AS e FROM t GROUP BY s";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [s, d, p, b, c, e], key: [s] }  mode=retract key=[0] dist=by[0] state=none
      StreamAggregate { group: [s], calls: [stddev_samp(v), var_pop(DISTINCT v), bit_or(v) FILTER (WHERE id > 3), corr(v::Float64, id::Float64), bool_and(v > 0)] }  mode=retract key=[0] dist=by[0] state=the distinct values of its arguments for each (s)
        StreamCalc { project: [s, v, id > 3, v::Float64, id::Float64, v > 0] }  mode=retract key=none dist=any state=none
          StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}

#[test]
fn ordered_aggregates_say_their_order() {
    let query = "SELECT string_agg(s, ',' ORDER BY id DESC) AS names, array_agg(DISTINCT v ORDER BY v) AS vs, \
                 percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS median, mode() WITHIN GROUP (ORDER BY s DESC) AS m \
                 FROM t";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [names, vs, median, m], key: none }  mode=retract key=[] dist=single state=none
      StreamAggregate { group: [], calls: [string_agg(s, ',' ORDER BY id DESC), array_agg(DISTINCT v ORDER BY v), percentile_cont(0.5) WITHIN GROUP (ORDER BY v::Float64), mode() WITHIN GROUP (ORDER BY s DESC)] }  mode=retract key=[] dist=single state=the values of its arguments
        StreamCalc { project: [s, ',', id, v, v::Float64] }  mode=retract key=[2] dist=any state=none
          StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
    ");
}
