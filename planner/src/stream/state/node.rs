//! The pieces of state of each kind of node, and what limits them.
//!
//! Invariant: what is said to go with time is what the node's operator closes by, as [`event_time`] proves it.

use arrow::datatypes::IntervalMonthDayNano;
use weir_common::text::interval;
use weir_exec::event_time::{EventTime, WatermarkExpr};
use weir_exec::operators::session::are_sessions;
use weir_exec::spec::{
    AggregateCall, AggregateFunction, AsofJoinSpec, ChangelogMode, LookupJoinSpec, Numbering, RowBounds,
    RowClosing, RowPattern, SortColumn, WindowCall,
};

use super::endless::{endless, goes_on};
use super::{StateBound, StateTable, null_times};
use crate::stream::event_time::{self, asof_times, join_times, match_times};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::shared::shared_side;

/// What a hint says that any query can do.
macro_rules! or_by_clock {
    ($first:literal) => {
        concat!($first, ", or leave old rows out below it: WHERE ts > now() - INTERVAL '1 day'.")
    };
}

const GROUP_HINT: &str = or_by_clock!("Group by a window of a column with WATERMARK FOR");
const PARTITION_HINT: &str = or_by_clock!("Partition by a window of a column with WATERMARK FOR");
const SESSION_HINT: &str = or_by_clock!("Declare WATERMARK FOR on the time of the sessions");
const JOIN_HINT: &str = or_by_clock!(
    "Bound the times of both sides, which have WATERMARK FOR, in the condition: \
     a.ts BETWEEN b.ts - INTERVAL '1 hour' AND b.ts"
);
const LOOKUP_HINT: &str = or_by_clock!("Look rows up in a table");
const ORDERED_HINT: &str = "Leave old rows out below it: WHERE ts > now() - INTERVAL '1 day'.";
const RESULT_HINT: &str = "Rows leave a view by the clock: WHERE ts > now() - INTERVAL '1 day'.";

/// The pieces of state of a node.
pub fn derive(node: &StreamNode, inputs: &[StreamPlan], columns: &[StreamColumn]) -> Vec<StateTable> {
    match node {
        StreamNode::TemporalFilter { partition, .. } => {
            let bound =
                StateBound::Time { by: "the clock".into(), until: "the clock has passed their times".into() };
            vec![StateTable { keeps: "rows".into(), key: names(&inputs[0], partition), bound }]
        }
        StreamNode::EmitOnClose { partition, time } => {
            let watermark = event_time::watermark_of(&inputs[0], *time);
            let bound = passed(
                watermark,
                &inputs[0].columns[*time].name,
                null_times::all_have(&inputs[0], *time),
                inputs,
            );
            vec![StateTable { keeps: "rows".into(), key: names(&inputs[0], partition), bound }]
        }
        StreamNode::Aggregate { group, calls, .. } => vec![aggregate(node, group, calls, inputs, columns)],
        StreamNode::HashJoin { left_keys, right_keys, null_equal, .. } => {
            join(node, [left_keys, right_keys], null_equal, inputs)
        }
        StreamNode::AsofJoin(spec) => asof_join(spec, inputs),
        StreamNode::LookupJoin(spec) => lookup(spec, inputs),
        StreamNode::TopN { partition, bounds, .. } => vec![top_n(node, partition, bounds, inputs)],
        StreamNode::Window { partition, order, calls, .. } => {
            vec![window(node, partition, order, calls, inputs)]
        }
        StreamNode::MatchRecognize { pattern } => vec![match_recognize(pattern, &inputs[0])],
        _ => Vec::new(),
    }
}

/// How a node is called in a sentence.
pub(super) fn who(node: &StreamNode) -> &'static str {
    match node {
        StreamNode::Aggregate { .. } => "the aggregate",
        StreamNode::HashJoin { .. } | StreamNode::AsofJoin(_) | StreamNode::LookupJoin(_) => "the join",
        StreamNode::TopN { .. } => "the Top-N",
        StreamNode::Window { .. } => "the window",
        StreamNode::MatchRecognize { .. } => "MATCH_RECOGNIZE",
        _ => "the query",
    }
}

