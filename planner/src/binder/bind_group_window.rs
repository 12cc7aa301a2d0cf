//! Group windows: `GROUP BY TUMBLE(ts, i)` with `TUMBLE_START(ts, i)`, HOP and SESSION likewise; Flink's older syntax.
//!
//! ```text
//!   SELECT TUMBLE_END(ts, i), count(*) FROM t GROUP BY TUMBLE(ts, i), k
//!   SELECT window_end, count(*) FROM TUMBLE(t, ts, i) GROUP BY window_start, k
//! ```
//! Both come to one plan. The window's columns get their names before the select list is bound, which may name them
//! through the auxiliary functions; the windows are assigned when the GROUP BY is known, since a session is one of rows
//! that are equal in the other expressions of it.

use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast::{Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, GroupByExpr};
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::bind_expr::{ExprContext, strip};
use super::bind_grouping::Groups;
use super::bind_time_window::{WindowColumns, window_kind};
use super::scope::Scope;
use super::time_window::{TimeWindow, WindowCall, WindowKind};
use super::typed::Typed;

/// A window that a select groups by.
pub(crate) struct GroupWindow {
    window: TimeWindow,
    columns: WindowColumns,
}

impl GroupWindow {
    /// What rows of one window are equal in.
    fn keys(&self) -> Vec<Expr> {
        match self.window.kind {
            WindowKind::Session => {
                vec![Expr::Column(self.columns.start.clone()), Expr::Column(self.columns.end.clone())]
            }
            // The end follows from the start.
            _ => vec![Expr::Column(self.columns.start.clone())],
        }
    }
}

/// What an auxiliary function says of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    End,
    Time,
}

impl Binder<'_> {
    /// Gives the windows of a GROUP BY their columns, for the expressions of the same select. How many windows there are.
    pub(crate) fn name_group_windows(&self, group_by: &GroupByExpr, scope: &Scope<'_>) -> Result<usize> {
        let GroupByExpr::Expressions(list, _) = group_by else { return Ok(0) };
        let mut calls = Vec::new();
        list.iter().for_each(|item| collect(item, &mut calls));
        let mut named = 0;
        for call in calls {
            let Some((window, _)) = self.group_window(call, scope)? else { continue };
            let mut known = self.group_windows.borrow_mut();
            if !known.iter().any(|k| k.window == window) {
                known.push(GroupWindow { window, columns: self.window_columns() });
                named += 1;
            }
        }
        Ok(named)
    }

    /// Takes the last `count` windows that were named and assigns the plan's rows to them.
    pub(crate) fn assign_group_windows(
        &self,
        mut plan: LogicalPlan,
        count: usize,
        groups: &Groups,
    ) -> Result<LogicalPlan> {
        let first = self.group_windows.borrow().len() - count;
        let windows = self.group_windows.borrow_mut().split_off(first);
        for GroupWindow { window, columns } in &windows {
            plan = match window.kind {
                WindowKind::Session => {
                    let own: Vec<Expr> = windows.iter().flat_map(GroupWindow::keys).collect();
                    let keys = groups.exprs.iter().filter(|expr| !own.contains(expr)).cloned().collect();
                    if groups.sets.is_some() {
                        return Err(Error::unsupported("GROUP BY SESSION(…) with grouping sets")
                            .with_hint("Use FROM SESSION(t PARTITION BY …, ts, gap)."));
                    }
                    self.assign_sessions(plan, window, keys, columns)?
                }
                _ => self.assign_windows(plan, window, columns)?,
            };
        }
        Ok(plan)
    }

    /// The expressions that an item of a GROUP BY stands for, if it is a window.
    pub(crate) fn group_window_keys(&self, item: &SqlExpr, cx: ExprContext<'_>) -> Result<Option<Vec<Expr>>> {
        let SqlExpr::Function(call) = strip(item) else { return Ok(None) };
        let Some((window, _)) = self.group_window(call, cx.scope)? else { return Ok(None) };
        let known = self.group_windows.borrow();
        Ok(known.iter().rev().find(|k| k.window == window).map(GroupWindow::keys))
    }

    fn group_window(
        &self,
        call: &Function,
        scope: &Scope<'_>,
    ) -> Result<Option<(TimeWindow, Option<usize>)>> {
        let Some((kind, args)) = window_kind(call).filter(|(kind, _)| *kind != WindowKind::Cumulate) else {
            return Ok(None);
        };
        let position = self.position(&SqlExpr::Function(call.clone()));
        let args: Option<Vec<&SqlExpr>> = args.iter().map(unnamed).collect();
        let args = args.ok_or_else(|| Error::unsupported("a named argument").at(position))?;
        let window = self.time_window(&WindowCall::group(kind, &args, position)?, scope)?;
        Ok(Some((window, position)))
    }

    /// `TUMBLE_START(ts, i)` and its like; `None` for any other function.
    pub(crate) fn bind_window_part(
        &self,
        name: &str,
        args: &[&SqlExpr],
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        let Some((kind, part)) = window_part(name) else { return Ok(None) };
        let wanted = self.time_window(&WindowCall::group(kind, args, position)?, cx.scope)?;
        let known = self.group_windows.borrow();
        let Some(GroupWindow { window, columns }) = known.iter().rev().find(|k| k.window == wanted) else {
            let (name, kind) = (name.to_uppercase(), kind.name());
            let message = format!("{name} without {kind} of the same arguments in GROUP BY");
            return Err(Error::new(SqlState::GROUPING_ERROR, message).at(position));
        };
        let expr = match (part, kind) {
            (Part::Start, _) => Expr::Column(columns.start.clone()),
            (Part::End, WindowKind::Session) => Expr::Column(columns.end.clone()),
            (Part::Time, WindowKind::Session) => window.last_moment(Expr::Column(columns.end.clone()))?,
            (part, _) => {
                let [end, time] = window.ends(columns)?;
                if part == Part::End { end.unalias() } else { time.unalias() }
            }
        };
        Ok(Some(Typed::new(expr, window.ty.clone(), position)))
    }
}

/// The window functions in an item of a GROUP BY.
fn collect<'e>(item: &'e SqlExpr, calls: &mut Vec<&'e Function>) {
    match strip(item) {
        SqlExpr::Function(call) if window_kind(call).is_some() => calls.push(call),
        SqlExpr::GroupingSets(sets) | SqlExpr::Rollup(sets) | SqlExpr::Cube(sets) => {
            sets.iter().flatten().for_each(|part| collect(part, calls));
        }
        SqlExpr::Function(call) => {
            super::bind_grouping::arguments(call).into_iter().for_each(|part| collect(part, calls));
        }
        SqlExpr::Tuple(parts) => parts.iter().for_each(|part| collect(part, calls)),
        _ => {}
    }
}

fn unnamed(arg: &FunctionArg) -> Option<&SqlExpr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn window_part(name: &str) -> Option<(WindowKind, Part)> {
    let (kind, part) = name.split_once('_')?;
    let kind = WindowKind::of(kind).filter(|kind| *kind != WindowKind::Cumulate)?;
    let part = match part {
        "start" => Part::Start,
        "end" => Part::End,
        "rowtime" => Part::Time,
        _ => return None,
    };
    Some((kind, part))
}
