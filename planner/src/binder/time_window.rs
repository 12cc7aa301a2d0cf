//! `TimeWindow`: what a call of TUMBLE, HOP, CUMULATE or SESSION says, checked.
//!
//! The arguments may be given in order or by name; a name is one of [`WindowKind::spans`] or DATA, TIMECOL, OFFSET.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArgOperator};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_values::fold_constant;
use super::scope::Scope;
use super::typed::Typed;
use crate::parser::{TableArgument, fold};

/// Most windows of a row, a week by minutes: HOP and CUMULATE make a row for each.
const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// A function that assigns rows to windows of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowKind {
    /// Side by side.
    Tumble,
    /// Every slide.
    Hop,
    /// Ever longer, then anew.
    Cumulate,
    /// Around rows that are close to one another.
    Session,
}

impl WindowKind {
    /// The window function of this name.
    pub(crate) fn of(name: &str) -> Option<WindowKind> {
        Some(match name {
            "tumble" => WindowKind::Tumble,
            "hop" => WindowKind::Hop,
            "cumulate" => WindowKind::Cumulate,
            "session" => WindowKind::Session,
            _ => return None,
        })
    }

    /// The function's name as messages write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            WindowKind::Tumble => "TUMBLE",
            WindowKind::Hop => "HOP",
            WindowKind::Cumulate => "CUMULATE",
            WindowKind::Session => "SESSION",
        }
    }

    /// Names of the intervals, in their order.
    fn spans(self) -> &'static [&'static str] {
        match self {
            WindowKind::Tumble => &["SIZE"],
            WindowKind::Hop => &["SLIDE", "SIZE"],
            WindowKind::Cumulate => &["STEP", "SIZE"],
            WindowKind::Session => &["GAP"],
        }
    }

    /// 42883 for a call with other arguments.
    fn mismatch(self, position: Option<usize>) -> Error {
        let name = self.name();
        let partition = if self == WindowKind::Session { " [PARTITION BY (key, …)]" } else { "" };
        let spans = self.spans().join(", ").to_lowercase();
        let offset = if self == WindowKind::Session { "" } else { " [, offset]" };
        Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not take these arguments"))
            .with_hint(format!("Write {name}(table{partition}, time column, {spans}{offset})."))
            .at(position)
    }
}

/// The arguments of a call by what they are.
pub(crate) struct WindowCall<'a> {
    pub kind: WindowKind,
    /// The table; none of a group window.
    pub data: Option<&'a SqlExpr>,
    pub partition_by: Vec<&'a SqlExpr>,
    pub time: &'a SqlExpr,
    spans: Vec<&'a SqlExpr>,
    offset: Option<&'a SqlExpr>,
    pub position: Option<usize>,
}

impl<'a> WindowCall<'a> {
    /// A call in FROM.
    pub(crate) fn of(
        kind: WindowKind,
        args: &'a [FunctionArg],
        position: Option<usize>,
    ) -> Result<WindowCall<'a>> {
        let given = Given::read(kind, args, position)?;
        let data = TableArgument::of(given.take("DATA").ok_or_else(|| kind.mismatch(position))?);
        let mut partition_by = data.partition_by;
        partition_by.extend(&given.keys);
        if kind != WindowKind::Session && !partition_by.is_empty() {
            return Err(Error::unsupported(format!("PARTITION BY in {}", kind.name()))
                .with_hint("Every row is in the same windows whatever it is partitioned by: leave it out.")
                .at(position));
        }
        Ok(WindowCall { data: Some(data.table), partition_by, ..given.windows(kind, position)? })
    }

    /// A group window: the arguments after the table, in order.
    pub(crate) fn group(
        kind: WindowKind,
        args: &[&'a SqlExpr],
        position: Option<usize>,
    ) -> Result<WindowCall<'a>> {
        let spans = kind.spans().len();
        let [time, rest @ ..] = args else { return Err(kind.mismatch(position)) };
        let most = if kind == WindowKind::Session { spans } else { spans + 1 };
        if rest.len() < spans || rest.len() > most {
            return Err(kind.mismatch(position));
        }
        let (spans, offset) = (rest[..spans].to_vec(), rest.get(spans).copied());
        Ok(WindowCall { kind, data: None, partition_by: Vec::new(), time, spans, offset, position })
    }
}

/// Arguments by name, those in order too.
struct Given<'a> {
    named: Vec<(&'static str, &'a SqlExpr)>,
    /// Further keys of `t PARTITION BY a, b, …`, which read like arguments.
    keys: Vec<&'a SqlExpr>,
}

