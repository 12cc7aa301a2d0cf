//! MATCH_RECOGNIZE against enumeration ([`model`]), over changing input and for random patterns; and what a matcher must
//! bear.

mod closing;
mod limits;
mod model;

use arrow::datatypes::{DataType, TimeUnit};
use proptest::prelude::*;
use weir_common::SqlState;

use self::model::{Test, output};
use super::*;
use crate::expr::{BinaryOp, Literal, ScalarExpr};
use crate::spec::{
    AfterMatch, AggregateCall, AggregateFunction, Logical, MatchAggregate, MatchExpr, MatchInput, Measure,
    Navigation, Pattern, PatternVariable, SortColumn, VariableSet,
};
use crate::testing::{DeltaCheck, Harness, Row, Step, changes};

const INT: DataType = DataType::Int64;
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const ALL: VariableSet = VariableSet::ALL;

fn number(n: i64) -> ScalarExpr {
    ScalarExpr::Literal(Literal::Int(n), INT)
}

fn column(at: usize) -> Box<ScalarExpr> {
    Box::new(ScalarExpr::Column(at))
}

fn binary(op: BinaryOp, left: Box<ScalarExpr>, right: ScalarExpr) -> ScalarExpr {
    ScalarExpr::Binary { op, left, right: Box::new(right) }
}

fn value(set: VariableSet, logical: Logical, offset: i64) -> MatchInput {
    MatchInput::Column { column: 2, at: Navigation { set, logical, offset, is_final: false } }
}

fn aggregate(function: AggregateFunction, set: VariableSet, is_final: bool) -> MatchInput {
    let is_count = function == AggregateFunction::Count;
    let result = if function == AggregateFunction::Sum { DataType::Decimal128(38, 0) } else { INT };
    let (args, order, filter) = (if is_count { vec![] } else { vec![0] }, vec![], None);
    let call = AggregateCall { function, args, order, filter, distinct: false, result };
    let (reads, args) = if is_count { (vec![], vec![]) } else { (vec![2], vec![ScalarExpr::Column(0)]) };
    MatchInput::Aggregate(Box::new(MatchAggregate { call, reads, args, set, is_final, result: INT }))
}

/// The condition that a test is.
fn define(variable: u8, test: Test) -> Option<MatchExpr> {
    let own = VariableSet::one(variable);
    let here = value(ALL, Logical::Last(0), 0);
    let (inputs, expr) = match test {
        Test::Always => return None,
        Test::Above(than) => (vec![here], binary(BinaryOp::Gt, column(0), number(than))),
        Test::Falls => (
            vec![here, value(own, Logical::Last(0), -1)],
            binary(BinaryOp::Lt, column(0), ScalarExpr::Column(1)),
        ),
        Test::RisesAfter => (
            vec![here, value(own, Logical::Last(0), 2)],
            binary(BinaryOp::Gt, column(1), ScalarExpr::Column(0)),
        ),
        Test::AboveFirstVariable => (
            vec![here, value(VariableSet::one(0), Logical::Last(0), 0)],
            binary(BinaryOp::Gt, column(0), ScalarExpr::Column(1)),
        ),
        Test::AboveStart => (
            vec![here, value(ALL, Logical::First(0), 0)],
            binary(BinaryOp::Gt, column(0), ScalarExpr::Column(1)),
        ),
        Test::AtMost(most) => (
            vec![aggregate(AggregateFunction::Count, own, false)],
            binary(BinaryOp::LtEq, column(0), number(most)),
        ),
        Test::SumBelow(than) => (
            vec![aggregate(AggregateFunction::Sum, ALL, false)],
            binary(BinaryOp::Lt, column(0), number(than)),
        ),
        Test::NotBelowEarlier => (
            vec![here, value(own, Logical::Last(1), -1)],
            binary(
                BinaryOp::Or,
                Box::new(ScalarExpr::IsNull(column(1))),
                binary(BinaryOp::LtEq, column(1), ScalarExpr::Column(0)),
            ),
        ),
        Test::MatchBelow(than) => {
            (vec![MatchInput::MatchNumber], binary(BinaryOp::Lt, column(0), number(than)))
        }
    };
    Some(MatchExpr { inputs, expr })
}

