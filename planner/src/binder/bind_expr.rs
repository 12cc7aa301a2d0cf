//! Scalar expressions: the choice of the construct. Each construct is bound in its own file.

use datafusion::logical_expr::Expr;
use sqlparser::ast::{AccessExpr, DataType, Expr as SqlExpr, Ident, ObjectName, Spanned, Subscript};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_type::sql_type;
use super::scope::Scope;
use super::typed::Typed;
use crate::parser::fold;

/// Where an expression stands: what it may name and contain.
#[derive(Clone, Copy)]
pub(crate) struct ExprContext<'s> {
    pub scope: &'s Scope<'s>,
    /// As error messages name the place: `WHERE`, `JOIN conditions`.
    pub clause: &'static str,
    pub aggregates: bool,
    pub windows: bool,
}

impl<'s> ExprContext<'s> {
    /// A clause without aggregates and window functions.
    pub(crate) fn plain(scope: &'s Scope<'s>, clause: &'static str) -> ExprContext<'s> {
        ExprContext { scope, clause, aggregates: false, windows: false }
    }

    /// The ORDER BY and FILTER of an aggregate call in this place.
    pub(crate) fn inside_aggregate(self) -> ExprContext<'s> {
        ExprContext { aggregates: false, windows: false, clause: "aggregate", ..self }
    }
}

