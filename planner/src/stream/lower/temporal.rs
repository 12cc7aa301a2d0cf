//! Temporal filters: comparisons of a time with now() in WHERE or HAVING. A view has no one moment at which they could be
//! decided: rows come and go as the clock goes on.
//!
//! ```text
//!   ts >  now() - d     shows until ts + d                    ts <= now() + d     shows from ts - d on
//!   ts >= now() - d     until just after that                 ts <  now() + d     from just after that on
//! ```

use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use weir_common::{Error, Result};
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::functions::length_micros;

use crate::rules::merge_calc;
use crate::stream::lower::lower_expr;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::unsupported::{self, is_now};

/// A bound of the time in which a row shows.
struct Bound<'e> {
    time: &'e Expr,
    /// Added to the time.
    shift: i64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    From,
    Until,
}

/// A filter's predicate in parts: what is compared with now(), and the rest.
pub(super) struct Predicate<'e> {
    bounds: Vec<Bound<'e>>,
    pub rest: Vec<&'e Expr>,
}

impl<'e> Predicate<'e> {
    /// The parts.
    ///
    /// # Errors
    /// 0A000 for a comparison with now() that says no moment for each row.
    pub fn of(predicate: &'e Expr) -> Result<Predicate<'e>> {
        let mut parts = Predicate { bounds: Vec::new(), rest: Vec::new() };
        for part in conjuncts(predicate) {
            match part {
                part if !reads_now(part) => parts.rest.push(part),
                Expr::Between(between) if !between.negated && !reads_now(&between.expr) => {
                    for (op, bound) in [(Operator::GtEq, &between.low), (Operator::LtEq, &between.high)] {
                        match reads_now(bound) {
                            true => parts.bounds.push(bound_of(&between.expr, op, bound)?),
                            false => return Err(unsupported::now()),
                        }
                    }
                }
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                    parts.bounds.push(match (reads_now(left), reads_now(right)) {
                        (false, true) => bound_of(left, *op, right)?,
                        (true, false) => bound_of(right, op.swap().ok_or_else(unsupported::now)?, left)?,
                        _ => return Err(unsupported::now()),
                    });
                }
                _ => return Err(unsupported::now()),
            }
        }
        Ok(parts)
    }

    /// The rows of a plan that show now.
    pub fn filter(&self, input: StreamPlan, schema: &DFSchema) -> Result<StreamPlan> {
        let mut plan = input;
        let mut bounds: Vec<&Bound<'_>> = self.bounds.iter().collect();
        while !bounds.is_empty() {
            if !reads_relation(&plan) {
                return Err(unsupported::now());
            }
            let mut take = |kind: Kind| {
                let at = bounds.iter().position(|bound| bound.kind == kind)?;
                Some(bounds.remove(at))
            };
            let (from, until) = (take(Kind::From), take(Kind::Until));
            plan = with_moments(plan, schema, from, until)?;
        }
        Ok(plan)
    }
}

/// The parts of a conjunction; also of one that is written so that the first part guards the second, if now() is in it.
fn conjuncts(predicate: &Expr) -> Vec<&Expr> {
    split_conjunction(predicate)
        .into_iter()
        .flat_map(|part| match guarded(part) {
            Some((first, then)) => [conjuncts(first), conjuncts(then)].concat(),
            None => vec![part],
        })
        .collect()
}

fn guarded(part: &Expr) -> Option<(&Expr, &Expr)> {
    match part {
        Expr::Case(case) if reads_now(part) && case.expr.is_none() && is_false(case.else_expr.as_deref()) => {
            let [(first, then)] = case.when_then_expr.as_slice() else { return None };
            Some((first, then))
        }
        _ => None,
    }
}

fn is_false(expr: Option<&Expr>) -> bool {
    matches!(expr, Some(Expr::Literal(ScalarValue::Boolean(Some(false)), _)))
}

/// Whether an expression has now() in it.
fn reads_now(expr: &Expr) -> bool {
    // The closure cannot fail.
    expr.exists(|e| Ok(is_now(e))).unwrap_or(false)
}