/// As `Model::measures` computes them.
fn measures() -> Vec<Measure> {
    let at = |logical, offset, is_final| Navigation { set: ALL, logical, offset, is_final };
    let of = |at| MatchInput::Column { column: 2, at };
    let first = VariableSet::one(0);
    let inputs = [
        (MatchInput::MatchNumber, INT),
        (of(at(Logical::First(1), 0, false)), INT),
        (value(VariableSet::one(1), Logical::Last(0), 0), INT),
        (of(at(Logical::Last(0), 0, true)), INT),
        (MatchInput::Classifier(at(Logical::Last(0), 0, false)), DataType::Utf8),
        (aggregate(AggregateFunction::Count, ALL, false), INT),
        (aggregate(AggregateFunction::Sum, first, false), INT),
        (aggregate(AggregateFunction::Max, first, true), INT),
        (of(at(Logical::First(0), -1, false)), INT),
        (of(at(Logical::Last(0), 1, false)), INT),
    ];
    let measure = |(input, ty)| Measure {
        name: "m".to_owned(),
        value: MatchExpr { inputs: vec![input], expr: ScalarExpr::Column(0) },
        ty,
    };
    inputs.into_iter().map(measure).collect()
}

/// Over (partition, time, value), with the variables a, b and c.
fn pattern(pattern: Pattern, tests: &[Test], after_match: AfterMatch, rows: RowsPerMatch) -> RowPattern {
    let variables = (0..).zip(["a", "b", "c"]).zip(tests).map(|((variable, name), test)| PatternVariable {
        name: name.to_owned(),
        define: define(variable, *test),
    });
    let variables = variables.collect();
    let project = if rows == RowsPerMatch::One { vec![0] } else { vec![0, 2] };
    RowPattern {
        partition: vec![0],
        order: vec![SortColumn { column: 1, descending: false, nulls_first: false }],
        pattern,
        variables,
        within_micros: None,
        after_match,
        rows,
        project,
        measures: measures(),
    }
}

fn node(pattern: &RowPattern) -> NodeSpec {
    let mut output = vec![INT; pattern.project.len()];
    output.extend(pattern.measures.iter().map(|measure| measure.ty.clone()));
    let operator = OperatorSpec::MatchRecognize(Box::new(pattern.clone()));
    NodeSpec { operator, inputs: vec![vec![INT, TIME, INT]], output }
}

fn variable(variable: u8) -> Pattern {
    Pattern::Variable { variable, is_excluded: false }
}

fn repeat(pattern: Pattern, min: u32, max: Option<u32>) -> Pattern {
    Pattern::Repeat { pattern: Box::new(pattern), min, max, is_greedy: true }
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let leaf = prop_oneof![
        12 => (0u8..3, prop::bool::weighted(0.1))
            .prop_map(|(variable, is_excluded)| Pattern::Variable { variable, is_excluded }),
        1 => Just(Pattern::Start),
        1 => Just(Pattern::End),
        1 => Just(Pattern::Concat(vec![])),
    ];
    leaf.prop_recursive(4, 10, 3, |inner| {
        let bounds = prop_oneof![
            3 => Just((0, None)), 3 => Just((1, None)), 3 => Just((0, Some(1))),
            1 => Just((2, None)), 1 => Just((2, Some(2))), 1 => Just((0, Some(2))), 1 => Just((1, Some(3))),
        ];
        let repeat = (inner.clone(), bounds, prop::bool::weighted(0.75));
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(Pattern::Concat),
            2 => prop::collection::vec(inner, 2..4).prop_map(Pattern::Alternation),
            3 => repeat.prop_map(|(pattern, (min, max), is_greedy)| {
                Pattern::Repeat { pattern: Box::new(pattern), min, max, is_greedy }
            }),
        ]
    })
}

fn tests_of() -> impl Strategy<Value = Vec<Test>> {
    let local = prop_oneof![
        Just(Test::Always),
        (0i64..4).prop_map(Test::Above),
        Just(Test::Falls),
        Just(Test::RisesAfter),
    ];
    let any = prop_oneof![
        2 => Just(Test::Always),
        2 => (0i64..4).prop_map(Test::Above),
        2 => Just(Test::Falls),
        1 => Just(Test::RisesAfter),
        2 => Just(Test::AboveFirstVariable),
        1 => Just(Test::AboveStart),
        2 => (1i64..3).prop_map(Test::AtMost),
        2 => (4i64..10).prop_map(Test::SumBelow),
        2 => Just(Test::NotBelowEarlier),
        1 => (2i64..4).prop_map(Test::MatchBelow),
    ];
    prop_oneof![prop::collection::vec(local, 3), prop::collection::vec(any, 3)]
}

