//! Event time as data: where a watermark comes from, and what it is for a column that is computed.
//!
//! The *event time* of an input is the greatest value of its time column that was seen (of a source the least of its
//! splits' greatest). A *watermark* of a column is a bound that event time has passed: no row of a later epoch has a
//! smaller value there, but for late ones. It is a function of event times, which the planner proves from the plan:
//! `WATERMARK FOR ts AS ts - INTERVAL '5 s'` makes the first one, monotone functions of the column make others of it.
//!
//! Watermarks are those of complete epochs, so every worker knows the same, and a replay finds the same rows late.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_common::text::civil::is_finite;
use weir_common::{Error, ObjectId, OperatorId, Result};

use crate::compile::{CompiledExpr, compile};
use crate::expr::ScalarExpr;
use crate::state::native::{int_array, int_values, is_int_like};

/// The time column of a table, source or view. Of a view it holds the column's watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime {
    pub object: ObjectId,
    /// Position in the relation.
    pub column: usize,
}

impl EventTime {
    /// No relation's, but the clock: when an epoch was closed.
    pub const CLOCK: EventTime = EventTime { object: ObjectId(0), column: 0 };

    /// What an operator of a job was told: it does not go back when an input that was idle comes again behind it.
    pub fn of_operator(id: OperatorId) -> EventTime {
        EventTime { object: TOLD_OPERATORS, column: id.0 as usize }
    }

    /// The same of a column of a job's output.
    pub fn of_output(column: usize) -> EventTime {
        EventTime { object: TOLD_OUTPUTS, column }
    }

    /// Whether it is of no input, but what a job has made of those.
    pub fn is_told(self) -> bool {
        [TOLD_OPERATORS, TOLD_OUTPUTS].contains(&self.object)
    }
}

/// No relations, and so never those of an input.
const TOLD_OPERATORS: ObjectId = ObjectId(1);
const TOLD_OUTPUTS: ObjectId = ObjectId(2);

/// How far time has come somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// `None` before there is one.
    pub value: Option<i64>,
    /// Nothing comes from there at the moment, so nobody waits for it.
    pub is_idle: bool,
}

impl Reached {
    /// Where rows come from.
    pub fn active(value: Option<i64>) -> Reached {
        Reached { value, is_idle: false }
    }

    /// The least of those that are waited for; where all are idle, the greatest, as Flink has it.
    pub fn least(all: impl IntoIterator<Item = Reached>) -> Reached {
        let (mut of_active, mut of_idle): (Option<Option<i64>>, Option<Option<i64>>) = (None, None);
        for Reached { value, is_idle } in all {
            if is_idle {
                of_idle = Some(of_idle.map_or(value, |greatest| greatest.max(value)));
            } else {
                // `None` is less than any time.
                of_active = Some(of_active.map_or(value, |least| least.min(value)));
            }
        }
        let is_idle = of_active.is_none() && of_idle.is_some();
        Reached { value: of_active.or(of_idle).flatten(), is_idle }
    }

    fn and_then(self, then: impl FnOnce(i64) -> Option<i64>) -> Reached {
        Reached { value: self.value.and_then(then), ..self }
    }
}

/// A watermark as a function of event times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WatermarkExpr {
    /// The event time itself.
    Of(EventTime),
    /// A monotone function of a watermark of type `ty`, which is column 0. Of a list, whose elements become rows, its
    /// first and least element.
    Map { input: Box<WatermarkExpr>, ty: DataType, expr: ScalarExpr },
    /// So many microseconds later.
    Shift { input: Box<WatermarkExpr>, micros: i64 },
    /// The least of them.
    Min(Vec<WatermarkExpr>),
}

impl WatermarkExpr {
    /// The least of two.
    #[must_use]
    pub fn min(self, other: WatermarkExpr) -> WatermarkExpr {
        match self == other {
            true => self,
            false => WatermarkExpr::Min(vec![self, other]),
        }
    }

