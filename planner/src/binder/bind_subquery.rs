//! Subqueries in expressions: EXISTS, IN, ANY/ALL, scalar, ARRAY(…); correlated ones through outer references.

use std::collections::HashMap;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Case, Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit};
use sqlparser::ast::{BinaryOperator, Expr as SqlExpr, Query, Spanned};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::bind_expr::{ExprContext, strip};
use super::bind_operator::{balanced, not_if, operator_name};
use super::correlation::subquery;
use super::scope::{Relation, Scope, ScopeColumn, reference};
use super::single_value::single_value;
use super::system_call;
use super::typed::Typed;
use super::{Binder, plan_error};

impl Binder<'_> {
    pub(crate) fn bind_scalar_subquery(&self, query: &Query, cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.span_position(query.span());
        let ((relation, column), name) = self.bind_single_column(query, cx)?;
        if relation.plan.max_rows().is_some_and(|rows| rows <= 1) {
            return Ok(Typed::new(Expr::ScalarSubquery(subquery(relation.plan)), column.ty, position));
        }
        let aggregate = AggregateFunction::new_udf(
            single_value(),
            vec![Expr::Column(column.column)],
            false,
            None,
            vec![],
            None,
        );
        let name = format!("subquery{name}");
        let call = Expr::AggregateFunction(aggregate).alias(name);
        let plan = LogicalPlanBuilder::from(relation.plan)
            .aggregate(Vec::<Expr>::new(), vec![call])
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Typed::new(Expr::ScalarSubquery(subquery(plan)), column.ty, position))
    }

    pub(crate) fn bind_exists(&self, query: &Query, negated: bool, cx: ExprContext<'_>) -> Result<Typed> {
        let position = self.span_position(query.span());
        let (relation, _) = self.bind_subquery(query, cx)?;
        let exists = Exists::new(subquery(relation.plan), negated);
        Ok(Typed::new(Expr::Exists(exists), SqlType::Bool, position))
    }

    pub(crate) fn bind_in_subquery(
        &self,
        operand: &SqlExpr,
        query: &Query,
        negated: bool,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(operand.span());
        if let SqlExpr::Tuple(columns) = strip(operand) {
            return self.bind_row_in_subquery(columns, query, negated, (position, cx));
        }
        let operand = self.bind_expr(operand, cx)?;
        let start = operand.position;
        let ((relation, column), name) = self.bind_single_column(query, cx)?;
        let item = Typed::new(Expr::Column(column.column), column.ty, None);
        let (left, right) = self.comparable(operand, item, position)?;
        let is_expression = matches!(relation.plan.head_output_expr(), Ok(Some(_)));
        let plan = match right {
            Expr::Column(_) if is_expression => relation.plan,
            right => {
                // DataFusion asks for the expression, which VALUES has not.
                let name = format!("item{name}");
                LogicalPlanBuilder::from(relation.plan)
                    .project(vec![right.alias(name)])
                    .and_then(LogicalPlanBuilder::build)
                    .map_err(plan_error)?
            }
        };
        let test = InSubquery::new(Box::new(left), subquery(plan), negated);
        Ok(Typed::new(Expr::InSubquery(test), SqlType::Bool, start))
    }

    /// `x op ANY (array or subquery)`.
    pub(crate) fn bind_any(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        match (strip(right), op) {
            (SqlExpr::Subquery(query), BinaryOperator::Eq) => self.bind_in_subquery(left, query, false, cx),
            (SqlExpr::Subquery(query), _) => self.bind_any_row(left, op, query, true, cx),
            _ => self.bind_quantified(left, op, right, Operator::Or, cx),
        }
    }

    /// `x op ALL (array or subquery)`.
    pub(crate) fn bind_all(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        match (strip(right), op) {
            (SqlExpr::Subquery(query), BinaryOperator::NotEq) => self.bind_in_subquery(left, query, true, cx),
            (SqlExpr::Subquery(query), _) => self.bind_any_row(left, op, query, false, cx),
            _ => self.bind_quantified(left, op, right, Operator::And, cx),
        }
    }

    /// `(a, b) [NOT] IN S`, of a subquery with as many columns.
    fn bind_row_in_subquery(
        &self,
        columns: &[SqlExpr],
        query: &Query,
        negated: bool,
        (position, cx): (Option<usize>, ExprContext<'_>),
    ) -> Result<Typed> {
        let (relation, _) = self.bind_subquery(query, cx)?;
        let amount = match relation.columns.len().cmp(&columns.len()) {
            std::cmp::Ordering::Less => "too few",
            std::cmp::Ordering::Greater => "too many",
            std::cmp::Ordering::Equal => "",
        };
        if !amount.is_empty() {
            let message = format!("subquery has {amount} columns");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        self.repeat(&relation.plan, 1)?;
        let mut tests = Vec::with_capacity(columns.len());
        for (written, column) in columns.iter().zip(&relation.columns) {
            let mut value = self.bind_expr(written, cx)?;
            value.expr = self.from_outside(value.expr, cx).map_err(|e| e.at(value.position))?;
            let item = Typed::new(Expr::Column(column.column.clone()), column.ty.clone(), None);
            tests.push(self.operator("=", value, item, position)?.expr);
        }
        let found = any_row(&relation.plan, balanced(tests, Operator::And), true)?;
        Ok(Typed::new(not_if(negated, found), SqlType::Bool, position))
    }

    /// `x op ANY S` with `decisive`, `x op ALL S` without.
    fn bind_any_row(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        query: &Query,
        decisive: bool,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(left.span());
        let symbol = operator_name(op).map_err(|e| e.at(position))?;
        let mut value = self.bind_expr(left, cx)?;
        let start = value.position;
        value.expr = self.from_outside(value.expr, cx).map_err(|e| e.at(start))?;
        let ((relation, column), _) = self.bind_single_column(query, cx)?;
        self.repeat(&relation.plan, 1)?;
        let item = Typed::new(Expr::Column(column.column), column.ty, None);
        let test = self.operator(&symbol, value, item, position)?.expr;
        Ok(Typed::new(any_row(&relation.plan, test, decisive)?, SqlType::Bool, start))
    }

    /// An expression of this level as a subquery of it names it.
    fn from_outside(&self, expr: Expr, cx: ExprContext<'_>) -> Result<Expr> {
        let calls = |e: &Expr| matches!(e, Expr::AggregateFunction(_) | Expr::WindowFunction(_));
        if expr.exists(|e| Ok(calls(e))).map_err(plan_error)? {
            return Err(Error::unsupported(
                "ANY or ALL of a subquery beside an aggregate or window function",
            )
            .with_hint("Compute the aggregate in a subquery of FROM first."));
        }
        let renamed = expr.transform_down(|e| match &e {
            Expr::Column(c) => match cx.scope.columns.iter().find(|found| found.column == *c) {
                Some(found) => Ok(Transformed::yes(reference(found, true, None).expr)),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        });
        Ok(renamed.map_err(plan_error)?.data)
    }

    fn bind_quantified(
        &self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        connective: Operator,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(left.span());
        let symbol = operator_name(op).map_err(|e| e.at(position))?;
        let value = self.bind_expr(left, cx)?;
        let start = value.position;
        if let SqlExpr::Array(array) = strip(right) {
            let items = self.bind_exprs(&array.elem, cx)?;
            let tests: Result<Vec<Expr>> = items
                .into_iter()
                .map(|item| Ok(self.operator(&symbol, value.clone(), item, position)?.expr))
                .collect();
            return Ok(Typed::new(balanced(tests?, connective), SqlType::Bool, start));
        }
        if !matches!(symbol.as_str(), "=" | "<>") || (symbol == "=") != (connective == Operator::Or) {
            return Err(Error::unsupported(format!("{symbol} with ANY or ALL of an array"))
                .with_hint("Use = ANY (array) or <> ALL (array).")
                .at(position));
        }
        let array = self.bind_expr(right, cx)?;
        let test = self.array_contains(value, array, position)?;
        Ok(Typed::new(not_if(connective == Operator::And, test), SqlType::Bool, start))
    }

    /// `value = ANY (array)`, with SQL's NULLs.
    fn array_contains(&self, value: Typed, array: Typed, position: Option<usize>) -> Result<Expr> {
        let element = match &array.ty {
            SqlType::Array(element) => element.as_ref().clone(),
            SqlType::Int2Vector => SqlType::Int2,
            SqlType::OidVector => SqlType::Oid,
            SqlType::Unknown => match &value.ty {
                SqlType::Unknown => SqlType::Text,
                ty => ty.clone(),
            },
            _ => {
                let message = "op ANY/ALL (array) requires array on right side";
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(position));
            }
        };
        let resolved =
            functions::resolve_operator("=", Some(&value.ty), &element).map_err(|e| e.at(position))?;
        let common = resolved.arg_types.first().cloned().unwrap_or_else(|| element.clone());
        let stored = match array.ty {
            SqlType::Unknown => self.coerce(array, &SqlType::Array(Box::new(common.clone())))?,
            _ if common.arrow() == element.arrow() => array.expr,
            _ => self.cast_explicitly(array, &SqlType::Array(Box::new(common.clone())), position)?.expr,
        };
        let value = self.coerce(value, &common)?;
        system_call::registered(functions::ARRAY_CONTAINS, vec![value, stored])
    }

    /// `ARRAY(SELECT …)`: an aggregate of the rows in their order; no row gives an empty array.
    pub(crate) fn bind_array_subquery(
        &self,
        query: &Query,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let ((relation, column), name) = self.bind_single_column(query, cx)?;
        let ty = SqlType::Array(Box::new(column.ty.clone()));
        let resolved = functions::resolve_aggregate("array_agg", std::slice::from_ref(&column.ty))?
            .ok_or_else(|| Error::internal("array_agg is missing"))?;
        let input = super::bind_order::with_sort_keys(relation.plan);
        let order_by = super::bind_order::sort_below(&input);
        let call = AggregateFunction::new_udf(
            resolved.udaf,
            vec![Expr::Column(column.column)],
            false,
            None,
            order_by,
            None,
        );
        let name = format!("array{name}");
        let plan = LogicalPlanBuilder::from(input)
            .aggregate(Vec::<Expr>::new(), vec![Expr::AggregateFunction(call).alias(name)])
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        let array = Expr::ScalarSubquery(subquery(plan));
        let empty = system_call::make_array(Vec::new(), &column.ty)?;
        let is_null = Expr::IsNull(Box::new(array.clone()));
        Ok(Typed::new(super::bind_operator::if_then_else(is_null, empty, array), ty, position))
    }

    /// A subquery, and how to end the names of what is made of it. The same text in the same place is bound once: only
    /// then are expressions that hold it equal, as GROUP BY asks of them, and computed once.
    fn bind_subquery(&self, query: &Query, cx: ExprContext<'_>) -> Result<(Relation, String)> {
        let key = SubqueryKey::of(query, cx.scope);
        if let Some(known) = key.as_ref().and_then(|key| self.subqueries.borrow().get(key).cloned()) {
            return Ok(known);
        }
        let relation = self.bind_query(query, &cx.scope.inner())?.relation;
        let bound = (relation, self.unique(""));
        if let Some(key) = key.filter(|_| !is_volatile(&bound.0.plan)) {
            self.subqueries.borrow_mut().insert(key, bound.clone());
        }
        Ok(bound)
    }

    /// A subquery with its only column.
    fn bind_single_column(
        &self,
        query: &Query,
        cx: ExprContext<'_>,
    ) -> Result<((Relation, ScopeColumn), String)> {
        let (mut relation, name) = self.bind_subquery(query, cx)?;
        match (relation.columns.pop(), relation.columns.is_empty()) {
            (Some(column), true) => {
                let ty = if column.ty == SqlType::Unknown { SqlType::Text } else { column.ty.clone() };
                Ok(((relation, ScopeColumn { ty, ..column }), name))
            }
            _ => Err(Error::new(SqlState::SYNTAX_ERROR, "subquery must return only one column")
                .at(self.span_position(query.span()))),
        }
    }
}

/// Bound subqueries by what they are.
pub(crate) type KnownSubqueries = HashMap<SubqueryKey, (Relation, String)>;

/// A subquery as it is written, and all that its names can mean.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct SubqueryKey {
    query: Query,
    /// The columns and the WITH queries of every level around it.
    levels: Vec<(Vec<Column>, Vec<usize>)>,
}

