//! GROUP BY, HAVING and aggregates, with DISTINCT and FILTER.
//!
//! Place in the flow: `query` hands a FROM and a WHERE over. The output columns are expressions over the keys
//! and the aggregates, which make a [`Scope`] of their own.

use super::expr::{Expr, Scope};
use super::from::From;
use super::generator::Generator;
use super::query::{Query, named};
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

impl Generator<'_> {
    /// A SELECT with GROUP BY, or with aggregates over all rows.
    pub(super) fn grouped(&mut self, from: From, filter: List, want: Option<&[Type]>) -> Query {
        let keys = self.group_keys(&from.scope);
        let sets = if self.rng.chance(15) { self.grouping_sets(&keys) } else { None };
        let mut columns: Vec<Expr> = keys.iter().map(|(key, _)| key.clone()).collect();
        if sets.is_some() {
            let key = self.rng.pick(&keys).0.tree.clone();
            columns
                .push(Expr::new(tree!(Role::Expr(Type::Int4); "grouping(", key, ")"), Kind::of(Type::Int4)));
        }
        for _ in 0..self.rng.range(1, 3) {
            columns.push(self.aggregate(&from.scope));
        }
        let mut visible: Vec<Expr> =
            keys.iter().filter(|(_, is_column)| *is_column).map(|(key, _)| key.clone()).collect();
        if sets.is_some() {
            // In a subquery the key would be the column itself, which is not NULL where its set leaves it out.
            visible.clear();
        }
        let scope = Scope { columns, visible, outer: from.scope.outer.clone() };
        let items = match want {
            Some(_) => self.items(&scope, want),
            None if self.rng.chance(25) => self.items(&scope, None),
            None => scope.columns.clone(),
        };
        let kinds = items.iter().map(|item| item.kind).collect();
        let having = match self.rng.chance(25) {
            true => vec![self.predicate(&scope, 1).tree],
            false => Vec::new(),
        };
        let rows = if keys.is_empty() { 1.0 } else { from.rows / 2.0 };
        let group = match sets {
            Some(sets) => List::new(" GROUP BY ", ", ", vec![sets], 0),
            None => List::new(" GROUP BY ", ", ", keys.into_iter().map(|(key, _)| key.tree).collect(), 0),
        };
        let (list, having) = (List::commas(named(items)), List::new(" HAVING ", " AND ", having, 0));
        let tree = tree!(Role::Query; "SELECT ", list, " FROM ", from.tree, filter, group, having);
        Query { tree, kinds, rows }
    }

    /// GROUPING SETS, ROLLUP or CUBE, with each key in at least one set. Keys are columns: one that PostgreSQL can compute
    /// before it reads a row is not NULL there in the sets without it (up to version 17), which is a fault of its own.
    fn grouping_sets(&mut self, keys: &[(Expr, bool)]) -> Option<Tree> {
        let all = || keys.iter().map(|(key, _)| key.tree.clone()).collect::<Vec<_>>();
        if keys.is_empty() || !keys.iter().all(|(_, is_column)| *is_column) {
            return None;
        }
        let set = |keys: Vec<Tree>| tree!(Role::Item; "(", List::new("", ", ", keys, 0), ")");
        Some(match self.rng.below(4) {
            0 => tree!(Role::Item; "ROLLUP (", List::commas(all()), ")"),
            1 => tree!(Role::Item; "CUBE (", List::commas(all()), ")"),
            2 => {
                let sets = vec![set(all()), set(vec![all().remove(0)]), set(Vec::new())];
                tree!(Role::Item; "GROUPING SETS (", List::commas(sets), ")")
            }
            _ => {
                let mut sets: Vec<Tree> = all().into_iter().map(|key| set(vec![key])).collect();
                sets.extend(self.rng.chance(50).then(|| set(Vec::new())));
                tree!(Role::Item; "GROUPING SETS (", List::commas(sets), ")")
            }
        })
    }

    /// Up to two keys, and whether each is a column.
    fn group_keys(&mut self, scope: &Scope) -> Vec<(Expr, bool)> {
        let mut keys = Vec::new();
        for _ in 0..self.rng.weighted(&[15, 55, 30]) {
            let is_column = self.rng.chance(70);
            let key = if is_column {
                self.rng.pick(&scope.columns).clone()
            } else {
                let ty = self.some_type(scope);
                self.without_subqueries(|generator| generator.expr(&local(scope), ty, 1))
            };
            if key.kind.plain {
                keys.push((key, is_column));
            }
        }
        keys
    }

    /// An aggregate over the rows of this scope. Columns of queries around are left out: an aggregate of those alone
    /// would belong to the query around.
    pub(super) fn aggregate(&mut self, scope: &Scope) -> Expr {
        let scope = local(scope);
        let mut ty = self.some_type(&scope);
        for _ in 0..2 {
            if !ty.is_number() {
                ty = self.some_type(&scope);
            }
        }
        let argument = self.expr(&scope, ty, 1);
        let made = match self.rng.below(27) {
            0..=2 => None,
            3..=5 => Some((self.one("count", &argument), Kind { bound: 1e6, ..Kind::of(Type::Int8) })),
            6..=9 => argument.kind.summed().map(|kind| (self.one("sum", &argument), kind)),
            10..=12 => average(argument.kind).map(|kind| (self.one("avg", &argument), kind)),
            13..=19 if ty.has_extremes() && argument.kind.plain && ty != Type::Decimal => {
                let name = *self.rng.pick(&["min", "max"]);
                Some((self.one(name, &argument), argument.kind))
            }
            20 => Some(self.boolean_aggregate(&scope)),
            21 => Some(self.ordered_aggregate(&scope)),
            24 | 25 if is_listed(&argument) => return self.list(&scope, &argument),
            26 if argument.kind.plain && ty != Type::Decimal => Some(self.quantile(&argument)),
            22 if ty.is_integer() => Some(self.bitwise(&argument)),
            23 if ty.is_integer() => Some(self.deviation(&argument)),
            _ => None,
        };
        let (call, kind) = made
            .unwrap_or_else(|| (tree!(Role::Item; "count(*)"), Kind { bound: 1e6, ..Kind::of(Type::Int8) }));
        let filter = self.aggregate_filter(&scope);
        Expr::new(tree!(Role::Expr(kind.ty); call, filter), kind)
    }

    /// FILTER, or nothing.
    pub(super) fn aggregate_filter(&mut self, scope: &Scope) -> List {
        let filter = match self.rng.chance(20) {
            true => vec![self.predicate(scope, 1).tree],
            false => Vec::new(),
        };
        List::new(" FILTER (WHERE ", "", filter.into_iter().map(|p| tree!(Role::Item; p, ")")).collect(), 0)
    }

    fn one(&mut self, name: &str, argument: &Expr) -> Tree {
        let distinct = argument.kind.plain && self.rng.chance(20);
        let distinct = if distinct { "DISTINCT " } else { "" };
        tree!(Role::Item; format!("{name}({distinct}"), argument.tree.clone(), ")")
    }

    fn boolean_aggregate(&mut self, scope: &Scope) -> (Tree, Kind) {
        let argument = self.expr(scope, Type::Bool, 1);
        let name = *self.rng.pick(&["bool_and", "bool_or", "every"]);
        (tree!(Role::Item; format!("{name}("), argument.tree, ")"), Kind::of(Type::Bool))
    }

    /// An aggregate whose order is in the call, and decides everything that shows.
    fn ordered_aggregate(&mut self, scope: &Scope) -> (Tree, Kind) {
        let argument = self.expr(scope, Type::Text, 1).tree;
        let how = *self.rng.pick(&["", " DESC", " NULLS FIRST"]);
        let call = tree!(Role::Item; "string_agg(", argument.clone(), ", '/' ORDER BY ", argument, format!("{how})"));
        (call, Kind { bound: 1e4, ..Kind::of(Type::Text) })
    }
}

