//! What INSERT, UPDATE and DELETE have in common: the table written, its columns, assigned values, RETURNING.
//!
//! Each becomes a query of the rows to write, in the table's columns and types. RETURNING becomes a query over
//! rows that the session gives it once they are known ([`crate::logical::RelationKind::Given`]).

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr as SqlExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    Spanned, TableFactor, TableWithJoins,
};
use weir_catalog::{ColumnDef, Generation, Object, ObjectKind, TableDef};
use weir_common::{Error, Result, SqlState};

use super::bind_expr::{ExprContext, strip};
use super::bind_query::Bound;
use super::bind_relation::shown_columns;
use super::bind_rules::Writing;
use super::bind_select::Projected;
use super::scope::{Relation, Scope, ScopeColumn};
use super::typed::typed_null;
use super::{Binder, plan_error};
use crate::bound::BoundQuery;
use crate::parser::{fold, parse_expression};

impl Binder<'_> {
    pub(crate) fn target_table(&self, name: &ObjectName, verb: &str) -> Result<(Arc<Object>, TableDef)> {
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

    pub(crate) fn target_column<'t>(
        &self,
        name: &ObjectName,
        object: &Object,
        table: &'t TableDef,
    ) -> Result<&'t ColumnDef> {
        let wanted = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
        let found = table.find(&wanted).map(|shown| shown.def);
        found.ok_or_else(|| no_such_column(&wanted, &object.name).at(self.span_position(name.span())))
    }

    /// An expression as the value of a column; DEFAULT is the column's default.
    pub(crate) fn bind_assigned(
        &self,
        expr: &SqlExpr,
        target: &ColumnDef,
        cx: ExprContext<'_>,
    ) -> Result<Expr> {
        if is_default(expr) {
            return self.default_value(target);
        }
        let writing = if cx.clause == "UPDATE" { Writing::Updating } else { Writing::Inserting };
        let takes = self.takes_given(target, writing).map_err(|e| e.at(self.position(expr)))?;
        let typed = self.bind_expr(expr, cx)?;
        if !takes {
            return self.default_value(target);
        }
        self.assign(typed, &target.column.name, &target.column.ty)
    }

    pub(crate) fn default_value(&self, column: &ColumnDef) -> Result<Expr> {
        if let Generation::Identity { sequence, .. } = &column.generation {
            let next = self.identity_value(*sequence)?;
            return self.assign(next, &column.column.name, &column.column.ty);
        }
        let Some(sql) = &column.default_sql else { return typed_null(&column.column.ty) };
        let (expr, source) = parse_expression(sql)?;
        let scope = Scope::default();
        self.within_text(source, || {
            let typed = self.bind_expr(&expr, ExprContext::plain(&scope, "DEFAULT expressions"))?;
            self.assign(typed, &column.column.name, &column.column.ty)
        })
    }

    pub(crate) fn project(
        &self,
        input: Relation,
        projected: Projected,
        columns: Vec<ScopeColumn>,
    ) -> Result<Relation> {
        let plan = LogicalPlanBuilder::from(input.plan)
            .project(projected.exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns })
    }

    /// The table that a statement writes to, with all columns of its rows.
    pub(crate) fn scan_target(
        &self,
        target: &TableWithJoins,
        verb: &str,
    ) -> Result<(Arc<Object>, TableDef, Relation)> {
        let TableFactor::Table { name, alias, .. } = &target.relation else {
            return Err(Error::unsupported("writing to anything but a table"));
        };
        let (object, table) = self.target_table(name, verb)?;
        let short = alias.as_ref().map(|a| fold(&a.name));
        let mut relation = self.bind_stored(&object, short.as_deref())?;
        if let Some(short) = short {
            self.rename(&mut relation.columns, &short, &[])?;
        }
        Ok((object, table, relation))
    }

    /// The values of all columns after SET; `old` are those before.
    pub(crate) fn bind_assignments(
        &self,
        assignments: &[Assignment],
        (object, table): (&Object, &TableDef),
        scope: &Scope<'_>,
        old: Vec<Expr>,
    ) -> Result<Vec<Expr>> {
        let mut values = old;
        let mut assigned = vec![false; values.len()];
        let cx = ExprContext::plain(scope, "UPDATE");
        for (name, value) in single_assignments(assignments)? {
            let column = self.target_column(name, object, table)?;
            let index =
                table.columns.iter().position(|c| c.column.id == column.column.id).unwrap_or_default();
            if std::mem::replace(&mut assigned[index], true) {
                let message = format!("multiple assignments to same column \"{}\"", column.column.name);
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            values[index] = self.bind_assigned(&value, column, cx)?;
        }
        Ok(values)
    }

    /// RETURNING, over rows that the session will give: with these columns, those of the table's rows first.
    pub(crate) fn bind_returning(
        &self,
        returning: Option<&Vec<SelectItem>>,
        table: &TableDef,
        columns: Vec<ScopeColumn>,
        scope: &Scope<'_>,
    ) -> Result<Option<BoundQuery>> {
        let Some(items) = returning else { return Ok(None) };
        let read = self.relations.take();
        let given = self.given_rows(columns)?;
        let (row, joined) = given.columns.split_at(table.columns.len());
        let columns = [shown_columns(table, row), joined.to_vec()].concat();
        let inside = scope.with_columns(&columns);
        let items = self.bind_items_in(items, ExprContext::plain(&inside, "RETURNING"))?;
        let relation = self.finish_select(given.plan, items, Vec::new(), Vec::new(), false)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        self.relations.borrow_mut().extend(read);
        Ok(Some(query))
    }
}

