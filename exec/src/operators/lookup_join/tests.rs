//! Tests of `LookupJoin` beside a model that remembers what was emitted for each left row.

use proptest::prelude::*;

use super::*;
use crate::build::build;
use crate::testing::{Harness, Net, Row, changes, line, net};

const INT: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;

/// Rows of (key, value) on both sides; output: right value, left key, left value.
fn spec(outer: bool, keys: &[usize], left_mode: ChangelogMode) -> NodeSpec {
    let operator = OperatorSpec::LookupJoin(LookupJoinSpec {
        outer,
        left_keys: keys.to_vec(),
        right_keys: keys.to_vec(),
        left_mode,
        project: vec![3, 0, 1],
    });
    NodeSpec { operator, inputs: vec![vec![TEXT, INT], vec![TEXT, INT]], output: vec![INT, TEXT, INT] }
}

fn harness(outer: bool, keys: &[usize], left_mode: ChangelogMode, workers: usize) -> Harness {
    Harness::new(spec(outer, keys, left_mode), vec![keys.to_vec(), keys.to_vec()], workers).unwrap()
}

#[derive(Clone, Debug)]
enum Change {
    Insert(usize, Row),
    Delete(usize, usize),
    Epoch,
    Restart(usize),
}

/// The rows of both sides, and what was emitted for each left row, the oldest first.
struct Model {
    outer: bool,
    keys: Vec<usize>,
    only_grows: bool,
    left: Vec<(Row, Vec<Row>)>,
    right: Vec<Row>,
    /// Of this epoch: left rows that came, and that went.
    came: Vec<Row>,
    went: Vec<Row>,
}

impl Model {
    fn end_epoch(&mut self) {
        for row in std::mem::take(&mut self.went) {
            // What came and went in one epoch was never there.
            match self.came.iter().position(|came| *came == row) {
                Some(at) => drop(self.came.remove(at)),
                None => {
                    let at = self.left.iter().position(|(left, _)| *left == row).unwrap();
                    self.left.remove(at);
                }
            }
        }
        for row in std::mem::take(&mut self.came) {
            let equal =
                |right: &&Row| self.keys.iter().all(|key| row[*key].is_some() && row[*key] == right[*key]);
            let found = self.right.iter().filter(equal).cloned().collect();
            self.left.push((row, found));
        }
    }

    fn present(&self) -> Vec<&Row> {
        self.left.iter().map(|(row, _)| row).chain(&self.came).collect()
    }

    fn output(&self) -> Net {
        let cell = |cell: Option<i64>| cell.map_or(".".to_string(), |value| value.to_string());
        let mut output = Net::new();
        for (left, found) in &self.left {
            let nulls = vec![None, None];
            let none = (found.is_empty() && self.outer).then_some(&nulls);
            for right in found.iter().chain(none) {
                *output.entry(vec![cell(right[1]), cell(left[0]), cell(left[1])]).or_default() += 1;
            }
        }
        output
    }
}

