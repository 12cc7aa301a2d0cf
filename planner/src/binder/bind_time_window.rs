//! TUMBLE, HOP, CUMULATE and SESSION in FROM: the rows of a table with the windows of time that they are in.
//!
//! ```text
//!   FROM HOP(bids, ts, slide, size)     columns of bids, window_start, window_end, window_time
//!
//!   Projection  …, window_end = window_start + size, window_time = window_start + (size - 1 µs)
//!     Unnest    window_start
//!       Projection  …, hop_starts(ts, slide, size, offset)
//!         Filter    ts IS NOT NULL
//! ```
//! TUMBLE computes `tumble_start(…)`, CUMULATE makes rows of `cumulate_ends(…)`; SESSION is a `Window` node with the calls
//! `session_start(ts, gap)` and `session_end(ts, gap) OVER (PARTITION BY keys ORDER BY ts)`. So a plan tells by the names
//! of these functions which windows it is over, and by their arguments of what time and lengths. As in Flink a row without a time is in no window, and `window_time` is the last moment of the window, here of microseconds.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::{Column, NullHandling};
use datafusion::logical_expr::expr::{self, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFunctionDefinition,
};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArguments, ObjectName, Spanned, TableAlias, TableFactor,
};
use weir_common::{Error, Result, SqlType};
use weir_exec::functions::{self, SessionBound};

use super::bind_expr::ExprContext;
use super::bind_function::function_name;
use super::bind_select::filter;
use super::bind_set_function::unnest_lists;
use super::bind_window::window_plan;
use super::scope::{Relation, Scope, ScopeColumn};
use super::system_call::registered;
use super::time_window::{TimeWindow, WindowCall, WindowKind};
use super::{Binder, plan_error};

/// The columns that a window function adds, in the plan.
pub(crate) struct WindowColumns {
    pub start: Column,
    pub end: Column,
    pub time: Column,
}

impl Binder<'_> {
    /// A window function in FROM.
    pub(crate) fn bind_time_window(
        &self,
        kind: WindowKind,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let position = args.first().and_then(|arg| self.span_position(arg.span()));
        let call = WindowCall::of(kind, args, position)?;
        let data = call.data.ok_or_else(|| Error::internal("a window function without a table"))?;
        let Relation { plan, mut columns } = self.window_data(data, scope)?;
        let window = self.time_window(&call, &scope.with_columns(&columns))?;
        let added = self.window_columns();
        let plan = match kind {
            WindowKind::Session => {
                let keys = self.partition_keys(&call, &scope.with_columns(&columns))?;
                self.assign_sessions(plan, &window, keys, &added)?
            }
            _ => self.assign_windows(plan, &window, &added)?,
        };
        for (name, column) in
            [("window_start", added.start), ("window_end", added.end), ("window_time", added.time)]
        {
            columns.push(ScopeColumn {
                table: None,
                schema: None,
                name: name.to_owned(),
                column,
                ty: window.ty.clone(),
                origin: None,
                merged: false,
            });
        }
        let mut relation = Relation { plan, columns };
        match alias {
            Some(_) => self.apply_alias(&mut relation, alias)?,
            None => self.rename(&mut relation.columns, &kind.name().to_lowercase(), &[])?,
        }
        Ok(relation)
    }

    fn partition_keys(&self, call: &WindowCall<'_>, scope: &Scope<'_>) -> Result<Vec<Expr>> {
        let cx = ExprContext::plain(scope, "PARTITION BY");
        let keys = call.partition_by.iter();
        keys.map(|key| Ok(self.decide_text(self.bind_expr(key, cx)?)?.expr)).collect()
    }

    /// The table of a call: a name, a subquery, or another window function.
    fn window_data(&self, data: &SqlExpr, scope: &Scope<'_>) -> Result<Relation> {
        match data {
            SqlExpr::Identifier(name) => {
                self.bind_named_relation(&ObjectName::from(vec![name.clone()]), None, scope)
            }
            SqlExpr::CompoundIdentifier(parts) => {
                self.bind_named_relation(&ObjectName::from(parts.clone()), None, scope)
            }
            SqlExpr::Subquery(query) => {
                let bound = self.bind_query(query, scope)?;
                let mut relation = self.settle(bound.relation)?;
                for column in &mut relation.columns {
                    (column.table, column.schema) = (None, None);
                }
                Ok(relation)
            }
            SqlExpr::Function(call) => match window_kind(call) {
                Some((kind, args)) => self.bind_time_window(kind, args, None, scope),
                None => Err(not_a_table(data).at(self.position(data))),
            },
            _ => Err(not_a_table(data).at(self.position(data))),
        }
    }

    /// Names for the columns that a window function adds.
    pub(crate) fn window_columns(&self) -> WindowColumns {
        let column = |name| Column::new_unqualified(self.unique(name));
        WindowColumns {
            start: column("window_start"),
            end: column("window_end"),
            time: column("window_time"),
        }
    }

    /// The plan's rows with a time, once for each of their windows.
    pub(crate) fn assign_windows(
        &self,
        plan: LogicalPlan,
        window: &TimeWindow,
        columns: &WindowColumns,
    ) -> Result<LogicalPlan> {
        let plan = filter(plan, window.time.clone().is_not_null())?;
        let (start, end) = (&columns.start.name, &columns.end.name);
        match (window.kind, window.spans.as_slice()) {
            (WindowKind::Tumble, [_]) => {
                let plan = with_columns(plan, vec![window.tumble_start()?.alias(start)])?;
                with_columns(plan, window.ends(columns)?.to_vec())
            }
            (WindowKind::Hop, [slide, size]) => {
                let args = vec![window.time.clone(), span(*slide), span(*size), span(window.offset)];
                let starts = registered(functions::HOP_STARTS, args)?;
                let plan = unnest_lists(plan, vec![(starts, start.clone())], NullHandling::Drop)?;
                with_columns(plan, window.ends(columns)?.to_vec())
            }
            (WindowKind::Cumulate, [step, size]) => {
                let args = vec![window.time.clone(), span(*step), span(*size), span(window.offset)];
                let ends = registered(functions::CUMULATE_ENDS, args)?;
                let plan = unnest_lists(plan, vec![(ends, end.clone())], NullHandling::Drop)?;
                let time = window.last_moment(Expr::Column(columns.end.clone()))?;
                let start = window.tumble_start()?.alias(start);
                with_columns(plan, vec![start, time.alias(&columns.time.name)])
            }
            _ => Err(Error::internal("a window with other lengths than its kind has")),
        }
    }

    /// The plan's rows with a time, each with its session among the rows that are equal in `keys`.
    pub(crate) fn assign_sessions(
        &self,
        plan: LogicalPlan,
        window: &TimeWindow,
        keys: Vec<Expr>,
        columns: &WindowColumns,
    ) -> Result<LogicalPlan> {
        let plan = filter(plan, window.time.clone().is_not_null())?;
        let gap = window.spans.first().ok_or_else(|| Error::internal("sessions without a gap"))?;
        let call = |bound: SessionBound| {
            let params = WindowFunctionParams {
                args: vec![window.time.clone(), span(*gap)],
                partition_by: keys.clone(),
                order_by: vec![window.time.clone().sort(true, false)],
                window_frame: WindowFrame::new(Some(false)),
                filter: None,
                null_treatment: None,
                distinct: false,
            };
            let fun = WindowFunctionDefinition::WindowUDF(bound.udwf());
            Expr::WindowFunction(Box::new(expr::WindowFunction { fun, params }))
        };
        let bounds = [
            (call(SessionBound::Start), columns.start.name.clone()),
            (call(SessionBound::End), columns.end.name.clone()),
        ];
        let time = window.last_moment(Expr::Column(columns.end.clone()))?;
        with_columns(window_plan(plan, &bounds)?, vec![time.alias(&columns.time.name)])
    }
}

