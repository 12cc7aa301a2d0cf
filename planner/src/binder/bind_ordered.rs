//! Aggregates whose rows have an order: `array_agg(x ORDER BY y)` and `mode() WITHIN GROUP (ORDER BY x)`.
//!
//! The order becomes part of the function that is called; expressions that are ordered by and are no arguments follow
//! the arguments. So the plan's own ORDER BY of aggregates stays empty: no rule and no engine has to sort for it.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Sort;
use sqlparser::ast::OrderByExpr;
use weir_common::key::KeyOrder;
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;
use weir_exec::spec::{AggregateFunction, Fraction, ValueOrder};

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_function::Call;
use super::bind_order::sorted_value;
use super::typed::Typed;

impl Binder<'_> {
    /// `string_agg`, `array_agg` or `jsonb_agg`; `None` for a function without an order. 42809 for one that is written
    /// with WITHIN GROUP.
    pub(crate) fn bind_ordered_call(
        &self,
        call: &Call<'_>,
        args: &[Typed],
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        let function = match call.name.as_str() {
            "string_agg" => AggregateFunction::StringAgg,
            "array_agg" => AggregateFunction::ArrayAgg,
            "jsonb_agg" => AggregateFunction::JsonbAgg,
            name if functions::ordered_set(name, None).is_some() => {
                return Err(self.without_group(call, args));
            }
            _ => return Ok(None),
        };
        self.check_aggregate(call, args, cx)?;
        let keys = self.bind_sort_keys(call.order_by, cx.inside_aggregate())?;
        match (function, args) {
            (AggregateFunction::JsonbAgg, [value]) => self.bind_jsonb_agg(call, value.clone(), keys, cx),
            _ => self.ordered(function, call, args.to_vec(), None, keys, cx),
        }
        .map(Some)
    }

    /// Without ORDER BY the values are ordered as they are, not as their JSON text.
    fn bind_jsonb_agg(
        &self,
        call: &Call<'_>,
        value: Typed,
        mut keys: Vec<Sort>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let value = self.decide_text(value)?;
        let is_json = matches!(value.ty, SqlType::Json | SqlType::Jsonb);
        if keys.is_empty() && !call.distinct && !is_json {
            keys.push(Sort::new(value.expr.clone(), true, false));
        }
        let json = self.bind_scalar_call("to_jsonb", vec![value.clone()], call.position)?;
        self.ordered(AggregateFunction::JsonbAgg, call, vec![json], Some(&value.expr), keys, cx)
    }

    /// `mode()`, `percentile_cont(f)` or `percentile_disc(f)` `WITHIN GROUP (ORDER BY key)`.
    pub(crate) fn bind_within_group(
        &self,
        call: &Call<'_>,
        keys: &[OrderByExpr],
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        if functions::ordered_set(&call.name, None).is_none() {
            return Err(self.not_ordered_set(call, keys, cx));
        }
        if call.distinct || !call.order_by.is_empty() {
            let message = "cannot use DISTINCT or a second ORDER BY with WITHIN GROUP";
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.position));
        }
        let sorts = self.bind_sort_keys(keys, cx.inside_aggregate())?;
        let ([written], [sort]) = (keys, sorts.as_slice()) else {
            return Err(Error::unsupported(format!("{} WITHIN GROUP over several columns", call.name))
                .with_hint("Order by one expression.")
                .at(call.position));
        };
        let function = self.ordered_set(call, cx)?;
        let value = self.decide_text(self.bind_expr(&written.expr, cx.inside_aggregate())?)?;
        self.check_aggregate(call, std::slice::from_ref(&value), cx)?;
        let key = accumulated(sort.expr.clone());
        // Of a value that is not ordered by itself (jsonb) the key follows.
        let by = usize::from(sorted_value(&key) != &key);
        let order = vec![ValueOrder { arg: by, order: KeyOrder::of(!sort.asc, sort.nulls_first) }];
        let resolved = functions::resolve_ordered(function, std::slice::from_ref(&value.ty), order);
        let resolved = resolved.map_err(|e| e.at(call.position))?;
        let arg = self.coerce(value, &resolved.arg_types[0])?;
        let args = if by == 0 { vec![arg] } else { vec![arg, key] };
        self.aggregate(call, resolved, args, cx)
    }

    /// The function that an ordered-set aggregate's direct arguments make it.
    fn ordered_set(&self, call: &Call<'_>, cx: ExprContext<'_>) -> Result<AggregateFunction> {
        let direct: Vec<Typed> = call.args.iter().map(|e| self.bind_expr(e, cx)).collect::<Result<_>>()?;
        let fraction = match (call.name.as_str(), direct.as_slice()) {
            ("mode", []) => None,
            ("percentile_cont" | "percentile_disc", [direct]) => fraction(direct)?,
            _ => return Err(self.no_such_call(call, &direct)),
        };
        functions::ordered_set(&call.name, fraction)
            .ok_or_else(|| Error::internal("an ordered-set aggregate has a function"))
    }

    /// `written` is what the call has for its first argument, if that is computed from it: distinct values of the one are
    /// those of the other.
    fn ordered(
        &self,
        function: AggregateFunction,
        call: &Call<'_>,
        args: Vec<Typed>,
        written: Option<&Expr>,
        keys: Vec<Sort>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let types: Vec<SqlType> = args.iter().map(|arg| arg.ty.clone()).collect();
        let at = |e: Error| e.at(call.position);
        let plain = functions::resolve_ordered(function, &types, Vec::new()).map_err(at)?;
        let coerced = args.into_iter().zip(&plain.arg_types).map(|(arg, ty)| self.coerce(arg, ty));
        let mut coerced = coerced.collect::<Result<Vec<Expr>>>()?;
        let mut order = Vec::with_capacity(keys.len());
        for key in keys {
            let expr = accumulated(key.expr);
            let arg = coerced.iter().position(|arg| *arg == expr).unwrap_or(coerced.len());
            if arg == coerced.len() {
                let value = sorted_value(&expr);
                if call.distinct && !coerced.contains(value) && written != Some(value) {
                    let message =
                        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
                    return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(call.position));
                }
                coerced.push(expr);
            }
            order.push(ValueOrder { arg, order: KeyOrder::of(!key.asc, key.nulls_first) });
        }
        let resolved = functions::resolve_ordered(function, &types, order).map_err(at)?;
        self.aggregate(call, resolved, coerced, cx)
    }

    fn without_group(&self, call: &Call<'_>, args: &[Typed]) -> Error {
        let all = if call.name == "mode" { 1 } else { 2 };
        if args.len() != all {
            return self.no_such_call(call, args);
        }
        let message = format!("WITHIN GROUP is required for ordered-set aggregate {}", call.name);
        Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.position)
    }

    fn not_ordered_set(&self, call: &Call<'_>, keys: &[OrderByExpr], cx: ExprContext<'_>) -> Error {
        let name = &call.name;
        if matches!(name.as_str(), "rank" | "dense_rank" | "percent_rank" | "cume_dist") {
            return Error::unsupported(format!("the hypothetical-set aggregate {name}"))
                .with_hint("Count the rows that come before the value.")
                .at(call.position);
        }
        // PostgreSQL looks for a function of all arguments, those to order by last.
        let all = call.args.iter().copied().chain(keys.iter().map(|key| &key.expr));
        match all.map(|arg| self.bind_expr(arg, cx)).collect::<Result<Vec<Typed>>>() {
            Ok(args) if args.len() == 1 => {
                let message =
                    format!("{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP");
                Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.position)
            }
            Ok(args) => self.no_such_call(call, &args),
            Err(error) => error,
        }
    }

    /// 42883 for a call with arguments of these types.
    fn no_such_call(&self, call: &Call<'_>, direct: &[Typed]) -> Error {
        let types: Vec<String> = direct.iter().map(|arg| arg.ty.name()).collect();
        let message = format!("function {}({}) does not exist", call.name, types.join(", "));
        Error::new(SqlState::UNDEFINED_FUNCTION, message).at(call.position)
    }
}

