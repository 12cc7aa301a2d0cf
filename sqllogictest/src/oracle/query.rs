//! Queries: SELECT with and without GROUP BY, set operations, CTEs, VALUES, ORDER BY with LIMIT.
//!
//! Place in the flow: `scenario` makes views of [`Query`]s; a query's columns are always `c0, c1, …`. Where one of
//! several equal values is kept (DISTINCT, set operations, grouping), only columns take part whose equal values
//! look the same. LIMIT comes with an order by all columns.

use super::expr::{Expr, Scope};
use super::from::From;
use super::generator::{Generator, Relation};
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

/// A query and what is known of its rows.
pub struct Query {
    pub tree: Tree,
    pub kinds: Vec<Kind>,
    pub rows: f64,
}

impl Query {
    /// Whether equal rows look the same.
    pub fn is_plain(&self) -> bool {
        self.kinds.iter().all(|kind| kind.plain)
    }
}

impl Generator<'_> {
    /// A query with columns of these types, or of any. It may name the columns of `outer`.
    pub fn query(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        match self.rng.below(100) {
            0..=13 if depth > 0 => self.set_operation(outer, want, depth - 1),
            14..=21 if depth > 0 => self.with(outer, want, depth - 1),
            22..=24 => self.values(want),
            25..=28 => self.first_rows(outer, want, depth),
            29..=31 => self.distinct_on(outer, want, depth),
            32..=35 if want.is_none() => self.windowed(outer, depth),
            _ => self.select(outer, want, depth),
        }
    }

    /// A SELECT, with GROUP BY or not.
    pub fn select(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        let from = self.from(outer, depth);
        let filter = self.filter(&from);
        self.select_over(from, filter, want)
    }

    /// A SELECT over this FROM and WHERE.
    pub fn select_over(&mut self, from: From, filter: List, want: Option<&[Type]>) -> Query {
        if self.rng.chance(35) {
            return self.grouped(from, filter, want);
        }
        let items = self.items(&from.scope, want);
        let kinds: Vec<Kind> = items.iter().map(|item| item.kind).collect();
        let distinct = kinds.iter().all(|kind| kind.plain) && self.rng.chance(15);
        let select = if distinct { "SELECT DISTINCT " } else { "SELECT " };
        let list = List::commas(named(items));
        let tree = tree!(Role::Query; select, list, " FROM ", from.tree, filter);
        Query { tree, kinds, rows: from.rows }
    }

    /// WHERE, or nothing.
    pub fn filter(&mut self, from: &From) -> List {
        List::new(" WHERE ", " AND ", self.conjunction(&from.scope, 2), 0)
    }

    /// Output columns of these types, or of some that the scope has.
    pub fn items(&mut self, scope: &Scope, want: Option<&[Type]>) -> Vec<Expr> {
        let types = match want {
            Some(types) => types.to_vec(),
            None => (0..self.rng.range(1, 4)).map(|_| self.some_type(scope)).collect(),
        };
        types
            .into_iter()
            .map(|ty| if self.rng.chance(40) { self.leaf(scope, ty) } else { self.expr(scope, ty, 2) })
            .collect()
    }

    fn set_operation(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        let left = self.query(outer, want, depth);
        let types: Vec<Type> = left.kinds.iter().map(|kind| kind.ty).collect();
        let right = self.query(outer, Some(&types), depth);
        let kinds: Vec<Kind> = left.kinds.iter().zip(&right.kinds).map(|(a, b)| a.or(*b)).collect();
        let plain = left.is_plain() && right.is_plain();
        let operator = match self.rng.below(7) {
            0 if plain => "UNION",
            1 if plain => "INTERSECT",
            2 if plain => "EXCEPT",
            3 if plain => "INTERSECT ALL",
            4 if plain => "EXCEPT ALL",
            _ => "UNION ALL",
        };
        let rows = left.rows + right.rows;
        let tree = tree!(Role::Query; "(", left.tree, format!(") {operator} ("), right.tree, ")");
        Query { tree, kinds, rows }
    }

    /// A CTE that the body reads like any relation, more than once perhaps.
    fn with(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        let cte = self.query(&[], None, depth);
        let name = self.alias().replace('t', "w");
        let relation = Relation::derived(name.clone(), cte.kinds.clone(), cte.rows);
        self.next = Some(relation.clone());
        self.relations.push(relation);
        let body = self.select(outer, want, depth);
        self.relations.pop();
        self.next = None;
        let hint = *self.rng.pick(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
        let head = format!("WITH {name} AS {hint}(");
        Query { tree: tree!(Role::Query; head, cte.tree, ") ", body.tree), ..body }
    }

    fn values(&mut self, want: Option<&[Type]>) -> Query {
        let types = match want {
            Some(types) => types.to_vec(),
            None => (0..self.rng.range(1, 3)).map(|_| *self.rng.pick(&Type::COLUMNS)).collect(),
        };
        let rows: Vec<Tree> = (0..self.rng.range(1, 4))
            .map(|_| {
                let row = types.iter().map(|ty| self.literal(*ty).tree).collect();
                tree!(Role::Item; "(", List::commas(row), ")")
            })
            .collect();
        let count = rows.len() as f64;
        let names = (0..types.len()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        let alias = self.alias();
        let values = List::commas(rows);
        let tree = tree!(Role::Query; "SELECT * FROM (VALUES ", values, format!(") AS {alias} ({names})"));
        let kinds = types.into_iter().map(Kind::of).collect();
        Query { tree, kinds, rows: count }
    }

    /// The first rows of a total order.
    fn first_rows(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        let query = match depth > 0 && self.rng.chance(20) {
            true => self.set_operation(outer, want, depth - 1),
            false => self.select(outer, want, depth),
        };
        if !query.is_plain() {
            return query;
        }
        let mut order = self.total_order(query.kinds.len());
        let limit = match self.rng.below(5) {
            // Ties come too, so an order by one column says which rows come, as long as none is skipped.
            4 => {
                order.truncate(order.find(',').unwrap_or(order.len()));
                format!(" FETCH FIRST {} ROWS WITH TIES", self.rng.range(1, 4))
            }
            0 => format!(" OFFSET {}", self.rng.range(0, 4)),
            1 => format!(" LIMIT {} OFFSET {}", self.rng.range(0, 6), self.rng.range(1, 4)),
            2 => format!(" FETCH FIRST {} ROWS ONLY", self.rng.range(1, 6)),
            _ => format!(" LIMIT {}", self.rng.range(1, 6)),
        };
        let rows = query.rows.min(10.0);
        Query { tree: tree!(Role::Query; query.tree, format!(" ORDER BY {order}{limit}")), rows, ..query }
    }

    /// `c0 DESC, c2, c1 NULLS FIRST`: all columns, in any order.
    pub fn total_order(&mut self, columns: usize) -> String {
        let mut left: Vec<usize> = (0..columns).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let column = left.remove(self.rng.below(left.len()));
            let how = *self.rng.pick(&["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            order.push(format!("c{column}{how}"));
        }
        order.join(", ")
    }

    /// DISTINCT ON some columns, with a total order.
    fn distinct_on(&mut self, outer: &[Expr], want: Option<&[Type]>, depth: u32) -> Query {
        let inner = self.select(outer, want, depth);
        if !inner.is_plain() {
            return inner;
        }
        let columns = inner.kinds.len();
        let keys = 1 + self.rng.below(columns);
        let order = self.total_order(columns);
        let on: Vec<&str> = order.split(", ").take(keys).filter_map(|key| key.split(' ').next()).collect();
        let (alias, on) = (self.alias(), on.join(", "));
        let head = format!("SELECT DISTINCT ON ({on}) * FROM (");
        let tree = tree!(Role::Query; head, inner.tree, format!(") AS {alias} ORDER BY {order}"));
        Query { tree, ..inner }
    }
}

/// Output columns with their names.
pub fn named(items: Vec<Expr>) -> Vec<Tree> {
    let named = |(i, item): (usize, Expr)| tree!(Role::Item; item.tree, format!(" AS c{i}"));
    items.into_iter().enumerate().map(named).collect()
}
