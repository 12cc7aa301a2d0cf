//! Σ-delta tests of every aggregate function against the same call made afresh over all rows, as a batch query does.

use std::collections::BTreeMap;

use arrow::datatypes::IntervalUnit;
use proptest::prelude::*;
use weir_common::key::KeyOrder;

use super::grouped::GroupedCall;
use super::*;
use crate::spec::{AggregateFunction, Estimate, Fraction, NodeSpec, OperatorSpec, Regression, ValueOrder};
use crate::testing::{DeltaCheck, Harness, Net, Row, Step, changes, line, net};

/// Columns: group, value, another value, condition.
fn input(value: &DataType) -> Vec<DataType> {
    vec![DataType::Int64, value.clone(), value.clone(), DataType::Boolean]
}

fn call(function: AggregateFunction, args: &[usize], result: DataType) -> AggregateCall {
    AggregateCall { function, args: args.to_vec(), order: Vec::new(), filter: None, distinct: false, result }
}

fn ordered(call: AggregateCall, order: &[(usize, KeyOrder)]) -> AggregateCall {
    let order = order.iter().map(|(arg, order)| ValueOrder { arg: *arg, order: *order }).collect();
    AggregateCall { order, ..call }
}

fn list_of(ty: &DataType) -> DataType {
    DataType::List(std::sync::Arc::new(arrow::datatypes::Field::new_list_field(ty.clone(), true)))
}

fn bits(value: &DataType) -> Vec<AggregateCall> {
    use AggregateFunction::{BitAnd, BitOr, BitXor};
    let calls = [BitAnd, BitOr, BitXor].map(|function| call(function, &[1], value.clone()));
    calls.into_iter().flat_map(|call| [call.clone(), AggregateCall { distinct: true, ..call }]).collect()
}

fn moments(value: &DataType) -> Vec<AggregateCall> {
    use AggregateFunction::{Deviation, Variance};
    let result = if *value == DataType::Float64 { DataType::Float64 } else { DataType::Decimal128(38, 20) };
    let functions = [Estimate::Population, Estimate::Sample].map(|e| [Variance(e), Deviation(e)]);
    let calls = functions.into_iter().flatten().map(|function| call(function, &[1], result.clone()));
    let mut calls: Vec<_> = calls.collect();
    calls.push(AggregateCall { distinct: true, ..calls[0].clone() });
    calls.push(AggregateCall { filter: Some(3), ..calls[0].clone() });
    calls
}

fn regressions() -> Vec<AggregateCall> {
    use Regression::*;
    let all = [Corr, CovarPop, CovarSamp, AvgX, AvgY, Sxx, Syy, Sxy, Slope, Intercept, R2];
    let of = |regression| call(AggregateFunction::Regression(regression), &[1, 2], DataType::Float64);
    let count = call(AggregateFunction::Regression(Count), &[1, 2], DataType::Int64);
    all.map(of).into_iter().chain([count]).collect()
}

fn sequences(value: &DataType) -> Vec<AggregateCall> {
    use AggregateFunction::{ArrayAgg, Mode, PercentileDisc};
    let array = call(ArrayAgg, &[1], list_of(value));
    let by_other = AggregateCall { args: vec![1, 2], ..array.clone() };
    let third = Fraction::new(0.3);
    vec![
        array.clone(),
        ordered(array.clone(), &[(0, KeyOrder::Descending)]),
        ordered(by_other.clone(), &[(1, KeyOrder::DescendingNullsLast), (0, KeyOrder::AscendingNullsFirst)]),
        ordered(by_other, &[(1, KeyOrder::AscendingNullsFirst)]),
        AggregateCall { distinct: true, filter: Some(3), ..array },
        call(Mode, &[1], value.clone()),
        ordered(call(Mode, &[1], value.clone()), &[(0, KeyOrder::Descending)]),
        call(PercentileDisc(third), &[1], value.clone()),
        ordered(call(PercentileDisc(third), &[1], value.clone()), &[(0, KeyOrder::Descending)]),
        call(PercentileDisc(None), &[1], value.clone()),
    ]
}

