//! `session_start(time, gap)` and `session_end(time, gap)` over a partition in the order of its times: SESSION windows.
//!
//! ```text
//!   gap 5      times    1   3   8        20  24
//!              session [1 ───────── 13) [20 ───── 29)
//! ```
//! A session begins with its first row and ends a gap after its last one; a row that comes a gap after the one before it
//! still joins it, as in Flink, whose windows merge where they touch. Names in plans: SQL has SESSION in FROM. These are
//! window functions for queries; a view has an operator of its own for them (`operators/session`). Rows have a time: the
//! binder leaves out those without one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType};
use datafusion::common::{Result as DataFusionResult, exec_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use weir_common::text::civil::is_finite;
use weir_common::{Error, Result};

use super::datetime_arithmetic::range_error;
use super::time_window::length_micros;
use crate::error::into_datafusion;
use crate::state::native::int_array;

/// The window function of the end of a session.
pub const SESSION_END: &str = "session_end";

/// A bound of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionBound {
    /// The time of the first row.
    Start,
    /// A gap after the time of the last row.
    End,
}

impl SessionBound {
    /// The bound that a window function of this name gives.
    pub fn of(function: &str) -> Option<SessionBound> {
        [SessionBound::Start, SessionBound::End].into_iter().find(|bound| bound.function() == function)
    }

    /// The name of its window function.
    pub fn function(self) -> &'static str {
        match self {
            SessionBound::Start => "session_start",
            SessionBound::End => SESSION_END,
        }
    }

    /// Its window function: `(time, gap)`.
    pub fn udwf(self) -> Arc<WindowUDF> {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(WindowUDF::new_from_impl(Session { bound: self, signature }))
    }
}

/// Whether a row joins the session of the row before it. Times and gap are in microseconds.
pub(crate) fn joins(before: i64, time: i64, gap: i64) -> bool {
    time.saturating_sub(before) <= gap
}

/// The end of a session whose last row has this time.
pub(crate) fn end_after(last: i64, gap: i64) -> Result<i64> {
    if !is_finite(last) {
        return Ok(last);
    }
    last.checked_add(gap).filter(|end| is_finite(*end)).ok_or_else(|| range_error("timestamp"))
}

/// The start and end of the session of each row, times ascending.
pub(crate) fn sessions(times: &[i64], gap: i64) -> Result<Vec<(i64, i64)>> {
    let mut bounds = Vec::with_capacity(times.len());
    for session in times.chunk_by(|before, time| joins(*before, *time, gap)) {
        let end = end_after(session[session.len() - 1], gap)?;
        bounds.extend(std::iter::repeat_n((session[0], end), session.len()));
    }
    Ok(bounds)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Session {
    bound: SessionBound,
    signature: Signature,
}

impl WindowUDFImpl for Session {
    fn name(&self) -> &str {
        self.bound.function()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs,
    ) -> DataFusionResult<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SessionEvaluator { bound: self.bound }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> DataFusionResult<FieldRef> {
        let Some(time) = args.get_input_field(0) else { return exec_err!("a session without a time") };
        Ok(Arc::new(time.as_ref().clone().with_name(args.name())))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct SessionEvaluator {
    bound: SessionBound,
}

impl PartitionEvaluator for SessionEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> DataFusionResult<ArrayRef> {
        let evaluated = match values {
            [times, gap] => evaluate(self.bound, times, gap),
            _ => Err(Error::internal("a session has a time and a gap")),
        };
        evaluated.map_err(into_datafusion)
    }
}

fn evaluate(bound: SessionBound, times: &ArrayRef, gap: &ArrayRef) -> Result<ArrayRef> {
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    let gap = gap.as_primitive_opt::<IntervalMonthDayNanoType>();
    let (Some(times), Some(gap)) = (times, gap) else {
        return Err(Error::internal("a session of something other than times"));
    };
    if times.null_count() > 0 {
        return Err(Error::internal("a row without a time in a session"));
    }
    let gap = if gap.is_empty() { IntervalMonthDayNano::ZERO } else { gap.value(0) };
    let bounds = sessions(times.values(), length_micros(gap)?)?;
    let values = bounds.into_iter().map(|(start, end)| match bound {
        SessionBound::Start => start,
        SessionBound::End => end,
    });
    int_array(values.collect(), None, times.data_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_a_gap_after_their_last_row() {
        assert_eq!(sessions(&[1, 3, 8, 20, 24], 5).unwrap(), [(1, 13), (1, 13), (1, 13), (20, 29), (20, 29)]);
        assert_eq!(sessions(&[0, 5, 11], 5).unwrap(), [(0, 10), (0, 10), (11, 16)]);
        let infinite = [i64::MIN, i64::MIN, 0, i64::MAX];
        let (start, end) = ((i64::MIN, i64::MIN), (i64::MAX, i64::MAX));
        assert_eq!(sessions(&infinite, 5).unwrap(), [start, start, (0, 5), end]);
        assert!(sessions(&[i64::MAX - 1], 5).is_err());
    }
}
