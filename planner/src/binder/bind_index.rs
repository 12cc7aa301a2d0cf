//! Indexes and UNIQUE constraints: what they are over, and their names.

use datafusion::logical_expr::Expr;
use sqlparser::ast::{Expr as SqlExpr, Ident, Spanned};
use weir_catalog::{IndexColumn, IndexDef, IndexedValue, Object, ObjectKind};
use weir_common::key::KeyEncoder;
use weir_common::{Column, Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::bind_columns::Key;
use super::bind_expr::{ExprContext, strip};
use super::bind_rules::has_query;
use super::scope::{Scope, ScopeColumn};
use crate::ast::{CreateIndex, IndexItem};
use crate::bound::{BoundAlter, BoundCreateIndex, NewName, UniqueKey};
use crate::parser::{fold, parse_expression};

impl Binder<'_> {
    pub(crate) fn bind_create_index(&self, create: &CreateIndex, sql: &str) -> Result<BoundCreateIndex> {
        let position = self.span_position(create.relation.span());
        let relation = self.find_object(&create.relation)?;
        check_indexable(relation, create.unique).map_err(|e| e.at(position))?;
        let columns = relation.columns();
        let bound = create.columns.iter().map(|item| self.bind_index_item(item, relation, &columns));
        let bound: Vec<IndexColumn> = bound.collect::<Result<_>>()?;
        let plain = bound.iter().filter_map(|column| match column.value {
            IndexedValue::Column(number) => Some(number),
            IndexedValue::Expression { .. } => None,
        });
        check_not_retyped(relation, plain).map_err(|e| e.at(position))?;
        let include = create.include.iter().map(|name| self.index_column(name, &columns).map(|c| c.id));
        let index = IndexDef {
            relation: relation.id,
            columns: bound,
            include: include.collect::<Result<_>>()?,
            unique: create.unique,
            is_constraint: false,
        };
        check_not_retyped(relation, index.include.iter().copied()).map_err(|e| e.at(position))?;
        let (name, exists) = self.index_name(create, relation, &columns, &index)?;
        Ok(BoundCreateIndex {
            name,
            exists,
            concurrently: create.concurrently,
            index,
            definition: sql.to_owned(),
        })
    }

    /// The name given, or the one that PostgreSQL would choose; whether it is taken and that is forgiven.
    fn index_name(
        &self,
        create: &CreateIndex,
        relation: &Object,
        columns: &[Column],
        index: &IndexDef,
    ) -> Result<(NewName, bool)> {
        let catalog = &self.cx.catalog;
        let Some(name) = create.name.as_ref().map(fold) else {
            let parts: Vec<String> = index.columns.iter().map(|column| name_part(column, columns)).collect();
            let base = format!("{}_{}_idx", relation.name, parts.join("_"));
            let name = catalog.free_name(relation.schema, &base);
            return Ok((NewName { schema: relation.schema, name }, false));
        };
        let exists = catalog.is_name_taken(relation.schema, &name);
        if exists && !create.if_not_exists {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        Ok((NewName { schema: relation.schema, name }, exists))
    }

    fn bind_index_item(
        &self,
        item: &IndexItem,
        relation: &Object,
        columns: &[Column],
    ) -> Result<IndexColumn> {
        let expr = match strip(&item.expr) {
            SqlExpr::Collate { expr, .. } => strip(expr),
            expr => expr,
        };
        let value = match expr {
            SqlExpr::Identifier(name) => {
                let column = self.index_column(name, columns)?;
                check_key_type(&column.ty)?;
                IndexedValue::Column(column.id)
            }
            expr => {
                let (_, ty) = self.index_expression(expr, relation, columns)?;
                check_key_type(&ty)?;
                IndexedValue::Expression { sql: expr.to_string(), ty }
            }
        };
        Ok(IndexColumn { value, descending: item.descending, nulls_first: item.nulls_first })
    }

    fn index_column<'c>(&self, name: &Ident, columns: &'c [Column]) -> Result<&'c Column> {
        let wanted = fold(name);
        columns.iter().find(|column| column.name == wanted).ok_or_else(|| {
            let message = format!("column \"{wanted}\" does not exist");
            Error::new(SqlState::UNDEFINED_COLUMN, message).at(self.span_position(name.span))
        })
    }

    /// An expression that means the same always, over the relation's columns by name.
    fn index_expression(
        &self,
        expr: &SqlExpr,
        relation: &Object,
        columns: &[Column],
    ) -> Result<(Expr, SqlType)> {
        let row: Vec<ScopeColumn> = columns.iter().map(|column| row_column(relation, column)).collect();
        let scope = Scope { columns: &row, ..Scope::default() };
        let typed = self.immutable(|| self.bind_expr(expr, ExprContext::plain(&scope, "index expressions")));
        let typed = typed.map_err(|e| match e.state() {
            SqlState::FEATURE_NOT_SUPPORTED => {
                let message = "functions in index expression must be marked IMMUTABLE";
                Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
            }
            _ => e,
        })?;
        let typed = self.decide_text(typed)?;
        if has_query(&typed.expr) {
            let message = "cannot use subquery in index expression";
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(self.position(expr)));
        }
        Ok((typed.expr, typed.ty))
    }

    /// The columns of an index as expressions over the relation's columns by name, with their types.
    pub(crate) fn index_expressions(
        &self,
        relation: &Object,
        index: &IndexDef,
    ) -> Result<Vec<(Expr, SqlType)>> {
        let columns = relation.columns();
        let bound = index.columns.iter().map(|column| match &column.value {
            IndexedValue::Column(id) => {
                let column = columns.iter().find(|column| column.id == *id);
                let column = column.ok_or_else(|| Error::internal("an index of a column that is gone"))?;
                let named = datafusion::common::Column::new_unqualified(column.name.clone());
                Ok((Expr::Column(named), column.ty.clone()))
            }
            IndexedValue::Expression { sql, .. } => {
                let (expr, source) = parse_expression(sql)?;
                self.within_text(source, || self.index_expression(&expr, relation, &columns))
            }
        });
        bound.collect()
    }

    /// UNIQUE constraints of a new table, named as PostgreSQL names them.
    pub(crate) fn bind_unique_keys(
        &self,
        table: &NewName,
        columns: &[Column],
        keys: &[Key],
        taken: &[String],
    ) -> Result<Vec<UniqueKey>> {
        let mut bound: Vec<UniqueKey> = Vec::new();
        for key in keys {
            let found = key.columns.iter().map(|name| {
                let position = self.span_position(name.span);
                let wanted = fold(name);
                columns.iter().find(|column| column.name == wanted).ok_or_else(|| {
                    let message = format!("column \"{wanted}\" named in key does not exist");
                    Error::new(SqlState::UNDEFINED_COLUMN, message).at(position)
                })
            });
            let found: Vec<&Column> = found.collect::<Result<_>>()?;
            let mut ids = Vec::with_capacity(found.len());
            for column in &found {
                if ids.contains(&column.id) {
                    let message = format!("column \"{}\" appears twice in unique constraint", column.name);
                    return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
                }
                check_key_type(&column.ty)?;
                ids.push(column.id);
            }
            let names: Vec<&str> = found.iter().map(|column| column.name.as_str()).collect();
            let is_taken = |name: &str| {
                self.cx.catalog.is_name_taken(table.schema, name)
                    || taken.iter().any(|other| other == name)
                    || bound.iter().any(|other| other.name == name)
            };
            let name = match &key.constraint {
                Some(name) if is_taken(name) => {
                    let message = format!("relation \"{name}\" already exists");
                    return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
                }
                Some(name) => name.clone(),
                None => free(&format!("{}_{}_key", table.name, names.join("_")), is_taken),
            };
            bound.push(UniqueKey { name, columns: ids });
        }
        Ok(bound)
    }
}

