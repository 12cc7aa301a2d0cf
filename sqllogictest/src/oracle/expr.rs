//! Typed expressions that never fail: every number has a bound, and an operation is only chosen where it keeps
//! within its type.
//!
//! Place in the flow: [`Generator::expr`] makes an expression of a type over a [`Scope`]; `expr_number`, `expr_text`
//! and `predicate` have what is special to a family of types, `query` the subqueries.

use super::generator::Generator;
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

/// An expression and what is known of its values.
#[derive(Clone, Debug)]
pub struct Expr {
    pub tree: Tree,
    pub kind: Kind,
}

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub columns: Vec<Expr>,
    /// Those of `columns` that a subquery may name: not aggregates, nor expressions of GROUP BY.
    pub visible: Vec<Expr>,
    /// Columns of the queries around.
    pub outer: Vec<Expr>,
}

impl Expr {
    pub fn new(tree: Tree, kind: Kind) -> Expr {
        Expr { tree, kind }
    }

    /// A name of a column.
    pub fn column(alias: &str, name: &str, kind: Kind) -> Expr {
        Expr::new(tree!(Role::Expr(kind.ty); format!("{alias}.{name}")), kind)
    }

    /// With values up to this.
    pub fn bounded(mut self, bound: f64) -> Expr {
        self.kind.bound = bound;
        self
    }

    pub fn ty(&self) -> Type {
        self.kind.ty
    }
}

impl Scope {
    /// Of these columns, all of which a subquery may name.
    pub fn of(columns: Vec<Expr>, outer: Vec<Expr>) -> Scope {
        Scope { visible: columns.clone(), columns, outer }
    }

    /// What a subquery in this scope sees of it.
    pub fn inside(&self) -> Vec<Expr> {
        [self.visible.clone(), self.outer.clone()].concat()
    }

    pub fn with_type(&self, ty: Type) -> Vec<&Expr> {
        self.columns.iter().filter(|column| column.ty() == ty).collect()
    }
}

