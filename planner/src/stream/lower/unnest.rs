//! Unnest: lists become rows. The lists are computed by the operator itself, so that long ones never stand together.

use datafusion::logical_expr::Unnest;
use weir_common::{Error, Result};
use weir_exec::expr::ScalarExpr;

use crate::rules::merge_calc;
use crate::stream::lower::{columns_of, lower};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::{columns_read, move_columns};

/// The stream plan of an `Unnest`, whose lists are columns of its input: the output has the elements in their place.
pub(super) fn lower_unnest(unnest: &Unnest) -> Result<StreamPlan> {
    if !unnest.struct_type_columns.is_empty() || unnest.list_type_columns.iter().any(|(_, l)| l.depth != 1) {
        return Err(Error::internal("an unnest of something other than lists"));
    }
    let input = lower(&unnest.input)?;
    let width = input.columns.len();
    let list_columns: Vec<usize> = unnest.list_type_columns.iter().map(|(column, _)| *column).collect();
    let kept: Vec<usize> = (0..width).filter(|column| !list_columns.contains(column)).collect();
    let (input, lists) = split(input, &kept, &list_columns);
    let place = |column: usize| match list_columns.iter().position(|list| *list == column) {
        Some(list) => input.columns.len() + list,
        None => kept.iter().take_while(|k| **k < column).count(),
    };
    let project = (0..width).map(place).collect();
    let node = StreamNode::Unnest { lists, outer: unnest.options.expand_empty_as_null(), project };
    Ok(StreamPlan::new(node, vec![input], columns_of(&unnest.schema)))
}

/// The kept columns first, then what the lists read; and the lists over these.
fn split(input: StreamPlan, kept: &[usize], lists: &[usize]) -> (StreamPlan, Vec<ScalarExpr>) {
    let StreamNode::Calc { filter, project } = &input.node else {
        let columns: Vec<usize> = kept.iter().chain(lists).copied().collect();
        let exprs = (kept.len()..columns.len()).map(ScalarExpr::Column).collect();
        return (merge_calc::select(input, &columns), exprs);
    };
    let below = &input.inputs[0];
    let mut exprs: Vec<ScalarExpr> = kept.iter().map(|column| project[*column].clone()).collect();
    let mut columns: Vec<StreamColumn> = kept.iter().map(|column| input.columns[*column].clone()).collect();
    for column in columns_read(lists.iter().map(|list| &project[*list])) {
        if !exprs.contains(&ScalarExpr::Column(column)) {
            exprs.push(ScalarExpr::Column(column));
            columns.push(below.columns[column].clone());
        }
    }
    if exprs.is_empty() {
        // Lists of constants: any column carries the rows.
        exprs.push(ScalarExpr::Column(0));
        columns.push(below.columns[0].clone());
    }
    let moved = |column: usize| {
        let wanted = ScalarExpr::Column(column);
        exprs.iter().position(|expr| *expr == wanted).expect("columns that lists read are there")
    };
    let lists = lists.iter().map(|list| move_columns(&project[*list], &moved)).collect();
    (merge_calc::calc(below.clone(), filter.clone(), exprs, columns), lists)
}