impl Binder<'_> {
    /// An expression of any type; literals may still be of unknown type.
    pub(crate) fn bind_expr(&self, expr: &SqlExpr, cx: ExprContext<'_>) -> Result<Typed> {
        self.deeper(|| self.bind_expr_kind(expr, cx))
    }

    fn bind_expr_kind(&self, expr: &SqlExpr, cx: ExprContext<'_>) -> Result<Typed> {
        match expr {
            SqlExpr::Identifier(ident) => self.resolve_name(std::slice::from_ref(ident), cx),
            SqlExpr::CompoundIdentifier(parts) => self.resolve_column(parts, cx.scope),
            SqlExpr::Value(value) => self.bind_value(value),
            SqlExpr::Nested(inner) => self.bind_expr(inner, cx),
            SqlExpr::BinaryOp { left, op, right } => self.bind_binary(left, op, right, cx),
            SqlExpr::UnaryOp { op, expr: operand } => self.bind_unary(*op, operand, cx),
            SqlExpr::Function(function) => self.bind_function(function, cx),
            SqlExpr::Cast { expr: operand, data_type, .. } => self.bind_cast(operand, data_type, cx),
            SqlExpr::TypedString(typed) => {
                let position = self.position(expr);
                let ty = sql_type(&typed.data_type).map_err(|e| e.at(position))?;
                let literal = self.bind_value(&typed.value)?;
                self.cast_explicitly(literal, &ty, position)
            }
            SqlExpr::Interval(interval) => self.bind_interval(interval, self.position(expr)),
            SqlExpr::Collate { expr: operand, collation } => self.bind_collate(operand, collation, cx),
            SqlExpr::Array(array) => self.bind_array(&array.elem, self.position(expr), cx),
            SqlExpr::CompoundFieldAccess { root, access_chain } => self.bind_access(root, access_chain, cx),
            _ => self.bind_predicate(expr, cx),
        }
    }

    fn bind_predicate(&self, expr: &SqlExpr, cx: ExprContext<'_>) -> Result<Typed> {
        match expr {
            SqlExpr::IsNull(e) => self.bind_null_test(e, true, cx),
            SqlExpr::IsNotNull(e) => self.bind_null_test(e, false, cx),
            SqlExpr::IsTrue(e) => self.bind_truth_test(e, "IS TRUE", Expr::IsTrue, cx),
            SqlExpr::IsNotTrue(e) => self.bind_truth_test(e, "IS NOT TRUE", Expr::IsNotTrue, cx),
            SqlExpr::IsFalse(e) => self.bind_truth_test(e, "IS FALSE", Expr::IsFalse, cx),
            SqlExpr::IsNotFalse(e) => self.bind_truth_test(e, "IS NOT FALSE", Expr::IsNotFalse, cx),
            SqlExpr::IsUnknown(e) => self.bind_truth_test(e, "IS UNKNOWN", Expr::IsUnknown, cx),
            SqlExpr::IsNotUnknown(e) => self.bind_truth_test(e, "IS NOT UNKNOWN", Expr::IsNotUnknown, cx),
            SqlExpr::IsDistinctFrom(l, r) => self.bind_distinct(l, r, false, cx),
            SqlExpr::IsNotDistinctFrom(l, r) => self.bind_distinct(l, r, true, cx),
            SqlExpr::Between { expr, negated, low, high } => self.bind_between(expr, low, high, *negated, cx),
            SqlExpr::InList { expr, list, negated } => self.bind_in_list(expr, list, *negated, cx),
            SqlExpr::InSubquery { expr, subquery, negated } => {
                self.bind_in_subquery(expr, subquery, *negated, cx)
            }
            SqlExpr::Exists { subquery, negated } => self.bind_exists(subquery, *negated, cx),
            SqlExpr::Subquery(query) => self.bind_scalar_subquery(query, cx),
            SqlExpr::AnyOp { left, compare_op, right, .. } => self.bind_any(left, compare_op, right, cx),
            SqlExpr::AllOp { left, compare_op, right } => self.bind_all(left, compare_op, right, cx),
            SqlExpr::Like { .. } | SqlExpr::ILike { .. } => self.bind_like(expr, cx),
            _ => self.bind_special(expr, cx),
        }
    }

    fn bind_special(&self, expr: &SqlExpr, cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.position(expr);
        match expr {
            SqlExpr::Case { operand, conditions, else_result, .. } => {
                self.bind_case(operand.as_deref(), conditions, else_result.as_deref(), position, cx)
            }
            SqlExpr::AtTimeZone { timestamp, time_zone } => {
                self.bind_call("timezone", &[time_zone.as_ref(), timestamp.as_ref()], position, cx)
            }
            SqlExpr::Extract { field, expr, .. } => self.bind_extract(field, expr, position, cx),
            SqlExpr::Ceil { expr, .. } => self.bind_call("ceil", &[expr.as_ref()], position, cx),
            SqlExpr::Floor { expr, .. } => self.bind_call("floor", &[expr.as_ref()], position, cx),
            SqlExpr::Position { expr, r#in } => {
                self.bind_call("strpos", &[r#in.as_ref(), expr.as_ref()], position, cx)
            }
            SqlExpr::Substring { expr, substring_from, substring_for, .. } => {
                self.bind_substring(expr, substring_from.as_deref(), substring_for.as_deref(), position, cx)
            }
            SqlExpr::Trim { .. } => self.bind_trim(expr, position, cx),
            SqlExpr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = vec![expr.as_ref(), overlay_what.as_ref(), overlay_from.as_ref()];
                args.extend(overlay_for.as_deref());
                self.bind_call("overlay", &args, position, cx)
            }
            SqlExpr::SimilarTo { .. } => Err(Error::unsupported("SIMILAR TO")
                .with_hint("Use LIKE or a regular expression: x ~ '^…$'.")
                .at(position)),
            SqlExpr::Tuple(_) => Err(Error::unsupported("a row constructor here")
                .with_hint("Compare the columns one by one.")
                .at(position)),
            other => Err(Error::unsupported(format!("expression {other}")).at(position)),
        }
    }

    /// A single word: a column, or one of the constants that look like one.
    fn resolve_name(&self, ident: &[sqlparser::ast::Ident], cx: ExprContext<'_>) -> Result<Typed> {
        let resolved = self.resolve_column(ident, cx.scope);
        match (resolved, ident) {
            (Err(error), [word])
                if word.quote_style.is_none() && error.state() == SqlState::UNDEFINED_COLUMN =>
            {
                let position = self.span_position(word.span);
                self.bind_keyword_constant(&fold(word), position, cx)?.ok_or(error)
            }
            (resolved, _) => resolved,
        }
    }

    fn bind_cast(&self, operand: &SqlExpr, ty: &DataType, cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.position(operand);
        let ty = sql_type(ty).map_err(|e| e.at(position))?;
        if let (SqlExpr::Array(array), SqlType::Array(element)) = (strip(operand), &ty) {
            return self.bind_array_of(&array.elem, element, position, cx);
        }
        let operand = self.bind_expr(operand, cx)?;
        self.cast_explicitly(operand, &ty, position)
    }

    fn bind_collate(&self, operand: &SqlExpr, collation: &ObjectName, cx: ExprContext<'_>) -> Result<Typed> {
        let operand = self.bind_expr(operand, cx)?;
        let name = collation.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
        match name.as_str() {
            "default" | "c" | "C" | "posix" | "POSIX" | "ucs_basic" => Ok(operand),
            _ => {
                let position = self.span_position(collation.span());
                let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
                Err(Error::new(SqlState::UNDEFINED_OBJECT, message).at(position))
            }
        }
    }

    fn bind_array(&self, items: &[SqlExpr], position: Option<usize>, cx: ExprContext<'_>) -> Result<Typed> {
        let items = self.bind_exprs(items, cx)?;
        if items.is_empty() {
            let error = Error::new(SqlState::INDETERMINATE_DATATYPE, "cannot determine type of empty array");
            return Err(error
                .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[].")
                .at(position));
        }
        let types: Vec<SqlType> = items.iter().map(|t| t.ty.clone()).collect();
        let element = functions::common_type(&types, "ARRAY").map_err(|e| e.at(position))?;
        self.make_array(items, &element, position)
    }

    fn bind_array_of(
        &self,
        items: &[SqlExpr],
        element: &SqlType,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let items = self.bind_exprs(items, cx)?;
        let cast: Result<Vec<Typed>> =
            items.into_iter().map(|item| self.cast_explicitly(item, element, position)).collect();
        self.make_array(cast?, element, position)
    }

    fn make_array(&self, items: Vec<Typed>, element: &SqlType, position: Option<usize>) -> Result<Typed> {
        let ty = SqlType::Array(Box::new(element.clone()));
        let items: Result<Vec<Expr>> = items.into_iter().map(|item| self.coerce(item, element)).collect();
        Ok(Typed::new(super::system_call::make_array(items?, element)?, ty, position))
    }

    fn bind_access(&self, root: &SqlExpr, chain: &[AccessExpr], cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.position(root);
        let (column, subscripts) = qualified_column(root, chain);
        let mut value = match column {
            Some(parts) => self.resolve_column(&parts, cx.scope)?,
            None => self.bind_expr(root, cx)?,
        };
        for access in subscripts {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(Error::unsupported("an array slice or field access")
                    .with_hint("Subscript with one number: a[1].")
                    .at(position));
            };
            let index = self.bind_expr(index, cx)?;
            value = self.subscript(value, index)?;
        }
        Ok(value)
    }

    fn subscript(&self, array: Typed, index: Typed) -> Result<Typed> {
        let position = array.position;
        let (element, base) = match &array.ty {
            SqlType::Array(element) => (element.as_ref().clone(), 1),
            SqlType::Int2Vector => (SqlType::Int2, 0),
            SqlType::OidVector => (SqlType::Oid, 0),
            other => {
                let message = format!(
                    "cannot subscript type {} because it does not support subscripting",
                    other.name()
                );
                return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(position));
            }
        };
        let index = self.coerce(index, &SqlType::Int4)?;
        let value = match base {
            1 => super::system_call::registered("array_subscript", vec![array.expr, index])?,
            _ => super::system_call::subscript(array.expr, index, base, &element),
        };
        Ok(Typed::new(value, element, position))
    }

    pub(crate) fn bind_exprs(&self, exprs: &[SqlExpr], cx: ExprContext<'_>) -> Result<Vec<Typed>> {
        exprs.iter().map(|expr| self.bind_expr(expr, cx)).collect()
    }
}

/// `t.c[1]` is read by the parser as a subscript of a field of `t`: the column's name, and what follows it.
pub(crate) fn qualified_column<'a>(
    root: &SqlExpr,
    chain: &'a [AccessExpr],
) -> (Option<Vec<Ident>>, &'a [AccessExpr]) {
    let mut parts = match root {
        SqlExpr::Identifier(first) => vec![first.clone()],
        SqlExpr::CompoundIdentifier(parts) => parts.clone(),
        _ => return (None, chain),
    };
    let mut rest = chain;
    while let [AccessExpr::Dot(SqlExpr::Identifier(part)), tail @ ..] = rest {
        parts.push(part.clone());
        rest = tail;
    }
    (Some(parts), rest)
}

/// An expression without its parentheses.
pub(crate) fn strip(expr: &SqlExpr) -> &SqlExpr {
    match expr {
        SqlExpr::Nested(inner) => strip(inner),
        other => other,
    }
}
