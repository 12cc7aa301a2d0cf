//! ALTER TABLE … DROP COLUMN, and ALTER COLUMN … TYPE.
//!
//! A column keeps its place in stored rows for ever, since jobs read columns by place: a dropped one is hidden, and one
//! of a new type is a new column that is filled from the old one and then shown in its place.

use std::ops::ControlFlow;

use sqlparser::ast::{DataType, Expr as SqlExpr, Ident, Visit, Visitor};
use weir_catalog::{CheckDef, ColumnDef, Generation, Object, TableDef};
use weir_common::{Column, Error, Result, SqlState, SqlType};
use weir_exec::functions::CastContext;

use super::Binder;
use super::bind_columns::storable;
use super::bind_dml::no_such_column;
use super::bind_expr::ExprContext;
use super::bind_rules::definition_row;
use super::bind_type::sql_type;
use super::correlation::holds_query;
use super::scope::Scope;
use super::typed::Typed;
use crate::bound::{BoundAlter, DroppedColumn, FilledColumn, RetypedColumn};
use crate::parser::{fold, parse_expression};

impl Binder<'_> {
    pub(crate) fn drop_column(
        &self,
        object: &Object,
        name: &Ident,
        (if_exists, cascade): (bool, bool),
        bound: &mut BoundAlter,
    ) -> Result<()> {
        let (wanted, relation) = (fold(name), &object.name);
        bound.check_not_retyped(&wanted)?;
        let table = bound.table_mut()?;
        let Some(shown) = table.find(&wanted) else {
            let error = no_such_column(&wanted, relation);
            if !if_exists {
                return Err(error.at(self.span_position(name.span)));
            }
            bound.notices.push(format!("{}, skipping", error.message()));
            return Ok(());
        };
        let (position, number, id) = (shown.position, shown.number, shown.def.column.id);
        if table.primary_key.contains(&id) || table.shown().len() == 1 {
            let what = "dropping the only column of a table, or one of its primary key";
            return Err(Error::unsupported(what)
                .with_hint("Create a new table without it, INSERT … SELECT into it, and rename it."));
        }
        let generated = generated_from(table, &wanted)?;
        if !generated.is_empty() && !cascade {
            let depends = |other| {
                format!("column {other} of table {relation} depends on column {wanted} of table {relation}")
            };
            let lines: Vec<String> = generated.iter().map(depends).collect();
            return Err(still_needed(&wanted, relation, &lines.join("\n")));
        }
        check_no_watermark(table, id)?;
        let checks = checks_of(table, number);
        table.columns[position].drop_for(None);
        table.checks.retain(|check| !checks.contains(check));
        bound.dropped.push(DroppedColumn { name: wanted, number, cascade });
        for other in generated {
            bound.notices.push(format!("drop cascades to column {other} of table {relation}"));
            self.drop_column(object, &Ident::with_quote('"', other), (false, true), bound)?;
        }
        Ok(())
    }

    pub(crate) fn set_type(
        &self,
        object: &Object,
        name: &Ident,
        data_type: &DataType,
        using: Option<&SqlExpr>,
        bound: &mut BoundAlter,
    ) -> Result<()> {
        let position = self.span_position(name.span);
        let wanted = fold(name);
        bound.check_not_retyped(&wanted)?;
        let ty = sql_type(data_type).and_then(|ty| storable(ty, &wanted)).map_err(|e| e.at(position))?;
        let table = bound.table_mut()?;
        let missing = || no_such_column(&wanted, &object.name).at(position);
        let shown = table.find(&wanted).ok_or_else(missing)?;
        let (number, old) = (shown.number, shown.def.clone());
        if old.column.ty == ty && using.is_none() {
            return Ok(());
        }
        check_no_watermark(table, old.column.id).map_err(|e| e.at(position))?;
        check_retyped(table, &old, &ty).map_err(|e| e.at(position))?;
        self.check_conversion(object, table, &old, &ty, using).map_err(|e| e.at(position))?;
        let id = u16::try_from(table.columns.len() + 1).unwrap_or(u16::MAX);
        let filling = format!("........pg.retyped.{id}........");
        let column = Column { id, name: filling.clone(), ty, nullable: true };
        table.columns.push(ColumnDef { column, ..old.clone() });
        let checks = checks_of(table, number);
        bound.must_hold.extend(checks);
        if !old.column.nullable {
            bound.not_null.push(wanted.clone());
        }
        let value = using.map_or_else(|| weir_catalog::quote_identifier(&wanted), ToString::to_string);
        bound.filled.push(FilledColumn { name: filling, value: Some(value) });
        bound.retyped.push(RetypedColumn { from: old.column.id, to: id, name: wanted });
        Ok(())
    }

    /// What PostgreSQL asks of a new type: the values, and the default, become it by an assignment cast (42804).
    fn check_conversion(
        &self,
        object: &Object,
        table: &TableDef,
        old: &ColumnDef,
        ty: &SqlType,
        using: Option<&SqlExpr>,
    ) -> Result<()> {
        let (name, target) = (&old.column.name, ty.name());
        let row = definition_row(&object.name, &table.columns);
        let scope = Scope { columns: &row, ..Scope::default() };
        let own = SqlExpr::Identifier(Ident::with_quote('"', name));
        let cx = ExprContext::plain(&scope, "transform expressions");
        let value = self.bind_expr(using.unwrap_or(&own), cx)?;
        if holds_query(&value.expr) {
            let message = "cannot use subquery in transform expression";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        if self.cast(value, ty, CastContext::Assignment)?.is_none() {
            let (what, hint) = match using {
                None => ("column", format!("You might need to specify \"USING {}::{ty}\".", own)),
                Some(_) => (
                    "result of USING clause for column",
                    "You might need to add an explicit cast.".to_owned(),
                ),
            };
            return Err(mismatch(&format!("{what} \"{name}\""), &target).with_hint(hint));
        }
        if let Some(default) = &old.default_sql {
            let (expr, source) = parse_expression(default)?;
            let cx = ExprContext::plain(&scope, "DEFAULT expressions");
            let bound = self.within_text(source, || self.bind_expr(&expr, cx))?;
            let stored = self.assign(bound, name, &old.column.ty)?;
            let stored = Typed::new(stored, old.column.ty.clone(), None);
            if self.cast(stored, ty, CastContext::Assignment)?.is_none() {
                return Err(mismatch(&format!("default for column \"{name}\""), &target));
            }
        }
        Ok(())
    }
}

