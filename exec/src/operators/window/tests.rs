//! Σ-delta tests of `Window` against recomputation from scratch.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use proptest::prelude::*;
use weir_common::SqlState;

use super::*;
use crate::expr::{Literal, ScalarExpr};
use crate::spec::{Frame, FrameBound, FrameUnits, SortColumn, WindowCall};
use crate::testing::{DeltaCheck, Harness, Net, Row, Step, changes, net};

const INT: DataType = DataType::Int64;

fn call(function: &str, args: Vec<ScalarExpr>, frame: Frame, result: DataType) -> WindowCall {
    WindowCall { function: function.into(), args, filter: None, frame, result }
}

fn frame(units: FrameUnits, start: FrameBound, end: FrameBound) -> Frame {
    Frame { units, start, end }
}

fn offset(rows: i64) -> (Literal, DataType) {
    (Literal::Int(rows), DataType::UInt64)
}

/// The frame that is meant if none is written.
fn running() -> Frame {
    frame(FrameUnits::Range, FrameBound::UnboundedPreceding, FrameBound::CurrentRow)
}

/// Calls over an input of (partition, key, value).
fn calls() -> Vec<WindowCall> {
    let value = || vec![ScalarExpr::Column(2)];
    let number = |n: i64| ScalarExpr::Literal(Literal::Int(n), INT);
    let (one, _) = offset(1);
    let (two, ty) = offset(2);
    let back = frame(FrameUnits::Rows, FrameBound::Preceding(two, ty.clone()), FrameBound::CurrentRow);
    let around = frame(
        FrameUnits::Groups,
        FrameBound::Preceding(one.clone(), ty.clone()),
        FrameBound::Following(one, ty),
    );
    vec![
        call("row_number", vec![], running(), INT),
        call("rank", vec![], running(), INT),
        call("dense_rank", vec![], running(), INT),
        call("count", value(), running(), INT),
        call("max", value(), back, INT),
        call("count", vec![number(1)], around, INT),
        call("lag", vec![ScalarExpr::Column(2), number(1)], running(), INT),
        call("first_value", value(), running(), INT),
    ]
}

fn spec(partition: &[usize], order: &[SortColumn], chosen: &[usize]) -> NodeSpec {
    let (all, project) = (calls(), vec![2, 0, 1]);
    let calls: Vec<WindowCall> = chosen.iter().map(|call| all[*call].clone()).collect();
    let output = vec![INT; project.len() + calls.len()];
    let operator = OperatorSpec::Window {
        partition: partition.to_vec(),
        order: order.to_vec(),
        calls,
        project,
        closing: None,
    };
    NodeSpec { operator, inputs: vec![vec![INT; 3]], output }
}

fn key_order(a: &Row, b: &Row, descending: bool) -> std::cmp::Ordering {
    let key = |row: &Row| (row[1].is_none(), row[1]);
    let order = key(a).cmp(&key(b));
    if descending { order.reverse() } else { order }
}

fn model(rows: &[Row], partition: &[usize], descending: bool, chosen: &[usize]) -> Net {
    let mut partitions: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        partitions.entry(partition.iter().map(|c| row[*c]).collect()).or_default().push(row);
    }
    let mut result = Net::new();
    for mut rows in partitions.into_values() {
        let whole = |row: &Row| row.iter().map(|cell| (cell.is_none(), *cell)).collect::<Vec<_>>();
        rows.sort_by(|a, b| key_order(a, b, descending).then_with(|| whole(a).cmp(&whole(b))));
        let mut groups = vec![0usize; rows.len()];
        for i in 1..rows.len() {
            groups[i] = groups[i - 1] + usize::from(key_order(rows[i - 1], rows[i], descending).is_ne());
        }
        for (i, row) in rows.iter().enumerate() {
            let first_peer = groups.iter().position(|group| *group == groups[i]).unwrap();
            let running = groups.iter().take_while(|group| **group <= groups[i]).count();
            let seen = rows[..running].iter().filter(|row| row[2].is_some()).count();
            let around = groups.iter().filter(|group| group.abs_diff(groups[i]) <= 1).count();
            let show = |cell: Option<i64>| cell.map_or(".".to_string(), |value| value.to_string());
            let count = |count: usize| count.to_string();
            let mut cells = vec![show(row[2]), show(row[0]), show(row[1])];
            let results = [
                count(i + 1),
                count(first_peer + 1),
                count(groups[i] + 1),
                count(seen),
                show(rows[i.saturating_sub(2)..=i].iter().filter_map(|row| row[2]).max()),
                count(around),
                show(i.checked_sub(1).and_then(|i| rows[i][2])),
                show(rows[0][2]),
            ];
            cells.extend(chosen.iter().map(|call| results[*call].clone()));
            *result.entry(cells).or_default() += 1;
        }
    }
    result
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (0..bound).prop_map(Some)];
    let row = (cell(2), cell(4), cell(6)).prop_map(|(a, b, c)| vec![a, b, c]);
    let step = prop_oneof![
        8 => row.prop_map(|row| Step::Insert(0, row)),
        6 => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changing_input_gives_the_recomputed_results(
        partition in prop_oneof![Just(vec![]), Just(vec![0])], descending: bool, steps in steps(),
        // All calls, or those that look at a few rows around.
        chosen in prop_oneof![Just(vec![0, 1, 2, 3, 4, 5, 6, 7]), Just(vec![4, 6]), Just(vec![6])],
        batch_rows in 1usize..20, shuffle: u64,
    ) {
        let order = [SortColumn { column: 1, descending, nulls_first: descending }];
        let mut harness = Harness::new(spec(&partition, &order, &chosen), vec![partition.clone()], 3).unwrap();
        harness.fuel = 3;
        let model = |rows: &[Vec<Row>]| Ok(model(&rows[0], &partition, descending, &chosen));
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
    }
}

