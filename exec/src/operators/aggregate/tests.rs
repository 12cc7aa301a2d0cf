//! Σ-delta tests of `Aggregate` against recomputation from scratch.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use proptest::prelude::*;
use weir_common::SqlState;

use super::*;
use crate::spec::{AggregateFunction, NodeSpec, OperatorSpec};
use crate::testing::{DeltaCheck, Durable, Harness, Net, Row, Step, changes, net};

const AVG: DataType = DataType::Decimal128(38, 20);

fn call(function: AggregateFunction, arg: Option<usize>, result: DataType) -> AggregateCall {
    let args = arg.into_iter().collect();
    AggregateCall { function, args, order: Vec::new(), filter: None, distinct: false, result }
}

fn spec(
    group: &[usize],
    calls: Vec<AggregateCall>,
    input_mode: ChangelogMode,
    input: &[DataType],
) -> NodeSpec {
    let results = calls.iter().map(|call| call.result.clone());
    let output = group.iter().map(|column| input[*column].clone()).chain(results).collect();
    let operator =
        OperatorSpec::Aggregate { group: group.to_vec(), calls, input_mode, closing: None, ttl: None };
    NodeSpec { operator, inputs: vec![input.to_vec()], output }
}

/// Calls over an input of (group, group, value, condition).
fn all_calls(value: &DataType) -> Vec<AggregateCall> {
    use AggregateFunction::*;
    let sum = match value {
        DataType::Int32 => DataType::Int64,
        DataType::Int64 => DataType::Decimal128(38, 0),
        other => other.clone(),
    };
    let avg = if *value == DataType::Float64 { DataType::Float64 } else { AVG };
    vec![
        call(Count, None, DataType::Int64),
        call(Count, Some(2), DataType::Int64),
        call(Sum, Some(2), sum.clone()),
        call(Avg, Some(2), avg),
        call(Min, Some(2), value.clone()),
        call(Max, Some(2), value.clone()),
        AggregateCall { distinct: true, ..call(Count, Some(2), DataType::Int64) },
        AggregateCall { distinct: true, ..call(Sum, Some(2), sum) },
        AggregateCall { filter: Some(3), ..call(Count, None, DataType::Int64) },
        AggregateCall { filter: Some(3), ..call(Max, Some(2), value.clone()) },
    ]
}

/// `value * 10^digits / count`, half away from zero, with `digits` digits after the point.
fn decimal(sum: i128, count: i128, digits: u32) -> String {
    let scaled = sum * 10i128.pow(digits);
    let rounded = (scaled.abs() * 2 + count) / (count * 2);
    let (whole, fraction) = (rounded / 10i128.pow(digits), rounded % 10i128.pow(digits));
    let sign = if sum < 0 && rounded > 0 { "-" } else { "" };
    if digits == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction:0width$}", width = digits as usize)
    }
}

/// What `all_calls` owe for the rows of one group.
fn results(rows: &[&Row], value: &DataType) -> Vec<String> {
    let values: Vec<i64> = rows.iter().filter_map(|row| row[2]).collect();
    let mut distinct = values.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let chosen = || rows.iter().filter(|row| row[3] == Some(1));
    let show = |value_or_null: Option<i64>| match (value_or_null, value) {
        (None, _) => ".".to_string(),
        (Some(v), DataType::Float64) => format!("{v}.0"),
        (Some(v), DataType::Decimal128(_, 2)) => decimal(i128::from(v), 1, 2),
        (Some(v), _) => v.to_string(),
    };
    let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let average = match (sum(&values), value) {
        (None, _) => ".".to_string(),
        (Some(sum), DataType::Float64) => format!("{:?}", sum as f64 / values.len() as f64),
        (Some(sum), _) => decimal(i128::from(sum), values.len() as i128, 20),
    };
    vec![
        rows.len().to_string(),
        values.len().to_string(),
        show(sum(&values)),
        average,
        show(values.iter().min().copied()),
        show(values.iter().max().copied()),
        distinct.len().to_string(),
        show(sum(&distinct)),
        chosen().count().to_string(),
        show(chosen().filter_map(|row| row[2]).max()),
    ]
}

fn model(rows: &[Row], case: &Case) -> Net {
    let Case { group, value, calls, .. } = case;
    let mut groups: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    if group.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for row in rows {
        let key =
            group.iter().map(|column| row[*column].map_or(".".to_string(), |v| v.to_string())).collect();
        groups.entry(key).or_default().push(row);
    }
    groups
        .into_iter()
        .map(|(key, rows)| {
            let results = results(&rows, value);
            let chosen = calls.iter().map(|call| results[*call].clone());
            (key.into_iter().chain(chosen).collect(), 1)
        })
        .collect()
}

fn rows() -> impl Strategy<Value = Row> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (-bound..bound).prop_map(Some)];
    (cell(3), cell(3), cell(6), prop_oneof![Just(None), Just(Some(0)), Just(Some(1))])
        .prop_map(|(a, b, value, condition)| vec![a, b, value, condition])
}

