//! Set-returning functions in FROM, over constants, or over columns of what is left of them.
//!
//! Place in the flow: `from` calls [`Generator::set_function`]. None gives more than a few rows, whatever its arguments.

use super::expr::{Expr, Scope};
use super::from::From;
use super::generator::{Generator, columns_of};
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

/// Rows that a call gives at most.
const ROWS: f64 = 8.0;

impl Generator<'_> {
    /// `generate_series(…) AS t(c0)` or `unnest(…) AS t(c0)` with arguments over this scope, with the number of each row or
    /// not.
    pub(super) fn set_function(&mut self, scope: &Scope) -> From {
        let (call, kind) = match self.rng.below(3) {
            0 => self.integer_series(scope),
            1 => self.time_series(scope),
            _ => self.unnest(scope),
        };
        let alias = self.alias();
        let is_numbered = self.rng.chance(30);
        let (kinds, tail) = match is_numbered {
            true => (vec![kind, Kind::of(Type::Int8)], format!(" WITH ORDINALITY AS {alias} (c0, c1)")),
            false => (vec![kind], format!(" AS {alias} (c0)")),
        };
        let columns = columns_of(&alias, &kinds);
        From {
            tree: tree!(Role::Item; call, tail),
            scope: Scope::of(columns, Vec::new()),
            rows: ROWS,
            factors: 1,
        }
    }

    fn integer_series(&mut self, scope: &Scope) -> (Tree, Kind) {
        let ty = *self.rng.pick(&[Type::Int4, Type::Int8]);
        let end = self.leaf(scope, ty).tree;
        let (start, step, name) =
            (self.rng.range(-2, 3), *self.rng.pick(&["", ", 1", ", 2", ", 3"]), ty.sql());
        let head = format!("generate_series(({start})::{name}, least(");
        (tree!(Role::Item; head, end, format!(", 5::{name}){step})")), Kind::of(ty))
    }

    fn time_series(&mut self, scope: &Scope) -> (Tree, Kind) {
        let ty = *self.rng.pick(&[Type::Timestamp, Type::Timestamptz]);
        let end = self.leaf(scope, ty).tree;
        let head = "generate_series(date_trunc('day', ";
        let step = *self.rng.pick(&["04:00:00", "12:00:00", "1 day"]);
        let tree = tree!(Role::Item; head, end.clone(), "), ", end, format!(", '{step}'::interval)"));
        (tree, Kind::of(ty))
    }

    fn unnest(&mut self, scope: &Scope) -> (Tree, Kind) {
        let ty = self.some_type(scope);
        let items: Vec<Expr> = (0..self.rng.range(1, 3)).map(|_| self.leaf(scope, ty)).collect();
        let kind = items.iter().map(|item| item.kind).reduce(Kind::or).unwrap_or(Kind::of(ty));
        let items = items.into_iter().map(|item| item.tree).collect();
        (tree!(Role::Item; "unnest(ARRAY[", List::commas(items), "])"), kind)
    }
}