fn aggregate(
    node: &StreamNode,
    group: &[usize],
    calls: &[AggregateCall],
    inputs: &[StreamPlan],
    columns: &[StreamColumn],
) -> StateTable {
    let key: Vec<String> = columns[..group.len()].iter().map(|column| column.name.clone()).collect();
    let values = kept_values(calls, inputs[0].traits.mode);
    let keeps = match (key.is_empty(), values) {
        (true, None) => {
            return StateTable { keeps: "one row".into(), key, bound: StateBound::Size("one row".into()) };
        }
        (true, Some(values)) => values.to_string(),
        (false, values) => format!("{} for each ({})", values.unwrap_or("one row"), key.join(", ")),
    };
    let bound = match (event_time::closing(node, inputs), node) {
        (Some((time, watermark)), _) => {
            passed(Some(watermark), &key[time], null_times::all_have(&inputs[0], group[time]), inputs)
        }
        (None, StreamNode::Aggregate { ttl: Some(ttl), .. }) => {
            StateBound::Ttl { until: format!("nothing of a group has come for {}", length(ttl.keep_micros)) }
        }
        (None, _) => by_rows(&inputs[0], GROUP_HINT),
    };
    StateTable { keeps, key, bound }
}

/// What is kept of a group beside its row.
fn kept_values(calls: &[AggregateCall], input: ChangelogMode) -> Option<&'static str> {
    let keeps_all = calls.iter().any(|call| call.function.is_ordered() && !call.distinct);
    let keeps_distinct = calls.iter().any(|call| {
        let extreme = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
        (call.distinct || call.function.is_ordered()) && !extreme
            || extreme && input == ChangelogMode::Retract
    });
    match (keeps_all, keeps_distinct) {
        (true, _) => Some("the values of its arguments"),
        (_, true) => Some("the distinct values of its arguments"),
        _ => None,
    }
}

/// The rows of each side that is not looked up in a table.
fn join(
    node: &StreamNode,
    keys: [&Vec<usize>; 2],
    null_equal: &[bool],
    inputs: &[StreamPlan],
) -> Vec<StateTable> {
    let shared = shared_side(node, inputs).map(|(shared, _)| shared.side);
    let times = join_times::of(node, inputs);
    let of_side = |side: usize| {
        let input = &inputs[side];
        let key = names(input, keys[side]);
        let closing = times.as_ref().and_then(|times| Some((times.closing[side]?, &times.watermark)));
        match closing {
            None => side_rows(side, key, input, JOIN_HINT),
            Some((closing, _)) if matches!(node, StreamNode::HashJoin { ttl, .. } if ttl[side].is_some()) => {
                let until = format!("{} after a row", length(closing.keep_micros));
                StateTable {
                    keeps: format!("the rows of {}", SIDES[side]),
                    key,
                    bound: StateBound::Ttl { until },
                }
            }
            Some((closing, watermark)) => {
                // What equals nothing is not kept.
                let is_key =
                    keys[side].iter().zip(null_equal).any(|(key, null)| *key == closing.column && !null);
                let has_time = is_key || null_times::all_have(input, closing.column);
                let bound = passed(Some(watermark), &end_of_row(closing, input), has_time, inputs);
                StateTable { keeps: format!("the rows of {}", SIDES[side]), key, bound }
            }
        }
    };
    (0..2).filter(|side| shared != Some(*side)).map(of_side).collect()
}

const SIDES: [&str; 2] = ["the left input", "the right input"];

/// `ts`, `ts + 00:10:00`.
fn end_of_row(closing: RowClosing, input: &StreamPlan) -> String {
    let column = &input.columns[closing.column].name;
    let sign = match closing.keep_micros {
        0 => return column.clone(),
        micros if micros < 0 => '-',
        _ => '+',
    };
    format!(
        "{column} {sign} {}",
        length(i64::try_from(closing.keep_micros.unsigned_abs()).unwrap_or(i64::MAX))
    )
}

/// So many microseconds as an interval: `00:10:00`.
pub fn length(micros: i64) -> String {
    let mut text = String::new();
    interval::write(IntervalMonthDayNano::new(0, 0, micros.saturating_mul(1_000)), &mut text);
    text
}

