//! FROM: relations, derived tables, and every kind of join with keys, residual conditions or none.
//!
//! Place in the flow: `query` asks for a [`From`], and selects over its scope.

use super::expr::{Expr, Scope};
use super::generator::{Generator, columns_of};
use super::tree::{List, Role, Tree};
use super::types::Type;
use crate::tree;

/// More rows than this are not joined further.
const ROWS_MAX: f64 = 1_500.0;

/// A FROM item.
pub struct From {
    pub tree: Tree,
    pub scope: Scope,
    pub rows: f64,
}

impl Generator<'_> {
    /// One to three relations, joined.
    pub fn from(&mut self, outer: &[Expr], depth: u32) -> From {
        let mut from = self.factor(outer, depth);
        for _ in 0..self.rng.weighted(&[50, 35, 15]) {
            if self.rng.chance(6) {
                from = self.lateral(from);
                continue;
            }
            let right = self.factor(outer, depth.saturating_sub(1));
            if from.rows * right.rows <= ROWS_MAX {
                from = self.join(from, right);
            }
        }
        from
    }

    /// A relation or a derived table.
    fn factor(&mut self, outer: &[Expr], depth: u32) -> From {
        let alias = self.alias();
        if depth > 0 && self.rng.chance(15) {
            let query = self.query(&[], None, depth - 1);
            let scope = Scope::of(columns_of(&alias, &query.kinds), outer.to_vec());
            let tree = tree!(Role::From; "(", query.tree, format!(") AS {alias}"));
            return From { tree, scope, rows: query.rows };
        }
        let relation = self.relation();
        let tree = tree!(Role::From; format!("{} AS {alias}", relation.name));
        From { tree, scope: Scope::of(relation.scope(&alias), outer.to_vec()), rows: relation.rows }
    }

    fn join(&mut self, left: From, right: From) -> From {
        let both = [left.scope.columns.clone(), right.scope.columns.clone()].concat();
        let on = Scope::of(both.clone(), Vec::new());
        let mut conditions: Vec<Tree> =
            self.equality(&left.scope.columns, &right.scope.columns).into_iter().collect();
        let has_key = conditions.first().is_some_and(|key| !key.to_string().contains("DISTINCT"));
        if self.rng.chance(25) || !has_key {
            conditions.push(self.predicate(&on, 1).tree);
        }
        let kind = match self.rng.below(10) {
            0 => " CROSS JOIN ",
            1..=4 => " JOIN ",
            5 | 6 => " LEFT JOIN ",
            7 | 8 => " RIGHT JOIN ",
            // PostgreSQL has no FULL JOIN without an equality.
            _ if has_key => " FULL JOIN ",
            _ => " LEFT JOIN ",
        };
        let product = left.rows * right.rows;
        let rows = if has_key { (product / 4.0).max(left.rows).max(right.rows) } else { product };
        let scope = Scope::of(both, left.scope.outer);
        if kind == " CROSS JOIN " {
            let tree = tree!(Role::From; left.tree, kind, right.tree);
            return From { tree, scope, rows: product };
        }
        let on = List::new(" ON ", " AND ", conditions, 1);
        From { tree: tree!(Role::From; left.tree, kind, right.tree, on), scope, rows }
    }

    /// A join with a query that names columns of the left side.
    fn lateral(&mut self, left: From) -> From {
        let (relation, alias, name) = (self.relation(), self.alias(), self.alias());
        let inner = Scope::of(relation.scope(&alias), left.scope.columns.clone());
        let mut conditions: Vec<Tree> =
            self.equality(&inner.columns, &left.scope.columns).into_iter().collect();
        conditions.extend(self.conjunction(&inner, 1));
        let tree = tree!(Role::From; format!("{} AS {alias}", relation.name));
        let filter = List::new(" WHERE ", " AND ", conditions, 0);
        let query = self.select_over(From { tree, scope: inner, rows: relation.rows }, filter, None);
        let both = [left.scope.columns, columns_of(&name, &query.kinds)].concat();
        let (kind, on) = match self.rng.below(4) {
            0 => (" CROSS JOIN LATERAL (", String::new()),
            1 => (" JOIN LATERAL (", " ON true".to_string()),
            _ => (" LEFT JOIN LATERAL (", " ON true".to_string()),
        };
        let tree = tree!(Role::From; left.tree, kind, query.tree, format!(") AS {name}{on}"));
        From { tree, scope: Scope::of(both, left.scope.outer), rows: left.rows * 4.0 }
    }

    /// `a = b` with a column of each side; `None` when no two can be compared.
    pub fn equality(&mut self, left: &[Expr], right: &[Expr]) -> Option<Tree> {
        let comparable = |exact: bool| {
            let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
            pairs
                .filter(move |(a, b)| if exact { a.ty() == b.ty() } else { a.ty().is_comparable(b.ty()) })
                .collect::<Vec<_>>()
        };
        let mut pairs = comparable(self.rng.chance(70));
        if pairs.is_empty() {
            pairs = comparable(false);
        }
        if pairs.is_empty() {
            return None;
        }
        let (a, b) = *self.rng.pick(&pairs);
        let operator = if self.rng.chance(6) { " IS NOT DISTINCT FROM " } else { " = " };
        Some(tree!(Role::Expr(Type::Bool); "(", a.tree.clone(), operator, b.tree.clone(), ")"))
    }
}
