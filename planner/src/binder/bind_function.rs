//! Function calls: which family a call belongs to, and aggregates and scalar functions.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::grouping::grouping_udaf;
use datafusion::logical_expr::expr::{self, Sort};
use datafusion::logical_expr::{Cast, Expr, lit};
use sqlparser::ast::{
    DuplicateTreatment, Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, ObjectName, OrderByExpr, Spanned,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_expr::ExprContext;
use super::interval::compared;
use super::typed::Typed;
use crate::parser::{fold, keyword_call};

/// A call taken apart.
pub(crate) struct Call<'f> {
    pub name: String,
    pub args: Vec<&'f SqlExpr>,
    /// `f(*)`.
    pub star: bool,
    pub distinct: bool,
    pub order_by: &'f [OrderByExpr],
    pub filter: Option<&'f SqlExpr>,
    pub position: Option<usize>,
}

impl Binder<'_> {
    pub(crate) fn bind_function(&self, function: &Function, cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.span_position(function.name.span());
        if let Some(keyword) = keyword_call(function) {
            let message = format!("syntax error at or near \"{keyword}\"");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        let name = function_name(&function.name).map_err(|e| e.at(position))?;
        if let FunctionArguments::Subquery(query) = &function.args {
            return match name.as_str() {
                "array" => self.bind_array_subquery(query, position, cx),
                _ => {
                    Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"SELECT\"").at(position))
                }
            };
        }
        let call = Call { position, ..take_apart(name, function).map_err(|e| e.at(position))? };
        if !function.within_group.is_empty() {
            return match function.over {
                Some(_) => Err(super::bind_ordered::no_window(&call)),
                None => self.bind_within_group(&call, &function.within_group, cx),
            };
        }
        if let Some(over) = &function.over {
            return self.bind_window_call(&call, over, cx);
        }
        self.bind_plain_call(&call, cx)
    }

    /// A call by name of expressions that stand in the same place.
    pub(crate) fn bind_call(
        &self,
        name: &str,
        args: &[&SqlExpr],
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let call = Call {
            name: name.to_owned(),
            args: args.to_vec(),
            star: false,
            distinct: false,
            order_by: &[],
            filter: None,
            position,
        };
        self.bind_plain_call(&call, cx)
    }

    fn bind_plain_call(&self, call: &Call<'_>, cx: ExprContext<'_>) -> Result<Typed> {
        let position = call.position;
        if let Some(typed) = self.bind_conditional(&call.name, &call.args, position, cx)? {
            return Ok(typed);
        }
        if let Some(typed) = self.bind_window_part(&call.name, &call.args, position, cx)? {
            return Ok(typed);
        }
        if call.args.is_empty()
            && let Some(typed) = self.bind_now(&call.name, position)?
        {
            return Ok(typed);
        }
        let args: Result<Vec<Typed>> = call.args.iter().map(|e| self.bind_expr(e, cx)).collect();
        let args = args?;
        if call.name == "grouping" && !args.is_empty() {
            return self.bind_grouping(call, args, cx);
        }
        if let Some(ordered) = self.bind_ordered_call(call, &args, cx)? {
            return Ok(ordered);
        }
        if let Some(aggregate) = self.bind_aggregate_call(call, &args, cx)? {
            return Ok(aggregate);
        }
        if call.star || call.distinct || call.filter.is_some() || !call.order_by.is_empty() {
            let what = if call.star { "(*)" } else { "DISTINCT, ORDER BY or FILTER" };
            let message = format!("{what} specified, but {} is not an aggregate function", call.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(position));
        }
        if let Some(series) = self.bind_set_function(&call.name, &args, position, cx)? {
            return Ok(series);
        }
        self.bind_scalar_call(&call.name, args, position)
    }

    /// A call of a scalar function.
    pub(crate) fn bind_scalar_call(
        &self,
        name: &str,
        args: Vec<Typed>,
        position: Option<usize>,
    ) -> Result<Typed> {
        if let Some(typed) = self.sequence_function(name, &args, position)? {
            return Ok(typed);
        }
        if let Some(typed) = self.system_function(name, &args, position)? {
            return Ok(typed);
        }
        if let ("pg_typeof", [only]) = (name, args.as_slice()) {
            let ty = Expr::Literal(ScalarValue::Utf8(Some(only.ty.name())), None);
            return self.cast_explicitly(
                Typed::new(ty, SqlType::Unknown, position),
                &SqlType::Regtype,
                position,
            );
        }
        if let [only] = args.as_slice()
            && let Some(ty) = cast_by_name(name)
        {
            return self.cast_explicitly(only.clone(), &ty, position);
        }
        let types: Vec<SqlType> = args.iter().map(|a| a.ty.clone()).collect();
        let constants: Vec<Option<i64>> = args.iter().map(Typed::integer).collect();
        let resolved = functions::resolve_call(name, &types, &constants).map_err(|e| e.at(position))?;
        if resolved.volatile && self.continuous.get() {
            return Err(Error::unsupported(format!("{name}() in a materialized view"))
                .with_hint("Call it in the query that reads the view.")
                .at(position));
        }
        let mut typed = self.apply(resolved, args)?;
        typed.position = position;
        Ok(typed)
    }

    /// An aggregate call as an expression; the select list's grouping takes it out again. `None` when `call` is
    /// no aggregate.
    fn bind_aggregate_call(
        &self,
        call: &Call<'_>,
        args: &[Typed],
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        let types: Vec<SqlType> = args.iter().map(|a| a.ty.clone()).collect();
        let resolved = functions::resolve_aggregate(&call.name, &types).map_err(|e| e.at(call.position))?;
        let Some(resolved) = resolved else { return Ok(None) };
        self.check_aggregate(call, args, cx)?;
        if call.star && call.name != "count" {
            let message = format!("{}(*) is not allowed; only count(*) is", call.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.position));
        }
        let coerced: Result<Vec<Expr>> =
            args.iter().zip(&resolved.arg_types).map(|(arg, ty)| self.coerce(arg.clone(), ty)).collect();
        let mut coerced = coerced?;
        if coerced.is_empty() {
            coerced.push(lit(1i64));
        }
        if call.distinct && call.name == "count" {
            let args = coerced.into_iter().zip(&resolved.arg_types);
            coerced = args.map(|(arg, ty)| compared(arg, ty)).collect::<Result<_>>()?;
        }
        // These do not depend on the order of their rows: it is bound for its errors only.
        self.bind_sort_keys(call.order_by, cx.inside_aggregate())?;
        self.aggregate(call, resolved, coerced, cx).map(Some)
    }

    /// `GROUPING(…)`, as a call until the grouping puts its value there.
    fn bind_grouping(&self, call: &Call<'_>, args: Vec<Typed>, cx: ExprContext<'_>) -> Result<Typed> {
        const ARGUMENTS_MAX: usize = 31;
        self.check_aggregate(call, &args, cx)?;
        if args.len() > ARGUMENTS_MAX {
            let message = "GROUPING must have fewer than 32 arguments";
            return Err(Error::new(SqlState::TOO_MANY_ARGUMENTS, message).at(call.position));
        }
        let args = args.into_iter().map(|arg| self.decide_text(arg).map(|arg| arg.expr));
        let args = args.collect::<Result<Vec<Expr>>>()?;
        let grouping = expr::AggregateFunction::new_udf(grouping_udaf(), args, false, None, Vec::new(), None);
        Ok(Typed::new(Expr::AggregateFunction(grouping), SqlType::Int4, call.position))
    }

    /// Refuses an aggregate call where none may be.
    pub(crate) fn check_aggregate(&self, call: &Call<'_>, args: &[Typed], cx: ExprContext<'_>) -> Result<()> {
        let message = match cx.clause {
            _ if cx.aggregates && !args.iter().any(|arg| contains_aggregate(&arg.expr)) => return Ok(()),
            _ if cx.aggregates => "aggregate function calls cannot be nested".to_owned(),
            "aggregate" => "aggregate function calls cannot be nested".to_owned(),
            clause => format!("aggregate functions are not allowed in {clause}"),
        };
        Err(Error::new(SqlState::GROUPING_ERROR, message).at(call.position))
    }

    /// A resolved aggregate over its arguments, with the DISTINCT and FILTER of the call.
    pub(crate) fn aggregate(
        &self,
        call: &Call<'_>,
        resolved: functions::ResolvedAggregate,
        args: Vec<Expr>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let types: Vec<DataType> = resolved.arg_types.iter().map(SqlType::arrow).collect();
        let returned = resolved.udaf.return_type(&types);
        let filter = call.filter.map(|f| self.condition(self.bind_expr(f, cx.inside_aggregate())?, "FILTER"));
        let filter = filter.transpose()?.map(Box::new);
        let aggregate =
            expr::AggregateFunction::new_udf(resolved.udaf, args, call.distinct, filter, Vec::new(), None);
        let expr = represented(Expr::AggregateFunction(aggregate), returned.ok(), &resolved.result);
        Ok(Typed::new(expr, resolved.result, call.position))
    }

    /// ORDER BY inside a call or a window: expressions only, no ordinals.
    pub(crate) fn bind_sort_keys(&self, keys: &[OrderByExpr], cx: ExprContext<'_>) -> Result<Vec<Sort>> {
        keys.iter()
            .map(|key| {
                let typed = self.decide_text(self.bind_expr(&key.expr, cx)?)?;
                super::bind_order::sort(typed.expr, &typed.ty, &key.options)
            })
            .collect()
    }
}