/// The rows of each side; where both times have a watermark, those that it has passed go, but for the ones that a row to come
/// may still be matched with.
fn asof_join(spec: &AsofJoinSpec, inputs: &[StreamPlan]) -> Vec<StateTable> {
    let key = |side: usize| names(&inputs[side], [&spec.left_keys, &spec.right_keys][side]);
    let Some(watermark) = asof_times::watermark(spec, inputs) else {
        return (0..2).map(|side| side_rows(side, key(side), &inputs[side], ORDERED_HINT)).collect();
    };
    let rows = |side: usize| {
        let time = &inputs[side].columns[[spec.left_time, spec.right_time][side]].name;
        // A row without a time matches nothing, and is not kept.
        let bound = passed(Some(&watermark), time, true, inputs);
        StateTable { keeps: format!("the rows of {}", SIDES[side]), key: key(side), bound }
    };
    let (side, keeps) = match spec.nearest.looks_back() {
        true => (1, "the last row of the right input that event time has passed".to_string()),
        false => (0, "the rows of the left input without a match".to_string()),
    };
    let (key, input) = (key(side), &inputs[side]);
    let rest = match (side, key.is_empty()) {
        (1, true) => StateTable { keeps, key, bound: StateBound::Size("one row".into()) },
        (1, false) => {
            let keeps = format!("{keeps} for each ({})", key.join(", "));
            StateTable { keeps, key, bound: by_rows(input, ORDERED_HINT) }
        }
        _ => StateTable { keeps, key, bound: by_rows(input, ORDERED_HINT) },
    };
    vec![rows(0), rows(1), rest]
}

/// The right side's rows; and of left rows that may go, what they were joined with.
fn lookup(spec: &LookupJoinSpec, inputs: &[StreamPlan]) -> Vec<StateTable> {
    let mut tables = vec![side_rows(1, names(&inputs[1], &spec.right_keys), &inputs[1], LOOKUP_HINT)];
    if spec.left_mode == ChangelogMode::Retract {
        let keeps = "what each left row was joined with".to_string();
        let key = names(&inputs[0], &spec.left_keys);
        tables.push(StateTable { keeps, key, bound: by_rows(&inputs[0], ORDERED_HINT) });
    }
    tables
}

fn top_n(node: &StreamNode, partition: &[usize], bounds: &RowBounds, inputs: &[StreamPlan]) -> StateTable {
    let (input, key) = (&inputs[0], names(&inputs[0], partition));
    // What has dropped out of an input that only grows never comes back.
    let kept = bounds.last.filter(|_| input.traits.mode == ChangelogMode::AppendOnly);
    let first = match (kept, bounds.numbering) {
        (None, _) => None,
        (Some(1), Numbering::Row) => Some("one row".to_string()),
        (Some(n), Numbering::Row) => Some(format!("{n} rows")),
        (Some(n), Numbering::Rank) => Some(format!("{n} rows and those equal to the last")),
        (Some(n), Numbering::DenseRank) => Some(format!("the rows of {n} places")),
    };
    let is_fixed = key.is_empty() && bounds.numbering == Numbering::Row;
    let bound = match (&first, event_time::closing(node, inputs)) {
        (_, Some((time, watermark))) => {
            passed(Some(watermark), &key[time], null_times::all_have(input, partition[time]), inputs)
        }
        (Some(rows), None) if is_fixed => StateBound::Size(rows.clone()),
        _ => by_rows(input, PARTITION_HINT),
    };
    let keeps = match first {
        Some(rows) if key.is_empty() => rows,
        Some(rows) => format!("{rows} for each ({})", key.join(", ")),
        None => "the rows of its input".to_string(),
    };
    StateTable { keeps, key, bound }
}

fn window(
    node: &StreamNode,
    partition: &[usize],
    order: &[SortColumn],
    calls: &[WindowCall],
    inputs: &[StreamPlan],
) -> StateTable {
    let (input, key) = (&inputs[0], names(&inputs[0], partition));
    let bound = match (event_time::closing(node, inputs), event_time::session_closing(node, inputs)) {
        (Some((time, watermark)), _) => {
            passed(Some(watermark), &key[time], null_times::all_have(input, partition[time]), inputs)
        }
        (None, Some(watermark)) => passed(
            Some(&watermark),
            "the end of their session",
            null_times::all_have(input, order[0].column),
            inputs,
        ),
        (None, None) => {
            let hint = if are_sessions(calls) { SESSION_HINT } else { PARTITION_HINT };
            return all_rows(key, input, hint);
        }
    };
    StateTable { keeps: "the rows of its input".into(), key, bound }
}

/// All rows, or where it is known when a match is over those that may be in one.
fn match_recognize(pattern: &RowPattern, input: &StreamPlan) -> StateTable {
    let key = names(input, &pattern.partition);
    match match_times::watermark(pattern, input).filter(|_| pattern.over_after_micros().is_some()) {
        None => all_rows(key, input, ORDERED_HINT),
        Some(watermark) => {
            let has_time = null_times::all_have(input, pattern.order[0].column);
            let matches = "the matches that they may be in";
            let bound = passed(Some(watermark), matches, has_time, std::slice::from_ref(input));
            StateTable { keeps: "the rows of its input".into(), key, bound }
        }
    }
}

