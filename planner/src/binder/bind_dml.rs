//! INSERT, UPDATE, DELETE: each becomes a query of the rows to write, in the table's columns and types.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr as SqlExpr, FromTable, Insert, ObjectName, Query, SetExpr,
    Spanned, TableFactor, TableObject, TableWithJoins, Update, Values,
};
use weir_catalog::{ColumnDef, Object, ObjectKind, TableDef};
use weir_common::{Error, Result, SqlState};

use super::bind_expr::{ExprContext, strip};
use super::bind_query::Bound;
use super::bind_select::{Projected, filter};
use super::scope::{Relation, Scope, ScopeColumn};
use super::typed::{Typed, typed_null};
use super::{Binder, plan_error};
use crate::bound::{BoundDelete, BoundInsert, BoundUpdate};
use crate::parser::{fold, parse_expression};

impl Binder<'_> {
    pub(crate) fn bind_insert(&self, insert: &Insert) -> Result<BoundInsert> {
        if insert.returning.is_some() {
            return Err(returning());
        }
        if insert.on.is_some() {
            return Err(Error::unsupported("ON CONFLICT")
                .with_hint("UPDATE the rows that exist and INSERT the others."));
        }
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::unsupported("INSERT into anything but a table"));
        };
        let (object, table) = self.target_table(name, "insert into")?;
        let targets = self.insert_targets(insert, &object, &table)?;
        let relation = match &insert.source {
            None => self.default_row(&table, &targets)?,
            Some(query) => match plain_values(query) {
                Some(values) => self.insert_values(values, &targets, insert.columns.is_empty())?,
                None => self.insert_query(query, &targets, insert.columns.is_empty())?,
            },
        };
        let relation = self.fill_defaults(relation, &table, &targets)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        Ok(BoundInsert { table: object.id, query })
    }

    fn target_table(&self, name: &ObjectName, verb: &str) -> Result<(Arc<Object>, TableDef)> {
        let object = self.find_object(name)?;
        match &object.kind {
            ObjectKind::Table(table) => Ok((Arc::clone(object), table.clone())),
            other => {
                let message = format!("cannot {verb} {} \"{}\"", other.noun(), object.name);
                let hint = match other {
                    ObjectKind::MaterializedView(_) => {
                        "A materialized view follows its query; change the tables it reads."
                    }
                    ObjectKind::Source(_) => {
                        "A source is written by the outside world; create a table instead."
                    }
                    _ => "Only tables can be written.",
                };
                let position = self.span_position(name.span());
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).with_hint(hint).at(position))
            }
        }
    }

    /// The columns that the statement gives values for, in its order.
    fn insert_targets(&self, insert: &Insert, object: &Object, table: &TableDef) -> Result<Vec<ColumnDef>> {
        if insert.columns.is_empty() {
            return Ok(table.columns.clone());
        }
        let mut targets: Vec<ColumnDef> = Vec::new();
        for name in &insert.columns {
            let column = self.target_column(name, object, table)?;
            if targets.iter().any(|t| t.column.id == column.column.id) {
                let message = format!("column \"{}\" specified more than once", column.column.name);
                return Err(
                    Error::new(SqlState::DUPLICATE_COLUMN, message).at(self.span_position(name.span()))
                );
            }
            targets.push(column.clone());
        }
        Ok(targets)
    }

    fn target_column<'t>(
        &self,
        name: &ObjectName,
        object: &Object,
        table: &'t TableDef,
    ) -> Result<&'t ColumnDef> {
        let wanted = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
        let found = table.columns.iter().find(|c| c.column.name == wanted);
        found.ok_or_else(|| no_such_column(&wanted, &object.name).at(self.span_position(name.span())))
    }

    /// VALUES: every expression goes into its column directly, so that literals take the column's type.
    fn insert_values(&self, values: &Values, targets: &[ColumnDef], all_columns: bool) -> Result<Relation> {
        let scope = Scope::default();
        let cx = ExprContext::plain(&scope, "VALUES");
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let targets = self.check_width(width, targets, all_columns)?;
        let mut columns: Vec<(Vec<Expr>, _)> =
            targets.iter().map(|t| (Vec::with_capacity(values.rows.len()), t.column.ty.clone())).collect();
        for row in &values.rows {
            if row.content.len() != width {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
            }
            for ((expr, target), (exprs, _)) in row.content.iter().zip(targets).zip(&mut columns) {
                exprs.push(self.bind_assigned(expr, target, cx)?);
            }
        }
        let names: Vec<String> = targets.iter().map(|t| t.column.name.clone()).collect();
        self.constant_rows(values.rows.len(), columns, &names)
    }

    fn check_width<'t>(
        &self,
        width: usize,
        targets: &'t [ColumnDef],
        all_columns: bool,
    ) -> Result<&'t [ColumnDef]> {
        if width > targets.len() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "INSERT has more expressions than target columns",
            ));
        }
        if width < targets.len() && !all_columns {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "INSERT has more target columns than expressions",
            ));
        }
        Ok(&targets[..width])
    }

    /// An expression as the value of a column; DEFAULT is the column's default.
    fn bind_assigned(&self, expr: &SqlExpr, target: &ColumnDef, cx: ExprContext<'_>) -> Result<Expr> {
        if is_default(expr) {
            return self.default_value(target);
        }
        let typed = self.bind_expr(expr, cx)?;
        self.assign(typed, &target.column.name, &target.column.ty)
    }

    fn default_value(&self, column: &ColumnDef) -> Result<Expr> {
        let Some(sql) = &column.default_sql else { return typed_null(&column.column.ty) };
        let (expr, source) = parse_expression(sql)?;
        let scope = Scope::default();
        self.within_text(source, || {
            let typed = self.bind_expr(&expr, ExprContext::plain(&scope, "DEFAULT expressions"))?;
            self.assign(typed, &column.column.name, &column.column.ty)
        })
    }

    fn insert_query(&self, query: &Query, targets: &[ColumnDef], all_columns: bool) -> Result<Relation> {
        let relation = self.bind_query(query, &Scope::default())?.relation;
        let targets = self.check_width(relation.columns.len(), targets, all_columns)?;
        let mut projected = Projected::default();
        let mut columns = Vec::new();
        for (from, target) in relation.columns.iter().zip(targets) {
            let typed = Typed::new(Expr::Column(from.column.clone()), from.ty.clone(), None);
            let expr = self.assign(typed, &target.column.name, &target.column.ty)?;
            let column = projected.add(self, expr, &target.column.name);
            columns.push(ScopeColumn { column, ty: target.column.ty.clone(), origin: None, ..from.clone() });
        }
        self.project(relation, projected, columns)
    }

    fn default_row(&self, table: &TableDef, targets: &[ColumnDef]) -> Result<Relation> {
        let columns: Result<Vec<_>> =
            targets.iter().map(|t| Ok((vec![self.default_value(t)?], t.column.ty.clone()))).collect();
        let names: Vec<String> = table.columns.iter().map(|c| c.column.name.clone()).collect();
        self.constant_rows(1, columns?, &names)
    }

    /// All columns of the table in order: those given, and the defaults of the others.
    fn fill_defaults(&self, given: Relation, table: &TableDef, targets: &[ColumnDef]) -> Result<Relation> {
        let mut projected = Projected::default();
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let at = targets.iter().position(|t| t.column.id == column.column.id);
            let expr = match at.and_then(|i| given.columns.get(i)) {
                Some(given) => Expr::Column(given.column.clone()),
                None => self.default_value(column)?,
            };
            let name = &column.column.name;
            columns.push(ScopeColumn {
                table: None,
                schema: None,
                name: name.clone(),
                column: projected.add(self, expr, name),
                ty: column.column.ty.clone(),
                origin: None,
                merged: false,
            });
        }
        self.project(given, projected, columns)
    }

    fn project(&self, input: Relation, projected: Projected, columns: Vec<ScopeColumn>) -> Result<Relation> {
        let plan = LogicalPlanBuilder::from(input.plan)
            .project(projected.exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns })
    }

    pub(crate) fn bind_update(&self, update: &Update) -> Result<BoundUpdate> {
        if update.returning.is_some() {
            return Err(returning());
        }
        if update.from.is_some() || !update.table.joins.is_empty() {
            return Err(Error::unsupported("UPDATE … FROM")
                .with_hint("Use a subquery: SET a = (SELECT …) WHERE k IN (SELECT …)."));
        }
        let (object, table, scanned) = self.scan_target(&update.table, "update")?;
        let scope = Scope { columns: &scanned.columns, ..Scope::default() };
        let plan = match &update.selection {
            Some(condition) => {
                let cx = ExprContext::plain(&scope, "WHERE");
                filter(scanned.plan.clone(), self.condition(self.bind_expr(condition, cx)?, "WHERE")?)?
            }
            None => scanned.plan.clone(),
        };
        let mut new_values: Vec<Expr> =
            scanned.columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let mut assigned = vec![false; new_values.len()];
        for assignment in &update.assignments {
            let (index, expr) = self.bind_assignment(assignment, &object, &table, &scope)?;
            if std::mem::replace(&mut assigned[index], true) {
                let message =
                    format!("multiple assignments to same column \"{}\"", table.columns[index].column.name);
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            new_values[index] = expr;
        }
        let mut projected = Projected::default();
        let mut columns = scanned.columns.clone();
        for column in &mut columns {
            column.column = projected.add(self, Expr::Column(column.column.clone()), &column.name);
        }
        for (value, column) in new_values.into_iter().zip(&scanned.columns) {
            let name = projected.add(self, value, &column.name);
            columns.push(ScopeColumn { column: name, origin: None, ..column.clone() });
        }
        let relation = self.project(Relation { plan, columns: Vec::new() }, projected, columns)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        Ok(BoundUpdate { table: object.id, query })
    }

    fn bind_assignment(
        &self,
        assignment: &Assignment,
        object: &Object,
        table: &TableDef,
        scope: &Scope<'_>,
    ) -> Result<(usize, Expr)> {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::unsupported("SET (a, b) = …").with_hint("Assign the columns one by one."));
        };
        let column = self.target_column(name, object, table)?;
        let index = table.columns.iter().position(|c| c.column.id == column.column.id).unwrap_or_default();
        let expr = self.bind_assigned(&assignment.value, column, ExprContext::plain(scope, "UPDATE"))?;
        Ok((index, expr))
    }

    pub(crate) fn bind_delete(&self, delete: &Delete) -> Result<BoundDelete> {
        if delete.returning.is_some() {
            return Err(returning());
        }
        if delete.using.is_some() {
            return Err(
                Error::unsupported("DELETE … USING").with_hint("Use a subquery: WHERE k IN (SELECT …).")
            );
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [target] = from.as_slice() else {
            return Err(
                Error::unsupported("DELETE from several tables").with_hint("Send one DELETE a table.")
            );
        };
        let (object, _, scanned) = self.scan_target(target, "delete from")?;
        let scope = Scope { columns: &scanned.columns, ..Scope::default() };
        let plan = match &delete.selection {
            Some(condition) => {
                let cx = ExprContext::plain(&scope, "WHERE");
                filter(scanned.plan.clone(), self.condition(self.bind_expr(condition, cx)?, "WHERE")?)?
            }
            None => scanned.plan.clone(),
        };
        let relation = Relation { plan, columns: scanned.columns };
        let query = self.bound_query(Bound { relation, ordered: false })?;
        Ok(BoundDelete { table: object.id, query })
    }

    fn scan_target(&self, target: &TableWithJoins, verb: &str) -> Result<(Arc<Object>, TableDef, Relation)> {
        let TableFactor::Table { name, alias, .. } = &target.relation else {
            return Err(Error::unsupported("writing to anything but a table"));
        };
        let (object, table) = self.target_table(name, verb)?;
        let short = alias.as_ref().map(|a| fold(&a.name));
        let mut relation = self.bind_object(&object, short.as_deref())?;
        if let Some(short) = short {
            self.rename(&mut relation.columns, &short, &[])?;
        }
        Ok((object, table, relation))
    }
}

/// 42703 for a column of a written table.
pub(crate) fn no_such_column(column: &str, relation: &str) -> Error {
    let message = format!("column \"{column}\" of relation \"{relation}\" does not exist");
    Error::new(SqlState::UNDEFINED_COLUMN, message)
}

fn returning() -> Error {
    Error::unsupported("RETURNING").with_hint("SELECT the rows after the statement.")
}

fn is_default(expr: &SqlExpr) -> bool {
    matches!(strip(expr), SqlExpr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
}

/// The VALUES list of a query that is nothing else.
fn plain_values(query: &Query) -> Option<&Values> {
    match query.body.as_ref() {
        SetExpr::Values(values) if query.order_by.is_none() && query.limit_clause.is_none() => Some(values),
        _ => None,
    }
}
