//! VALUES: rows of expressions, in each column the type that all rows have in common.

use arrow::array::Array;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Column, DFSchema, NullHandling};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, Values as ValuesNode};
use datafusion::physical_expr::create_physical_expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{Expr as SqlExpr, Values};
use std::sync::Arc;
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::bind_expr::ExprContext;
use super::bind_set_function::unnest_lists;
use super::correlation::holds_query;
use super::scope::{Relation, Scope, ScopeColumn};
use super::system_call::registered;
use super::typed::Typed;
use super::{Binder, plan_error};

impl Binder<'_> {
    pub(crate) fn bind_values(&self, values: &Values, scope: &Scope<'_>) -> Result<Relation> {
        let cx = ExprContext::plain(scope, "VALUES");
        let rows: Vec<&[SqlExpr]> = values.rows.iter().map(|row| row.content.as_slice()).collect();
        let rows: Result<Vec<Vec<Typed>>> = rows.into_iter().map(|row| self.bind_exprs(row, cx)).collect();
        let rows = rows?;
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
        }
        let mut columns: Vec<(Vec<Expr>, SqlType)> = Vec::with_capacity(width);
        for i in 0..width {
            let column: Vec<Typed> = rows.iter().map(|row| row[i].clone()).collect();
            let position = column.first().and_then(|t| t.position);
            columns.push(self.in_common(column, "VALUES", position)?);
        }
        let names: Vec<String> = (1..=width).map(|i| format!("column{i}")).collect();
        self.constant_rows(rows.len(), columns, &names)
    }

    /// Rows with these columns, under names of their own: a `Values` node, which computes them before the query begins.
    /// Rows with subqueries are computed by the query: in each column an array of the rows' values, unnested side by
    /// side.
    pub(crate) fn constant_rows(
        &self,
        rows: usize,
        columns: Vec<(Vec<Expr>, SqlType)>,
        names: &[String],
    ) -> Result<Relation> {
        let fields: Vec<Field> = columns
            .iter()
            .zip(names)
            .map(|((_, ty), name)| Field::new(self.unique(name), ty.arrow(), true))
            .collect();
        let plan = if columns.iter().flat_map(|(exprs, _)| exprs).any(holds_query) {
            let list = |((exprs, _), field): (&(Vec<Expr>, SqlType), &Field)| {
                Ok((registered(functions::MAKE_ARRAY, exprs.clone())?, field.name().clone()))
            };
            let lists: Result<Vec<_>> = columns.iter().zip(&fields).map(list).collect();
            let one = LogicalPlanBuilder::empty(true).build().map_err(plan_error)?;
            unnest_lists(one, lists?, NullHandling::Drop)?
        } else {
            let schema = Arc::new(DFSchema::try_from(Schema::new(fields)).map_err(plan_error)?);
            let row = |i: usize| columns.iter().map(|(exprs, _)| exprs[i].clone()).collect::<Vec<Expr>>();
            LogicalPlan::Values(ValuesNode { schema, values: (0..rows).map(row).collect() })
        };
        let column =
            |((field, (_, ty)), name): ((&Arc<Field>, &(Vec<Expr>, SqlType)), &String)| ScopeColumn {
                table: None,
                schema: None,
                name: name.clone(),
                column: Column::new_unqualified(field.name().clone()),
                ty: ty.clone(),
                origin: None,
                merged: false,
            };
        let columns = plan.schema().fields().iter().zip(&columns).zip(names).map(column).collect();
        Ok(Relation { plan, columns })
    }
}

/// The value of an expression without columns, as a literal; the expression itself when it has none before it runs.
pub(crate) fn fold_constant(expr: Expr) -> Result<Expr> {
    if matches!(expr, Expr::Literal(..)) || expr.any_column_refs() || contains_query(&expr) {
        return Ok(expr);
    }
    let physical = create_physical_expr(
        &expr,
        &DFSchema::empty(),
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .map_err(plan_error)?;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
        .map_err(Error::internal)?;
    let value = match physical.evaluate(&batch).map_err(plan_error)? {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(array) if array.len() == 1 => {
            ScalarValue::try_from_array(&array, 0).map_err(plan_error)?
        }
        ColumnarValue::Array(_) => return Err(Error::internal("a constant has several values")),
    };
    Ok(Expr::Literal(value, None))
}

fn contains_query(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let is_query = |e: &Expr| {
        matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::Unnest(_)
        )
    };
    expr.exists(|e| Ok(is_query(e))).unwrap_or(true)
}
