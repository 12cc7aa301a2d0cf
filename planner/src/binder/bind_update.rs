//! UPDATE and DELETE: a query of the rows to change, joined with FROM's or USING's items when there are any.
//!
//! A join may give a row of the table several times; then the first counts. Rows of a table without a key are told
//! apart by a number that they get before the join.

use std::sync::Arc;

use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFrame};
use sqlparser::ast::{Delete, Expr as SqlExpr, FromTable, TableWithJoins, Update, UpdateTableFromKind};
use weir_catalog::{Object, TableDef};
use weir_common::{Error, Result, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_query::Bound;
use super::bind_relation::shown_columns;
use super::bind_select::{Projected, filter};
use super::scope::{Relation, Scope, ScopeColumn};
use crate::bound::{BoundDelete, BoundUpdate};

/// The rows of a table that UPDATE or DELETE changes, beside those they are joined with.
struct Matched {
    object: Arc<Object>,
    table: TableDef,
    /// The plan, whose columns are those of the table's rows, dropped ones among them, and then those joined.
    joined: Relation,
    /// The column that tells the table's rows apart when its key does not.
    number: Option<ScopeColumn>,
}

impl Matched {
    fn width(&self) -> usize {
        self.table.columns.len()
    }

    /// The columns that expressions may name.
    fn shown(&self) -> Vec<ScopeColumn> {
        shown(&self.table, &self.joined)
    }
}

fn shown(table: &TableDef, joined: &Relation) -> Vec<ScopeColumn> {
    let (row, others) = joined.columns.split_at(table.columns.len());
    [shown_columns(table, row), others.to_vec()].concat()
}

impl Binder<'_> {
    pub(crate) fn bind_update(&self, update: &Update, scope: &Scope<'_>) -> Result<BoundUpdate> {
        let from = match &update.from {
            None => &[][..],
            Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from,
        };
        if !update.table.joins.is_empty() {
            return Err(
                Error::unsupported("UPDATE of a join").with_hint("Join in FROM: UPDATE t SET … FROM u.")
            );
        }
        if update.limit.is_some() || !update.order_by.is_empty() {
            return Err(Error::unsupported("UPDATE … LIMIT").with_hint("Choose the rows in WHERE."));
        }
        let matched = self.match_rows(&update.table, "update", from, update.selection.as_ref(), scope)?;
        let (old, joined) = matched.joined.columns.split_at(matched.width());
        let shown = matched.shown();
        let inside = scope.with_columns(&shown);
        let values = old.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let target = (&*matched.object, &matched.table);
        let new_values = self.bind_assignments(&update.assignments, target, &inside, values)?;
        let mut projected = Projected::default();
        let mut columns = Vec::new();
        let mut add = |value: Expr, column: &ScopeColumn| {
            let name = projected.add(self, value, &column.name);
            columns.push(ScopeColumn { column: name, origin: None, ..column.clone() });
        };
        old.iter().for_each(|c| add(Expr::Column(c.column.clone()), c));
        new_values.into_iter().zip(old).for_each(|(value, c)| add(value, c));
        let extra = if update.returning.is_some() { joined } else { &[] };
        extra.iter().chain(&matched.number).for_each(|c| add(Expr::Column(c.column.clone()), c));
        let plan = matched.joined.plan.clone();
        let relation = self.project(Relation { plan, columns: Vec::new() }, projected, columns)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        let row = matched.joined.columns.clone();
        let returning = self.bind_returning(update.returning.as_ref(), &matched.table, row, scope)?;
        let is_numbered = matched.number.is_some();
        let rules = self.row_rules(&matched.object, &matched.table)?;
        Ok(BoundUpdate { table: matched.object.id, rules, query, is_numbered, returning })
    }

    pub(crate) fn bind_delete(&self, delete: &Delete, scope: &Scope<'_>) -> Result<BoundDelete> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [target] = from.as_slice() else {
            return Err(
                Error::unsupported("DELETE from several tables").with_hint("Send one DELETE a table.")
            );
        };
        let using = delete.using.as_deref().unwrap_or_default();
        let matched = self.match_rows(target, "delete from", using, delete.selection.as_ref(), scope)?;
        let kept = match delete.returning {
            Some(_) => &matched.joined.columns[..],
            None => &matched.joined.columns[..matched.width()],
        };
        let mut projected = Projected::default();
        let mut columns = Vec::new();
        for column in kept.iter().chain(&matched.number) {
            let name = projected.add(self, Expr::Column(column.column.clone()), &column.name);
            columns.push(ScopeColumn { column: name, ..column.clone() });
        }
        let plan = matched.joined.plan.clone();
        let relation = self.project(Relation { plan, columns: Vec::new() }, projected, columns)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        let row = matched.joined.columns.clone();
        let returning = self.bind_returning(delete.returning.as_ref(), &matched.table, row, scope)?;
        let is_numbered = matched.number.is_some();
        Ok(BoundDelete { table: matched.object.id, query, is_numbered, returning })
    }

    /// All rows of a table, for TRUNCATE.
    pub(crate) fn bind_truncate(&self, name: &sqlparser::ast::ObjectName) -> Result<BoundDelete> {
        let (object, _) = self.target_table(name, "truncate")?;
        let read = self.relations.take();
        let relation = self.bind_stored(&object, None)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        self.relations.borrow_mut().extend(read);
        Ok(BoundDelete { table: object.id, query, is_numbered: false, returning: None })
    }

    fn match_rows(
        &self,
        target: &TableWithJoins,
        verb: &str,
        from: &[TableWithJoins],
        condition: Option<&SqlExpr>,
        scope: &Scope<'_>,
    ) -> Result<Matched> {
        let (object, table, scanned) = self.scan_target(target, verb)?;
        let (mut joined, mut number) = (scanned, None);
        if !from.is_empty() {
            if table.primary_key.is_empty() {
                let name = self.unique("row");
                joined.plan = numbered(joined.plan, &name)?;
                number = Some(ScopeColumn {
                    table: None,
                    schema: None,
                    column: datafusion::common::Column::new_unqualified(name.clone()),
                    name,
                    ty: SqlType::Int8,
                    origin: None,
                    merged: true,
                });
            }
            joined = self.cross(joined, self.bind_from(from, scope)?)?;
            self.check_aliases(&joined.columns)?;
        }
        if let Some(condition) = condition {
            let shown = shown(&table, &joined);
            let inside = scope.with_columns(&shown);
            let cx = ExprContext::plain(&inside, "WHERE");
            let condition = self.condition(self.bind_expr(condition, cx)?, "WHERE")?;
            joined.plan = filter(joined.plan, condition)?;
        }
        Ok(Matched { object, table, joined, number })
    }
}

/// The plan with a column that numbers its rows.
fn numbered(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let resolved = functions::resolve_window("row_number", &[])?;
    let resolved = resolved.ok_or_else(|| Error::internal("row_number is missing"))?;
    let params = WindowFunctionParams {
        args: Vec::new(),
        partition_by: Vec::new(),
        order_by: Vec::new(),
        window_frame: WindowFrame::new(None),
        filter: None,
        null_treatment: None,
        distinct: false,
    };
    let call = Expr::WindowFunction(Box::new(WindowFunction { fun: resolved.function, params }));
    super::bind_window::window_plan(plan, &[(call, name.to_owned())])
}
