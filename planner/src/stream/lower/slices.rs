//! Hopping windows by slices: rows are aggregated once for each slice of time, and slices, not rows, go into windows.
//!
//! ```text
//!   Aggregate [k, window] count(*), max(v)            Aggregate [k, window] sum(n), max(m)
//!     Unnest hop_starts(t)                     →        Unnest hop_starts(slice)
//!       x                                                 Aggregate [k, slice] count(*) AS n, max(v) AS m
//!                                                           Calc tumble_start(t, g) AS slice
//!                                                             x
//! ```
//! A slice is as long as the greatest common divisor `g` of slide and size: every window is made of whole slices, so a slice
//! is in the windows that its start is in. A row then costs one update instead of one for each of its windows (Li et al., "No
//! Pane, No Gain", 2005; Flink's slice-assigned windows).
//!
//! Place in the flow: while an aggregate is lowered. Invariant: what the two aggregates make is, to the last digit, what the
//! one would ([`partial`](super::partial) knows of which functions that is true).

use arrow::datatypes::DataType;
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::functions::{HOP_STARTS, TUMBLE_START, length_micros};
use weir_exec::spec::AggregateCall;

use super::partial::Partials;
use crate::rules::merge_calc;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::{columns_read, replace_columns};

/// The aggregate by slices, where it is one of hopping windows that may be made of them.
pub(super) fn by_slices(
    input: &StreamPlan,
    group: &[usize],
    calls: &[AggregateCall],
    columns: &[StreamColumn],
) -> Option<StreamPlan> {
    let hop = Hop::of(input)?;
    let sides: Vec<Side> = group.iter().map(|key| hop.side(&hop.exprs[*key])).collect::<Option<_>>()?;
    if !sides.contains(&Side::Window) {
        return None;
    }
    let keys: Vec<usize> = with_side(group, &sides, Side::Row).collect();
    let partials = Partials::of(calls, input)?;
    let slices = hop.slices(input, &keys, &partials)?;
    let windows = hop.windows(input, slices, keys.len(), (group, &sides))?;
    Some(partials.merged(windows, group.len(), columns))
}

/// What an expression reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Columns of the row; or nothing.
    Row,
    /// The window's start.
    Window,
}

fn with_side<'a>(group: &'a [usize], sides: &'a [Side], side: Side) -> impl Iterator<Item = usize> + 'a {
    group.iter().zip(sides).filter(move |(_, of)| **of == side).map(|(key, _)| *key)
}

/// Rows in hopping windows, filtered and projected.
struct Hop<'a> {
    rows: &'a StreamPlan,
    time: &'a ScalarExpr,
    /// Slide, size and offset, as `hop_starts` takes them.
    spans: &'a [ScalarExpr],
    starts: DataType,
    /// Over the columns of the rows, then the window's start.
    filter: Option<ScalarExpr>,
    exprs: Vec<ScalarExpr>,
    slice_micros: i64,
}

