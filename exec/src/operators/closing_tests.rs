//! Operators that forget what event time has left behind: what they emit is what they would emit if they kept it all, as
//! long as rows come on time; and what they keep does not grow.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use weir_common::ChangeBatch;
use weir_common::seam::Rng;

use crate::expr::{BinaryOp, Literal, ScalarExpr};
use crate::spec::{
    AggregateCall, AggregateFunction, AsofJoinSpec, ChangelogMode, Frame, FrameBound, FrameUnits, JoinKind,
    Nearest, NodeSpec, Numbering, OperatorSpec, RowBounds, RowClosing, SortColumn, WindowCall,
};
use crate::testing::{Harness, changes, net};

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const INT: DataType = DataType::Int64;
const TYPES: [DataType; 3] = [TIME, INT, INT];

/// A specification with its way to forget, and the same without.
struct Case {
    closing: NodeSpec,
    keeping: NodeSpec,
    exchange: Vec<Vec<usize>>,
    /// The operator is told a watermark so far behind that of the rows.
    behind: i64,
    /// How many rows it keeps when event time has passed all rows; given those of each input.
    kept: fn(&[Vec<[i64; 3]>]) -> usize,
}

/// All rows are forgotten.
fn none(_: &[Vec<[i64; 3]>]) -> usize {
    0
}

/// Runs random rows that are on time through both: their output is the same after each epoch.
fn check(case: &Case, seed: u64, deletes: bool) {
    let mut rng = Rng::seeded(seed);
    let workers = 1 + rng.below(3) as usize;
    let open = |spec: &NodeSpec| Harness::new(spec.clone(), case.exchange.clone(), workers).unwrap();
    let (mut closing, mut keeping) = (open(&case.closing), open(&case.keeping));
    let ports = case.exchange.len();
    let (mut watermark, mut live) = (1_000i64, vec![Vec::<[i64; 3]>::new(); ports]);
    for _ in 0..25 {
        for (port, rows) in live.iter_mut().enumerate() {
            let mut lines = Vec::new();
            for _ in 0..rng.below(6) {
                let time = (watermark + rng.below(40) as i64 + 9) / 10 * 10;
                let row = [time, rng.below(3) as i64, rng.below(4) as i64];
                lines.push(format!("+ {} {} {}", row[0], row[1], row[2]));
                rows.push(row);
            }
            rows.retain(|row| {
                let goes = deletes && row[0] >= watermark && rng.below(4) == 0;
                if goes {
                    lines.push(format!("- {} {} {}", row[0], row[1], row[2]));
                }
                !goes
            });
            if !lines.is_empty() {
                let mut batch = changes(&lines.join("\n"), &TYPES).unwrap();
                if !deletes {
                    batch = ChangeBatch::inserts(batch.rows);
                }
                closing.push(port, &batch).unwrap();
                keeping.push(port, &batch).unwrap();
            }
        }
        if rng.below(3) > 0 {
            watermark += rng.below(25) as i64;
        }
        closing.advance(watermark - case.behind);
        closing.end_epoch().unwrap();
        keeping.end_epoch().unwrap();
        assert_eq!(net(&closing.output).unwrap(), net(&keeping.output).unwrap(), "seed {seed}");
        match rng.below(6) {
            0 => closing.checkpoint().unwrap(),
            1 => {
                closing.restart(1 + rng.below(3) as usize).unwrap();
                closing.advance(watermark - case.behind);
            }
            _ => {}
        }
    }
    // Long after the last row nothing else is left, also on disk.
    closing.advance(watermark + 10_000);
    closing.end_epoch().unwrap();
    closing.checkpoint().unwrap();
    closing.checkpoint().unwrap();
    assert_eq!(closing.state.entries.len(), (case.kept)(&live), "seed {seed}: entries are left");
}

fn run(case: &Case, deletes: bool) {
    (0..40).for_each(|seed| check(case, seed, deletes));
}

fn call(function: AggregateFunction, arg: Option<usize>, distinct: bool, result: DataType) -> AggregateCall {
    AggregateCall {
        function,
        args: arg.into_iter().collect(),
        order: Vec::new(),
        filter: None,
        distinct,
        result,
    }
}

fn grouped(closing: NodeSpec, keeping: NodeSpec) -> Case {
    Case { closing, keeping, exchange: vec![vec![0, 1]], behind: 0, kept: none }
}

