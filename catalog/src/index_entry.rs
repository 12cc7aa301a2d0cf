//! `IndexEntry`: an index as clients see it, whether a primary key's or an object of its own.

use std::sync::Arc;

use weir_common::{Column, ObjectId, SqlType};

use crate::functions::reg::quote_identifier;
use crate::object::{IndexColumn, IndexDef, IndexedValue, Object, ObjectKind, TableDef};
use crate::snapshot::CatalogSnapshot;

/// An index with its relation.
pub(crate) struct IndexEntry<'a> {
    pub oid: ObjectId,
    pub name: &'a str,
    /// The table or view it is of.
    pub relation: &'a Object,
    pub columns: Vec<EntryColumn<'a>>,
    pub include: Vec<Column>,
    pub is_unique: bool,
    pub constraint: Option<ConstraintKind>,
}

/// The constraint that an index enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConstraintKind {
    PrimaryKey,
    Unique,
}

/// A key column.
pub(crate) struct EntryColumn<'a> {
    pub value: EntryValue<'a>,
    /// 1 descending, 2 NULLs first.
    pub option: i32,
}

/// What a key column holds.
pub(crate) enum EntryValue<'a> {
    Column(Column),
    Expression { sql: &'a str, ty: &'a SqlType },
}

impl ConstraintKind {
    /// `pg_constraint.contype`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            ConstraintKind::PrimaryKey => "p",
            ConstraintKind::Unique => "u",
        }
    }

    /// As SQL says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            ConstraintKind::PrimaryKey => "PRIMARY KEY",
            ConstraintKind::Unique => "UNIQUE",
        }
    }
}

impl<'a> IndexEntry<'a> {
    /// Every index, in the order of ids of what they are written with.
    pub(crate) fn all(catalog: &'a CatalogSnapshot) -> impl Iterator<Item = IndexEntry<'a>> {
        catalog.user_objects().filter_map(move |object| IndexEntry::of_object(catalog, object))
    }

    /// The index with this OID.
    pub(crate) fn find(catalog: &'a CatalogSnapshot, oid: ObjectId) -> Option<IndexEntry<'a>> {
        let object: &Arc<Object> = catalog.index_owner(oid).or_else(|| catalog.object(oid))?;
        IndexEntry::of_object(catalog, object).filter(|entry| entry.oid == oid)
    }

    /// A table's primary key, or an index.
    pub(crate) fn of_object(catalog: &'a CatalogSnapshot, object: &'a Object) -> Option<IndexEntry<'a>> {
        match &object.kind {
            ObjectKind::Table(table) => IndexEntry::of_key(object, table),
            ObjectKind::Index(index) => IndexEntry::of_index(catalog, object, index),
            _ => None,
        }
    }

    fn of_key(object: &'a Object, table: &'a TableDef) -> Option<IndexEntry<'a>> {
        let (oid, name) = table.key_index()?;
        let column = |position: usize| EntryColumn {
            value: EntryValue::Column(table.columns[position].column.clone()),
            option: 0,
        };
        Some(IndexEntry {
            oid,
            name,
            relation: object,
            columns: table.key_positions().into_iter().map(column).collect(),
            include: Vec::new(),
            is_unique: true,
            constraint: Some(ConstraintKind::PrimaryKey),
        })
    }