/// What a view shows: no state of an operator, but it lies on disk as that does.
pub fn result(rows: &StreamPlan, key: Vec<String>) -> StateTable {
    StateTable { keeps: "the rows of the view".into(), key, bound: by_rows(rows, RESULT_HINT) }
}

/// All rows of a node's only input.
fn all_rows(key: Vec<String>, input: &StreamPlan, hint: &str) -> StateTable {
    rows_of("its input", key, input, hint)
}

/// All rows of one side of a join.
fn side_rows(side: usize, key: Vec<String>, input: &StreamPlan, hint: &str) -> StateTable {
    rows_of(SIDES[side], key, input, hint)
}

fn rows_of(whose: &str, key: Vec<String>, input: &StreamPlan, hint: &str) -> StateTable {
    let bound = by_rows(input, hint);
    let word = if matches!(bound, StateBound::Unbounded { .. }) { "every row" } else { "the rows" };
    StateTable { keeps: format!("{word} of {whose}"), key, bound }
}

/// State that is no more than the rows of a plan, if those do not grow without end.
fn by_rows(rows: &StreamPlan, hint: &str) -> StateBound {
    match endless(rows).as_slice() {
        [] => StateBound::Size(format!("the rows of {}", whole_of(rows))),
        endless => StateBound::Unbounded { why: goes_on(endless), hint: hint.into() },
    }
}

/// The relations that rows which do not grow come from; where they come from a source, what holds their number.
fn whole_of(rows: &StreamPlan) -> String {
    let mut relations = Vec::new();
    let only_relations = collect_relations(rows, &mut relations);
    relations.sort_unstable();
    relations.dedup();
    match (only_relations && !relations.is_empty(), leaves_by_clock(rows)) {
        (true, _) => relations.join(", "),
        (false, true) => "its input that the clock has not passed".into(),
        (false, false) => "its input".into(),
    }
}

/// The names of the relations below; whether all of them are bounded.
fn collect_relations<'p>(plan: &'p StreamPlan, names: &mut Vec<&'p str>) -> bool {
    if let StreamNode::Scan { name, .. } = &plan.node {
        names.push(name);
    }
    let ends = !matches!(plan.node, StreamNode::Source { .. } | StreamNode::Scan { grows: true, .. });
    plan.inputs.iter().fold(ends, |ends, input| collect_relations(input, names) && ends)
}

fn leaves_by_clock(plan: &StreamPlan) -> bool {
    matches!(plan.node, StreamNode::TemporalFilter { until: Some(_), .. })
        || plan.inputs.iter().any(leaves_by_clock)
}

/// State that goes when time has passed `what`; whether every row has that.
fn passed(
    watermark: Option<&WatermarkExpr>,
    what: &str,
    has_time: bool,
    inputs: &[StreamPlan],
) -> StateBound {
    let mut times: Vec<EventTime> = Vec::new();
    if let Some(watermark) = watermark {
        watermark.visit(&mut |time| times.push(time));
    }
    let mut of: Vec<&str> =
        times.iter().filter_map(|time| inputs.iter().find_map(|input| relation_name(input, *time))).collect();
    of.sort_unstable();
    of.dedup();
    let watermarks = match of.as_slice() {
        [] => None,
        [one] => Some(format!("the watermark of {one}")),
        many => Some(format!("the watermarks of {}", many.join(" and "))),
    };
    let (by, time) = match (watermarks, times.contains(&EventTime::CLOCK)) {
        (Some(watermarks), true) => (format!("{watermarks} and the clock"), "time"),
        (Some(watermarks), false) => (watermarks, "event time"),
        (None, _) => ("the clock".into(), "the clock"),
    };
    let without = if has_time { "" } else { " (NULL stays)" };
    StateBound::Time { by, until: format!("{time} has passed {what}{without}") }
}

fn relation_name(plan: &StreamPlan, time: EventTime) -> Option<&str> {
    match &plan.node {
        StreamNode::Scan { relation: object, name, .. } | StreamNode::Source { source: object, name, .. }
            if *object == time.object =>
        {
            Some(name)
        }
        _ => plan.inputs.iter().find_map(|input| relation_name(input, time)),
    }
}

fn names(plan: &StreamPlan, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|column| plan.columns[*column].name.clone()).collect()
}