#[test]
fn an_aggregate_forgets_groups() {
    use AggregateFunction::{Avg, Count, Max, Min, Sum};
    let numeric = DataType::Decimal128(38, 0);
    for mode in [ChangelogMode::Retract, ChangelogMode::AppendOnly] {
        let calls = vec![
            call(Count, None, false, INT),
            call(Sum, Some(2), false, numeric.clone()),
            call(Avg, Some(2), false, DataType::Decimal128(38, 20)),
            call(Min, Some(2), false, INT),
            call(Max, Some(2), false, INT),
            call(Count, Some(2), true, INT),
            call(Sum, Some(2), true, numeric.clone()),
            call(AggregateFunction::Mode, Some(2), false, INT),
        ];
        let output =
            [TIME, INT].into_iter().chain(calls.iter().map(|c| c.result.clone())).collect::<Vec<_>>();
        let spec = |closing| NodeSpec {
            operator: OperatorSpec::Aggregate {
                group: vec![0, 1],
                calls: calls.clone(),
                input_mode: mode,
                closing,
                ttl: None,
            },
            inputs: vec![TYPES.to_vec()],
            output: output.clone(),
        };
        run(&grouped(spec(Some(0)), spec(None)), mode == ChangelogMode::Retract);
    }
}

#[test]
fn a_top_n_forgets_partitions() {
    for mode in [ChangelogMode::Retract, ChangelogMode::AppendOnly] {
        let spec = |closing| NodeSpec {
            operator: OperatorSpec::TopN {
                partition: vec![0, 1],
                order: vec![SortColumn { column: 2, descending: true, nulls_first: false }],
                bounds: RowBounds { numbering: Numbering::Row, skip: 0, last: Some(2) },
                project: vec![0, 1, 2],
                numbered: true,
                input_mode: mode,
                closing,
            },
            inputs: vec![TYPES.to_vec()],
            output: vec![TIME, INT, INT, INT],
        };
        run(&grouped(spec(Some(0)), spec(None)), mode == ChangelogMode::Retract);
    }
}

fn window(partition: Vec<usize>, order: usize, calls: Vec<WindowCall>, closing: Option<usize>) -> NodeSpec {
    let output = TYPES.iter().cloned().chain(calls.iter().map(|c| c.result.clone())).collect();
    let order = vec![SortColumn { column: order, descending: false, nulls_first: false }];
    let operator = OperatorSpec::Window { partition, order, calls, project: vec![0, 1, 2], closing };
    NodeSpec { operator, inputs: vec![TYPES.to_vec()], output }
}

fn whole_partition() -> Frame {
    Frame {
        units: FrameUnits::Rows,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::UnboundedFollowing,
    }
}

#[test]
fn a_window_forgets_partitions() {
    let call = || WindowCall {
        function: "count".into(),
        args: vec![ScalarExpr::Column(2)],
        filter: None,
        frame: whole_partition(),
        result: INT,
    };
    let spec = |closing| window(vec![0, 1], 2, vec![call()], closing);
    run(&grouped(spec(Some(0)), spec(None)), true);
}

/// A gap of 15: the row after one at t that does not join its session comes after t + 15.
#[test]
fn sessions_are_forgotten() {
    let gap = Literal::Interval { months: 0, days: 0, nanos: 15_000 };
    let gap = ScalarExpr::Literal(gap, DataType::Interval(IntervalUnit::MonthDayNano));
    let call = |function: &str| WindowCall {
        function: function.into(),
        args: vec![ScalarExpr::Column(0), gap.clone()],
        filter: None,
        frame: whole_partition(),
        result: TIME,
    };
    let spec = window(vec![1], 0, vec![call("session_start"), call("session_end")], None);
    let case = Case { closing: spec.clone(), keeping: spec, exchange: vec![vec![1]], behind: 15, kept: none };
    (0..40).for_each(|seed| check(&case, seed, true));
}

