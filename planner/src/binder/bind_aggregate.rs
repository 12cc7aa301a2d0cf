//! Grouping: GROUP BY, HAVING and the aggregate calls of a select list, onto an `Aggregate` node.
//!
//! Expressions are bound over the FROM clause first, aggregate calls inside them. Then equal subtrees are replaced:
//! a grouping expression or an aggregate call by the column that the `Aggregate` gives it. What is still a column of
//! the FROM clause afterwards is the user's mistake (42803).

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use weir_catalog::ObjectKind;
use weir_common::{Error, Result, SqlState};
use weir_exec::functions;

use super::scope::ScopeColumn;
use super::typed::Typed;
use super::{Binder, plan_error};

/// What replaces what after grouping.
struct Replacements {
    pairs: Vec<(Expr, Column)>,
    outputs: HashSet<Column>,
}

impl Binder<'_> {
    /// Groups `plan` and rewrites `exprs` over the result. `scope` is the FROM clause.
    pub(crate) fn group(
        &self,
        plan: LogicalPlan,
        groups: Vec<Expr>,
        exprs: Vec<&mut Expr>,
        scope: &[ScopeColumn],
    ) -> Result<LogicalPlan> {
        let mut groups = distinct(groups);
        self.add_dependent_columns(&mut groups, &exprs, scope);
        let mut pairs = Vec::new();
        let group_exprs: Vec<Expr> =
            groups.into_iter().map(|group| self.named(group, "group", &mut pairs)).collect();
        let mut calls: Vec<Expr> = distinct(exprs.iter().flat_map(|e| aggregates_in(e)).collect());
        if calls.is_empty() && group_exprs.is_empty() {
            // HAVING alone makes one group, which needs something to be computed.
            calls.push(count_rows()?);
        }
        let calls: Vec<Expr> = calls.into_iter().map(|call| self.named(call, "agg", &mut pairs)).collect();
        let grouped = LogicalPlanBuilder::from(plan)
            .aggregate(group_exprs, calls)
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        let outputs = grouped.schema().columns().into_iter().collect();
        let replacements = Replacements { pairs, outputs };
        for expr in exprs {
            let rewritten = replacements.rewrite(expr.clone())?;
            self.check_grouped(&rewritten, &replacements.outputs, scope)?;
            *expr = rewritten;
        }
        Ok(grouped)
    }

    /// A column stays itself; anything else gets a name, remembered for replacement.
    fn named(&self, expr: Expr, hint: &str, pairs: &mut Vec<(Expr, Column)>) -> Expr {
        if let Expr::Column(_) = expr {
            return expr;
        }
        let hint = match &expr {
            Expr::AggregateFunction(call) => call.func.name().to_owned(),
            _ => hint.to_owned(),
        };
        let name = self.unique(&hint);
        pairs.push((expr.clone(), Column::new_unqualified(name.clone())));
        expr.alias(name)
    }

    /// Columns of a table whose primary key is grouped by are as good as grouped themselves.
    fn add_dependent_columns(&self, groups: &mut Vec<Expr>, exprs: &[&mut Expr], scope: &[ScopeColumn]) {
        let grouped: HashSet<Column> = groups
            .iter()
            .filter_map(|g| if let Expr::Column(c) = g { Some(c.clone()) } else { None })
            .collect();
        let mut added = HashSet::new();
        for expr in exprs {
            for column in free_columns(expr, groups) {
                if !grouped.contains(&column)
                    && self.is_dependent(&column, &grouped, scope)
                    && added.insert(column.clone())
                {
                    groups.push(Expr::Column(column));
                }
            }
        }
    }

    fn is_dependent(&self, column: &Column, grouped: &HashSet<Column>, scope: &[ScopeColumn]) -> bool {
        let Some(found) = scope.iter().find(|c| c.column == *column) else { return false };
        let (Some((object, _)), Some(scan)) = (found.origin, &column.relation) else { return false };
        let Some(object) = self.cx.catalog.object(object) else { return false };
        let ObjectKind::Table(table) = &object.kind else { return false };
        let is_grouped = |id: &u16| {
            scope.iter().any(|c| {
                c.column.relation.as_ref() == Some(scan)
                    && c.origin == Some((object.id, *id))
                    && grouped.contains(&c.column)
            })
        };
        !table.primary_key.is_empty() && table.primary_key.iter().all(is_grouped)
    }

    fn check_grouped(&self, expr: &Expr, outputs: &HashSet<Column>, scope: &[ScopeColumn]) -> Result<()> {
        let mut stray = None;
        let _ = expr.apply(|e| {
            let columns: Vec<Column> = match e {
                Expr::Column(column) => vec![column.clone()],
                Expr::ScalarSubquery(s) => outer_columns(&s.outer_ref_columns),
                Expr::Exists(e) => outer_columns(&e.subquery.outer_ref_columns),
                Expr::InSubquery(e) => outer_columns(&e.subquery.outer_ref_columns),
                _ => Vec::new(),
            };
            let is_stray = |c: &Column| !outputs.contains(c) && scope.iter().any(|s| s.column == *c);
            stray = columns.into_iter().find(is_stray);
            Ok(if stray.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        let Some(column) = stray else { return Ok(()) };
        let mention = self.mentions.borrow().get(&column).cloned();
        let (name, position) = mention.unwrap_or_else(|| (column.flat_name(), None));
        let message = format!(
            "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
        );
        Err(Error::new(SqlState::GROUPING_ERROR, message).at(position))
    }
}

impl Replacements {
    fn rewrite(&self, expr: Expr) -> Result<Expr> {
        let rewritten = expr.transform_down(|e| match self.pairs.iter().find(|(from, _)| *from == e) {
            Some((_, column)) => {
                Ok(Transformed::new(Expr::Column(column.clone()), true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(e)),
        });
        rewritten.map(|t| t.data).map_err(plan_error)
    }
}

/// `count(*)`.
fn count_rows() -> Result<Expr> {
    let resolved = functions::resolve_aggregate("count", &[])?;
    let resolved = resolved.ok_or_else(|| Error::internal("count is missing"))?;
    let call = AggregateFunction::new_udf(resolved.udaf, vec![lit(1i64)], false, None, vec![], None);
    Ok(Expr::AggregateFunction(call))
}

/// Columns outside aggregate calls and grouping expressions.
fn free_columns(expr: &Expr, groups: &[Expr]) -> Vec<Column> {
    let mut columns = Vec::new();
    let _ = expr.apply(|e| {
        if matches!(e, Expr::AggregateFunction(_)) || (groups.contains(e) && !matches!(e, Expr::Column(_))) {
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Expr::Column(column) = e {
            columns.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

fn aggregates_in(expr: &Expr) -> Vec<Expr> {
    let mut calls = Vec::new();
    let _ = expr.apply(|e| {
        if matches!(e, Expr::AggregateFunction(_)) {
            calls.push(e.clone());
            return Ok(TreeNodeRecursion::Jump);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    calls
}

fn outer_columns(exprs: &[Expr]) -> Vec<Column> {
    let column = |e: &Expr| match e {
        Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
        _ => None,
    };
    exprs.iter().filter_map(column).collect()
}

fn distinct(exprs: Vec<Expr>) -> Vec<Expr> {
    let mut seen = HashSet::new();
    exprs.into_iter().filter(|e| seen.insert(e.clone())).collect()
}

/// Whether any of the expressions calls an aggregate.
pub(crate) fn any_aggregate<'e>(mut exprs: impl Iterator<Item = &'e Typed>) -> bool {
    exprs.any(|t| super::bind_function::contains_aggregate(&t.expr))
}