fn steps(deletes: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => rows().prop_map(|row| Step::Insert(0, row)),
        deletes => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
        1 => prop::sample::select(&Durable::ALL[..]).prop_map(Step::Shed),
    ];
    prop::collection::vec(step, 0..80)
}

struct Case {
    group: Vec<usize>,
    keys: DataType,
    value: DataType,
    mode: ChangelogMode,
    /// Positions in `all_calls`.
    calls: Vec<usize>,
}

/// Calls that keep no values when the input deletes: an aggregate of these alone sheds groups.
const SHEDDING: [usize; 5] = [0, 1, 2, 3, 8];

fn check(case: Case, steps: &[Step], batch_rows: usize, shuffle: u64) {
    let input = [case.keys.clone(), case.keys.clone(), case.value.clone(), DataType::Boolean];
    let all = all_calls(&case.value);
    let calls = case.calls.iter().map(|c| all[*c].clone()).collect();
    let spec = spec(&case.group, calls, case.mode, &input);
    let mut harness = Harness::new(spec, vec![case.group.clone()], 2).unwrap();
    harness.fuel = 3;
    let model = |rows: &[Vec<Row>]| Ok(model(&rows[0], &case));
    DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(steps).unwrap();
}

fn key_types() -> impl Strategy<Value = DataType> {
    prop_oneof![Just(DataType::Int64), Just(DataType::Int32), Just(DataType::Utf8)]
}

fn value_types() -> impl Strategy<Value = DataType> {
    prop_oneof![
        Just(DataType::Int32),
        Just(DataType::Int64),
        Just(DataType::Float64),
        Just(DataType::Decimal128(38, 2)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changing_input_gives_the_recomputed_result(
        group in prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![1, 0])],
        keys in key_types(), value in value_types(), steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let calls = (0..10).collect();
        check(Case { group, keys, value, mode: ChangelogMode::Retract, calls }, &steps, batch_rows, shuffle);
    }

    #[test]
    fn groups_that_were_let_go_are_read_again(
        group in prop_oneof![Just(vec![0]), Just(vec![1, 0])], keys in key_types(), value in value_types(),
        steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let calls = SHEDDING.to_vec();
        check(Case { group, keys, value, mode: ChangelogMode::Retract, calls }, &steps, batch_rows, shuffle);
    }

    #[test]
    fn growing_input_gives_the_recomputed_result(
        group in prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])],
        keys in key_types(), value in value_types(), steps in steps(0), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Delete(..))).collect();
        let calls = (0..10).filter(|call| ![6, 7].contains(call)).collect();
        check(Case { group, keys, value, mode: ChangelogMode::AppendOnly, calls }, &steps, batch_rows, shuffle);
    }
}

/// One worker, retracting, of calls over (Int64 key, value).
fn harness(calls: Vec<AggregateCall>, value: DataType) -> Harness {
    let spec = spec(&[0], calls, ChangelogMode::Retract, &[DataType::Int64, value]);
    Harness::new(spec, vec![vec![0]], 1).unwrap()
}

fn epoch(harness: &mut Harness, text: &str, value: &DataType) -> Result<()> {
    harness.output.clear();
    harness.push(0, &changes(text, &[DataType::Int64, value.clone()])?)?;
    harness.end_epoch()
}

#[test]
fn distinct_keeps_each_row_once_and_a_group_vanishes_with_its_last_row() {
    let value = DataType::Utf8;
    let mut distinct = harness(vec![], value.clone());
    epoch(&mut distinct, "+ 1 a\n+ 1 b\n+ . c\n+ . d", &value).unwrap();
    let expected = net(&[changes("+ 1\n+ .", &[DataType::Int64]).unwrap()]).unwrap();
    assert_eq!(net(&distinct.output).unwrap(), expected);
    epoch(&mut distinct, "- 1 a", &value).unwrap();
    assert!(distinct.output.is_empty(), "a group that stays emits nothing");
    distinct.checkpoint().unwrap();
    assert_eq!(distinct.state.entries.len(), 2);
    epoch(&mut distinct, "- 1 b\n- . c\n- . d", &value).unwrap();
    assert_eq!(distinct.output.iter().map(ChangeBatch::len).sum::<usize>(), 2);
    distinct.checkpoint().unwrap();
    assert!(distinct.state.entries.is_empty());
}

#[test]
fn min_and_max_of_strings_and_intervals_survive_a_restart() {
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    for (value, low, high) in [(DataType::Utf8, "apple", "pear"), (interval, "1day", "9days")] {
        let calls = [AggregateFunction::Min, AggregateFunction::Max].map(|f| call(f, Some(1), value.clone()));
        let mut harness = harness(calls.to_vec(), value.clone());
        epoch(&mut harness, &format!("+ 1 {high}\n+ 1 {low}\n+ 1 {high}\n+ 1 ."), &value).unwrap();
        harness.restart(2).unwrap();
        epoch(&mut harness, &format!("- 1 {high}\n- 1 {low}"), &value).unwrap();
        let types = [DataType::Int64, value.clone(), value.clone()];
        let expected = changes(&format!("- 1 {low} {high}\n+ 1 {high} {high}"), &types).unwrap();
        assert_eq!(net(&harness.output).unwrap(), net(&[expected]).unwrap());
    }
}

