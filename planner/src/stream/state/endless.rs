//! Which inputs make the rows of a plan ever more.
//!
//! A source goes on without end; rows of a table are there as long as somebody wants them to be. What a plan shows grows with
//! its sources unless something in it holds the number of rows: a single group, the first n rows, a time by the clock after
//! which rows go. That a node forgets what event time has passed does not: what it has emitted stays.

use weir_exec::spec::{JoinKind, Numbering};

use crate::stream::plan::{StreamNode, StreamPlan};

/// What rows of a plan come from without end: `source "bid"`, `view "raw"`; each once, in order.
pub fn endless(plan: &StreamPlan) -> Vec<String> {
    of(&plan.node, &plan.inputs)
}

fn of(node: &StreamNode, inputs: &[StreamPlan]) -> Vec<String> {
    match node {
        StreamNode::Source { name, .. } => vec![format!("source \"{name}\"")],
        StreamNode::Scan { name, grows: true, .. } => vec![format!("view \"{name}\"")],
        StreamNode::Aggregate { group, .. } if group.is_empty() => Vec::new(),
        StreamNode::TopN { partition, bounds, .. }
            if partition.is_empty() && bounds.last.is_some() && bounds.numbering == Numbering::Row =>
        {
            Vec::new()
        }
        StreamNode::TemporalFilter { until: Some(_), .. } => Vec::new(),
        // A left row shows once, or once for each of the right rows that there are when it comes.
        StreamNode::AsofJoin(_) | StreamNode::LookupJoin(_) => endless(&inputs[0]),
        StreamNode::HashJoin { kind, .. } => of_join(*kind, inputs),
        _ => union(inputs),
    }
}

fn of_join(kind: JoinKind, inputs: &[StreamPlan]) -> Vec<String> {
    match kind {
        JoinKind::Semi | JoinKind::Anti | JoinKind::Mark | JoinKind::ExceptAll => endless(&inputs[0]),
        JoinKind::IntersectAll if inputs.iter().any(|input| endless(input).is_empty()) => Vec::new(),
        _ => union(inputs),
    }
}

/// What any of these plans grow with.
pub(super) fn union(plans: &[StreamPlan]) -> Vec<String> {
    let mut all: Vec<String> = plans.iter().flat_map(endless).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `source "bid" goes on without end`, `sources "auction" and "bid" go on without end`.
pub(super) fn goes_on(endless: &[String]) -> String {
    if let [one] = endless {
        return format!("{one} goes on without end");
    }
    let names = |noun: &str| endless.iter().map(|input| input.strip_prefix(noun)).collect::<Option<Vec<_>>>();
    let inputs = match (names("source "), names("view ")) {
        (Some(names), _) => format!("sources {}", names.join(" and ")),
        (_, Some(names)) => format!("views {}", names.join(" and ")),
        _ => endless.join(" and "),
    };
    format!("{inputs} go on without end")
}
