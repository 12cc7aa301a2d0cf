//! Whether a statement means the same at every execution, so that what was made of it once may be kept.
//!
//! Place in the flow: the session layer asks before it keeps the plan of a prepared statement. Invariant: a query that
//! may be kept depends on its parameters, the catalog and the settings alone: it calls no function, whose result might
//! be another at another time, and reads no view, whose text is not seen here. Of an INSERT the same holds for the texts
//! of the table's defaults and constraints; `nextval` alone is called when the row is made, not when it is bound.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Insert, ObjectName, Query, SetExpr, TableObject, Visit, visit_expressions, visit_relations,
};
use weir_catalog::{CatalogSnapshot, Generation, Object, ObjectKind, TableDef};

use crate::ast::{ParsedStatement, Statement};
use crate::parser::{fold, parse_expression};

/// Whether the plan of a statement may be kept while catalog and settings stay.
pub fn may_be_kept(statement: &ParsedStatement, catalog: &CatalogSnapshot, search_path: &[String]) -> bool {
    match &statement.statement {
        Statement::Query(query) => !calls_function(query) && !reads_view(query, catalog, search_path),
        Statement::Insert(insert) => may_be_kept_insert(insert, catalog, search_path),
        _ => false,
    }
}

/// An INSERT of rows that are written out, without ON CONFLICT or RETURNING.
fn may_be_kept_insert(insert: &Insert, catalog: &CatalogSnapshot, search_path: &[String]) -> bool {
    let TableObject::TableName(name) = &insert.table else { return false };
    let Some(ObjectKind::Table(table)) = find(name, catalog, search_path).map(|object| &object.kind) else {
        return false;
    };
    insert.on.is_none()
        && insert.returning.is_none()
        && insert.source.as_ref().is_none_or(|query| !calls_function(&**query))
        && texts(table).all(|sql| parse_expression(sql).is_ok_and(|(expr, _)| calls_nextval_at_most(&expr)))
}

/// Whether a statement is an INSERT whose parameters are each a value of a row by itself, beside other such constants.
pub fn has_whole_values(statement: &ParsedStatement) -> bool {
    let Statement::Insert(insert) = &statement.statement else { return false };
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|query| &*query.body) else {
        return false;
    };
    let is_whole = |cell: &Expr| match cell {
        Expr::Value(_) => true,
        Expr::Identifier(name) => name.value.eq_ignore_ascii_case("default"),
        _ => false,
    };
    values.rows.iter().flat_map(|row| &row.content).all(is_whole)
}

/// The expressions that belong to a table, as SQL.
fn texts(table: &TableDef) -> impl Iterator<Item = &str> {
    let of_columns = table.columns.iter().flat_map(|column| {
        let stored = match &column.generation {
            Generation::Stored(sql) => Some(sql.as_str()),
            _ => None,
        };
        column.default_sql.as_deref().into_iter().chain(stored)
    });
    of_columns.chain(table.checks.iter().map(|check| check.condition_sql.as_str()))
}

fn calls_function(part: &impl Visit) -> bool {
    calls_function_but(part, |_| false)
}

fn calls_nextval_at_most(expr: &Expr) -> bool {
    !calls_function_but(expr, |name| {
        name.0.last().and_then(|p| p.as_ident()).is_some_and(|i| fold(i) == "nextval")
    })
}

fn calls_function_but(part: &impl Visit, is_known: impl Fn(&ObjectName) -> bool) -> bool {
    let visited = visit_expressions(part, |e| match e {
        Expr::Function(function) if !is_known(&function.name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    visited.is_break()
}

fn find<'c>(name: &ObjectName, catalog: &'c CatalogSnapshot, search_path: &[String]) -> Option<&'c Object> {
    let mut parts = name.0.iter().rev().filter_map(|part| part.as_ident()).map(fold);
    let (name, schema) = (parts.next().unwrap_or_default(), parts.next());
    catalog.find(schema.as_deref(), &name, search_path).map(|object| &**object)
}

fn reads_view(query: &Query, catalog: &CatalogSnapshot, search_path: &[String]) -> bool {
    let visited = visit_relations(query, |name: &ObjectName| {
        match find(name, catalog, search_path).map(|object| &object.kind) {
            Some(ObjectKind::View(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    visited.is_break()
}
