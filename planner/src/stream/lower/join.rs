//! Joins: inner equi-joins, and semi joins (`IN`, `EXISTS`) as inner joins with the right side's keys, each once.
//!
//! Keys that are expressions are computed by a Calc below, so that the join reads columns only.

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join};
use weir_common::{Error, Result};
use weir_exec::expr::ScalarExpr;

use crate::rules::merge_calc;
use crate::stream::lower::{aggregate, column_of_expr, columns_of, lower, lower_expr};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::move_columns;
use crate::stream::unsupported;

/// The stream plan of a join.
pub(super) fn lower_join(join: &Join) -> Result<StreamPlan> {
    if join.null_equality == NullEquality::NullEqualsNull {
        return Err(unsupported::null_equal_join(join));
    }
    match join.join_type {
        JoinType::Inner if !join.on.is_empty() => lower_inner(join),
        JoinType::LeftSemi if !join.on.is_empty() && join.filter.is_none() => lower_semi(join),
        _ => Err(unsupported::join(join)),
    }
}

fn lower_inner(join: &Join) -> Result<StreamPlan> {
    let left = Side::lower(&join.left, join.on.iter().map(|(left, _)| left))?;
    let right = Side::lower(&join.right, join.on.iter().map(|(_, right)| right))?;
    let left_width = left.plan.columns.len();
    let moved = |i: usize| if i < left.width { i } else { i - left.width + left_width };
    let filter = match &join.filter {
        None => None,
        Some(filter) => {
            let schema =
                join.left.schema().join(join.right.schema()).map_err(weir_exec::error::from_datafusion)?;
            Some(move_columns(&lower_expr(filter, &schema)?, &moved))
        }
    };
    let project = (0..left.width + right.width).map(moved).collect();
    hash_join(left, right, filter, project, columns_of(&join.schema))
}

fn lower_semi(join: &Join) -> Result<StreamPlan> {
    let left = Side::lower(&join.left, join.on.iter().map(|(left, _)| left))?;
    let right = Side::lower(&join.right, join.on.iter().map(|(_, right)| right))?;
    let unique = right.plan.traits.key.as_ref().is_some_and(|key| key.iter().all(|k| right.keys.contains(k)));
    let keys = merge_calc::select(right.plan, &right.keys);
    let keys = if unique { keys } else { aggregate::distinct(keys) };
    let right = Side { width: keys.columns.len(), keys: (0..keys.columns.len()).collect(), plan: keys };
    let project = (0..left.width).collect();
    hash_join(left, right, None, project, columns_of(&join.schema))
}

fn hash_join(
    left: Side,
    right: Side,
    filter: Option<ScalarExpr>,
    project: Vec<usize>,
    columns: Vec<StreamColumn>,
) -> Result<StreamPlan> {
    for (l, r) in left.keys.iter().zip(&right.keys) {
        let (l, r) = (&left.plan.columns[*l].ty, &right.plan.columns[*r].ty);
        if l != r {
            return Err(Error::internal(format!("join keys have different types: {l} and {r}")));
        }
    }
    let node = StreamNode::HashJoin { left_keys: left.keys, right_keys: right.keys, filter, project };
    Ok(StreamPlan::new(node, vec![left.plan, right.plan], columns))
}

/// One input of a join.
struct Side {
    /// The input, with computed keys after its own columns.
    plan: StreamPlan,
    /// How many columns the input has of its own.
    width: usize,
    /// Where the join keys are.
    keys: Vec<usize>,
}

impl Side {
    fn lower<'a>(
        logical: &datafusion::logical_expr::LogicalPlan,
        keys: impl Iterator<Item = &'a Expr>,
    ) -> Result<Side> {
        let input = lower(logical)?;
        let width = logical.schema().fields().len();
        let mut columns = input.columns.clone();
        let mut project: Vec<ScalarExpr> = (0..columns.len()).map(ScalarExpr::Column).collect();
        let mut positions = Vec::new();
        for key in keys {
            let scalar = lower_expr(key, logical.schema())?;
            let position = project.iter().position(|expr| *expr == scalar).unwrap_or(project.len());
            if position == project.len() {
                columns.push(column_of_expr(key, &scalar, logical.schema())?);
                project.push(scalar);
            }
            positions.push(position);
        }
        Ok(Side { plan: merge_calc::calc(input, None, project, columns), width, keys: positions })
    }
}
