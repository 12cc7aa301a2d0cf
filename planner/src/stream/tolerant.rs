//! ON ERROR SKIP and INTO: expressions that may fail stand in operators that leave out the row they fail on.
//!
//! Every projection, filter, join key, GROUP BY column and aggregate's argument that is computed is a Calc's already.
//! The ON condition of an inner join becomes one here:
//!
//! ```text
//!   HashJoin { filter }  →  Calc { filter } over HashJoin
//! ```
//! That of an outer join stays: what it fails on has no pair to be left out of, and stops the job.

use weir_common::ObjectId;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{JoinKind, Letters};

use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::{columns_read, is_fallible, move_columns};

/// The same plan, with no condition that may fail in an inner join.
pub fn lift_join_filters(plan: StreamPlan) -> StreamPlan {
    let inputs: Vec<StreamPlan> = plan.inputs.into_iter().map(lift_join_filters).collect();
    match plan.node {
        StreamNode::HashJoin {
            kind: JoinKind::Inner,
            left_keys,
            right_keys,
            null_equal,
            filter: Some(filter),
            project,
            ttl,
        } if is_fallible(&filter) => {
            let missing = columns_read([&filter]).into_iter().filter(|column| !project.contains(column));
            let kept: Vec<usize> = project.iter().copied().chain(missing).collect();
            let all: Vec<&StreamColumn> = inputs.iter().flat_map(|input| &input.columns).collect();
            let columns = kept.iter().map(|column| all[*column].clone()).collect();
            let moved = |column: usize| {
                kept.iter().position(|k| *k == column).expect("columns that the condition reads are kept")
            };
            let filter = move_columns(&filter, &moved);
            let node = StreamNode::HashJoin {
                kind: JoinKind::Inner,
                left_keys,
                right_keys,
                null_equal,
                filter: None,
                project: kept.clone(),
                ttl,
            };
            let join = StreamPlan::new(node, inputs, columns);
            let project = (0..project.len()).map(ScalarExpr::Column).collect();
            let calc = StreamNode::Calc { filter: Some(filter), project };
            StreamPlan::new(calc, vec![join], plan.columns)
        }
        node => StreamPlan::new(node, inputs, plan.columns),
    }
}

/// How a Calc writes down the rows that it leaves out; `None` when nothing of it can fail.
pub fn letters(calc: &StreamPlan, target: ObjectId) -> Option<Letters> {
    let StreamNode::Calc { filter, project } = &calc.node else { return None };
    if !project.iter().chain(filter).any(is_fallible) {
        return None;
    }
    Some(letters_of(calc, target))
}

/// How a node with one input writes down rows that it leaves out.
pub fn letters_of(node: &StreamPlan, target: ObjectId) -> Letters {
    let mut input = &node.inputs[0];
    let columns = input.columns.iter().map(|column| column.name.clone()).collect();
    while let (StreamNode::Calc { .. }, Some(below)) = (&input.node, input.inputs.first()) {
        input = below;
    }
    let relation = match &input.node {
        StreamNode::Scan { relation: read, .. } | StreamNode::Source { source: read, .. } => Some(*read),
        _ => None,
    };
    Letters { target, relation, columns }
}
