//! The job graph as text: fragments (what runs fused on a worker), the exchanges between them, operator ids.

use serde_json::Value;
use weir_exec::spec::OperatorSpec;
use weir_runtime::graph::{Exchange, JobEdge, JobGraph, JobNode, JobNodeKind, JobOutput};

use crate::explain::list;

/// The job's fragments, each with its nodes, then its output.
pub fn render_job(job: &JobGraph) -> Vec<String> {
    let fragments = fragments(job);
    let mut lines = vec![format!("Job {} \"{}\"", job.job, job.name)];
    for (number, nodes) in fragments.iter().enumerate() {
        lines.push(format!("  Fragment {number}"));
        for node in nodes {
            lines.push(format!("    {}", render_node(*node, &job.nodes[*node])));
        }
    }
    lines.push(format!("  Output {}", render_output(&job.output)));
    lines
}

/// The job in its serde form.
pub fn job_json(job: &JobGraph) -> Value {
    serde_json::to_value(job).unwrap_or(Value::Null)
}

/// Nodes linked by local edges, each group in topological order.
fn fragments(job: &JobGraph) -> Vec<Vec<usize>> {
    let mut fragment_of: Vec<usize> = (0..job.nodes.len()).collect();
    for (position, node) in job.nodes.iter().enumerate() {
        for edge in node.inputs.iter().filter(|edge| edge.exchange == Exchange::Local) {
            let (from, to) = (fragment_of[edge.from], fragment_of[position]);
            for fragment in fragment_of.iter_mut().filter(|fragment| **fragment == to) {
                *fragment = from;
            }
        }
    }
    let mut roots = fragment_of.clone();
    roots.sort_unstable();
    roots.dedup();
    let members = |root: usize| (0..job.nodes.len()).filter(|i| fragment_of[*i] == root).collect();
    roots.into_iter().map(members).collect()
}

fn render_node(position: usize, node: &JobNode) -> String {
    let what = match &node.kind {
        JobNodeKind::Relation { relation, project } => format!("Relation {relation} {}", list(project)),
        JobNodeKind::Source { source, project } => format!("Source {source} {}", list(project)),
        JobNodeKind::Values { ipc } => format!("Values ({} bytes)", ipc.len()),
        JobNodeKind::Operator(operator) => render_operator(operator),
    };
    let inputs: Vec<String> = node.inputs.iter().map(render_edge).collect();
    let inputs = if inputs.is_empty() { String::new() } else { format!(" <- {}", inputs.join(", ")) };
    format!("{position}: {what}{inputs}  id={:016x}", node.id.0)
}

fn render_operator(operator: &OperatorSpec) -> String {
    match operator {
        OperatorSpec::Calc { filter, project } => {
            let filter = if filter.is_some() { "filter, " } else { "" };
            format!("Calc {{ {filter}{} columns }}", project.len())
        }
        OperatorSpec::TolerantCalc { filter, project, letters } => {
            let filter = if filter.is_some() { "filter, " } else { "" };
            format!("Calc {{ {filter}{} columns, errors into {} }}", project.len(), letters.target)
        }
        OperatorSpec::Aggregate { group, calls, .. } => {
            format!("Aggregate {{ group: {}, {} calls }}", list(group), calls.len())
        }
        OperatorSpec::HashJoin { kind, left_keys, right_keys, shared, .. } => {
            let kind = super::stream::render_kind(*kind);
            let shared = shared.as_ref().map(|side| {
                format!(", {} rows: those of relation {}", ["left", "right"][side.side], side.relation)
            });
            let (left, right) = (list(left_keys), list(right_keys));
            format!("HashJoin {{ {kind}left: {left}, right: {right}{} }}", shared.unwrap_or_default())
        }
        OperatorSpec::AsofJoin(join) => {
            let outer = if join.outer { "left, " } else { "" };
            let keys = format!("left: {}, right: {}", list(&join.left_keys), list(&join.right_keys));
            let times = format!("{} {} {}", join.left_time, join.nearest.symbol(), join.right_time);
            format!("AsofJoin {{ {outer}{keys}, time: {times} }}")
        }
        OperatorSpec::LookupJoin(join) => {
            let outer = if join.outer { "left, " } else { "" };
            let keys = format!("left: {}, right: {}", list(&join.left_keys), list(&join.right_keys));
            format!("LookupJoin {{ {outer}{keys} }}")
        }
        OperatorSpec::TopN { partition, order, bounds, .. } => {
            let order = list(order.iter().map(|key| key.column));
            let bounds = super::window::render_bounds(bounds);
            format!("TopN {{ partition: {}, order: {order}, {bounds} }}", list(partition))
        }
        OperatorSpec::Window { partition, order, calls, .. } => {
            let (partition, order) = (list(partition), list(order.iter().map(|key| key.column)));
            format!("Window {{ partition: {partition}, order: {order}, {} calls }}", calls.len())
        }
        OperatorSpec::LateFilter { column, letters } => {
            let into = letters.as_ref().map(|letters| format!(", late rows into {}", letters.target));
            format!("LateFilter {{ time: {column}{} }}", into.unwrap_or_default())
        }
        OperatorSpec::ProcTime => "ProcTime".to_string(),
        OperatorSpec::TemporalFilter { partition, from, until, .. } => {
            let moments = [from, until].map(|column| column.map_or("none".into(), |c| c.to_string()));
            let [from, until] = moments;
            format!("TemporalFilter {{ partition: {}, from: {from}, until: {until} }}", list(partition))
        }
        OperatorSpec::EmitOnClose { partition, time } => {
            format!("EmitOnClose {{ partition: {}, time: {time} }}", list(partition))
        }
        OperatorSpec::MatchRecognize(pattern) => {
            let (partition, order) = (&pattern.partition, pattern.order.iter().map(|key| key.column));
            let (variables, measures) = (pattern.variables.len(), pattern.measures.len());
            format!(
                "MatchRecognize {{ partition: {}, order: {}, {variables} variables, {measures} measures }}",
                list(partition),
                list(order)
            )
        }
        OperatorSpec::Union => "Union".to_string(),
        OperatorSpec::Unnest { lists, outer, project } => {
            let outer = if *outer { "outer, " } else { "" };
            format!("Unnest {{ {outer}{} lists, {} columns }}", lists.len(), project.len())
        }
    }
}

fn render_edge(edge: &JobEdge) -> String {
    match &edge.exchange {
        Exchange::Local => edge.from.to_string(),
        Exchange::ByKey(columns) if columns.is_empty() => format!("{} to one worker", edge.from),
        Exchange::ByKey(columns) => format!("{} by{}", edge.from, list(columns)),
    }
}

fn render_output(output: &JobOutput) -> String {
    match output {
        JobOutput::Relation { relation, .. } => format!("relation {relation}"),
        JobOutput::Sink { sink } => format!("sink {sink}"),
        JobOutput::Table { sink, table } => format!("sink {sink} into table {table}"),
    }
}
