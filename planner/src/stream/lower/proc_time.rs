//! PROCTIME() in the select list of a continuous query: a column of the rows below it.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::Expr;
use weir_common::{Error, Result, SqlType};
use weir_exec::error::from_datafusion;
use weir_exec::functions::PROCTIME;
use weir_exec::spec::ChangelogMode;

use crate::rules::merge_calc;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::unsupported::is_proc_time;

/// Rows with their processing time as the last column, and expressions over them that read that column.
pub(super) struct Stamped {
    pub rows: StreamPlan,
    pub schema: DFSchema,
    pub exprs: Vec<Expr>,
}

/// Whether one of these has PROCTIME() in it.
pub(super) fn is_read_by(exprs: &[Expr]) -> bool {
    // The closure cannot fail.
    exprs.iter().any(|expr| expr.exists(|e| Ok(is_proc_time(e))).unwrap_or(false))
}

/// The rows with their time, and what the expressions with PROCTIME() are over them.
///
/// # Errors
/// 0A000 over rows that may change: nobody knows when a row came that goes.
pub(super) fn stamped(rows: StreamPlan, schema: &DFSchema, exprs: &[Expr]) -> Result<Stamped> {
    if rows.traits.mode != ChangelogMode::AppendOnly {
        return Err(Error::unsupported("PROCTIME() of rows that may change").with_hint(
            "Select it from a source, below aggregates and joins. In a table declare a column: p AS PROCTIME().",
        ));
    }
    let ty = SqlType::Timestamptz.arrow();
    let mut columns = rows.columns.clone();
    columns.push(StreamColumn { name: PROCTIME.into(), ty: ty.clone() });
    // Where nobody reads a column of the input, its plan has one that the schema does not know.
    let known: Vec<usize> = (0..schema.fields().len()).chain([rows.columns.len()]).collect();
    let rows = merge_calc::select(StreamPlan::new(StreamNode::ProcTime, vec![rows], columns), &known);
    // No relation of a query has this name.
    let epoch = TableReference::bare("of the epoch");
    let field = (Some(epoch.clone()), Arc::new(Field::new(PROCTIME, ty, false)));
    let time = DFSchema::new_with_metadata(vec![field], Default::default()).map_err(from_datafusion)?;
    let schema = schema.join(&time).map_err(from_datafusion)?;
    let column = Expr::Column(Column::new(Some(epoch), PROCTIME));
    let over_column = |expr: &Expr| {
        expr.clone()
            .transform(|e| {
                Ok(if is_proc_time(&e) { Transformed::yes(column.clone()) } else { Transformed::no(e) })
            })
            .map(|transformed| transformed.data)
            .map_err(from_datafusion)
    };
    let exprs = exprs.iter().map(over_column).collect::<Result<_>>()?;
    Ok(Stamped { rows, schema, exprs })
}
