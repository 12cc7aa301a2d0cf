//! Queries: WITH, the body, ORDER BY and LIMIT.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use sqlparser::ast::{OrderByExpr, Query, SetExpr, Spanned, With};
use weir_common::{Error, Result, SqlState};

use super::bind_expr::ExprContext;
use super::bind_order::{order_by_of, sort};
use super::bind_select::ordinal;
use super::scope::{Cte, Relation, Scope, reference};
use super::{Binder, plan_error};
use crate::bound::{BoundQuery, OutputColumn};
use crate::parser::fold;

/// A bound query expression.
pub(crate) struct Bound {
    pub relation: Relation,
    pub ordered: bool,
}

impl Binder<'_> {
    /// A query as the whole statement, or as the body of a view.
    pub(crate) fn bind_top_query(&self, query: &Query) -> Result<BoundQuery> {
        let bound = self.bind_query(query, &Scope::default())?;
        self.bound_query(bound)
    }

    /// Gives a query its final form: columns of open type become text.
    pub(crate) fn bound_query(&self, bound: Bound) -> Result<BoundQuery> {
        let relation = self.settle(bound.relation)?;
        let columns = relation.columns.into_iter();
        let columns = columns.map(|c| OutputColumn { name: c.name, ty: c.ty, origin: c.origin }).collect();
        Ok(BoundQuery {
            plan: self.decorrelate(self.restate_membership(relation.plan)?)?,
            columns,
            relations: self.relations.borrow().iter().copied().collect(),
            ordered: bound.ordered,
        })
    }

    pub(crate) fn bind_query(&self, query: &Query, scope: &Scope<'_>) -> Result<Bound> {
        self.deeper(|| {
            if !query.locks.is_empty() {
                return Err(Error::unsupported("FOR UPDATE and FOR SHARE")
                    .with_hint("Transactions are serializable without row locks."));
            }
            let ctes = self.bind_with(query.with.as_ref())?;
            let inner = match ctes.is_empty() {
                true => *scope,
                false => Scope { columns: &[], ctes: &ctes, parent: Some(scope) },
            };
            let order_by = order_by_of(query)?;
            let relation = self.bind_set_expr(&query.body, order_by, &inner)?;
            let relation = self.bind_limit(relation, query, &inner)?;
            if !ctes.is_empty() {
                self.bind_unread(&inner)?;
            }
            Ok(Bound { relation, ordered: !order_by.is_empty() })
        })
    }

    pub(crate) fn bind_with(&self, with: Option<&With>) -> Result<Vec<Cte>> {
        let Some(with) = with else { return Ok(Vec::new()) };
        let mut ctes: Vec<Cte> = Vec::with_capacity(with.cte_tables.len());
        for cte in &with.cte_tables {
            let name = fold(&cte.alias.name);
            let position = self.span_position(cte.alias.name.span);
            if ctes.iter().any(|c| c.name == name) {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_ALIAS, message).at(position));
            }
            if with.recursive && names_itself(&cte.query, &name) {
                return Err(Error::unsupported("WITH RECURSIVE")
                    .with_hint("Repeat the step a fixed number of times with UNION ALL.")
                    .at(position));
            }
            let columns = cte.alias.columns.iter().map(|c| c.name.clone()).collect();
            let id = self.next_name.replace(self.next_name.get() + 1);
            let query = Arc::new((*cte.query).clone());
            ctes.push(Cte { id, visible: ctes.len(), name, query, columns, read: Cell::new(false) });
        }
        Ok(ctes)
    }

    /// A WITH query, wherever it is read.
    pub(crate) fn bind_cte(&self, cte: &Cte, seen: &Scope<'_>) -> Result<Relation> {
        let bind = || self.deeper(|| self.bind_query(&cte.query, seen)).map(|bound| bound.relation);
        let relation = if cte.read.replace(true) { self.repeated(bind)? } else { bind()? };
        let mut relation = self.settle(relation)?;
        self.rename(&mut relation.columns, &cte.name, &cte.columns)?;
        Ok(relation)
    }

    /// What nothing reads has to be right as well. The last one may be all that reads the others.
    pub(crate) fn bind_unread(&self, scope: &Scope<'_>) -> Result<()> {
        for cte in scope.ctes.iter().rev().filter(|cte| !cte.read.get()) {
            self.bind_cte(cte, &scope.seen_by(cte))?;
        }
        Ok(())
    }

    /// The body of a query; the ORDER BY of a SELECT is bound with it, since it may name what is not selected.
    pub(crate) fn bind_set_expr(
        &self,
        body: &SetExpr,
        order_by: &[OrderByExpr],
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let relation = match body {
            SetExpr::Select(select) => return self.bind_select(select, order_by, scope),
            SetExpr::Query(query) => self.bind_query(query, scope)?.relation,
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.deeper(|| self.bind_set_operation(left, *op, *set_quantifier, right, scope))?
            }
            SetExpr::Values(values) => self.bind_values(values, scope)?,
            SetExpr::Table(table) => self.bind_table_command(table, scope)?,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return Err(Error::unsupported("a data-modifying statement in WITH")
                    .with_hint("Send it as a statement of its own.")
                    .at(self.span_position(body.span())));
            }
        };
        self.order_output(relation, order_by)
    }

    /// `TABLE t`.
    fn bind_table_command(&self, table: &sqlparser::ast::Table, scope: &Scope<'_>) -> Result<Relation> {
        let parts = [&table.schema_name, &table.table_name].into_iter().flatten();
        let idents: Vec<_> = parts.map(|p| sqlparser::ast::Ident::new(p.clone())).collect();
        self.bind_named_relation(&sqlparser::ast::ObjectName::from(idents), None, scope)
    }

    /// ORDER BY of a set operation or VALUES: names and ordinals of the result only.
    fn order_output(&self, relation: Relation, order_by: &[OrderByExpr]) -> Result<Relation> {
        if order_by.is_empty() {
            return Ok(relation);
        }
        let mut keys = Vec::new();
        for key in order_by {
            let position = self.position(&key.expr);
            let (expr, ty) = match ordinal(&key.expr) {
                Some(n) => {
                    let column =
                        usize::try_from(n).ok().and_then(|n| relation.columns.get(n.checked_sub(1)?));
                    column.map(|c| (reference(c, false, None).expr, c.ty.clone())).ok_or_else(|| {
                        let message = format!("ORDER BY position {n} is not in select list");
                        Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(position)
                    })?
                }
                None => {
                    let scope = Scope { columns: &relation.columns, ctes: &[], parent: None };
                    let typed = self.bind_expr(&key.expr, ExprContext::plain(&scope, "ORDER BY"))?;
                    if !matches!(typed.expr, Expr::Column(_)) {
                        let message = "invalid UNION/INTERSECT/EXCEPT ORDER BY clause";
                        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                            .with_detail(
                                "Only result column names can be used, not expressions or functions.",
                            )
                            .with_hint(
                                "Add the expression to every SELECT, or move the UNION into a FROM clause.",
                            )
                            .at(position));
                    }
                    (typed.expr, typed.ty)
                }
            };
            keys.push(sort(expr, &ty, &key.options)?);
        }
        let plan = LogicalPlanBuilder::from(relation.plan)
            .sort(keys)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns: relation.columns })
    }
}

/// Whether a WITH query reads itself.
fn names_itself(query: &Query, name: &str) -> bool {
    let found = sqlparser::ast::visit_relations(query, |relation| {
        let is_it =
            matches!(relation.0.as_slice(), [part] if part.as_ident().is_some_and(|i| fold(i) == name));
        if is_it { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    found.is_break()
}
