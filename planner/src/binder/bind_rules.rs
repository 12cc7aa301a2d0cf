//! CHECK constraints and generated columns: bound once to see that they may stand in a table's definition, and again
//! by every statement that writes to the table.

use datafusion::logical_expr::Expr;
use sqlparser::ast::{CheckConstraint, Expr as SqlExpr};
use weir_catalog::{CheckDef, ColumnDef, Generation, IdentityKind, Object, TableDef};
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::bind_dml::row_columns;
use super::bind_expr::ExprContext;
use super::scope::{Scope, ScopeColumn};
use crate::ast::Overriding;
use crate::bound::RowRules;
use crate::parser::{fold, is_processing_time, parse_expression};

/// What a statement does to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Inserting,
    Updating,
}

impl Binder<'_> {
    /// What is to be computed and checked for every row written to a table.
    pub(crate) fn row_rules(&self, object: &Object, table: &TableDef) -> Result<RowRules> {
        let row = row_columns(object, table, None);
        let mut rules = RowRules::default();
        for (i, column) in table.columns.iter().enumerate() {
            if let Generation::Stored(sql) = &column.generation {
                let (expr, source) = parse_expression(sql)?;
                let value = self.within_text(source, || self.generated_value(&expr, column, &row))?;
                rules.generated.push((i, value));
            }
        }
        for check in &table.checks {
            let (expr, source) = parse_expression(&check.condition_sql)?;
            let condition = self.within_text(source, || self.check_condition(&expr, &row))?;
            rules.checks.push((check.name.clone(), condition));
        }
        rules.checks.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(rules)
    }

    fn generated_value(&self, expr: &SqlExpr, column: &ColumnDef, row: &[ScopeColumn]) -> Result<Expr> {
        let scope = Scope { columns: row, ..Scope::default() };
        let typed = self.bind_expr(expr, ExprContext::plain(&scope, "column generation expressions"))?;
        self.assign(typed, &column.column.name, &column.column.ty)
    }

    fn check_condition(&self, expr: &SqlExpr, row: &[ScopeColumn]) -> Result<Expr> {
        let scope = Scope { columns: row, ..Scope::default() };
        let typed = self.bind_expr(expr, ExprContext::plain(&scope, "check constraints"))?;
        self.condition(typed, "CHECK")
    }

    /// Checks generation expressions of a table to be created: they name other columns only, none of them
    /// generated, and mean the same always.
    pub(crate) fn check_generated(&self, name: &str, columns: &[ColumnDef]) -> Result<()> {
        let row = definition_row(name, columns);
        for column in columns {
            let Generation::Stored(sql) = &column.generation else { continue };
            let (expr, source) = parse_expression(sql)?;
            let bind = || self.within_text(source, || self.generated_value(&expr, column, &row));
            // When a row came is what it says of itself: the one thing that may differ from row to row.
            let value = if is_processing_time(&expr) { bind() } else { self.immutable(bind) };
            let value = value.map_err(|e| match e.state() {
                SqlState::FEATURE_NOT_SUPPORTED => {
                    Error::new(SqlState::INVALID_OBJECT_DEFINITION, "generation expression is not immutable")
                }
                _ => e,
            })?;
            if has_query(&value) {
                let message = "cannot use subquery in column generation expression";
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            let used = value.column_refs();
            let is_used = |c: &&ColumnDef| {
                matches!(c.generation, Generation::Stored(_)) && used.iter().any(|u| u.name == c.column.name)
            };
            if let Some(other) = columns.iter().find(is_used) {
                let message = format!(
                    "cannot use generated column \"{}\" in column generation expression",
                    other.column.name
                );
                return Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                    .with_detail("A generated column cannot reference another generated column."));
            }
        }
        Ok(())
    }

    /// CHECK constraints of a table to be created, each with a name of its own.
    pub(crate) fn bind_checks(
        &self,
        name: &str,
        columns: &[ColumnDef],
        checks: &[&CheckConstraint],
    ) -> Result<Vec<CheckDef>> {
        let row = definition_row(name, columns);
        let mut bound: Vec<CheckDef> = Vec::with_capacity(checks.len());
        for check in checks {
            let condition = self.check_condition(&check.expr, &row)?;
            if has_query(&condition) {
                let message = "cannot use subquery in check constraint";
                return Err(
                    Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(self.position(&check.expr))
                );
            }
            let used = condition.column_refs();
            let used: Vec<&ColumnDef> =
                columns.iter().filter(|c| used.iter().any(|u| u.name == c.column.name)).collect();
            let given = check.name.as_ref().map(fold);
            if let Some(given) = given.as_ref().filter(|given| bound.iter().any(|b| b.name == **given)) {
                let message = format!("check constraint \"{given}\" already exists");
                return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
            }
            let base = match used.as_slice() {
                [only] => format!("{name}_{}_check", only.column.name),
                _ => format!("{name}_check"),
            };
            let numbered = (1..).map(|n| format!("{base}{n}"));
            let is_free = |wanted: &String| {
                let is_given = |c: &&&CheckConstraint| c.name.as_ref().map(fold).as_ref() == Some(wanted);
                !bound.iter().any(|b| b.name == *wanted) && !checks.iter().any(|c| is_given(&c))
            };
            let chosen = std::iter::once(base.clone()).chain(numbered).find(is_free);
            bound.push(CheckDef {
                name: given.or(chosen).unwrap_or(base),
                condition_sql: check.expr.to_string(),
                columns: used.iter().map(|c| c.column.id).collect(),
            });
        }
        Ok(bound)
    }

    /// Whether a column takes the value that a statement gives it; 428C9 when only the system may give it one.
    pub(crate) fn takes_given(&self, column: &ColumnDef, writing: Writing) -> Result<bool> {
        let overriding = match writing {
            Writing::Inserting => self.overriding.get(),
            Writing::Updating => Overriding::Nothing,
        };
        match (&column.generation, overriding) {
            (Generation::Nothing | Generation::Dropped(_), _) => Ok(true),
            (Generation::Identity { .. }, Overriding::User) => Ok(false),
            (Generation::Identity { .. }, Overriding::System) => Ok(true),
            (Generation::Identity { kind: IdentityKind::ByDefault, .. }, _) => Ok(true),
            (Generation::Identity { .. } | Generation::Stored(_), _) => {
                Err(generated_always(column, writing))
            }
        }
    }
}