    /// This one, `micros` later.
    #[must_use]
    pub fn shifted(self, micros: i64) -> WatermarkExpr {
        match self {
            _ if micros == 0 => self,
            WatermarkExpr::Shift { input, micros: before } if before.checked_add(micros).is_some() => {
                WatermarkExpr::Shift { input, micros: before + micros }
            }
            other => WatermarkExpr::Shift { input: Box::new(other), micros },
        }
    }

    /// The same of other event times.
    #[must_use]
    pub fn with_event_times(self, other: &dyn Fn(WatermarkExpr) -> WatermarkExpr) -> WatermarkExpr {
        let boxed = |input: Box<WatermarkExpr>| Box::new(input.with_event_times(other));
        match self {
            WatermarkExpr::Of(_) => other(self),
            WatermarkExpr::Map { input, ty, expr } => WatermarkExpr::Map { input: boxed(input), ty, expr },
            WatermarkExpr::Shift { input, micros } => WatermarkExpr::Shift { input: boxed(input), micros },
            WatermarkExpr::Min(all) => {
                WatermarkExpr::Min(all.into_iter().map(|one| one.with_event_times(other)).collect())
            }
        }
    }

    /// Calls `visit` with every event time it is a function of.
    pub fn visit(&self, visit: &mut dyn FnMut(EventTime)) {
        match self {
            WatermarkExpr::Of(time) => visit(*time),
            WatermarkExpr::Map { input, .. } | WatermarkExpr::Shift { input, .. } => input.visit(visit),
            WatermarkExpr::Min(all) => all.iter().for_each(|one| one.visit(visit)),
        }
    }
}

/// A watermark that can be computed.
pub struct Watermark {
    node: Node,
}

enum Node {
    Of(EventTime),
    Map { input: Box<Node>, ty: DataType, expr: CompiledExpr },
    Shift { input: Box<Node>, micros: i64 },
    Min(Vec<Node>),
}

impl Watermark {
    /// Compiles the functions in it.
    pub fn new(expr: &WatermarkExpr) -> Result<Watermark> {
        Ok(Watermark { node: Node::new(expr)? })
    }

    /// The watermark, given the event times; none before there is one, and where a function fails.
    pub fn evaluate(&self, time: &dyn Fn(EventTime) -> Reached) -> Reached {
        self.node.evaluate(time)
    }
}

impl Node {
    fn new(expr: &WatermarkExpr) -> Result<Node> {
        let boxed = |input: &WatermarkExpr| Node::new(input).map(Box::new);
        Ok(match expr {
            WatermarkExpr::Of(time) => Node::Of(*time),
            WatermarkExpr::Shift { input, micros } => Node::Shift { input: boxed(input)?, micros: *micros },
            WatermarkExpr::Min(all) => Node::Min(all.iter().map(Node::new).collect::<Result<_>>()?),
            WatermarkExpr::Map { input, ty, expr } => {
                if !is_int_like(ty) {
                    return Err(Error::internal(format!("a watermark of type {ty}")));
                }
                let expr = compile(expr, std::slice::from_ref(ty))?;
                Node::Map { input: boxed(input)?, ty: ty.clone(), expr }
            }
        })
    }

    fn evaluate(&self, time: &dyn Fn(EventTime) -> Reached) -> Reached {
        match self {
            Node::Of(of) => time(*of),
            Node::Shift { input, micros } => {
                input.evaluate(time).and_then(|value| value.checked_add(*micros))
            }
            Node::Min(all) => Reached::least(all.iter().map(|one| one.evaluate(time))),
            Node::Map { input, ty, expr } => input.evaluate(time).and_then(|value| {
                let value = int_array(vec![value], None, ty).ok()?;
                first_value(expr.evaluate(&[value], 1).ok()?)
            }),
        }
    }
}

