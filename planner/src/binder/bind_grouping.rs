//! GROUP BY: its list, with GROUPING SETS, ROLLUP and CUBE, as expressions and sets of them.
//!
//! ```text
//!   GROUP BY a, ROLLUP (b, c)   ─►   exprs [a, b, c]   sets [[0, 1, 2], [0, 1], [0]]
//! ```
//! Every item stands for alternatives, a plain expression for one; the sets are their product, as in PostgreSQL.

use datafusion::logical_expr::Expr;
use sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, GroupByWithModifier, Ident,
};
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::bind_expr::{ExprContext, strip};
use super::bind_function::contains_aggregate;
use super::bind_select::{Item, ordinal};
use super::scope::Scope;
use super::typed::Typed;
use crate::parser::fold;

/// Most grouping sets of a query, as in PostgreSQL.
const SETS_MAX: usize = 4096;
/// Most elements of a CUBE, as in PostgreSQL.
const CUBE_MAX: usize = 12;

/// What a query groups by.
#[derive(Default)]
pub(crate) struct Groups {
    /// Whether there is a GROUP BY at all.
    pub written: bool,
    /// All grouping expressions, each once.
    pub exprs: Vec<Expr>,
    /// Positions in `exprs` for each grouping set; `None` when one set has all of them.
    pub sets: Option<Vec<Vec<usize>>>,
}

/// What an item of the list stands for: one of these sets of expressions.
type Alternatives = Vec<Vec<Expr>>;

impl Binder<'_> {
    /// The GROUP BY of a select: ordinals, columns of FROM, names of the select list, expressions, sets of them.
    pub(crate) fn bind_groups(
        &self,
        group_by: &GroupByExpr,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Groups> {
        let GroupByExpr::Expressions(list, modifiers) = group_by else {
            return Err(Error::unsupported("GROUP BY ALL").with_hint("Name the columns."));
        };
        let place = Place { items, cx: ExprContext::plain(scope, "GROUP BY") };
        let mut list = list.iter().collect::<Vec<_>>();
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(sets) => list.push(sets),
                other => {
                    return Err(Error::unsupported(format!("GROUP BY … {other}"))
                        .with_hint("Write ROLLUP (…) or CUBE (…)."));
                }
            }
        }
        let mut sets: Alternatives = vec![Vec::new()];
        for item in &list {
            let alternatives = self.bind_group_item(item, &place)?;
            if sets.len() * alternatives.len() > SETS_MAX {
                let message = format!("too many grouping sets present (maximum {SETS_MAX})");
                return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message).at(self.position(item)));
            }
            let product = |set: &Vec<Expr>| {
                let extended = alternatives.iter().map(|more| [set.as_slice(), more].concat());
                extended.collect::<Vec<_>>()
            };
            sets = sets.iter().flat_map(product).collect();
        }
        Ok(Groups { written: !list.is_empty(), ..groups(sets) })
    }

    fn bind_group_item(&self, item: &SqlExpr, place: &Place<'_>) -> Result<Alternatives> {
        match strip(item) {
            SqlExpr::GroupingSets(sets) => {
                let mut all = Vec::new();
                for set in sets {
                    match set.as_slice() {
                        [one] => all.extend(self.bind_group_item(one, place)?),
                        parts => all.push(self.bind_group_parts(parts, place)?),
                    }
                }
                Ok(all)
            }
            SqlExpr::Rollup(elements) => Ok(rollup(&self.bind_elements(elements, place)?)),
            SqlExpr::Cube(elements) => cube(&self.bind_elements(elements, place)?),
            SqlExpr::Function(call) if matches!(fold_name(call).as_str(), "rollup" | "cube") => {
                // Inside of GROUPING SETS the parser takes them for calls.
                let elements: Vec<Vec<SqlExpr>> = arguments(call).into_iter().map(parts).collect();
                let elements = self.bind_elements(&elements, place)?;
                if fold_name(call) == "cube" { cube(&elements) } else { Ok(rollup(&elements)) }
            }
            SqlExpr::Tuple(parts) => Ok(vec![self.bind_group_parts(parts, place)?]),
            _ => self.bind_group_part(item, place).map(|part| vec![part]),
        }
    }

    fn bind_elements(&self, elements: &[Vec<SqlExpr>], place: &Place<'_>) -> Result<Vec<Vec<Expr>>> {
        elements.iter().map(|parts| self.bind_group_parts(parts, place)).collect()
    }

    fn bind_group_parts(&self, parts: &[SqlExpr], place: &Place<'_>) -> Result<Vec<Expr>> {
        let parts = parts.iter().map(|part| self.bind_group_part(part, place));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    /// An expression; a window is more than one.
    fn bind_group_part(&self, part: &SqlExpr, place: &Place<'_>) -> Result<Vec<Expr>> {
        match self.group_window_keys(part, place.cx)? {
            Some(keys) => Ok(keys),
            None => Ok(vec![self.bind_group(part, place)?]),
        }
    }

    fn bind_group(&self, expr: &SqlExpr, place: &Place<'_>) -> Result<Expr> {
        let position = self.position(expr);
        let typed = match strip(expr) {
            SqlExpr::Identifier(name) => self.bind_group_name(name, place)?,
            other => match ordinal(other) {
                Some(n) => self.ordinal_item(n, place.items, "GROUP BY").map_err(|e| e.at(position))?.clone(),
                None => self.bind_expr(expr, place.cx)?,
            },
        };
        if contains_aggregate(&typed.expr) {
            let message = "aggregate functions are not allowed in GROUP BY";
            return Err(Error::new(SqlState::GROUPING_ERROR, message).at(position));
        }
        Ok(self.decide_text(typed)?.expr)
    }

    fn bind_group_name(&self, name: &Ident, place: &Place<'_>) -> Result<Typed> {
        let local = Scope { parent: None, ..*place.cx.scope };
        let found = self.resolve_column(std::slice::from_ref(name), &local);
        match found {
            Err(error) if error.state() == SqlState::UNDEFINED_COLUMN => {
                let wanted = fold(name);
                match place.items.iter().find(|item| item.name == wanted) {
                    Some(item) => Ok(item.typed.clone()),
                    None => self.bind_expr(&SqlExpr::Identifier(name.clone()), place.cx),
                }
            }
            found => found,
        }
    }
}

