//! Σ-delta tests of the kinds of `HashJoin` against nested loops.

use proptest::prelude::*;
use weir_common::ObjectId;

use super::*;
use crate::expr::{BinaryOp, ScalarExpr};
use crate::spec::{ChangelogMode, JoinKind, SharedSide};
use crate::testing::{DeltaCheck, Durable, Harness, Net, Row, Step, changes, net};

const KINDS: [JoinKind; 7] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::Semi,
    JoinKind::Anti,
    JoinKind::Mark,
];

/// left(a, b, v) with right(a, b, w) on the first `keys` columns, filtered by v < w or not.
#[derive(Clone, Debug)]
struct Case {
    kind: JoinKind,
    key: DataType,
    null_equal: Vec<bool>,
    filtered: bool,
    project: Vec<usize>,
    modes: [ChangelogMode; 2],
    /// A side that is looked up, by so many of the keys.
    shared: Option<(usize, usize)>,
}

impl Case {
    fn spec(&self) -> NodeSpec {
        let input = vec![self.key.clone(), DataType::Int64, DataType::Int64];
        let less = ScalarExpr::Binary {
            op: BinaryOp::Lt,
            left: Box::new(ScalarExpr::Column(2)),
            right: Box::new(ScalarExpr::Column(5)),
        };
        let keys: Vec<usize> = (0..self.null_equal.len()).collect();
        let operator = OperatorSpec::HashJoin {
            kind: self.kind,
            left_keys: keys.clone(),
            right_keys: keys,
            null_equal: self.null_equal.clone(),
            filter: self.filtered.then_some(less),
            project: self.project.clone(),
            left_mode: self.modes[0],
            right_mode: self.modes[1],
            shared: self.shared.map(|(side, leading)| {
                let (relation, columns) = (ObjectId(1), vec![0, 1, 2]);
                Box::new(SharedSide { side, relation, columns, calc: None, key: (0..leading).collect() })
            }),
            closing: [None, None],
        };
        let joined = [input.clone(), input.clone(), vec![DataType::Boolean]].concat();
        let output = self.project.iter().map(|column| joined[*column].clone()).collect();
        NodeSpec { operator, inputs: vec![input.clone(), input], output }
    }

    fn matches(&self, left: &Row, right: &Row) -> bool {
        let equal = |k: usize| left[k] == right[k] && (left[k].is_some() || self.null_equal[k]);
        let passes = !self.filtered || matches!((left[2], right[2]), (Some(a), Some(b)) if a < b);
        (0..self.null_equal.len()).all(equal) && passes
    }

    fn model(&self, inputs: &[Vec<Row>]) -> Net {
        let mut net = Net::new();
        let nulls = vec![None; 3];
        let mut add = |left: &Row, right: &Row, mark: bool| {
            let cell = |value: &Option<i64>| value.map_or(".".to_string(), |value| value.to_string());
            let cells: Vec<String> = left.iter().chain(right).map(cell).chain([mark.to_string()]).collect();
            *net.entry(self.project.iter().map(|column| cells[*column].clone()).collect()).or_default() += 1;
        };
        for left in &inputs[0] {
            let matching = inputs[1].iter().filter(|right| self.matches(left, right));
            let count = matching.clone().count();
            if self.kind.emits_pairs() {
                matching.for_each(|right| add(left, right, false));
            }
            let alone = match self.kind {
                JoinKind::Left | JoinKind::Full | JoinKind::Anti => count == 0,
                JoinKind::Semi => count > 0,
                JoinKind::Mark => true,
                _ => false,
            };
            if alone {
                add(left, &nulls, count > 0);
            }
        }
        for right in &inputs[1] {
            let matched = inputs[0].iter().any(|left| self.matches(left, right));
            if matches!(self.kind, JoinKind::Right | JoinKind::Full) && !matched {
                add(&nulls, right, false);
            }
        }
        net
    }

