//! Σ-delta tests of `HashJoin` against nested loops.

use proptest::prelude::*;

use super::*;
use crate::expr::{BinaryOp, ScalarExpr};
use crate::operators::BATCH_ROWS;
use crate::spec::{ChangelogMode, JoinKind};
use crate::testing::{DeltaCheck, Durable, Harness, Net, Row, Step, changes, net};

const INTS: [DataType; 3] = [DataType::Int64, DataType::Int64, DataType::Int64];

/// left(key, key, a, text) ⋈ right(key, key, b), on `keys` columns, with a filter a < b or without.
fn spec(
    key: &DataType,
    keys: usize,
    filtered: bool,
    project: &[usize],
    modes: [ChangelogMode; 2],
) -> NodeSpec {
    let inputs = vec![
        vec![key.clone(), key.clone(), DataType::Int64, DataType::Utf8],
        vec![key.clone(), key.clone(), DataType::Int64],
    ];
    let less = || ScalarExpr::Binary {
        op: BinaryOp::Lt,
        left: Box::new(ScalarExpr::Column(2)),
        right: Box::new(ScalarExpr::Column(6)),
    };
    let operator = OperatorSpec::HashJoin {
        kind: JoinKind::Inner,
        null_equal: vec![false; keys],
        left_keys: (0..keys).collect(),
        right_keys: (0..keys).rev().collect(),
        filter: filtered.then(less),
        project: project.to_vec(),
        left_mode: modes[0],
        right_mode: modes[1],
        shared: None,
        closing: [None, None],
    };
    let output = project.iter().map(|column| inputs.iter().flatten().nth(*column).unwrap().clone()).collect();
    NodeSpec { operator, inputs, output }
}

fn exchange(keys: usize) -> Vec<Vec<usize>> {
    vec![(0..keys).collect(), (0..keys).rev().collect()]
}

fn model(inputs: &[Vec<Row>], keys: usize, filtered: bool, project: &[usize]) -> Net {
    let mut net = Net::new();
    for left in &inputs[0] {
        for right in &inputs[1] {
            let equal = (0..keys).all(|k| left[k].is_some() && left[k] == right[keys - 1 - k]);
            let passes = !filtered || matches!((left[2], right[2]), (Some(a), Some(b)) if a < b);
            if equal && passes {
                let joined: Row = left.iter().chain(right).copied().collect();
                let show =
                    |column: &usize| joined[*column].map_or(".".to_string(), |value| value.to_string());
                *net.entry(project.iter().map(show).collect()).or_default() += 1;
            }
        }
    }
    net
}

fn steps(deletes: u32) -> impl Strategy<Value = Vec<Step>> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 8 => (0..bound).prop_map(Some)];
    let row = (0usize..2, cell(3), cell(2), cell(4), cell(3)).prop_map(|(port, a, b, c, d)| {
        Step::Insert(port, if port == 0 { vec![a, b, c, d] } else { vec![b, a, c] })
    });
    let step = prop_oneof![
        8 => row,
        deletes => (0usize..2, any::<usize>()).prop_map(|(port, at)| Step::Delete(port, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
        2 => prop::sample::select(&Durable::ALL[..]).prop_map(Step::Shed),
    ];
    prop::collection::vec(step, 0..80)
}

fn projections() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![0, 2, 6]),
        Just(vec![3, 4, 1]),
        Just(vec![6, 5, 4, 3, 2, 1, 0]),
        Just(vec![2]),
        Just(vec![])
    ]
}

fn key_types() -> impl Strategy<Value = DataType> {
    prop_oneof![Just(DataType::Int64), Just(DataType::Utf8), Just(DataType::Decimal128(38, 0))]
}

struct Case {
    key: DataType,
    keys: usize,
    filtered: bool,
    project: Vec<usize>,
    modes: [ChangelogMode; 2],
}

fn check(case: Case, steps: &[Step], batch_rows: usize, shuffle: u64) {
    let Case { key, keys, filtered, project, modes } = case;
    let spec = spec(&key, keys, filtered, &project, modes);
    let mut harness = Harness::new(spec, exchange(keys), 2).unwrap();
    harness.fuel = 2;
    let model = |inputs: &[Vec<Row>]| Ok(model(inputs, keys, filtered, &project));
    DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(steps).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changing_inputs_give_the_pairs_of_nested_loops(
        key in key_types(), keys in 1usize..3, filtered: bool, project in projections(),
        steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let modes = [ChangelogMode::Retract; 2];
        check(Case { key, keys, filtered, project, modes }, &steps, batch_rows, shuffle);
    }

    #[test]
    fn one_growing_input_gives_the_pairs_of_nested_loops(
        key in key_types(), growing in 0usize..2, project in projections(),
        steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let steps: Vec<Step> =
            steps.into_iter().filter(|step| !matches!(step, Step::Delete(port, _) if *port == growing)).collect();
        let mut modes = [ChangelogMode::Retract; 2];
        modes[growing] = ChangelogMode::AppendOnly;
        check(Case { key, keys: 1, filtered: true, project, modes }, &steps, batch_rows, shuffle);
    }
}

