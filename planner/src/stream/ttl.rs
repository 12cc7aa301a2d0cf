//! `state_ttl`: what a view says may be forgotten of its state, although rows to come might still need it.
//!
//! Place in the flow: a pass over the lowered plan. It bounds what nothing else bounds:
//!
//! ```text
//!   a side of a join of rows that are only added   a row goes so long after it came; what was joined with it stays
//!   the aggregate whose groups are the view's rows a group goes so long after its last row; the view's row stays, and is
//!                                                  replaced when the group begins anew
//! ```
//! When a row came is a column of it: when its epoch was closed (PROCTIME), or its event time. So it is the same for all
//! workers and after a restart, and what time does is what it does everywhere: operators close by a watermark. That
//! one goes on in steps, so that a view at rest is not woken for each row.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::event_time::WatermarkExpr;
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::functions::PROCTIME;
use weir_exec::spec::{AggregateCall, AggregateFunction, ChangelogMode, GroupTtl, JoinKind, RowClosing};

use crate::bound::StateTtl;
use crate::stream::event_time::{join_times, watermark_of};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::move_columns;
use crate::stream::shared::shared_side;
use crate::stream::state;
use crate::stream::state::endless::endless;

/// Steps in which the time passes after which something goes.
const STEPS: i64 = 64;
/// No step is shorter, in microseconds.
const STEP_MIN: i64 = 1_000;

/// The plan with its state bounded as the view says.
///
/// # Errors
/// 0A000 if something would still grow; 22023 if a name is of no relation that a join keeps rows of.
pub fn apply(rows: StreamPlan, ttl: &StateTtl) -> Result<StreamPlan> {
    if ttl.is_none() {
        return Ok(rows);
    }
    let mut pass = Pass { ttl, used: BTreeSet::new(), forgets_groups: false };
    let rows = pass.root(rows)?;
    if let Some(unknown) = ttl.of_relations.keys().find(|name| !pass.used.contains(*name)) {
        let message =
            format!("no join of the query keeps rows of \"{unknown}\" alone that state_ttl would bound");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if pass.forgets_groups && rows.traits.key.is_none() {
        return Err(Error::unsupported("state_ttl of groups whose columns the view does not show")
            .with_hint("Select the columns of GROUP BY: a group that begins anew replaces its row."));
    }
    match state::unbounded(&rows).into_iter().next().filter(|_| ttl.all.is_some()) {
        None => Ok(rows),
        Some(left) => {
            let message = format!("state_ttl does not bound all state: {}", left.growth);
            Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).with_hint(left.hint))
        }
    }
}

struct Pass<'t> {
    ttl: &'t StateTtl,
    used: BTreeSet<String>,
    forgets_groups: bool,
}