impl Generator<'_> {
    /// An expression of this type.
    pub fn expr(&mut self, scope: &Scope, ty: Type, depth: u32) -> Expr {
        if depth == 0 || self.rng.chance(40) {
            return self.leaf(scope, ty);
        }
        let made = match ty {
            _ if self.rng.chance(25) => self.of_any_type(scope, ty, depth - 1),
            Type::Bool => Some(self.predicate(scope, depth - 1)),
            Type::Int2 | Type::Int4 | Type::Int8 => self.integer(scope, ty, depth - 1),
            Type::Numeric(scale) => self.numeric(scope, scale, depth - 1),
            Type::Float4 | Type::Float8 => self.float(scope, ty, depth - 1),
            Type::Text => Some(self.text(scope, depth - 1)),
            Type::Date | Type::Time | Type::Timestamp | Type::Timestamptz | Type::Interval => {
                self.time(scope, ty, depth - 1)
            }
            Type::Jsonb | Type::Uuid | Type::Bytea | Type::Decimal => None,
        };
        match made {
            Some(expr) if expr.kind.fits() => expr,
            _ => self.leaf(scope, ty),
        }
    }

    /// A column of this type if there is one, else a cast of another, else a literal.
    pub fn leaf(&mut self, scope: &Scope, ty: Type) -> Expr {
        let columns = scope.with_type(ty);
        if !columns.is_empty() && self.rng.chance(88) {
            return (*self.rng.pick(&columns)).clone();
        }
        let outer: Vec<&Expr> = scope.outer.iter().filter(|column| column.ty() == ty).collect();
        if !outer.is_empty() && self.rng.chance(40) {
            return (*self.rng.pick(&outer)).clone();
        }
        if !scope.columns.is_empty() && self.rng.chance(75) {
            let column = self.rng.pick(&scope.columns).clone();
            if let Some(expr) = self.converted(column, ty) {
                return expr;
            }
        }
        self.literal(ty)
    }

    /// A column as a value of another type, where there is a way that never fails.
    fn converted(&mut self, column: Expr, ty: Type) -> Option<Expr> {
        let (from, role) = (column.ty(), Role::Expr(ty));
        let kind = Kind { ty, bound: column.kind.bound, ..Kind::of(ty) };
        let is_cast = match ty {
            Type::Bool => {
                let operator = *self.rng.pick(&[" < ", " >= ", " <> "]);
                let literal = self.literal(from).tree;
                let test = tree!(role; "(", column.tree, operator, literal, ")");
                return Some(Expr::new(test, Kind::of(ty)));
            }
            Type::Int2 | Type::Int4 | Type::Int8 => from.is_integer(),
            Type::Numeric(_) | Type::Float4 | Type::Float8 => from.is_integer(),
            Type::Text => {
                matches!(from, Type::Bool | Type::Date | Type::Uuid | Type::Time) || from.is_integer()
            }
            Type::Date => matches!(from, Type::Timestamp),
            Type::Timestamp => matches!(from, Type::Date),
            _ => false,
        };
        let expr = Expr::new(tree!(role; column.tree, "::", ty.sql()), kind);
        let expr = if ty == Type::Text { expr.bounded(40.0) } else { expr };
        (is_cast && from != ty && expr.kind.fits()).then_some(expr)
    }

    /// A literal of this type, now and then NULL.
    pub fn literal(&mut self, ty: Type) -> Expr {
        let text = match self.rng.chance(6) {
            true => format!("NULL::{}", ty.sql()),
            false => ty.typed_literal(self.rng),
        };
        Expr::new(tree!(Role::Expr(ty); text), Kind::of(ty))
    }

    /// The type of some column in scope.
    pub fn some_type(&mut self, scope: &Scope) -> Type {
        if scope.columns.is_empty() {
            return *self.rng.pick(&Type::COLUMNS);
        }
        self.rng.pick(&scope.columns).ty()
    }

    /// What works for values of every type.
    fn of_any_type(&mut self, scope: &Scope, ty: Type, depth: u32) -> Option<Expr> {
        let role = Role::Expr(ty);
        if self.subqueries && self.rng.chance(20) {
            return self.scalar_subquery(scope, ty, depth);
        }
        let (a, b) = (self.expr(scope, ty, depth), self.expr(scope, ty, depth));
        let kind = a.kind.or(b.kind);
        let tree = match self.rng.below(5) {
            0 => {
                let condition = self.expr(scope, Type::Bool, depth).tree;
                tree!(role; "CASE WHEN ", condition, " THEN ", a.tree, " ELSE ", b.tree, " END")
            }
            1 => return Some(self.simple_case(scope, a, b, depth)),
            2 => tree!(role; "coalesce(", a.tree, ", ", b.tree, ")"),
            3 => tree!(role; "nullif(", a.tree, ", ", b.tree, ")"),
            // Of two equal intervals either may come.
            _ if ty.has_extremes() && ty != Type::Decimal && ty != Type::Interval => {
                let name = *self.rng.pick(&["greatest(", "least("]);
                tree!(role; name, a.tree, ", ", b.tree, ")")
            }
            _ => return None,
        };
        Some(Expr::new(tree, kind))
    }

    /// `CASE x WHEN … THEN … END`, which is NULL where nothing matches.
    fn simple_case(&mut self, scope: &Scope, a: Expr, b: Expr, depth: u32) -> Expr {
        let ty = self.some_type(scope);
        let subject = self.expr(scope, ty, depth).tree;
        let (first, second) = (self.literal(ty).tree, self.literal(ty).tree);
        let kind = a.kind.or(b.kind);
        let when = |value: Tree, then: Tree| tree!(Role::Item; "WHEN ", value, " THEN ", then);
        let branches = List::new(" ", " ", vec![when(first, a.tree), when(second, b.tree)], 1);
        Expr::new(tree!(Role::Expr(kind.ty); "CASE ", subject, branches, " END"), kind)
    }
}