fn generated_always(column: &ColumnDef, writing: Writing) -> Error {
    let name = &column.column.name;
    let (detail, hint) = match &column.generation {
        Generation::Identity { .. } => (
            format!("Column \"{name}\" is an identity column defined as GENERATED ALWAYS."),
            Some("Use OVERRIDING SYSTEM VALUE to override."),
        ),
        _ => (format!("Column \"{name}\" is a generated column."), None),
    };
    let message = match writing {
        Writing::Inserting => format!("cannot insert a non-DEFAULT value into column \"{name}\""),
        Writing::Updating => format!("column \"{name}\" can only be updated to DEFAULT"),
    };
    let error = Error::new(SqlState::GENERATED_ALWAYS, message).with_detail(detail);
    match hint {
        Some(hint) if writing == Writing::Inserting => error.with_hint(hint),
        _ => error,
    }
}

/// The columns of a table's definition, as its own expressions name them.
pub(crate) fn definition_row(name: &str, columns: &[ColumnDef]) -> Vec<ScopeColumn> {
    let column = |c: &ColumnDef| ScopeColumn {
        table: Some(name.to_owned()),
        schema: None,
        name: c.column.name.clone(),
        column: datafusion::common::Column::new_unqualified(c.column.name.clone()),
        ty: c.column.ty.clone(),
        origin: None,
        merged: false,
    };
    columns.iter().map(column).collect()
}

pub(crate) fn has_query(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let is_query = |e: &Expr| matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_));
    expr.exists(|e| Ok(is_query(e))).unwrap_or(true)
}