    fn of_index(
        catalog: &'a CatalogSnapshot,
        object: &'a Object,
        index: &'a IndexDef,
    ) -> Option<IndexEntry<'a>> {
        let relation = catalog.object(index.relation)?;
        let known = relation.columns();
        let find = |id: &u16| known.iter().find(|column| column.id == *id).cloned();
        let column = |column: &'a IndexColumn| {
            let value = match &column.value {
                IndexedValue::Column(id) => EntryValue::Column(find(id)?),
                IndexedValue::Expression { sql, ty } => EntryValue::Expression { sql, ty },
            };
            Some(EntryColumn { value, option: column.option_bits() })
        };
        Some(IndexEntry {
            oid: object.id,
            name: &object.name,
            relation,
            columns: index.columns.iter().filter_map(column).collect(),
            include: index.include.iter().filter_map(find).collect(),
            is_unique: index.unique,
            constraint: index.is_constraint.then_some(ConstraintKind::Unique),
        })
    }

    /// Its columns as those of a relation, numbered from 1.
    pub(crate) fn relation_columns(&self) -> Vec<Column> {
        let numbered = |(i, column): (usize, Column)| Column { id: i as u16 + 1, ..column };
        let keys = self.columns.iter().map(|column| match &column.value {
            EntryValue::Column(column) => column.clone(),
            EntryValue::Expression { sql, ty } => {
                // As PostgreSQL names it: by the function that is called.
                let call = sql.split_once('(').filter(|_| is_call(sql));
                let name = call.map_or("expr", |(function, _)| function).to_owned();
                Column { id: 0, name, ty: (*ty).clone(), nullable: true }
            }
        });
        keys.chain(self.include.iter().cloned()).enumerate().map(numbered).collect()
    }

    /// Numbers of its key columns in the relation; 0 for an expression.
    pub(crate) fn column_numbers(&self) -> Vec<u16> {
        self.plain_columns().map(|column| column.map_or(0, |column| column.id)).collect()
    }

    /// Its key columns that are columns of the relation; `None` for an expression.
    pub(crate) fn plain_columns(&self) -> impl Iterator<Item = Option<&Column>> {
        self.columns.iter().map(|column| match &column.value {
            EntryValue::Column(column) => Some(column),
            EntryValue::Expression { .. } => None,
        })
    }

    /// `CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)`, as `pg_get_indexdef` prints it.
    pub(crate) fn definition(&self, schema: Option<&str>) -> String {
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        let schema = schema.map_or_else(String::new, |schema| format!("{}.", quote_identifier(schema)));
        format!(
            "CREATE {unique}INDEX {} ON {schema}{} USING btree ({}){}",
            quote_identifier(self.name),
            quote_identifier(&self.relation.name),
            self.columns.iter().map(EntryColumn::definition).collect::<Vec<_>>().join(", "),
            self.include_clause(),
        )
    }

    /// `UNIQUE (a, b)`, when it enforces a constraint.
    pub(crate) fn constraint_definition(&self) -> Option<String> {
        let kind = self.constraint?;
        let columns = self.columns.iter().map(EntryColumn::text).collect::<Vec<_>>().join(", ");
        Some(format!("{} ({columns}){}", kind.words(), self.include_clause()))
    }

    fn include_clause(&self) -> String {
        if self.include.is_empty() {
            return String::new();
        }
        let names = self.include.iter().map(|column| quote_identifier(&column.name));
        format!(" INCLUDE ({})", names.collect::<Vec<_>>().join(", "))
    }
}

impl EntryColumn<'_> {
    /// The column's name or its expression, as an index names it: a call stands alone, other expressions in
    /// parentheses.
    pub(crate) fn text(&self) -> String {
        match &self.value {
            EntryValue::Column(column) => quote_identifier(&column.name),
            EntryValue::Expression { sql, .. } if is_call(sql) => (*sql).to_owned(),
            EntryValue::Expression { sql, .. } => format!("({sql})"),
        }
    }

    /// With the order, where it is not the default.
    fn definition(&self) -> String {
        let order = match self.option {
            1 => " DESC NULLS LAST",
            2 => " NULLS FIRST",
            3 => " DESC",
            _ => "",
        };
        format!("{}{order}", self.text())
    }
}

/// Whether an expression is one call of a function: `lower(name)`.
fn is_call(sql: &str) -> bool {
    let Some(open) = sql.find('(') else { return false };
    let is_name = open > 0 && sql[..open].chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let mut depth = 0usize;
    let closes_at = sql.char_indices().find_map(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        (depth == 0 && c == ')').then_some(at)
    });
    is_name && closes_at == Some(sql.len() - 1)
}
