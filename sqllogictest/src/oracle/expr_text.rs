//! Expressions of text and of dates and times.
//!
//! Place in the flow: `expr` calls these. No float is cast to text: Weir knows no negative zero. Results of
//! interval arithmetic are not *plain*: `24:00:00` equals `1 day` and looks otherwise.

use super::expr::{Expr, Scope};
use super::generator::Generator;
use super::tree::{List, Role};
use super::types::{Kind, Type};
use crate::tree;

impl Generator<'_> {
    pub(super) fn text(&mut self, scope: &Scope, depth: u32) -> Expr {
        let role = Role::Expr(Type::Text);
        if self.rng.chance(20) {
            return self.cast_to_text(scope, depth);
        }
        let a = self.expr(scope, Type::Text, depth);
        let (bound, kind) = (a.kind.bound, a.kind);
        let call = |name: &str| tree!(role; name, a.tree.clone(), ")");
        let (tree, bound) = match self.rng.below(10) {
            0 => (call("upper("), bound),
            1 => (call("lower("), bound),
            2 => (call("trim("), bound),
            3 => (call("reverse("), bound),
            4 => {
                let (start, length) = (self.rng.range(0, 3), self.rng.range(0, 3));
                (tree!(role; "substr(", a.tree, format!(", {start}, {length})")), 3.0)
            }
            5 => {
                let (name, length) = (*self.rng.pick(&["left", "right"]), self.rng.range(-1, 2));
                (tree!(role; format!("{name}("), a.tree, format!(", {length})")), bound)
            }
            6 => {
                let b = self.expr(scope, Type::Text, depth);
                let both = bound + b.kind.bound;
                (tree!(role; "replace(", a.tree, ", 'a', ", b.tree, ")"), both * bound)
            }
            7 => {
                let b = self.expr(scope, Type::Text, depth);
                (tree!(role; "concat(", List::commas(vec![a.tree, b.tree]), ")"), bound + b.kind.bound)
            }
            _ => {
                let b = self.expr(scope, Type::Text, depth);
                (tree!(role; "(", a.tree, " || ", b.tree, ")"), bound + b.kind.bound)
            }
        };
        Expr::new(tree, kind).bounded(bound)
    }

    fn cast_to_text(&mut self, scope: &Scope, depth: u32) -> Expr {
        let from = *self.rng.pick(&[
            Type::Bool,
            Type::Int4,
            Type::Int8,
            Type::Numeric(2),
            Type::Date,
            Type::Timestamp,
            Type::Uuid,
            Type::Jsonb,
        ]);
        let a = self.expr(scope, from, depth);
        Expr::new(tree!(Role::Expr(Type::Text); a.tree, "::text"), Kind::of(Type::Text)).bounded(40.0)
    }

    /// An expression of a date or time type, or an interval.
    pub(super) fn time(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let tree = match ty {
            Type::Date => self.date(scope, depth),
            Type::Timestamp | Type::Timestamptz => self.timestamp(scope, ty, depth),
            Type::Time => {
                let a = self.expr(scope, Type::Timestamp, depth);
                tree!(Role::Expr(ty); a.tree, "::time")
            }
            _ => return Some(self.interval(scope, depth)),
        };
        Some(Expr::new(tree, Kind::of(ty)))
    }

    fn date(&mut self, scope: &Scope, depth: u32) -> super::tree::Tree {
        let role = Role::Expr(Type::Date);
        match self.rng.below(3) {
            0 => {
                let (a, days) = (self.expr(scope, Type::Date, depth), self.rng.range(-40, 40));
                tree!(role; "(", a.tree, format!(" + ({days}))"))
            }
            1 => tree!(role; self.expr(scope, Type::Timestamp, depth).tree, "::date"),
            _ => {
                let a = self.expr(scope, Type::Date, depth);
                tree!(role; "date_trunc('month', ", a.tree, "::timestamp)::date")
            }
        }
    }

    fn timestamp(&mut self, scope: &Scope, ty: Type, depth: u32) -> super::tree::Tree {
        let role = Role::Expr(ty);
        let other = if ty == Type::Timestamp { Type::Timestamptz } else { Type::Timestamp };
        match self.rng.below(4) {
            0 => {
                let (a, b) = (self.expr(scope, ty, depth), self.leaf(scope, Type::Interval));
                let operator = *self.rng.pick(&[" + ", " - "]);
                tree!(role; "(", a.tree, operator, b.tree, ")")
            }
            1 => {
                let unit = *self.rng.pick(&["hour", "day", "week", "month", "quarter", "year"]);
                let a = self.expr(scope, ty, depth);
                tree!(role; format!("date_trunc('{unit}', "), a.tree, ")")
            }
            2 => tree!(role; "(", self.expr(scope, other, depth).tree, " AT TIME ZONE 'UTC')"),
            _ => tree!(role; self.expr(scope, Type::Date, depth).tree, "::", ty.sql()),
        }
    }

    fn interval(&mut self, scope: &Scope, depth: u32) -> Expr {
        let role = Role::Expr(Type::Interval);
        let tree = match self.rng.below(4) {
            0 => {
                let (a, b) =
                    (self.expr(scope, Type::Timestamp, depth), self.expr(scope, Type::Timestamp, depth));
                tree!(role; "(", a.tree, " - ", b.tree, ")")
            }
            1 => {
                let (a, b) = (self.leaf(scope, Type::Interval), self.leaf(scope, Type::Interval));
                let operator = *self.rng.pick(&[" + ", " - "]);
                tree!(role; "(", a.tree, operator, b.tree, ")")
            }
            2 => tree!(role; "(", self.leaf(scope, Type::Interval).tree, " * 2)"),
            _ => tree!(role; "(- ", self.leaf(scope, Type::Interval).tree, ")"),
        };
        Expr::new(tree, Kind { plain: false, ..Kind::of(Type::Interval) })
    }
}