impl Pass<'_> {
    /// The rows of the view: groups of an aggregate there may begin anew, since the view knows what it shows of them.
    fn root(&mut self, plan: StreamPlan) -> Result<StreamPlan> {
        let StreamPlan { node, mut inputs, columns, .. } = plan;
        match node {
            StreamNode::Calc { .. } if inputs.len() == 1 => {
                let input = self.root(inputs.remove(0))?;
                Ok(StreamPlan::new(node, vec![input], columns))
            }
            StreamNode::Aggregate { .. } => {
                let inputs = self.all(inputs)?;
                self.aggregate(StreamPlan::new(node, inputs, columns))
            }
            node => self.below(node, inputs, columns),
        }
    }

    fn all(&mut self, plans: Vec<StreamPlan>) -> Result<Vec<StreamPlan>> {
        let below = |plan: StreamPlan| self.below(plan.node, plan.inputs, plan.columns);
        plans.into_iter().map(below).collect()
    }

    fn below(
        &mut self,
        node: StreamNode,
        inputs: Vec<StreamPlan>,
        columns: Vec<StreamColumn>,
    ) -> Result<StreamPlan> {
        let inputs = self.all(inputs)?;
        match node {
            StreamNode::HashJoin { .. } => self.join(StreamPlan::new(node, inputs, columns)),
            node => Ok(StreamPlan::new(node, inputs, columns)),
        }
    }

    /// An aggregate that forgets groups, below what takes the time of their last row away.
    fn aggregate(&mut self, plan: StreamPlan) -> Result<StreamPlan> {
        let Some(keep_micros) = self.ttl.all.filter(|_| !state::unbounded_here(&plan).is_empty()) else {
            return Ok(plan);
        };
        let StreamPlan { node, mut inputs, mut columns, .. } = plan;
        let StreamNode::Aggregate { group, mut calls, .. } = node else {
            return Err(Error::internal("an aggregate that is none"));
        };
        let shown = columns.clone();
        let (input, time) = self.timed(inputs.remove(0))?;
        let result = input.columns[time].ty.clone();
        columns.push(StreamColumn { name: "last_row".into(), ty: result.clone() });
        calls.push(AggregateCall {
            function: AggregateFunction::Max,
            args: vec![time],
            order: Vec::new(),
            filter: None,
            distinct: false,
            result,
        });
        self.forgets_groups = true;
        let ttl = Some(GroupTtl { call: calls.len() - 1, keep_micros });
        let aggregate = StreamPlan::new(StreamNode::Aggregate { group, calls, ttl }, vec![input], columns);
        let project = (0..shown.len()).map(ScalarExpr::Column).collect();
        Ok(StreamPlan::new(StreamNode::Calc { filter: None, project }, vec![aggregate], shown))
    }

    /// A join that forgets rows of the sides that nothing else bounds.
    fn join(&mut self, plan: StreamPlan) -> Result<StreamPlan> {
        let keeps = self.keeps_of_sides(&plan)?;
        if keeps == [None, None] {
            return Ok(plan);
        }
        let StreamPlan { node, inputs, columns, .. } = plan;
        let StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, .. } = node
        else {
            return Err(Error::internal("a join that is none"));
        };
        let widths = [0, 1].map(|side: usize| inputs[side].columns.len());
        let (mut timed, mut ttl) = (Vec::new(), [None, None]);
        for (side, input) in inputs.into_iter().enumerate() {
            let Some(keep_micros) = keeps[side] else {
                timed.push(input);
                continue;
            };
            let (input, column) = self.timed(input)?;
            ttl[side] = Some(RowClosing { column, keep_micros });
            timed.push(input);
        }
        let more = [0, 1].map(|side: usize| timed[side].columns.len() - widths[side]);
        let moved = |column: usize| match column {
            left if left < widths[0] => left,
            right if right < widths[0] + widths[1] => right + more[0],
            mark => mark + more[0] + more[1],
        };
        let filter = filter.map(|filter| move_columns(&filter, &moved));
        let project = project.into_iter().map(moved).collect();
        let node = StreamNode::HashJoin { kind, left_keys, right_keys, null_equal, filter, project, ttl };
        Ok(StreamPlan::new(node, timed, columns))
    }

    /// How long a join keeps the rows of each side; `None` for one that something else bounds.
    fn keeps_of_sides(&mut self, join: &StreamPlan) -> Result<[Option<i64>; 2]> {
        let StreamNode::HashJoin { kind, .. } = &join.node else { return Ok([None, None]) };
        if join_times::of(&join.node, &join.inputs).is_some_and(|times| times.closes()) {
            return Ok([None, None]);
        }
        let shared = shared_side(&join.node, &join.inputs).map(|(side, _)| side.side);
        let grows = |side: usize| shared != Some(side) && !endless(&join.inputs[side]).is_empty();
        let mut keeps = [None, None];
        for side in (0..2).filter(|side| grows(*side)) {
            let name = relation_of(&join.inputs[side]);
            let own = name.and_then(|name| Some((name, *self.ttl.of_relations.get(name)?)));
            self.used.extend(own.map(|(name, _)| name.to_owned()));
            keeps[side] = own.map(|(_, keep)| keep).or(self.ttl.all);
        }
        with_matches(*kind, keeps, [0, 1].map(grows))
    }

    /// The rows with a column of when they came.
    fn timed(&self, input: StreamPlan) -> Result<(StreamPlan, usize)> {
        if input.traits.mode != ChangelogMode::AppendOnly {
            return Err(Error::unsupported("state_ttl of rows that may change").with_hint(
                "Rows of a table are there until they are deleted. Let rows of a view go by the clock: \
                 WHERE ts > now() - INTERVAL '1 day'.",
            ));
        }
        if self.ttl.by_event_time {
            return with_event_time(input).ok_or_else(|| {
                Error::unsupported("state_ttl by event time of rows without a watermark")
                    .with_hint("Select a column with WATERMARK FOR below the join or aggregate.")
            });
        }
        let time = StreamColumn { name: PROCTIME.into(), ty: SqlType::Timestamptz.arrow() };
        let column = input.columns.len();
        let columns = input.columns.iter().cloned().chain([time]).collect();
        Ok((StreamPlan::new(StreamNode::ProcTime, vec![input], columns), column))
    }
}

