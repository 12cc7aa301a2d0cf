//! INSERT: VALUES, a query or defaults, as whole rows of the table; ON CONFLICT; RETURNING.
//!
//! `DO UPDATE` becomes a query over pairs of rows that the session gives it: a number, the row that is there, the
//! row proposed (`excluded`). It yields the numbers of the pairs to update, each with the new row.

use std::sync::Arc;

use datafusion::logical_expr::Expr;
use sqlparser::ast::{
    ConflictTarget, DoUpdate, Insert, ObjectName, OnConflict, OnConflictAction, OnInsert, Query, SetExpr,
    Spanned, TableObject, Values,
};
use weir_catalog::{ColumnDef, IndexDef, Object, TableDef};
use weir_common::{Error, Result, SqlState, SqlType};

use super::Binder;
use super::bind_dml::row_columns;
use super::bind_expr::ExprContext;
use super::bind_query::Bound;
use super::bind_rules::Writing;
use super::bind_select::{Projected, filter};
use super::scope::{Relation, Scope, ScopeColumn};
use super::typed::Typed;
use crate::bound::{Arbiter, BoundConflict, BoundInsert, BoundQuery};
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_insert(&self, insert: &Insert, scope: &Scope<'_>) -> Result<BoundInsert> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::unsupported("INSERT into anything but a table"));
        };
        let (object, table) = self.target_table(name, "insert into")?;
        let targets = self.insert_targets(&insert.columns, &object, &table)?;
        let relation = match &insert.source {
            None => self.insert_row(&table, &[], &[])?,
            Some(query) => match plain_values(query) {
                Some(values) => {
                    self.insert_values(values, (&table, &targets), insert.columns.is_empty(), scope)?
                }
                None => {
                    let given = self.insert_query(query, &targets, insert.columns.is_empty(), scope)?;
                    self.fill_defaults(given, &table, &targets)?
                }
            },
        };
        let query = self.bound_query(Bound { relation, ordered: false })?;
        let alias = insert.table_alias.as_ref().map(|a| fold(&a.alias));
        let row = row_columns(&object, &table, alias.as_deref());
        let conflict = match &insert.on {
            None => None,
            Some(OnInsert::OnConflict(clause)) => self.bind_conflict(clause, &object, &table, &row, scope)?,
            Some(_) => {
                return Err(Error::unsupported("ON DUPLICATE KEY UPDATE").with_hint("Write ON CONFLICT."));
            }
        };
        let returning = self.bind_returning(insert.returning.as_ref(), &table, row, scope)?;
        let rules = self.row_rules(&object, &table)?;
        Ok(BoundInsert { table: object.id, rules, query, conflict, returning })
    }

    /// ON CONFLICT; nothing when the table has no key that could conflict.
    fn bind_conflict(
        &self,
        clause: &OnConflict,
        object: &Object,
        table: &TableDef,
        row: &[ScopeColumn],
        scope: &Scope<'_>,
    ) -> Result<Option<BoundConflict>> {
        let arbiters = match &clause.conflict_target {
            Some(target) => vec![self.bind_conflict_target(target, object, table)?],
            None => self.unique_keys(object, table).into_iter().map(|(arbiter, _)| arbiter).collect(),
        };
        match &clause.action {
            OnConflictAction::DoNothing if arbiters.is_empty() => Ok(None),
            OnConflictAction::DoNothing => Ok(Some(BoundConflict { arbiters, update: None })),
            OnConflictAction::DoUpdate(_) if clause.conflict_target.is_none() => {
                let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                Err(Error::new(SqlState::SYNTAX_ERROR, message)
                    .with_hint("For example, ON CONFLICT (column_name)."))
            }
            OnConflictAction::DoUpdate(update) => {
                let update = self.bind_do_update(update, object, table, row, scope)?;
                Ok(Some(BoundConflict { arbiters, update: Some(update) }))
            }
        }
    }

    /// The unique keys of a table, with the ids of their columns in order; none for one with expressions.
    fn unique_keys(&self, object: &Object, table: &TableDef) -> Vec<(Arbiter, Vec<u16>)> {
        let mut keys = Vec::new();
        if !table.primary_key.is_empty() {
            keys.push((Arbiter::PrimaryKey, table.primary_key.clone()));
        }
        let unique = self.cx.catalog.indexes_of(object.id).filter(|(_, index)| index.unique);
        keys.extend(unique.map(|(object, index)| {
            let plain: Vec<u16> = index.plain_columns().collect();
            let is_plain = plain.len() == index.columns.len();
            (Arbiter::Index(object.id), if is_plain { plain } else { Vec::new() })
        }));
        for (_, columns) in &mut keys {
            columns.sort_unstable();
        }
        keys
    }

    /// The unique key that ON CONFLICT names, by its constraint or by its columns.
    fn bind_conflict_target(
        &self,
        target: &ConflictTarget,
        object: &Object,
        table: &TableDef,
    ) -> Result<Arbiter> {
        match target {
            ConflictTarget::OnConstraint(name) => {
                let wanted = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
                if table.key_constraint_name.as_ref() == Some(&wanted) {
                    return Ok(Arbiter::PrimaryKey);
                }
                let is_wanted =
                    |(index, def): &(&Arc<Object>, &IndexDef)| def.is_constraint && index.name == wanted;
                if let Some((index, _)) = self.cx.catalog.indexes_of(object.id).find(is_wanted) {
                    return Ok(Arbiter::Index(index.id));
                }
                let message = format!("constraint \"{wanted}\" for table \"{}\" does not exist", object.name);
                Err(Error::new(SqlState::UNDEFINED_OBJECT, message).at(self.span_position(name.span())))
            }
            ConflictTarget::Columns(idents) => {
                let mut ids = Vec::with_capacity(idents.len());
                for ident in idents {
                    let wanted = fold(ident);
                    let found = table.find(&wanted);
                    let missing = || {
                        Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{wanted}\" does not exist"))
                            .at(self.span_position(ident.span))
                    };
                    ids.push(found.ok_or_else(missing)?.def.column.id);
                }
                ids.sort_unstable();
                ids.dedup();
                let keys = self.unique_keys(object, table);
                let found = keys.into_iter().find(|(_, columns)| !columns.is_empty() && *columns == ids);
                found.map(|(arbiter, _)| arbiter).ok_or_else(|| {
                    let message =
                        "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                    Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                })
            }
        }
    }

    /// A query over (number, existing row, excluded row) that yields (number, new row).
    fn bind_do_update(
        &self,
        update: &DoUpdate,
        object: &Object,
        table: &TableDef,
        row: &[ScopeColumn],
        scope: &Scope<'_>,
    ) -> Result<BoundQuery> {
        let read = self.relations.take();
        let number = ScopeColumn { merged: true, ty: SqlType::Int8, origin: None, ..row[0].clone() };
        let excluded = row.iter().map(|c| ScopeColumn { table: Some("excluded".into()), ..c.clone() });
        let columns = std::iter::once(ScopeColumn { table: None, name: "number".into(), ..number });
        let given = self.given_rows(columns.chain(row.iter().cloned()).chain(excluded).collect())?;
        let inside = scope.with_columns(&given.columns[1..]);
        let mut plan = given.plan;
        if let Some(condition) = &update.selection {
            let cx = ExprContext::plain(&inside, "WHERE");
            plan = filter(plan, self.condition(self.bind_expr(condition, cx)?, "WHERE")?)?;
        }
        let existing = &given.columns[1..=row.len()];
        let old = existing.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let new = self.bind_assignments(&update.assignments, (object, table), &inside, old)?;
        let mut projected = Projected::default();
        let number = &given.columns[0];
        let numbered = projected.add(self, Expr::Column(number.column.clone()), "number");
        let mut columns = vec![ScopeColumn { column: numbered, ..number.clone() }];
        for (value, column) in new.into_iter().zip(existing) {
            let name = projected.add(self, value, &column.name);
            columns.push(ScopeColumn { column: name, origin: None, ..column.clone() });
        }
        let relation = self.project(Relation { plan, columns: Vec::new() }, projected, columns)?;
        let query = self.bound_query(Bound { relation, ordered: false })?;
        self.relations.borrow_mut().extend(read);
        Ok(query)
    }

    /// The columns that the statement gives values for, in its order.
    pub(super) fn insert_targets(
        &self,
        columns: &[ObjectName],
        object: &Object,
        table: &TableDef,
    ) -> Result<Vec<ColumnDef>> {
        if columns.is_empty() {
            return Ok(table.shown().iter().map(|shown| shown.def.clone()).collect());
        }
        let mut targets: Vec<ColumnDef> = Vec::new();
        for name in columns {
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

    /// VALUES: every expression goes into its column directly, so that literals take the column's type.
    fn insert_values(
        &self,
        values: &Values,
        (table, targets): (&TableDef, &[ColumnDef]),
        all_columns: bool,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let cx = ExprContext::plain(scope, "VALUES");
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let given = self.check_width(width, targets, all_columns)?;
        let mut cells: Vec<Vec<Expr>> = vec![Vec::with_capacity(values.rows.len()); width];
        for row in &values.rows {
            if row.content.len() != width {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
            }
            for ((expr, target), cells) in row.content.iter().zip(given).zip(&mut cells) {
                cells.push(self.bind_assigned(expr, target, cx)?);
            }
        }
        if values.rows.len() == 1 {
            return self.insert_row(table, given, &cells.concat());
        }
        let columns = cells.into_iter().zip(given).map(|(cells, t)| (cells, t.column.ty.clone())).collect();
        let names: Vec<String> = given.iter().map(|t| t.column.name.clone()).collect();
        let rows = self.constant_rows(values.rows.len(), columns, &names)?;
        self.fill_defaults(rows, table, targets)
    }

    /// One whole row: these values, and the defaults of the columns without one.
    fn insert_row(&self, table: &TableDef, targets: &[ColumnDef], values: &[Expr]) -> Result<Relation> {
        let cell = |column: &ColumnDef| {
            let given = targets.iter().position(|t| t.column.id == column.column.id);
            let cell = given
                .and_then(|at| values.get(at))
                .cloned()
                .map_or_else(|| self.default_value(column), Ok)?;
            Ok((vec![cell], column.column.ty.clone()))
        };
        let cells = table.columns.iter().map(cell).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = table.columns.iter().map(|c| c.column.name.clone()).collect();
        self.constant_rows(1, cells, &names)
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

    fn insert_query(
        &self,
        query: &Query,
        targets: &[ColumnDef],
        all_columns: bool,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        self.assigned_rows(self.bind_query(query, scope)?.relation, targets, all_columns)
    }

    /// Rows as values of the columns they go into.
    pub(super) fn assigned_rows(
        &self,
        relation: Relation,
        targets: &[ColumnDef],
        all_columns: bool,
    ) -> Result<Relation> {
        let targets = self.check_width(relation.columns.len(), targets, all_columns)?;
        let mut projected = Projected::default();
        let mut columns = Vec::new();
        for (from, target) in relation.columns.iter().zip(targets) {
            let typed = Typed::new(Expr::Column(from.column.clone()), from.ty.clone(), None);
            let expr = match self.takes_given(target, Writing::Inserting)? {
                true => self.assign(typed, &target.column.name, &target.column.ty)?,
                false => self.default_value(target)?,
            };
            let column = projected.add(self, expr, &target.column.name);
            columns.push(ScopeColumn { column, ty: target.column.ty.clone(), origin: None, ..from.clone() });
        }
        self.project(relation, projected, columns)
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
}

/// The VALUES list of a query that is nothing else.
fn plain_values(query: &Query) -> Option<&Values> {
    match query.body.as_ref() {
        SetExpr::Values(values) if query.order_by.is_none() && query.limit_clause.is_none() => Some(values),
        _ => None,
    }
}
