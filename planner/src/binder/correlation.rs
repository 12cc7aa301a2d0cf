//! What a subquery names outside of itself, and what shapes DataFusion decorrelates by itself.
//!
//! Place in the flow: asked by everything that rewrites subqueries. A subquery may name columns of any query around
//! it; [`subquery`] collects all of them, those that queries inside it name too, so that each level knows what is
//! still free. Invariant: columns have unique names, so a reference is free in a plan that does not make its column.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result as DfResult, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, FetchType, Filter, JoinType, LogicalPlan, Operator, SkipType, Subquery,
};

use super::single_value::SINGLE_VALUE;

/// A plan as DataFusion's subquery, with all its outer references.
pub(crate) fn subquery(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = free_references(&plan);
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }
}

/// References to columns that the plan does not make, each once; from inside its own subqueries too.
fn free_references(plan: &LogicalPlan) -> Vec<Expr> {
    let mut references: Vec<Expr> = Vec::new();
    let mut note = |expr: &Expr| {
        if matches!(expr, Expr::OuterReferenceColumn(..)) && !references.contains(expr) {
            references.push(expr.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    };
    let _ = plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(&mut note)));
    if !references.is_empty() {
        let mut own: HashSet<Column> = HashSet::new();
        let _ = plan.apply_with_subqueries(|node| {
            own.extend(node.schema().columns());
            Ok(TreeNodeRecursion::Continue)
        });
        references.retain(|e| !matches!(e, Expr::OuterReferenceColumn(_, column) if own.contains(column)));
    }
    references
}

/// A subquery in which columns of `input`, the plan around it, have other names; any other expression as it is.
pub(crate) fn rename_outside(
    expr: Expr,
    input: &DFSchema,
    rename: &mut impl FnMut(&Column) -> Column,
) -> DfResult<Transformed<Expr>> {
    let Some(query) = query_of(&expr) else { return Ok(Transformed::no(expr)) };
    let mut rename_reference = |e: Expr| match e {
        Expr::OuterReferenceColumn(field, column) if input.has_column(&column) => {
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, rename(&column))))
        }
        other => Ok(Transformed::no(other)),
    };
    let renamed = query.subquery.as_ref().clone().transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|e| e.transform_up(&mut rename_reference))?;
        // What a subquery names outside of itself is written down beside it.
        node.transform_data(|node| node.map_expressions(|e| e.transform_up(|e| Ok(with_references(e)))))
    });
    Ok(Transformed::yes(with_query(expr, subquery(renamed?.data))))
}

/// A subquery with the outer references that its plan has by now.
fn with_references(expr: Expr) -> Transformed<Expr> {
    match query_of(&expr).map(|query| subquery(query.subquery.as_ref().clone())) {
        Some(query) => Transformed::yes(with_query(expr, query)),
        None => Transformed::no(expr),
    }
}

/// The expression with another subquery.
fn with_query(expr: Expr, query: Subquery) -> Expr {
    match expr {
        Expr::ScalarSubquery(_) => Expr::ScalarSubquery(query),
        Expr::Exists(exists) => Expr::Exists(Exists { subquery: query, ..exists }),
        Expr::InSubquery(test) => Expr::InSubquery(InSubquery { subquery: query, ..test }),
        Expr::SetComparison(test) => Expr::SetComparison(SetComparison { subquery: query, ..test }),
        other => other,
    }
}

/// The outer columns a subquery names, each once.
pub(crate) fn outer_columns(subquery: &Subquery) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for expr in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && !columns.contains(column)
        {
            columns.push(column.clone());
        }
    }
    columns
}

