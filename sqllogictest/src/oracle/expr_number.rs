//! Arithmetic within bounds: integers, numerics of a fixed scale, floats that stay exact.
//!
//! Place in the flow: `expr` calls these and drops what does not fit its type.

use super::expr::{Expr, Scope};
use super::generator::Generator;
use super::tree::Role;
use super::types::{Kind, Type};
use crate::tree;

impl Generator<'_> {
    /// An expression of an integer type; it may be out of bounds.
    pub(super) fn integer(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let role = Role::Expr(ty);
        match self.rng.below(10) {
            0..=3 => Some(self.sum_or_product(scope, ty, depth)),
            4 => {
                let a = self.expr(scope, ty, depth);
                let divisor = self.rng.range(2, 9);
                Some(
                    Expr::new(tree!(role; "(", a.tree, format!(" % {divisor}::{})", ty.sql())), a.kind)
                        .bounded(9.0),
                )
            }
            5 => {
                let a = self.expr(scope, ty, depth);
                let divisor = *self.rng.pick(&["2", "3", "(-2)"]);
                Some(Expr::new(tree!(role; "(", a.tree, format!(" / {divisor}::{})", ty.sql())), a.kind))
            }
            6 => {
                let (a, b) = (self.expr(scope, ty, depth), self.expr(scope, ty, depth));
                let divided = tree!(role; "(", a.tree, " / nullif(", b.tree, format!(", 0::{}))", ty.sql()));
                Some(Expr::new(divided, a.kind))
            }
            7 => Some(self.absolute_or_negative(scope, ty, depth)),
            8 => self.cast_of_integer(scope, ty, depth),
            _ => self.counted(scope, ty, depth),
        }
    }

    /// A numeric of this scale.
    pub(super) fn numeric(&mut self, scope: &Scope, scale: u8, depth: u32) -> Option<Expr> {
        let ty = Type::Numeric(scale);
        let role = Role::Expr(ty);
        match self.rng.below(8) {
            0 | 1 => Some(self.sum_or_difference(scope, ty, depth)),
            2 => Some(self.absolute_or_negative(scope, ty, depth)),
            3 if scale == 4 => {
                let (a, b) =
                    (self.expr(scope, Type::Numeric(2), depth), self.expr(scope, Type::Numeric(2), depth));
                let kind = Kind { ty, bound: a.kind.bound * b.kind.bound, ..a.kind };
                Some(Expr::new(tree!(role; "(", a.tree, " * ", b.tree, ")"), kind))
            }
            3 | 4 => {
                let from = *self.rng.pick(&[Type::Numeric(4), Type::Numeric(2), Type::Decimal]);
                let a = self.expr(scope, from, depth);
                let name = *self.rng.pick(&["round", "trunc"]);
                let kind = Kind { ty, bound: a.kind.bound + 1.0, plain: true, ..a.kind };
                Some(Expr::new(tree!(role; format!("{name}("), a.tree, format!(", {scale})")), kind))
            }
            5 if scale == 2 => {
                let (a, b) = (self.expr(scope, ty, depth), self.expr(scope, ty, depth));
                let kind = Kind { ty, bound: a.kind.bound * 100.0, ..a.kind };
                Some(Expr::new(tree!(role; "round(", a.tree, " / nullif(", b.tree, ", 0), 2)"), kind))
            }
            5 if scale == 0 => {
                let a = self.expr(scope, Type::Numeric(2), depth);
                let name = *self.rng.pick(&["floor(", "ceil("]);
                let kind = Kind { ty, bound: a.kind.bound + 1.0, ..a.kind };
                Some(Expr::new(tree!(role; name, a.tree, ")"), kind))
            }
            _ => {
                let from = *self.rng.pick(&[Type::Int2, Type::Int4, Type::Int8]);
                let a = self.expr(scope, from, depth);
                let kind = Kind { ty, ..a.kind };
                Some(Expr::new(tree!(role; a.tree, "::", ty.sql()), kind))
            }
        }
    }

    /// A float that is an exact multiple of a small power of two.
    pub(super) fn float(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let role = Role::Expr(ty);
        match self.rng.below(7) {
            0..=2 => Some(self.sum_or_product(scope, ty, depth)),
            3 => {
                let a = self.expr(scope, ty, depth);
                let kind = Kind { grain: a.kind.grain.saturating_add(2), ..a.kind };
                Some(Expr::new(tree!(role; "(", a.tree, format!(" / 4::{})", ty.sql())), kind))
            }
            4 => Some(self.absolute_or_negative(scope, ty, depth)),
            5 => {
                let a = self.expr(scope, ty, depth);
                let name = *self.rng.pick(&["floor", "ceil", "trunc"]);
                let kind = Kind { bound: a.kind.bound + 1.0, ..a.kind };
                Some(Expr::new(tree!(role; format!("{name}("), a.tree, format!(")::{}", ty.sql())), kind))
            }
            _ => {
                let from = *self.rng.pick(&[Type::Int2, Type::Int4, Type::Float4]);
                let a = self.expr(scope, from, depth);
                Some(Expr::new(tree!(role; a.tree, "::", ty.sql()), Kind { ty, ..a.kind }))
            }
        }
    }

    fn sum_or_difference(&mut self, scope: &Scope, ty: Type, depth: u32) -> Expr {
        let (a, b) = (self.expr(scope, ty, depth), self.expr(scope, ty, depth));
        let kind = Kind { bound: a.kind.bound + b.kind.bound, ..a.kind.or(b.kind) };
        let operator = *self.rng.pick(&[" + ", " - "]);
        Expr::new(tree!(Role::Expr(ty); "(", a.tree, operator, b.tree, ")"), kind)
    }

    fn sum_or_product(&mut self, scope: &Scope, ty: Type, depth: u32) -> Expr {
        if self.rng.chance(60) {
            return self.sum_or_difference(scope, ty, depth);
        }
        let (a, b) = (self.expr(scope, ty, depth), self.expr(scope, ty, depth));
        let grain = a.kind.grain.saturating_add(b.kind.grain);
        let kind = Kind { bound: a.kind.bound * b.kind.bound, grain, ..a.kind };
        Expr::new(tree!(Role::Expr(ty); "(", a.tree, " * ", b.tree, ")"), kind)
    }

    fn absolute_or_negative(&mut self, scope: &Scope, ty: Type, depth: u32) -> Expr {
        let a = self.expr(scope, ty, depth);
        let name = *self.rng.pick(&["abs(", "(- "]);
        Expr::new(tree!(Role::Expr(ty); name, a.tree, ")"), a.kind)
    }

    fn cast_of_integer(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let from = *self.rng.pick(&[Type::Int2, Type::Int4, Type::Int8]);
        let a = self.expr(scope, from, depth);
        Some(Expr::new(tree!(Role::Expr(ty); a.tree, "::", ty.sql()), Kind { ty, ..a.kind }))
    }

    /// An int4 out of values of other types.
    fn counted(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let role = Role::Expr(ty);
        let kind = Kind { bound: 1e6, ..Kind::of(ty) };
        if ty != Type::Int4 {
            return None;
        }
        let tree = match self.rng.below(4) {
            0 => {
                let a = self.expr(scope, Type::Text, depth);
                let tree = tree!(role; "length(", a.tree, ")");
                return Some(Expr::new(tree, kind).bounded(a.kind.bound));
            }
            1 => tree!(role; self.expr(scope, Type::Bool, depth).tree, "::int4"),
            2 => {
                let (a, b) = (self.expr(scope, Type::Date, depth), self.expr(scope, Type::Date, depth));
                tree!(role; "(", a.tree, " - ", b.tree, ")")
            }
            _ => {
                let field = *self.rng.pick(&["year", "month", "day", "dow", "hour", "minute"]);
                let a = self.expr(scope, Type::Timestamp, depth);
                tree!(role; format!("extract({field} FROM "), a.tree, ")::int4")
            }
        };
        Some(Expr::new(tree, kind))
    }
}
