//! Watermarks in a stream plan: which columns have one, and which nodes may forget what lies behind it.
//!
//! A column has a watermark when no row of a later epoch, inserted or deleted, has a smaller value there. It begins with
//! WATERMARK FOR, or with a column of a view that has one; here it is followed upwards:
//!
//! - through Calc and Unnest along monotone functions (`date_trunc`, `ts + interval`, the windows of TUMBLE, HOP and
//!   CUMULATE); through UNION ALL as the least of its inputs'.
//! - PROCTIME() is a column whose watermark is the clock.
//! - An aggregate, Top-N or window that groups by such a column *closes* by it: it forgets the groups that lie behind the
//!   watermark. So do sessions by their time, joins whose condition bounds the times of both sides ([`join_times`]), and
//!   ASOF joins ([`asof_times`]). Late rows are left out in front of them ([`on_time`]), so what they emit keeps the
//!   watermark.
//! - The rows of a match keep it, less what WITHIN says ([`match_times`]).
//! - What a lookup join emits of a left row comes and goes with it: its columns keep their watermarks.
//!
//! Other nodes end it: a join by other columns shows an old row when its match comes.

pub mod asof_times;
pub mod join_times;
pub mod match_times;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use serde::{Deserialize, Serialize};
use weir_common::{Error, Result};
use weir_exec::event_time::{EventTime, WatermarkExpr};
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::functions::{SESSION_END, length_micros};
use weir_exec::operators::session::are_sessions;
use weir_exec::spec::WindowCall;

use self::join_times::JoinTimes;
use crate::stream::plan::{StreamNode, StreamPlan};
use crate::stream::scalar::columns_read;
use crate::stream::ttl;

/// An output column that has a watermark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnWatermark {
    pub column: usize,
    pub watermark: WatermarkExpr,
}

/// The watermarks of a node's output.
pub fn derive(node: &StreamNode, inputs: &[StreamPlan]) -> Vec<ColumnWatermark> {
    let of_input = |column: usize| inputs.first().and_then(|input| watermark_of(input, column)).cloned();
    let at = |column: usize, watermark: Option<WatermarkExpr>| {
        watermark.map(|watermark| ColumnWatermark { column, watermark })
    };
    match node {
        StreamNode::Scan { project, watermarks, .. } | StreamNode::Source { project, watermarks, .. } => {
            let found = |column: &usize| watermarks.iter().find(|time| time.position == *column);
            let columns = project.iter().enumerate();
            columns
                .filter_map(|(i, column)| at(i, found(column).map(|time| time.watermark.clone())))
                .collect()
        }
        StreamNode::Calc { project, .. } => {
            let columns = project.iter().enumerate();
            columns.filter_map(|(i, expr)| at(i, mapped(expr, &inputs[0]))).collect()
        }
        StreamNode::ProcTime => {
            let clock = at(inputs[0].columns.len(), Some(WatermarkExpr::Of(EventTime::CLOCK)));
            inputs[0].traits.watermarks.iter().cloned().chain(clock).collect()
        }
        StreamNode::Unnest { lists, project, .. } => {
            let width = inputs[0].columns.len();
            let columns = project.iter().enumerate();
            let of = |column: usize| match column.checked_sub(width) {
                None => of_input(column),
                Some(list) => mapped(&lists[list], &inputs[0]),
            };
            columns.filter_map(|(i, column)| at(i, of(*column))).collect()
        }
        StreamNode::Aggregate { group, .. } if closing(node, inputs).is_some() => {
            group.iter().enumerate().filter_map(|(i, column)| at(i, of_input(*column))).collect()
        }
        StreamNode::TopN { partition, project, .. } | StreamNode::Window { partition, project, .. }
            if closing(node, inputs).is_some() =>
        {
            let grouped = |column: &usize| partition.contains(column).then(|| of_input(*column)).flatten();
            project.iter().enumerate().filter_map(|(i, column)| at(i, grouped(column))).collect()
        }
        StreamNode::Window { calls, project, order, .. } if session_closing(node, inputs).is_some() => {
            // A row that comes at the end of a session still joins it.
            let end = of_input(order[0].column);
            let is_end = |call: &WindowCall| call.function == SESSION_END;
            let ends = calls.iter().enumerate().filter(|(_, call)| is_end(call));
            ends.filter_map(|(i, _)| at(project.len() + i, end.clone())).collect()
        }
        StreamNode::HashJoin { .. } => {
            join_times::of(node, inputs).map_or_else(Vec::new, |times| times.output(node, inputs))
        }
        StreamNode::AsofJoin(join) => asof_times::output(join, inputs),
        StreamNode::MatchRecognize { pattern } => match_times::output(pattern, &inputs[0]),
        StreamNode::LookupJoin(join) => {
            let of_left =
                |column: usize| (column < inputs[0].columns.len()).then(|| of_input(column)).flatten();
            join.project.iter().enumerate().filter_map(|(i, column)| at(i, of_left(*column))).collect()
        }
        StreamNode::Union => {
            let least = |column: usize| {
                let all = inputs.iter().map(|input| watermark_of(input, column).cloned());
                let all = all.collect::<Option<Vec<_>>>()?;
                all.into_iter().reduce(WatermarkExpr::min)
            };
            (0..inputs[0].columns.len()).filter_map(|column| at(column, least(column))).collect()
        }
        StreamNode::LateFilter { .. }
        | StreamNode::EmitOnClose { .. }
        | StreamNode::Materialize { .. }
        | StreamNode::Sink { .. } => inputs[0].traits.watermarks.clone(),
        _ => Vec::new(),
    }
}