impl<'a> Given<'a> {
    fn read(kind: WindowKind, args: &'a [FunctionArg], position: Option<usize>) -> Result<Given<'a>> {
        let mismatch = || kind.mismatch(position);
        let mut names = vec!["DATA", "TIMECOL"];
        names.extend(kind.spans());
        if kind != WindowKind::Session {
            names.push("OFFSET");
        }
        let mut given = Given { named: Vec::new(), keys: Vec::new() };
        let mut in_order = Vec::new();
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => in_order.push(expr),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(expr),
                    operator: FunctionArgOperator::RightArrow,
                } => {
                    let wanted = fold(name).to_uppercase();
                    let name = names.iter().find(|known| **known == wanted).ok_or_else(mismatch)?;
                    given.add(name, expr).ok_or_else(mismatch)?;
                }
                _ => return Err(mismatch()),
            }
        }
        if let Some(first) = in_order.first()
            && !TableArgument::of(first).partition_by.is_empty()
            && in_order.len() > names.len() - given.named.len()
        {
            let further = in_order.len() - (names.len() - given.named.len());
            given.keys = in_order.drain(1..=further).collect();
        }
        for (at, expr) in in_order.into_iter().enumerate() {
            given.add(names.get(at).copied().ok_or_else(mismatch)?, expr).ok_or_else(mismatch)?;
        }
        Ok(given)
    }

    /// `None` when there is one of this name already.
    fn add(&mut self, name: &'static str, expr: &'a SqlExpr) -> Option<()> {
        self.take(name).is_none().then(|| self.named.push((name, expr)))
    }

    fn take(&self, name: &str) -> Option<&'a SqlExpr> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, expr)| *expr)
    }

    fn windows(&self, kind: WindowKind, position: Option<usize>) -> Result<WindowCall<'a>> {
        let wanted = |name: &str| self.take(name).ok_or_else(|| kind.mismatch(position));
        Ok(WindowCall {
            kind,
            data: None,
            partition_by: Vec::new(),
            time: wanted("TIMECOL")?,
            spans: kind.spans().iter().map(|name| wanted(name)).collect::<Result<_>>()?,
            offset: self.take("OFFSET"),
            position,
        })
    }
}

/// The windows of a call: their time and lengths.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimeWindow {
    pub kind: WindowKind,
    /// A timestamp or timestamptz.
    pub time: Expr,
    pub ty: SqlType,
    /// As [`WindowKind::spans`] names them.
    pub spans: Vec<IntervalMonthDayNano>,
    pub offset: IntervalMonthDayNano,
}

impl Binder<'_> {
    /// A call over columns in scope.
    pub(crate) fn time_window(&self, call: &WindowCall<'_>, scope: &Scope<'_>) -> Result<TimeWindow> {
        let kind = call.kind;
        let time = self.window_time(call, scope)?;
        let names = kind.spans().iter().zip(&call.spans);
        let spans = names.map(|(name, span)| self.span(kind, name, span)).collect::<Result<Vec<_>>>()?;
        let offset = call.offset.map(|offset| self.span(kind, "OFFSET", offset)).transpose()?;
        check_lengths(kind, &spans).map_err(|e| e.at(call.position))?;
        let zero = IntervalMonthDayNano::new(0, 0, 0);
        Ok(TimeWindow { kind, time: time.expr, ty: time.ty, spans, offset: offset.unwrap_or(zero) })
    }

    fn window_time(&self, call: &WindowCall<'_>, scope: &Scope<'_>) -> Result<Typed> {
        let position = self.position(call.time);
        let time = self.bind_expr(descriptor(call.time), ExprContext::plain(scope, call.kind.name()))?;
        if matches!(time.ty, SqlType::Timestamp | SqlType::Timestamptz) {
            return Ok(time);
        }
        let (name, ty) = (call.kind.name(), time.ty.name());
        let message = format!("the time of {name} must be a timestamp or timestamptz, not {ty}");
        let error = Error::new(SqlState::DATATYPE_MISMATCH, message).at(position);
        Err(match time.ty {
            SqlType::Date => error.with_hint("Cast it: d::timestamp."),
            _ => error,
        })
    }

    fn span(&self, kind: WindowKind, name: &str, expr: &SqlExpr) -> Result<IntervalMonthDayNano> {
        self.fixed_length(expr, &format!("{name} of {}", kind.name()), kind.name())
    }

    /// A constant interval without months; `what` it is for errors.
    pub(crate) fn fixed_length(
        &self,
        expr: &SqlExpr,
        what: &str,
        clause: &'static str,
    ) -> Result<IntervalMonthDayNano> {
        let position = self.position(expr);
        let typed = self.bind_expr(expr, ExprContext::plain(&Scope::default(), clause))?;
        if !typed.is_undecided() && typed.ty != SqlType::Interval {
            let message = format!("{what} must be an interval, not {}", typed.ty.name());
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(position));
        }
        match fold_constant(self.coerce(typed, &SqlType::Interval)?)? {
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) if span.months == 0 => Ok(span),
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(_)), _) => {
                Err(Error::unsupported(format!("{what} with months or years"))
                    .with_hint("Months are not of one length: GROUP BY date_trunc('month', …) instead.")
                    .at(position))
            }
            Expr::Literal(..) => {
                let message = format!("{what} must not be null");
                Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(position))
            }
            _ => Err(Error::unsupported(format!("{what} that is not a constant")).at(position)),
        }
    }
}

/// The column in `DESCRIPTOR(column)`.
fn descriptor(time: &SqlExpr) -> &SqlExpr {
    let SqlExpr::Function(call) = time else { return time };
    if super::bind_function::function_name(&call.name).is_ok_and(|name| name == "descriptor")
        && let sqlparser::ast::FunctionArguments::List(list) = &call.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] = list.args.as_slice()
    {
        return column;
    }
    time
}

fn check_lengths(kind: WindowKind, spans: &[IntervalMonthDayNano]) -> Result<()> {
    let invalid = |message: String| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let lengths = spans.iter().map(|span| functions::length_micros(*span)).collect::<Result<Vec<i64>>>()?;
    let name = kind.name();
    if let Some(at) = lengths.iter().position(|length| *length <= 0) {
        return invalid(format!("{} of {name} must be positive", kind.spans()[at]));
    }
    let [advance, size] = lengths[..] else { return Ok(()) };
    if kind == WindowKind::Cumulate && size % advance != 0 {
        return invalid(format!("SIZE of {name} must be a multiple of STEP"));
    }
    if size / advance > WINDOWS_MAX {
        let message = format!("{name} with more than {WINDOWS_MAX} windows for a row");
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(())
}
