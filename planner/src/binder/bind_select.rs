//! SELECT: the select list over FROM, WHERE, GROUP BY, HAVING, window functions, DISTINCT and ORDER BY.
//!
//! ```text
//!   FROM ─ WHERE ─ Unnest ─ Aggregate ─ HAVING ─ Window ─ Unnest ─ Projection ─ DISTINCT ─ Sort ─ Projection
//! ```
//! Every expression is bound over FROM; each step rewrites the expressions that later steps need over its own
//! output. ORDER BY may need columns that are not in the select list: they travel along hidden and are dropped last.

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{
    Distinct, Expr as SqlExpr, OrderByExpr, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned,
    WildcardAdditionalOptions,
};
use weir_common::{Error, Result, SqlState};

use super::bind_aggregate::any_aggregate;
use super::bind_expr::{ExprContext, strip};
use super::bind_order::SortKey;
use super::bind_window::inline_windows;
use super::output_name::output_name;
use super::scope::{Relation, Scope, ScopeColumn, reference};
use super::typed::Typed;
use super::{Binder, plan_error};
use crate::parser::fold;

/// A column of the select list.
pub(crate) struct Item {
    pub name: String,
    pub typed: Typed,
    pub origin: Option<(weir_common::ObjectId, u16)>,
}

impl Binder<'_> {
    /// A SELECT with the ORDER BY of its query.
    pub(crate) fn bind_select(
        &self,
        select: &Select,
        order_by: &[OrderByExpr],
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        check_supported(select)?;
        if !select.named_window.is_empty() {
            let mut inlined = select.clone();
            inline_windows(&mut inlined)?;
            return self.bind_select(&inlined, order_by, scope);
        }
        let from = self.bind_from(&select.from, scope)?;
        let inside = scope.with_columns(&from.columns);
        let mut plan = from.plan;
        if let Some(condition) = &select.selection {
            let cx = ExprContext::plain(&inside, "WHERE");
            plan = filter(plan, self.condition(self.bind_expr(condition, cx)?, "WHERE")?)?;
        }
        let windows = self.name_group_windows(&select.group_by, &inside)?;
        let mut items = self.bind_items(&select.projection, &inside)?;
        let mut groups = self.bind_groups(&select.group_by, &items, &inside)?;
        let having_cx = ExprContext { scope: &inside, clause: "HAVING", aggregates: true, windows: false };
        let having = select.having.as_ref().map(|e| self.condition(self.bind_expr(e, having_cx)?, "HAVING"));
        let mut having = having.transpose()?;
        let mut distinct_on = match &select.distinct {
            Some(Distinct::On(keys)) => self.bind_keys(keys, &items, &inside)?,
            _ => Vec::new(),
        };
        let mut keys = self.bind_order_by(order_by, &items, &inside)?;
        plan = self.assign_group_windows(plan, windows, &groups)?;
        let is_grouped = groups.written
            || having.is_some()
            || any_aggregate(items.iter().map(|i| &i.typed))
            || any_aggregate(keys.iter().chain(&distinct_on).filter_map(SortKey::expression));
        if is_grouped {
            let mut exprs = expressions(&mut items, &mut keys, &mut distinct_on);
            exprs.extend(having.as_mut());
            plan = self.expand_sets(plan, groups.exprs.iter_mut().collect(), exprs)?;
            let mut exprs = expressions(&mut items, &mut keys, &mut distinct_on);
            exprs.extend(having.as_mut());
            plan = self.group(plan, groups, exprs, inside.columns)?;
        }
        if let Some(condition) = having {
            plan = filter(plan, condition)?;
        }
        plan = self.apply_windows(plan, expressions(&mut items, &mut keys, &mut distinct_on))?;
        plan = self.expand_sets(plan, expressions(&mut items, &mut keys, &mut distinct_on), Vec::new())?;
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct));
        self.finish_select(plan, items, keys, distinct_on, is_distinct)
    }

    fn bind_items(&self, projection: &[SelectItem], scope: &Scope<'_>) -> Result<Vec<Item>> {
        let cx = ExprContext { scope, clause: "SELECT", aggregates: true, windows: true };
        self.bind_items_in(projection, cx)
    }

    /// A select list in this context.
    pub(crate) fn bind_items_in(&self, projection: &[SelectItem], cx: ExprContext<'_>) -> Result<Vec<Item>> {
        let scope = cx.scope;
        let mut items = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => items.push(self.bind_item(expr, output_name(expr), cx)?),
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(self.bind_item(expr, fold(alias), cx)?)
                }
                SelectItem::Wildcard(options) => {
                    check_wildcard(options)?;
                    if scope.columns.is_empty() {
                        let message = "SELECT * with no tables specified is not valid";
                        return Err(Error::new(SqlState::SYNTAX_ERROR, message));
                    }
                    items.extend(scope.columns.iter().filter(|c| !c.merged).map(item_of));
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    check_wildcard(options)?;
                    items.extend(self.bind_qualified_wildcard(kind, scope)?);
                }
                other => return Err(Error::unsupported(format!("select item {other}"))),
            }
        }
        Ok(items)
    }

    fn bind_item(&self, expr: &SqlExpr, name: String, cx: ExprContext<'_>) -> Result<Item> {
        let typed = self.bind_expr(expr, cx)?;
        let known = |c: &&ScopeColumn| Expr::Column(c.column.clone()) == typed.expr;
        let origin = cx.scope.columns.iter().find(known).and_then(|c| c.origin);
        Ok(Item { name, typed, origin })
    }

    fn bind_qualified_wildcard(
        &self,
        kind: &SelectItemQualifiedWildcardKind,
        scope: &Scope<'_>,
    ) -> Result<Vec<Item>> {
        let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
            return Err(Error::unsupported(format!("{kind}")));
        };
        let table = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
        let items: Vec<Item> =
            scope.columns.iter().filter(|c| c.table.as_ref() == Some(&table)).map(item_of).collect();
        if items.is_empty() {
            let message = format!("missing FROM-clause entry for table \"{table}\"");
            return Err(Error::new(SqlState::UNDEFINED_TABLE, message).at(self.span_position(name.span())));
        }
        Ok(items)
    }

    /// The select list item that an ordinal means.
    pub(crate) fn ordinal_item<'i>(&self, n: i64, items: &'i [Item], clause: &str) -> Result<&'i Typed> {
        let item = usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).and_then(|i| items.get(i));
        item.map(|i| &i.typed).ok_or_else(|| {
            let message = format!("{clause} position {n} is not in select list");
            Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
        })
    }

    /// Projection, DISTINCT, Sort, and the removal of hidden columns.
    pub(crate) fn finish_select(
        &self,
        plan: LogicalPlan,
        items: Vec<Item>,
        keys: Vec<SortKey>,
        distinct_on: Vec<SortKey>,
        is_distinct: bool,
    ) -> Result<Relation> {
        let mut projected = Projected::default();
        let mut columns = Vec::with_capacity(items.len());
        for item in items {
            columns.push(ScopeColumn {
                table: None,
                schema: None,
                column: projected.add(self, item.typed.expr, &item.name),
                name: item.name,
                ty: item.typed.ty,
                origin: item.origin,
                merged: false,
            });
        }
        let visible = projected.exprs.len();
        let sorts = self.place_keys(keys, &columns, &mut projected)?;
        let distinct_on = self.place_keys(distinct_on, &columns, &mut projected)?;
        if is_distinct && projected.exprs.len() > visible {
            let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        let hidden = projected.exprs.len() > visible;
        let mut builder = LogicalPlanBuilder::from(plan).project(projected.exprs).map_err(plan_error)?;
        if is_distinct {
            builder = self.distinct_rows(builder.build().map_err(plan_error)?)?.into();
        }
        if !distinct_on.is_empty() {
            builder = self.distinct_on(builder, distinct_on, &sorts)?;
        }
        if !sorts.is_empty() {
            builder = builder.sort(sorts).map_err(plan_error)?;
        }
        if hidden {
            let kept: Vec<Expr> = columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
            builder = builder.project(kept).map_err(plan_error)?;
        }
        Ok(Relation { plan: builder.build().map_err(plan_error)?, columns })
    }
}

