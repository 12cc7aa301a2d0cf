//! What plans keep, and what limits it: `EXPLAIN (STATE)`.

use insta::assert_snapshot;

use super::sql::{plan, plan_with};
use crate::explain::{render_state, render_stream, state_json};

/// The state of a view, a line for each piece; hints are left out.
fn state(query: &str) -> String {
    state_of(&plan(query).unwrap_or_else(|e| panic!("{query}: {e:?}")))
}

fn state_of(planned: &crate::stream::PlannedJob) -> String {
    let line = |row: Vec<String>| format!("{}: {} by [{}], {}", row[0], row[1], row[2], row[3]);
    render_state(&planned.stream).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn groups_of_a_source_grow_and_those_of_a_window_close() {
    assert_snapshot!(state("SELECT k, count(*) AS n FROM timed GROUP BY k"), @r#"
    StreamMaterialize: the rows of the view by [k], the result of the query: source "timed" goes on without end
    StreamAggregate: one row for each (k) by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state("SELECT window_start, k, max(v) AS v FROM TUMBLE(timed, ts, INTERVAL '1 minute') \
                            GROUP BY window_start, k"), @r#"
    StreamMaterialize: the rows of the view by [window_start, k], the result of the query: source "timed" goes on without end
    StreamAggregate: one row for each (window_start, k) by [window_start, k], bounded by the watermark of timed: until event time has passed window_start
    "#);
    assert_snapshot!(state("SELECT date_trunc('hour', ts) AS h, count(DISTINCT k) AS n FROM timed GROUP BY 1"), @r#"
    StreamMaterialize: the rows of the view by [h], the result of the query: source "timed" goes on without end
    StreamAggregate: the distinct values of its arguments for each (group) by [group], bounded by the watermark of timed: until event time has passed group (NULL stays)
    "#);
    assert_snapshot!(state("SELECT k, window_start, window_end, max(v) AS v FROM \
                            HOP(timed, ts, INTERVAL '20 s', INTERVAL '1 minute') GROUP BY k, window_start, window_end"), @r#"
    StreamMaterialize: the rows of the view by [k, window_start, window_end], the result of the query: source "timed" goes on without end
    StreamAggregate: one row for each (k, window_start, window_end) by [k, window_start, window_end], bounded by the watermark of timed: until event time has passed window_start
    "#);
    assert_snapshot!(state("SELECT s, count(*) AS n FROM t GROUP BY s"), @"
    StreamMaterialize: the rows of the view by [s], bounded by the rows of t
    StreamAggregate: one row for each (s) by [s], bounded by the rows of t
    ");
    assert_snapshot!(state("SELECT count(*) AS n FROM bid"), @"
    StreamMaterialize: the rows of the view by [], bounded by the rows of its input
    StreamAggregate: one row by [], bounded by one row
    ");
}

#[test]
fn what_the_clock_removes_bounds_what_is_above() {
    assert_snapshot!(state("SELECT k, count(*) AS n FROM zoned WHERE at > now() - INTERVAL '5 minutes' GROUP BY k"), @"
    StreamMaterialize: the rows of the view by [k], bounded by the rows of its input that the clock has not passed
    StreamAggregate: one row for each (k) by [k], bounded by the rows of its input that the clock has not passed
    StreamTemporalFilter: rows by [k, at], bounded by the clock: until the clock has passed their times
    ");
    assert_snapshot!(state("SELECT k, count(*) AS n FROM zoned WHERE at < now() GROUP BY k"), @r#"
    StreamMaterialize: the rows of the view by [k], the result of the query: source "zoned" goes on without end
    StreamAggregate: one row for each (k) by [k], unbounded: source "zoned" goes on without end
    StreamTemporalFilter: rows by [k, at], bounded by the clock: until the clock has passed their times
    "#);
}

#[test]
fn windows_of_processing_time_close_by_the_clock() {
    assert_snapshot!(state("SELECT window_start, auction, count(*) AS n FROM \
                            TUMBLE((SELECT *, PROCTIME() AS p FROM bid), p, INTERVAL '1 minute') \
                            GROUP BY window_start, auction"), @r#"
    StreamMaterialize: the rows of the view by [window_start, auction], the result of the query: source "bid" goes on without end
    StreamAggregate: one row for each (window_start, auction) by [window_start, auction], bounded by the clock: until the clock has passed window_start
    "#);
}

#[test]
fn the_first_rows_of_a_source_are_bounded_unless_they_are_those_of_each_key() {
    let numbered = |partition: &str| {
        format!(
            "SELECT k, ts, v FROM (SELECT *, row_number() OVER (PARTITION BY {partition} ORDER BY v DESC) AS n \
             FROM TUMBLE(timed, ts, INTERVAL '1 minute')) w WHERE n <= 3"
        )
    };
    assert_snapshot!(state(&numbered("k")), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamTopN: 3 rows for each (k) by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state(&numbered("window_start, k")), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamTopN: 3 rows for each (window_start, k) by [window_start, k], bounded by the watermark of timed: until event time has passed window_start
    "#);
    assert_snapshot!(state("SELECT * FROM timed ORDER BY v DESC LIMIT 10"), @"
    StreamMaterialize: the rows of the view by [], bounded by the rows of its input
    StreamTopN: 10 rows by [], bounded by 10 rows
    ");
    assert_snapshot!(state("SELECT t.s FROM t JOIN (SELECT * FROM bid ORDER BY price DESC LIMIT 10) b ON b.price = t.v"), @"
    StreamMaterialize: the rows of the view by [], bounded by the rows of its input
    StreamHashJoin: the rows of the left input by [v], bounded by the rows of t
    StreamHashJoin: the rows of the right input by [price], bounded by the rows of its input
    StreamTopN: 10 rows by [], bounded by 10 rows
    ");
}

#[test]
fn window_functions_and_sessions_close_by_their_window() {
    assert_snapshot!(state("SELECT k, sum(v) OVER (PARTITION BY k ORDER BY ts) AS s FROM timed"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamWindow: every row of its input by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state("SELECT k, sum(v) OVER (PARTITION BY window_start, k ORDER BY ts) AS s \
                            FROM TUMBLE(timed, ts, INTERVAL '1 minute')"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamWindow: the rows of its input by [window_start, k], bounded by the watermark of timed: until event time has passed window_start
    "#);
    assert_snapshot!(state("SELECT k, window_start, window_end, count(*) AS n FROM \
                            SESSION(timed PARTITION BY k, ts, INTERVAL '30 seconds') \
                            GROUP BY k, window_start, window_end"), @r#"
    StreamMaterialize: the rows of the view by [k, window_start, window_end], the result of the query: source "timed" goes on without end
    StreamAggregate: one row for each (k, window_start, window_end) by [k, window_start, window_end], bounded by the watermark of timed: until event time has passed window_end
    StreamWindow: the rows of its input by [k], bounded by the watermark of timed: until event time has passed the end of their session
    "#);
    assert_snapshot!(state("SELECT bidder, window_start, count(*) AS n FROM \
                            SESSION(bid PARTITION BY bidder, date_time, INTERVAL '30 seconds') \
                            GROUP BY bidder, window_start"), @r#"
    StreamMaterialize: the rows of the view by [bidder, window_start], the result of the query: source "bid" goes on without end
    StreamAggregate: one row for each (bidder, window_start) by [bidder, window_start], unbounded: source "bid" goes on without end
    StreamWindow: every row of its input by [bidder], unbounded: source "bid" goes on without end
    "#);
}

#[test]
fn each_side_of_a_join_has_its_own_bound() {
    assert_snapshot!(state("SELECT a.category, b.price FROM auction a JOIN bid b ON a.id = b.auction"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: sources "auction" and "bid" go on without end
    StreamHashJoin: every row of the left input by [id], unbounded: source "auction" goes on without end
    StreamHashJoin: every row of the right input by [auction], unbounded: source "bid" goes on without end
    "#);
    assert_snapshot!(state("SELECT t.s, b.price FROM bid b JOIN t ON t.id = b.auction"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "bid" goes on without end
    StreamHashJoin: every row of the left input by [auction], unbounded: source "bid" goes on without end
    StreamHashJoin: the rows of the right input by [id::Int64], bounded by the rows of t
    "#);
    assert_snapshot!(state("SELECT a.k, b.v FROM timed a JOIN timed b ON a.k = b.k \
                            AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '10 minutes'"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamHashJoin: the rows of the left input by [k], bounded by the watermark of timed: until event time has passed ts (NULL stays)
    StreamHashJoin: the rows of the right input by [k], bounded by the watermark of timed: until event time has passed ts + 00:10:00 (NULL stays)
    "#);
    assert_snapshot!(state("SELECT a.k, b.v FROM timed a JOIN timed b ON a.k = b.k AND a.ts >= b.ts"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamHashJoin: the rows of the left input by [k], bounded by the watermark of timed: until event time has passed ts (NULL stays)
    StreamHashJoin: every row of the right input by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state("SELECT a.v FROM timed a WHERE EXISTS (SELECT 1 FROM bid b WHERE b.auction = a.k)"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamHashJoin: every row of the left input by [k], unbounded: source "timed" goes on without end
    StreamHashJoin: every row of the right input by [auction], unbounded: source "bid" goes on without end
    "#);
}

#[test]
fn joins_by_time_keep_all_rows_of_a_source() {
    assert_snapshot!(state("SELECT b.price, a.category FROM bid b ASOF JOIN auction a MATCH_CONDITION (b.date_time >= a.date_time) \
                            ON b.auction = a.id"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "bid" goes on without end
    StreamAsofJoin: every row of the left input by [auction], unbounded: source "bid" goes on without end
    StreamAsofJoin: every row of the right input by [id], unbounded: source "auction" goes on without end
    "#);
    assert_snapshot!(state("SELECT b.price, t.s FROM bid b JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON b.auction = t.id"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "bid" goes on without end
    StreamLookupJoin: the rows of the right input by [id::Int64], bounded by the rows of t
    "#);
    assert_snapshot!(state("SELECT t.s, a.category FROM t JOIN auction FOR SYSTEM_TIME AS OF PROCTIME() AS a ON a.id = t.v"), @r#"
    StreamMaterialize: the rows of the view by [], bounded by the rows of its input
    StreamLookupJoin: every row of the right input by [id], unbounded: source "auction" goes on without end
    StreamLookupJoin: what each left row was joined with by [v], bounded by the rows of t
    "#);
}

#[test]
fn joins_by_time_forget_what_is_final_but_for_what_may_still_match() {
    assert_snapshot!(state("SELECT l.ts, r.v FROM timed l ASOF JOIN timed r ON l.k = r.k AND l.ts >= r.ts"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamAsofJoin: the rows of the left input by [k], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the rows of the right input by [k], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the last row of the right input that event time has passed for each (k) by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state("SELECT l.ts, r.v FROM timed l ASOF JOIN timed r ON l.k = r.k AND l.ts < r.ts"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamAsofJoin: the rows of the left input by [k], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the rows of the right input by [k], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the rows of the left input without a match by [k], unbounded: source "timed" goes on without end
    "#);
    assert_snapshot!(state("SELECT l.ts, r.v FROM timed l ASOF JOIN timed r ON l.ts >= r.ts"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamAsofJoin: the rows of the left input by [], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the rows of the right input by [], bounded by the watermark of timed: until event time has passed ts
    StreamAsofJoin: the last row of the right input that event time has passed by [], bounded by one row
    "#);
}

#[test]
fn patterns_are_looked_for_in_all_rows() {
    assert_snapshot!(state("SELECT * FROM timed MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES last(B.v) AS v \
                            PATTERN (A B) DEFINE B AS B.v > A.v)"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "timed" goes on without end
    StreamMatchRecognize: every row of its input by [k], unbounded: source "timed" goes on without end
    "#);
}

#[test]
fn rows_wait_for_event_time_before_they_are_emitted_once() {
    let planned = plan(
        "SELECT window_start, count(*) AS n FROM TUMBLE(timed, ts, INTERVAL '1 minute') \
         GROUP BY window_start EMIT ON WINDOW CLOSE",
    )
    .unwrap();
    assert_snapshot!(state_of(&planned), @r#"
    StreamMaterialize: the rows of the view by [window_start], the result of the query: source "timed" goes on without end
    StreamEmitOnClose: rows by [window_start], bounded by the watermark of timed: until event time has passed window_start
    StreamAggregate: one row for each (window_start) by [window_start], bounded by the watermark of timed: until event time has passed window_start
    "#);
}

#[test]
fn state_over_a_view_that_grows_does_too() {
    assert_snapshot!(state("SELECT auction, count(*) AS n FROM raw GROUP BY auction"), @r#"
    StreamMaterialize: the rows of the view by [auction], the result of the query: view "raw" goes on without end
    StreamAggregate: one row for each (auction) by [auction], unbounded: view "raw" goes on without end
    "#);
    assert_snapshot!(state("SELECT n, count(*) AS m FROM total GROUP BY n"), @"
    StreamMaterialize: the rows of the view by [n], bounded by the rows of total
    StreamAggregate: one row for each (n) by [n], bounded by the rows of total
    ");
    assert_snapshot!(state("SELECT r.price FROM raw r JOIN bid b ON b.price = r.price"), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "bid" and view "raw" go on without end
    StreamHashJoin: every row of the left input by [price], unbounded: view "raw" goes on without end
    StreamHashJoin: every row of the right input by [price], unbounded: source "bid" goes on without end
    "#);
}

#[test]
fn json_has_the_same_with_hints() {
    let planned = plan("SELECT DISTINCT bidder FROM bid").unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&state_json(&planned.stream)).unwrap(), @r#"
    [
      {
        "operator": "StreamMaterialize",
        "keeps": "the rows of the view",
        "key": [
          "bidder"
        ],
        "bound": "the result of the query: source \"bid\" goes on without end",
        "bounded": false,
        "hint": "Rows leave a view by the clock: WHERE ts > now() - INTERVAL '1 day'."
      },
      {
        "operator": "StreamAggregate",
        "keeps": "one row for each (bidder)",
        "key": [
          "bidder"
        ],
        "bound": "unbounded: source \"bid\" goes on without end",
        "bounded": false,
        "hint": "Group by a window of a column with WATERMARK FOR, or leave old rows out below it: WHERE ts > now() - INTERVAL '1 day'."
      }
    ]
    "#);
}

#[test]
fn what_nothing_bounds_goes_by_its_ttl() {
    let with = |options: &str, query: &str| plan_with(&format!("WITH ({options})"), query);
    let shown = |options: &str, query: &str| state_of(&with(options, query).unwrap());
    assert_snapshot!(shown("state_ttl = '1 day'", "SELECT k, count(*) AS n FROM timed GROUP BY k"), @r#"
    StreamMaterialize: the rows of the view by [k], the result of the query: source "timed" goes on without end
    StreamAggregate: one row for each (k) by [k], assumed by state_ttl: until nothing of a group has come for 24:00:00
    "#);
    let pairs = "SELECT a.id, b.price FROM auction a LEFT JOIN bid b ON a.id = b.auction";
    assert_snapshot!(shown("state_ttl = '1 day', state_ttl.bid = '1 hour'", pairs), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: sources "auction" and "bid" go on without end
    StreamHashJoin: the rows of the left input by [id], assumed by state_ttl: until 24:00:00 after a row
    StreamHashJoin: the rows of the right input by [auction], assumed by state_ttl: until 25:00:00 after a row
    "#);
    let to_table = "SELECT b.price, t.v FROM bid b JOIN t ON b.auction = t.id";
    assert_snapshot!(shown("state_ttl = '1 day'", to_table), @r#"
    StreamMaterialize: the rows of the view by [], the result of the query: source "bid" goes on without end
    StreamHashJoin: the rows of the left input by [auction], assumed by state_ttl: until 24:00:00 after a row
    StreamHashJoin: the rows of the right input by [id::Int64], bounded by the rows of t
    "#);
    assert_snapshot!(render_stream(&with("state_ttl = '1 day'", pairs).unwrap().stream).join("\n"), @"
    StreamMaterialize { m: [id, price], key: none }  mode=retract key=none dist=by[0] state=none
      StreamHashJoin { left, on: [id = auction], ttl of left rows: 24:00:00, ttl of right rows: 48:00:00, output: [id, price] }  mode=retract key=none dist=by[0] state=the rows of the left input until 24:00:00 after a row; the rows of the right input until 48:00:00 after a row
        StreamProcTime  mode=append key=none dist=any watermark=[1] state=none
          StreamSource { auction: [id] }  mode=append key=none dist=any state=none
        StreamProcTime  mode=append key=none dist=any watermark=[2] state=none
          StreamSource { bid: [auction, price] }  mode=append key=none dist=any state=none
    ");
    let windows = "SELECT window_start, count(*) AS n FROM TUMBLE(timed, ts, INTERVAL '1 minute') GROUP BY window_start";
    let without = state_of(&plan(windows).unwrap());
    assert_eq!(shown("state_ttl = '1 day'", windows), without, "time bounds it already");
    for (options, query, says) in [
        (
            "state_ttl = '1 day'",
            "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS n FROM timed",
            "the window",
        ),
        (
            "state_ttl = '1 day'",
            "SELECT a.id, b.price FROM auction a FULL JOIN bid b ON a.id = b.auction",
            "both sides",
        ),
        ("state_ttl.bid = '1 day'", pairs, "the side that shows without a match"),
        (
            "state_ttl = '1 day'",
            "SELECT t.v, b.price FROM t LEFT JOIN bid b ON b.auction = t.id",
            "rows of a table show",
        ),
        ("state_ttl = '1 day'", "SELECT count(*) AS n FROM timed GROUP BY k", "does not show"),
        ("state_ttl.t = '1 day'", to_table, "\"t\" alone"),
        ("state_ttl = '1 day', state_ttl_time = 'event'", pairs, "without a watermark"),
    ] {
        let error = with(options, query).map(|planned| state_of(&planned)).unwrap_err();
        assert!(error.message().contains(says), "{query}: {}", error.message());
    }
}