/// One call over (k, v) without partitions, ordered by k.
fn single(function: &str, args: Vec<ScalarExpr>, value: &DataType, result: DataType) -> Harness {
    let operator = OperatorSpec::Window {
        partition: vec![],
        order: vec![SortColumn { column: 0, descending: false, nulls_first: false }],
        calls: vec![call(function, args, running(), result.clone())],
        project: vec![0],
        closing: None,
    };
    let spec = NodeSpec { operator, inputs: vec![vec![INT, value.clone()]], output: vec![INT, result] };
    Harness::new(spec, vec![vec![]], 1).unwrap()
}

fn epoch(harness: &mut Harness, text: &str, value: &DataType) -> Result<Net> {
    harness.output.clear();
    harness.push(0, &changes(text, &[INT, value.clone()])?)?;
    harness.end_epoch()?;
    net(&harness.output)
}

#[test]
fn only_rows_whose_results_differ_are_emitted() {
    let mut numbers = single("row_number", vec![], &INT, INT);
    epoch(&mut numbers, "+ 1 0\n+ 3 0\n+ 4 0", &INT).unwrap();
    epoch(&mut numbers, "+ 5 0", &INT).unwrap();
    assert_eq!(numbers.output.iter().map(ChangeBatch::len).sum::<usize>(), 1);
    let shifted = changes("+ 2 2\n- 3 2\n+ 3 3\n- 4 3\n+ 4 4\n- 5 4\n+ 5 5", &[INT, INT]).unwrap();
    assert_eq!(epoch(&mut numbers, "+ 2 0", &INT).unwrap(), net(&[shifted]).unwrap());
}

#[test]
fn float_sums_cancel_exactly_after_a_restart() {
    let float = DataType::Float64;
    let mut sums = single("sum", vec![ScalarExpr::Column(1)], &float, float.clone());
    epoch(&mut sums, "+ 1 0.1\n+ 2 0.2\n+ 3 1e17\n+ 4 NaN", &float).unwrap();
    let mut all = std::mem::take(&mut sums.output);
    sums.restart(1).unwrap();
    epoch(&mut sums, "- 1 0.1\n- 2 0.2\n- 3 1e17\n- 4 NaN", &float).unwrap();
    all.append(&mut sums.output);
    assert_eq!(net(&all).unwrap(), Net::new());
    sums.checkpoint().unwrap();
    assert!(sums.state.entries.is_empty());
}

#[test]
fn large_partitions_leave_in_bounded_batches() {
    let mut numbers = single("row_number", vec![], &INT, INT);
    let text: String = (0..20_000).map(|i| format!("+ {i} 0\n")).collect();
    epoch(&mut numbers, &text, &INT).unwrap();
    assert!(numbers.output.iter().all(|batch| batch.len() <= BATCH_ROWS));
    assert_eq!(numbers.output.iter().map(ChangeBatch::len).sum::<usize>(), 20_000);
}

#[test]
fn a_delete_without_an_insert_is_noticed() {
    let mut numbers = single("row_number", vec![], &INT, INT);
    assert_eq!(epoch(&mut numbers, "- 1 1", &INT).unwrap_err().state(), SqlState::INTERNAL_ERROR);
}
