//! `Unnest`: a row for each element of its lists, side by side; stateless.
//!
//! ```text
//!   lists [1, 2, 3] and [a]     elements  1 a   2 NULL   3 NULL     beside the columns of the list's row
//!   lists [] and NULL           no row; with `outer` one row of NULLs
//! ```
//! The lists are computed here and not by a Calc below, for so many rows at once as have about [`STEP_ELEMENTS`]
//! together: memory is bound by the longest list, not by a batch of long lists. A list that is longer than the fuel is
//! taken apart over several calls.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result};

use super::{BATCH_ROWS, positional_schema};
use crate::compile::{CompiledExpr, compile};
use crate::error::from_arrow;
use crate::expr::ScalarExpr;
use crate::operator::{Flow, Operator, Output, Port};

/// Elements of the lists that are computed at once, about.
const STEP_ELEMENTS: usize = 64 * 1024;

/// The operator that makes rows of lists.
pub struct Unnest {
    lists: Vec<CompiledExpr>,
    outer: bool,
    project: Vec<Projected>,
    schema: SchemaRef,
    /// Rows whose lists are computed together.
    step_rows: usize,
    work: Option<Work>,
}

#[derive(Clone, Copy)]
enum Projected {
    /// A column of the list's row.
    Input(usize),
    /// The element of this list.
    Element(usize),
}

/// A batch that is being worked on.
struct Work {
    batch: ChangeBatch,
    /// Rows of the batch whose lists are computed or done.
    taken: usize,
    step: Option<Step>,
}

/// Rows with their lists.
struct Step {
    rows: ChangeBatch,
    lists: Vec<ListArray>,
    /// The next row, and the next element in it.
    row: usize,
    element: usize,
}

impl Unnest {
    /// An `Unnest` over input columns of the types `input`; `project` counts these first, then the lists' elements.
    pub fn new(
        lists: &[ScalarExpr],
        outer: bool,
        project: &[usize],
        input: &[DataType],
        output: &[DataType],
    ) -> Result<Unnest> {
        let projected = |column: &usize| match column.checked_sub(input.len()) {
            None => Ok(Projected::Input(*column)),
            Some(list) if list < lists.len() => Ok(Projected::Element(list)),
            Some(_) => Err(Error::internal(format!("column {column} of an Unnest"))),
        };
        Ok(Unnest {
            lists: lists.iter().map(|list| compile(list, input)).collect::<Result<_>>()?,
            outer,
            project: project.iter().map(projected).collect::<Result<_>>()?,
            schema: positional_schema(output),
            step_rows: BATCH_ROWS / 64,
            work: None,
        })
    }

    fn run(&mut self, out: &mut Output) -> Result<Flow> {
        while let Some(work) = &mut self.work {
            let Some(step) = &mut work.step else {
                let rest = work.batch.len() - work.taken;
                if rest == 0 {
                    self.work = None;
                    break;
                }
                let rows = work.batch.slice(work.taken, rest.min(self.step_rows));
                work.taken += rows.len();
                let step = Step::new(rows, &self.lists)?;
                self.step_rows = step.rows_for(STEP_ELEMENTS);
                work.step = Some(step);
                continue;
            };
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
            match step.next(self.outer, &self.project, &self.schema)? {
                Some(batch) => out.push(batch),
                None => work.step = None,
            }
        }
        Ok(Flow::Done)
    }
}

impl Operator for Unnest {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        self.work = Some(Work { batch, taken: 0, step: None });
        self.run(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        self.run(out)
    }
}

impl Step {
    fn new(rows: ChangeBatch, lists: &[CompiledExpr]) -> Result<Step> {
        let list = |expr: &CompiledExpr| {
            let array = expr.evaluate(rows.columns(), rows.len())?;
            let list = array.as_list_opt::<i32>().cloned();
            list.ok_or_else(|| Error::internal(format!("unnest of {}", array.data_type())))
        };
        let lists = lists.iter().map(list).collect::<Result<_>>()?;
        Ok(Step { rows, lists, row: 0, element: 0 })
    }

    /// How many rows have so many elements, if the others are as these.
    fn rows_for(&self, elements: usize) -> usize {
        let count = |list: &ListArray| list.value_offsets()[list.len()] - list.value_offsets()[0];
        let here: usize = self.lists.iter().map(|list| count(list) as usize).sum();
        (elements * self.rows.len() / here.max(1)).clamp(1, BATCH_ROWS)
    }

