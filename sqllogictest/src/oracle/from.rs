//! FROM: relations, derived tables, set-returning functions, and every kind of join with keys, residual conditions or
//! none.
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
    /// How many are joined in it.
    pub factors: usize,
}

impl Generator<'_> {
    /// One to three relations, joined.
    pub fn from(&mut self, outer: &[Expr], depth: u32) -> From {
        let mut from = self.factor(outer, depth);
        for _ in 0..self.rng.weighted(&[50, 35, 15]) {
            match self.rng.below(100) {
                0..=7 => {
                    from = self.lateral(from);
                    continue;
                }
                8..=12 => {
                    from = self.each(from);
                    continue;
                }
                _ => {}
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
        if self.next.is_none() && self.rng.chance(4) {
            let from = self.set_function(&Scope::default());
            return From {
                tree: tree!(Role::From; from.tree),
                scope: Scope { outer: outer.to_vec(), ..from.scope },
                ..from
            };
        }
        let alias = self.alias();
        if depth > 0 && self.rng.chance(15) {
            let query = self.query(&[], None, depth - 1);
            let scope = Scope::of(columns_of(&alias, &query.kinds), outer.to_vec());
            let tree = tree!(Role::From; "(", query.tree, format!(") AS {alias}"));
            return From { tree, scope, rows: query.rows, factors: 1 };
        }
        let relation = self.relation();
        let tree = tree!(Role::From; format!("{} AS {alias}", relation.name));
        let scope = Scope::of(relation.scope(&alias), outer.to_vec());
        From { tree, scope, rows: relation.rows, factors: 1 }
    }

    fn join(&mut self, left: From, right: From) -> From {
        let both = [left.scope.columns.clone(), right.scope.columns.clone()].concat();
        let on = Scope::of(both.clone(), Vec::new());
        let key = self.key(&left.scope.columns, &right.scope.columns);
        let is_hashed = key.as_ref().is_some_and(|(_, is_of_one_type)| *is_of_one_type);
        let mut conditions: Vec<Tree> = key.into_iter().map(|(key, _)| key).collect();
        let has_key = conditions.first().is_some_and(|key| !key.to_string().contains("DISTINCT"));
        let can_be_full = has_key && is_hashed;
        if self.rng.chance(25) || !has_key {
            conditions.push(self.predicate(&on, 1).tree);
        }
        let kind = match self.rng.below(10) {
            0 => " CROSS JOIN ",
            1..=4 => " JOIN ",
            5 | 6 => " LEFT JOIN ",
            7 | 8 => " RIGHT JOIN ",
            // PostgreSQL has no FULL JOIN without an equality that it can hash.
            _ if can_be_full => " FULL JOIN ",
            _ => " LEFT JOIN ",
        };
        let product = left.rows * right.rows;
        let rows = if has_key { (product / 4.0).max(left.rows).max(right.rows) } else { product };
        let scope = Scope::of(both, left.scope.outer.clone());
        let factors = left.factors + right.factors;
        if kind == " CROSS JOIN " {
            let tree = tree!(Role::From; left.tree, kind, right.tree);
            return From { tree, scope, rows: product, factors };
        }
        if self.rng.chance(12) && is_joined_by_name(&left, &right) {
            let tree = tree!(Role::From; left.tree, kind, right.tree, " USING (c0)");
            return From { tree, scope, rows, factors };
        }
        let on = List::new(" ON ", " AND ", conditions, 1);
        From { tree: tree!(Role::From; left.tree, kind, right.tree, on), scope, rows, factors }
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
        let from = From { tree, scope: inner, rows: relation.rows, factors: 1 };
        let query = self.select_over(from, filter, None);
        let both = [left.scope.columns, columns_of(&name, &query.kinds)].concat();
        let (kind, on) = match self.rng.below(4) {
            0 => (" CROSS JOIN LATERAL (", String::new()),
            1 => (" JOIN LATERAL (", " ON true".to_string()),
            _ => (" LEFT JOIN LATERAL (", " ON true".to_string()),
        };
        let tree = tree!(Role::From; left.tree, kind, query.tree, format!(") AS {name}{on}"));
        let factors = left.factors + 1;
        From { tree, scope: Scope::of(both, left.scope.outer), rows: left.rows * 4.0, factors }
    }

    /// A join with what a set-returning function makes of each row of the left side.
    fn each(&mut self, left: From) -> From {
        let right = self.set_function(&Scope::of(left.scope.columns.clone(), Vec::new()));
        let (kind, on) = *self.rng.pick(&[
            (" CROSS JOIN ", ""),
            (" JOIN LATERAL ", " ON true"),
            (" LEFT JOIN ", " ON true"),
        ]);
        let both = [left.scope.columns, right.scope.columns].concat();
        let tree = tree!(Role::From; left.tree, kind, right.tree, on);
        let (factors, rows) = (left.factors + 1, left.rows * 3.0);
        From { tree, scope: Scope::of(both, left.scope.outer), rows, factors }
    }

    /// `a = b` with a column of each side; `None` when no two can be compared.
    pub fn equality(&mut self, left: &[Expr], right: &[Expr]) -> Option<Tree> {
        self.key(left, right).map(|(key, _)| key)
    }

    /// An equality, and whether both its sides are of one type.
    fn key(&mut self, left: &[Expr], right: &[Expr]) -> Option<(Tree, bool)> {
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
        let key = tree!(Role::Expr(Type::Bool); "(", a.tree.clone(), operator, b.tree.clone(), ")");
        Some((key, a.ty() == b.ty()))
    }
}

/// Whether USING can name their first columns: each side has one `c0`, and the two are of one type.
fn is_joined_by_name(left: &From, right: &From) -> bool {
    let first = |from: &From| from.scope.columns.first().map(Expr::ty);
    left.factors == 1 && right.factors == 1 && first(left) == first(right)
}
