//! Tables, and the statements that change them: what they do is determined, whatever order rows are visited in.
//!
//! Place in the flow: `scenario` takes statements from here. Values stay within the bounds of their columns however
//! often statements run. Keys move to where no key of the same statement was, since PostgreSQL checks each row at
//! once; UPDATE … FROM meets each row at most once.

use super::expr::{Expr, Scope};
use super::generator::{Generator, Relation};
use super::tree::{List, Role, Tree};
use super::types::{Kind, Type};
use crate::tree;

/// How many integers literals have, from their least on: a key moves by this.
const KEY_STEP: i64 = 13;

impl Generator<'_> {
    /// CREATE TABLE, and what is known of the table.
    pub fn table(&mut self, name: &str) -> (Tree, Relation) {
        let count = self.rng.range(1, 5) as usize;
        let types: Vec<Type> = (0..count).map(|_| *self.rng.pick(&Type::COLUMNS)).collect();
        let keys = self.rng.weighted(&[40, 45, 15]).min(count);
        let key: Vec<usize> = (0..keys).filter(|i| !matches!(types[*i], Type::Bool | Type::Jsonb)).collect();
        let required: Vec<bool> = (0..count).map(|i| key.contains(&i) || self.rng.chance(10)).collect();
        let mut parts: Vec<Tree> = Vec::new();
        for (i, ty) in types.iter().enumerate() {
            let not_null = if required[i] && !key.contains(&i) { " NOT NULL" } else { "" };
            let default = match self.rng.chance(10) {
                true => format!(" DEFAULT {}", ty.literal(self.rng)),
                false => String::new(),
            };
            parts.push(tree!(Role::Item; format!("c{i} {}{not_null}{default}", ty.sql())));
        }
        if !key.is_empty() {
            parts.push(tree!(Role::Item; format!("PRIMARY KEY ({})", names(&key))));
        }
        let tree = tree!(Role::Statement; format!("CREATE TABLE {name} ("), List::commas(parts), ")");
        let columns = types.into_iter().map(Kind::of).collect();
        (tree, Relation { name: name.to_string(), columns, key, required, rows: 20.0 })
    }

    /// CREATE INDEX on some columns. None is UNIQUE: what a statement may do to those depends on the order of rows.
    pub fn index(&mut self, table: &Relation) -> Tree {
        let columns: Vec<usize> = (0..table.columns.len()).filter(|_| self.rng.chance(50)).collect();
        let columns = if columns.is_empty() { vec![0] } else { columns };
        tree!(Role::Statement; format!("CREATE INDEX ON {} ({})", table.name, names(&columns)))
    }

    /// A statement that changes this table.
    pub fn change(&mut self, table: &Relation) -> Tree {
        let statement = match self.rng.below(100) {
            0..=37 => {
                let rows = self.rng.range(1, 6);
                self.insert(table, rows)
            }
            38..=59 => self.update(table),
            60..=66 => self.update_from(table),
            67..=73 => self.move_key(table),
            74..=88 => self.delete(table),
            89..=95 => self.delete_using(table),
            96 => return tree!(Role::Statement; format!("TRUNCATE {}", table.name)),
            _ => self.insert_query(table),
        };
        let returning =
            if self.rng.chance(15) { format!(" RETURNING {}.*", table.name) } else { String::new() };
        tree!(Role::Statement; statement, returning)
    }

    /// INSERT of some rows; those whose key is there already are mostly left out or update.
    pub fn insert(&mut self, table: &Relation, rows: i64) -> Tree {
        let mut rows: Vec<Vec<String>> = (0..rows).map(|_| self.row(table)).collect();
        let conflict = self.on_conflict(table, rows.len() > 3);
        // DO UPDATE may meet a row once, which the second row of a key would not.
        if self.rng.chance(90) {
            let mut keys = Vec::new();
            rows.retain(|row| {
                let key: Vec<String> = table.key.iter().map(|i| row[*i].clone()).collect();
                let is_new = key.is_empty() || !keys.contains(&key);
                keys.push(key);
                is_new
            });
        }
        let row = |values: Vec<String>| {
            // Values are not dropped: all rows would have to lose the same.
            let values = values.into_iter().map(|value| tree!(Role::Item; value)).collect();
            tree!(Role::Item; "(", List::new("", ", ", values, usize::MAX), ")")
        };
        let head = format!("INSERT INTO {} ({}) VALUES ", table.name, all(table));
        tree!(Role::Statement; head, List::commas(rows.into_iter().map(row).collect()), conflict)
    }

    fn row(&mut self, table: &Relation) -> Vec<String> {
        let columns = table.columns.iter().zip(&table.required);
        columns
            .map(|(kind, required)| match self.rng.below(200) {
                0..=27 if !required => "NULL".to_string(),
                28..=33 if !required => "DEFAULT".to_string(),
                34 => "NULL".to_string(),
                _ => kind.ty.literal(self.rng),
            })
            .collect()
    }

    fn on_conflict(&mut self, table: &Relation, usually: bool) -> List {
        let clauses = match table.key.is_empty() || !self.rng.chance(if usually { 90 } else { 60 }) {
            true => Vec::new(),
            false => vec![self.conflict_clause(table)],
        };
        List::new(" ON CONFLICT ", "", clauses, 0)
    }

    fn conflict_clause(&mut self, table: &Relation) -> Tree {
        let target = format!("({})", names(&table.key));
        let others: Vec<usize> = (0..table.columns.len()).filter(|i| !table.key.contains(i)).collect();
        if others.is_empty() || self.rng.chance(60) {
            let target = if self.rng.chance(50) { format!("{target} ") } else { String::new() };
            return tree!(Role::Item; format!("{target}DO NOTHING"));
        }
        let column = *self.rng.pick(&others);
        let kind = table.columns[column];
        let both = [table.scope(&table.name), table.scope("excluded")].concat();
        let scope = Scope::of(both, Vec::new());
        let value = match self.rng.chance(50) {
            true => tree!(Role::Expr(kind.ty); format!("excluded.c{column}")),
            false => self.fitting(&scope, kind),
        };
        let filter = if self.rng.chance(25) { vec![self.predicate(&scope, 1).tree] } else { Vec::new() };
        let head = format!("{target} DO UPDATE SET c{column} = ");
        tree!(Role::Item; head, value, List::new(" WHERE ", " AND ", filter, 0))
    }

    fn insert_query(&mut self, table: &Relation) -> Tree {
        let types: Vec<Type> = table.columns.iter().map(|kind| kind.ty).collect();
        let query = self.select(&[], Some(&types), 1);
        let fits = query.kinds.iter().zip(&table.columns).all(|(new, old)| is_within(*new, *old));
        if !fits || query.rows > 60.0 {
            return self.insert(table, 3);
        }
        let head = format!("INSERT INTO {} ({}) ", table.name, all(table));
        // Which of the rows of a key comes first, and which bad row is met first, is anybody's choice without an order.
        if !query.is_plain() {
            return tree!(Role::Statement; head, query.tree);
        }
        let (order, conflict) = (self.total_order(query.kinds.len()), self.on_conflict(table, true));
        tree!(Role::Statement; head, query.tree, format!(" ORDER BY {order}"), conflict)
    }

    fn update(&mut self, table: &Relation) -> Tree {
        let scope = Scope::of(table.scope(&table.name), Vec::new());
        let free: Vec<usize> = (0..table.columns.len()).filter(|i| !table.key.contains(i)).collect();
        if free.is_empty() {
            return self.move_key(table);
        }
        let mut columns = vec![*self.rng.pick(&free), *self.rng.pick(&free)];
        columns.dedup();
        let assignments = columns
            .into_iter()
            .map(|column| {
                let value = self.fitting(&scope, table.columns[column]);
                tree!(Role::Item; format!("c{column} = "), value)
            })
            .collect();
        let filter = self.some_rows(&scope);
        let head = format!("UPDATE {} SET ", table.name);
        tree!(Role::Statement; head, List::commas(assignments), filter)
    }

    /// Takes values from another relation, of which at most one row belongs to each row.
    fn update_from(&mut self, table: &Relation) -> Tree {
        let free: Vec<usize> = (0..table.columns.len())
            .filter(|i| !table.key.contains(i) && table.columns[*i].ty.has_extremes())
            .collect();
        let other = self.table_to_read();
        let pairs = pairs(table, &other, &free);
        if pairs.is_empty() {
            return self.update(table);
        }
        let (column, key, other_key, value) = *self.rng.pick(&pairs);
        let name = &other.name;
        let grouped =
            format!("SELECT c{other_key} AS k, max(c{value}) AS v FROM {name} GROUP BY c{other_key}");
        let head = format!("UPDATE {} SET c{column} = s.v FROM ({grouped}) AS s WHERE ", table.name);
        let mut conditions = vec![tree!(Role::Expr(Type::Bool); format!("(s.k = {}.c{key})", table.name))];
        if self.rng.chance(40) {
            let scope = Scope::of(table.scope(&table.name), Vec::new());
            conditions.push(self.predicate(&scope, 1).tree);
        }
        tree!(Role::Statement; head, List::new("", " AND ", conditions, 1))
    }

    /// Changes the key of some rows.
    fn move_key(&mut self, table: &Relation) -> Tree {
        let Some(column) = table.key.first() else { return self.delete(table) };
        let (name, ty) = (&table.name, table.columns[*column].ty);
        if ty.is_integer() && self.rng.chance(60) {
            let (sign, from) = if self.rng.chance(50) { ("+", -3) } else { ("-", KEY_STEP - 3) };
            let to = from + KEY_STEP - 1;
            let range = format!("WHERE c{column} BETWEEN {from} AND {to}");
            return tree!(Role::Statement; format!("UPDATE {name} SET c{column} = c{column} {sign} {KEY_STEP} {range}"));
        }
        let (from, to) = (ty.literal(self.rng), ty.literal(self.rng));
        tree!(Role::Statement; format!("UPDATE {name} SET c{column} = {to} WHERE c{column} = {from}"))
    }

    fn delete(&mut self, table: &Relation) -> Tree {
        let scope = Scope::of(table.scope(&table.name), Vec::new());
        let few = self.rng.pick(&scope.columns).clone();
        let literal = self.literal(few.ty()).tree;
        let mut conditions = vec![tree!(Role::Expr(Type::Bool); "(", few.tree, " = ", literal, ")")];
        if self.rng.chance(40) {
            conditions = vec![self.predicate(&scope, 2).tree, self.predicate(&scope, 1).tree];
        }
        let head = format!("DELETE FROM {}", table.name);
        tree!(Role::Statement; head, List::new(" WHERE ", " AND ", conditions, 0))
    }

    fn delete_using(&mut self, table: &Relation) -> Tree {
        let other = self.table_to_read();
        let alias = self.alias();
        let (mine, theirs) = (table.scope(&table.name), other.scope(&alias));
        let Some(equality) = self.equality(&mine, &theirs) else { return self.delete(table) };
        let scope = Scope::of([mine, theirs].concat(), Vec::new());
        let conditions = vec![equality, self.predicate(&scope, 1).tree];
        let head = format!("DELETE FROM {} USING {} AS {alias}", table.name, other.name);
        tree!(Role::Statement; head, List::new(" WHERE ", " AND ", conditions, 1))
    }

    fn table_to_read(&mut self) -> Relation {
        let tables: Vec<Relation> =
            self.relations.iter().filter(|relation| relation.name.starts_with('t')).cloned().collect();
        self.rng.pick(&tables).clone()
    }

    fn some_rows(&mut self, scope: &Scope) -> List {
        let conditions = if self.rng.chance(85) { vec![self.predicate(scope, 2).tree] } else { Vec::new() };
        List::new(" WHERE ", " AND ", conditions, 0)
    }

    /// A value that a column of this kind may be set to again and again.
    fn fitting(&mut self, scope: &Scope, kind: Kind) -> Tree {
        let value = self.expr(scope, kind.ty, 2);
        if is_within(value.kind, kind) {
            return value.tree;
        }
        if kind.ty.is_integer() {
            return tree!(Role::Expr(kind.ty); "(", value.tree, " % 10)");
        }
        let leaf: Expr = self.leaf(scope, kind.ty);
        if is_within(leaf.kind, kind) { leaf.tree } else { self.literal(kind.ty).tree }
    }
}

fn is_within(value: Kind, column: Kind) -> bool {
    value.bound <= column.bound && value.grain <= column.grain && value.plain
}

/// `(column to set, its table's key, the other's key, the other's value)`.
fn pairs(table: &Relation, other: &Relation, free: &[usize]) -> Vec<(usize, usize, usize, usize)> {
    let mut found = Vec::new();
    for column in free {
        for (key, kind) in table.columns.iter().enumerate() {
            for (other_key, other_kind) in other.columns.iter().enumerate() {
                let value = other.columns.iter().position(|v| v.ty == table.columns[*column].ty);
                if let (Some(value), true) = (value, kind.ty == other_kind.ty) {
                    found.push((*column, key, other_key, value));
                }
            }
        }
    }
    found
}

fn names(columns: &[usize]) -> String {
    columns.iter().map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ")
}

fn all(table: &Relation) -> String {
    names(&(0..table.columns.len()).collect::<Vec<_>>())
}
