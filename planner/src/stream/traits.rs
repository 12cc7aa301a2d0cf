//! What is proved of a stream plan node's output: changelog mode, stream key, distribution, watermarks, state.
//!
//! Place in the flow: derived bottom-up as nodes are made; the job builder places exchanges from distributions,
//! `EXPLAIN` prints them. What a node keeps is said in [`state`].
//!
//! Facts everything rests on: a source only appends; a table or view retracts (even a table that so far has only
//! seen inserts). An inner or semi join or union of append-only inputs is append-only. Joins that show a row for want
//! of a match take it back when a match comes. An aggregate retracts the old row
//! of a group, except DISTINCT over append-only input, which emits each row once.
//!
//! A distribution by columns (a, b) says that a row is on the worker that owns the key group of the encoded
//! list (a, b). Key groups are computed from the columns in order, so it satisfies a need for exactly that list:
//! neither (b, a) nor (a).

use serde::{Deserialize, Serialize};
use weir_common::RelationKey;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{ChangelogMode, JoinKind, MatchInput, Measure, Numbering, RowPattern, RowsPerMatch};
use weir_runtime::graph::Exchange;

use crate::stream::event_time::{self, ColumnWatermark};
use crate::stream::lookup::lookup_key;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::state::{self, StateTable};

/// Where a node's output rows are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// On any worker.
    Any,
    /// On the worker that owns the key group of these columns, in this order.
    ByKey(Vec<usize>),
    /// All on one worker, the owner of the empty key.
    Single,
}

/// Everything proved of a node's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traits {
    pub mode: ChangelogMode,
    /// Output columns that identify a row at any time (none at all: at most one row); `None`: a bag.
    pub key: Option<Vec<usize>>,
    pub distribution: Distribution,
    /// Output columns that carry a watermark.
    pub watermarks: Vec<ColumnWatermark>,
    /// What the node keeps.
    pub state: Vec<StateTable>,
}

impl Distribution {
    /// Whether rows are already where this exchange would bring them.
    pub fn satisfies(&self, need: &Exchange) -> bool {
        match (self, need) {
            (_, Exchange::Local) => true,
            (Distribution::ByKey(have), Exchange::ByKey(want)) => have == want,
            (Distribution::Single, Exchange::ByKey(want)) => want.is_empty(),
            (Distribution::Any, Exchange::ByKey(_)) => false,
        }
    }
}

impl Traits {
    /// Columns of the first `width` by which equal rows are on one worker: those they are placed by, or else what
    /// identifies them.
    pub fn placement(&self, width: usize) -> Vec<usize> {
        match &self.distribution {
            Distribution::ByKey(columns) => columns.clone(),
            Distribution::Single => Vec::new(),
            Distribution::Any => self.key.clone().unwrap_or_else(|| (0..width).collect()),
        }
    }

    /// The traits of a node's output, from the node and its inputs' traits.
    pub fn derive(node: &StreamNode, inputs: &[StreamPlan], columns: &[StreamColumn]) -> Traits {
        Traits {
            mode: mode(node, inputs),
            key: key(node, inputs),
            distribution: distribution(node, inputs),
            watermarks: event_time::derive(node, inputs),
            state: state::derive(node, inputs, columns),
        }
    }
}

/// How the rows must reach input `port` of a node. The edge is `Local` where the input's distribution does already.
pub fn required_exchange(node: &StreamNode, inputs: &[StreamPlan], port: usize) -> Exchange {
    let have = &inputs[port].traits.distribution;
    let need = match node {
        StreamNode::Aggregate { group, .. } => Exchange::ByKey(group.clone()),
        StreamNode::TopN { partition, .. } | StreamNode::Window { partition, .. } => {
            Exchange::ByKey(partition.clone())
        }
        StreamNode::EmitOnClose { partition, .. } | StreamNode::TemporalFilter { partition, .. } => {
            Exchange::ByKey(partition.clone())
        }
        StreamNode::MatchRecognize { pattern } => Exchange::ByKey(pattern.partition.clone()),
        StreamNode::HashJoin { left_keys, right_keys, .. } => {
            Exchange::ByKey(if port == 0 { left_keys.clone() } else { right_keys.clone() })
        }
        StreamNode::AsofJoin(join) => {
            Exchange::ByKey(if port == 0 { join.left_keys.clone() } else { join.right_keys.clone() })
        }
        StreamNode::LookupJoin(join) => {
            Exchange::ByKey(if port == 0 { join.left_keys.clone() } else { join.right_keys.clone() })
        }
        StreamNode::Materialize { key: RelationKey::Columns(key), .. } => Exchange::ByKey(key.clone()),
        StreamNode::Materialize { key: RelationKey::Bag, .. } if must_meet(&inputs[port].traits) => {
            Exchange::ByKey((0..inputs[port].columns.len()).collect())
        }
        _ => Exchange::Local,
    };
    if have.satisfies(&need) { Exchange::Local } else { need }
}