/// The value of a column of one row, or the first one of its list.
fn first_value(column: ArrayRef) -> Option<i64> {
    let column = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(0),
        _ => column,
    };
    (!column.is_empty() && column.is_valid(0)).then(|| int_values(&column).ok()?.first().copied())?
}

/// The greatest value of a time column in the rows that `keep` names. Infinity says nothing of how far time has come.
pub fn greatest(column: &ArrayRef, keep: impl Fn(usize) -> bool) -> Option<i64> {
    let values = int_values(column).ok()?;
    let rows = (0..column.len()).filter(|row| column.is_valid(*row) && keep(*row));
    rows.map(|row| values[row]).filter(|time| is_finite(*time)).max()
}

/// Which values of a time column lie behind a watermark; NULL does not.
pub(crate) fn behind(column: &Arc<dyn Array>, watermark: i64) -> Result<Vec<bool>> {
    let values = int_values(column)?;
    let late = |(row, value): (usize, &i64)| *value < watermark && column.is_valid(row);
    Ok(values.iter().enumerate().map(late).collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;
    use crate::expr::Literal;

    const SECOND: i64 = 1_000_000;

    fn timestamps() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, None)
    }

    fn time(object: u32) -> EventTime {
        EventTime { object: ObjectId(object), column: 0 }
    }

    fn call(function: &str, seconds: &[i64], ty: DataType) -> ScalarExpr {
        let span = |seconds: &i64| {
            let interval = Literal::Interval { months: 0, days: 0, nanos: seconds * 1_000 * SECOND };
            let ty = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
            ScalarExpr::Literal(interval, ty)
        };
        let args = [ScalarExpr::Column(0)].into_iter().chain(seconds.iter().map(span)).collect();
        ScalarExpr::Call { function: function.into(), args, ty }
    }

    #[test]
    fn a_watermark_is_a_function_of_event_times() {
        let map = |input: WatermarkExpr, expr| WatermarkExpr::Map {
            input: Box::new(input),
            ty: timestamps(),
            expr,
        };
        let five_behind = |object| WatermarkExpr::Of(time(object)).shifted(-5 * SECOND);
        let windows = map(five_behind(1), call("tumble_start", &[60, 0], timestamps()));
        let list = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(timestamps(), true)));
        let hops = map(five_behind(1), call("hop_starts", &[60, 180, 0], list));
        let both = windows.clone().min(five_behind(2));
        let at = |expr: &WatermarkExpr, one: Option<i64>, two: Option<i64>| {
            let seconds = |value: i64| value * SECOND;
            let times = |of: EventTime| Reached::active(if of == time(1) { one } else { two }.map(seconds));
            Watermark::new(expr).unwrap().evaluate(&times).value.map(|micros| micros / SECOND)
        };
        assert_eq!(at(&windows, Some(124), None), Some(60));
        assert_eq!(at(&windows, Some(125), None), Some(120));
        assert_eq!(at(&hops, Some(125), None), Some(0), "the first of the windows around 2:00");
        assert_eq!(at(&both, Some(125), None), None, "one of the inputs has no time yet");
        assert_eq!(at(&both, Some(125), Some(90)), Some(85));
        let mut of = Vec::new();
        both.visit(&mut |time| of.push(time.object.0));
        assert_eq!(of, [1, 2]);
    }

    #[test]
    fn nobody_waits_for_what_is_idle() {
        let (active, idle) = (Reached::active, |value| Reached { value, is_idle: true });
        let of = |all: &[Reached]| Reached::least(all.iter().copied());
        assert_eq!(of(&[active(Some(7)), active(Some(3))]), active(Some(3)));
        assert_eq!(of(&[active(Some(7)), idle(Some(3))]), active(Some(7)));
        assert_eq!(of(&[active(None), idle(Some(3))]), active(None), "it has no time yet");
        assert_eq!(of(&[idle(Some(7)), idle(None), idle(Some(3))]), idle(Some(7)));
        assert_eq!(of(&[]), active(None));
    }
}