/// The rows with a column that has a watermark; it is read where the query does not.
fn with_event_time(plan: StreamPlan) -> Option<(StreamPlan, usize)> {
    if let Some(watermark) = plan.traits.watermarks.first() {
        let column = watermark.column;
        return Some((plan, column));
    }
    let StreamPlan { mut node, mut inputs, mut columns, .. } = plan;
    let column = match &mut node {
        StreamNode::Scan { project, watermarks, .. } | StreamNode::Source { project, watermarks, .. } => {
            let time = watermarks.first()?;
            project.push(time.position);
            time.column.clone()
        }
        StreamNode::Calc { project, .. } => {
            let (input, time) = with_event_time(inputs.pop()?)?;
            let column = input.columns[time].clone();
            project.push(ScalarExpr::Column(time));
            inputs.push(input);
            column
        }
        _ => return None,
    };
    columns.push(column);
    let time = columns.len() - 1;
    Some((StreamPlan::new(node, inputs, columns), time))
}

/// Where rows of a side show by the number of their matches, which is counted again after a restart, these have to be
/// there as long as the row is.
fn with_matches(kind: JoinKind, keeps: [Option<i64>; 2], grows: [bool; 2]) -> Result<[Option<i64>; 2]> {
    let counts = kind.preserves();
    let mut all = keeps;
    for (side, other) in [(0, 1), (1, 0)].into_iter().filter(|(side, _)| counts[*side]) {
        let Some(others) = keeps[other] else { continue };
        match keeps[side] {
            Some(own) if !counts[other] => all[other] = Some(others.saturating_add(own)),
            _ if counts[other] => return Err(no_such_join("both sides show without a match")),
            _ if grows[side] => return Err(no_such_join("the side that shows without a match has none")),
            _ => return Err(no_such_join("rows of a table show without a match")),
        }
    }
    Ok(all)
}

fn no_such_join(why: &str) -> Error {
    Error::unsupported(format!("state_ttl of a join where {why}"))
        .with_hint("The rows of the other side have to be known for as long as those rows are there.")
}

/// The name of the relation that all rows of a plan are of.
fn relation_of(plan: &StreamPlan) -> Option<&str> {
    match &plan.node {
        StreamNode::Scan { name, .. } | StreamNode::Source { name, .. } => Some(name),
        StreamNode::Calc { .. } | StreamNode::LateFilter { .. } | StreamNode::ProcTime => {
            relation_of(&plan.inputs[0])
        }
        _ => None,
    }
}

/// What a join is told that forgets rows of these sides.
pub(super) fn watermark_of_sides(
    ttl: &[Option<RowClosing>; 2],
    inputs: &[StreamPlan],
) -> Option<WatermarkExpr> {
    let sides = || ttl.iter().zip(inputs).filter_map(|(ttl, input)| Some(((*ttl)?, input)));
    let watermarks = sides().map(|(ttl, input)| watermark_of(input, ttl.column).cloned());
    let shortest = sides().map(|(ttl, _)| ttl.keep_micros).min()?;
    Some(in_steps(watermarks.collect::<Option<Vec<_>>>()?.into_iter().reduce(WatermarkExpr::min)?, shortest))
}

/// What an aggregate is told that forgets groups.
pub(super) fn watermark_of_group(
    ttl: GroupTtl,
    calls: &[AggregateCall],
    inputs: &[StreamPlan],
) -> Option<WatermarkExpr> {
    let watermark = watermark_of(&inputs[0], *calls.get(ttl.call)?.args.first()?)?;
    Some(in_steps(watermark.clone(), ttl.keep_micros))
}

/// A watermark that goes on in some steps of such a time.
fn in_steps(watermark: WatermarkExpr, micros: i64) -> WatermarkExpr {
    let ty = DataType::Timestamp(TimeUnit::Microsecond, None);
    let span = |micros: i64| {
        let interval = Literal::Interval { months: 0, days: 0, nanos: micros.saturating_mul(1_000) };
        ScalarExpr::Literal(interval, DataType::Interval(IntervalUnit::MonthDayNano))
    };
    let args = vec![ScalarExpr::Column(0), span((micros / STEPS).max(STEP_MIN)), span(0)];
    let expr = ScalarExpr::Call { function: "tumble_start".into(), args, ty: ty.clone() };
    WatermarkExpr::Map { input: Box::new(watermark), ty, expr }
}