/// Whether equal rows of a bag must be brought together, so that a delete cancels its insert. Not if there are only
/// inserts, and not if rows are placed by some of their columns or all on one worker: then equal rows meet anyway.
fn must_meet(rows: &Traits) -> bool {
    rows.mode == ChangelogMode::Retract && rows.distribution == Distribution::Any
}

fn mode(node: &StreamNode, inputs: &[StreamPlan]) -> ChangelogMode {
    match node {
        StreamNode::Scan { .. } => ChangelogMode::Retract,
        StreamNode::Source { .. } | StreamNode::Values { .. } | StreamNode::EmitOnClose { .. } => {
            ChangelogMode::AppendOnly
        }
        StreamNode::Aggregate { calls, .. } if !calls.is_empty() => ChangelogMode::Retract,
        // A row is taken back, or its results are, when another comes before it.
        StreamNode::TopN { .. }
        | StreamNode::Window { .. }
        | StreamNode::TemporalFilter { .. }
        | StreamNode::MatchRecognize { .. } => ChangelogMode::Retract,
        // A nearer row may come late.
        StreamNode::AsofJoin(_) => ChangelogMode::Retract,
        // What the right side becomes changes nothing.
        StreamNode::LookupJoin(join) => join.left_mode,
        StreamNode::HashJoin { kind, .. }
            if !matches!(kind, JoinKind::Inner | JoinKind::Semi | JoinKind::IntersectAll) =>
        {
            ChangelogMode::Retract
        }
        _ if inputs.iter().all(|input| input.traits.mode == ChangelogMode::AppendOnly) => {
            ChangelogMode::AppendOnly
        }
        _ => ChangelogMode::Retract,
    }
}

fn key(node: &StreamNode, inputs: &[StreamPlan]) -> Option<Vec<usize>> {
    match node {
        StreamNode::Scan { key: RelationKey::Columns(key), project, .. } => {
            key.iter().map(|column| project.iter().position(|p| p == column)).collect()
        }
        StreamNode::Scan { .. }
        | StreamNode::Source { .. }
        | StreamNode::Values { .. }
        | StreamNode::Unnest { .. }
        | StreamNode::Union => None,
        StreamNode::MatchRecognize { pattern } => match_key(pattern),
        StreamNode::Calc { project, .. } => projected(inputs[0].traits.key.as_deref()?, project),
        StreamNode::Aggregate { group, .. } => Some((0..group.len()).collect()),
        StreamNode::HashJoin { .. } => join_key(node, inputs),
        // A left row has one match.
        StreamNode::AsofJoin(join) => positions(inputs[0].traits.key.as_deref()?, &join.project),
        StreamNode::LookupJoin(join) => lookup_key(join, inputs),
        StreamNode::TopN { .. } => top_n_key(node, inputs),
        StreamNode::Window { project, .. } | StreamNode::TemporalFilter { project, .. } => {
            positions(inputs[0].traits.key.as_deref()?, project)
        }
        StreamNode::LateFilter { .. }
        | StreamNode::ProcTime
        | StreamNode::EmitOnClose { .. }
        | StreamNode::Materialize { .. }
        | StreamNode::Sink { .. } => inputs[0].traits.key.clone(),
    }
}

/// Where a projection passes these input columns through, if it passes all of them.
fn projected(columns: &[usize], project: &[ScalarExpr]) -> Option<Vec<usize>> {
    columns
        .iter()
        .map(|column| project.iter().position(|expr| *expr == ScalarExpr::Column(*column)))
        .collect()
}

/// What identifies a row of a Top-N: its partition if there is one row of each, else what identifies it in the input,
/// or its partition and its number.
fn top_n_key(node: &StreamNode, inputs: &[StreamPlan]) -> Option<Vec<usize>> {
    let StreamNode::TopN { partition, bounds, project, numbered, .. } = node else { return None };
    let output = |columns: &[usize]| positions(columns, project);
    let distinct_numbers = bounds.numbering == Numbering::Row;
    if distinct_numbers && bounds.last.is_some_and(|last| last.saturating_sub(bounds.skip) <= 1) {
        return output(partition);
    }
    inputs[0].traits.key.as_deref().and_then(output).or_else(|| {
        let mut key = output(partition).filter(|_| *numbered && distinct_numbers)?;
        key.push(project.len());
        Some(key)
    })
}

/// What identifies a row of a match, if each is one row: its partition and its number there.
fn match_key(pattern: &RowPattern) -> Option<Vec<usize>> {
    let is_number = |measure: &Measure| {
        measure.value.inputs == [MatchInput::MatchNumber] && measure.value.expr == ScalarExpr::Column(0)
    };
    let number = pattern.measures.iter().position(is_number)?;
    let mut key = positions(&pattern.partition, &pattern.project)?;
    key.push(pattern.project.len() + number);
    (pattern.rows == RowsPerMatch::One).then_some(key)
}

/// Where these input columns are among the picked ones, if all are.
pub(super) fn positions(columns: &[usize], picked: &[usize]) -> Option<Vec<usize>> {
    columns.iter().map(|column| picked.iter().position(|p| p == column)).collect()
}

