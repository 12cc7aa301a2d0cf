//! Conditions, with the cases where NULL decides.
//!
//! Place in the flow: `expr` calls [`Generator::predicate`] for everything boolean; WHERE, ON, HAVING and FILTER are
//! made of it.

use super::expr::{Expr, Scope};
use super::generator::Generator;
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

const BOOL: Role = Role::Expr(Type::Bool);

impl Generator<'_> {
    /// A condition over this scope.
    pub fn predicate(&mut self, scope: &Scope, depth: u32) -> Expr {
        let tree = match self.rng.below(20) {
            0..=6 => self.comparison(scope, depth),
            7 | 8 => self.is_something(scope, depth),
            9..=11 => self.junction(scope, depth),
            12 => tree!(BOOL; "(NOT ", self.expr(scope, Type::Bool, depth).tree, ")"),
            13 => self.in_list(scope, depth),
            14 => self.between(scope, depth),
            15 if !scope.with_type(Type::Text).is_empty() => self.pattern(scope, depth),
            16 => self.rows(scope, depth),
            _ if depth > 0 && self.subqueries => self.subquery_predicate(scope, depth),
            _ => self.comparison(scope, depth),
        };
        Expr::new(tree, Kind::of(Type::Bool))
    }

    /// Conditions that WHERE joins by AND, up to two.
    pub fn conjunction(&mut self, scope: &Scope, depth: u32) -> Vec<Tree> {
        (0..self.rng.weighted(&[45, 43, 12])).map(|_| self.condition(scope, depth)).collect()
    }

    /// A condition that lets about half of the rows through: most that come to mind are true for few.
    fn condition(&mut self, scope: &Scope, depth: u32) -> Tree {
        let predicate = self.predicate(scope, depth).tree;
        match self.rng.below(10) {
            0..=2 => tree!(BOOL; "(", predicate, " IS NOT TRUE)"),
            3 => tree!(BOOL; "(", predicate, " IS NOT FALSE)"),
            4 | 5 => tree!(BOOL; "(", predicate, " OR ", self.predicate(scope, 0).tree, ")"),
            _ => predicate,
        }
    }

    fn comparison(&mut self, scope: &Scope, depth: u32) -> Tree {
        let ty = self.some_type(scope);
        let mut other = self.some_type(scope);
        if !ty.is_comparable(other) || self.rng.chance(60) {
            other = ty;
        }
        let (a, mut b) = (self.expr(scope, ty, depth), self.expr(scope, other, depth));
        if a.tree == b.tree {
            b = self.literal(other);
        }
        let operators = [" = ", " <> ", " <> ", " < ", " <= ", " > ", " >= "];
        let operator = match self.rng.below(10) {
            0 => " IS DISTINCT FROM ",
            1 => " IS NOT DISTINCT FROM ",
            _ => *self.rng.pick(&operators),
        };
        tree!(BOOL; "(", a.tree, operator, b.tree, ")")
    }

    fn is_something(&mut self, scope: &Scope, depth: u32) -> Tree {
        if self.rng.chance(60) {
            let ty = self.some_type(scope);
            let test = *self.rng.pick(&[" IS NULL)", " IS NOT NULL)", " IS NOT NULL)"]);
            return tree!(BOOL; "(", self.expr(scope, ty, depth).tree, test);
        }
        let what = *self.rng.pick(&["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"]);
        tree!(BOOL; "(", self.expr(scope, Type::Bool, depth).tree, format!(" IS {what})"))
    }

    fn junction(&mut self, scope: &Scope, depth: u32) -> Tree {
        let items = (0..=self.rng.range(1, 2)).map(|_| self.expr(scope, Type::Bool, depth).tree).collect();
        let between = *self.rng.pick(&[" AND ", " OR "]);
        tree!(BOOL; "(", List::new("", between, items, 1), ")")
    }

    fn in_list(&mut self, scope: &Scope, depth: u32) -> Tree {
        let ty = self.some_type(scope);
        let subject = self.expr(scope, ty, depth).tree;
        let mut items: Vec<Tree> = (0..self.rng.range(1, 4)).map(|_| self.literal(ty).tree).collect();
        if self.rng.chance(30) {
            items.push(self.leaf(scope, ty).tree);
        }
        let operator = *self.rng.pick(&[" IN (", " NOT IN ("]);
        tree!(BOOL; "(", subject, operator, List::commas(items), "))")
    }

    fn between(&mut self, scope: &Scope, depth: u32) -> Tree {
        let ty = self.some_type(scope);
        let operator = *self.rng.pick(&[" BETWEEN ", " NOT BETWEEN "]);
        let (subject, low, high) = (self.expr(scope, ty, depth), self.leaf(scope, ty), self.literal(ty));
        tree!(BOOL; "(", subject.tree, operator, low.tree, " AND ", high.tree, ")")
    }

    fn pattern(&mut self, scope: &Scope, depth: u32) -> Tree {
        let subject = self.expr(scope, Type::Text, depth).tree;
        let test = *self.rng.pick(&[
            " LIKE 'a%'",
            " LIKE '_'",
            " NOT LIKE '%b'",
            " ILIKE '%B%'",
            " NOT ILIKE 'A%'",
            " ~ '^a'",
            " !~ '[0-9]'",
            " ~* 'B'",
        ]);
        tree!(BOOL; "(", subject, test, ")")
    }

    /// A comparison of rows.
    fn rows(&mut self, scope: &Scope, depth: u32) -> Tree {
        let types = [self.some_type(scope), self.some_type(scope)];
        let operator = *self.rng.pick(&[" = ", " <> "]);
        let mut row = || {
            let [a, b] = types.map(|ty| self.expr(scope, ty, depth.saturating_sub(1)).tree);
            tree!(Role::Item; "(", a, ", ", b, ")")
        };
        let (left, right) = (row(), row());
        tree!(BOOL; "(", left, operator, right, ")")
    }
}