/// What names in a GROUP BY can mean.
struct Place<'a> {
    items: &'a [Item],
    cx: ExprContext<'a>,
}

/// The sets over a list of their expressions.
fn groups(sets: Alternatives) -> Groups {
    let mut exprs: Vec<Expr> = Vec::new();
    let mut positions = Vec::with_capacity(sets.len());
    for set in sets {
        let mut at: Vec<usize> = Vec::with_capacity(set.len());
        for expr in set {
            let known = exprs.iter().position(|known| *known == expr);
            let position = known.unwrap_or_else(|| {
                exprs.push(expr);
                exprs.len() - 1
            });
            if !at.contains(&position) {
                at.push(position);
            }
        }
        positions.push(at);
    }
    Groups { written: true, exprs, sets: Some(positions).filter(|sets| sets.len() > 1) }
}

/// All of them, then fewer and fewer from the front, at last none.
fn rollup(elements: &[Vec<Expr>]) -> Alternatives {
    (0..=elements.len()).rev().map(|length| elements[..length].concat()).collect()
}

/// Every subset, in PostgreSQL's order: all of them first.
fn cube(elements: &[Vec<Expr>]) -> Result<Alternatives> {
    let count = elements.len();
    if count > CUBE_MAX {
        let message = format!("CUBE is limited to {CUBE_MAX} elements");
        return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    let subset = |bits: usize| {
        let chosen = (0..count).filter(move |i| bits >> (count - 1 - i) & 1 == 1);
        chosen.flat_map(|i| elements[i].iter().cloned()).collect()
    };
    Ok((0..1usize << count).rev().map(subset).collect())
}

fn fold_name(call: &sqlparser::ast::Function) -> String {
    match call.name.0.as_slice() {
        [name] => name.as_ident().map(fold).unwrap_or_default(),
        _ => String::new(),
    }
}

pub(crate) fn arguments(call: &sqlparser::ast::Function) -> Vec<&SqlExpr> {
    let FunctionArguments::List(list) = &call.args else { return Vec::new() };
    let mut exprs = Vec::with_capacity(list.args.len());
    for arg in &list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
            exprs.push(expr);
        }
    }
    exprs
}

/// `(a, b)` is an element of two expressions.
fn parts(element: &SqlExpr) -> Vec<SqlExpr> {
    match element {
        SqlExpr::Tuple(parts) => parts.clone(),
        one => vec![one.clone()],
    }
}
