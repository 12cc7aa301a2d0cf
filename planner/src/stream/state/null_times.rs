//! Whether every row has a time. What is closed by time keeps the rows that have none: no watermark passes them.

use weir_exec::expr::{BinaryOp, ScalarExpr};
use weir_exec::operators::session::are_sessions;

use crate::stream::event_time::join_times::conjunction;
use crate::stream::event_time::monotone;
use crate::stream::plan::{StreamNode, StreamPlan};

/// Whether a column of a plan is shown to be never NULL: by a condition below that NULL does not pass. Windows of time
/// have one.
pub fn all_have(plan: &StreamPlan, column: usize) -> bool {
    let input_has = |of: usize| plan.inputs.first().is_some_and(|input| all_have(input, of));
    match &plan.node {
        StreamNode::Calc { filter, project } => monotone(&project[column])
            .is_some_and(|of| filter.as_ref().is_some_and(|filter| demands(filter, of)) || input_has(of)),
        StreamNode::Unnest { lists, project, outer } => {
            match project[column].checked_sub(plan.inputs[0].columns.len()) {
                None => input_has(project[column]),
                Some(list) => !outer && monotone(&lists[list]).is_some_and(input_has),
            }
        }
        StreamNode::Aggregate { group, .. } => group.get(column).is_some_and(|of| input_has(*of)),
        StreamNode::TopN { project, .. } => project.get(column).is_some_and(|of| input_has(*of)),
        StreamNode::Window { project, calls, order, .. } => match project.get(column) {
            Some(of) => input_has(*of),
            // The ends of a session are times of its rows.
            None => are_sessions(calls) && input_has(order[0].column),
        },
        StreamNode::ProcTime => column == plan.inputs[0].columns.len() || input_has(column),
        StreamNode::LateFilter { .. } | StreamNode::EmitOnClose { .. } => input_has(column),
        StreamNode::Union => plan.inputs.iter().all(|input| all_have(input, column)),
        _ => false,
    }
}

/// Whether a condition is true of no row where the column is NULL.
fn demands(condition: &ScalarExpr, column: usize) -> bool {
    if let Some(parts) = conjunction(condition) {
        return parts.into_iter().any(|part| demands(part, column));
    }
    let is_it = |expr: &ScalarExpr| monotone(expr) == Some(column);
    match condition {
        ScalarExpr::IsNotNull(expr) => is_it(expr),
        ScalarExpr::Binary {
            op: BinaryOp::Eq | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq,
            left,
            right,
        } => is_it(left) || is_it(right),
        _ => false,
    }
}
