//! Tests of `TemporalFilter`: a row shows exactly while the clock is between its moments.

use arrow::datatypes::DataType;
use weir_common::seam::Rng;

use crate::spec::{NodeSpec, OperatorSpec};
use crate::testing::{Harness, changes, net};

const INT: DataType = DataType::Int64;
const TYPES: [DataType; 3] = [INT, INT, INT];

/// Over (value, from, until).
fn harness(from: bool, until: bool, workers: usize) -> Harness {
    let operator = OperatorSpec::TemporalFilter {
        partition: vec![0],
        from: from.then_some(1),
        until: until.then_some(2),
        project: vec![0, 1],
    };
    let spec = NodeSpec { operator, inputs: vec![TYPES.to_vec()], output: vec![INT, INT] };
    Harness::new(spec, vec![vec![0]], workers).unwrap()
}

#[test]
fn rows_come_and_go_with_the_clock() {
    let mut harness = harness(true, true, 1);
    let at = |harness: &mut Harness, now: i64| {
        harness.advance(now);
        harness.end_epoch().unwrap();
        net(&harness.output).unwrap().into_keys().map(|row| row[0].clone()).collect::<Vec<_>>().join(" ")
    };
    let rows = "+ 1 0 20\n+ 2 15 30\n+ 3 0 5\n+ 4 . 50\n+ 5 10 .\n+ 6 30 30";
    harness.push(0, &changes(rows, &TYPES).unwrap()).unwrap();
    assert_eq!(at(&mut harness, 10), "1");
    assert_eq!(at(&mut harness, 15), "1 2", "from is the first moment");
    harness.push(0, &changes("+ 7 0 25\n- 2 15 30", &TYPES).unwrap()).unwrap();
    assert_eq!(at(&mut harness, 19), "1 7");
    assert_eq!(at(&mut harness, 20), "7", "until is the first moment after");
    harness.push(0, &changes("- 1 0 20\n- 3 0 5", &TYPES).unwrap()).unwrap();
    assert_eq!(at(&mut harness, 24), "7", "what is over does not count");
    assert_eq!(at(&mut harness, 25), "");
}

/// Random rows, deletes, times, restarts: after each epoch the output is the rows that show then.
#[test]
fn the_output_is_what_shows_now() {
    for seed in 0..60 {
        let mut rng = Rng::seeded(seed);
        let (from, until) = [(true, true), (false, true), (true, false)][seed as usize % 3];
        let mut harness = harness(from, until, 1 + rng.below(3) as usize);
        harness.fuel = if rng.below(2) == 0 { 2 } else { 10_000 };
        let (mut now, mut rows) = (100i64, Vec::<[i64; 3]>::new());
        for _ in 0..30 {
            let mut lines = Vec::new();
            for _ in 0..rng.below(6) {
                let from = now - 30 + rng.below(60) as i64;
                let row = [rng.below(3) as i64, from, from + rng.below(30) as i64];
                lines.push(format!("+ {} {} {}", row[0], row[1], row[2]));
                rows.push(row);
            }
            rows.retain(|row| {
                let goes = rng.below(6) == 0;
                if goes {
                    lines.push(format!("- {} {} {}", row[0], row[1], row[2]));
                }
                !goes
            });
            if !lines.is_empty() {
                harness.push(0, &changes(&lines.join("\n"), &TYPES).unwrap()).unwrap();
            }
            now += rng.below(15) as i64;
            harness.advance(now);
            harness.end_epoch().unwrap();
            let shows = |row: &&[i64; 3]| (!from || row[1] <= now) && (!until || now < row[2]);
            let shown: Vec<String> =
                rows.iter().filter(shows).map(|r| format!("+ {} {}", r[0], r[1])).collect();
            let shown = changes(&shown.join("\n"), &[INT, INT]).unwrap();
            assert_eq!(net(&harness.output).unwrap(), net(&[shown]).unwrap(), "seed {seed} at {now}");
            if rng.below(5) == 0 {
                harness.restart(1 + rng.below(3) as usize).unwrap();
                harness.advance(now);
            }
        }
        harness.advance(now + 1_000);
        harness.end_epoch().unwrap();
        harness.checkpoint().unwrap();
        assert_eq!(harness.state.entries.len(), 0, "seed {seed}: nothing waits any more");
    }
}

/// A snapshot in steps: a restart before any time was told goes on as if there had been none.
#[test]
fn rows_that_were_read_before_the_first_time_come_and_go_too() {
    for (from, until) in [(true, true), (false, true), (true, false)] {
        let mut harness = harness(from, until, 2);
        harness.push(0, &changes("+ 1 5 20\n+ 2 15 30", &TYPES).unwrap()).unwrap();
        harness.end_epoch().unwrap();
        harness.restart(1).unwrap();
        harness.push(0, &changes("+ 3 0 50", &TYPES).unwrap()).unwrap();
        harness.advance(25);
        harness.end_epoch().unwrap();
        let shown = if until { "+ 2 15\n+ 3 0" } else { "+ 1 5\n+ 2 15\n+ 3 0" };
        let shown = changes(shown, &[INT, INT]).unwrap();
        assert_eq!(net(&harness.output).unwrap(), net(&[shown]).unwrap(), "from {from}, until {until}");
    }
}
