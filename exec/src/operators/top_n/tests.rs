//! Σ-delta tests of `TopN` against sorting everything.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use proptest::prelude::*;
use weir_common::SqlState;

use super::*;
use crate::spec::SortColumn;
use crate::testing::{DeltaCheck, Harness, Net, Row, Step, changes, net};

#[derive(Debug)]
struct Case {
    partition: Vec<usize>,
    order: Vec<SortColumn>,
    bounds: RowBounds,
    numbered: bool,
    mode: ChangelogMode,
    /// Type of the columns that are ordered by.
    ty: DataType,
}

impl Case {
    fn spec(&self) -> NodeSpec {
        let input = vec![DataType::Int64, self.ty.clone(), self.ty.clone(), DataType::Utf8];
        let project = vec![3, 0, 1, 2];
        let mut output: Vec<DataType> = project.iter().map(|column| input[*column].clone()).collect();
        output.extend(self.numbered.then_some(DataType::Int64));
        let operator = OperatorSpec::TopN {
            partition: self.partition.clone(),
            order: self.order.clone(),
            bounds: self.bounds,
            project,
            numbered: self.numbered,
            input_mode: self.mode,
            closing: None,
        };
        NodeSpec { operator, inputs: vec![input], output }
    }

    fn compare_keys(&self, a: &Row, b: &Row) -> std::cmp::Ordering {
        let keys = self.order.iter().map(|key| {
            let (a, b) = (a[key.column], b[key.column]);
            let nulls = a.is_none().cmp(&b.is_none());
            let values = a.cmp(&b);
            match (a.is_none() || b.is_none(), key.nulls_first, key.descending) {
                (true, true, _) => nulls.reverse(),
                (true, false, _) => nulls,
                (false, _, true) => values.reverse(),
                (false, _, false) => values,
            }
        });
        keys.fold(std::cmp::Ordering::Equal, |order, key| order.then(key))
    }

    /// The rows that are shown.
    fn model(&self, rows: &[Row]) -> Net {
        let mut partitions: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            partitions.entry(self.partition.iter().map(|c| row[*c]).collect()).or_default().push(row);
        }
        let mut shown = Net::new();
        for mut rows in partitions.into_values() {
            let whole = |row: &Row| row.iter().map(|cell| (cell.is_none(), *cell)).collect::<Vec<_>>();
            rows.sort_by(|a, b| self.compare_keys(a, b).then_with(|| whole(a).cmp(&whole(b))));
            let (mut rank, mut dense_rank) = (0, 0);
            for (i, row) in rows.iter().enumerate() {
                if i == 0 || self.compare_keys(rows[i - 1], row).is_ne() {
                    (rank, dense_rank) = (i as u64 + 1, dense_rank + 1);
                }
                let number = match self.bounds.numbering {
                    Numbering::Row => i as u64 + 1,
                    Numbering::Rank => rank,
                    Numbering::DenseRank => dense_rank,
                };
                if (i as u64) < self.bounds.skip || self.bounds.last.is_some_and(|last| number > last) {
                    continue;
                }
                let cells = [3, 0, 1, 2].map(|c: usize| row[c].map_or(".".to_string(), |v| v.to_string()));
                let number = self.numbered.then(|| number.to_string());
                *shown.entry(cells.into_iter().chain(number).collect()).or_default() += 1;
            }
        }
        shown
    }

    fn check(&self, steps: &[Step], batch_rows: usize, shuffle: u64) {
        let mut harness = Harness::new(self.spec(), vec![self.partition.clone()], 3).unwrap();
        harness.fuel = 3;
        let model = |rows: &[Vec<Row>]| Ok(self.model(&rows[0]));
        DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(steps).unwrap();
    }
}

fn cases(mode: ChangelogMode) -> impl Strategy<Value = Case> {
    let sort = (1usize..3, any::<bool>(), any::<bool>());
    let sort =
        sort.prop_map(|(column, descending, nulls_first)| SortColumn { column, descending, nulls_first });
    let numbering = prop_oneof![Just(Numbering::Row), Just(Numbering::Rank), Just(Numbering::DenseRank)];
    let bounds =
        (numbering, prop_oneof![2 => Just(0u64), 1 => 0u64..4], prop::option::weighted(0.9, 0u64..6));
    let partition = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 3])];
    let types = prop_oneof![Just(DataType::Int64), Just(DataType::Int32), Just(DataType::Decimal128(38, 0))];
    (partition, prop::collection::vec(sort, 0..3), bounds, any::<bool>(), types).prop_map(
        move |(partition, order, (numbering, skip, last), numbered, ty)| {
            let bounds = RowBounds { numbering, skip, last };
            Case { partition, order, bounds, numbered, mode, ty }
        },
    )
}