/// SET's columns one by one: `(a, b) = (1, 2)` and `(a, b) = (SELECT x, y …)` are taken apart.
fn single_assignments(assignments: &[Assignment]) -> Result<Vec<(&ObjectName, SqlExpr)>> {
    let mut single = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        match &assignment.target {
            AssignmentTarget::ColumnName(name) => single.push((name, assignment.value.clone())),
            AssignmentTarget::Tuple(names) => {
                single.extend(names.iter().zip(values_of(&assignment.value, names.len())?));
            }
        }
    }
    Ok(single)
}

/// The values of a multiple assignment.
fn values_of(value: &SqlExpr, wanted: usize) -> Result<Vec<SqlExpr>> {
    let values = match value {
        SqlExpr::Tuple(values) => values.clone(),
        SqlExpr::Function(call) if call.name.to_string().eq_ignore_ascii_case("row") => row_values(call)?,
        SqlExpr::Subquery(query) => {
            (0..wanted).map(|i| column_of(query, i, wanted)).collect::<Result<_>>()?
        }
        _ => {
            let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
    };
    if values.len() == wanted { Ok(values) } else { Err(wrong_width()) }
}

fn wrong_width() -> Error {
    Error::new(SqlState::SYNTAX_ERROR, "number of columns does not match number of values")
}

fn row_values(call: &sqlparser::ast::Function) -> Result<Vec<SqlExpr>> {
    use sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
    let FunctionArguments::List(list) = &call.args else { return Ok(Vec::new()) };
    let value = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        other => Err(Error::unsupported(format!("argument {other}"))),
    };
    list.args.iter().map(value).collect()
}

/// The subquery that yields column `index` of a query of `width` columns: `(SELECT c FROM (query) AS row (…))`.
fn column_of(query: &Query, index: usize, width: usize) -> Result<SqlExpr> {
    if let SetExpr::Select(select) = query.body.as_ref()
        && let Some(narrow) = narrowed(query, select, index, width)?
    {
        return Ok(SqlExpr::Subquery(Box::new(narrow)));
    }
    let names: Vec<Ident> = (1..=width).map(|i| Ident::new(format!("column{i}"))).collect();
    let sql = format!(
        "(SELECT {} FROM ({query}) AS assigned ({}))",
        names[index],
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    parse_expression(&sql).map(|(expr, _)| expr)
}

/// A plain SELECT with one item of its list kept, so that what it names outside stays one level away.
fn narrowed(query: &Query, select: &Select, index: usize, width: usize) -> Result<Option<Query>> {
    let is_plain =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if !select.projection.iter().all(is_plain) || select.distinct.is_some() || query.order_by.is_some() {
        return Ok(None);
    }
    let item = select.projection.get(index).filter(|_| select.projection.len() == width);
    let item = item.ok_or_else(wrong_width)?.clone();
    let narrow = Select { projection: vec![item], ..select.clone() };
    Ok(Some(Query { body: Box::new(SetExpr::Select(Box::new(narrow))), ..query.clone() }))
}

/// The columns of a written table's rows, as they are named: by alias, or by the table's own name.
pub(crate) fn row_columns(object: &Object, table: &TableDef, alias: Option<&str>) -> Vec<ScopeColumn> {
    let name = alias.unwrap_or(&object.name);
    let column = |c: &ColumnDef| ScopeColumn {
        table: Some(name.to_owned()),
        schema: None,
        name: c.column.name.clone(),
        column: datafusion::common::Column::new_unqualified(c.column.name.clone()),
        ty: c.column.ty.clone(),
        origin: Some((object.id, c.column.id)),
        merged: false,
    };
    table.columns.iter().map(column).collect()
}

/// 42703 for a column of a written table.
pub(crate) fn no_such_column(column: &str, relation: &str) -> Error {
    let message = format!("column \"{column}\" of relation \"{relation}\" does not exist");
    Error::new(SqlState::UNDEFINED_COLUMN, message)
}

pub(crate) fn is_default(expr: &SqlExpr) -> bool {
    matches!(strip(expr), SqlExpr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
}
