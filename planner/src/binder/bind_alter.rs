//! ALTER TABLE: the table's definition after it, and what its rows must be to fit.

use sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, CheckConstraint, DropBehavior, Expr as SqlExpr, Ident,
    ObjectName, RenameTableNameKind, Spanned, TableConstraint, VisitMut, VisitorMut,
};
use weir_catalog::{CheckDef, ColumnDef, Generation, Object, ObjectKind, TableDef};
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::bind_columns::{Elements, unique_key_of, unsupported_constraint};
use super::bind_drop::is_kind;
use super::bind_relation::{Found, RelationName};
use crate::ast::Alter;
use crate::bound::{BoundAlter, DropKind, FilledColumn, NewName};
use crate::parser::{fold, parse_expression};

impl Binder<'_> {
    pub(crate) fn bind_alter(&self, alter: &Alter) -> Result<BoundAlter> {
        let wanted = RelationName::of(&alter.name)?;
        let position = self.span_position(alter.name.span());
        let object = match self.lookup(&wanted) {
            Some(Found::Object(object)) => object,
            Some(Found::System(table)) => {
                let message = format!("permission denied: \"{}\" is a system catalog", table.name);
                return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message).at(position));
            }
            None if alter.if_exists => {
                let notice = format!("relation \"{}\" does not exist, skipping", wanted.name);
                let missing = BoundAlter::missing(alter.kind, wanted.name);
                return Ok(BoundAlter { notices: vec![notice], ..missing });
            }
            None => {
                let message = format!("relation \"{}\" does not exist", wanted.name);
                return Err(Error::new(SqlState::UNDEFINED_TABLE, message).at(position));
            }
        };
        // PostgreSQL lets ALTER TABLE rename anything.
        if alter.kind != DropKind::Table && !is_kind(&object.kind, alter.kind) {
            let message = format!("\"{}\" is not a {}", object.name, alter.kind.noun());
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(position));
        }
        let mut bound = BoundAlter::of(alter.kind, object);
        for operation in &alter.operations {
            self.bind_operation(object, operation, &mut bound)?;
        }
        Ok(bound)
    }

    fn bind_operation(
        &self,
        object: &Object,
        operation: &AlterTableOperation,
        bound: &mut BoundAlter,
    ) -> Result<()> {
        if let AlterTableOperation::RenameTable { table_name } = operation {
            bound.name = self.new_relation_name(object, table_name)?;
            bound.renames = true;
            return Ok(());
        }
        let ObjectKind::Table(_) = &object.kind else {
            let what = format!("ALTER {} … {operation}", object.kind.noun().to_uppercase());
            return Err(Error::unsupported(what).with_hint("Drop it and create it again."));
        };
        match operation {
            AlterTableOperation::AddColumn { if_not_exists, column_def, .. } => {
                self.add_column(object, column_def, *if_not_exists, bound)
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                self.rename_column(object, old_column_name, new_column_name, bound)
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(object, column_name, op, bound)
            }
            AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                let how = (*if_exists, matches!(drop_behavior, Some(DropBehavior::Cascade)));
                column_names.iter().try_for_each(|name| self.drop_column(object, name, how, bound))
            }
            AlterTableOperation::AddConstraint { constraint: TableConstraint::Check(check), .. } => {
                let table = bound.table_mut()?;
                let checks = self.more_checks(&object.name, table, &[check])?;
                bound.must_hold.extend(checks);
                Ok(())
            }
            AlterTableOperation::AddConstraint { constraint: TableConstraint::Unique(key), .. } => {
                self.add_unique_keys(object, &[unique_key_of(key)?], bound)
            }
            AlterTableOperation::AddConstraint { constraint, .. } => Err(unsupported_constraint(constraint)),
            AlterTableOperation::DropConstraint { if_exists, name, .. } => {
                if let Some(key) = self.unique_constraint(object, &fold(name)) {
                    bound.dropped_keys.push(key);
                    return Ok(());
                }
                drop_constraint(object, &fold(name), *if_exists, bound)
            }
            other => Err(Error::unsupported(format!("ALTER TABLE … {other}"))
                .with_hint("Create a new table, INSERT … SELECT into it, and rename it.")),
        }
    }

    /// RENAME TO: a name that is free in the relation's schema.
    fn new_relation_name(&self, object: &Object, name: &RenameTableNameKind) -> Result<String> {
        let (RenameTableNameKind::To(name) | RenameTableNameKind::As(name)) = name;
        let renamed = match name {
            ObjectName(parts) if parts.len() == 1 => RelationName::of(name)?.name,
            _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "the new name cannot name a schema")),
        };
        if self.cx.catalog.is_name_taken(object.schema, &renamed) {
            let message = format!("relation \"{renamed}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_TABLE, message).at(self.span_position(name.span())));
        }
        Ok(renamed)
    }

    fn add_column(
        &self,
        object: &Object,
        definition: &sqlparser::ast::ColumnDef,
        if_not_exists: bool,
        bound: &mut BoundAlter,
    ) -> Result<()> {
        let name = fold(&definition.name);
        let position = self.span_position(definition.name.span);
        let table = bound.table_mut()?;
        if table.columns.iter().any(|c| c.column.name == name) {
            let message = format!("column \"{name}\" of relation \"{}\" already exists", object.name);
            if if_not_exists {
                bound.notices.push(format!("{message}, skipping"));
                return Ok(());
            }
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(position));
        }
        let mut elements = Elements { columns: table.columns.clone(), ..Elements::default() };
        let table_name = NewName { schema: object.schema, name: object.name.clone() };
        let column = self.bind_column(&table_name, definition, &mut elements)?;
        if !elements.keys.is_empty() || !elements.sequences.is_empty() {
            let what = "adding a serial, identity or primary key column";
            return Err(Error::unsupported(what)
                .with_hint("Create a new table with it, INSERT … SELECT into it, and rename it.")
                .at(position));
        }
        let is_computed = column.default_sql.is_some() || column.generation != Generation::Nothing;
        if is_computed {
            bound.filled.push(FilledColumn { name, value: None });
        } else if !column.column.nullable {
            bound.not_null.push(name);
        }
        let table = bound.table_mut()?;
        table.columns.push(column);
        self.check_generated(&object.name, &table.columns)?;
        let checks = self.more_checks(&object.name, table, &elements.checks)?;
        bound.must_hold.extend(checks);
        bound.depends_on.extend(self.used_sequences.take());
        self.add_unique_keys(object, &elements.unique_keys, bound)
    }

    /// Adds CHECK constraints, with names that the table does not have yet; returns them.
    fn more_checks(
        &self,
        name: &str,
        table: &mut TableDef,
        checks: &[&CheckConstraint],
    ) -> Result<Vec<CheckDef>> {
        let mut added = self.bind_checks(name, &table.columns, checks)?;
        for (check, written) in added.iter_mut().zip(checks) {
            let is_taken = |name: &str| table.checks.iter().any(|c| c.name == name);
            if written.name.is_some() && is_taken(&check.name) {
                let message = format!("constraint \"{}\" for relation \"{name}\" already exists", check.name);
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
            }
            let base = check.name.clone();
            let mut numbers = 1..;
            while is_taken(&check.name)
                && let Some(number) = numbers.next()
            {
                check.name = format!("{base}{number}");
            }
            table.checks.push(check.clone());
        }
        Ok(added)
    }

    fn rename_column(&self, object: &Object, from: &Ident, to: &Ident, bound: &mut BoundAlter) -> Result<()> {
        let (old, new) = (fold(from), fold(to));
        let table = bound.table_mut()?;
        if table.columns.iter().any(|c| c.column.name == new) {
            let message = format!("column \"{new}\" of relation \"{}\" already exists", object.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(self.span_position(to.span)));
        }
        let column = self.column_mut(object, table, from)?;
        column.column.name.clone_from(&new);
        for column in &mut table.columns {
            if let Generation::Stored(sql) = &mut column.generation {
                *sql = renamed_in(sql, &old, &new)?;
            }
        }
        for check in &mut table.checks {
            check.condition_sql = renamed_in(&check.condition_sql, &old, &new)?;
        }
        if let Some(watermark) = &mut table.watermark {
            watermark.expression_sql = renamed_in(&watermark.expression_sql, &old, &new)?;
        }
        bound.renames = true;
        Ok(())
    }

    fn alter_column(
        &self,
        object: &Object,
        name: &Ident,
        operation: &AlterColumnOperation,
        bound: &mut BoundAlter,
    ) -> Result<()> {
        if let AlterColumnOperation::SetDataType { data_type, using, .. } = operation {
            return self.set_type(object, name, data_type, using.as_ref(), bound);
        }
        bound.check_not_retyped(&fold(name))?;
        let table = bound.table_mut()?;
        let primary_key = table.primary_key.clone();
        let column = self.column_mut(object, table, name)?;
        match operation {
            AlterColumnOperation::SetNotNull => {
                column.column.nullable = false;
                bound.not_null.push(fold(name));
            }
            AlterColumnOperation::DropNotNull if primary_key.contains(&column.column.id) => {
                let message = format!("column \"{}\" is in a primary key", column.column.name);
                return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
            AlterColumnOperation::DropNotNull => column.column.nullable = true,
            AlterColumnOperation::SetDefault { value } => {
                self.check_default(value, &column.column)?;
                column.default_sql = Some(value.to_string());
                bound.depends_on.extend(self.used_sequences.take());
            }
            AlterColumnOperation::DropDefault => column.default_sql = None,
            other => {
                return Err(Error::unsupported(format!("ALTER COLUMN … {other}"))
                    .with_hint("Add another column and UPDATE it from this one."));
            }
        }
        Ok(())
    }

    fn column_mut<'t>(
        &self,
        object: &Object,
        table: &'t mut TableDef,
        name: &Ident,
    ) -> Result<&'t mut ColumnDef> {
        let wanted = fold(name);
        table.columns.iter_mut().find(|c| c.column.name == wanted && !c.is_dropped()).ok_or_else(|| {
            let message = format!("column \"{wanted}\" of relation \"{}\" does not exist", object.name);
            Error::new(SqlState::UNDEFINED_COLUMN, message).at(self.span_position(name.span))
        })
    }
}

