//! Σ-delta tests of `AsofJoin` against a search through all pairs of rows, and of `NearestRows` beside it.

use proptest::prelude::*;

use super::*;
use crate::build::build;
use crate::spec::AsofJoinSpec;
use crate::testing::{DeltaCheck, Durable, Harness, Net, Row, Step, changes, net};

const INT: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;
/// Its order keys are longer than what is compared first.
const LONG: DataType = DataType::Decimal128(38, 0);

const ALL: [Nearest; 4] = [Nearest::AtOrBefore, Nearest::Before, Nearest::AtOrAfter, Nearest::After];

/// Rows of (key, time, value) on both sides; output: right value, left key, left time, left value, right time.
fn spec(outer: bool, keys: &[usize], nearest: Nearest, time: &DataType) -> NodeSpec {
    let input = vec![TEXT, time.clone(), INT];
    let operator = OperatorSpec::AsofJoin(AsofJoinSpec {
        outer,
        left_keys: keys.to_vec(),
        right_keys: keys.to_vec(),
        left_time: 1,
        right_time: 1,
        nearest,
        project: vec![5, 0, 1, 2, 4],
    });
    let output = vec![INT, TEXT, time.clone(), INT, time.clone()];
    NodeSpec { operator, inputs: vec![input.clone(), input], output }
}

fn may_match(left: &Row, right: &Row, keys: &[usize], nearest: Nearest) -> bool {
    let equal = |column: &usize| left[*column].is_some() && left[*column] == right[*column];
    let (Some(l), Some(r)) = (left[1], right[1]) else { return false };
    let in_time = match nearest {
        Nearest::AtOrBefore => l >= r,
        Nearest::Before => l > r,
        Nearest::AtOrAfter => l <= r,
        Nearest::After => l < r,
    };
    keys.iter().all(equal) && in_time
}

/// The nearest right row; of several the first by value, NULL being last.
fn best<'r>(left: &Row, rights: &'r [Row], keys: &[usize], nearest: Nearest) -> Option<&'r Row> {
    let found = rights.iter().filter(|right| may_match(left, right, keys, nearest));
    found.min_by_key(|right| {
        let key = (right[0].is_none(), right[0].map(|key| key.to_string()));
        (left[1].unwrap().abs_diff(right[1].unwrap()), key, right[2].is_none(), right[2])
    })
}

fn model(rows: &[Vec<Row>], outer: bool, keys: &[usize], nearest: Nearest) -> Net {
    let cell = |cell: Option<i64>| cell.map_or(".".to_string(), |value| value.to_string());
    let mut result = Net::new();
    for left in &rows[0] {
        let found = best(left, &rows[1], keys, nearest);
        if found.is_none() && !outer {
            continue;
        }
        let right = |column: usize| cell(found.and_then(|right| right[column]));
        let cells = vec![right(2), cell(left[0]), cell(left[1]), cell(left[2]), right(1)];
        *result.entry(cells).or_default() += 1;
    }
    result
}