/// What `time op now` says.
fn bound_of<'e>(time: &'e Expr, op: Operator, now: &Expr) -> Result<Bound<'e>> {
    let offset = offset_of(now)?;
    let shift = offset.checked_neg().ok_or_else(unsupported::now)?;
    let (kind, shift) = match op {
        Operator::Gt => (Kind::Until, shift),
        Operator::GtEq => (Kind::Until, shift.saturating_add(1)),
        Operator::LtEq => (Kind::From, shift),
        Operator::Lt => (Kind::From, shift.saturating_add(1)),
        _ => return Err(unsupported::now()),
    };
    Ok(Bound { time, shift, kind })
}

/// What is added to now(), in microseconds.
fn offset_of(now: &Expr) -> Result<i64> {
    if is_now(now) {
        return Ok(0);
    }
    let Expr::ScalarFunction(call) = now else { return Err(unsupported::now()) };
    let (inner, span, sign) = match (call.func.name(), call.args.as_slice()) {
        ("timestamptz_pl_interval", [inner, span]) => (inner, span, 1),
        ("interval_pl_timestamptz", [span, inner]) => (inner, span, 1),
        ("timestamptz_mi_interval", [inner, span]) => (inner, span, -1),
        _ => return Err(unsupported::now()),
    };
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) = span else {
        return Err(unsupported::now());
    };
    if span.months != 0 {
        return Err(unsupported::now());
    }
    offset_of(inner)?.checked_add(sign * length_micros(*span)?).ok_or_else(unsupported::now)
}

/// The plan with the moments of rows as columns, and the filter over them.
fn with_moments(
    input: StreamPlan,
    schema: &DFSchema,
    from: Option<&Bound<'_>>,
    until: Option<&Bound<'_>>,
) -> Result<StreamPlan> {
    let width = input.columns.len();
    let mut exprs: Vec<ScalarExpr> = (0..width).map(ScalarExpr::Column).collect();
    let mut columns = input.columns.clone();
    let mut add = |bound: Option<&Bound<'_>>, name: &str| -> Result<Option<usize>> {
        let Some(bound) = bound else { return Ok(None) };
        let (expr, ty) = moment(bound, schema)?;
        exprs.push(expr);
        columns.push(StreamColumn { name: name.into(), ty });
        Ok(Some(exprs.len() - 1))
    };
    let (from, until) = (add(from, "shows from")?, add(until, "shows until")?);
    let input = merge_calc::calc(input, None, exprs, columns);
    let partition = input.traits.placement(width);
    if let Some(column) = input.columns.iter().find(|column| !weir_exec::state::can_store(&column.ty)) {
        return Err(Error::unsupported(format!(
            "a comparison with now() over a column of type {}",
            column.ty
        ))
        .with_hint("Cast the column in a subquery below the filter."));
    }
    let columns = input.columns[..width].to_vec();
    let node = StreamNode::TemporalFilter { partition, from, until, project: (0..width).collect() };
    Ok(StreamPlan::new(node, vec![input], columns))
}

/// A moment of a row, and its type.
fn moment(bound: &Bound<'_>, schema: &DFSchema) -> Result<(ScalarExpr, arrow::datatypes::DataType)> {
    use arrow::datatypes::{DataType, IntervalUnit};
    let time = lower_expr(bound.time, schema)?;
    let ty = weir_common::SqlType::Timestamptz.arrow();
    if bound.shift == 0 {
        return Ok((time, ty));
    }
    let nanos = bound.shift.checked_mul(1_000).ok_or_else(unsupported::now)?;
    let span = Literal::Interval { months: 0, days: 0, nanos };
    let span = ScalarExpr::Literal(span, DataType::Interval(IntervalUnit::MonthDayNano));
    let function = "timestamptz_pl_interval".to_owned();
    Ok((ScalarExpr::Call { function, args: vec![time, span], ty: ty.clone() }, ty))
}

/// Whether rows come from somewhere: constants alone have no epochs.
fn reads_relation(plan: &StreamPlan) -> bool {
    matches!(plan.node, StreamNode::Scan { .. } | StreamNode::Source { .. })
        || plan.inputs.iter().any(reads_relation)
}