/// What identifies a row of a join. A kind that shows left rows alone has the left key. Otherwise a pair is identified
/// by the keys of both sides, or by one side's alone if a key value of the other side's occurs at most once there.
/// A side that may be NULL beside a row of the other identifies nothing by itself; where both may be, a row without
/// a match has no key that could not be another's.
fn join_key(node: &StreamNode, inputs: &[StreamPlan]) -> Option<Vec<usize>> {
    let StreamNode::HashJoin { kind, left_keys, right_keys, .. } = node else { return None };
    let left_width = inputs[0].columns.len();
    let (left, right) = (inputs[0].traits.key.as_deref(), inputs[1].traits.key.as_deref());
    let unique = |key: Option<&[usize]>, joined: &[usize]| {
        key.is_some_and(|key| key.iter().all(|k| joined.contains(k)))
    };
    let from_right = |key: &[usize]| key.iter().map(|k| k + left_width).collect::<Vec<_>>();
    let identity = if kind.emits_pairs() {
        match (left, right) {
            _ if *kind == JoinKind::Full => return None,
            (Some(left), _) if *kind != JoinKind::Right && unique(right, right_keys) => left.to_vec(),
            (_, Some(right)) if *kind != JoinKind::Left && unique(left, left_keys) => from_right(right),
            (Some(left), Some(right)) => left.iter().copied().chain(from_right(right)).collect(),
            _ => return None,
        }
    } else {
        left?.to_vec()
    };
    let mut output = Vec::new();
    for column in identity {
        let position = join_output(node, left_width, column)?;
        if !output.contains(&position) {
            output.push(position);
        }
    }
    Some(output)
}

/// Where a join's output has this column of (left, right), or the other side's column that it is equal to wherever
/// a row of this side is shown.
fn join_output(node: &StreamNode, left_width: usize, column: usize) -> Option<usize> {
    let StreamNode::HashJoin { kind, left_keys, right_keys, project, .. } = node else { return None };
    let at = |column: usize| project.iter().position(|p| *p == column);
    let [left_preserved, right_preserved] = kind.preserves();
    at(column).or_else(|| {
        let equal = left_keys.iter().zip(right_keys).find_map(|(left, right)| {
            let right = right + left_width;
            (*left == column && !left_preserved)
                .then_some(right)
                .or((right == column && !right_preserved).then_some(*left))
        });
        equal.and_then(at)
    })
}

fn distribution(node: &StreamNode, inputs: &[StreamPlan]) -> Distribution {
    match node {
        // The runtime promises no placement for rows it reads.
        StreamNode::Scan { .. } | StreamNode::Source { .. } | StreamNode::Values { .. } => Distribution::Any,
        StreamNode::Calc { project, .. } => match &inputs[0].traits.distribution {
            Distribution::ByKey(columns) => by_key(projected(columns, project)),
            other => other.clone(),
        },
        // Elements stay where their list was.
        StreamNode::Unnest { project, .. } => match &inputs[0].traits.distribution {
            Distribution::ByKey(columns) => {
                by_key(columns.iter().map(|column| project.iter().position(|p| p == column)).collect())
            }
            other => other.clone(),
        },
        StreamNode::LateFilter { .. } | StreamNode::ProcTime => inputs[0].traits.distribution.clone(),
        StreamNode::EmitOnClose { partition, .. } => by_key(Some(partition.clone())),
        StreamNode::Aggregate { group, .. } => by_key(Some((0..group.len()).collect())),
        StreamNode::TopN { partition, project, .. }
        | StreamNode::Window { partition, project, .. }
        | StreamNode::TemporalFilter { partition, project, .. } => by_key(positions(partition, project)),
        StreamNode::MatchRecognize { pattern } => by_key(positions(&pattern.partition, &pattern.project)),
        StreamNode::AsofJoin(join) => by_key(positions(&join.left_keys, &join.project)),
        StreamNode::LookupJoin(join) => by_key(positions(&join.left_keys, &join.project)),
        StreamNode::HashJoin { kind, left_keys, right_keys, .. } => {
            let left_width = inputs[0].columns.len();
            let right_keys = right_keys.iter().map(|key| key + left_width);
            let keys: Vec<usize> = match kind {
                JoinKind::Full if !left_keys.is_empty() => return Distribution::Any,
                JoinKind::Right => right_keys.collect(),
                _ => left_keys.clone(),
            };
            by_key(keys.into_iter().map(|key| join_output(node, left_width, key)).collect())
        }
        StreamNode::Union => {
            let first = &inputs[0].traits.distribution;
            let same = inputs.iter().all(|input| input.traits.distribution == *first);
            if same { first.clone() } else { Distribution::Any }
        }
        StreamNode::Materialize { .. } | StreamNode::Sink { .. } => {
            match required_exchange(node, inputs, 0) {
                Exchange::Local => inputs[0].traits.distribution.clone(),
                Exchange::ByKey(columns) => by_key(Some(columns)),
            }
        }
    }
}

fn by_key(columns: Option<Vec<usize>>) -> Distribution {
    match columns {
        None => Distribution::Any,
        Some(columns) if columns.is_empty() => Distribution::Single,
        Some(columns) => Distribution::ByKey(columns),
    }
}
