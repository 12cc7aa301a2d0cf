//! What an ASOF join makes of event time, that of both sides: the lesser watermark of their times.
//!
//! ```text
//!   l.ts >= r.ts   a right row that comes is not behind it, so a left row that is has its final match: the left time
//!                  keeps the watermark
//!   l.ts <= r.ts   a left row may wait for its match for ever, but what it finds is not behind it: the right time does
//! ```
//! If only one side has a watermark, nothing is ever final. What the join may forget is its operator's to know.

use weir_exec::event_time::WatermarkExpr;
use weir_exec::spec::AsofJoinSpec;

use super::join_times::shifted_column;
use super::{ColumnWatermark, late_filter, map, may_be_late, monotone, watermark_of};
use crate::stream::plan::{StreamNode, StreamPlan};
use crate::stream::scalar::move_columns;

/// How far event time is that both sides have passed; `None` if nothing says it of one.
pub fn watermark(join: &AsofJoinSpec, inputs: &[StreamPlan]) -> Option<WatermarkExpr> {
    let left = watermark_of(&inputs[0], join.left_time)?.clone();
    Some(left.min(watermark_of(&inputs[1], join.right_time)?.clone()))
}

/// The inputs without the rows that are late.
pub fn on_time(join: &AsofJoinSpec, inputs: [StreamPlan; 2]) -> Vec<StreamPlan> {
    let Some(watermark) = watermark(join, &inputs) else { return inputs.into() };
    let sides = inputs.into_iter().zip([join.left_time, join.right_time]);
    sides
        .map(|(input, time)| match may_be_late(&input) {
            true => late_filter(input, time, watermark.clone()),
            false => input,
        })
        .collect()
}

/// The watermarks of the join's output.
pub(super) fn output(join: &AsofJoinSpec, inputs: &[StreamPlan]) -> Vec<ColumnWatermark> {
    let Some(watermark) = watermark(join, inputs) else { return Vec::new() };
    let (side, time) = if join.nearest.looks_back() { (0, join.left_time) } else { (1, join.right_time) };
    let left_width = inputs[0].columns.len();
    let of_side = |column: usize| match column.checked_sub(left_width) {
        None => (side == 0).then_some(column),
        Some(column) => (side == 1).then_some(column),
    };
    let columns = join.project.iter().enumerate();
    columns
        .filter_map(|(i, column)| {
            let watermark = beside(&inputs[side], time, of_side(*column)?, watermark.clone())?;
            Some(ColumnWatermark { column: i, watermark })
        })
        .collect()
}

/// The watermark of a column in rows whose time has this one: of the time itself, and of what is computed of the same
/// column as the time, such as a window that it is in.
fn beside(input: &StreamPlan, time: usize, column: usize, watermark: WatermarkExpr) -> Option<WatermarkExpr> {
    if column == time {
        return Some(watermark);
    }
    match &input.node {
        StreamNode::LateFilter { .. } => beside(&input.inputs[0], time, column, watermark),
        StreamNode::Calc { project, .. } => {
            let (below, expr) = (&input.inputs[0], &project[column]);
            let (time, shift) = shifted_column(&project[time])?;
            let column = monotone(expr)?;
            let watermark = beside(below, time, column, watermark.shifted(-shift))?;
            Some(map(watermark, &below.columns[column].ty, move_columns(expr, &|_| 0)))
        }
        _ => None,
    }
}