/// The subquery that an expression is.
pub(crate) fn query_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(test) => Some(&test.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// Whether an expression holds a subquery.
pub(crate) fn holds_query(expr: &Expr) -> bool {
    expr.exists(|e| Ok(query_of(e).is_some())).unwrap_or(true)
}

/// Whether an expression names any of these columns from a query inside the one that it is in.
fn names_from_inside(expr: &Expr, columns: &[Column]) -> bool {
    let named = |e: &Expr| query_of(e).is_some_and(|q| outer_columns(q).iter().any(|c| columns.contains(c)));
    expr.exists(|e| Ok(named(e))).unwrap_or(true)
}

/// Whether a query inside a subquery names what is outside of the latter.
pub(crate) fn reaches_through(subquery: &Subquery) -> bool {
    let free = outer_columns(subquery);
    let reaches = |node: &LogicalPlan| node.expressions().iter().any(|e| names_from_inside(e, &free));
    !free.is_empty() && subquery.subquery.exists(|node| Ok(reaches(node))).unwrap_or(true)
}

/// Whether DataFusion makes a semi join of a test with this subquery: conditions on outer columns are pulled up to the
/// join, which changes nothing only where rows are chosen, renamed or paired on the way.
pub(crate) fn makes_semi_join(subquery: &Subquery, is_exists: bool) -> bool {
    let free = outer_columns(subquery);
    let plan = &subquery.subquery;
    free.is_empty()
        || (!reaches_through(subquery) && names_are_clear(plan, is_exists) && pulls_up(plan, is_exists))
}

/// Whether no two columns that DataFusion takes to the join have the same name: there they all get the same qualifier.
fn names_are_clear(plan: &LogicalPlan, is_exists: bool) -> bool {
    let mut taken: HashMap<String, Expr> = HashMap::new();
    if let LogicalPlan::Projection(projection) = plan
        && !is_exists
    {
        // What is compared with the operand of IN.
        let compared = |(field, expr): (&Arc<Field>, &Expr)| (field.name().clone(), expr.clone().unalias());
        taken.extend(projection.schema.fields().iter().zip(&projection.expr).map(compared));
    }
    let mut is_clear = true;
    let mut take = |column: &Column, filter: &Filter| {
        let other = |c: &Column| c.name == column.name && c != column;
        let before = taken.insert(column.name.clone(), Expr::Column(column.clone()));
        is_clear &= !filter.input.schema().columns().iter().any(other)
            && before.is_none_or(|before| before == Expr::Column(column.clone()));
    };
    let _ = plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let moved = split_conjunction(&filter.predicate).into_iter().filter(|e| e.contains_outer());
            moved.flat_map(Expr::column_refs).for_each(|column| take(column, filter));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    is_clear
}

fn pulls_up(plan: &LogicalPlan, is_exists: bool) -> bool {
    if plan.all_out_ref_exprs().is_empty() {
        return true;
    }
    let queries_stay = plan.expressions().iter().all(|e| {
        let moves = |e: &Expr| {
            query_of(e).is_some_and(|q| !outer_columns(q).is_empty()) && !is_left_to_rules(plan, e)
        };
        !e.exists(|e| Ok(moves(e))).unwrap_or(true)
    });
    let plain = match plan {
        // A condition that comes to the join must not hold a query of its own: there it has no rule.
        LogicalPlan::Filter(filter) => {
            let plain = |e: &&Expr| !e.contains_outer() || !holds_query(e);
            split_conjunction(&filter.predicate).iter().all(plain)
        }
        LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Projection(_) => !plan.contains_outer_reference(),
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner && !plan.contains_outer_reference(),
        LogicalPlan::Limit(limit) => {
            let some = matches!(limit.get_fetch_type(), Ok(FetchType::Literal(fetch)) if fetch != Some(0));
            is_exists && some && matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
        }
        _ => false,
    };
    // What becomes a dependent join takes a copy of the rows below, conditions on outer columns and all.
    plain && queries_stay && plan.inputs().into_iter().all(|input| pulls_up(input, is_exists))
}

/// Whether DataFusion makes a join of a correlated subquery in an expression of this node.
pub(crate) fn is_left_to_rules(node: &LogicalPlan, query: &Expr) -> bool {
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    match query {
        // DataFusion has no place for one in other nodes.
        Expr::ScalarSubquery(s) => {
            (is_filter || matches!(node, LogicalPlan::Projection(_))) && is_plain_aggregate(&s.subquery)
        }
        // DataFusion turns predicates of a Filter into semi joins.
        Expr::Exists(exists) => is_filter && makes_semi_join(&exists.subquery, true),
        Expr::InSubquery(test) => is_filter && makes_semi_join(&test.subquery, false),
        _ => is_filter,
    }
}

/// An aggregate over rows that equalities with outer columns choose: what DataFusion decorrelates itself.
pub(crate) fn is_plain_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => {
            p.expr.iter().all(|e| !e.contains_outer()) && is_plain_aggregate(&p.input)
        }
        LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
            // Rows that no outer row asks for must not count as too many.
            !a.aggr_expr.iter().any(is_single_value)
                && a.aggr_expr.iter().all(|e| !e.contains_outer())
                && is_plain_choice(&a.input)
        }
        _ => false,
    }
}

fn is_single_value(call: &Expr) -> bool {
    matches!(call.clone().unalias(), Expr::AggregateFunction(call) if call.func.name() == SINGLE_VALUE)
}

/// Filters and projections where outer columns are only compared by equality with plain columns.
pub(crate) fn is_plain_choice(plan: &LogicalPlan) -> bool {
    if plan.all_out_ref_exprs().is_empty() {
        return true;
    }
    match plan {
        LogicalPlan::Projection(p) => {
            p.expr.iter().all(|e| matches!(e, Expr::Column(_))) && is_plain_choice(&p.input)
        }
        LogicalPlan::Filter(f) => {
            let plain = |e: &&Expr| !e.contains_outer() || is_equality_with_outer(e);
            split_conjunction(&f.predicate).iter().all(plain) && is_plain_choice(&f.input)
        }
        _ => false,
    }
}

fn is_equality_with_outer(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    matches!(
        (left.as_ref(), right.as_ref()),
        (Expr::Column(_), Expr::OuterReferenceColumn(..)) | (Expr::OuterReferenceColumn(..), Expr::Column(_))
    )
}

/// Whether a plan makes rows out of the outer row alone, each by itself: then the outer rows can stand in for the domain,
/// copies and all, and no join is needed.
pub(crate) fn is_row_wise(plan: &LogicalPlan) -> bool {
    let input_too = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) => true,
        LogicalPlan::Sort(sort) => sort.fetch.is_none(),
        LogicalPlan::Values(_) => !plan.all_out_ref_exprs().is_empty(),
        LogicalPlan::EmptyRelation(one) => one.produce_one_row,
        _ => false,
    };
    input_too && !plan.expressions().iter().any(holds_query) && plan.inputs().into_iter().all(is_row_wise)
}
