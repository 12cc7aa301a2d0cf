//! `TolerantCalc`: a [`Calc`](super::calc::Calc) that leaves out rows whose expressions fail, one by one, and reports
//! them.
//!
//! A batch is evaluated as a whole; only when that fails are its halves, and so on, until the failing rows stand alone:
//! a row in n costs about log n evaluations. An expression's value is a function of its row, so the delete of a row that
//! was left out fails the same way and is left out too, and the output stays Q over the rows that do not fail. Only
//! errors of the data (SQLSTATE class 22) are forgiven.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, ObjectId, Result};

use super::positional_schema;
use crate::compile::{CompiledExpr, compile};
use crate::expr::ScalarExpr;
use crate::operator::{Flow, Operator, Output, Port};
use crate::rejected::{Rejected, RowWriter};
use crate::spec::Letters;

/// The filter and projection operator of a job with ON ERROR SKIP or INTO.
pub struct TolerantCalc {
    filter: Option<CompiledExpr>,
    project: Vec<CompiledExpr>,
    schema: SchemaRef,
    rows: RowWriter,
    relation: Option<ObjectId>,
    target: ObjectId,
}

impl TolerantCalc {
    /// Over input columns of the types `input`; `output` are the types of the projection.
    pub fn new(
        filter: Option<&ScalarExpr>,
        project: &[ScalarExpr],
        letters: &Letters,
        input: &[DataType],
        output: &[DataType],
    ) -> Result<TolerantCalc> {
        Ok(TolerantCalc {
            filter: filter.map(|filter| compile(filter, input)).transpose()?,
            project: project.iter().map(|expr| compile(expr, input)).collect::<Result<_>>()?,
            schema: positional_schema(output),
            rows: RowWriter::new(&letters.columns, input)?,
            relation: letters.relation,
            target: letters.target,
        })
    }

    /// Drops the rows at these places, and reports those that were inserted.
    fn reject(
        &self,
        batch: &ChangeBatch,
        columns: Vec<ArrayRef>,
        failing: &BTreeMap<usize, Error>,
        out: &mut Output,
    ) -> Result<(ChangeBatch, Vec<ArrayRef>)> {
        for (row, error) in failing.iter().filter(|(row, _)| batch.op(**row) > 0) {
            out.rejected.push(Rejected {
                target: self.target,
                relation: self.relation,
                error: error.clone(),
                row: self.rows.json(&batch.rows, *row),
            });
        }
        let kept = (0..batch.len()).filter(|row| !failing.contains_key(row)).map(|row| row as u32);
        let kept = UInt32Array::from_iter_values(kept);
        let columns = arrow::compute::take_arrays(&columns, &kept, None).map_err(Error::internal)?;
        Ok((batch.take(&kept)?, columns))
    }

    fn filtered(&self, batch: ChangeBatch, out: &mut Output) -> Result<ChangeBatch> {
        let Some(filter) = &self.filter else { return Ok(batch) };
        let mut failing = BTreeMap::new();
        let passed = values(filter, &batch, &mut failing)?;
        let (batch, passed) = match failing.is_empty() {
            true => (batch, passed),
            false => {
                let (batch, mut columns) = self.reject(&batch, vec![passed], &failing, out)?;
                (batch, columns.remove(0))
            }
        };
        let mask = passed.as_boolean_opt().ok_or_else(|| Error::internal("a filter is not boolean"))?;
        if mask.null_count() == 0 && mask.true_count() == mask.len() { Ok(batch) } else { batch.filter(mask) }
    }
}

impl Operator for TolerantCalc {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let batch = self.filtered(batch, out)?;
        if batch.is_empty() {
            return Ok(Flow::Done);
        }
        let mut failing = BTreeMap::new();
        let columns = self.project.iter().map(|expr| values(expr, &batch, &mut failing));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let mut batch = batch;
        if !failing.is_empty() {
            (batch, columns) = self.reject(&batch, columns, &failing, out)?;
        }
        let rows = record_batch(self.schema.clone(), columns, batch.len())?;
        out.push(ChangeBatch { rows, ops: batch.ops });
        Ok(Flow::Done)
    }
}

/// Whether an error is of the row that was worked on.
fn is_forgiven(error: &Error) -> bool {
    error.state().0.starts_with("22")
}

/// The expression's value for each row, anything for those that it fails on, which are added to `failing`.
fn values(
    expr: &CompiledExpr,
    batch: &ChangeBatch,
    failing: &mut BTreeMap<usize, Error>,
) -> Result<ArrayRef> {
    let mut pieces = Vec::new();
    evaluate_pieces(expr, batch, 0, &mut pieces, failing)?;
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&pieces).map_err(Error::internal)
}