/// The watermark of an output column.
pub fn watermark_of(plan: &StreamPlan, column: usize) -> Option<&WatermarkExpr> {
    let found = plan.traits.watermarks.iter().find(|w| w.column == column);
    found.map(|found| &found.watermark)
}

/// The watermark of an expression over the columns of a plan.
fn mapped(expr: &ScalarExpr, input: &StreamPlan) -> Option<WatermarkExpr> {
    let column = monotone(expr)?;
    let watermark = watermark_of(input, column)?.clone();
    let over_it = crate::stream::scalar::move_columns(expr, &|_| 0);
    Some(map(watermark, &input.columns[column].ty, over_it))
}

/// The watermark of a monotone function of a column that has this one; the column is column 0 of `expr`.
pub fn map(watermark: WatermarkExpr, ty: &DataType, expr: ScalarExpr) -> WatermarkExpr {
    match expr {
        ScalarExpr::Column(_) => watermark,
        expr => WatermarkExpr::Map { input: Box::new(watermark), ty: ty.clone(), expr },
    }
}

/// Functions that never give less for a later time, and where their time is among the arguments; the others must be
/// constants. Those with lists make rows of them, the first of which is the least.
const MONOTONE: [(&str, usize); 15] = [
    ("tumble_start", 0),
    ("hop_starts", 0),
    ("cumulate_ends", 0),
    ("timestamp_trunc", 1),
    ("timestamptz_trunc", 1),
    ("timestamp_bin", 1),
    ("timestamptz_bin", 1),
    ("timestamp_pl_interval", 0),
    ("interval_pl_timestamp", 1),
    ("timestamp_mi_interval", 0),
    ("timestamptz_pl_interval", 0),
    ("interval_pl_timestamptz", 1),
    ("timestamptz_mi_interval", 0),
    ("date_pl_interval", 0),
    ("date_mi_interval", 0),
];

/// The column that an expression is a monotone function of, and of nothing else.
pub fn monotone(expr: &ScalarExpr) -> Option<usize> {
    match expr {
        ScalarExpr::Column(column) => Some(*column),
        ScalarExpr::Call { function, args, .. } => {
            let (_, time) = MONOTONE.iter().find(|(name, _)| name == function)?;
            let others = args.iter().enumerate().filter(|(i, _)| i != time).map(|(_, arg)| arg);
            if !columns_read(others).is_empty() {
                return None;
            }
            monotone(args.get(*time)?)
        }
        _ => None,
    }
}

/// By which of the columns that a node groups by it closes its groups, as a position among them, and its watermark.
pub fn closing<'p>(node: &StreamNode, inputs: &'p [StreamPlan]) -> Option<(usize, &'p WatermarkExpr)> {
    match node {
        StreamNode::Aggregate { group, .. } => first_closing(&inputs[0], group),
        StreamNode::TopN { partition, .. } => first_closing(&inputs[0], partition),
        StreamNode::Window { partition, calls, .. } if !are_sessions(calls) => {
            first_closing(&inputs[0], partition)
        }
        _ => None,
    }
}

fn first_closing<'p>(input: &'p StreamPlan, columns: &[usize]) -> Option<(usize, &'p WatermarkExpr)> {
    columns.iter().enumerate().find_map(|(i, column)| Some((i, watermark_of(input, *column)?)))
}