#[test]
fn a_sum_beyond_bigint_fails_the_job_with_22003() {
    let value = DataType::Int32;
    let mut sums = harness(vec![call(AggregateFunction::Sum, Some(1), DataType::Int64)], value.clone());
    let rows = "+ 1 2147483647\n".repeat(4);
    epoch(&mut sums, &rows, &value).unwrap();
    let big = DataType::Decimal128(38, 0);
    let mut sums = harness(vec![call(AggregateFunction::Sum, Some(1), big.clone())], big.clone());
    let nines = "9".repeat(38);
    let error = epoch(&mut sums, &format!("+ 1 {nines}\n+ 1 1"), &big).unwrap_err();
    assert_eq!(error.state(), SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
}

#[test]
fn float_sums_are_exact_again_once_large_values_are_gone() {
    let value = DataType::Float64;
    let mut sums = harness(vec![call(AggregateFunction::Sum, Some(1), value.clone())], value.clone());
    epoch(&mut sums, "+ 1 0.1\n+ 1 1e17\n+ 1 inf\n+ 1 NaN", &value).unwrap();
    sums.restart(1).unwrap();
    epoch(&mut sums, "- 1 1e17\n- 1 NaN\n- 1 inf", &value).unwrap();
    let last = sums.output.last().unwrap();
    let inserted = (0..last.len()).find(|row| last.op(*row) > 0).unwrap();
    assert_eq!(last.columns()[1].as_primitive::<Float64Type>().value(inserted), 0.1);
}

#[test]
fn a_global_aggregate_has_its_row_before_any_input() {
    let calls = vec![
        call(AggregateFunction::Count, None, DataType::Int64),
        call(AggregateFunction::Max, Some(0), DataType::Int64),
    ];
    let spec = spec(&[], calls, ChangelogMode::AppendOnly, &[DataType::Int64]);
    let mut harness = Harness::new(spec, vec![vec![]], 3).unwrap();
    harness.end_epoch().unwrap();
    let row = changes("+ 0 .", &[DataType::Int64, DataType::Int64]).unwrap();
    assert_eq!(net(&harness.output).unwrap(), net(&[row]).unwrap());
    harness.restart(2).unwrap();
    harness.end_epoch().unwrap();
    assert_eq!(harness.output.len(), 1, "the row is not emitted again after a restart");
}

#[test]
fn large_epochs_leave_in_bounded_batches_and_yield() {
    let value = DataType::Int64;
    let mut counts = harness(vec![call(AggregateFunction::Count, None, DataType::Int64)], value.clone());
    counts.fuel = 1;
    let rows: String = (0..20_000).map(|key| format!("+ {key} 1\n")).collect();
    epoch(&mut counts, &rows, &value).unwrap();
    assert!(counts.output.iter().all(|batch| batch.len() <= crate::operators::BATCH_ROWS));
    assert_eq!(counts.output.iter().map(ChangeBatch::len).sum::<usize>(), 20_000);
    assert!(counts.memory_bytes() > 20_000 * 16);
    assert!(counts.memory_bytes() < 20_000 * 200);
}

#[test]
fn a_delete_without_an_insert_is_noticed() {
    let value = DataType::Int64;
    let mut counts = harness(vec![], value.clone());
    assert_eq!(epoch(&mut counts, "- 1 1", &value).unwrap_err().state(), SqlState::INTERNAL_ERROR);
}

#[test]
fn memory_shrinks_when_groups_are_let_go() {
    let value = DataType::Int64;
    let sum = call(AggregateFunction::Sum, Some(1), DataType::Decimal128(38, 0));
    let mut sums = harness(vec![sum], value.clone());
    let rows = |keys: std::ops::Range<i64>| keys.map(|key| format!("+ {key} 1\n")).collect::<String>();
    epoch(&mut sums, &rows(0..20_000), &value).unwrap();
    let full = sums.memory_bytes();
    sums.shed(Durable::BeforeNext).unwrap();
    assert!(sums.memory_bytes() >= full / 2, "what the checkpoint wrote may not be readable yet");
    epoch(&mut sums, &rows(0..100), &value).unwrap();
    sums.shed(Durable::BeforeNext).unwrap();
    assert!(sums.memory_bytes() < full / 20, "{} of {full}", sums.memory_bytes());
    epoch(&mut sums, &rows(50..150), &value).unwrap();
    let types = [DataType::Int64, DataType::Decimal128(38, 0)];
    let changed = |key: i64| {
        let before = if key < 100 { 2 } else { 1 };
        format!("- {key} {before}\n+ {key} {}\n", before + 1)
    };
    let expected = changes(&(50..150).map(changed).collect::<String>(), &types).unwrap();
    assert_eq!(net(&sums.output).unwrap(), net(&[expected]).unwrap());
}
