//! Rows that come on time: what is found without those that are final is what is found with them.

use proptest::prelude::*;
use weir_common::seam::Rng;

use super::*;
use crate::testing::{line, net};

/// Random rows at or behind a watermark, through an operator that is told it and one that is not.
fn check(spec: &RowPattern, seed: u64, has_nulls: bool) {
    let mut rng = Rng::seeded(seed);
    let workers = 1 + rng.below(3) as usize;
    let open = || Harness::new(node(spec), vec![vec![0]], workers).unwrap();
    let (mut closing, mut keeping) = (open(), open());
    let (mut watermark, mut live) = (100i64, Vec::<Row>::new());
    for _ in 0..20 {
        let mut text = String::new();
        for _ in 0..rng.below(5) {
            let is_null = has_nulls && rng.below(12) == 0;
            let time = (!is_null).then(|| watermark + rng.below(12) as i64);
            let row = vec![Some(rng.below(2) as i64), time, Some(rng.below(5) as i64)];
            text += &line(1, &row);
            live.push(row);
        }
        live.retain(|row| {
            let goes = row[1].is_none_or(|time| time >= watermark) && rng.below(6) == 0;
            if goes {
                text += &line(-1, row);
            }
            !goes
        });
        let batch = changes(&text, &[INT, TIME, INT]).unwrap();
        for harness in [&mut closing, &mut keeping] {
            if !batch.is_empty() {
                harness.push(0, &batch).unwrap();
            }
        }
        if rng.below(3) > 0 {
            watermark += rng.below(8) as i64;
        }
        closing.advance(watermark);
        closing.end_epoch().unwrap();
        keeping.end_epoch().unwrap();
        assert_eq!(net(&closing.output).unwrap(), net(&keeping.output).unwrap(), "seed {seed}");
        match rng.below(6) {
            0 => closing.checkpoint().unwrap(),
            1 => {
                closing.restart(1 + rng.below(3) as usize).unwrap();
                closing.advance(watermark);
            }
            _ => {}
        }
    }
    closing.advance(watermark + 10_000);
    closing.end_epoch().unwrap();
    closing.checkpoint().unwrap();
    closing.checkpoint().unwrap();
    if spec.over_after_micros().is_some() && !has_nulls {
        // Of two partitions: rows before a base, and the base.
        let most = 2 * (spec.margins().0.max(1) + 1);
        let left = closing.state.entries.len();
        assert!(left <= most, "seed {seed}: {left} entries are left");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_final_is_forgotten(
        (shape, tests) in streamed(), to_next: bool, rows in rows_per_match(), measured in 0usize..10,
        within in prop::option::of(2i64..12), seed: u64, has_nulls: bool,
    ) {
        let after = if to_next { AfterMatch::ToNextRow } else { AfterMatch::PastLastRow };
        let mut spec = pattern(shape, &tests, after, rows);
        spec.within_micros = within;
        // Some measures read around a match, and hold it up.
        spec.measures = spec.measures.drain(..).skip(measured).take(3).collect();
        check(&spec, seed, has_nulls);
    }
}

/// A pattern that nothing is kept for when its time is over, or all rows have been looked at.
#[test]
fn nothing_is_left_of_partitions_that_are_over() {
    let shape = Pattern::Concat(vec![variable(0), repeat(variable(1), 1, None)]);
    let tests = [Test::Above(2), Test::Above(0), Test::Always];
    let mut spec = pattern(shape, &tests, AfterMatch::PastLastRow, RowsPerMatch::One);
    spec.within_micros = Some(10);
    spec.measures = spec.measures.drain(..).skip(3).take(1).collect();
    let mut harness = Harness::new(node(&spec), vec![vec![0]], 1).unwrap();
    let rows: String = (0..500).map(|i| format!("+ {} {} {}\n", i % 100, i, 1 + i / 7 % 4)).collect();
    harness.push(0, &changes(&rows, &[INT, TIME, INT]).unwrap()).unwrap();
    harness.advance(250);
    harness.end_epoch().unwrap();
    harness.checkpoint().unwrap();
    let left = harness.state.entries.len();
    assert!((250..=350).contains(&left), "{left} rows are left");
    harness.advance(510);
    harness.end_epoch().unwrap();
    harness.checkpoint().unwrap();
    assert_eq!(harness.state.entries.len(), 0);
}
