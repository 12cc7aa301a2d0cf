//! Calc fusion and column pruning: how a filter and projection is put on top of a stream plan.
//!
//! ```text
//!   Calc(Calc(x))       →  Calc(x)                 unless a computed column would be computed twice
//!   Calc(Scan[a,b,c])   →  Calc(Scan[b])           a scan reads only the columns that are used
//!   Calc(HashJoin)      →  Calc(HashJoin[project]) a join emits only the columns that are used; so do Unnest, Top-N,
//!                                                  Window
//!   Calc that changes nothing  →  its input
//! ```
//!
//! Place in the flow: the lowering makes every Calc through [`calc`]. Invariants: the rows and their order of
//! columns are exactly those of `SELECT project FROM input WHERE filter`; a scan, join or Unnest is never left without any
//! column, since a batch without columns is the hard case of every encoding.

use arrow::datatypes::DataType;
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::spec::{AsofJoinSpec, LookupJoinSpec};

use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::{columns_read, filter_of, is_free, move_columns, replace_columns, visit_columns};

/// `SELECT project FROM input WHERE filter`, fused with the input where that costs nothing.
pub fn calc(
    input: StreamPlan,
    filter: Option<ScalarExpr>,
    project: Vec<ScalarExpr>,
    columns: Vec<StreamColumn>,
) -> StreamPlan {
    match &input.node {
        StreamNode::Calc { .. } => merge_or_stack(input, filter, project, columns),
        StreamNode::Scan { .. }
        | StreamNode::Source { .. }
        | StreamNode::HashJoin { .. }
        | StreamNode::AsofJoin(_)
        | StreamNode::LookupJoin(_)
        | StreamNode::Unnest { .. }
        | StreamNode::TopN { .. }
        | StreamNode::TemporalFilter { .. }
        | StreamNode::Window { .. } => narrow(input, filter, project, columns),
        _ => stack(input, filter, project, columns),
    }
}

/// A filter on top of a stream plan.
pub fn filter(input: StreamPlan, filter: ScalarExpr) -> StreamPlan {
    let columns = input.columns.clone();
    let project = (0..columns.len()).map(ScalarExpr::Column).collect();
    calc(input, Some(filter), project, columns)
}

/// Only these columns of a stream plan; of none, the narrowest one.
pub fn select(input: StreamPlan, keep: &[usize]) -> StreamPlan {
    let keep = if keep.is_empty() { vec![narrowest(&input.columns)] } else { keep.to_vec() };
    let columns = keep.iter().map(|i| input.columns[*i].clone()).collect();
    calc(input, None, keep.into_iter().map(ScalarExpr::Column).collect(), columns)
}

/// Rows that are only counted: one constant column.
pub fn counted(input: StreamPlan) -> StreamPlan {
    let column = StreamColumn { name: "row".into(), ty: DataType::Boolean };
    calc(input, None, vec![ScalarExpr::Literal(Literal::Bool(true), DataType::Boolean)], vec![column])
}

fn stack(
    input: StreamPlan,
    filter: Option<ScalarExpr>,
    project: Vec<ScalarExpr>,
    columns: Vec<StreamColumn>,
) -> StreamPlan {
    let filter = filter.and_then(|filter| filter_of(&[&filter]));
    let identity = project.len() == input.columns.len()
        && project.iter().enumerate().all(|(i, expr)| *expr == ScalarExpr::Column(i));
    if filter.is_none() && identity {
        return input.renamed(columns);
    }
    StreamPlan::new(StreamNode::Calc { filter, project }, vec![input], columns)
}

fn merge_or_stack(
    input: StreamPlan,
    outer_filter: Option<ScalarExpr>,
    outer_project: Vec<ScalarExpr>,
    columns: Vec<StreamColumn>,
) -> StreamPlan {
    let StreamNode::Calc { filter: inner_filter, project: inner_project } = &input.node else {
        return stack(input, outer_filter, outer_project, columns);
    };
    if computes_twice(inner_project, outer_project.iter().chain(&outer_filter)) {
        return stack(input, outer_filter, outer_project, columns);
    }
    let inline = |expr: &ScalarExpr| replace_columns(expr, &|i| inner_project[i].clone());
    let outer_filter = outer_filter.as_ref().map(inline);
    let terms: Vec<&ScalarExpr> = inner_filter.iter().chain(&outer_filter).collect();
    let filter = filter_of(&terms);
    let project = outer_project.iter().map(inline).collect();
    let below = input.inputs.into_iter().next().expect("a Calc has one input");
    calc(below, filter, project, columns)
}

