//! FETCH FIRST n ROWS WITH TIES: the first rows, and those equal in the ORDER BY to the last of them.
//!
//! ```text
//!   Sort(x) FETCH n WITH TIES OFFSET m  →  Sort(Filter(rank <= m + n AND row_number > m, Window(x)))
//! ```

use std::sync::Arc;

use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, lit};
use weir_common::{Error, Result, SqlState};
use weir_exec::functions;

use super::bind_order::with_sort_keys;
use super::bind_window::window_plan;
use super::scope::Relation;
use super::{Binder, plan_error};

impl Binder<'_> {
    /// The first `rows` rows after `skip`, and their ties.
    pub(crate) fn limit_with_ties(&self, relation: Relation, rows: usize, skip: usize) -> Result<Relation> {
        let LogicalPlan::Sort(sort) = with_sort_keys(relation.plan) else {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        };
        let number =
            |name: &str| -> Result<(Expr, String)> { Ok((numbered(name, &sort.expr)?, self.unique(name))) };
        let mut numbers = vec![number("rank")?];
        let last = skip.saturating_add(rows);
        let column =
            |number: &(Expr, String)| Expr::Column(datafusion::common::Column::new_unqualified(&number.1));
        let mut shown = column(&numbers[0]).lt_eq(lit(i64::try_from(last).unwrap_or(i64::MAX)));
        if skip > 0 {
            numbers.push(number("row_number")?);
            shown = shown.and(column(&numbers[1]).gt(lit(i64::try_from(skip).unwrap_or(i64::MAX))));
        }
        let plan = window_plan(Arc::unwrap_or_clone(sort.input), &numbers)?;
        let columns: Vec<Expr> = relation.columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let plan = LogicalPlanBuilder::from(plan).filter(shown).and_then(|plan| plan.sort(sort.expr.clone()));
        let plan = plan.and_then(|plan| plan.project(columns)).and_then(LogicalPlanBuilder::build);
        Ok(Relation { plan: plan.map_err(plan_error)?, columns: relation.columns })
    }
}

/// A ranking function over all rows in this order.
fn numbered(name: &str, order: &[Sort]) -> Result<Expr> {
    let function = functions::resolve_window(name, &[])?
        .ok_or_else(|| Error::internal(format!("{name} is missing")))?
        .function;
    let params = WindowFunctionParams {
        args: Vec::new(),
        partition_by: Vec::new(),
        order_by: order.to_vec(),
        window_frame: WindowFrame::new(Some(false)),
        filter: None,
        null_treatment: None,
        distinct: false,
    };
    Ok(Expr::WindowFunction(Box::new(WindowFunction { fun: function, params })))
}
