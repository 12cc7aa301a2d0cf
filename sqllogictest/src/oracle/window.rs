//! Window functions whose every row's value is determined: over a total order, or of functions and frames to which rows
//! that are equal in the order are the same.
//!
//! Place in the flow: `query` calls [`Generator::windowed`].

use super::aggregate::average;
use super::expr::{Expr, Scope};
use super::generator::{Generator, columns_of};
use super::query::Query;
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

/// What a call needs to be determined. One at most of a query's calls may tell equal rows apart, by a total order: of two
/// that do, it would be anybody's choice which values meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The order of all rows.
    TotalOrder,
    /// Nothing of equal rows.
    Order,
    /// A frame, which counts rows only in a total order.
    Frame,
}

/// The first of the calls that need no total order.
const ANY_ORDER: usize = 10;

impl Generator<'_> {
    /// The rows of a query, each with values of window functions; sometimes only the first of each partition.
    pub(super) fn windowed(&mut self, outer: &[Expr], depth: u32) -> Query {
        let inner = self.select(outer, None, depth);
        if !inner.is_plain() {
            return inner;
        }
        let alias = self.alias();
        let scope = Scope::of(columns_of(&alias, &inner.kinds), Vec::new());
        let (columns, calls) = (inner.kinds.len(), self.rng.weighted(&[0, 65, 25, 10]));
        let mut kinds = inner.kinds;
        let (mut items, mut ranks) = (Vec::new(), false);
        for i in 0..calls {
            let (item, kind, is_rank) = self.window_item(&scope, i == 0);
            items.push(tree!(Role::Item; item, format!(" AS c{}", columns + i)));
            kinds.push(kind);
            ranks |= i == 0 && is_rank;
        }
        let tail = format!(") AS {alias}");
        let tree = tree!(Role::Query; "SELECT *, ", List::commas(items), " FROM (", inner.tree, tail);
        if !ranks || self.rng.chance(50) {
            return Query { tree, kinds, rows: inner.rows };
        }
        let (outside, most) = (self.alias(), self.rng.range(1, 3));
        let test = *self.rng.pick(&["<=", "<=", "<", "="]);
        let tail = format!(") AS {outside} WHERE c{columns} {test} {most}");
        Query { tree: tree!(Role::Query; "SELECT * FROM (", tree, tail), kinds, rows: inner.rows }
    }

    /// A call with its window, what it gives, and whether it is the number of the row or its rank.
    fn window_item(&mut self, scope: &Scope, is_first: bool) -> (Tree, Kind, bool) {
        let (call, kind, needs, is_rank) = self.window_call(scope, if is_first { 0 } else { ANY_ORDER });
        let columns = scope.columns.len();
        let is_total = is_first && (needs == Needs::TotalOrder || self.rng.chance(40));
        let mut order = self.total_order(columns);
        if !is_total {
            order.truncate(order.find(',').unwrap_or(order.len()));
        }
        let partition = match self.rng.below(10) {
            0..=2 => String::new(),
            3 => format!("PARTITION BY c{}, c{} ", self.rng.below(columns), self.rng.below(columns)),
            _ => format!("PARTITION BY c{} ", self.rng.below(columns)),
        };
        let frame = match needs {
            // A value of one row of the frame, which needs to be a known one.
            Needs::TotalOrder if is_of_frame(&call) => self.frame(true),
            Needs::Frame => self.frame(is_total),
            _ => "",
        };
        let order = if needs == Needs::Frame && self.rng.chance(10) {
            String::new()
        } else {
            format!("ORDER BY {order}")
        };
        let frame = if order.is_empty() { "" } else { frame };
        (tree!(Role::Item; call, format!(" OVER ({partition}{order}{frame})")), kind, is_rank)
    }

    /// A call; those from [`ANY_ORDER`] on need no total order.
    fn window_call(&mut self, scope: &Scope, from: usize) -> (Tree, Kind, Needs, bool) {
        let column = self.rng.pick(&scope.columns).clone();
        let count = Kind { bound: 1e6, ..Kind::of(Type::Int8) };
        let fraction = Kind { grain: 60, ..Kind::of(Type::Float8) };
        let of = |name: &str, tail: &str| tree!(Role::Item; name, column.tree.clone(), tail);
        let plain = |text: String| tree!(Role::Item; text);
        match from + self.rng.below(18 - from) {
            0..=2 => (plain("row_number()".into()), count, Needs::TotalOrder, true),
            3 => {
                let ntile = format!("ntile({})", self.rng.range(1, 4));
                (plain(ntile), Kind::of(Type::Int4), Needs::TotalOrder, false)
            }
            4..=6 => {
                let name = *self.rng.pick(&["lag(", "lead("]);
                let default = self.literal(column.ty()).tree;
                let tail = match self.rng.below(3) {
                    0 => tree!(Role::Item; ")"),
                    1 => tree!(Role::Item; ", 2)"),
                    _ => tree!(Role::Item; ", 1, ", default, ")"),
                };
                (tree!(Role::Item; of(name, ""), tail), column.kind, Needs::TotalOrder, false)
            }
            7 => (of("first_value(", ")"), column.kind, Needs::TotalOrder, false),
            8 => (of("last_value(", ")"), column.kind, Needs::TotalOrder, false),
            9 => (of("nth_value(", ", 2)"), column.kind, Needs::TotalOrder, false),
            ANY_ORDER => (plain("rank()".into()), count, Needs::Order, true),
            11 => (plain("dense_rank()".into()), count, Needs::Order, true),
            12 => (plain("percent_rank()".into()), fraction, Needs::Order, false),
            13 => (plain("cume_dist()".into()), fraction, Needs::Order, false),
            _ => {
                let (call, kind) = self.window_aggregate(&column);
                (tree!(Role::Item; call, self.aggregate_filter(scope)), kind, Needs::Frame, false)
            }
        }
    }

    fn window_aggregate(&mut self, column: &Expr) -> (Tree, Kind) {
        let call = |name: &str| tree!(Role::Item; name, column.tree.clone(), ")");
        let count = Kind { bound: 1e6, ..Kind::of(Type::Int8) };
        let kind = column.kind;
        match self.rng.below(5) {
            0 => kind.summed().map(|kind| (call("sum("), kind)),
            1 => average(kind).map(|kind| (call("avg("), kind)),
            2 | 3 if column.ty().has_extremes() && column.ty() != Type::Decimal => {
                Some((call(self.rng.pick::<&str>(&["min(", "max("])), kind))
            }
            _ => Some((call("count("), count)),
        }
        .unwrap_or((tree!(Role::Item; "count(*)"), count))
    }

    /// A frame; one that counts rows if their order is total.
    fn frame(&mut self, is_total: bool) -> &'static str {
        let frames = [
            "",
            " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
            " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            " GROUPS BETWEEN CURRENT ROW AND 2 FOLLOWING",
            " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
            " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING",
            " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        ];
        let count = if is_total { frames.len() } else { 5 };
        frames[self.rng.below(count)]
    }
}

fn is_of_frame(call: &Tree) -> bool {
    call.to_string().contains("_value(")
}