fn steps(deletes: u32) -> impl Strategy<Value = Vec<Step>> {
    let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (0..bound).prop_map(Some)];
    let row = (cell(2), cell(4), cell(4), cell(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    let step = prop_oneof![
        8 => row.prop_map(|row| Step::Insert(0, row)),
        deletes => any::<usize>().prop_map(|at| Step::Delete(0, at)),
        2 => Just(Step::Epoch),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn changing_input_gives_the_first_rows(
        case in cases(ChangelogMode::Retract), steps in steps(6), batch_rows in 1usize..20, shuffle: u64,
    ) {
        case.check(&steps, batch_rows, shuffle);
    }

    #[test]
    fn growing_input_gives_the_first_rows(
        case in cases(ChangelogMode::AppendOnly), steps in steps(0), batch_rows in 1usize..20, shuffle: u64,
    ) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Delete(..))).collect();
        case.check(&steps, batch_rows, shuffle);
    }
}

/// `ORDER BY v DESC LIMIT rows` over (k, v), one worker.
fn highest(rows: u64, mode: ChangelogMode) -> Harness {
    let types = vec![DataType::Int64, DataType::Int64];
    let operator = OperatorSpec::TopN {
        partition: vec![],
        order: vec![SortColumn { column: 1, descending: true, nulls_first: true }],
        bounds: RowBounds { numbering: Numbering::Row, skip: 0, last: Some(rows) },
        project: vec![0, 1],
        numbered: false,
        input_mode: mode,
        closing: None,
    };
    let spec = NodeSpec { operator, inputs: vec![types.clone()], output: types };
    Harness::new(spec, vec![vec![]], 1).unwrap()
}

fn epoch(harness: &mut Harness, text: &str) -> Result<Net> {
    harness.output.clear();
    harness.push(0, &changes(text, &[DataType::Int64, DataType::Int64])?)?;
    harness.end_epoch()?;
    net(&harness.output)
}

fn rows(text: &str) -> Net {
    net(&[changes(text, &[DataType::Int64, DataType::Int64]).unwrap()]).unwrap()
}

#[test]
fn only_what_changes_among_the_first_rows_is_emitted() {
    let mut top = highest(2, ChangelogMode::Retract);
    assert_eq!(epoch(&mut top, "+ 1 10\n+ 2 20\n+ 3 30").unwrap(), rows("+ 3 30\n+ 2 20"));
    assert_eq!(epoch(&mut top, "+ 4 5\n- 1 10\n+ 1 11").unwrap(), Net::new());
    assert!(top.output.is_empty());
    assert_eq!(epoch(&mut top, "- 3 30").unwrap(), rows("- 3 30\n+ 1 11"));
    assert_eq!(epoch(&mut top, "+ 5 40\n- 5 40").unwrap(), Net::new());
}

#[test]
fn a_growing_input_keeps_only_rows_that_are_shown() {
    let mut top = highest(10, ChangelogMode::AppendOnly);
    for round in 0..20 {
        let text: String = (0..1000).map(|i| format!("+ {i} {}\n", (i * 7919 + round) % 1000)).collect();
        epoch(&mut top, &text).unwrap();
        top.checkpoint().unwrap();
        assert_eq!(top.state.entries.len(), 10);
    }
    assert!(top.memory_bytes() < 256 << 10, "{} bytes", top.memory_bytes());
}

#[test]
fn large_results_leave_in_bounded_batches() {
    let mut top = highest(50_000, ChangelogMode::Retract);
    let text: String = (0..30_000).map(|i| format!("+ {i} {i}\n")).collect();
    epoch(&mut top, &text).unwrap();
    assert!(top.output.iter().all(|batch| batch.len() <= BATCH_ROWS));
    assert_eq!(top.output.iter().map(ChangeBatch::len).sum::<usize>(), 30_000);
    top.restart(1).unwrap();
    let gone = epoch(&mut top, &text.replace('+', "-")).unwrap();
    assert_eq!(gone.values().sum::<i64>(), -30_000);
    top.checkpoint().unwrap();
    assert!(top.state.entries.is_empty());
}

#[test]
fn a_delete_without_an_insert_is_noticed() {
    let mut top = highest(3, ChangelogMode::Retract);
    assert_eq!(epoch(&mut top, "- 1 1").unwrap_err().state(), SqlState::INTERNAL_ERROR);
    let mut top = highest(3, ChangelogMode::AppendOnly);
    assert_eq!(epoch(&mut top, "- 1 1").unwrap_err().state(), SqlState::INTERNAL_ERROR);
}
