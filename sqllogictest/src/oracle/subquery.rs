//! Subqueries in expressions: EXISTS, IN, ANY and ALL, and scalar ones, correlated or not.
//!
//! Place in the flow: `predicate` and `expr` call these. A scalar subquery is an aggregate without GROUP BY, or the
//! row of a primary key, so that it never has two rows.

use super::expr::{Expr, Scope};
use super::generator::{Generator, Relation};
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

const BOOL: Role = Role::Expr(Type::Bool);

/// What a subquery reads.
struct Source {
    relation: Relation,
    alias: String,
    scope: Scope,
    filter: List,
}

impl Generator<'_> {
    pub(super) fn subquery_predicate(&mut self, scope: &Scope, depth: u32) -> Tree {
        match self.rng.below(12) {
            10 | 11 if depth > 0 => self.whole_query(scope, depth),
            0..=3 => {
                let source = self.source(scope, 80, depth);
                let not = *self.rng.pick(&["", "NOT "]);
                let head = format!("({not}EXISTS (SELECT 1 FROM {}", source.name());
                tree!(BOOL; head, source.filter, "))")
            }
            4..=8 => {
                let operator = *self.rng.pick(&[" IN (SELECT ", " IN (SELECT ", " NOT IN (SELECT "]);
                self.membership(scope, operator, depth)
            }
            _ => {
                let operator = *self.rng.pick(&[" = ANY (SELECT ", " > ALL (SELECT ", " < ANY (SELECT "]);
                self.membership(scope, operator, depth)
            }
        }
    }

    /// EXISTS or IN with a query of any kind, which may name columns of this scope.
    fn whole_query(&mut self, scope: &Scope, depth: u32) -> Tree {
        let ty = self.some_type(scope);
        let query = self.query(&scope.inside(), Some(&[ty]), depth - 1).tree;
        let subject = self.leaf(scope, ty).tree;
        let not = *self.rng.pick(&["", "NOT "]);
        match self.rng.chance(50) {
            true => tree!(BOOL; format!("({not}EXISTS ("), query, "))"),
            false => tree!(BOOL; "(", subject, format!(" {not}IN ("), query, "))"),
        }
    }

    /// `x IN (SELECT y FROM …)`.
    fn membership(&mut self, scope: &Scope, operator: &str, depth: u32) -> Tree {
        let source = self.source(scope, 25, depth);
        let ty = self.some_type(&source.scope);
        let local = Scope { outer: Vec::new(), ..source.scope.clone() };
        let (subject, item) = (self.leaf(scope, ty), self.expr(&local, ty, 1));
        let from = format!(" FROM {}", source.name());
        tree!(BOOL; "(", subject.tree, operator, item.tree, from, source.filter, "))")
    }

    /// A subquery of one column and at most one row.
    pub(super) fn scalar_subquery(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let source = self.source(scope, 60, depth);
        if let Some(found) = self.lookup(scope, &source, ty) {
            return Some(found);
        }
        let local = Scope { outer: Vec::new(), ..source.scope.clone() };
        let (call, kind) = match ty {
            Type::Int8 if self.rng.chance(50) => {
                (tree!(Role::Item; "count(*)"), Kind { bound: 1e6, ..Kind::of(ty) })
            }
            Type::Int8 => {
                let argument = self.expr(&local, Type::Int4, 1);
                let kind = argument.kind.summed()?;
                (tree!(Role::Item; "sum(", argument.tree, ")"), kind)
            }
            ty if ty.has_extremes() && ty != Type::Decimal => {
                let argument = self.expr(&local, ty, 1);
                let name = *self.rng.pick(&["min(", "max("]);
                argument.kind.plain.then_some(())?;
                (tree!(Role::Item; name, argument.tree, ")"), argument.kind)
            }
            _ => return None,
        };
        let from = format!(" FROM {}", source.name());
        Some(Expr::new(tree!(Role::Expr(ty); "(SELECT ", call, from, source.filter, ")"), kind))
    }

    /// A column of the row with this key, when the relation has a key of one column.
    fn lookup(&mut self, scope: &Scope, source: &Source, ty: Type) -> Option<Expr> {
        let [key] = source.relation.key.as_slice() else { return None };
        let columns = source.scope.with_type(ty);
        if columns.is_empty() || self.rng.chance(50) {
            return None;
        }
        let column = (*self.rng.pick(&columns)).clone();
        let visible = Scope::of(scope.visible.clone(), scope.outer.clone());
        let wanted = self.leaf(&visible, source.relation.columns[*key].ty).tree;
        let from = format!(" FROM {} WHERE {}.c{key} = ", source.name(), source.alias);
        Some(Expr::new(tree!(Role::Expr(ty); "(SELECT ", column.tree, from, wanted, ")"), column.kind))
    }

    /// A relation, filtered; correlated in so many of a hundred cases.
    fn source(&mut self, scope: &Scope, correlated: usize, depth: u32) -> Source {
        let mut relation = self.relation();
        if relation.rows > 200.0 {
            relation = self.relations[0].clone();
        }
        let alias = self.alias();
        let columns = relation.scope(&alias);
        let mut conditions = Vec::new();
        let mut inner = Scope::of(columns.clone(), Vec::new());
        if self.rng.chance(correlated) {
            conditions.extend(self.equality(&columns, &scope.inside()));
            if self.rng.chance(15) {
                inner.outer = scope.inside();
            }
        }
        if self.rng.chance(40) {
            conditions.push(self.predicate(&inner, depth.saturating_sub(1)).tree);
        }
        Source { relation, alias, scope: inner, filter: List::new(" WHERE ", " AND ", conditions, 0) }
    }
}

impl Source {
    /// As FROM writes it.
    fn name(&self) -> String {
        format!("{} AS {}", self.relation.name, self.alias)
    }
}
