//! `Scope`: which columns can be named where, and the lookup of names in it.
//!
//! A scope is what one FROM clause made; its parent is the query around it, whose columns are *outer references*.
//! WITH queries are found through the same chain.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast::Ident;
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::typed::Typed;
use crate::parser::fold;

/// A column that a name can mean.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// Alias or name of the FROM item.
    pub table: Option<String>,
    /// Schema of the FROM item, when it is a relation without alias.
    pub schema: Option<String>,
    pub name: String,
    /// What it is in the plan.
    pub column: Column,
    pub ty: SqlType,
    pub origin: Option<(ObjectId, u16)>,
    /// Found by `t.c` only: a join merged it into another column.
    pub merged: bool,
}

/// A plan with the columns that it offers.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub plan: LogicalPlan,
    pub columns: Vec<ScopeColumn>,
}

/// A WITH query.
#[derive(Clone)]
pub(crate) struct Cte {
    /// Its own in the statement.
    pub id: usize,
    pub name: String,
    pub query: Arc<sqlparser::ast::Query>,
    pub columns: Vec<Ident>,
    /// How many WITH queries before it it can name.
    pub visible: usize,
    /// Whether something has read it.
    pub read: Cell<bool>,
}

/// The names visible at one place of a statement.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope<'p> {
    pub columns: &'p [ScopeColumn],
    /// WITH queries of this level.
    pub ctes: &'p [Cte],
    pub parent: Option<&'p Scope<'p>>,
}

impl<'p> Scope<'p> {
    /// Columns inside this scope's query.
    pub(crate) fn with_columns<'q>(&'q self, columns: &'q [ScopeColumn]) -> Scope<'q>
    where
        'p: 'q,
    {
        Scope { columns, ctes: self.ctes, parent: self.parent }
    }

    /// The scope of a subquery written where this scope is.
    pub(crate) fn inner<'q>(&'q self) -> Scope<'q>
    where
        'p: 'q,
    {
        Scope { columns: &[], ctes: &[], parent: Some(self) }
    }

    /// The scope in which a WITH query of this level was written.
    pub(crate) fn seen_by(&self, cte: &Cte) -> Scope<'_> {
        Scope { columns: &[], ctes: &self.ctes[..cte.visible], parent: self.parent }
    }

    /// The innermost WITH query of this name, with the scope it was written in.
    pub(crate) fn find_cte(&self, name: &str) -> Option<(&Cte, Scope<'_>)> {
        let mut scope = Some(self);
        while let Some(level) = scope {
            if let Some(cte) = level.ctes.iter().rev().find(|cte| cte.name == name) {
                return Some((cte, level.seen_by(cte)));
            }
            scope = level.parent;
        }
        None
    }
}