fn after_matches() -> impl Strategy<Value = AfterMatch> {
    prop_oneof![
        3 => Just(AfterMatch::PastLastRow),
        3 => Just(AfterMatch::ToNextRow),
        1 => (0u8..3).prop_map(|v| AfterMatch::ToFirst(VariableSet::one(v))),
        1 => (0u8..3).prop_map(|v| AfterMatch::ToLast(VariableSet(1 << v | 4))),
    ]
}

fn rows_per_match() -> impl Strategy<Value = RowsPerMatch> {
    prop_oneof![
        Just(RowsPerMatch::One),
        Just(RowsPerMatch::All { empty: true, unmatched: false }),
        Just(RowsPerMatch::All { empty: false, unmatched: false }),
        Just(RowsPerMatch::All { empty: true, unmatched: true }),
    ]
}

fn row(values: i64) -> impl Strategy<Value = Row> {
    let value = prop_oneof![1 => Just(None), 12 => (0..values).prop_map(Some)];
    let time = prop_oneof![1 => Just(None), 20 => (0i64..24).prop_map(Some)];
    (0i64..2, time, value).prop_map(|(k, t, v)| vec![Some(k), t, v])
}

fn recognized(spec: &RowPattern, rows: &[Row]) -> Result<crate::testing::Net> {
    let mut harness = Harness::new(node(spec), vec![vec![0]], 1)?;
    let text: String = rows.iter().map(|row| crate::testing::line(1, row)).collect();
    harness.push(0, &changes(&text, &[INT, TIME, INT])?)?;
    harness.end_epoch()?;
    crate::testing::net(&harness.output)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_pattern_finds_what_enumeration_finds(
        shape in patterns(), tests in tests_of(), after in after_matches(), rows in rows_per_match(),
        within in prop::option::of(2i64..12), input in prop::collection::vec(row(5), 0..11),
    ) {
        let mut spec = pattern(shape, &tests, after, rows);
        spec.within_micros = within;
        let found = recognized(&spec, &input);
        match output(&spec, &tests, &input) {
            Some(expected) => prop_assert_eq!(found.unwrap(), expected),
            None => {
                let state = found.unwrap_err().state();
                let states = [SqlState::SKIP_TO_FIRST_ROW_OF_MATCH, SqlState::SKIP_TO_NONEXISTENT_ROW];
                prop_assert!(states.contains(&state));
            }
        }
    }
}

/// Patterns whose matches do not run through whole partitions, and one that looks far.
fn streamed() -> impl Strategy<Value = (Pattern, Vec<Test>)> {
    let concat = |parts: Vec<Pattern>| Pattern::Concat(parts);
    prop_oneof![
        // A V: falls, then rises again.
        Just((
            concat(vec![variable(0), repeat(variable(1), 1, None), repeat(variable(2), 1, None)]),
            vec![Test::Always, Test::Falls, Test::AboveFirstVariable],
        )),
        Just((
            concat(vec![variable(0), repeat(variable(1), 0, None), variable(2)]),
            vec![Test::Above(2), Test::AtMost(2), Test::RisesAfter],
        )),
        Just((
            concat(vec![variable(0), repeat(variable(1), 0, Some(2)), Pattern::End]),
            vec![Test::Above(0), Test::SumBelow(9), Test::Always],
        )),
        Just((repeat(variable(0), 0, None), vec![Test::Above(1), Test::Always, Test::Always])),
        (patterns(), tests_of()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => row(5).prop_map(|row| Step::Insert(0, row)),
        4 => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        4 => Just(Step::Epoch),
        1 => prop_oneof![Just(1), Just(3)].prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changing_input_gives_the_recomputed_matches(
        (shape, tests) in streamed(), to_next: bool, rows in rows_per_match(),
        within in prop::option::of(2i64..12), steps in steps(), batch_rows in 1usize..20, shuffle: u64,
        workers in prop_oneof![Just(1usize), Just(3)],
    ) {
        // Other skips fail for some inputs.
        let after = if to_next { AfterMatch::ToNextRow } else { AfterMatch::PastLastRow };
        let mut spec = pattern(shape, &tests, after, rows);
        spec.within_micros = within;
        let mut harness = Harness::new(node(&spec), vec![vec![0]], workers).unwrap();
        harness.fuel = 3;
        let model = |rows: &[Vec<Row>]| {
            output(&spec, &tests, &rows[0]).ok_or_else(|| Error::internal("the model fails"))
        };
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
    }
}