/// A call in the Arrow type of its SQL type: some of DataFusion's aggregates return a wider one.
pub(crate) fn represented(call: Expr, returned: Option<DataType>, ty: &SqlType) -> Expr {
    match returned {
        Some(returned) if returned != ty.arrow() => Expr::Cast(Cast::new(Box::new(call), ty.arrow())),
        _ => call,
    }
}

/// Whether an aggregate call is in the expression.
pub(crate) fn contains_aggregate(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false)
}

/// The name of a function without its schema, which can only be pg_catalog's.
pub(crate) fn function_name(name: &ObjectName) -> Result<String> {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
    match parts.as_slice() {
        [name] => Ok(name.clone()),
        [schema, name] if schema == "pg_catalog" || schema == "information_schema" => Ok(name.clone()),
        [database, schema, name] if database == "weir" && schema == "pg_catalog" => Ok(name.clone()),
        [schema, _] => Err(Error::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("function {} does not exist", parts.join(".")),
        )
        .with_hint(format!("Schema \"{schema}\" has no functions."))),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("improper qualified name: {name}"))),
    }
}

fn take_apart(name: String, function: &Function) -> Result<Call<'_>> {
    let mut call = Call {
        name,
        args: Vec::new(),
        star: false,
        distinct: false,
        order_by: &[],
        filter: function.filter.as_deref(),
        position: None,
    };
    let FunctionArguments::List(list) = &function.args else { return Ok(call) };
    call.distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(keys) => call.order_by = keys,
            other => return Err(Error::unsupported(format!("{other} in a function call"))),
        }
    }
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => call.args.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => call.star = true,
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                return Err(Error::unsupported("a named argument").with_hint("Give the arguments in order."));
            }
            FunctionArg::Unnamed(_) => return Err(Error::unsupported("a row as argument")),
        }
    }
    Ok(call)
}

/// `text(x)`, `int4(x)`: a type's name called as a function is a cast.
fn cast_by_name(name: &str) -> Option<SqlType> {
    Some(match name {
        "int2" => SqlType::Int2,
        "int4" => SqlType::Int4,
        "int8" => SqlType::Int8,
        "float4" => SqlType::Float4,
        "float8" => SqlType::Float8,
        "text" => SqlType::Text,
        "varchar" => SqlType::Varchar(None),
        "bool" => SqlType::Bool,
        "timestamptz" => SqlType::Timestamptz,
        "regclass" => SqlType::Regclass,
        "regtype" => SqlType::Regtype,
        "oid" => SqlType::Oid,
        _ => return None,
    })
}
