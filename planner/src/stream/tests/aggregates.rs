//! Stream plans of aggregates that keep values, and of grouping sets.

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

#[test]
fn grouping_sets_expand_rows() {
    let query = "SELECT s, v, sum(id) AS total, grouping(s, v) AS level FROM t GROUP BY ROLLUP (s, v)";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [s, v, total, level], key: none }  mode=retract key=none dist=by[0, 1, 2, 3] state=none
      StreamCalc { project: [s, v, sum, CASE grouping_set WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 3 END AS level] }  mode=retract key=none dist=any state=none
        StreamAggregate { group: [grouping_set, s, v], calls: [sum(id) FILTER (WHERE is_row)] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=one row for each (grouping_set, s, v)
          StreamUnion  mode=retract key=none dist=any state=none
            StreamCalc { project: [grouping_set, CASE WHEN __common_expr_1 OR (grouping_set = 1) THEN s END AS s, CASE WHEN __common_expr_1 THEN v END AS v, id, true AS is_row] }  mode=retract key=none dist=any state=none
              StreamCalc { project: [grouping_set = 0 AS __common_expr_1, id, v, s, grouping_set] }  mode=retract key=none dist=any state=none
                StreamUnnest { lists: [ARRAY[0, 1, 2]], output: [id, v, s, grouping_set] }  mode=retract key=none dist=any state=none
                  StreamScan { t: [id, v, s] }  mode=retract key=[0] dist=any state=none
            StreamValues { rows: 1 }  mode=append key=none dist=any state=none
    ");
}

#[test]
fn without_an_empty_set_no_row_is_added() {
    let query = "SELECT s, count(*) AS n FROM t GROUP BY GROUPING SETS ((s, v), (v))";
    assert_snapshot!(stream(query), @"
    StreamMaterialize { m: [s, n], key: none }  mode=retract key=none dist=by[0, 1] state=none
      StreamCalc { project: [s, count] }  mode=retract key=none dist=any state=none
        StreamAggregate { group: [grouping_set, s, v], calls: [count(*)] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=one row for each (grouping_set, s, v)
          StreamCalc { project: [grouping_set, CASE WHEN grouping_set = 0 THEN s END AS s, v] }  mode=retract key=none dist=any state=none
            StreamUnnest { lists: [ARRAY[0, 1]], output: [v, s, grouping_set] }  mode=retract key=none dist=any state=none
              StreamScan { t: [v, s] }  mode=retract key=none dist=any state=none
    ");
}
