//! Expressions over rows that a statement writes, computed without a plan: defaults, and whatever a table's
//! definition says about a row.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;

/// A compiled expression over rows of one schema.
pub(crate) struct RowExpr {
    expr: Arc<dyn PhysicalExpr>,
}

impl RowExpr {
    /// An expression over the columns of `schema`.
    pub(crate) fn over(expr: &Expr, schema: &SchemaRef) -> Result<RowExpr> {
        let schema = DFSchema::try_from(schema.as_ref().clone()).map_err(from_datafusion)?;
        let context = PhysicalPlanningContext::default();
        let expr = create_physical_expr(expr, &schema, &ExecutionProps::new(), &context);
        Ok(RowExpr { expr: expr.map_err(from_datafusion)? })
    }

    /// An expression that names no column.
    pub(crate) fn constant(expr: &Expr) -> Result<RowExpr> {
        RowExpr::over(expr, &Arc::new(Schema::empty()))
    }

    /// Its value for each row.
    pub(crate) fn of_rows(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        let value = self.expr.evaluate(rows).map_err(from_datafusion)?;
        value.into_array(rows.num_rows()).map_err(from_datafusion)
    }

    /// Its values for so many rows; a volatile function gives each its own.
    pub(crate) fn values(&self, rows: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options);
        self.of_rows(&batch.map_err(Error::internal)?)
    }
}
