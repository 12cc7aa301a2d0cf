//! What a generator knows while it writes a scenario: its dice and the relations that are there.
//!
//! Place in the flow: `scenario` makes one a seed; `expr`, `predicate`, `query`, `aggregate`, `subquery`, `window` and
//! `dml` are its methods, one file for a part of the grammar.

use super::expr::Expr;
use super::rng::Rng;
use super::types::Kind;

/// A relation that queries may read.
#[derive(Clone, Debug)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Kind>,
    /// The columns of the PRIMARY KEY; none of a view.
    pub key: Vec<usize>,
    /// Which columns are never NULL, by declaration.
    pub required: Vec<bool>,
    /// Roughly how many rows it has.
    pub rows: f64,
}

/// Writes SQL.
pub struct Generator<'r> {
    pub rng: &'r mut Rng,
    pub relations: Vec<Relation>,
    /// What is read next: a CTE that nothing reads is bound by PostgreSQL, and not by Weir.
    pub next: Option<Relation>,
    /// Whether expressions may hold subqueries.
    pub subqueries: bool,
    aliases: usize,
}

impl<'r> Generator<'r> {
    pub fn new(rng: &'r mut Rng) -> Generator<'r> {
        Generator { rng, relations: Vec::new(), next: None, subqueries: true, aliases: 0 }
    }

    /// A name that no other relation of the statement has.
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// What this writes has no subqueries.
    pub fn without_subqueries<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.subqueries, false);
        let written = write(self);
        self.subqueries = before;
        written
    }

    /// A relation; the last ones, which are views over the others, as often as all others.
    pub fn relation(&mut self) -> Relation {
        if let Some(next) = self.next.take() {
            return next;
        }
        let count = self.relations.len();
        let from = if self.rng.chance(30) { count.saturating_sub(3) } else { 0 };
        let at = from + self.rng.below(count - from);
        self.relations[at].clone()
    }
}

impl Relation {
    /// Something to read: a view or a CTE.
    pub fn derived(name: String, columns: Vec<Kind>, rows: f64) -> Relation {
        let required = vec![false; columns.len()];
        Relation { name, columns, key: Vec::new(), required, rows }
    }

    /// Its columns under an alias.
    pub fn scope(&self, alias: &str) -> Vec<Expr> {
        columns_of(alias, &self.columns)
    }
}

/// `alias.c0, alias.c1, …`: every relation names its columns like this.
pub fn columns_of(alias: &str, kinds: &[Kind]) -> Vec<Expr> {
    let columns = kinds.iter().enumerate();
    columns.map(|(i, kind)| Expr::column(alias, &format!("c{i}"), *kind)).collect()
}