impl SubqueryKey {
    /// None where there is no FROM clause to know the place by.
    fn of(query: &Query, scope: &Scope<'_>) -> Option<SubqueryKey> {
        if scope.columns.is_empty() {
            return None;
        }
        let mut levels = Vec::new();
        let mut level = Some(scope);
        while let Some(scope) = level {
            let columns = scope.columns.iter().map(|c| c.column.clone()).collect();
            levels.push((columns, scope.ctes.iter().map(|cte| cte.id).collect()));
            level = scope.parent;
        }
        Some(SubqueryKey { query: query.clone(), levels })
    }
}

/// Whether a plan gives something else each time.
fn is_volatile(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The closure cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// Whether a test holds of a row of S, if `decisive`, or of all: a row for which it is `decisive` decides, else one for
/// which it is NULL.
///
/// ```text
///   CASE WHEN EXISTS (S, test = decisive) THEN decisive
///        WHEN EXISTS (S, test IS NULL) THEN NULL ELSE NOT decisive END
/// ```
fn any_row(rows: &LogicalPlan, test: Expr, decisive: bool) -> Result<Expr> {
    let exists = |condition: Expr| -> Result<Box<Expr>> {
        let plan = LogicalPlanBuilder::from(rows.clone())
            .filter(condition)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Box::new(Expr::Exists(Exists::new(subquery(plan), false))))
    };
    let null = Expr::Literal(ScalarValue::Boolean(None), None);
    let branches = vec![
        (exists(not_if(!decisive, test.clone()))?, Box::new(lit(decisive))),
        (exists(Expr::IsNull(Box::new(test)))?, Box::new(null)),
    ];
    Ok(Expr::Case(Case::new(None, branches, Some(Box::new(lit(!decisive))))))
}