    fn check(&self, steps: &[Step], batch_rows: usize, shuffle: u64, workers: usize) {
        let keys: Vec<usize> = (0..self.null_equal.len()).collect();
        let mut harness = Harness::new(self.spec(), vec![keys.clone(), keys], workers).unwrap();
        harness.fuel = 2;
        let model = |inputs: &[Vec<Row>]| Ok(self.model(inputs));
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(steps).unwrap();
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (0..bound).prop_map(Some)];
    let row = (0usize..2, cell(3), cell(2), cell(3));
    let step = prop_oneof![
        8 => row.prop_map(|(port, a, b, v)| Step::Insert(port, vec![a, b, v])),
        7 => (0usize..2, any::<usize>()).prop_map(|(port, at)| Step::Delete(port, at)),
        3 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
        2 => prop::sample::select(&Durable::ALL[..]).prop_map(Step::Shed),
    ];
    prop::collection::vec(step, 0..80)
}

fn cases() -> impl Strategy<Value = Case> {
    let key = prop_oneof![Just(DataType::Int64), Just(DataType::Utf8), Just(DataType::Float64)];
    let null_equal = prop::collection::vec(any::<bool>(), 0..3);
    (0..KINDS.len(), key, null_equal, any::<bool>(), 0usize..3).prop_map(
        |(kind, key, null_equal, filtered, project)| {
            let kind = KINDS[kind];
            let project = match (kind, project) {
                (JoinKind::Mark, 0) => vec![6, 0],
                (JoinKind::Mark, _) => vec![2, 1, 6],
                (kind, 0) if kind.emits_pairs() => vec![5, 4, 3, 2, 1, 0],
                (kind, 1) if kind.emits_pairs() => vec![0, 3],
                (_, 2) => vec![1],
                _ => vec![0, 2, 1],
            };
            // Floats are written differently than the model writes them.
            let key = if project.contains(&0) && key == DataType::Float64 { DataType::Int64 } else { key };
            let key = if project.contains(&3) && key == DataType::Float64 { DataType::Int64 } else { key };
            Case {
                kind,
                key,
                null_equal,
                filtered,
                project,
                modes: [ChangelogMode::Retract; 2],
                shared: None,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_kind_gives_the_rows_of_nested_loops(
        case in cases(), steps in steps(), batch_rows in 1usize..20, shuffle: u64, workers in 1usize..4,
    ) {
        case.check(&steps, batch_rows, shuffle, workers);
    }

    #[test]
    fn a_growing_input_gives_the_rows_of_nested_loops(
        mut case in cases(), growing in 0usize..2, steps in steps(), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let deletes = |step: &Step| matches!(step, Step::Delete(port, _) if *port == growing);
        let steps: Vec<Step> = steps.into_iter().filter(|step| !deletes(step)).collect();
        case.modes[growing] = ChangelogMode::AppendOnly;
        case.check(&steps, batch_rows, shuffle, 2);
    }

    #[test]
    fn a_side_that_is_looked_up_gives_the_rows_of_nested_loops(
        mut case in cases(), left: bool, leading in 1usize..3, steps in steps(), batch_rows in 1usize..20,
        shuffle: u64, workers in 1usize..4,
    ) {
        if case.null_equal.is_empty() {
            case.null_equal.push(false);
        }
        let side = match case.kind {
            JoinKind::Inner => usize::from(!left),
            JoinKind::Right => 0,
            _ => 1,
        };
        if case.kind == JoinKind::Full {
            case = Case { kind: JoinKind::Left, ..case };
        }
        case.filtered &= case.kind == JoinKind::Inner;
        case.shared = Some((side, leading.min(case.null_equal.len())));
        case.check(&steps, batch_rows, shuffle, workers);
    }

    #[test]
    fn bags_keep_and_lose_copies(
        keeps: bool, steps in steps(), batch_rows in 1usize..20, shuffle: u64, workers in 1usize..4,
    ) {
        let kind = if keeps { JoinKind::IntersectAll } else { JoinKind::ExceptAll };
        let case = Case {
            kind,
            key: DataType::Utf8,
            null_equal: vec![true; 3],
            filtered: false,
            project: vec![0, 1, 2],
            modes: [ChangelogMode::Retract; 2],
            shared: None,
        };
        let model = |inputs: &[Vec<Row>]| {
            let mut net = Net::new();
            for row in inputs[0].iter() {
                let copies = |rows: &[Row]| rows.iter().filter(|other| *other == row).count();
                let (left, right) = (copies(&inputs[0]), copies(&inputs[1]));
                let count = if keeps { left.min(right) } else { left.saturating_sub(right) };
                if count > 0 {
                    let cell = |value: &Option<i64>| value.map_or(".".to_string(), |v| v.to_string());
                    net.insert(row.iter().map(cell).collect(), count as i64);
                }
            }
            Ok(net)
        };
        let keys = vec![0, 1, 2];
        let mut harness = Harness::new(case.spec(), vec![keys.clone(), keys], workers).unwrap();
        harness.fuel = 2;
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
    }
}

fn left_join(filtered: bool) -> Case {
    let modes = [ChangelogMode::Retract; 2];
    let project = vec![2, 5];
    Case {
        kind: JoinKind::Left,
        key: DataType::Int64,
        null_equal: vec![false],
        filtered,
        project,
        modes,
        shared: None,
    }
}

#[test]
fn a_match_that_comes_and_goes_within_an_epoch_changes_nothing() {
    for filtered in [false, true] {
        let case = Case { kind: JoinKind::Anti, project: vec![2], ..left_join(filtered) };
        let mut harness = Harness::new(case.spec(), vec![vec![0], vec![0]], 1).unwrap();
        let types = [DataType::Int64, DataType::Int64, DataType::Int64];
        harness.push(0, &changes("+ 1 0 5", &types).unwrap()).unwrap();
        harness.end_epoch().unwrap();
        assert_eq!(harness.output.len(), 1);
        harness.push(1, &changes("- 1 0 9", &types).unwrap()).unwrap();
        harness.push(0, &changes("- 1 0 5\n+ 1 0 5", &types).unwrap()).unwrap();
        harness.push(1, &changes("+ 1 0 9", &types).unwrap()).unwrap();
        harness.end_epoch().unwrap();
        assert_eq!(harness.output.len(), 1, "filtered: {filtered}");
    }
}

#[test]
fn deleted_rows_leave_nothing_behind() {
    for filtered in [false, true] {
        let mut harness = Harness::new(left_join(filtered).spec(), vec![vec![0], vec![0]], 2).unwrap();
        let types = [DataType::Int64, DataType::Int64, DataType::Int64];
        let rows = |op: char| (0..3000).map(|i| format!("{op} {i} 0 {i}\n")).collect::<String>();
        let mut first = 0;
        for round in 0..10 {
            for (port, op) in [(0, '+'), (1, '+'), (0, '-'), (1, '-')] {
                harness.push(port, &changes(&rows(op), &types).unwrap()).unwrap();
                harness.end_epoch().unwrap();
            }
            harness.checkpoint().unwrap();
            assert!(harness.state.entries.is_empty());
            first = if round == 0 { harness.memory_bytes() } else { first };
        }
        assert!(harness.memory_bytes() < first * 2, "{} after {first}", harness.memory_bytes());
        assert!(net(&harness.output).unwrap().is_empty());
    }
}

#[test]
fn pairs_that_do_not_pass_cost_fuel_too() {
    let case = Case { null_equal: vec![], ..left_join(true) };
    let mut join = HashJoin::new(&case.spec()).unwrap();
    let types = [DataType::Int64, DataType::Int64, DataType::Int64];
    let many = |v: i64| (v..v + 300).map(|i| format!("+ 0 0 {i}\n")).collect::<String>();
    let mut out = Output::new();
    assert_eq!(join.on_batch(Port(1), changes(&many(0), &types).unwrap(), &mut out).unwrap(), Flow::Done);
    let mut out = Output { fuel: 10_000, ..Output::new() };
    let mut flow = join.on_batch(Port(0), changes(&many(1000), &types).unwrap(), &mut out).unwrap();
    let mut yields = 0;
    while flow == Flow::Yield {
        yields += 1;
        out.fuel = 10_000;
        flow = join.resume(&mut out).unwrap();
    }
    assert!(yields >= 4, "{yields} yields for 90,000 pairs");
    assert!(out.batches.is_empty());
    assert_eq!(join.on_epoch_end(Epoch(1), &mut out).unwrap(), Flow::Done);
    assert_eq!(out.batches.iter().map(ChangeBatch::len).sum::<usize>(), 300);
}