impl Binder<'_> {
    /// `c` or `t.c` or `s.t.c` as an expression.
    pub(crate) fn resolve_column(&self, parts: &[Ident], scope: &Scope<'_>) -> Result<Typed> {
        let position = parts.first().and_then(|p| self.span_position(p.span));
        let names: Vec<String> = parts.iter().map(fold).collect();
        let mut level = Some(scope);
        let mut outer = false;
        while let Some(scope) = level {
            if let Some(found) = find(scope.columns, &names).map_err(|e| e.at(position))? {
                self.mention(found, &names, position);
                return Ok(reference(found, outer, position));
            }
            level = scope.parent;
            outer = true;
        }
        if let Some(row) = self.whole_row(&names, scope, position) {
            return Ok(row);
        }
        if let Some(oid) = self.table_oid(&names, scope, position)? {
            return Ok(oid);
        }
        Err(self.unknown_column(&names, scope).at(position))
    }

    /// The name of a function in FROM as its value: a row of one column that is no table's is that column.
    fn whole_row(&self, names: &[String], scope: &Scope<'_>, position: Option<usize>) -> Option<Typed> {
        let [name] = names else { return None };
        let whole_rows = self.whole_rows.borrow();
        let (mut level, mut outer) = (Some(scope), false);
        while let Some(scope) = level {
            let mut named = scope.columns.iter().filter(|c| c.table.as_ref() == Some(name));
            if let (Some(only), None) = (named.next(), named.next())
                && whole_rows.contains(&only.column)
            {
                return Some(reference(only, outer, position));
            }
            (level, outer) = (scope.parent, true);
        }
        None
    }

    /// PostgreSQL's system column `tableoid`: the relation that a row is of.
    fn table_oid(
        &self,
        names: &[String],
        scope: &Scope<'_>,
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let Some((name, qualifier)) = names.split_last() else { return Ok(None) };
        if name != "tableoid" {
            return Ok(None);
        }
        let named = |c: &&ScopeColumn| qualifier.last().is_none_or(|table| c.table.as_ref() == Some(table));
        let Some((relation, _)) = scope.columns.iter().filter(named).find_map(|c| c.origin) else {
            return Ok(None);
        };
        let oid = Expr::Literal(ScalarValue::Utf8(Some(relation.to_string())), None);
        self.cast_explicitly(Typed::new(oid, SqlType::Unknown, position), &SqlType::Oid, position).map(Some)
    }

    fn mention(&self, found: &ScopeColumn, names: &[String], position: Option<usize>) {
        let display = match (&found.table, names) {
            (Some(table), _) => format!("{table}.{}", found.name),
            _ => found.name.clone(),
        };
        self.mentions.borrow_mut().entry(found.column.clone()).or_insert((display, position));
    }

    fn unknown_column(&self, names: &[String], scope: &Scope<'_>) -> Error {
        let Some((name, qualifier)) = names.split_last() else {
            return Error::internal("a column reference has no name");
        };
        if let Some(table) = qualifier.last() {
            let in_scope =
                |scope: &Scope<'_>| scope.columns.iter().any(|c| c.table.as_deref() == Some(table));
            let mut level = Some(scope);
            let mut known = false;
            while let Some(scope) = level {
                known |= in_scope(scope);
                level = scope.parent;
            }
            if !known {
                let message = format!("missing FROM-clause entry for table \"{table}\"");
                return Error::new(SqlState::UNDEFINED_TABLE, message);
            }
            let error =
                Error::new(SqlState::UNDEFINED_COLUMN, format!("column {table}.{name} does not exist"));
            return with_suggestion(error, name, scope);
        }
        with_suggestion(
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")),
            name,
            scope,
        )
    }
}

/// An expression for a column; from an outer query it is an outer reference.
pub(crate) fn reference(found: &ScopeColumn, outer: bool, position: Option<usize>) -> Typed {
    let expr = match outer {
        false => Expr::Column(found.column.clone()),
        true => {
            let field = Field::new(found.column.name.clone(), found.ty.arrow(), true);
            Expr::OuterReferenceColumn(Arc::new(field), found.column.clone())
        }
    };
    Typed::new(expr, found.ty.clone(), position)
}

fn find<'c>(columns: &'c [ScopeColumn], names: &[String]) -> Result<Option<&'c ScopeColumn>> {
    let Some((name, qualifier)) = names.split_last() else { return Ok(None) };
    let matches = |c: &&ScopeColumn| {
        c.name == *name
            && match qualifier {
                [] => !c.merged,
                [table] => c.table.as_ref() == Some(table),
                [.., schema, table] => c.table.as_ref() == Some(table) && c.schema.as_ref() == Some(schema),
            }
    };
    let mut found = columns.iter().filter(matches);
    let first = found.next();
    if found.next().is_some() {
        let message = format!("column reference \"{name}\" is ambiguous");
        return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message));
    }
    Ok(first)
}

/// PostgreSQL's hint: the nearest name, when it is near enough.
fn with_suggestion(error: Error, name: &str, scope: &Scope<'_>) -> Error {
    let near =
        scope.columns.iter().map(|c| (edit_distance(&c.name, name), c)).min_by_key(|(distance, _)| *distance);
    match near {
        Some((distance, column)) if distance <= 3 && distance * 2 <= name.chars().count() + 1 => {
            let table = column.table.as_deref().map(|t| format!("{t}.")).unwrap_or_default();
            error.with_hint(format!("Perhaps you meant to reference the column \"{table}{}\".", column.name))
        }
        _ => error,
    }
}

/// Levenshtein's distance, in characters.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