fn drop_constraint(object: &Object, name: &str, if_exists: bool, bound: &mut BoundAlter) -> Result<()> {
    let table = bound.table_mut()?;
    if table.key_constraint_name.as_deref() == Some(name) {
        return Err(Error::unsupported("dropping a primary key")
            .with_hint("Create a new table without it, INSERT … SELECT into it, and rename it."));
    }
    let before = table.checks.len();
    table.checks.retain(|check| check.name != name);
    if table.checks.len() < before {
        return Ok(());
    }
    let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", object.name);
    if if_exists {
        bound.notices.push(format!("{message}, skipping"));
        return Ok(());
    }
    Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
}

/// An expression of the table's definition under a column's new name.
fn renamed_in(sql: &str, old: &str, new: &str) -> Result<String> {
    struct Rename<'a>(&'a str, &'a str);
    impl VisitorMut for Rename<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> std::ops::ControlFlow<()> {
            let name = match expr {
                SqlExpr::Identifier(name) => Some(name),
                SqlExpr::CompoundIdentifier(parts) => parts.last_mut(),
                _ => None,
            };
            if let Some(name) = name
                && fold(name) == self.0
            {
                *name = Ident::with_quote('"', self.1);
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let (mut expr, _) = parse_expression(sql)?;
    let _ = expr.visit(&mut Rename(old, new));
    Ok(expr.to_string())
}