const MICROSECOND: IntervalMonthDayNano = IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 1000 };

impl TimeWindow {
    /// The start of the window of the size's length around the time.
    fn tumble_start(&self) -> Result<Expr> {
        let size = self.spans.last().ok_or_else(|| Error::internal("a window without a size"))?;
        registered(functions::TUMBLE_START, vec![self.time.clone(), span(*size), span(self.offset)])
    }

    /// The end and the last moment of a window of the size's length, from its start.
    pub(crate) fn ends(&self, columns: &WindowColumns) -> Result<[Expr; 2]> {
        let size = *self.spans.last().ok_or_else(|| Error::internal("a window without a size"))?;
        let last = IntervalMonthDayNano { nanoseconds: size.nanoseconds - MICROSECOND.nanoseconds, ..size };
        let start = || Expr::Column(columns.start.clone());
        Ok([
            self.plus(start(), size)?.alias(&columns.end.name),
            self.plus(start(), last)?.alias(&columns.time.name),
        ])
    }

    fn plus(&self, time: Expr, length: IntervalMonthDayNano) -> Result<Expr> {
        let zoned = self.ty == SqlType::Timestamptz;
        let function = if zoned { "timestamptz_pl_interval" } else { "timestamp_pl_interval" };
        registered(function, vec![time, span(length)])
    }

    /// The last moment of a window that ends at this time.
    pub(crate) fn last_moment(&self, end: Expr) -> Result<Expr> {
        let zoned = self.ty == SqlType::Timestamptz;
        let function = if zoned { "timestamptz_mi_interval" } else { "timestamp_mi_interval" };
        registered(function, vec![end, span(MICROSECOND)])
    }
}

fn span(length: IntervalMonthDayNano) -> Expr {
    Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), None)
}

fn with_columns(plan: LogicalPlan, added: Vec<Expr>) -> Result<LogicalPlan> {
    let own = plan.schema().columns().into_iter().map(Expr::Column);
    let exprs: Vec<Expr> = own.chain(added).collect();
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

fn not_a_table(data: &SqlExpr) -> Error {
    Error::unsupported(format!("{data} as the table of a window function"))
        .with_hint("Give the name of a table, source or view, or a subquery in parentheses.")
}

/// The window function that a call means, with its arguments.
pub(crate) fn window_kind(call: &Function) -> Option<(WindowKind, &[FunctionArg])> {
    let kind = WindowKind::of(&function_name(&call.name).ok()?)?;
    match &call.args {
        FunctionArguments::List(list) if list.clauses.is_empty() => Some((kind, &list.args)),
        _ => None,
    }
}

/// The window function that a FROM item is, with its arguments: `TUMBLE(…)`, also inside `TABLE(…)`.
pub(crate) fn window_factor(
    factor: &TableFactor,
) -> Option<(WindowKind, &[FunctionArg], Option<&TableAlias>)> {
    match factor {
        TableFactor::Table { name, alias, args: Some(args), with_ordinality: false, .. } => {
            Some((WindowKind::of(&function_name(name).ok()?)?, &args.args, alias.as_ref()))
        }
        TableFactor::Function { name, alias, args, with_ordinality: false, .. } => {
            Some((WindowKind::of(&function_name(name).ok()?)?, args, alias.as_ref()))
        }
        TableFactor::TableFunction { expr: SqlExpr::Function(call), alias } => {
            let (kind, args) = window_kind(call)?;
            Some((kind, args, alias.as_ref()))
        }
        _ => None,
    }
}
