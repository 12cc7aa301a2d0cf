//! The stream plan as an indented tree: what each node does, then what is proved of its output.

use serde_json::Value;
use weir_common::RelationKey;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{AggregateCall, AsofJoinSpec, ChangelogMode, JoinKind};

use crate::explain::row_pattern::render_match_recognize;
use crate::explain::{indent, list, render_expr, window};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::shared::shared_side;
use crate::stream::state::length;
use crate::stream::traits::Distribution;

/// A line for each node, inputs indented below.
pub fn render_stream(plan: &StreamPlan) -> Vec<String> {
    let mut lines = Vec::new();
    render(plan, 0, &mut lines);
    lines
}

/// The plan in its serde form.
pub fn stream_json(plan: &StreamPlan) -> Value {
    serde_json::to_value(plan).unwrap_or(Value::Null)
}

fn render(plan: &StreamPlan, level: usize, lines: &mut Vec<String>) {
    lines.push(format!("{}{}  {}", indent(level), render_node(plan), render_traits(plan)));
    for input in &plan.inputs {
        render(input, level + 1, lines);
    }
}

fn render_node(plan: &StreamPlan) -> String {
    let input_names = || plan.inputs.iter().flat_map(|input| names(&input.columns)).collect::<Vec<_>>();
    match &plan.node {
        StreamNode::Scan { name, .. } => format!("StreamScan {{ {name}: {} }}", list(names(&plan.columns))),
        StreamNode::Source { name, .. } => {
            format!("StreamSource {{ {name}: {} }}", list(names(&plan.columns)))
        }
        StreamNode::Values { rows, .. } => format!("StreamValues {{ rows: {rows} }}"),
        StreamNode::Calc { filter, project } => {
            let project = render_project(project, &input_names(), &plan.columns);
            format!("StreamCalc {{ {}project: {project} }}", render_filter(filter.as_ref(), &input_names()))
        }
        StreamNode::Aggregate { group, calls, ttl } => {
            let input = input_names();
            let group = list(group.iter().map(|i| input[*i]));
            let calls: Vec<String> = calls.iter().map(|call| render_call(call, &input)).collect();
            let ttl = ttl.map(|ttl| format!(", ttl: {}", length(ttl.keep_micros))).unwrap_or_default();
            format!("StreamAggregate {{ group: {group}, calls: {}{ttl} }}", list(calls))
        }
        StreamNode::HashJoin { .. } => render_join(plan),
        StreamNode::AsofJoin(join) => render_asof_join(join, plan),
        StreamNode::LookupJoin(join) => {
            let outer = if join.outer { "left, " } else { "" };
            let on = render_on(&join.left_keys, &join.right_keys, plan);
            format!("StreamLookupJoin {{ {outer}on: {on}, output: {} }}", list(names(&plan.columns)))
        }
        StreamNode::TopN { .. } => window::render_top_n(plan),
        StreamNode::Window { .. } => window::render_window(plan),
        StreamNode::MatchRecognize { pattern } => {
            format!("Stream{}", render_match_recognize(pattern, &input_names()))
        }
        StreamNode::Union => "StreamUnion".to_string(),
        StreamNode::Unnest { lists, outer, .. } => {
            let outer = if *outer { "outer, " } else { "" };
            let lists = list(lists.iter().map(|list| render_expr(list, &input_names())));
            format!("StreamUnnest {{ {outer}lists: {lists}, output: {} }}", list(names(&plan.columns)))
        }
        StreamNode::LateFilter { column, .. } => {
            format!("StreamLateFilter {{ time: {} }}", plan.columns[*column].name)
        }
        StreamNode::ProcTime => "StreamProcTime".to_string(),
        StreamNode::TemporalFilter { from, until, .. } => {
            let moment = |word: &str, column: &Option<usize>| {
                column.map(|column| format!("{word}: {}", plan.inputs[0].columns[column].name))
            };
            let moments: Vec<String> =
                [moment("from", from), moment("until", until)].into_iter().flatten().collect();
            format!("StreamTemporalFilter {{ {} }}", moments.join(", "))
        }
        StreamNode::EmitOnClose { time, .. } => {
            format!("StreamEmitOnClose {{ time: {} }}", plan.columns[*time].name)
        }
        StreamNode::Materialize { name, key, .. } => {
            let key = match key {
                RelationKey::Columns(key) => list(key.iter().map(|i| &plan.columns[*i].name)),
                RelationKey::Bag => "none".to_string(),
            };
            format!("StreamMaterialize {{ {name}: {}, key: {key} }}", list(names(&plan.columns)))
        }
        StreamNode::Sink { name, .. } => format!("StreamSink {{ {name}: {} }}", list(names(&plan.columns))),
    }
}

pub(super) fn names(columns: &[StreamColumn]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}

fn render_filter(filter: Option<&ScalarExpr>, input: &[&str]) -> String {
    filter.map_or_else(String::new, |filter| format!("filter: {}, ", render_expr(filter, input)))
}