fn row() -> impl Strategy<Value = Row> {
    let or_null = |most: i64| prop_oneof![1 => Just(None), 8 => (0..most).prop_map(Some)];
    (or_null(2), or_null(12), or_null(2)).prop_map(|(key, time, value)| vec![key, time, value])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2usize, row()).prop_map(|(port, row)| Step::Insert(port, row)),
        6 => (0..2usize, any::<usize>()).prop_map(|(port, at)| Step::Delete(port, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
        1 => Just(Step::Shed(Durable::BeforeNext)),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_left_row_has_its_nearest_right_row(
        outer: bool, keyed: bool, nearest in prop::sample::select(&ALL[..]),
        time in prop::sample::select(&[INT, LONG][..]),
        steps in steps(), batch_rows in 1usize..20, shuffle: u64, fuel in 1i64..6,
        workers in prop::sample::select(&[1usize, 3][..]),
    ) {
        let keys = if keyed { vec![0] } else { vec![] };
        let exchange = vec![keys.clone(), keys.clone()];
        let mut harness = Harness::new(spec(outer, &keys, nearest, &time), exchange, workers).unwrap();
        harness.fuel = fuel;
        let model = |rows: &[Vec<Row>]| Ok(model(rows, outer, &keys, nearest));
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
    }

    #[test]
    fn a_query_finds_the_same_rows(
        keyed: bool, nearest in prop::sample::select(&ALL[..]),
        lefts in prop::collection::vec(row(), 0..20), rights in prop::collection::vec(row(), 0..40),
    ) {
        let keys: &[usize] = if keyed { &[0] } else { &[] };
        let types = [TEXT, INT, INT];
        let batch = |rows: &[Row]| {
            let text: String = rows.iter().map(|row| crate::testing::line(1, row)).collect();
            changes(&text, &types).unwrap()
        };
        let mut nearest_rows = NearestRows::new(keys, 1, nearest, &types).unwrap();
        for part in rights.chunks(7) {
            nearest_rows.insert(batch(part).rows).unwrap();
        }
        let (left, mut found) = (batch(&lefts), Vec::new());
        let left_keys: Vec<_> = keys.iter().map(|key| left.columns()[*key].clone()).collect();
        nearest_rows.find(&left_keys, &left.columns()[1], &mut found).unwrap();
        let values = nearest_rows.gather(2, &found).unwrap();
        let expected: Vec<Option<i64>> =
            lefts.iter().map(|left| best(left, &rights, keys, nearest).and_then(|right| right[2])).collect();
        prop_assert_eq!(values.as_ref(), &arrow::array::Int64Array::from(expected) as &dyn arrow::array::Array);
    }
}

fn join(outer: bool) -> Harness {
    let spec = spec(outer, &[0], Nearest::AtOrBefore, &INT);
    Harness::new(spec, vec![vec![0], vec![0]], 1).unwrap()
}

fn emitted(harness: &mut Harness, port: usize, text: &str) -> Vec<(String, i64)> {
    harness.output.clear();
    harness.push(port, &changes(text, &[TEXT, INT, INT]).unwrap()).unwrap();
    harness.end_epoch().unwrap();
    net(&harness.output).unwrap().into_iter().map(|(cells, count)| (cells.join(" "), count)).collect()
}

#[test]
fn a_right_row_corrects_the_left_rows_up_to_the_next_one() {
    let mut join = join(true);
    emitted(&mut join, 1, "+ k 10 0\n+ k 20 1\n+ k 30 2");
    let lefts: String = (0..40).map(|time| format!("+ k {time} 7\n")).collect();
    assert_eq!(emitted(&mut join, 0, &lefts).len(), 40);
    let expected = [("0 k 19 7 10", -1), ("0 k 18 7 10", -1), ("9 k 18 7 18", 1), ("9 k 19 7 18", 1)];
    let mut expected = expected.map(|(row, count)| (row.to_string(), count));
    expected.sort();
    assert_eq!(emitted(&mut join, 1, "+ k 18 9"), expected);
    assert_eq!(emitted(&mut join, 1, "- k 18 9\n+ k 18 9"), []);
    assert_eq!(emitted(&mut join, 1, "+ k 18 10"), [], "it comes after 9");
    assert_eq!(emitted(&mut join, 1, "- k 18 9").len(), 4);
    assert_eq!(emitted(&mut join, 1, "+ k 18 10\n+ k 18 10"), [], "once is enough");
    assert_eq!(
        emitted(&mut join, 0, "- k 5 7\n+ k 25 7"),
        [(". k 5 7 .".into(), -1), ("1 k 25 7 20".into(), 1)]
    );
}

#[test]
fn all_rows_of_a_key_may_go_at_once() {
    let mut join = join(false);
    let rows = |op: char| (0..20_000).map(|time| format!("{op} k {time} 0\n")).collect::<String>();
    emitted(&mut join, 1, &rows('+'));
    assert_eq!(emitted(&mut join, 0, &rows('+')).len(), 20_000);
    assert!(join.output.iter().all(|batch| batch.len() <= BATCH_ROWS));
    assert_eq!(emitted(&mut join, 1, &rows('-')).len(), 20_000);
    emitted(&mut join, 1, &rows('+'));
    join.push(0, &changes(&rows('-'), &[TEXT, INT, INT]).unwrap()).unwrap();
    assert_eq!(emitted(&mut join, 1, &rows('-')).len(), 20_000);
    join.checkpoint().unwrap();
    assert!(join.state.entries.is_empty());
}

#[test]
fn a_malformed_specification_is_noticed() {
    let mut other = spec(true, &[0], Nearest::After, &INT);
    let OperatorSpec::AsofJoin(join) = &mut other.operator else { panic!("no ASOF join") };
    join.right_time = 0;
    assert!(build(&other).is_err());
    other.inputs.pop();
    assert!(build(&other).is_err());
}
