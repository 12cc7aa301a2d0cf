//! Window functions over a total order, so that each row's value is determined.
//!
//! Place in the flow: `query` calls [`Generator::windowed`].

use super::expr::{Expr, Scope};
use super::generator::{Generator, columns_of};
use super::query::Query;
use super::tree::Role;
use super::types::{Kind, Type};
use crate::tree;

impl Generator<'_> {
    /// The rows of a query, each with a window function's value; sometimes only the first of each partition.
    pub(super) fn windowed(&mut self, outer: &[Expr], depth: u32) -> Query {
        let inner = self.select(outer, None, depth);
        if !inner.is_ordered() {
            return inner;
        }
        let alias = self.alias();
        let scope = Scope::of(columns_of(&alias, &inner.kinds), Vec::new());
        let order = self.total_order(inner.kinds.len());
        let partition = match self.rng.chance(70) {
            true => format!("PARTITION BY c{} ", self.rng.below(inner.kinds.len())),
            false => String::new(),
        };
        let (call, kind) = self.window_call(&scope);
        let frame = if call.contains("sum(") || call.contains("count(") { self.frame() } else { "" };
        let over = format!("{call} OVER ({partition}ORDER BY {order}{frame})");
        let columns = inner.kinds.len();
        let head = format!("SELECT *, {over} AS c{columns} FROM (");
        let tree = tree!(Role::Query; head, inner.tree, format!(") AS {alias}"));
        let mut kinds = inner.kinds;
        kinds.push(kind);
        if kind.ty != Type::Int8 || self.rng.chance(50) {
            return Query { tree, kinds, rows: inner.rows };
        }
        let (outside, most) = (self.alias(), self.rng.range(1, 3));
        let tail = format!(") AS {outside} WHERE c{columns} <= {most}");
        Query { tree: tree!(Role::Query; "SELECT * FROM (", tree, tail), kinds, rows: inner.rows }
    }

    fn window_call(&mut self, scope: &Scope) -> (String, Kind) {
        let column = self.rng.pick(&scope.columns).clone();
        let count = Kind { bound: 1e6, ..Kind::of(Type::Int8) };
        match self.rng.below(9) {
            0..=2 => ("row_number()".to_string(), count),
            3 => ("rank()".to_string(), count),
            4 => ("dense_rank()".to_string(), count),
            5 => (format!("lag({})", column.tree), column.kind),
            6 => (format!("lead({}, 2)", column.tree), column.kind),
            7 => (format!("count({})", column.tree), count),
            _ => match column.kind.summed() {
                Some(kind) => (format!("sum({})", column.tree), kind),
                None => ("count(*)".to_string(), count),
            },
        }
    }

    fn frame(&mut self) -> &'static str {
        let frames = [
            "",
            " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
            " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        ];
        frames[self.rng.below(frames.len())]
    }
}