/// Evaluates a piece of a batch that begins at row `first`: as a whole, else its halves. What a row gives alone counts:
/// in company AND and OR may evaluate more.
fn evaluate_pieces(
    expr: &CompiledExpr,
    piece: &ChangeBatch,
    first: usize,
    pieces: &mut Vec<ArrayRef>,
    failing: &mut BTreeMap<usize, Error>,
) -> Result<()> {
    let error = match expr.evaluate(piece.columns(), piece.len()) {
        Ok(values) => {
            pieces.push(values);
            return Ok(());
        }
        Err(error) if is_forgiven(&error) => error,
        Err(error) => return Err(error),
    };
    if piece.len() == 1 {
        pieces.push(new_null_array(&expr.data_type()?, 1));
        failing.entry(first).or_insert(error);
        return Ok(());
    }
    let half = piece.len() / 2;
    evaluate_pieces(expr, &piece.slice(0, half), first, pieces, failing)?;
    evaluate_pieces(expr, &piece.slice(half, piece.len() - half), first + half, pieces, failing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{changes, net};

    /// `SELECT a, 10 / a WHERE 10 / b > 0` over (a int4, b int4).
    fn calc() -> TolerantCalc {
        let tenth = |column| ScalarExpr::Call {
            function: "int4div".into(),
            args: vec![
                ScalarExpr::Literal(crate::expr::Literal::Int(10), DataType::Int32),
                ScalarExpr::Column(column),
            ],
            ty: DataType::Int32,
        };
        let filter = ScalarExpr::Binary {
            op: crate::expr::BinaryOp::Gt,
            left: Box::new(tenth(1)),
            right: Box::new(ScalarExpr::Literal(crate::expr::Literal::Int(0), DataType::Int32)),
        };
        let letters = Letters {
            target: ObjectId(7),
            relation: Some(ObjectId(8)),
            columns: vec!["a".into(), "b".into()],
        };
        let (input, output) = ([DataType::Int32, DataType::Int32], [DataType::Int32, DataType::Int32]);
        let project = [ScalarExpr::Column(0), tenth(0)];
        TolerantCalc::new(Some(&filter), &project, &letters, &input, &output).unwrap()
    }

    fn run(input: &str) -> (Vec<ChangeBatch>, Vec<String>) {
        let types = [DataType::Int32, DataType::Int32];
        let mut out = Output::new();
        let _ = calc().on_batch(Port(0), changes(input, &types).unwrap(), &mut out).unwrap();
        let letter = |r: &Rejected| format!("{} {} {}", r.error.state().0, r.error.message(), r.row);
        let letters = out.rejected.iter().map(letter).collect();
        (out.batches, letters)
    }

    #[test]
    fn a_failing_row_goes_alone_and_is_reported() {
        let (made, letters) = run("+ 1 1\n+ 0 1\n+ 2 0\n+ 5 2\n+ 4 -1\n+ 0 0\n+ . 1");
        let output = [DataType::Int32, DataType::Int32];
        assert_eq!(net(&made).unwrap(), net(&[changes("+ 1 10\n+ 5 2\n+ . .", &output).unwrap()]).unwrap());
        assert_eq!(
            letters,
            [
                r#"22012 division by zero {"a": 2, "b": 0}"#,
                r#"22012 division by zero {"a": 0, "b": 0}"#,
                r#"22012 division by zero {"a": 0, "b": 1}"#,
            ]
        );
    }

    #[test]
    fn what_was_left_out_is_left_out_when_it_is_deleted() {
        let (made, letters) = run("+ 0 1\n- 0 1\n+ 2 0\n- 2 0\n+ 5 2\n- 5 2\n+ 1 1");
        assert_eq!(
            net(&made).unwrap(),
            net(&[changes("+ 1 10", &[DataType::Int32, DataType::Int32]).unwrap()]).unwrap()
        );
        assert_eq!(letters.len(), 2, "a delete is not reported again");
    }

    /// Σ output = Q over the rows that do not fail, whatever the batching.
    #[test]
    fn batching_does_not_matter() {
        let mut rng = weir_common::seam::Rng::seeded(7);
        for _ in 0..50 {
            let line = |rng: &mut weir_common::seam::Rng| {
                format!("{} {} {}", if rng.below(3) > 0 { "+" } else { "-" }, rng.below(4), rng.below(4))
            };
            let lines: Vec<String> = (0..20).map(|_| line(&mut rng)).collect();
            let (whole, _) = run(&lines.join("\n"));
            let apart: Vec<ChangeBatch> = lines.iter().flat_map(|line| run(line).0).collect();
            assert_eq!(net(&whole).unwrap(), net(&apart).unwrap());
        }
    }
}