/// What an accumulator orders by for a sort key: it compares intervals by their length itself.
fn accumulated(key: Expr) -> Expr {
    match key {
        Expr::ScalarFunction(call) if call.func.name() == functions::CANONICAL => {
            sorted_value(&Expr::ScalarFunction(call)).clone()
        }
        key => key,
    }
}

/// 0A000 for an ordered-set aggregate as a window function.
pub(super) fn no_window(call: &Call<'_>) -> Error {
    Error::unsupported(format!("OVER with ordered-set aggregate {}", call.name))
        .with_hint("Aggregate in a subquery and join it.")
        .at(call.position)
}

/// The constant that a percentile is taken at; `None` for NULL.
fn fraction(arg: &Typed) -> Result<Option<Fraction>> {
    if matches!(arg.ty, SqlType::Array(_)) {
        return Err(Error::unsupported("percentiles at several fractions in one call")
            .with_hint("Call the aggregate once for each fraction.")
            .at(arg.position));
    }
    let Some(value) = constant(&arg.expr) else {
        return Err(Error::unsupported("a fraction of a percentile that is not a constant")
            .with_hint("Write the fraction as a number.")
            .at(arg.position));
    };
    let Some(value) = value else { return Ok(None) };
    Fraction::new(value).map(Some).ok_or_else(|| {
        let message = format!("percentile value {value} is not between 0 and 1");
        Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message).at(arg.position)
    })
}

/// The number that a literal is, under casts.
fn constant(expr: &Expr) -> Option<Option<f64>> {
    match expr {
        Expr::Cast(cast) => constant(&cast.expr),
        Expr::Negative(inner) => constant(inner).map(|value| value.map(|value| -value)),
        Expr::Literal(value, _) if value.is_null() => Some(None),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text.trim().parse().ok().map(Some),
        Expr::Literal(value, _) => {
            let text = value.to_string();
            text.parse().ok().map(Some)
        }
        _ => None,
    }
}
