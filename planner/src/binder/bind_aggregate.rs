//! Grouping: GROUP BY, HAVING and the aggregate calls of a select list, onto an `Aggregate` node.
//!
//! Expressions are bound over the FROM clause first, aggregate calls inside them. Then equal subtrees are replaced:
//! a grouping expression or an aggregate call by the column that the `Aggregate` gives it. What is still a column of
//! the FROM clause afterwards is the user's mistake (42803).

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::functions_aggregate::grouping::grouping_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use weir_catalog::ObjectKind;
use weir_common::{Error, Result, SqlState};
use weir_exec::functions;

use super::bind_grouping::Groups;
use super::correlation::{outer_columns, query_of};
use super::scope::ScopeColumn;
use super::typed::Typed;
use super::{Binder, plan_error};

/// What replaces what after grouping.
struct Replacements {
    pairs: Vec<(Expr, Expr)>,
    outputs: HashSet<Column>,
}

/// A grouped plan, and what became of grouping expressions and calls.
struct Grouped {
    plan: LogicalPlan,
    pairs: Vec<(Expr, Expr)>,
    /// The number of a row's grouping set, if there are several.
    number: Option<Column>,
}

impl Binder<'_> {
    /// Groups `plan` and rewrites `exprs` over the result. `scope` is the FROM clause.
    pub(crate) fn group(
        &self,
        plan: LogicalPlan,
        groups: Groups,
        exprs: Vec<&mut Expr>,
        scope: &[ScopeColumn],
    ) -> Result<LogicalPlan> {
        let Groups { exprs: mut groups, mut sets, .. } = groups;
        self.add_dependent_columns(&mut groups, &mut sets, &exprs, scope);
        let called: Vec<Expr> = distinct(exprs.iter().flat_map(|e| aggregates_in(e)).collect());
        let (groupings, mut calls): (Vec<Expr>, Vec<Expr>) = called.into_iter().partition(is_grouping);
        if calls.is_empty() && groups.is_empty() {
            // HAVING alone makes one group, which needs something to be computed.
            calls.push(count_rows()?);
        }
        let Grouped { plan, mut pairs, number } = match &sets {
            None => self.group_plainly(plan, groups.clone(), calls)?,
            Some(sets) => self.group_by_sets(plan, &groups, sets, calls)?,
        };
        let all = vec![(0..groups.len()).collect()];
        for call in groupings {
            let Expr::AggregateFunction(grouping) = &call else { continue };
            let sets = sets.as_ref().unwrap_or(&all);
            let value = self.grouping_value(&grouping.params.args, &groups, sets, number.as_ref())?;
            pairs.push((call, value));
        }
        let outputs = plan.schema().columns().into_iter().collect();
        let replacements = Replacements { pairs, outputs };
        for expr in exprs {
            let rewritten = replacements.rewrite(expr.clone())?;
            self.check_grouped(&rewritten, &replacements.outputs, scope)?;
            *expr = rewritten;
        }
        Ok(plan)
    }

    fn group_plainly(&self, plan: LogicalPlan, groups: Vec<Expr>, calls: Vec<Expr>) -> Result<Grouped> {
        let mut pairs = Vec::new();
        let groups: Vec<Expr> =
            groups.into_iter().map(|group| self.named(group, "group", &mut pairs)).collect();
        let calls: Vec<Expr> = calls.into_iter().map(|call| self.named(call, "agg", &mut pairs)).collect();
        Ok(Grouped { plan: self.aggregate_plan(plan, groups, calls)?, pairs, number: None })
    }

    fn group_by_sets(
        &self,
        plan: LogicalPlan,
        groups: &[Expr],
        sets: &[Vec<usize>],
        calls: Vec<Expr>,
    ) -> Result<Grouped> {
        let expanded = self.expand_grouping_sets(plan, groups, sets, calls.clone())?;
        let columns = expanded.groups.iter().cloned().map(Expr::Column);
        let mut pairs: Vec<(Expr, Expr)> = groups.iter().cloned().zip(columns.clone()).collect();
        let mut named = Vec::with_capacity(calls.len());
        for (call, expanded) in calls.into_iter().zip(expanded.calls) {
            let name = self.unique(hint(&call, "agg"));
            pairs.push((call, Expr::Column(Column::new_unqualified(name.clone()))));
            named.push(expanded.alias(name));
        }
        let by = [Expr::Column(expanded.number.clone())].into_iter().chain(columns).collect();
        let plan = self.aggregate_plan(expanded.plan, by, named)?;
        Ok(Grouped { plan, pairs, number: Some(expanded.number) })
    }

    /// A column stays itself; anything else gets a name, remembered for replacement.
    fn named(&self, expr: Expr, otherwise: &str, pairs: &mut Vec<(Expr, Expr)>) -> Expr {
        if let Expr::Column(_) = expr {
            return expr;
        }
        let name = self.unique(hint(&expr, otherwise));
        pairs.push((expr.clone(), Expr::Column(Column::new_unqualified(name.clone()))));
        expr.alias(name)
    }

    /// Columns of a table whose primary key is grouped by, in every set, are as good as grouped themselves.
    fn add_dependent_columns(
        &self,
        groups: &mut Vec<Expr>,
        sets: &mut Option<Vec<Vec<usize>>>,
        exprs: &[&mut Expr],
        scope: &[ScopeColumn],
    ) {
        let everywhere = |at: usize| sets.iter().flatten().all(|set| set.contains(&at));
        let grouped = groups.iter().enumerate().filter(|(at, _)| everywhere(*at));
        let grouped: HashSet<Column> = grouped
            .filter_map(|(_, g)| if let Expr::Column(c) = g { Some(c.clone()) } else { None })
            .collect();
        for expr in exprs {
            for column in free_columns(expr, groups) {
                let known = groups.contains(&Expr::Column(column.clone()));
                if !known && self.is_dependent(&column, &grouped, scope) {
                    sets.iter_mut().flatten().for_each(|set| set.push(groups.len()));
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
                e => query_of(e).map(outer_columns).unwrap_or_default(),
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
            Some((_, to)) => Ok(Transformed::new(to.clone(), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(e)),
        });
        rewritten.map(|t| t.data).map_err(plan_error)
    }
}

/// What to name the column of an expression after.
fn hint<'e>(expr: &'e Expr, otherwise: &'e str) -> &'e str {
    match expr {
        Expr::AggregateFunction(call) => call.func.name(),
        _ => otherwise,
    }
}

/// `GROUPING(…)`, which is written like an aggregate call and is none.
fn is_grouping(call: &Expr) -> bool {
    matches!(call, Expr::AggregateFunction(call) if call.func == grouping_udaf())
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

fn distinct(exprs: Vec<Expr>) -> Vec<Expr> {
    let mut seen = HashSet::new();
    exprs.into_iter().filter(|e| seen.insert(e.clone())).collect()
}

/// Whether any of the expressions calls an aggregate.
pub(crate) fn any_aggregate<'e>(mut exprs: impl Iterator<Item = &'e Typed>) -> bool {
    exprs.any(|t| super::bind_function::contains_aggregate(&t.expr))
}