impl Binder<'_> {
    /// UNIQUE constraints that ALTER TABLE adds.
    pub(crate) fn add_unique_keys(
        &self,
        object: &Object,
        keys: &[Key],
        bound: &mut BoundAlter,
    ) -> Result<()> {
        let columns: Vec<Column> =
            bound.table_mut()?.shown().iter().map(weir_catalog::ShownColumn::column).collect();
        let table = NewName { schema: object.schema, name: object.name.clone() };
        let taken: Vec<String> = bound.new_keys.iter().map(|key| key.name.clone()).collect();
        let added = self.bind_unique_keys(&table, &columns, keys, &taken)?;
        check_not_retyped(object, added.iter().flat_map(|key| key.columns.iter().copied()))?;
        bound.new_keys.extend(added);
        Ok(())
    }

    /// The index of a table's UNIQUE constraint of this name.
    pub(crate) fn unique_constraint(&self, object: &Object, name: &str) -> Option<ObjectId> {
        let mut indexes = self.cx.catalog.indexes_of(object.id);
        indexes.find(|(index, def)| def.is_constraint && index.name == name).map(|(index, _)| index.id)
    }
}

/// 0A000 for a column whose type was changed: an index finds its columns by the number they had at first.
fn check_not_retyped(relation: &Object, columns: impl IntoIterator<Item = u16>) -> Result<()> {
    let ObjectKind::Table(table) = &relation.kind else { return Ok(()) };
    if columns.into_iter().any(|number| table.is_retyped(number)) {
        return Err(Error::unsupported("an index over a column whose type was changed")
            .with_hint("Create a new table, INSERT … SELECT into it, and rename it."));
    }
    Ok(())
}

