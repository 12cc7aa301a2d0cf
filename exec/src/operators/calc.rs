//! `Calc`: filter, then projection; stateless.
//!
//! The filter becomes a mask over the batch: nothing is copied when every row passes. A projected column that
//! is an input column is handed on as it is. The projection only sees rows that passed, so an expression cannot
//! fail on a row that the filter dropped.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, Result};

use super::positional_schema;
use crate::compile::{CompiledExpr, compile};
use crate::expr::ScalarExpr;
use crate::operator::{Flow, Operator, Output, Port};

/// The filter and projection operator.
pub struct Calc {
    filter: Option<CompiledExpr>,
    project: Vec<Projected>,
    schema: SchemaRef,
}

enum Projected {
    Column(usize),
    Computed(CompiledExpr),
}

impl Calc {
    /// A `Calc` over input columns of the types `input`; `output` are the types of the projection.
    pub fn new(
        filter: Option<&ScalarExpr>,
        project: &[ScalarExpr],
        input: &[DataType],
        output: &[DataType],
    ) -> Result<Calc> {
        let projected = |expr: &ScalarExpr| match expr {
            ScalarExpr::Column(column) if *column < input.len() => Ok(Projected::Column(*column)),
            other => compile(other, input).map(Projected::Computed),
        };
        Ok(Calc {
            filter: filter.map(|filter| compile(filter, input)).transpose()?,
            project: project.iter().map(projected).collect::<Result<_>>()?,
            schema: positional_schema(output),
        })
    }

    fn filtered(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let Some(filter) = &self.filter else { return Ok(batch) };
        let passed = filter.evaluate(batch.columns(), batch.len())?;
        let mask = passed.as_boolean_opt().ok_or_else(|| Error::internal("a filter is not boolean"))?;
        if mask.null_count() == 0 && mask.true_count() == mask.len() {
            return Ok(batch);
        }
        batch.filter(mask)
    }
}

impl Operator for Calc {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let batch = self.filtered(batch)?;
        if batch.is_empty() {
            return Ok(Flow::Done);
        }
        let column = |projected: &Projected| match projected {
            Projected::Column(column) => Ok(batch.columns()[*column].clone()),
            Projected::Computed(expr) => expr.evaluate(batch.columns(), batch.len()),
        };
        let columns = self.project.iter().map(column).collect::<Result<_>>()?;
        let rows = record_batch(self.schema.clone(), columns, batch.len())?;
        out.push(ChangeBatch { rows, ops: batch.ops });
        Ok(Flow::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{BinaryOp, Literal};
    use crate::testing::{changes, net};

    fn greater(column: usize, bound: i64) -> ScalarExpr {
        ScalarExpr::Binary {
            op: BinaryOp::Gt,
            left: Box::new(ScalarExpr::Column(column)),
            right: Box::new(ScalarExpr::Literal(Literal::Int(bound), DataType::Int64)),
        }
    }

    fn run(calc: &mut Calc, input: &str, types: &[DataType]) -> Vec<ChangeBatch> {
        let mut out = Output::new();
        assert_eq!(calc.on_batch(Port(0), changes(input, types).unwrap(), &mut out).unwrap(), Flow::Done);
        out.batches
    }

    #[test]
    fn keeps_only_rows_whose_filter_is_true_and_reorders_columns() {
        let types = [DataType::Int64, DataType::Utf8];
        let output = [DataType::Utf8, DataType::Boolean];
        let project = [ScalarExpr::Column(1), greater(0, 4)];
        let mut calc = Calc::new(Some(&greater(0, 1)), &project, &types, &output).unwrap();
        let out = run(&mut calc, "+ 1 a\n+ 2 b\n- 5 c\n+ . d", &types);
        assert_eq!(net(&out).unwrap(), net(&[changes("+ b false\n- c true", &output).unwrap()]).unwrap());
        assert!(run(&mut calc, "+ 0 a", &types).is_empty());
    }

    #[test]
    fn columns_pass_without_a_copy() {
        let types = [DataType::Int64];
        let mut calc = Calc::new(Some(&greater(0, 0)), &[ScalarExpr::Column(0)], &types, &types).unwrap();
        let batch = changes("+ 1\n+ 2", &types).unwrap();
        let mut out = Output::new();
        let _ = calc.on_batch(Port(0), batch.clone(), &mut out).unwrap();
        assert!(std::sync::Arc::ptr_eq(&out.batches[0].columns()[0], &batch.columns()[0]));
    }
}
