//! Windows of time in stream plans: what they are over can be read from the plan.

use insta::assert_snapshot;

use super::sql::stream;

#[test]
fn tumbling_windows_are_computed_beside_the_rows() {
    let query = "SELECT auction, window_start, window_end, count(*) AS n \
                 FROM TUMBLE(bid, date_time, INTERVAL '1 minute') GROUP BY auction, window_start, window_end";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [auction, window_start, window_end, n], key: [auction, window_start, window_end] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=none
      StreamAggregate { group: [auction, window_start, window_end], calls: [count(*)] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=unbounded: the aggregate keeps one row for each (auction, window_start, window_end), and source "bid" goes on without end
        StreamCalc { project: [auction, window_start, timestamp_pl_interval(window_start, INTERVAL '60 seconds') AS window_end] }  mode=append key=none dist=any state=none
          StreamCalc { filter: date_time IS NOT NULL, project: [auction, tumble_start(date_time, INTERVAL '60 seconds', INTERVAL '0 seconds') AS window_start] }  mode=append key=none dist=any state=none
            StreamSource { bid: [auction, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn a_group_window_is_planned_as_the_window_in_from() {
    let in_from = "SELECT window_end, max(price) AS price FROM TUMBLE(bid, date_time, INTERVAL '10 s') \
                   GROUP BY window_start, window_end";
    let grouped = "SELECT TUMBLE_END(date_time, INTERVAL '10 s') AS window_end, max(price) AS price \
                   FROM bid GROUP BY TUMBLE(date_time, INTERVAL '10 s')";
    assert!(stream(in_from).contains("tumble_start(date_time, INTERVAL '10 seconds', INTERVAL '0 seconds')"));
    assert_snapshot!(stream(grouped), @r#"
    StreamMaterialize { m: [window_end, price], key: none }  mode=retract key=none dist=by[0, 1] state=none
      StreamCalc { project: [timestamp_pl_interval(window_start, INTERVAL '10 seconds') AS window_end, max] }  mode=retract key=none dist=any state=none
        StreamAggregate { group: [window_start], calls: [max(price)] }  mode=retract key=[0] dist=by[0] state=unbounded: the aggregate keeps one row for each (window_start), and source "bid" goes on without end
          StreamCalc { filter: date_time IS NOT NULL, project: [tumble_start(date_time, INTERVAL '10 seconds', INTERVAL '0 seconds') AS window_start, price] }  mode=append key=none dist=any state=none
            StreamSource { bid: [price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn hopping_windows_are_a_list_of_starts() {
    let query = "SELECT auction, window_start, sum(price::float8) AS sum \
                 FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY auction, window_start";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [auction, window_start, sum], key: [auction, window_start] }  mode=retract key=[0, 1] dist=by[0, 1] state=none
      StreamAggregate { group: [auction, window_start], calls: [sum(price::Float64)] }  mode=retract key=[0, 1] dist=by[0, 1] state=unbounded: the aggregate keeps one row for each (auction, window_start), and source "bid" goes on without end
        StreamCalc { project: [auction, window_start, price::Float64] }  mode=append key=none dist=any state=none
          StreamUnnest { lists: [hop_starts(date_time, INTERVAL '2 seconds', INTERVAL '10 seconds', INTERVAL '0 seconds')], output: [auction, price, window_start] }  mode=append key=none dist=any state=none
            StreamCalc { filter: date_time IS NOT NULL, project: [auction, price, date_time] }  mode=append key=none dist=any state=none
              StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn aggregates_of_hopping_windows_go_by_slices() {
    let query = "SELECT auction, window_end, count(*) AS n, avg(price) AS average, max(price) AS top \
                 FROM HOP(bid, date_time, INTERVAL '4 seconds', INTERVAL '10 seconds') WHERE window_start > '2024-01-01' \
                 GROUP BY auction, window_start, window_end";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [auction, window_end, n, average, top], key: none }  mode=retract key=none dist=by[0, 1, 2, 3, 4] state=none
      StreamCalc { project: [auction, window_end, partial_count AS count, numeric_div(partial_sum, partial_count::Decimal128(38, 0)) AS avg, partial_max AS max] }  mode=retract key=none dist=any state=none
        StreamAggregate { group: [auction, window_start, window_end], calls: [sum(partial_count), sum(partial_sum), sum(partial_count), highest(partial_max)] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=unbounded: the aggregate keeps one row for each (auction, window_start, window_end), and source "bid" goes on without end
          StreamCalc { filter: window_start > '2024-01-01 00:00:00', project: [auction, window_start, timestamp_pl_interval(window_start, INTERVAL '10 seconds') AS window_end, partial_count, partial_sum, partial_count, partial_max] }  mode=retract key=none dist=any state=none
            StreamUnnest { lists: [hop_starts(slice_start, INTERVAL '4 seconds', INTERVAL '10 seconds', INTERVAL '0 seconds')], output: [auction, partial_count, partial_sum, partial_count, partial_max, window_start] }  mode=retract key=none dist=any state=none
              StreamAggregate { group: [auction, slice_start], calls: [count(*), sum(price), count(price), max(price)] }  mode=retract key=[0, 1] dist=by[0, 1] state=unbounded: the aggregate keeps one row for each (auction, slice_start), and source "bid" goes on without end
                StreamCalc { filter: date_time IS NOT NULL, project: [auction, tumble_start(date_time, INTERVAL '2 seconds', INTERVAL '0 seconds') AS slice_start, price] }  mode=append key=none dist=any state=none
                  StreamSource { bid: [auction, price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn what_makes_more_slices_than_windows_or_reads_row_and_window_does_not_go_by_slices() {
    for (spans, sum) in [
        ("'4 seconds', INTERVAL '9 seconds'", "price"),
        ("'7 seconds', INTERVAL '5 seconds'", "price"),
        ("'2 seconds', INTERVAL '10 seconds'", "extract(second FROM date_time - window_start)::int"),
    ] {
        let query = format!(
            "SELECT window_start, sum({sum}) AS sum FROM HOP(bid, date_time, INTERVAL {spans}) GROUP BY window_start"
        );
        assert!(!stream(&query).contains("slice_start"), "{query}");
    }
}

#[test]
fn cumulating_windows_are_a_list_of_ends() {
    let query = "SELECT window_start, window_end, sum(price) AS price \
                 FROM CUMULATE(bid, date_time, INTERVAL '1 hour', INTERVAL '1 day') GROUP BY window_start, window_end";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [window_start, window_end, price], key: [window_start, window_end] }  mode=retract key=[0, 1] dist=by[0, 1] state=none
      StreamAggregate { group: [window_start, window_end], calls: [sum(price)] }  mode=retract key=[0, 1] dist=by[0, 1] state=unbounded: the aggregate keeps one row for each (window_start, window_end), and source "bid" goes on without end
        StreamCalc { project: [tumble_start(date_time, INTERVAL '1 days', INTERVAL '0 seconds') AS window_start, window_end, price] }  mode=append key=none dist=any state=none
          StreamUnnest { lists: [cumulate_ends(date_time, INTERVAL '3600 seconds', INTERVAL '1 days', INTERVAL '0 seconds')], output: [price, date_time, window_end] }  mode=append key=none dist=any state=none
            StreamCalc { filter: date_time IS NOT NULL, project: [price, date_time] }  mode=append key=none dist=any state=none
              StreamSource { bid: [price, date_time] }  mode=append key=none dist=any state=none
    "#);
}

#[test]
fn sessions_are_window_functions() {
    let query = "SELECT bidder, window_start, window_end, count(*) AS n \
                 FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 s') GROUP BY bidder, window_start, window_end";
    assert_snapshot!(stream(query), @r#"
    StreamMaterialize { m: [bidder, window_start, window_end, n], key: [bidder, window_start, window_end] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=none
      StreamAggregate { group: [bidder, window_start, window_end], calls: [count(*)] }  mode=retract key=[0, 1, 2] dist=by[0, 1, 2] state=unbounded: the aggregate keeps one row for each (bidder, window_start, window_end), and source "bid" goes on without end
        StreamWindow { partition: [bidder], order: [date_time], calls: [session_start(date_time, INTERVAL '10 seconds'), session_end(date_time, INTERVAL '10 seconds')], output: [bidder] }  mode=retract key=none dist=by[0] state=unbounded: the window keeps every row of its input, and source "bid" goes on without end
          StreamCalc { filter: date_time IS NOT NULL, project: [bidder, date_time] }  mode=append key=none dist=any state=none
            StreamSource { bid: [bidder, date_time] }  mode=append key=none dist=any state=none
    "#);
}