/// `[a, f(b) AS c]`.
fn render_project(project: &[ScalarExpr], input: &[&str], columns: &[StreamColumn]) -> String {
    list(project.iter().zip(columns).map(|(expr, column)| {
        let text = render_expr(expr, input);
        if text == column.name { text } else { format!("{text} AS {}", column.name) }
    }))
}

fn render_join(plan: &StreamPlan) -> String {
    let StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, ttl } = &plan.node
    else {
        return String::new();
    };
    let (left, right) = (names(&plan.inputs[0].columns), names(&plan.inputs[1].columns));
    let on = left_keys.iter().zip(right_keys).zip(null_equal).map(|((l, r), null_equal)| {
        let equal = if *null_equal { "IS NOT DISTINCT FROM" } else { "=" };
        format!("{} {equal} {}", left[*l], right[*r])
    });
    let both = [left.clone(), right.clone(), vec!["mark"]].concat();
    let kind = render_kind(*kind);
    let filter = render_filter(filter.as_ref(), &both);
    let output = list(project.iter().map(|i| both[*i]));
    let shared = shared_side(&plan.node, &plan.inputs).map(|(side, table)| {
        let of = ["left", "right"][side.side];
        let keys = [left_keys, right_keys][side.side];
        let columns = [&left, &right][side.side];
        format!(
            "{of} rows: shared arrangement of {table} by {}, ",
            list(side.key.iter().map(|at| columns[keys[*at]]))
        )
    });
    let shared = shared.unwrap_or_default();
    let ttl = ["left", "right"].iter().zip(ttl).filter_map(|(side, ttl)| {
        ttl.map(|ttl| format!("ttl of {side} rows: {}, ", length(ttl.keep_micros)))
    });
    let ttl: String = ttl.collect();
    format!("StreamHashJoin {{ {kind}on: {}, {filter}{shared}{ttl}output: {output} }}", list(on))
}

/// `[a = b]`.
fn render_on(left_keys: &[usize], right_keys: &[usize], plan: &StreamPlan) -> String {
    let (left, right) = (names(&plan.inputs[0].columns), names(&plan.inputs[1].columns));
    list(left_keys.iter().zip(right_keys).map(|(l, r)| format!("{} = {}", left[*l], right[*r])))
}

/// `StreamAsofJoin { left, on: [k = k], nearest: t >= s, output: [k, t, v] }`.
fn render_asof_join(join: &AsofJoinSpec, plan: &StreamPlan) -> String {
    let (left, right) = (names(&plan.inputs[0].columns), names(&plan.inputs[1].columns));
    let outer = if join.outer { "left, " } else { "" };
    let on = render_on(&join.left_keys, &join.right_keys, plan);
    let nearest = format!("{} {} {}", left[join.left_time], join.nearest.symbol(), right[join.right_time]);
    let output = list(names(&plan.columns));
    format!("StreamAsofJoin {{ {outer}on: {on}, nearest: {nearest}, output: {output} }}")
}

/// `left, `; nothing for the inner join.
pub(super) fn render_kind(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "",
        JoinKind::Left => "left, ",
        JoinKind::Right => "right, ",
        JoinKind::Full => "full, ",
        JoinKind::Semi => "semi, ",
        JoinKind::Anti => "anti, ",
        JoinKind::Mark => "mark, ",
        JoinKind::IntersectAll => "intersect all, ",
        JoinKind::ExceptAll => "except all, ",
    }
}

fn render_call(call: &AggregateCall, input: &[&str]) -> String {
    let args: Vec<String> = call.args.iter().map(|i| input[*i].to_string()).collect();
    let rendered = call.function.render(&args, call.distinct, &call.order);
    let filter = call.filter.map_or_else(String::new, |i| format!(" FILTER (WHERE {})", input[i]));
    format!("{rendered}{filter}")
}

/// `mode=retract key=[0] dist=by[0] state=…`.
fn render_traits(plan: &StreamPlan) -> String {
    let traits = &plan.traits;
    let mode = match traits.mode {
        ChangelogMode::AppendOnly => "append",
        ChangelogMode::Retract => "retract",
    };
    let key = traits.key.as_ref().map_or_else(|| "none".to_string(), list);
    let distribution = match &traits.distribution {
        Distribution::Any => "any".to_string(),
        Distribution::ByKey(columns) => format!("by{}", list(columns)),
        Distribution::Single => "single".to_string(),
    };
    let state: Vec<String> = traits.state.iter().map(|table| table.summary(plan)).collect();
    let state = if state.is_empty() { "none".to_string() } else { state.join("; ") };
    let watermarks = match traits.watermarks.as_slice() {
        [] => String::new(),
        some => format!(" watermark={}", list(some.iter().map(|w| w.column))),
    };
    format!("mode={mode} key={key} dist={distribution}{watermarks} state={state}")
}
