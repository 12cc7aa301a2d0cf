//! How far apart in time the rows are that a join pairs, and which of them it may forget.
//!
//! Of a condition like `l.ts BETWEEN r.ts - a AND r.ts + b`, or an equality of windows, two bounds are read off:
//!
//! ```text
//!   right time <= left column + k     left rows go when event time has passed their column by k
//!   left time  <= right column + k    right rows likewise
//! ```
//! where a *time* has a watermark, and the column is any timestamp of the other side (`bid.ts <= auction.expires`). Event
//! time is that of both sides, the lesser watermark: a row that is not late pairs only with rows that are still there,
//! and its delete finds all its pairs.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use weir_exec::event_time::WatermarkExpr;
use weir_exec::expr::{BinaryOp, Literal, ScalarExpr};
use weir_exec::functions::length_micros;
use weir_exec::spec::{JoinKind, RowClosing};

use super::{ColumnWatermark, late_filter, may_be_late, watermark_of};
use crate::stream::plan::{StreamNode, StreamPlan};
use crate::stream::ttl;

/// What a join knows of time.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinTimes {
    /// The lesser of the watermarks of the times.
    pub watermark: WatermarkExpr,
    /// Of each side: when its rows may be forgotten.
    pub closing: [Option<RowClosing>; 2],
    /// Of each side: when no row on time matches its rows any more.
    matched: [Option<RowClosing>; 2],
    /// Of each side: the column with the watermark that bounds the other side.
    times: [Option<usize>; 2],
}

/// `column + shift` of a side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    side: usize,
    column: usize,
    shift: i64,
}

/// What a join of these keys and this condition knows of time; `None` if it bounds nothing.
pub fn of(node: &StreamNode, inputs: &[StreamPlan]) -> Option<JoinTimes> {
    let StreamNode::HashJoin { kind, left_keys, right_keys, filter, ttl, .. } = node else { return None };
    if ttl.iter().any(Option::is_some) {
        let watermark = ttl::watermark_of_sides(ttl, inputs)?;
        return Some(JoinTimes { watermark, closing: *ttl, matched: [None, None], times: [None, None] });
    }
    let mut bounds: Vec<(Term, Term)> = Vec::new();
    for (left, right) in left_keys.iter().zip(right_keys) {
        if matches!(inputs[0].columns[*left].ty, DataType::Timestamp(..)) {
            let terms = [(0, *left), (1, *right)].map(|(side, column)| Term { side, column, shift: 0 });
            bounds.extend([(terms[0], terms[1]), (terms[1], terms[0])]);
        }
    }
    if let Some(filter) = filter {
        read_bounds(filter, inputs[0].columns.len(), &mut bounds);
    }
    let [left, right] = [0, 1].map(|side| tightest(&bounds, side, inputs));
    let watermarks = [&left, &right].into_iter().flatten().map(|(_, _, watermark)| (*watermark).clone());
    let watermark = watermarks.reduce(WatermarkExpr::min)?;
    let matched = [&left, &right].map(|bound| bound.as_ref().map(|(closing, ..)| *closing));
    // What bounds the left rows is a time of the right side.
    let times = [&right, &left].map(|bound| bound.as_ref().map(|(_, time, _)| *time));
    Some(JoinTimes { watermark, closing: forgotten(*kind, matched, times), matched, times })
}

/// When rows are forgotten. A row that shows by the number of its matches, which is counted again after a restart, needs
/// all of them for as long as it is there itself: the other side's rows stay so much longer. Where both sides count,
/// neither would ever be first to go, unless their times are equal.
fn forgotten(
    kind: JoinKind,
    matched: [Option<RowClosing>; 2],
    times: [Option<usize>; 2],
) -> [Option<RowClosing>; 2] {
    let counts = kind.preserves();
    let keeps = |side: usize| matched[side].map_or(0, |closing| closing.keep_micros);
    if counts == [true, true] && (keeps(0) != 0 || keeps(1) != 0) {
        return [None, None];
    }
    let mut closing = matched;
    for (side, other) in [(0, 1), (1, 0)].into_iter().filter(|(side, _)| counts[*side]) {
        closing[other] = match (matched[side], matched[other]) {
            (Some(own), Some(others)) if times[side] == Some(own.column) => {
                let keep_micros = others.keep_micros.saturating_add(own.keep_micros.max(0));
                Some(RowClosing { keep_micros, ..others })
            }
            _ => None,
        };
    }
    closing
}

/// The bound by which rows of a side go first: when, the other side's time that it is of, and that one's watermark.
fn tightest<'p>(
    bounds: &[(Term, Term)],
    side: usize,
    inputs: &'p [StreamPlan],
) -> Option<(RowClosing, usize, &'p WatermarkExpr)> {
    let of_side = bounds.iter().filter(|(time, column)| column.side == side && time.side != side);
    let known = of_side.filter_map(|(time, column)| {
        let watermark = watermark_of(&inputs[time.side], time.column)?;
        let keep_micros = column.shift.checked_sub(time.shift)?;
        Some((RowClosing { column: column.column, keep_micros }, time.column, watermark))
    });
    known.min_by_key(|(closing, ..)| {
        // A column with a watermark of its own lets the join keep the watermark.
        (watermark_of(&inputs[side], closing.column).is_none(), closing.keep_micros)
    })
}

