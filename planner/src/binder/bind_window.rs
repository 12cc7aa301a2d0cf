//! Window functions: `f(…) OVER (PARTITION BY … ORDER BY … frame)`, onto `Window` nodes.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{self, Sort, WindowFunctionParams};
use datafusion::logical_expr::function::WindowUDFFieldArgs;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{
    self as sql, Expr as SqlExpr, NamedWindowDefinition, NamedWindowExpr, WindowSpec, WindowType,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::bind_expr::ExprContext;
use super::bind_function::{Call, represented};
use super::correlation::holds_query;
use super::interval::compared;
use super::typed::Typed;
use super::{Binder, plan_error};
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_window_call(
        &self,
        call: &Call<'_>,
        over: &WindowType,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        if !cx.windows {
            let message = format!("window functions are not allowed in {}", cx.clause);
            return Err(Error::new(SqlState::WINDOWING_ERROR, message).at(call.position));
        }
        if call.distinct || !call.order_by.is_empty() {
            return Err(
                Error::unsupported("DISTINCT or ORDER BY in a window function call").at(call.position)
            );
        }
        let inner = ExprContext { windows: false, ..cx };
        let args: Result<Vec<Typed>> = call.args.iter().map(|e| self.bind_expr(e, inner)).collect();
        let args = args?;
        let types: Vec<SqlType> = args.iter().map(|a| a.ty.clone()).collect();
        let (function, arg_types, result) =
            window_function(&call.name, &types).map_err(|e| e.at(call.position))?;
        let coerced: Result<Vec<Expr>> =
            args.into_iter().zip(&arg_types).map(|(arg, ty)| self.coerce(arg, ty)).collect();
        let mut coerced = coerced?;
        if call.star || (coerced.is_empty() && call.name == "count") {
            coerced.push(lit(1i64));
        }
        let params = self.bind_over(over, inner)?;
        let start = &params.window_frame.start_bound;
        if call.name == "string_agg" && !start.is_unbounded() {
            return Err(Error::unsupported("string_agg over a window frame whose start moves")
                .with_hint("Use array_to_string(array_agg(…) OVER (…), …).")
                .at(call.position));
        }
        let filter = call.filter.map(|f| self.condition(self.bind_expr(f, inner)?, "FILTER")).transpose()?;
        let params = WindowFunctionParams { args: coerced, filter: filter.map(Box::new), ..params };
        let returned = match &function {
            WindowFunctionDefinition::AggregateUDF(udaf) => {
                udaf.return_type(&arg_types.iter().map(SqlType::arrow).collect::<Vec<_>>()).ok()
            }
            WindowFunctionDefinition::WindowUDF(udwf) => {
                let fields: Vec<FieldRef> =
                    arg_types.iter().map(|ty| Arc::new(Field::new("arg", ty.arrow(), true))).collect();
                let field = udwf.field(WindowUDFFieldArgs::new(&fields, &call.name));
                field.ok().map(|field| field.data_type().clone())
            }
        };
        let window = Expr::WindowFunction(Box::new(expr::WindowFunction { fun: function, params }));
        Ok(Typed::new(represented(window, returned, &result), result, call.position))
    }

    fn bind_over(&self, over: &WindowType, cx: ExprContext<'_>) -> Result<WindowFunctionParams> {
        let WindowType::WindowSpec(spec) = over else {
            return Err(Error::internal("a named window was not resolved"));
        };
        let partition_by = self.bind_exprs(&spec.partition_by, cx)?;
        let partition_by: Result<Vec<Expr>> = partition_by
            .into_iter()
            .map(|t| self.decide_text(t).and_then(|t| compared(t.expr, &t.ty)))
            .collect();
        let order_by = self.bind_sort_keys(&spec.order_by, cx)?;
        let window_frame = match &spec.window_frame {
            Some(frame) => self.bind_frame(frame, &order_by, cx)?,
            None => WindowFrame::new((!order_by.is_empty()).then_some(false)),
        };
        let mut order_by = order_by;
        window_frame.regularize_order_bys(&mut order_by).map_err(plan_error)?;
        Ok(WindowFunctionParams {
            args: Vec::new(),
            partition_by: partition_by?,
            order_by,
            window_frame,
            filter: None,
            null_treatment: None,
            distinct: false,
        })
    }

    fn bind_frame(
        &self,
        frame: &sql::WindowFrame,
        order_by: &[Sort],
        cx: ExprContext<'_>,
    ) -> Result<WindowFrame> {
        let units = match frame.units {
            sql::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
            sql::WindowFrameUnits::Range => WindowFrameUnits::Range,
            sql::WindowFrameUnits::Groups => WindowFrameUnits::Groups,
        };
        let offset = |bound: &Option<Box<SqlExpr>>| bound.is_some();
        let has_offset =
            [Some(&frame.start_bound), frame.end_bound.as_ref()].into_iter().flatten().any(|b| match b {
                sql::WindowFrameBound::CurrentRow => false,
                sql::WindowFrameBound::Preceding(n) | sql::WindowFrameBound::Following(n) => offset(n),
            });
        if units == WindowFrameUnits::Range && has_offset && order_by.len() != 1 {
            let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
            return Err(Error::new(SqlState::WINDOWING_ERROR, message));
        }
        let start = self.bind_bound(&frame.start_bound, units, cx)?;
        let end = match &frame.end_bound {
            Some(bound) => self.bind_bound(bound, units, cx)?,
            None => WindowFrameBound::CurrentRow,
        };
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn bind_bound(
        &self,
        bound: &sql::WindowFrameBound,
        units: WindowFrameUnits,
        cx: ExprContext<'_>,
    ) -> Result<WindowFrameBound> {
        let offset = |n: &Option<Box<SqlExpr>>| -> Result<ScalarValue> {
            let Some(n) = n else { return Ok(ScalarValue::UInt64(None)) };
            let position = self.position(n);
            let typed = self.bind_expr(n, cx)?;
            match (&typed.expr, typed.integer(), units) {
                (_, Some(n), WindowFrameUnits::Rows | WindowFrameUnits::Groups) => {
                    u64::try_from(n).map(|n| ScalarValue::UInt64(Some(n))).map_err(|_| {
                        Error::new(SqlState::INVALID_PARAMETER_VALUE, "frame offset must not be negative")
                    })
                }
                (Expr::Literal(value, _), _, WindowFrameUnits::Range) => Ok(value.clone()),
                _ => Err(Error::unsupported("a frame offset that is not a constant").at(position)),
            }
        };
        Ok(match bound {
            sql::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
            sql::WindowFrameBound::Preceding(n) => WindowFrameBound::Preceding(offset(n)?),
            sql::WindowFrameBound::Following(n) => WindowFrameBound::Following(offset(n)?),
        })
    }

    /// Computes the window calls inside `exprs` and puts their columns in their place.
    pub(crate) fn apply_windows(&self, plan: LogicalPlan, exprs: Vec<&mut Expr>) -> Result<LogicalPlan> {
        let mut seen = HashSet::new();
        let mut calls = Vec::new();
        for expr in &exprs {
            let _ = expr.apply(|e| {
                if matches!(e, Expr::WindowFunction(_)) && seen.insert(e.clone()) {
                    calls.push(e.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        if calls.is_empty() {
            return Ok(plan);
        }
        let named: Vec<(Expr, String)> =
            calls.into_iter().map(|call| (call, self.unique("window"))).collect();
        let (plan, computed) = self.queries_below(plan, &named)?;
        let plan = window_plan(plan, &computed)?;
        for expr in exprs {
            let rewritten =
                expr.clone().transform_down(|e| match named.iter().find(|(call, _)| *call == e) {
                    Some((_, name)) => {
                        let column = Expr::Column(Column::new_unqualified(name.clone()));
                        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
                    }
                    None => Ok(Transformed::no(e)),
                });
            *expr = rewritten.map_err(plan_error)?.data;
        }
        Ok(plan)
    }

    /// Calls over columns where they had expressions with subqueries, and the plan with those columns: a subquery becomes
    /// a join, and a column is named by the call that it is computed by.
    fn queries_below(
        &self,
        plan: LogicalPlan,
        named: &[(Expr, String)],
    ) -> Result<(LogicalPlan, Vec<(Expr, String)>)> {
        let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let width = columns.len();
        let mut computed = Vec::with_capacity(named.len());
        for (call, name) in named {
            let over_columns = call.clone().map_children(|e| {
                if !holds_query(&e) {
                    return Ok(Transformed::no(e));
                }
                let column = self.unique("computed");
                columns.push(e.alias(column.clone()));
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column))))
            });
            computed.push((over_columns.map_err(plan_error)?.data, name.clone()));
        }
        if columns.len() == width {
            return Ok((plan, computed));
        }
        let plan = LogicalPlanBuilder::from(plan).project(columns).and_then(LogicalPlanBuilder::build);
        Ok((plan.map_err(plan_error)?, computed))
    }
}

/// `plan` with a column for each call, under the name given with it.
pub(crate) fn window_plan(plan: LogicalPlan, named: &[(Expr, String)]) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let calls = named.iter().map(|(call, _)| in_known_frame(call, plan.schema()));
    let calls = calls.collect::<Result<Vec<Expr>>>()?;
    let plan = LogicalPlanBuilder::window_plan(plan, calls.clone()).map_err(plan_error)?;
    for (call, (_, name)) in calls.iter().zip(named) {
        let computed = Column::new_unqualified(call.schema_name().to_string());
        columns.push(Expr::Column(computed).alias(name.clone()));
    }
    LogicalPlanBuilder::from(plan).project(columns).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

/// The call with GROUPS for RANGE where DataFusion knows no RANGE over the type of the order: without an offset both
/// mean the same.
fn in_known_frame(call: &Expr, schema: &DFSchema) -> Result<Expr> {
    let known = call.clone().transform_down(|e| {
        let Expr::WindowFunction(window) = &e else { return Ok(Transformed::no(e)) };
        let frame = &window.params.window_frame;
        let (bounds, order) = ([&frame.start_bound, &frame.end_bound], window.params.order_by.first());
        let Some(first) = order.filter(|_| frame.units == WindowFrameUnits::Range) else {
            return Ok(Transformed::no(e));
        };
        let ty = first.expr.get_type(schema)?;
        let is_unknown = matches!(
            ty,
            DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Interval(_) | DataType::Time64(_)
        );
        let [Some(start), Some(end)] = bounds.map(without_offset) else { return Ok(Transformed::no(e)) };
        if !is_unknown {
            return Ok(Transformed::no(e));
        }
        let mut window = window.clone();
        window.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
        Ok(Transformed::yes(Expr::WindowFunction(window)))
    });
    Ok(known.map_err(plan_error)?.data)
}

/// The same bound for GROUPS, if it has no offset.
fn without_offset(bound: &WindowFrameBound) -> Option<WindowFrameBound> {
    let unbounded = ScalarValue::UInt64(None);
    match bound {
        WindowFrameBound::CurrentRow => Some(WindowFrameBound::CurrentRow),
        WindowFrameBound::Preceding(n) => n.is_null().then_some(WindowFrameBound::Preceding(unbounded)),
        WindowFrameBound::Following(n) => n.is_null().then_some(WindowFrameBound::Following(unbounded)),
    }
}

fn window_function(
    name: &str,
    types: &[SqlType],
) -> Result<(WindowFunctionDefinition, Vec<SqlType>, SqlType)> {
    if let Some(resolved) = functions::resolve_window(name, types)? {
        return Ok((resolved.function, resolved.arg_types, resolved.result));
    }
    match functions::resolve_aggregate(name, types)? {
        Some(resolved) => {
            Ok((WindowFunctionDefinition::AggregateUDF(resolved.udaf), resolved.arg_types, resolved.result))
        }
        None if name == "jsonb_agg" => Err(Error::unsupported("jsonb_agg as a window function")
            .with_hint("Use to_jsonb(array_agg(…) OVER (…)).")),
        None => {
            let message =
                format!("OVER specified, but {name} is not a window function nor an aggregate function");
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

/// Replaces `OVER w` and `OVER (w …)` by the definitions of the WINDOW clause, in a whole select list.
pub(crate) fn inline_windows(select: &mut sql::Select) -> Result<()> {
    if select.named_window.is_empty() {
        return Ok(());
    }
    let mut resolver = WindowNames { definitions: std::mem::take(&mut select.named_window) };
    match sql::VisitMut::visit(select, &mut resolver) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(error) => Err(error),
    }
}

struct WindowNames {
    definitions: Vec<NamedWindowDefinition>,
}

impl WindowNames {
    fn find(&self, name: &sql::Ident) -> Result<WindowSpec> {
        let wanted = fold(name);
        let found = self.definitions.iter().find(|d| fold(&d.0) == wanted).map(|d| &d.1);
        match found {
            Some(NamedWindowExpr::WindowSpec(spec)) => self.expand(spec.clone()),
            Some(NamedWindowExpr::NamedWindow(other)) if fold(other) != wanted => self.find(other),
            _ => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("window \"{wanted}\" does not exist"))),
        }
    }

    fn expand(&self, spec: WindowSpec) -> Result<WindowSpec> {
        let Some(base) = &spec.window_name else { return Ok(spec) };
        let base = self.find(base)?;
        let order_by = if spec.order_by.is_empty() { base.order_by } else { spec.order_by };
        Ok(WindowSpec {
            window_name: None,
            partition_by: base.partition_by,
            order_by,
            window_frame: spec.window_frame.or(base.window_frame),
        })
    }
}

impl sql::VisitorMut for WindowNames {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> std::ops::ControlFlow<Error> {
        let SqlExpr::Function(function) = expr else { return std::ops::ControlFlow::Continue(()) };
        let resolved = match &function.over {
            Some(WindowType::NamedWindow(name)) => self.find(name),
            Some(WindowType::WindowSpec(spec)) => self.expand(spec.clone()),
            None => return std::ops::ControlFlow::Continue(()),
        };
        match resolved {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                std::ops::ControlFlow::Continue(())
            }
            Err(error) => std::ops::ControlFlow::Break(error),
        }
    }
}