/// The rows of a plan that a node groups by these columns, without late ones if it closes by one of them.
pub fn on_time(input: StreamPlan, columns: &[usize]) -> StreamPlan {
    match first_closing(&input, columns) {
        Some((position, watermark)) if may_be_late(&input) => {
            let watermark = watermark.clone();
            late_filter(input, columns[position], watermark)
        }
        _ => input,
    }
}

/// The rows of a plan whose time is not behind a watermark.
pub fn late_filter(input: StreamPlan, column: usize, watermark: WatermarkExpr) -> StreamPlan {
    let columns = input.columns.clone();
    StreamPlan::new(StreamNode::LateFilter { column, watermark }, vec![input], columns)
}

/// Whether a row may come behind its watermark: those that come from outside may, those of nodes that close don't.
pub fn may_be_late(plan: &StreamPlan) -> bool {
    match &plan.node {
        StreamNode::Scan { .. } | StreamNode::Source { .. } => true,
        StreamNode::Calc { .. } | StreamNode::ProcTime | StreamNode::Unnest { .. } | StreamNode::Union => {
            plan.inputs.iter().any(may_be_late)
        }
        StreamNode::LookupJoin(_) => may_be_late(&plan.inputs[0]),
        _ => false,
    }
}

/// Of a node with SESSION windows: the watermark of the last rows of sessions, a gap behind that of their time. A session
/// whose last row is before it has ended.
pub fn session_closing(node: &StreamNode, inputs: &[StreamPlan]) -> Option<WatermarkExpr> {
    let StreamNode::Window { order, calls, .. } = node else { return None };
    let (time, gap) = (order.first()?, session_gap(calls)?);
    Some(watermark_of(&inputs[0], time.column)?.clone().shifted(-gap))
}

/// The gap of SESSION windows in microseconds.
fn session_gap(calls: &[WindowCall]) -> Option<i64> {
    match calls.first().filter(|_| are_sessions(calls))?.args.as_slice() {
        [_, ScalarExpr::Literal(Literal::Interval { months: 0, days, nanos }, _)] => {
            length_micros(IntervalMonthDayNano::new(0, *days, *nanos)).ok()
        }
        _ => None,
    }
}

/// The rows of a plan that SESSION windows of this order are made of, without late ones.
pub fn on_time_for_sessions(input: StreamPlan, time: usize, calls: &[WindowCall]) -> StreamPlan {
    match (watermark_of(&input, time), session_gap(calls)) {
        (Some(watermark), Some(gap)) if may_be_late(&input) => {
            let watermark = watermark.clone().shifted(-gap);
            late_filter(input, time, watermark)
        }
        _ => input,
    }
}

/// The rows of a query that are final, each once: EMIT ON WINDOW CLOSE.
pub fn emit_on_close(rows: StreamPlan) -> Result<StreamPlan> {
    let Some(ColumnWatermark { column: time, watermark }) = rows.traits.watermarks.first().cloned() else {
        return Err(Error::unsupported("EMIT ON WINDOW CLOSE of rows that nothing says the end of")
            .with_hint(
                "Select a column with a watermark: declare WATERMARK FOR on the source or table, and group by a \
                 window of it.",
            ));
    };
    let rows = if may_be_late(&rows) { late_filter(rows, time, watermark) } else { rows };
    let partition = rows.traits.placement(rows.columns.len());
    let columns = rows.columns.clone();
    Ok(StreamPlan::new(StreamNode::EmitOnClose { partition, time }, vec![rows], columns))
}

/// What a node's operator is told of event time.
pub fn watched(plan: &StreamPlan) -> Option<WatermarkExpr> {
    match &plan.node {
        StreamNode::LateFilter { watermark, .. } => Some(watermark.clone()),
        StreamNode::TemporalFilter { .. } => Some(WatermarkExpr::Of(EventTime::CLOCK)),
        StreamNode::EmitOnClose { time, .. } => watermark_of(&plan.inputs[0], *time).cloned(),
        node @ StreamNode::HashJoin { .. } => {
            join_times::of(node, &plan.inputs).filter(JoinTimes::closes).map(|times| times.watermark)
        }
        StreamNode::AsofJoin(join) => asof_times::watermark(join, &plan.inputs),
        StreamNode::MatchRecognize { pattern } => match_times::watermark(pattern, &plan.inputs[0]).cloned(),
        StreamNode::Aggregate { calls, ttl: Some(ttl), .. } => {
            ttl::watermark_of_group(*ttl, calls, &plan.inputs)
        }
        node => match closing(node, &plan.inputs) {
            Some((_, watermark)) => Some(watermark.clone()),
            None => session_closing(node, &plan.inputs),
        },
    }
}
