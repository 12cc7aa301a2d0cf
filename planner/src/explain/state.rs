//! The state of a plan as a table: a row for each piece, in the order of the plan's nodes.

use serde_json::{Value, json};
use weir_common::RelationKey;

use crate::stream::plan::{StreamNode, StreamPlan};
use crate::stream::state::{self, PlanState, StateBound, StateTable};

/// The columns of [`render_state`].
pub const STATE_COLUMNS: [&str; 5] = ["operator", "keeps", "key", "bound", "hint"];

/// Of each piece of state the node that keeps it, what it keeps, the columns that it is found by, what limits it, and how it
/// could be limited (empty if it is). The first row is the view itself, if the plan is a view's.
pub fn render_state(plan: &StreamPlan) -> Vec<Vec<String>> {
    rows(plan)
        .into_iter()
        .map(|row| vec![row.operator.into(), row.keeps, row.key.join(", "), row.bound, row.hint])
        .collect()
}

/// The same as a list of objects, the key as a list; the hint is null where there is none.
pub fn state_json(plan: &StreamPlan) -> Value {
    let object = |row: Row| {
        let hint = if row.hint.is_empty() { Value::Null } else { row.hint.into() };
        json!({
            "operator": row.operator, "keeps": row.keeps, "key": row.key, "bound": row.bound,
            "bounded": row.is_bounded, "hint": hint,
        })
    };
    rows(plan).into_iter().map(object).collect()
}

struct Row {
    operator: &'static str,
    keeps: String,
    key: Vec<String>,
    bound: String,
    is_bounded: bool,
    hint: String,
}

fn rows(plan: &StreamPlan) -> Vec<Row> {
    let of_operators =
        state::tables(plan).into_iter().map(|PlanState { plan, table }| row(plan, table.clone()));
    result(plan).into_iter().chain(of_operators).collect()
}

/// What the view shows. It is as large as its query says, which is no matter of the plan's: so it is not called unbounded.
fn result(plan: &StreamPlan) -> Option<Row> {
    let StreamNode::Materialize { key, .. } = &plan.node else { return None };
    let key = match key {
        RelationKey::Columns(columns) => columns.iter().map(|i| plan.columns[*i].name.clone()).collect(),
        RelationKey::Bag => Vec::new(),
    };
    let table = state::result(&plan.inputs[0], key);
    let grows = match &table.bound {
        StateBound::Unbounded { why, .. } => Some(format!("the result of the query: {why}")),
        _ => None,
    };
    let row = row(plan, table);
    Some(match grows {
        Some(bound) => Row { bound, ..row },
        None => row,
    })
}

fn row(plan: &StreamPlan, table: StateTable) -> Row {
    let (bound, is_bounded, hint) = match table.bound {
        StateBound::Size(size) => (format!("bounded by {size}"), true, String::new()),
        StateBound::Time { by, until } => (format!("bounded by {by}: until {until}"), true, String::new()),
        StateBound::Ttl { until } => (format!("assumed by state_ttl: until {until}"), true, String::new()),
        StateBound::Unbounded { why, hint } => (format!("unbounded: {why}"), false, hint),
    };
    Row { operator: operator(&plan.node), keeps: table.keeps, key: table.key, bound, is_bounded, hint }
}

/// A node by the name that the tree has for it.
fn operator(node: &StreamNode) -> &'static str {
    match node {
        StreamNode::Aggregate { .. } => "StreamAggregate",
        StreamNode::HashJoin { .. } => "StreamHashJoin",
        StreamNode::AsofJoin(_) => "StreamAsofJoin",
        StreamNode::LookupJoin(_) => "StreamLookupJoin",
        StreamNode::TopN { .. } => "StreamTopN",
        StreamNode::Window { .. } => "StreamWindow",
        StreamNode::MatchRecognize { .. } => "StreamMatchRecognize",
        StreamNode::TemporalFilter { .. } => "StreamTemporalFilter",
        StreamNode::EmitOnClose { .. } => "StreamEmitOnClose",
        StreamNode::Materialize { .. } => "StreamMaterialize",
        _ => "Stream",
    }
}
