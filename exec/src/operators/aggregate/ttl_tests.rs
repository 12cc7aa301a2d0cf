//! Groups that are forgotten some time after their last row, against a model that forgets likewise.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use weir_common::ChangeBatch;
use weir_common::seam::Rng;

use crate::spec::{AggregateCall, AggregateFunction, ChangelogMode, GroupTtl, NodeSpec, OperatorSpec};
use crate::testing::{Harness, changes, net};

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const INT: DataType = DataType::Int64;
const KEEP: i64 = 30;

fn spec() -> NodeSpec {
    let call = |function, args: Vec<usize>, result| AggregateCall {
        function,
        args,
        order: Vec::new(),
        filter: None,
        distinct: false,
        result,
    };
    let calls =
        vec![call(AggregateFunction::Count, vec![], INT), call(AggregateFunction::Max, vec![1], TIME)];
    NodeSpec {
        operator: OperatorSpec::Aggregate {
            group: vec![0],
            calls,
            input_mode: ChangelogMode::AppendOnly,
            closing: None,
            ttl: Some(GroupTtl { call: 1, keep_micros: KEEP }),
        },
        inputs: vec![vec![INT, TIME]],
        output: vec![INT, INT, TIME],
    }
}

/// Rows and the last time of a group.
type Groups = BTreeMap<i64, (i64, i64)>;

fn line(op: char, key: i64, (rows, last): (i64, i64)) -> String {
    format!("{op} {key} {rows} {last}")
}

#[test]
fn a_group_goes_after_its_last_row_and_begins_anew() {
    for seed in 0..40 {
        let mut rng = Rng::seeded(seed);
        let mut harness = Harness::new(spec(), vec![vec![0]], 1 + rng.below(3) as usize).unwrap();
        let (mut model, mut now, mut expected) = (Groups::new(), 1_000, Vec::new());
        for _ in 0..40 {
            now += rng.below(20) as i64;
            let before = model.clone();
            let mut lines = Vec::new();
            for _ in 0..rng.below(4) {
                let key = rng.below(4) as i64;
                lines.push(format!("+ {key} {now}"));
                let group = model.entry(key).or_default();
                *group = (group.0 + 1, now);
            }
            if !lines.is_empty() {
                let rows = changes(&lines.join("\n"), &[INT, TIME]).unwrap().rows;
                harness.push(0, &ChangeBatch::inserts(rows)).unwrap();
            }
            for (key, group) in model.iter().filter(|(key, group)| before.get(*key) != Some(*group)) {
                expected.extend(before.get(key).map(|old| line('-', *key, *old)));
                expected.push(line('+', *key, *group));
            }
            harness.advance(now);
            harness.end_epoch().unwrap();
            model.retain(|_, (_, last)| *last >= now - KEEP);
            let all = changes(&expected.join("\n"), &[INT, INT, TIME]).unwrap();
            assert_eq!(net(&harness.output).unwrap(), net(&[all]).unwrap(), "seed {seed}");
            match rng.below(6) {
                0 => harness.checkpoint().unwrap(),
                1 => harness.restart(1 + rng.below(3) as usize).unwrap(),
                _ => {}
            }
        }
        harness.advance(now + KEEP + 1);
        harness.end_epoch().unwrap();
        harness.checkpoint().unwrap();
        harness.checkpoint().unwrap();
        assert_eq!(harness.state.entries.len(), 0, "seed {seed}: entries are left");
    }
}