impl<'a> Hop<'a> {
    fn of(input: &'a StreamPlan) -> Option<Hop<'a>> {
        let (filter, exprs, unnest) = match &input.node {
            StreamNode::Calc { filter, project } => (filter.clone(), project.clone(), &input.inputs[0]),
            _ => (None, (0..input.columns.len()).map(ScalarExpr::Column).collect(), input),
        };
        let StreamNode::Unnest { lists, outer: false, project } = &unnest.node else { return None };
        let [ScalarExpr::Call { function, args, ty: DataType::List(starts) }] = lists.as_slice() else {
            return None;
        };
        let (time, spans) = args.split_first().filter(|_| function == HOP_STARTS)?;
        let place = |column: usize| ScalarExpr::Column(project[column]);
        Some(Hop {
            rows: &unnest.inputs[0],
            time,
            spans,
            starts: starts.data_type().clone(),
            filter: filter.map(|filter| replace_columns(&filter, &place)),
            exprs: exprs.iter().map(|expr| replace_columns(expr, &place)).collect(),
            slice_micros: slice_micros(spans)?,
        })
    }

    /// The column behind those of the rows.
    fn window(&self) -> usize {
        self.rows.columns.len()
    }

    /// `None` for an expression of both.
    fn side(&self, expr: &ScalarExpr) -> Option<Side> {
        let read = columns_read([expr]);
        match read.contains(&self.window()) {
            true => (read.len() == 1).then_some(Side::Window),
            false => Some(Side::Row),
        }
    }

    fn filter_of(&self, side: Side) -> Option<&ScalarExpr> {
        self.filter.as_ref().filter(|filter| self.side(filter) == Some(side))
    }

    /// The rows by keys and slice: the keys, the slice's start, the partial results. `keys` and what the calls read are
    /// columns of the windows' rows.
    fn slices(&self, input: &StreamPlan, keys: &[usize], partials: &Partials) -> Option<StreamPlan> {
        if self.filter.as_ref().is_some_and(|filter| self.side(filter).is_none()) {
            return None;
        }
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for key in keys {
            exprs.push(self.exprs[*key].clone());
            columns.push(input.columns[*key].clone());
        }
        exprs.push(self.slice_start()?);
        columns.push(StreamColumn { name: "slice_start".into(), ty: self.starts.clone() });
        let grouped = exprs.len();
        let read = partials.columns_read();
        for column in &read {
            if self.side(&self.exprs[*column]) != Some(Side::Row) {
                return None;
            }
            exprs.push(self.exprs[*column].clone());
            columns.push(input.columns[*column].clone());
        }
        let moved = |column: usize| grouped + read.iter().take_while(|other| **other != column).count();
        let calls = partials.calls(&moved);
        let mut output = columns[..grouped].to_vec();
        output.extend(partials.columns());
        let rows = merge_calc::calc(self.rows.clone(), self.filter_of(Side::Row).cloned(), exprs, columns);
        let node = StreamNode::Aggregate { group: (0..grouped).collect(), calls, ttl: None };
        Some(StreamPlan::new(node, vec![rows], output))
    }

    fn slice_start(&self) -> Option<ScalarExpr> {
        let nanos = self.slice_micros.checked_mul(1000)?;
        let length = Literal::Interval { months: 0, days: 0, nanos };
        let ScalarExpr::Literal(_, interval) = &self.spans[0] else { return None };
        let args =
            vec![self.time.clone(), ScalarExpr::Literal(length, interval.clone()), self.spans[2].clone()];
        Some(ScalarExpr::Call { function: TUMBLE_START.into(), args, ty: self.starts.clone() })
    }

    /// The slices in their windows: the columns of the group, then the partial results. `keys` are how many of the group the
    /// slices begin with.
    fn windows(
        &self,
        input: &StreamPlan,
        slices: StreamPlan,
        keys: usize,
        (group, sides): (&[usize], &[Side]),
    ) -> Option<StreamPlan> {
        let width = slices.columns.len();
        let args = std::iter::once(ScalarExpr::Column(keys)).chain(self.spans.iter().cloned()).collect();
        let ty = DataType::new_list(self.starts.clone(), true);
        let starts = ScalarExpr::Call { function: HOP_STARTS.into(), args, ty };
        let mut columns = slices.columns.clone();
        columns.push(StreamColumn { name: "window_start".into(), ty: self.starts.clone() });
        let partial_columns = columns[keys + 1..width].to_vec();
        let node = StreamNode::Unnest { lists: vec![starts], outer: false, project: (0..=width).collect() };
        let windows = StreamPlan::new(node, vec![slices], columns);
        let start = |_: usize| ScalarExpr::Column(width);
        let mut row_keys = 0..keys;
        let mut exprs = Vec::with_capacity(group.len() + partial_columns.len());
        for (key, side) in group.iter().zip(sides) {
            exprs.push(match side {
                Side::Row => ScalarExpr::Column(row_keys.next()?),
                Side::Window => replace_columns(&self.exprs[*key], &start),
            });
        }
        exprs.extend((keys + 1..width).map(ScalarExpr::Column));
        let mut columns: Vec<StreamColumn> = group.iter().map(|key| input.columns[*key].clone()).collect();
        columns.extend(partial_columns);
        let filter = self.filter_of(Side::Window).map(|filter| replace_columns(filter, &start));
        Some(merge_calc::calc(windows, filter, exprs, columns))
    }
}

/// How long a slice is, in microseconds, where slices are worth it: a row is in several windows, in more than a window's
/// slide has slices.
fn slice_micros(spans: &[ScalarExpr]) -> Option<i64> {
    let [slide, size, _] = spans else { return None };
    let (slide, size) = (micros(slide)?, micros(size)?);
    let slice = gcd(slide, size);
    (slice > 0 && size > slide && slide / slice <= (size - 1) / slide + 1).then_some(slice)
}

fn micros(span: &ScalarExpr) -> Option<i64> {
    let ScalarExpr::Literal(Literal::Interval { months: 0, days, nanos }, _) = span else { return None };
    length_micros(arrow::datatypes::IntervalMonthDayNano::new(0, *days, *nanos)).ok()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
