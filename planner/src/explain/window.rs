//! Ordered operators of a stream plan as text: Top-N and window functions.

use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::spec::{Frame, FrameBound, FrameUnits, Numbering, RowBounds, SortColumn, WindowCall};

use crate::explain::stream::names;
use crate::explain::{list, render_expr};
use crate::stream::plan::{StreamNode, StreamPlan};

/// `StreamTopN { partition: [a], order: [b DESC], limit: 3, output: [a, b] }`.
pub(super) fn render_top_n(plan: &StreamPlan) -> String {
    let StreamNode::TopN { partition, order, bounds, .. } = &plan.node else { return String::new() };
    let input = names(&plan.inputs[0].columns);
    let partition = render_partition(partition, &input);
    let order = render_order(order, &input);
    let (bounds, output) = (render_bounds(bounds), list(names(&plan.columns)));
    format!("StreamTopN {{ {partition}order: {order}, {bounds}, output: {output} }}")
}

/// `[a, b DESC NULLS LAST]`.
pub(super) fn render_order(order: &[SortColumn], input: &[&str]) -> String {
    list(order.iter().map(|key| {
        let direction = if key.descending { " DESC" } else { "" };
        let nulls = match (key.descending, key.nulls_first) {
            (true, false) => " NULLS LAST",
            (false, true) => " NULLS FIRST",
            _ => "",
        };
        format!("{}{direction}{nulls}", input[key.column])
    }))
}

/// `offset: 5, limit: 10`, or the highest number of a row: `rank: 10`.
pub(super) fn render_bounds(bounds: &RowBounds) -> String {
    let last = bounds.last.map(|last| match bounds.numbering {
        Numbering::Row => format!("limit: {}", last.saturating_sub(bounds.skip)),
        Numbering::Rank => format!("rank: {last}"),
        Numbering::DenseRank => format!("dense_rank: {last}"),
    });
    let skip = (bounds.skip > 0).then(|| format!("offset: {}", bounds.skip));
    skip.into_iter().chain(last).collect::<Vec<_>>().join(", ")
}

/// `StreamWindow { partition: [a], order: [b], calls: [rank(), sum(c) ROWS 2 PRECEDING..CURRENT ROW], output: [a] }`.
pub(super) fn render_window(plan: &StreamPlan) -> String {
    let StreamNode::Window { partition, order, calls, project } = &plan.node else { return String::new() };
    let input = names(&plan.inputs[0].columns);
    let partition = render_partition(partition, &input);
    let order = render_order(order, &input);
    let calls = list(calls.iter().map(|call| render_window_call(call, &input)));
    let output = list(&names(&plan.columns)[..project.len()]);
    format!("StreamWindow {{ {partition}order: {order}, calls: {calls}, output: {output} }}")
}

fn render_window_call(call: &WindowCall, input: &[&str]) -> String {
    let args: Vec<String> = call.args.iter().map(|arg| render_expr(arg, input)).collect();
    let filter = call.filter.map_or_else(String::new, |i| format!(" FILTER (WHERE {})", input[i]));
    format!("{}({}){filter}{}", call.function, args.join(", "), render_frame(&call.frame))
}

/// ` ROWS 2 PRECEDING..CURRENT ROW`; nothing for the frame that is meant if none is written.
fn render_frame(frame: &Frame) -> String {
    use FrameBound::{CurrentRow, UnboundedFollowing, UnboundedPreceding};
    let units = match (frame.units, &frame.start, &frame.end) {
        (FrameUnits::Range, UnboundedPreceding, CurrentRow)
        | (FrameUnits::Rows, UnboundedPreceding, UnboundedFollowing) => return String::new(),
        (FrameUnits::Rows, ..) => "ROWS",
        (FrameUnits::Range, ..) => "RANGE",
        (FrameUnits::Groups, ..) => "GROUPS",
    };
    format!(" {units} {}..{}", render_bound(&frame.start), render_bound(&frame.end))
}

fn render_bound(bound: &FrameBound) -> String {
    let offset = |value: &Literal, ty: &arrow::datatypes::DataType| {
        render_expr(&ScalarExpr::Literal(value.clone(), ty.clone()), &[])
    };
    match bound {
        FrameBound::UnboundedPreceding => "UNBOUNDED PRECEDING".into(),
        FrameBound::Preceding(value, ty) => format!("{} PRECEDING", offset(value, ty)),
        FrameBound::CurrentRow => "CURRENT ROW".into(),
        FrameBound::Following(value, ty) => format!("{} FOLLOWING", offset(value, ty)),
        FrameBound::UnboundedFollowing => "UNBOUNDED FOLLOWING".into(),
    }
}

/// `partition: [a], `; nothing for a single partition.
pub(super) fn render_partition(partition: &[usize], input: &[&str]) -> String {
    match partition.is_empty() {
        true => String::new(),
        false => format!("partition: {}, ", list(partition.iter().map(|i| input[*i]))),
    }
}