fn calls(value: &DataType) -> Vec<AggregateCall> {
    use AggregateFunction::{BoolAnd, BoolOr, JsonbAgg, PercentileCont, StringAgg};
    let bools = [BoolAnd, BoolOr].map(|function| call(function, &[3], DataType::Boolean));
    let mut calls: Vec<_> = bools.into_iter().chain(sequences(value)).collect();
    match value {
        DataType::Utf8 => {
            calls.push(call(StringAgg, &[1, 2], DataType::Utf8));
            calls.push(AggregateCall { distinct: true, ..call(StringAgg, &[1, 2], DataType::Utf8) });
            calls.push(call(JsonbAgg, &[1], DataType::Utf8));
        }
        DataType::Float64 => {
            calls.extend(moments(value));
            calls.extend(regressions());
            calls.push(call(PercentileCont(Fraction::new(0.4)), &[1], DataType::Float64));
        }
        DataType::Decimal128(..) => calls.extend(moments(value)),
        DataType::Interval(_) => {
            let functions =
                [AggregateFunction::Min, AggregateFunction::Max, PercentileCont(Fraction::new(0.4))];
            calls.extend(functions.map(|function| call(function, &[1], value.clone())));
            calls.push(AggregateCall {
                distinct: true,
                ..call(AggregateFunction::Count, &[1], DataType::Int64)
            });
        }
        _ => {
            calls.extend(moments(value));
            calls.extend(bits(value));
            if *value == DataType::Int64 {
                // The sum of partial counts.
                calls.push(call(AggregateFunction::Sum, &[1], DataType::Int64));
            }
        }
    }
    calls
}

/// The row of a group: each call made afresh.
fn results(key: &str, rows: &[&Row], calls: &[AggregateCall], input: &[DataType]) -> Result<Vec<String>> {
    let text: String = rows.iter().map(|row| line(1, row)).collect();
    let batch = changes(&text, input)?;
    let mut cells = vec![key.to_string()];
    for call in calls {
        let mut grouped = GroupedCall::new(call, ChangelogMode::AppendOnly, input)?;
        grouped.resize(1);
        grouped.update(&vec![0; batch.len()], batch.columns(), None, None)?;
        cells.push(cell(&grouped.evaluate(0, 1)?)?);
    }
    Ok(cells)
}

/// The only value of a column, as `net` writes it.
fn cell(column: &ArrayRef) -> Result<String> {
    let schema = positional_schema(std::slice::from_ref(column.data_type()));
    let rows = weir_common::change::record_batch(schema, vec![column.clone()], 1)?;
    let net = net(&[ChangeBatch { rows, ops: None }])?;
    Ok(net.into_keys().flatten().collect())
}

fn model(rows: &[Row], calls: &[AggregateCall], input: &[DataType]) -> Result<Net> {
    let mut groups: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row[0]).or_default().push(row));
    let one = |(key, rows): (Option<i64>, Vec<&Row>)| {
        let key = key.map_or(".".to_string(), |key| key.to_string());
        Ok((results(&key, &rows, calls, input)?, 1))
    };
    groups.into_iter().map(one).collect()
}

