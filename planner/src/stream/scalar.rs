//! Small questions about and rewrites of [`ScalarExpr`]s, for the passes over stream plans.
//!
//! Place in the flow: below the lowering and the Calc fusion; pure functions of expressions.

use std::collections::BTreeSet;

use weir_exec::expr::{BinaryOp, Literal, ScalarExpr};

/// The direct sub-expressions, from left to right.
pub fn children(expr: &ScalarExpr) -> Vec<&ScalarExpr> {
    match expr {
        ScalarExpr::Column(_) | ScalarExpr::Literal(..) => Vec::new(),
        ScalarExpr::Binary { left, right, .. } => vec![left, right],
        ScalarExpr::Not(inner) | ScalarExpr::IsNull(inner) | ScalarExpr::IsNotNull(inner) => vec![inner],
        ScalarExpr::Call { args, .. } => args.iter().collect(),
        ScalarExpr::Case { operand, branches, otherwise } => {
            let operand = operand.as_deref().into_iter();
            let branches = branches.iter().flat_map(|(when, then)| [when, then]);
            operand.chain(branches).chain(otherwise.as_deref()).collect()
        }
        ScalarExpr::Cast { expr, .. } => vec![expr],
        ScalarExpr::InList { expr, list, .. } => std::iter::once(&**expr).chain(list).collect(),
        ScalarExpr::Like { expr, pattern, .. } => vec![expr, pattern],
    }
}

/// The expression with every column replaced by what `column` gives for its position.
pub fn replace_columns(expr: &ScalarExpr, column: &dyn Fn(usize) -> ScalarExpr) -> ScalarExpr {
    let one = |inner: &ScalarExpr| Box::new(replace_columns(inner, column));
    let all = |list: &[ScalarExpr]| list.iter().map(|e| replace_columns(e, column)).collect();
    match expr {
        ScalarExpr::Column(position) => column(*position),
        ScalarExpr::Literal(..) => expr.clone(),
        ScalarExpr::Binary { op, left, right } => {
            ScalarExpr::Binary { op: *op, left: one(left), right: one(right) }
        }
        ScalarExpr::Not(inner) => ScalarExpr::Not(one(inner)),
        ScalarExpr::IsNull(inner) => ScalarExpr::IsNull(one(inner)),
        ScalarExpr::IsNotNull(inner) => ScalarExpr::IsNotNull(one(inner)),
        ScalarExpr::Call { function, args, ty } => {
            ScalarExpr::Call { function: function.clone(), args: all(args), ty: ty.clone() }
        }
        ScalarExpr::Case { operand, branches, otherwise } => ScalarExpr::Case {
            operand: operand.as_deref().map(one),
            branches: branches.iter().map(|(when, then)| (*one(when), *one(then))).collect(),
            otherwise: otherwise.as_deref().map(one),
        },
        ScalarExpr::Cast { expr, to } => ScalarExpr::Cast { expr: one(expr), to: to.clone() },
        ScalarExpr::InList { expr, list, negated } => {
            ScalarExpr::InList { expr: one(expr), list: all(list), negated: *negated }
        }
        ScalarExpr::Like { expr, pattern, negated, case_insensitive } => ScalarExpr::Like {
            expr: one(expr),
            pattern: one(pattern),
            negated: *negated,
            case_insensitive: *case_insensitive,
        },
    }
}

/// The expression over moved columns: column `i` becomes column `moved(i)`.
pub fn move_columns(expr: &ScalarExpr, moved: &dyn Fn(usize) -> usize) -> ScalarExpr {
    replace_columns(expr, &|position| ScalarExpr::Column(moved(position)))
}

/// Calls `visit` with every column reference, repeated ones repeatedly.
pub fn visit_columns(expr: &ScalarExpr, visit: &mut dyn FnMut(usize)) {
    if let ScalarExpr::Column(position) = expr {
        visit(*position);
    }
    for child in children(expr) {
        visit_columns(child, visit);
    }
}

/// The columns that any of the expressions reads.
pub fn columns_read<'a>(exprs: impl IntoIterator<Item = &'a ScalarExpr>) -> BTreeSet<usize> {
    let mut read = BTreeSet::new();
    for expr in exprs {
        visit_columns(expr, &mut |position| {
            read.insert(position);
        });
    }
    read
}

/// Whether evaluating the expression costs nothing worth sharing.
pub fn is_free(expr: &ScalarExpr) -> bool {
    matches!(expr, ScalarExpr::Column(_) | ScalarExpr::Literal(..))
}

/// Whether evaluating the expression can fail on some row: functions and casts may (overflow, division by zero).
pub fn is_fallible(expr: &ScalarExpr) -> bool {
    matches!(expr, ScalarExpr::Call { .. } | ScalarExpr::Cast { .. })
        || children(expr).into_iter().any(is_fallible)
}

/// A filter that keeps the rows for which all terms are true, `None` for no term; repeated terms count once.
///
/// A term that can fail is only evaluated on rows that passed the terms before it, as in PostgreSQL, so that
/// `b <> 0 AND a / b > 1` holds no trap: `AND` evaluates both sides of a batch, `CASE` only the rows it must.
pub fn filter_of(terms: &[&ScalarExpr]) -> Option<ScalarExpr> {
    let mut distinct: Vec<&ScalarExpr> = Vec::new();
    for term in terms.iter().flat_map(|term| filter_terms(term)) {
        if !distinct.contains(&term) {
            distinct.push(term);
        }
    }
    let last = distinct.pop()?.clone();
    Some(distinct.into_iter().rev().fold(last, |rest, term| guarded_and(term.clone(), rest)))
}

/// The terms of a filter, looking through the guards that [`filter_of`] made.
fn filter_terms(expr: &ScalarExpr) -> Vec<&ScalarExpr> {
    match expr {
        ScalarExpr::Case { operand: None, branches, otherwise: Some(otherwise) }
            if branches.len() == 1 && is_false(otherwise) =>
        {
            let mut terms = filter_terms(&branches[0].0);
            terms.extend(filter_terms(&branches[0].1));
            terms
        }
        ScalarExpr::Binary { op: BinaryOp::And, left, right } => {
            let mut terms = filter_terms(left);
            terms.extend(filter_terms(right));
            terms
        }
        other => vec![other],
    }
}

/// `first AND rest`, where `rest` is only evaluated on rows that passed `first` if it can fail.
fn guarded_and(first: ScalarExpr, rest: ScalarExpr) -> ScalarExpr {
    if !is_fallible(&rest) {
        return ScalarExpr::Binary { op: BinaryOp::And, left: Box::new(first), right: Box::new(rest) };
    }
    let branch = match rest {
        ScalarExpr::Case { operand: None, mut branches, otherwise: Some(otherwise) }
            if branches.len() == 1 && is_false(&otherwise) && !is_fallible(&branches[0].0) =>
        {
            let (when, then) = branches.remove(0);
            (guarded_and(first, when), then)
        }
        rest => (first, rest),
    };
    let never = ScalarExpr::Literal(Literal::Bool(false), arrow::datatypes::DataType::Boolean);
    ScalarExpr::Case { operand: None, branches: vec![branch], otherwise: Some(Box::new(never)) }
}

fn is_false(expr: &ScalarExpr) -> bool {
    matches!(expr, ScalarExpr::Literal(Literal::Bool(false), _))
}