/// `base`, or `base1`, …: the first that is not taken.
fn free(base: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (1u32..).map(|n| format!("{base}{n}"));
    let mut candidates = std::iter::once(base.to_owned()).chain(numbered);
    candidates.find(|name| !is_taken(name)).expect("some number is free")
}

/// Errors: 42809 for what has no rows, 0A000 for a view that is to be unique.
fn check_indexable(relation: &Object, unique: bool) -> Result<()> {
    match &relation.kind {
        ObjectKind::Table(_) => Ok(()),
        ObjectKind::MaterializedView(_) if unique => {
            Err(Error::unsupported("a UNIQUE index of a materialized view")
                .with_hint("Leave UNIQUE out: the rows are what the query makes of its inputs."))
        }
        ObjectKind::MaterializedView(_) => Ok(()),
        kind => {
            let message = format!("cannot create index on relation \"{}\"", relation.name);
            let detail = format!("This operation is not supported for {}s.", kind.noun());
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).with_detail(detail))
        }
    }
}

/// 0A000 for a type whose values have no order.
fn check_key_type(ty: &SqlType) -> Result<()> {
    KeyEncoder::new(&[ty.arrow()]).map(|_| ())
}

fn row_column(relation: &Object, column: &Column) -> ScopeColumn {
    ScopeColumn {
        table: Some(relation.name.clone()),
        schema: None,
        name: column.name.clone(),
        column: datafusion::common::Column::new_unqualified(column.name.clone()),
        ty: column.ty.clone(),
        origin: Some((relation.id, column.id)),
        merged: false,
    }
}

/// A column's part of an index's name: its own, the called function's, or `expr`.
fn name_part(column: &IndexColumn, columns: &[Column]) -> String {
    match &column.value {
        IndexedValue::Column(id) => {
            columns.iter().find(|column| column.id == *id).map_or_else(String::new, |c| c.name.clone())
        }
        IndexedValue::Expression { sql, .. } => match sql.split_once('(') {
            Some((name, _)) if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                name.to_lowercase()
            }
            _ => "expr".to_owned(),
        },
    }
}

/// The index of this id as an object needs it to be dropped: one that enforces a constraint is not dropped alone.
pub(crate) fn check_droppable(catalog: &weir_catalog::CatalogSnapshot, index: &Object) -> Result<()> {
    let ObjectKind::Index(def) = &index.kind else { return Ok(()) };
    if !def.is_constraint {
        return Ok(());
    }
    Err(constraint_needs(catalog, &index.name, def.relation))
}

/// 2BP01: an index that a constraint of a table requires.
pub(crate) fn constraint_needs(
    catalog: &weir_catalog::CatalogSnapshot,
    index: &str,
    table: ObjectId,
) -> Error {
    let table = catalog.object(table).map_or("", |object| object.name.as_str());
    let message =
        format!("cannot drop index {index} because constraint {index} on table {table} requires it");
    Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_hint(format!("You can drop constraint {index} on table {table} instead."))
}