/// Reads `a <= b` off the terms of a condition.
fn read_bounds(condition: &ScalarExpr, left_width: usize, bounds: &mut Vec<(Term, Term)>) {
    if let Some(parts) = conjunction(condition) {
        parts.into_iter().for_each(|part| read_bounds(part, left_width, bounds));
        return;
    }
    let ScalarExpr::Binary { op, left, right } = condition else { return };
    let (Some(a), Some(b)) = (term(left, left_width), term(right, left_width)) else { return };
    match op {
        BinaryOp::Lt | BinaryOp::LtEq => bounds.push((a, b)),
        BinaryOp::Gt | BinaryOp::GtEq => bounds.push((b, a)),
        BinaryOp::Eq => bounds.extend([(a, b), (b, a)]),
        _ => {}
    }
}

/// The two parts of `a AND b`, also where it is written so that a guards b: `CASE WHEN a THEN b ELSE false END`.
pub(crate) fn conjunction(condition: &ScalarExpr) -> Option<[&ScalarExpr; 2]> {
    match condition {
        ScalarExpr::Binary { op: BinaryOp::And, left, right } => Some([left, right]),
        ScalarExpr::Case { operand: None, branches, otherwise: Some(otherwise) }
            if **otherwise == ScalarExpr::Literal(Literal::Bool(false), DataType::Boolean) =>
        {
            let [(first, then)] = branches.as_slice() else { return None };
            Some([first, then])
        }
        _ => None,
    }
}

/// A column and the microseconds by which an expression comes later than it.
pub(super) fn shifted_column(expr: &ScalarExpr) -> Option<(usize, i64)> {
    term(expr, usize::MAX).map(|term| (term.column, term.shift))
}

/// A timestamp column, with constant intervals added and subtracted.
fn term(expr: &ScalarExpr, left_width: usize) -> Option<Term> {
    match expr {
        ScalarExpr::Column(column) => Some(match column.checked_sub(left_width) {
            None => Term { side: 0, column: *column, shift: 0 },
            Some(column) => Term { side: 1, column, shift: 0 },
        }),
        ScalarExpr::Call { function, args, .. } => {
            let (time, span, sign) = match (function.as_str(), args.as_slice()) {
                ("timestamp_pl_interval" | "timestamptz_pl_interval", [time, span]) => (time, span, 1),
                ("interval_pl_timestamp" | "interval_pl_timestamptz", [span, time]) => (time, span, 1),
                ("timestamp_mi_interval" | "timestamptz_mi_interval", [time, span]) => (time, span, -1),
                _ => return None,
            };
            let ScalarExpr::Literal(Literal::Interval { months: 0, days, nanos }, _) = span else {
                return None;
            };
            let micros = length_micros(IntervalMonthDayNano::new(0, *days, *nanos)).ok()?;
            let term = term(time, left_width)?;
            Some(Term { shift: term.shift.checked_add(sign * micros)?, ..term })
        }
        _ => None,
    }
}

impl JoinTimes {
    /// The watermarks of the join's output. Only if both sides are bounded: a row that stays for ever may be shown at
    /// any time, when its match comes.
    pub(super) fn output(&self, node: &StreamNode, inputs: &[StreamPlan]) -> Vec<ColumnWatermark> {
        let StreamNode::HashJoin { left_keys, right_keys, project, .. } = node else { return Vec::new() };
        let ([Some(left), Some(right)], [Some(left_time), Some(right_time)]) = (self.matched, self.times)
        else {
            return Vec::new();
        };
        let width = inputs[0].columns.len();
        let of_time = |closing: RowClosing, time: usize| {
            (closing.column == time).then(|| self.watermark.clone().shifted(-closing.keep_micros.max(0)))
        };
        let of_keys = |column: usize| {
            let equal = |(l, r): (&usize, &usize)| {
                let both = watermark_of(&inputs[0], *l)?.clone().min(watermark_of(&inputs[1], *r)?.clone());
                (*l == column || *r + width == column).then_some(both)
            };
            left_keys.iter().zip(right_keys).find_map(equal)
        };
        let watermark = |column: usize| match column {
            column if column == left_time => of_time(left, left_time),
            column if column == right_time + width => of_time(right, right_time),
            _ => None,
        };
        let columns = project.iter().enumerate();
        columns
            .filter_map(|(i, column)| {
                let watermark = of_keys(*column).or_else(|| watermark(*column))?;
                Some(ColumnWatermark { column: i, watermark })
            })
            .collect()
    }

    /// Whether rows are forgotten.
    pub fn closes(&self) -> bool {
        self.closing.iter().any(Option::is_some)
    }

    /// The rows of a side that are not late: neither is event time beyond theirs, nor are they to be forgotten already.
    pub fn on_time(&self, mut input: StreamPlan, side: usize) -> StreamPlan {
        if !may_be_late(&input) {
            return input;
        }
        if let Some(time) = self.times[side] {
            input = late_filter(input, time, self.watermark.clone());
        }
        match self.closing[side] {
            Some(closing) if self.times[side] != Some(closing.column) || closing.keep_micros < 0 => {
                late_filter(input, closing.column, self.watermark.clone().shifted(-closing.keep_micros))
            }
            _ => input,
        }
    }
}
