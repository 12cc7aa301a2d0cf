//! ORDER BY, DISTINCT ON, LIMIT and OFFSET.

use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{
    Expr as SqlExpr, Fetch, LimitClause, Offset, OrderByExpr, OrderByKind, OrderByOptions, Query,
};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions;

use super::bind_expr::{ExprContext, strip};
use super::bind_select::{Item, Projected, ordinal};
use super::interval::compared;
use super::scope::{Relation, Scope, ScopeColumn};
use super::system_call::registered;
use super::typed::Typed;
use super::{Binder, plan_error};
use crate::parser::fold;

/// What a sort key means.
pub(crate) enum KeyTarget {
    /// A column of the select list, by position.
    Item(usize),
    /// An expression over FROM.
    Expression(Typed),
}

/// A key of ORDER BY or DISTINCT ON.
pub(crate) struct SortKey {
    pub target: KeyTarget,
    pub options: OrderByOptions,
}

impl SortKey {
    pub(crate) fn expression(&self) -> Option<&Typed> {
        match &self.target {
            KeyTarget::Item(_) => None,
            KeyTarget::Expression(typed) => Some(typed),
        }
    }

    pub(crate) fn expression_mut(&mut self) -> Option<&mut Expr> {
        match &mut self.target {
            KeyTarget::Item(_) => None,
            KeyTarget::Expression(typed) => Some(&mut typed.expr),
        }
    }
}

/// A sort expression with PostgreSQL's defaults: ascending, NULLs as if greater than everything. The bytes of jsonb are
/// not in its order, nor are the fields of intervals.
pub(crate) fn sort(expr: Expr, ty: &SqlType, options: &OrderByOptions) -> Result<Sort> {
    let asc = options.asc.unwrap_or(true);
    let expr = match ty {
        SqlType::Jsonb => registered(functions::JSONB_SORT_KEY, vec![expr])?,
        ty => compared(expr, ty)?,
    };
    Ok(Sort::new(expr, asc, options.nulls_first.unwrap_or(!asc)))
}

/// What a sort expression orders by, as it was written.
pub(crate) fn sorted_value(key: &Expr) -> &Expr {
    match key {
        Expr::ScalarFunction(call)
            if [functions::JSONB_SORT_KEY, functions::CANONICAL].contains(&call.func.name()) =>
        {
            &call.args[0]
        }
        key => key,
    }
}

/// The order that a plan's rows have.
pub(crate) fn sort_below(plan: &LogicalPlan) -> Vec<Sort> {
    match plan {
        LogicalPlan::Sort(sort) => sort.expr.clone(),
        LogicalPlan::Limit(limit) => sort_below(&limit.input),
        _ => Vec::new(),
    }
}

/// A plan without the projection that drops its sort keys, if that is all there is above the sort.
pub(crate) fn with_sort_keys(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Projection(p)
            if matches!(p.input.as_ref(), LogicalPlan::Sort(_))
                && p.expr.iter().all(|e| matches!(e, Expr::Column(_))) =>
        {
            std::sync::Arc::unwrap_or_clone(p.input)
        }
        other => other,
    }
}

/// The expressions of a query's ORDER BY.
pub(crate) fn order_by_of(query: &Query) -> Result<&[OrderByExpr]> {
    match query.order_by.as_ref().map(|o| &o.kind) {
        None => Ok(&[]),
        Some(OrderByKind::Expressions(exprs)) => Ok(exprs),
        Some(OrderByKind::All(_)) => Err(Error::unsupported("ORDER BY ALL").with_hint("Name the columns.")),
    }
}