fn run(harness: &mut Harness, model: &mut Model, steps: &[Change]) {
    let push = |harness: &mut Harness, port: usize, op: i8, row: &Row| {
        harness.push(port, &changes(&line(op, row), &[TEXT, INT]).unwrap()).unwrap();
    };
    for step in steps.iter().chain([&Change::Epoch]) {
        match step {
            Change::Insert(0, row) => {
                model.came.push(row.clone());
                push(harness, 0, 1, row);
            }
            Change::Insert(_, row) => {
                model.right.push(row.clone());
                push(harness, 1, 1, row);
            }
            Change::Delete(0, at) => {
                let present: Vec<Row> = model.present().into_iter().cloned().collect();
                let gone = |row: &Row| model.went.iter().filter(|went| *went == row).count();
                let left = |row: &&Row| present.iter().filter(|other| other == row).count() > gone(row);
                let rest: Vec<&Row> = present.iter().filter(left).collect();
                if let (Some(row), false) = (rest.get(at % rest.len().max(1)), model.only_grows) {
                    push(harness, 0, -1, row);
                    model.went.push((*row).clone());
                }
            }
            Change::Delete(_, at) if !model.right.is_empty() => {
                let row = model.right.remove(at % model.right.len());
                push(harness, 1, -1, &row);
            }
            Change::Delete(..) => {}
            Change::Epoch | Change::Restart(_) => {
                harness.end_epoch().unwrap();
                model.end_epoch();
                assert_eq!(net(&harness.output).unwrap(), model.output());
            }
        }
        if let Change::Restart(workers) = step {
            harness.restart(*workers).unwrap();
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Change>> {
    let or_null = |most: i64| prop_oneof![1 => Just(None), 8 => (0..most).prop_map(Some)];
    let row = (or_null(3), or_null(2)).prop_map(|(key, value)| vec![key, value]);
    let step = prop_oneof![
        8 => (0..2usize, row).prop_map(|(port, row)| Change::Insert(port, row)),
        6 => (0..2usize, any::<usize>()).prop_map(|(port, at)| Change::Delete(port, at)),
        4 => Just(Change::Epoch),
        1 => (1usize..4).prop_map(Change::Restart),
    ];
    prop::collection::vec(step, 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn left_rows_keep_what_was_there_when_they_came(
        outer: bool, keyed: bool, only_grows: bool, steps in steps(), fuel in 1i64..4,
        workers in prop::sample::select(&[1usize, 3][..]),
    ) {
        let mode = if only_grows { ChangelogMode::AppendOnly } else { ChangelogMode::Retract };
        let keys = if keyed { vec![0] } else { vec![] };
        let mut harness = harness(outer, &keys, mode, workers);
        harness.fuel = fuel;
        let (left, right, came, went) = Default::default();
        run(&mut harness, &mut Model { outer, keys, only_grows, left, right, came, went }, &steps);
    }
}

fn emitted(harness: &mut Harness, batches: &[(usize, &str)]) -> Vec<(String, i64)> {
    harness.output.clear();
    for (port, text) in batches {
        harness.push(*port, &changes(text, &[TEXT, INT]).unwrap()).unwrap();
    }
    harness.end_epoch().unwrap();
    net(&harness.output).unwrap().into_iter().map(|(cells, count)| (cells.join(" "), count)).collect()
}

#[test]
fn later_changes_of_the_right_side_show_in_nothing() {
    let mut join = harness(false, &[0], ChangelogMode::Retract, 1);
    let row = |text: &str, count: i64| (text.to_string(), count);
    let first = emitted(&mut join, &[(0, "+ k 7"), (1, "+ k 1\n+ k 1\n+ k 2")]);
    assert_eq!(first, [row("1 k 7", 2), row("2 k 7", 1)], "the whole epoch's right rows");
    assert_eq!(emitted(&mut join, &[(1, "- k 1\n- k 1\n- k 2\n+ k 3")]), []);
    assert_eq!(emitted(&mut join, &[(0, "+ k 7")]), [row("3 k 7", 1)]);
    join.restart(3).unwrap();
    assert_eq!(emitted(&mut join, &[(0, "- k 7\n- k 7\n+ k 7")]), [row("1 k 7", -2), row("2 k 7", -1)]);
    assert_eq!(emitted(&mut join, &[(0, "- k 7")]), [row("3 k 7", -1)]);
    join.push(1, &changes("- k 3", &[TEXT, INT]).unwrap()).unwrap();
    join.end_epoch().unwrap();
    join.checkpoint().unwrap();
    assert!(join.state.entries.is_empty());
}

#[test]
fn an_input_that_only_grows_is_not_kept() {
    let mut join = harness(true, &[0], ChangelogMode::AppendOnly, 1);
    let many: String = (0..20_000).map(|i| format!("+ k {i}\n")).collect();
    assert_eq!(emitted(&mut join, &[(0, &many)]).len(), 20_000);
    assert!(join.output.iter().all(|batch| batch.len() <= BATCH_ROWS));
    join.checkpoint().unwrap();
    assert!(join.state.entries.is_empty());
}

#[test]
fn a_malformed_specification_is_noticed() {
    let mut other = spec(true, &[0], ChangelogMode::Retract);
    let OperatorSpec::LookupJoin(join) = &mut other.operator else { panic!("no lookup join") };
    join.right_keys = vec![1];
    assert!(build(&other).is_err());
}
