//! `ConstantRows`: a query that reads no relation and needs no optimizer: expressions over a VALUES list or over
//! nothing.
//!
//! ```text
//!   project ─ filter ─ VALUES        cell by cell: literals as they are, other expressions on their own
//! ```
//! Place in the flow: SELECT without FROM, and above all the rows of an INSERT, whose planning by DataFusion would cost
//! many times what the commit does. A prepared INSERT keeps its `ConstantRows`. Invariant: it gives what DataFusion would
//! for the same plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use weir_common::change::record_batch;
use weir_common::{Error, Result, SqlType};
use weir_exec::error::from_datafusion;
use weir_planner::bound::BoundQuery;

use super::pipeline::{Pipeline, Shape, compile, evaluate, of_columns, params_schema, with_params};

/// A query of this shape, compiled.
pub struct ConstantRows {
    rows: usize,
    columns: Vec<Cells>,
    pipeline: Pipeline,
}

/// One column of the leaf.
enum Cells {
    Known(ArrayRef),
    Computed(Vec<Arc<dyn PhysicalExpr>>),
}

impl ConstantRows {
    /// The query compiled, when it has the shape. `params` are the types of the placeholders in it.
    pub fn of(query: &BoundQuery, params: &[SqlType]) -> Option<ConstantRows> {
        if !query.relations.is_empty() {
            return None;
        }
        let shape = Shape::of(&query.plan);
        let (rows, columns) = match shape.leaf {
            LogicalPlan::Values(values) => {
                let named = params_schema(params).ok()?;
                let fields = values.schema.fields().iter().enumerate();
                let column = |(i, field): (usize, &Arc<_>)| Cells::of(&values.values, i, field, &named);
                (values.values.len(), fields.map(column).collect::<Result<Vec<_>>>().ok()?)
            }
            LogicalPlan::EmptyRelation(empty) => (usize::from(empty.produce_one_row), Vec::new()),
            _ => return None,
        };
        // What cannot be compiled alone (a subquery) is DataFusion's.
        let pipeline = shape.compile(Arc::clone(shape.leaf.schema()), params, &query.columns).ok()?;
        Some(ConstantRows { rows, columns, pipeline })
    }

    /// The rows with these parameters, each an array of one value.
    pub fn rows(&self, params: &[ArrayRef]) -> Result<RecordBatch> {
        let mut run = self.pipeline.begin(params)?;
        let one = with_params(&no_columns(1)?, params)?;
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|cells| cells.array(&one)).collect::<Result<_>>()?;
        run.push(match columns.is_empty() {
            true => no_columns(self.rows)?,
            false => of_columns(columns, self.rows)?,
        })
    }
}

impl Cells {
    fn of(
        rows: &[Vec<Expr>],
        column: usize,
        field: &arrow::datatypes::Field,
        params: &DFSchema,
    ) -> Result<Cells> {
        let literal = |row: &Vec<Expr>| match row.get(column) {
            Some(Expr::Literal(value, _)) if value.data_type() == *field.data_type() => Some(value.clone()),
            _ => None,
        };
        if let Some(values) = rows.iter().map(literal).collect::<Option<Vec<_>>>() {
            return ScalarValue::iter_to_array(values).map(Cells::Known).map_err(from_datafusion);
        }
        let nothing = DFSchema::empty();
        let cell = |row: &Vec<Expr>| {
            let expr = row.get(column).ok_or_else(|| Error::internal("a row of VALUES is short"))?;
            let cell = compile(expr, &nothing, params)?;
            let ty = cell.data_type(params.as_arrow()).map_err(from_datafusion)?;
            let fits = ty == *field.data_type() && ty != DataType::Null;
            fits.then_some(cell).ok_or_else(|| Error::internal("a value of another type"))
        };
        rows.iter().map(cell).collect::<Result<_>>().map(Cells::Computed)
    }

    /// The column; `one` is the row of parameters.
    fn array(&self, one: &RecordBatch) -> Result<ArrayRef> {
        match self {
            Cells::Known(array) => Ok(Arc::clone(array)),
            Cells::Computed(cells) => {
                let values: Vec<ArrayRef> =
                    cells.iter().map(|cell| evaluate(cell, one)).collect::<Result<_>>()?;
                match values.as_slice() {
                    [only] => Ok(Arc::clone(only)),
                    _ => {
                        let values: Vec<&dyn arrow::array::Array> = values.iter().map(|v| &**v).collect();
                        concat(&values).map_err(Error::internal)
                    }
                }
            }
        }
    }
}

fn no_columns(rows: usize) -> Result<RecordBatch> {
    record_batch(Arc::new(Schema::empty()), Vec::new(), rows)
}