/// `l.k = r.k AND l.ts BETWEEN r.ts - 20 AND r.ts + 10`.
fn interval_join(kind: JoinKind, modes: ChangelogMode, closes: bool) -> NodeSpec {
    let shifted = |column: usize, function: &str, micros: i64| ScalarExpr::Call {
        function: function.into(),
        args: vec![
            ScalarExpr::Column(column),
            ScalarExpr::Literal(
                Literal::Interval { months: 0, days: 0, nanos: micros * 1_000 },
                DataType::Interval(IntervalUnit::MonthDayNano),
            ),
        ],
        ty: TIME,
    };
    let compare =
        |op, right| ScalarExpr::Binary { op, left: Box::new(ScalarExpr::Column(0)), right: Box::new(right) };
    let filter = ScalarExpr::Binary {
        op: BinaryOp::And,
        left: Box::new(compare(BinaryOp::GtEq, shifted(3, "timestamp_mi_interval", 20))),
        right: Box::new(compare(BinaryOp::LtEq, shifted(3, "timestamp_pl_interval", 10))),
    };
    // r.ts <= l.ts + 20, l.ts <= r.ts + 10; what left rows count their matches by stays as long as they do.
    let of_right = if kind == JoinKind::Left { 30 } else { 10 };
    let closing = [20, of_right].map(|keep_micros| closes.then_some(RowClosing { column: 0, keep_micros }));
    let operator = OperatorSpec::HashJoin {
        kind,
        left_keys: vec![1],
        right_keys: vec![1],
        null_equal: vec![false],
        filter: Some(filter),
        project: vec![0, 1, 2, 3, 5],
        left_mode: modes,
        right_mode: modes,
        shared: None,
        closing,
    };
    NodeSpec { operator, inputs: vec![TYPES.to_vec(); 2], output: vec![TIME, INT, INT, TIME, INT] }
}

#[test]
fn an_interval_join_forgets_rows() {
    for (kind, mode) in [
        (JoinKind::Inner, ChangelogMode::AppendOnly),
        (JoinKind::Inner, ChangelogMode::Retract),
        (JoinKind::Left, ChangelogMode::Retract),
    ] {
        let [closing, keeping] = [true, false].map(|closes| interval_join(kind, mode, closes));
        let case = Case { closing, keeping, exchange: vec![vec![1], vec![1]], behind: 0, kept: none };
        run(&case, mode == ChangelogMode::Retract);
    }
}

#[test]
fn a_join_of_windows_forgets_rows() {
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti] {
        let spec = |closes: bool| {
            let project = if kind.emits_pairs() { vec![0, 1, 2, 5] } else { vec![0, 1, 2] };
            let output = project.iter().map(|c| TYPES[c % 3].clone()).collect();
            let closing = closes.then_some(RowClosing { column: 0, keep_micros: 0 });
            let operator = OperatorSpec::HashJoin {
                kind,
                left_keys: vec![0, 1],
                right_keys: vec![0, 1],
                null_equal: vec![false; 2],
                filter: None,
                project,
                left_mode: ChangelogMode::Retract,
                right_mode: ChangelogMode::Retract,
                shared: None,
                closing: [closing, closing],
            };
            NodeSpec { operator, inputs: vec![TYPES.to_vec(); 2], output }
        };
        let case = Case {
            closing: spec(true),
            keeping: spec(false),
            exchange: vec![vec![0, 1]; 2],
            behind: 0,
            kept: none,
        };
        run(&case, true);
    }
}

/// Of the right rows of a key, each a version, the latest stays.
fn latest_versions(live: &[Vec<[i64; 3]>]) -> usize {
    live[1].iter().map(|row| row[1]).collect::<BTreeSet<_>>().len()
}

/// Left rows stay that no right row at their time or after it matches.
fn unmatched(live: &[Vec<[i64; 3]>]) -> usize {
    let is_match = |left: &[i64; 3], right: &[i64; 3]| left[1] == right[1] && left[0] <= right[0];
    let lefts = live[0].iter().filter(|left| !live[1].iter().any(|right| is_match(left, right)));
    lefts.collect::<BTreeSet<_>>().len()
}

/// The same where a right row of the same time does not match.
fn unmatched_before(live: &[Vec<[i64; 3]>]) -> usize {
    let earlier = live[0].iter().map(|[time, key, value]| [time + 1, *key, *value]).collect();
    unmatched(&[earlier, live[1].clone()])
}

#[test]
fn an_asof_join_forgets_rows() {
    for (nearest, kept) in [
        (Nearest::AtOrBefore, latest_versions as fn(&[Vec<[i64; 3]>]) -> usize),
        (Nearest::Before, latest_versions),
        (Nearest::AtOrAfter, unmatched),
        (Nearest::After, unmatched_before),
    ] {
        for (outer, deletes) in [(true, true), (false, true), (true, false)] {
            let operator = OperatorSpec::AsofJoin(AsofJoinSpec {
                outer,
                left_keys: vec![1],
                right_keys: vec![1],
                left_time: 0,
                right_time: 0,
                nearest,
                project: vec![0, 1, 2, 3, 5],
            });
            let output = vec![TIME, INT, INT, TIME, INT];
            let keeping = NodeSpec { operator, inputs: vec![TYPES.to_vec(); 2], output };
            let case =
                Case { closing: keeping.clone(), keeping, exchange: vec![vec![1]; 2], behind: 0, kept };
            run(&case, deletes);
        }
    }
}