/// Whether inlining would evaluate a computed column more than once.
fn computes_twice<'a>(inner: &[ScalarExpr], outer: impl Iterator<Item = &'a ScalarExpr>) -> bool {
    let mut uses = vec![0usize; inner.len()];
    for expr in outer {
        visit_columns(expr, &mut |i| uses[i] += 1);
    }
    inner.iter().zip(uses).any(|(expr, uses)| uses > 1 && !is_free(expr))
}

/// A Calc over a node that can leave out columns by itself.
fn narrow(
    input: StreamPlan,
    filter: Option<ScalarExpr>,
    project: Vec<ScalarExpr>,
    columns: Vec<StreamColumn>,
) -> StreamPlan {
    let mut keep = kept_columns(&input, filter.as_ref(), &project);
    if matches!(input.node, StreamNode::TopN { .. } | StreamNode::Window { .. }) {
        // Computed columns stay behind the others.
        keep.sort_unstable();
    }
    let width = input.columns.len();
    let input = if keep.len() == width && keep.iter().enumerate().all(|(i, k)| i == *k) {
        input
    } else {
        keep_columns(input, &keep)
    };
    let moved = |column: usize| {
        keep.iter().position(|k| *k == column).expect("columns that expressions read are kept")
    };
    let filter = filter.map(|filter| move_columns(&filter, &moved));
    let project = project.iter().map(|expr| move_columns(expr, &moved)).collect();
    stack(input, filter, project, columns)
}

/// The columns that must stay: in the wanted order if they are merely picked, else in the order they stand.
fn kept_columns(input: &StreamPlan, filter: Option<&ScalarExpr>, project: &[ScalarExpr]) -> Vec<usize> {
    let mut picked = Vec::new();
    for expr in project {
        match expr {
            ScalarExpr::Column(i) if filter.is_none() && !picked.contains(i) => picked.push(*i),
            _ => {
                picked = columns_read(project.iter().chain(filter)).into_iter().collect();
                break;
            }
        }
    }
    if picked.is_empty() {
        picked = filter.map(|filter| columns_read([filter]).into_iter().collect()).unwrap_or_default();
    }
    if picked.is_empty() {
        picked.push(narrowest(&input.columns));
    }
    picked
}

fn keep_columns(input: StreamPlan, keep: &[usize]) -> StreamPlan {
    let pick = |project: &[usize]| keep.iter().map(|i| project[*i]).collect();
    let columns = keep.iter().map(|i| input.columns[*i].clone()).collect();
    let node = match input.node {
        StreamNode::Scan { relation, name, is_table, grows, key, project, watermarks } => {
            StreamNode::Scan { relation, name, is_table, grows, key, project: pick(&project), watermarks }
        }
        StreamNode::Source { source, name, project, watermarks } => {
            StreamNode::Source { source, name, project: pick(&project), watermarks }
        }
        StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, ttl } => {
            let project = pick(&project);
            StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, ttl }
        }
        StreamNode::AsofJoin(join) => {
            let project = pick(&join.project);
            StreamNode::AsofJoin(AsofJoinSpec { project, ..join })
        }
        StreamNode::LookupJoin(join) => {
            let project = pick(&join.project);
            StreamNode::LookupJoin(LookupJoinSpec { project, ..join })
        }
        StreamNode::Unnest { lists, outer, project } => {
            StreamNode::Unnest { lists, outer, project: pick(&project) }
        }
        StreamNode::TopN { partition, order, bounds, project, numbered } => {
            let numbered = numbered && keep.contains(&project.len());
            let project = keep.iter().filter_map(|i| project.get(*i)).copied().collect();
            StreamNode::TopN { partition, order, bounds, project, numbered }
        }
        StreamNode::TemporalFilter { partition, from, until, project } => {
            StreamNode::TemporalFilter { partition, from, until, project: pick(&project) }
        }
        StreamNode::Window { partition, order, calls, project } => {
            let kept_calls = keep.iter().filter_map(|i| calls.get(i.checked_sub(project.len())?));
            let calls = kept_calls.cloned().collect();
            let project = keep.iter().filter_map(|i| project.get(*i)).copied().collect();
            StreamNode::Window { partition, order, calls, project }
        }
        other => unreachable!("a {other:?} cannot leave out columns"),
    };
    StreamPlan::new(node, input.inputs, columns)
}

/// The column that is cheapest to carry.
fn narrowest(columns: &[StreamColumn]) -> usize {
    let width = |column: &StreamColumn| column.ty.primitive_width().unwrap_or(usize::MAX);
    (0..columns.len()).min_by_key(|i| width(&columns[*i])).unwrap_or(0)
}