fn steps(deletes: u32) -> impl Strategy<Value = Vec<Step>> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (-bound..bound).prop_map(Some)];
    let condition = prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let row = (cell(2), cell(5), cell(3), condition).prop_map(|(g, v, o, c)| vec![g, v, o, c]);
    let step = prop_oneof![
        8 => row.prop_map(|row| Step::Insert(0, row)),
        deletes => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

fn check(value: &DataType, mode: ChangelogMode, steps: &[Step], batch_rows: usize, shuffle: u64) {
    let (input, calls) = (input(value), calls(value));
    let results = calls.iter().map(|call| call.result.clone());
    let spec = NodeSpec {
        output: [DataType::Int64].into_iter().chain(results).collect(),
        operator: OperatorSpec::Aggregate {
            group: vec![0],
            calls: calls.clone(),
            input_mode: mode,
            closing: None,
            ttl: None,
        },
        inputs: vec![input.clone()],
    };
    let harness = Harness::new(spec, vec![vec![0]], 3).unwrap();
    let model = |rows: &[Vec<Row>]| model(&rows[0], &calls, &input);
    DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(steps).unwrap();
}

fn value_types() -> impl Strategy<Value = DataType> {
    prop_oneof![
        Just(DataType::Int16),
        Just(DataType::Int64),
        Just(DataType::Float64),
        Just(DataType::Utf8),
        Just(DataType::Decimal128(38, 2)),
        Just(DataType::Interval(IntervalUnit::MonthDayNano)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changing_input_gives_the_result_of_a_query(
        value in value_types(), steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        check(&value, ChangelogMode::Retract, &steps, batch_rows, shuffle);
    }

    #[test]
    fn growing_input_gives_the_result_of_a_query(
        value in value_types(), steps in steps(0), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Delete(..))).collect();
        check(&value, ChangelogMode::AppendOnly, &steps, batch_rows, shuffle);
    }

    #[test]
    fn partial_results_merge(
        value in value_types(),
        rows in prop::collection::vec((0u32..3, -5i64..5, -3i64..3, 0i64..2), 0..40),
        cut in 0usize..40,
    ) {
        let input = input(&value);
        let text: String =
            rows.iter().map(|(g, v, o, c)| line(1, &vec![Some(i64::from(*g)), Some(*v), Some(*o), Some(*c)])).collect();
        let batch = changes(&text, &input).unwrap();
        let groups: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let cut = cut.min(rows.len());
        for call in calls(&value) {
            let run = |from: usize, to: usize| {
                let columns: Vec<ArrayRef> = batch.columns().iter().map(|c| c.slice(from, to - from)).collect();
                let mut grouped = GroupedCall::new(&call, ChangelogMode::AppendOnly, &input).unwrap();
                grouped.resize(3);
                grouped.update(&groups[from..to], &columns, None, None).unwrap();
                grouped
            };
            let mut merged = run(0, cut);
            merged.merge(&[1, 2], &run(cut, rows.len()).save(1, 3).unwrap()).unwrap();
            merged.merge(&[0], &run(cut, rows.len()).save(0, 1).unwrap()).unwrap();
            let whole = run(0, rows.len());
            prop_assert_eq!(&merged.evaluate(0, 3).unwrap(), &whole.evaluate(0, 3).unwrap());
        }
    }
}

/// The results over the values of one group.
fn over(function: AggregateFunction, result: DataType, values: &[i64]) -> String {
    let text: String =
        values.iter().map(|v| line(1, &vec![Some(*v), Some(*v), Some(1), Some(*v & 1)])).collect();
    let value = if result == DataType::Float64 { DataType::Float64 } else { DataType::Int64 };
    let input = input(&value);
    let batch = changes(&text, &input).unwrap();
    let arg = if result == DataType::Boolean { 3 } else { 1 };
    let call = call(function, &[arg], result);
    let mut grouped = GroupedCall::new(&call, ChangelogMode::Retract, &input).unwrap();
    grouped.resize(1);
    grouped.update(&vec![0; values.len()], batch.columns(), None, None).unwrap();
    cell(&grouped.evaluate(0, 1).unwrap()).unwrap()
}

#[test]
fn functions_mean_what_postgresql_means() {
    use AggregateFunction::*;
    let (int, float) = (DataType::Int64, DataType::Float64);
    assert_eq!(over(BitAnd, int.clone(), &[7, -2, 14]), "6");
    assert_eq!(over(BitOr, int.clone(), &[1, i64::MIN]), (i64::MIN + 1).to_string());
    assert_eq!(over(BitXor, int.clone(), &[5, 5, 3]), "3");
    assert_eq!(over(BoolAnd, DataType::Boolean, &[1, 1]), "true");
    assert_eq!(over(BoolOr, DataType::Boolean, &[]), ".");
    assert_eq!(over(Mode, int.clone(), &[4, 2, 4, 2, 9]), "2");
    assert_eq!(over(PercentileDisc(Fraction::new(0.5)), int.clone(), &[1, 2, 3, 4]), "2");
    assert_eq!(over(PercentileDisc(Fraction::new(0.0)), int, &[8, 3]), "3");
    assert_eq!(over(PercentileCont(Fraction::new(0.5)), float.clone(), &[1, 2, 3, 4]), "2.5");
    assert_eq!(over(PercentileCont(Fraction::new(1.0)), float.clone(), &[1, 2]), "2.0");
    assert_eq!(over(Variance(Estimate::Sample), float.clone(), &[1, 2, 4]), "2.3333333333333335");
    assert_eq!(over(Variance(Estimate::Sample), float, &[1]), ".");
}

#[test]
fn equal_intervals_count_as_one_and_stay_what_they_are() {
    use AggregateFunction::*;
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let input = input(&interval);
    // A month and 30 days twice each, a day three times.
    let values = ["2", "3", "1day", "1day", "2", "3", "1day"];
    let rows: String = values.map(|value| format!("+ 1 {value} . .\n")).concat();
    let batch = changes(&rows, &input).unwrap();
    let over = |call: AggregateCall| {
        let mut grouped = GroupedCall::new(&call, ChangelogMode::Retract, &input).unwrap();
        grouped.resize(1);
        grouped.update(&[0; 7], batch.columns(), None, None).unwrap();
        cell(&grouped.evaluate(0, 1).unwrap()).unwrap()
    };
    let of = |function| call(function, &[1], interval.clone());
    assert_eq!(over(of(Mode)), "30 days");
    assert_eq!(over(of(Max)), "1 mons");
    let array = call(ArrayAgg, &[1], list_of(&interval));
    assert_eq!(over(AggregateCall { distinct: true, ..array.clone() }), "[1 days, 30 days]");
    assert_eq!(over(array), "[1 days, 1 days, 1 days, 30 days, 30 days, 1 mons, 1 mons]");
    let count = call(Count, &[1], DataType::Int64);
    assert_eq!(over(AggregateCall { distinct: true, ..count }), "2");
}
