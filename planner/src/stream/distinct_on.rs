//! DISTINCT ON of a continuous query, as its first rows by number.
//!
//! ```text
//!   DistinctOn(keys, order)  →  row_number() OVER (PARTITION BY keys ORDER BY order) <= 1
//! ```
//! Place in the flow: runs on the bound plan, before the rules. They push filters below any DISTINCT, which is right
//! only for filters on the keys; below a window function they push no others.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result as DfResult, internal_err};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, lit,
};
use weir_common::Result;
use weir_exec::error::from_datafusion;
use weir_exec::functions;

/// The plan without DISTINCT ON.
pub fn number_first_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Distinct(Distinct::On(distinct)) => first_rows(distinct).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    });
    Ok(rewritten.map_err(from_datafusion)?.data)
}

fn first_rows(distinct: DistinctOn) -> DfResult<LogicalPlan> {
    let Ok(Some(row_number)) = functions::resolve_window("row_number", &[]) else {
        return internal_err!("row_number is missing");
    };
    let order_by = distinct.sort_expr.unwrap_or_default();
    let frame = WindowFrame::new((!order_by.is_empty()).then_some(false));
    let params = WindowFunctionParams {
        args: Vec::new(),
        partition_by: distinct.on_expr,
        order_by,
        window_frame: frame,
        filter: None,
        null_treatment: None,
        distinct: false,
    };
    let call = Expr::WindowFunction(Box::new(WindowFunction { fun: row_number.function, params }));
    let number = Expr::Column(Column::new_unqualified(call.schema_name().to_string()));
    LogicalPlanBuilder::from(LogicalPlanBuilder::window_plan(distinct.input.as_ref().clone(), [call])?)
        .filter(number.lt_eq(lit(1i64)))?
        .project(distinct.select_expr)?
        .build()
}