impl Binder<'_> {
    pub(crate) fn bind_order_by(
        &self,
        keys: &[OrderByExpr],
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                Ok(SortKey {
                    target: self.bind_key(&key.expr, "ORDER BY", items, scope)?,
                    options: key.options,
                })
            })
            .collect()
    }

    /// DISTINCT ON's keys.
    pub(crate) fn bind_keys(
        &self,
        keys: &[SqlExpr],
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Vec<SortKey>> {
        let options = OrderByOptions { asc: None, nulls_first: None };
        keys.iter()
            .map(|key| {
                Ok(SortKey { target: self.bind_key(key, "SELECT DISTINCT ON", items, scope)?, options })
            })
            .collect()
    }

    fn bind_key(
        &self,
        expr: &SqlExpr,
        clause: &'static str,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<KeyTarget> {
        let position = self.position(expr);
        if let Some(n) = ordinal(expr) {
            self.ordinal_item(n, items, clause).map_err(|e| e.at(position))?;
            return Ok(KeyTarget::Item(n as usize - 1));
        }
        if let SqlExpr::Identifier(name) = strip(expr) {
            let wanted = fold(name);
            let mut named = items.iter().enumerate().filter(|(_, item)| item.name == wanted);
            if let Some((first, item)) = named.next() {
                if named.any(|(_, other)| other.typed.expr != item.typed.expr) {
                    let message = format!("{clause} \"{wanted}\" is ambiguous");
                    return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message).at(position));
                }
                return Ok(KeyTarget::Item(first));
            }
        }
        if let SqlExpr::Value(_) = strip(expr) {
            let message = format!("non-integer constant in {clause}");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        let cx = ExprContext { scope, clause, aggregates: true, windows: true };
        let typed = self.decide_text(self.bind_expr(expr, cx)?)?;
        let known = items.iter().position(|item| item.typed.expr == typed.expr);
        Ok(known.map_or(KeyTarget::Expression(typed), KeyTarget::Item))
    }

    /// Sort expressions over the projection; keys outside the select list become hidden columns of it.
    pub(crate) fn place_keys(
        &self,
        keys: Vec<SortKey>,
        columns: &[ScopeColumn],
        projected: &mut Projected,
    ) -> Result<Vec<Sort>> {
        keys.into_iter()
            .map(|key| {
                let (column, ty) = match key.target {
                    KeyTarget::Item(i) => {
                        let column =
                            columns.get(i).ok_or_else(|| Error::internal("a sort key is out of range"))?;
                        (column.column.clone(), column.ty.clone())
                    }
                    KeyTarget::Expression(typed) => match projected.find(&typed.expr) {
                        Some(column) => (column.clone(), typed.ty),
                        None => (projected.add(self, typed.expr, "key"), typed.ty),
                    },
                };
                sort(Expr::Column(column), &ty, &key.options)
            })
            .collect()
    }

    /// DISTINCT ON: the first row, in the order of ORDER BY, of each group of equal keys.
    pub(crate) fn distinct_on(
        &self,
        builder: LogicalPlanBuilder,
        keys: Vec<Sort>,
        sorts: &[Sort],
    ) -> Result<LogicalPlanBuilder> {
        let is_key = |sort: &Sort| keys.iter().any(|key| key.expr == sort.expr);
        if !sorts.iter().take(keys.len()).all(is_key) {
            let message = "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        let select: Vec<Expr> = builder.schema().columns().into_iter().map(Expr::Column).collect();
        let names = select.clone();
        let on: Vec<Expr> = keys.into_iter().map(|key| key.expr).collect();
        let sorts = if sorts.is_empty() {
            on.iter().map(|e| Sort::new(e.clone(), true, false)).collect()
        } else {
            // DataFusion wants the keys first, in their own order.
            let first = on.iter().filter_map(|e| sorts.iter().find(|s| s.expr == *e));
            first.chain(sorts.iter().filter(|s| !on.contains(&s.expr))).cloned().collect::<Vec<_>>()
        };
        let distinct = builder.distinct_on(on, select, Some(sorts)).map_err(plan_error)?;
        distinct.project(names).map_err(plan_error)
    }

    /// LIMIT, OFFSET, FETCH FIRST.
    pub(crate) fn bind_limit(
        &self,
        relation: Relation,
        query: &Query,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let (limit, offset): (Option<&SqlExpr>, Option<&Offset>) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref())
            }
            Some(other) => {
                return Err(Error::unsupported(format!("{other}")).with_hint("Use LIMIT n OFFSET m."));
            }
        };
        let fetch = match &query.fetch {
            Some(fetch) if fetch.percent => {
                return Err(Error::unsupported("FETCH … PERCENT").with_hint("Give a number of rows."));
            }
            Some(fetch) => match &fetch.quantity {
                Some(expr) => self.bind_row_count(expr, "LIMIT", scope)?,
                None => Some(1),
            },
            None => limit.map(|expr| self.bind_row_count(expr, "LIMIT", scope)).transpose()?.flatten(),
        };
        let skip = offset
            .map(|o| self.bind_row_count(&o.value, "OFFSET", scope))
            .transpose()?
            .flatten()
            .unwrap_or(0);
        if fetch.is_none() && skip == 0 {
            return Ok(relation);
        }
        if let (Some(rows), Some(Fetch { with_ties: true, .. })) = (fetch, &query.fetch) {
            return self.limit_with_ties(relation, rows, skip);
        }
        let plan = LogicalPlanBuilder::from(relation.plan)
            .limit(skip, fetch)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns: relation.columns })
    }

    /// A constant number of rows; NULL is no limit. The expression is folded here.
    fn bind_row_count(
        &self,
        expr: &SqlExpr,
        clause: &'static str,
        scope: &Scope<'_>,
    ) -> Result<Option<usize>> {
        let position = self.position(expr);
        let outside = Scope { columns: &[], ctes: scope.ctes, parent: None };
        let typed =
            self.bind_expr(expr, ExprContext::plain(&outside, clause)).map_err(|e| match e.state() {
                SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE => {
                    let message = format!("argument of {clause} must not contain variables");
                    Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(position)
                }
                _ => e,
            })?;
        let count = self.coerce(typed, &SqlType::Int8)?;
        let folded = super::bind_values::fold_constant(count)?;
        match folded {
            Expr::Literal(ScalarValue::Int64(None), _) => Ok(None),
            Expr::Literal(ScalarValue::Int64(Some(n)), _) => usize::try_from(n).map(Some).map_err(|_| {
                let state = match clause {
                    "LIMIT" => SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
                    _ => SqlState::INVALID_ROW_COUNT_IN_OFFSET_CLAUSE,
                };
                Error::new(state, format!("{clause} must not be negative"))
            }),
            _ => Err(Error::unsupported(format!("{clause} of an expression"))
                .with_hint("Give a number or a parameter.")
                .at(position)),
        }
    }
}
