//! Σ-delta tests of `Session` against recomputation from scratch.

use std::collections::BTreeMap;

use arrow::datatypes::{IntervalUnit, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::build::build;
use crate::spec::{Frame, FrameBound, FrameUnits};
use crate::testing::{DeltaCheck, Harness, Net, Row, Step, changes, net};

const INT: DataType = DataType::Int64;
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const GAP: i64 = 5;

/// Sessions over (key, time, value); output: value, key, time, bounds.
fn spec(partition: &[usize], bounds: &[SessionBound]) -> NodeSpec {
    let gap = Literal::Interval { months: 0, days: 0, nanos: GAP * 1000 };
    let gap = ScalarExpr::Literal(gap, DataType::Interval(IntervalUnit::MonthDayNano));
    let frame = Frame {
        units: FrameUnits::Range,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::CurrentRow,
    };
    let call = |bound: &SessionBound| WindowCall {
        function: bound.function().into(),
        args: vec![ScalarExpr::Column(1), gap.clone()],
        filter: None,
        frame: frame.clone(),
        result: TIME,
    };
    let mut output = vec![INT, INT, TIME];
    output.extend(bounds.iter().map(|_| TIME));
    let operator = OperatorSpec::Window {
        partition: partition.to_vec(),
        order: vec![SortColumn { column: 1, descending: false, nulls_first: false }],
        calls: bounds.iter().map(call).collect(),
        project: vec![2, 0, 1],
        closing: None,
    };
    NodeSpec { operator, inputs: vec![vec![INT, TIME, INT]], output }
}

fn shown(time: i64) -> String {
    let column = changes(&format!("+ {time}"), &[TIME]).unwrap();
    net(&[column]).unwrap().into_keys().next().unwrap().remove(0)
}

/// Each row's session is found by looking at all rows again and again.
fn model(rows: &[Row], partition: &[usize], bounds: &[SessionBound]) -> Net {
    let mut partitions: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        partitions.entry(partition.iter().map(|c| row[*c]).collect()).or_default().push(row);
    }
    let mut result = Net::new();
    for rows in partitions.into_values() {
        let times: Vec<i64> = rows.iter().map(|row| row[1].unwrap()).collect();
        for row in rows {
            let (mut first, mut last) = (row[1].unwrap(), row[1].unwrap());
            loop {
                let near = |time: &&i64| (first - GAP..=last + GAP).contains(*time);
                let reached: Vec<i64> = times.iter().filter(near).copied().collect();
                let (start, end) = (*reached.iter().min().unwrap(), *reached.iter().max().unwrap());
                if (start, end) == (first, last) {
                    break;
                }
                (first, last) = (start, end);
            }
            let cell = |cell: Option<i64>| cell.map_or(".".to_string(), |value| value.to_string());
            let mut cells = vec![cell(row[2]), cell(row[0]), shown(row[1].unwrap())];
            cells.extend(bounds.iter().map(|bound| match bound {
                SessionBound::Start => shown(first),
                SessionBound::End => shown(last + GAP),
            }));
            *result.entry(cells).or_default() += 1;
        }
    }
    result
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop_oneof![1 => Just(None), 6 => (0..2i64).prop_map(Some)];
    let row = (key, -20..40i64, 0..2i64).prop_map(|(key, time, value)| vec![key, Some(time), Some(value)]);
    let step = prop_oneof![
        8 => row.prop_map(|row| Step::Insert(0, row)),
        6 => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn sessions_merge_and_split_as_if_computed_anew(
        partition in prop_oneof![Just(vec![]), Just(vec![0])],
        bounds in prop_oneof![
            Just(vec![SessionBound::Start, SessionBound::End]),
            Just(vec![SessionBound::Start]),
            Just(vec![SessionBound::End]),
        ],
        steps in steps(), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let mut harness = Harness::new(spec(&partition, &bounds), vec![partition.clone()], 3).unwrap();
        harness.fuel = 3;
        let model = |rows: &[Vec<Row>]| Ok(model(&rows[0], &partition, &bounds));
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
    }
}

fn both() -> Harness {
    Harness::new(spec(&[0], &[SessionBound::Start, SessionBound::End]), vec![vec![0]], 1).unwrap()
}

fn emitted(harness: &mut Harness, text: &str) -> usize {
    harness.output.clear();
    harness.push(0, &changes(text, &[INT, TIME, INT]).unwrap()).unwrap();
    harness.end_epoch().unwrap();
    harness.output.iter().map(ChangeBatch::len).sum()
}

#[test]
fn only_the_sessions_around_a_change_are_emitted() {
    let mut sessions = both();
    let far: String = (0..5000).map(|i| format!("+ 1 {} 0\n", i * 100)).collect();
    assert_eq!(emitted(&mut sessions, &far), 5000);
    assert_eq!(
        emitted(&mut sessions, "+ 1 202 0"),
        3,
        "one row is taken back and emitted anew beside the new one"
    );
    assert_eq!(emitted(&mut sessions, "+ 1 201 0"), 1, "the bounds stay");
    assert_eq!(emitted(&mut sessions, "- 1 201 0\n+ 1 201 7"), 2);
    assert_eq!(emitted(&mut sessions, "+ 1 301 0\n- 1 301 0"), 0);
    assert_eq!(emitted(&mut sessions, "- 1 202 0"), 5);
}

#[test]
fn long_sessions_leave_in_bounded_batches() {
    let mut sessions = both();
    let text: String = (0..20_000).map(|i| format!("+ 1 {i} 0\n")).collect();
    assert_eq!(emitted(&mut sessions, &text), 20_000);
    assert_eq!(emitted(&mut sessions, "- 1 10000 0"), 1, "the neighbours are close enough");
    let gone: String = (10_001..10_006).map(|i| format!("- 1 {i} 0\n")).collect();
    assert_eq!(emitted(&mut sessions, &gone), 5 + 2 * (20_000 - 6));
    assert!(sessions.output.iter().all(|batch| batch.len() <= BATCH_ROWS));
}

#[test]
fn a_malformed_specification_is_noticed() {
    let mut other = spec(&[0], &[SessionBound::Start]);
    let OperatorSpec::Window { order, .. } = &mut other.operator else { panic!("not a window") };
    order[0].column = 2;
    assert!(build(&other).is_err());
}