#[test]
fn a_hot_key_yields_by_fuel_and_leaves_in_bounded_batches() {
    let modes = [ChangelogMode::AppendOnly; 2];
    let mut join = build_one(&spec(&DataType::Int64, 1, false, &[2, 6], modes));
    let types = INTS;
    let many: String = (0..20_000).map(|i| format!("+ 1 1 {i}\n")).collect();
    let mut out = Output::new();
    assert_eq!(join.on_batch(Port(1), changes(&many, &types).unwrap(), &mut out).unwrap(), Flow::Done);
    let left = "+ 1 1 7 x\n+ 1 1 8 x\n+ 2 1 8 x\n+ . 1 8 x";
    let left = changes(left, &[DataType::Int64, DataType::Int64, DataType::Int64, DataType::Utf8]).unwrap();
    let mut out = Output { fuel: 1000, ..Output::new() };
    let (mut flow, mut yields, mut rows) = (join.on_batch(Port(0), left, &mut out).unwrap(), 0, 0);
    loop {
        assert!(out.batches.iter().all(|batch| batch.len() <= BATCH_ROWS));
        rows += out.batches.drain(..).map(|batch| batch.len()).sum::<usize>();
        if flow == Flow::Done {
            break;
        }
        yields += 1;
        out.fuel = 1000;
        flow = join.resume(&mut out).unwrap();
    }
    assert_eq!(rows, 40_000);
    assert!(yields >= 3, "{yields} yields");
}

#[test]
fn duplicates_are_kept_once_with_a_weight() {
    let modes = [ChangelogMode::Retract; 2];
    let spec = spec(&DataType::Int64, 1, false, &[2], modes);
    let mut harness = Harness::new(spec, exchange(1), 1).unwrap();
    let (left, right) = ([DataType::Int64, DataType::Int64, DataType::Int64, DataType::Utf8], INTS);
    harness.push(0, &changes(&"+ 1 1 5 x\n".repeat(1000), &left).unwrap()).unwrap();
    harness.end_epoch().unwrap();
    harness.restart(1).unwrap();
    assert_eq!(harness.state.entries.len(), 1);
    harness.push(1, &changes("+ 1 1 0\n+ 1 2 0", &right).unwrap()).unwrap();
    harness.push(0, &changes(&"- 1 1 5 y\n".repeat(400), &left).unwrap()).unwrap();
    harness.end_epoch().unwrap();
    let five = changes("+ 5", &[DataType::Int64]).unwrap();
    let expected: Net = net(&[five]).unwrap().into_keys().map(|row| (row, 1200)).collect();
    assert_eq!(net(&harness.output).unwrap(), expected);
}

#[test]
fn deleted_rows_leave_nothing_behind() {
    let modes = [ChangelogMode::Retract; 2];
    let mut harness = Harness::new(spec(&DataType::Utf8, 1, false, &[2, 6], modes), exchange(1), 2).unwrap();
    let types = [DataType::Utf8, DataType::Utf8, DataType::Int64];
    let text = |op: char| (0..5000).map(|i| format!("{op} {i} 0 {i}\n")).collect::<String>();
    let mut first = 0;
    for round in 0..20 {
        harness.push(1, &changes(&text('+'), &types).unwrap()).unwrap();
        harness.end_epoch().unwrap();
        if round % 2 == 0 {
            harness.checkpoint().unwrap();
        }
        harness.push(1, &changes(&text('-'), &types).unwrap()).unwrap();
        harness.end_epoch().unwrap();
        harness.checkpoint().unwrap();
        assert!(harness.state.entries.is_empty());
        first = if round == 0 { harness.memory_bytes() } else { first };
    }
    assert!(harness.memory_bytes() < first * 2, "{} after {first}", harness.memory_bytes());
}

#[test]
fn an_empty_batch_and_null_keys_store_nothing() {
    let modes = [ChangelogMode::AppendOnly; 2];
    let mut harness = Harness::new(spec(&DataType::Int64, 2, false, &[2], modes), exchange(2), 1).unwrap();
    harness.push(1, &changes("+ . 1 1\n+ 1 . 1", &INTS).unwrap()).unwrap();
    harness.end_epoch().unwrap();
    harness.checkpoint().unwrap();
    assert!(harness.state.entries.is_empty());
    assert!(harness.output.is_empty());
}

fn build_one(spec: &NodeSpec) -> HashJoin {
    HashJoin::new(spec).unwrap()
}