    /// The next rows, [`BATCH_ROWS`] at most; `None` at the end.
    fn next(
        &mut self,
        outer: bool,
        project: &[Projected],
        schema: &SchemaRef,
    ) -> Result<Option<ChangeBatch>> {
        let mut owners: Vec<u32> = Vec::new();
        let mut elements: Vec<Vec<Option<u32>>> = vec![Vec::new(); self.lists.len()];
        while self.row < self.rows.len() && owners.len() < BATCH_ROWS {
            let longest = self.lists.iter().map(|list| range(list, self.row).len()).max().unwrap_or(0);
            let length = longest.max(usize::from(outer));
            let end = length.min(self.element + BATCH_ROWS - owners.len());
            owners.extend(std::iter::repeat_n(self.row as u32, end - self.element));
            for (list, elements) in self.lists.iter().zip(&mut elements) {
                let range = range(list, self.row);
                let at = |i: usize| (i < range.len()).then_some((range.start + i) as u32);
                elements.extend((self.element..end).map(at));
            }
            (self.row, self.element) = if end == length { (self.row + 1, 0) } else { (self.row, end) };
        }
        if owners.is_empty() {
            return Ok(None);
        }
        let ops = self.rows.ops.as_ref().map(|ops| owners.iter().map(|row| ops[*row as usize]).collect());
        let (count, owners) = (owners.len(), UInt32Array::from(owners));
        let elements: Vec<UInt32Array> = elements.into_iter().map(UInt32Array::from).collect();
        let column = |projected: &Projected| -> Result<ArrayRef> {
            match *projected {
                Projected::Input(column) => take(&self.rows.columns()[column], &owners, None),
                Projected::Element(list) => take(self.lists[list].values(), &elements[list], None),
            }
            .map_err(from_arrow)
        };
        let columns = project.iter().map(column).collect::<Result<_>>()?;
        let rows = record_batch(schema.clone(), columns, count)?;
        Ok(Some(ChangeBatch { rows, ops }))
    }
}

/// Where the list of this row is in the values; NULL is empty.
fn range(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    if list.is_null(row) { 0..0 } else { offsets[row] as usize..offsets[row + 1] as usize }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Literal;
    use crate::spec::{NodeSpec, OperatorSpec};
    use crate::testing::{DeltaCheck, Harness, Net, Row, Step, changes, net};

    const INPUT: [DataType; 3] = [DataType::Int64, DataType::Int64, DataType::Int64];

    fn list_of(element: DataType) -> DataType {
        DataType::new_list(element, true)
    }

    /// The list 1, 2, … of as many as this column says; NULL for NULL.
    fn series(column: usize) -> ScalarExpr {
        let one = ScalarExpr::Literal(Literal::Int(1), DataType::Int64);
        let args = vec![one, ScalarExpr::Column(column)];
        ScalarExpr::Call { function: "generate_series_int8".into(), args, ty: list_of(DataType::Int64) }
    }

    /// The first column, and the elements of the series that the others end.
    fn spec(outer: bool) -> NodeSpec {
        let lists = vec![series(1), series(2)];
        let operator = OperatorSpec::Unnest { lists, outer, project: vec![4, 0, 3] };
        NodeSpec { operator, inputs: vec![INPUT.to_vec()], output: INPUT.to_vec() }
    }

    fn model(outer: bool, rows: &[Row]) -> Net {
        let mut net = Net::new();
        for row in rows {
            let lengths = [row[1].unwrap_or(0).max(0), row[2].unwrap_or(0).max(0)];
            for i in 1..=lengths[0].max(lengths[1]).max(i64::from(outer)) {
                let element = |k: usize| if i <= lengths[k] { i.to_string() } else { ".".into() };
                let id = row[0].map_or(".".to_string(), |id| id.to_string());
                *net.entry(vec![element(1), id, element(0)]).or_default() += 1;
            }
        }
        net
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let cell = |bound: i64| prop_oneof![1 => Just(None), 6 => (-1..bound).prop_map(Some)];
        let step = prop_oneof![
            8 => (cell(3), cell(5), cell(4)).prop_map(|(id, a, b)| Step::Insert(0, vec![id, a, b])),
            5 => any::<usize>().prop_map(|at| Step::Delete(0, at)),
            3 => Just(Step::Epoch),
            1 => (1usize..4).prop_map(Step::Restart),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn rows_of_lists_side_by_side(
            steps in steps(), outer: bool, workers in prop_oneof![Just(1usize), Just(3)], batch_rows in 1usize..9, shuffle: u64,
        ) {
            let mut harness = Harness::new(spec(outer), vec![vec![0]], workers).unwrap();
            harness.fuel = 2;
            let model = |inputs: &[Vec<Row>]| Ok(model(outer, &inputs[0]));
            DeltaCheck { harness, model: &model, batch_rows, shuffle }.run(&steps).unwrap();
        }
    }

    #[test]
    fn a_long_list_is_taken_apart_over_several_calls() {
        let length = 3 * BATCH_ROWS + 5;
        let mut unnest = Unnest::new(&[series(1)], false, &[0, 3], &INPUT, &INPUT[..2]).unwrap();
        let batch = changes(&format!("- 7 {length} .\n+ 8 . ."), &INPUT).unwrap();
        let mut out = Output { fuel: 1, ..Output::new() };
        let mut flow = unnest.on_batch(Port(0), batch, &mut out).unwrap();
        let mut calls = 1;
        while flow == Flow::Yield {
            out.fuel = 1;
            flow = unnest.resume(&mut out).unwrap();
            calls += 1;
        }
        assert_eq!(calls, 5);
        assert!(out.batches.iter().all(|batch| batch.len() <= BATCH_ROWS));
        let net = net(&out.batches).unwrap();
        assert_eq!(net.len(), length);
        assert!(net.values().all(|count| *count == -1));
    }
}
