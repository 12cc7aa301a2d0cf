//! A scenario: tables, changes, views and questions, in an order that a seed decides, and under which circumstances.
//!
//! ```text
//! seed ─ Rng ─ Generator ─► [Table, Data, View, Data, Crash, Check, Data, Query, Check]   ─ play ─► failure or not
//! ```
//! Views come before all data, after all, or anywhere in between; the server is killed and started again in some.

use super::circumstances::Circumstances;
use super::expr::Expr;
use super::generator::{Generator, Relation};
use super::rng::Rng;
use super::tree::{List, Role, Tree};
use super::types::Type;
use crate::tree;

/// What is done in one run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub circumstances: Circumstances,
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Table {
        name: String,
        create: Tree,
    },
    Index(Tree),
    /// One statement, or several in a transaction.
    Data(Vec<Tree>, End),
    View {
        name: String,
        query: Tree,
        maintained: bool,
    },
    /// A query that no view answers.
    Query(Tree),
    /// Two views that must be equal.
    Twins(String, String),
    /// Every table, every view and every view's query are compared.
    Check,
    Crash,
}

/// How the statements of one step end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Each commits by itself.
    Auto,
    Commit,
    Rollback,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn generate(seed: u64) -> Scenario {
        let mut rng = Rng::new(seed);
        let circumstances = Circumstances::choose(&mut rng);
        let mut generator = Generator::new(&mut rng);
        let (mut steps, tables) = generator.tables();
        let data = generator.data(&tables);
        let views = generator.views();
        steps.extend(generator.interleaved(data, views));
        steps.push(Step::Check);
        if generator.rng.chance(15) {
            steps.extend([Step::Crash, Step::Check]);
        }
        Scenario { circumstances, steps }
    }
}

impl Generator<'_> {
    fn tables(&mut self) -> (Vec<Step>, Vec<Relation>) {
        let mut steps = Vec::new();
        for i in 0..self.rng.range(2, 3) {
            let name = format!("t_{i}");
            let (create, relation) = self.table(&name);
            steps.push(Step::Table { name, create });
            if self.rng.chance(25) {
                steps.push(Step::Index(self.index(&relation)));
            }
            self.relations.push(relation);
        }
        (steps, self.relations.clone())
    }

    fn data(&mut self, tables: &[Relation]) -> Vec<Step> {
        let mut steps = Vec::new();
        for table in tables {
            let rows = self.rng.range(4, 16);
            steps.push(Step::Data(vec![self.insert(table, rows)], End::Auto));
        }
        for _ in 0..self.rng.range(4, 12) {
            let in_transaction = self.rng.chance(20);
            let count = if in_transaction { self.rng.range(2, 4) } else { 1 };
            let statements = (0..count)
                .map(|_| {
                    let table = self.rng.pick(tables).clone();
                    self.change(&table)
                })
                .collect();
            let end = match in_transaction {
                false => End::Auto,
                true if self.rng.chance(65) => End::Commit,
                true => End::Rollback,
            };
            steps.push(Step::Data(statements, end));
        }
        steps
    }

    /// Views, which later ones may read, and queries.
    fn views(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for i in 0..self.rng.range(3, 6) {
            if self.rng.chance(15) {
                steps.push(Step::Query(self.query(&[], None, 2).tree));
            }
            if self.rng.chance(12) {
                steps.extend(self.twins(i));
                continue;
            }
            let query = self.query(&[], None, 2);
            let name = format!("v_{i}");
            let maintained = self.rng.chance(88);
            self.relations.push(Relation::derived(name.clone(), query.kinds, query.rows));
            steps.push(Step::View { name, query: query.tree, maintained });
        }
        steps
    }

    /// Ternary logic partitioning: the rows where a condition is true, false and unknown are all rows. NoREC: as many
    /// rows as WHERE lets through has the condition true for all rows. Source: Rigger and Su, OOPSLA and FSE 2020.
    fn twins(&mut self, i: i64) -> Vec<Step> {
        let from = self.from(&[], 1);
        let condition = self.predicate(&from.scope, 2).tree;
        let (whole, parts) = (format!("v_{i}a"), format!("v_{i}b"));
        let (one, other) = match self.rng.chance(60) {
            true => {
                let item = self.items(&from.scope, None).remove(0);
                partitioned(&from.tree, &item, &condition)
            }
            false => counted(&from.tree, &condition),
        };
        let view = |name: &String, query| Step::View { name: name.clone(), query, maintained: true };
        vec![view(&whole, one), view(&parts, other), Step::Twins(whole, parts)]
    }

    /// Data and views in one order, with checks and crashes.
    fn interleaved(&mut self, data: Vec<Step>, views: Vec<Step>) -> Vec<Step> {
        let count = data.len();
        let mut places: Vec<usize> = match self.rng.below(3) {
            0 => vec![0; views.len()],
            1 => vec![count; views.len()],
            _ => (0..views.len()).map(|_| self.rng.below(count + 1)).collect(),
        };
        places.sort_unstable();
        let crash = if self.rng.chance(40) { self.rng.below(count) } else { usize::MAX };
        let mut views = views.into_iter().zip(places).peekable();
        let mut steps = Vec::new();
        for (i, change) in data.into_iter().enumerate() {
            while let Some((view, _)) = views.next_if(|(_, place)| *place <= i) {
                steps.push(view);
            }
            steps.push(change);
            if i == crash {
                steps.push(Step::Crash);
            }
            if self.rng.chance(15) {
                steps.push(Step::Check);
            }
        }
        steps.extend(views.map(|(view, _)| view));
        steps
    }
}

fn partitioned(from: &Tree, item: &Expr, condition: &Tree) -> (Tree, Tree) {
    let select = |filter: Vec<Tree>| {
        let (item, filter) = (item.tree.clone(), List::new(" WHERE ", "", filter, 0));
        tree!(Role::Query; "SELECT ", item, " AS c0 FROM ", from.clone(), filter)
    };
    let boolean =
        |before: &str, after: &str| vec![tree!(Role::Expr(Type::Bool); before, condition.clone(), after)];
    let (yes, no, unknown) =
        (select(boolean("", "")), select(boolean("(NOT ", ")")), select(boolean("(", " IS NULL)")));
    (select(Vec::new()), tree!(Role::Query; yes, " UNION ALL ", no, " UNION ALL ", unknown))
}

fn counted(from: &Tree, condition: &Tree) -> (Tree, Tree) {
    let (from, condition) = (from.clone(), condition.clone());
    let filtered =
        tree!(Role::Query; "SELECT count(*) AS c0 FROM ", from.clone(), " WHERE ", condition.clone());
    let head = "SELECT count(*) FILTER (WHERE ";
    (filtered, tree!(Role::Query; head, condition, ") AS c0 FROM ", from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_scenario() {
        let text = |seed| format!("{:?}", Scenario::generate(seed).steps);
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }
}
