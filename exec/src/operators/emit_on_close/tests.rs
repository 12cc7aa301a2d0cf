//! Tests of `EmitOnClose`: each row comes out once, as it stood when its time was over.

use arrow::datatypes::DataType;
use weir_common::seam::Rng;

use crate::spec::{NodeSpec, OperatorSpec};
use crate::testing::{Harness, changes, net};

const TYPES: [DataType; 3] = [DataType::Int64, DataType::Int32, DataType::Int64];

/// Over (time, key, value), by time and key.
fn harness(workers: usize) -> Harness {
    let operator = OperatorSpec::EmitOnClose { partition: vec![0, 1], time: 0 };
    let spec = NodeSpec { operator, inputs: vec![TYPES.to_vec()], output: TYPES.to_vec() };
    Harness::new(spec, vec![vec![0, 1]], workers).unwrap()
}

#[test]
fn rows_come_out_once_when_their_time_is_over() {
    let mut harness = harness(1);
    harness.push(0, &changes("+ 10 1 5\n+ 20 1 6\n+ . 1 9", &TYPES).unwrap()).unwrap();
    harness.advance(10);
    harness.end_epoch().unwrap();
    assert!(harness.output.is_empty(), "10 may still come");
    harness.push(0, &changes("- 10 1 5\n+ 10 1 7\n+ 10 1 7", &TYPES).unwrap()).unwrap();
    harness.advance(11);
    harness.end_epoch().unwrap();
    let out = net(&harness.output).unwrap();
    assert_eq!(out, net(&[changes("+ 10 1 7\n+ 10 1 7", &TYPES).unwrap()]).unwrap());
    harness.advance(1_000);
    harness.end_epoch().unwrap();
    let all = changes("+ 10 1 7\n+ 10 1 7\n+ 20 1 6", &TYPES).unwrap();
    assert_eq!(net(&harness.output).unwrap(), net(&[all]).unwrap());
}

/// Random changes of rows that are on time: whatever the workers, yields and restarts, the output is, append-only, what
/// was there when its time was over.
#[test]
fn final_rows_are_those_that_stood_when_they_closed() {
    for seed in 0..30 {
        let mut rng = Rng::seeded(seed);
        let workers = 1 + rng.below(3) as usize;
        let mut harness = harness(workers);
        harness.fuel = if rng.below(2) == 0 { 2 } else { 10_000 };
        let (mut watermark, mut open, mut closed) = (0, Vec::<(i64, i64, i64)>::new(), Vec::new());
        for _ in 0..20 {
            let mut lines = Vec::new();
            for _ in 0..rng.below(8) {
                let row = (watermark + rng.below(30) as i64, rng.below(3) as i64, rng.below(3) as i64);
                lines.push(format!("+ {} {} {}", row.0, row.1, row.2));
                open.push(row);
            }
            open.retain(|row| {
                let goes = row.0 >= watermark && rng.below(4) == 0;
                if goes {
                    lines.push(format!("- {} {} {}", row.0, row.1, row.2));
                }
                !goes
            });
            if !lines.is_empty() {
                harness.push(0, &changes(&lines.join("\n"), &TYPES).unwrap()).unwrap();
            }
            if rng.below(2) == 0 {
                watermark += rng.below(20) as i64;
                harness.advance(watermark);
            }
            harness.end_epoch().unwrap();
            let (now, rest) = open.into_iter().partition(|row| row.0 < watermark);
            (open, closed) = (rest, [closed, now].concat());
            if rng.below(4) == 0 {
                harness.restart(1 + rng.below(3) as usize).unwrap();
                harness.advance(watermark);
            }
        }
        assert!(harness.output.iter().all(|batch| batch.ops.is_none()), "append-only");
        let expected: Vec<String> = closed.iter().map(|(t, k, v)| format!("+ {t} {k} {v}")).collect();
        let expected = changes(&expected.join("\n"), &TYPES).unwrap();
        assert_eq!(net(&harness.output).unwrap(), net(&[expected]).unwrap(), "seed {seed}");
    }
}
