//! What a matcher must bear: long matches, ambiguous patterns, partitions that grow.

use weir_common::SqlState;

use super::model::{Test, output};
use super::*;
use crate::testing::net;

/// One match of a pattern over a partition of these values.
fn recognize(spec: &RowPattern, values: impl Iterator<Item = i64>) -> Result<Vec<Vec<String>>> {
    let mut harness = Harness::new(node(spec), vec![vec![0]], 1)?;
    let text: String = values.enumerate().map(|(time, value)| format!("+ 1 {time} {value}\n")).collect();
    harness.push(0, &changes(&text, &[INT, TIME, INT])?)?;
    harness.end_epoch()?;
    Ok(net(&harness.output)?.into_keys().collect())
}

fn one_row(shape: Pattern, tests: [Test; 3]) -> RowPattern {
    pattern(shape, &tests, AfterMatch::PastLastRow, RowsPerMatch::One)
}

#[test]
fn a_match_may_be_long() {
    const ROWS: i64 = 100_000;
    let shape = Pattern::Concat(vec![variable(0), repeat(variable(1), 0, None), variable(2)]);
    for tests in [
        [Test::Always, Test::Above(-1), Test::Above(0)],
        [Test::Always, Test::AboveFirstVariable, Test::AboveStart],
    ] {
        // The last row alone is no more than the first: it ends no match.
        let values = (0..ROWS).map(|row| if row == ROWS - 1 { 0 } else { row });
        let matches = recognize(&one_row(shape.clone(), tests), values).unwrap();
        assert_eq!(matches.len(), 1);
        assert_eq!(matches[0][6], (ROWS - 1).to_string(), "{tests:?}");
    }
}

#[test]
fn an_ambiguous_pattern_takes_no_exponential_time() {
    // (a | b)* c, where a and b are true of every row and c of none.
    let either = || Pattern::Alternation(vec![variable(0), variable(1)]);
    let shape = Pattern::Concat(vec![repeat(either(), 0, None), variable(2)]);
    let local = one_row(shape.clone(), [Test::Always, Test::Always, Test::Above(9)]);
    assert!(recognize(&local, (0..3000).map(|_| 1)).unwrap().is_empty());
    // Here c depends on the last a, so there are as many ways as rows.
    let navigating = one_row(shape.clone(), [Test::Always, Test::Always, Test::AboveFirstVariable]);
    assert!(recognize(&navigating, (0..60).map(|_| 1)).unwrap().is_empty());
    // (a+)+ c.
    let nested = repeat(repeat(variable(0), 1, None), 1, None);
    let shape = Pattern::Concat(vec![nested, variable(2)]);
    let nested = one_row(shape, [Test::Always, Test::Always, Test::Above(9)]);
    assert!(recognize(&nested, (0..3000).map(|_| 1)).unwrap().is_empty());
}

#[test]
fn a_pattern_too_large_is_refused() {
    let shape = repeat(repeat(variable(0), 1000, Some(1000)), 1000, Some(1000));
    assert_eq!(check_pattern(&shape).unwrap_err().state(), SqlState::STATEMENT_TOO_COMPLEX);
}

#[test]
fn a_growing_partition_starts_again_near_its_end() {
    let shape = Pattern::Concat(vec![variable(0), variable(1)]);
    let spec = one_row(shape, [Test::Above(0), Test::Above(1), Test::Always]);
    let mut operator = MatchRecognize::new(&node(&spec)).unwrap();
    let mut take = |text: &str| {
        let mut out = Output::new();
        let batch = changes(text, &[INT, TIME, INT]).unwrap();
        let flows = [
            operator.on_batch(Port(0), batch, &mut out).unwrap(),
            operator.on_epoch_end(Epoch(1), &mut out).unwrap(),
        ];
        assert_eq!(flows, [Flow::Done; 2]);
        let starts: Vec<u32> = operator.restarts[0].iter().map(|restart| restart.start).collect();
        (out.batches.iter().map(ChangeBatch::len).sum::<usize>(), starts)
    };
    let rows: String = (0..1000).map(|time| format!("+ 1 {time} {}\n", 1 + time % 2)).collect();
    let (emitted, first) = take(&rows);
    assert_eq!((emitted, first.len() > 100), (500, true));
    // The last restarts are replaced, those before stay.
    let (emitted, then) = take("+ 1 1000 1\n+ 1 1001 2");
    // The row after a match is a measure, so the match before the new one changes, too.
    assert_eq!((emitted, &then[..first.len() - 2]), (3, &first[..first.len() - 2]));
    // A change at the beginning gives all matches other numbers.
    let (emitted, all) = take("- 1 0 1");
    assert_eq!((emitted, all.len() > 100), (1001, true));
}

#[test]
fn loops_around_loops_of_no_row_are_preferred_as_written() {
    // (a*?)*: an iteration that matches no row leads nowhere, so each takes a row.
    let inner = Pattern::Repeat { pattern: Box::new(variable(0)), min: 0, max: None, is_greedy: false };
    let shape = repeat(inner, 0, None);
    let rows: Vec<Row> = (0..3).map(|time| vec![Some(1), Some(time), Some(1)]).collect();
    for after in [AfterMatch::PastLastRow, AfterMatch::ToNextRow] {
        let tests = [Test::Always; 3];
        let spec = pattern(shape.clone(), &tests, after, RowsPerMatch::One);
        assert_eq!(recognized(&spec, &rows).unwrap(), output(&spec, &tests, &rows).unwrap(), "{after:?}");
    }
}