/// The columns of a projection, each under a name of its own.
#[derive(Default)]
pub(crate) struct Projected {
    pub exprs: Vec<Expr>,
    columns: Vec<(Expr, Column)>,
    taken: HashSet<Column>,
}

impl Projected {
    /// Adds an expression; a column keeps its name the first time.
    pub(crate) fn add(&mut self, binder: &Binder<'_>, expr: Expr, hint: &str) -> Column {
        if let Expr::Column(column) = &expr
            && self.taken.insert(column.clone())
        {
            let column = column.clone();
            self.columns.push((expr.clone(), column.clone()));
            self.exprs.push(expr);
            return column;
        }
        let column = Column::new_unqualified(binder.unique(hint));
        self.columns.push((expr.clone(), column.clone()));
        self.exprs.push(expr.alias(column.name.clone()));
        column
    }

    /// The column of an expression that is there already.
    pub(crate) fn find(&self, expr: &Expr) -> Option<&Column> {
        self.columns.iter().find(|(known, _)| known == expr).map(|(_, column)| column)
    }
}

fn expressions<'e>(
    items: &'e mut [Item],
    keys: &'e mut [SortKey],
    distinct_on: &'e mut [SortKey],
) -> Vec<&'e mut Expr> {
    let items = items.iter_mut().map(|item| &mut item.typed.expr);
    items.chain(keys.iter_mut().chain(distinct_on.iter_mut()).filter_map(SortKey::expression_mut)).collect()
}

fn item_of(column: &ScopeColumn) -> Item {
    Item { name: column.name.clone(), typed: reference(column, false, None), origin: column.origin }
}

pub(crate) fn filter(plan: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).filter(condition).and_then(LogicalPlanBuilder::build).map_err(plan_error)
}

/// An integer constant in ORDER BY or GROUP BY.
pub(crate) fn ordinal(expr: &SqlExpr) -> Option<i64> {
    match strip(expr) {
        SqlExpr::Value(value) => match &value.value {
            sqlparser::ast::Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<()> {
    let plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if plain { Ok(()) } else { Err(Error::unsupported("* with options").with_hint("Name the columns.")) }
}

fn check_supported(select: &Select) -> Result<()> {
    let refused = [
        (select.into.is_some(), "SELECT INTO", "Use CREATE TABLE and INSERT … SELECT."),
        (select.qualify.is_some(), "QUALIFY", "Put the window function in a subquery and filter outside."),
        (select.top.is_some(), "TOP", "Use LIMIT."),
        (!select.lateral_views.is_empty(), "LATERAL VIEW", "Use CROSS JOIN LATERAL unnest(…)."),
        (select.prewhere.is_some(), "PREWHERE", "Use WHERE."),
        (!select.cluster_by.is_empty() || !select.distribute_by.is_empty(), "CLUSTER BY", "Use ORDER BY."),
    ];
    match refused.into_iter().find(|(there, ..)| *there) {
        Some((_, what, hint)) => Err(Error::unsupported(what).with_hint(hint)),
        None => Ok(()),
    }
}
