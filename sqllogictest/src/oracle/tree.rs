//! SQL as a tree that can be made smaller by someone who does not know its grammar.
//!
//! ```text
//! SELECT [a, CASE WHEN p THEN b ELSE c END] FROM [t JOIN u ON q] WHERE [x AND y]
//!         │   └ a part gives way to any part below it of the same role: CASE … ─► b, t JOIN u ON q ─► t,
//!         │     and an expression to the least value of its type
//!         └ a list loses items, but not below its least length
//! ```
//! What [`Tree::smaller`] offers need not be valid: whoever shrinks tries it on the servers, and a candidate that
//! fails in another way than the original is dropped.

use std::fmt;

use super::types::Type;

/// What a part of a statement is; parts of one role may stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Statement,
    Query,
    From,
    Expr(Type),
    /// What stands for nothing else: an output column, a row of VALUES.
    Item,
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    role: Role,
    parts: Vec<Part>,
}

/// What a [`Tree`] consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Tree(Tree),
    List(List),
}

/// Parts of which some can be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Written before the first item, when there is one.
    before: &'static str,
    between: &'static str,
    items: Vec<Tree>,
    least: usize,
}

/// A tree of a role out of strings, trees and lists.
#[macro_export]
macro_rules! tree {
    ($role:expr; $($part:expr),+ $(,)?) => {
        $crate::oracle::tree::Tree::new($role, vec![$($crate::oracle::tree::Part::from($part)),+])
    };
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text(text.to_string())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Part {
        Part::Text(text)
    }
}

impl From<Tree> for Part {
    fn from(tree: Tree) -> Part {
        Part::Tree(tree)
    }
}

impl From<List> for Part {
    fn from(list: List) -> Part {
        Part::List(list)
    }
}

impl List {
    pub fn new(before: &'static str, between: &'static str, items: Vec<Tree>, least: usize) -> List {
        List { before, between, items, least }
    }

    /// A list of at least one item, separated by commas.
    pub fn commas(items: Vec<Tree>) -> List {
        List::new("", ", ", items, 1)
    }

    fn smaller(&self) -> Vec<List> {
        let length = self.items.len();
        let mut found = Vec::new();
        let mut chunk = length / 2;
        while chunk > 0 {
            for start in (0..length).step_by(chunk) {
                let end = (start + chunk).min(length);
                if length - (end - start) >= self.least {
                    let items = [&self.items[..start], &self.items[end..]].concat();
                    found.push(List { items, ..self.clone() });
                }
            }
            chunk /= 2;
        }
        if length == 1 && self.least == 0 {
            found.push(List { items: Vec::new(), ..self.clone() });
        }
        for (i, item) in self.items.iter().enumerate() {
            for smaller in item.smaller() {
                let mut list = self.clone();
                list.items[i] = smaller;
                found.push(list);
            }
        }
        found
    }
}

impl Tree {
    pub fn new(role: Role, parts: Vec<Part>) -> Tree {
        Tree { role, parts }
    }

    /// Trees that say less, the smallest first on the whole.
    pub fn smaller(&self) -> Vec<Tree> {
        let mut found = Vec::new();
        if let Role::Expr(ty) = self.role {
            let least = tree!(self.role; ty.least());
            if *self != least && !self.is_leaf() {
                found.push(least);
            }
        }
        self.collect(self.role, &mut found);
        for (i, part) in self.parts.iter().enumerate() {
            let smaller: Vec<Part> = match part {
                Part::Text(_) => Vec::new(),
                Part::Tree(tree) => tree.smaller().into_iter().map(Part::Tree).collect(),
                Part::List(list) => list.smaller().into_iter().map(Part::List).collect(),
            };
            for part in smaller {
                let mut tree = self.clone();
                tree.parts[i] = part;
                found.push(tree);
            }
        }
        found
    }

    fn is_leaf(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Text(_)])
    }

    /// The parts below of this role.
    fn collect(&self, role: Role, found: &mut Vec<Tree>) {
        let children = self.parts.iter().flat_map(|part| match part {
            Part::Text(_) => &[],
            Part::Tree(tree) => std::slice::from_ref(tree),
            Part::List(list) => list.items.as_slice(),
        });
        for child in children {
            if child.role == role && role != Role::Item {
                found.push(child.clone());
            }
            child.collect(role, found);
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Tree(tree) => write!(f, "{tree}")?,
                Part::List(list) => write!(f, "{list}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            f.write_str(if i == 0 { self.before } else { self.between })?;
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Tree {
        tree!(Role::Expr(Type::Bool); text)
    }

    #[test]
    fn lists_and_expressions_shrink() {
        let not = tree!(Role::Expr(Type::Bool); "(NOT ", leaf("x"), ")");
        let whole = tree!(Role::Query; "SELECT 1", List::new(" WHERE ", " AND ", vec![not, leaf("y")], 0));
        assert_eq!(whole.to_string(), "SELECT 1 WHERE (NOT x) AND y");
        let smaller: Vec<String> = whole.smaller().iter().map(Tree::to_string).collect();
        let expected = ["WHERE y", "WHERE (NOT x)", "WHERE true::boolean AND y", "WHERE x AND y"];
        assert_eq!(smaller, expected.map(|tail| format!("SELECT 1 {tail}")));
        let last = whole.smaller()[0].smaller();
        assert_eq!(last.last().map(Tree::to_string).as_deref(), Some("SELECT 1"));
    }
}