/// Refuses a new type for a column that others are made of.
fn check_retyped(table: &TableDef, old: &ColumnDef, ty: &SqlType) -> Result<()> {
    let name = &old.column.name;
    if let Some(other) = generated_from(table, name)?.first() {
        let message = "cannot alter type of a column used by a generated column";
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
            .with_detail(format!("Column \"{name}\" is used by generated column \"{other}\".")));
    }
    if table.primary_key.contains(&old.column.id) || matches!(old.generation, Generation::Stored(_)) {
        return Err(Error::unsupported(
            "another type for a column of the primary key, or a generated column",
        )
        .with_hint("Create a new table, INSERT … SELECT into it, and rename it."));
    }
    let is_integer = matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8);
    if matches!(old.generation, Generation::Identity { .. }) && !is_integer {
        let message = "identity column type must be smallint, integer, or bigint";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}

/// The CHECK constraints that name a column, whatever its type was when they were made.
fn check_no_watermark(table: &TableDef, column: u16) -> Result<()> {
    match &table.watermark {
        Some(watermark) if watermark.column == column => {
            Err(Error::unsupported("changing the column that a watermark is for")
                .with_hint("Create a new table without it, INSERT … SELECT into it, and rename it."))
        }
        _ => Ok(()),
    }
}

fn checks_of(table: &TableDef, number: u16) -> Vec<CheckDef> {
    let names_it = |check: &&CheckDef| check.columns.iter().any(|id| table.number(*id) == number);
    table.checks.iter().filter(names_it).cloned().collect()
}

/// The generated columns whose expression names this one.
fn generated_from(table: &TableDef, name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for column in &table.columns {
        if let Generation::Stored(sql) = &column.generation
            && names(sql, name)?
        {
            found.push(column.column.name.clone());
        }
    }
    Ok(found)
}

/// Whether an expression of the table's definition names a column.
fn names(sql: &str, column: &str) -> Result<bool> {
    struct Find<'a>(&'a str);
    impl Visitor for Find<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
            let name = match expr {
                SqlExpr::Identifier(name) => Some(name),
                SqlExpr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            match name {
                Some(name) if fold(name) == self.0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let (expr, _) = parse_expression(sql)?;
    Ok(expr.visit(&mut Find(column)).is_break())
}

/// 2BP01 for a column that something else is made of.
fn still_needed(column: &str, relation: &str, detail: &str) -> Error {
    let message =
        format!("cannot drop column {column} of table {relation} because other objects depend on it");
    Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(detail)
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

fn mismatch(what: &str, target: &str) -> Error {
    let message = format!("{what} cannot be cast automatically to type {target}");
    Error::new(SqlState::DATATYPE_MISMATCH, message)
}