/// The rarer ones.
impl Generator<'_> {
    /// All values as one text, in their order.
    fn list(&mut self, scope: &Scope, argument: &Expr) -> Expr {
        let filter = self.aggregate_filter(scope);
        let name = *self.rng.pick(&["array_agg", "array_agg", "jsonb_agg"]);
        let distinct = if self.rng.chance(30) { "DISTINCT " } else { "" };
        let how = *self.rng.pick(&["", " DESC", " NULLS FIRST"]);
        let (head, argument) = (format!("({name}({distinct}"), argument.tree.clone());
        let order = tree!(Role::Item; " ORDER BY ", argument.clone(), format!("{how})"));
        let tree = tree!(Role::Expr(Type::Text); head, argument, order, filter, ")::text");
        Expr::new(tree, Kind { bound: 1e4, ..Kind::of(Type::Text) })
    }

    /// An aggregate over a sorted column.
    fn quantile(&mut self, argument: &Expr) -> (Tree, Kind) {
        let ty = argument.ty();
        let name = *self.rng.pick(&[
            "mode()",
            "percentile_disc(0.5)",
            "percentile_disc(0.25)",
            "percentile_cont(0.5)",
        ]);
        let is_between = name.starts_with("percentile_cont");
        let name = if is_between && ty != Type::Float8 { "percentile_disc(1)" } else { name };
        let how = *self.rng.pick(&["", " DESC"]);
        let head = format!("{name} WITHIN GROUP (ORDER BY ");
        let grain = if is_between { argument.kind.grain.saturating_add(2) } else { argument.kind.grain };
        (tree!(Role::Item; head, argument.tree.clone(), format!("{how})")), Kind { grain, ..argument.kind })
    }

    fn bitwise(&mut self, argument: &Expr) -> (Tree, Kind) {
        let name = *self.rng.pick(&["bit_and", "bit_or", "bit_xor"]);
        let kind = Kind { bound: argument.kind.bound * 2.0, ..argument.kind };
        (tree!(Role::Item; format!("{name}("), argument.tree.clone(), ")"), kind)
    }

    /// A statistic of integers.
    fn deviation(&mut self, argument: &Expr) -> (Tree, Kind) {
        let name = *self.rng.pick(&["stddev_samp", "stddev_pop", "var_samp", "var_pop"]);
        let call = tree!(Role::Item; format!("{name}("), argument.tree.clone(), ")");
        (call, Kind { ty: Type::Decimal, plain: false, ..argument.kind })
    }
}

fn local(scope: &Scope) -> Scope {
    Scope { outer: Vec::new(), ..scope.clone() }
}

/// Whether a list of such values has one text: floats have a negative zero, averages a scale of their own.
fn is_listed(value: &Expr) -> bool {
    let is_exact = !matches!(value.ty(), Type::Float4 | Type::Float8 | Type::Decimal);
    is_exact && value.kind.plain
}

/// What `avg` gives: a numeric whose scale depends on the value, or a float that is exact no more.
pub(super) fn average(kind: Kind) -> Option<Kind> {
    kind.summed()?;
    Some(match kind.ty {
        Type::Float4 | Type::Float8 => Kind { ty: Type::Float8, grain: 60, ..kind },
        _ => Kind { ty: Type::Decimal, plain: false, ..kind },
    })
}
