//! `pg_attribute` and `pg_attrdef`: columns and their defaults.

use weir_common::{Column, SqlType};

use super::SystemContext;
use super::relation::{RelationEntry, default_oid};
use super::rows::Rows;
use super::types::type_facts;
use crate::object::{Generation, IdentityKind, Object, ObjectKind, ShownColumn};

pub(super) fn pg_attribute(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::all(&cx.catalog) {
        for column in relation.columns.iter() {
            push_attribute(rows, &relation, column);
        }
    }
}

fn push_attribute(rows: &mut Rows<'_>, relation: &RelationEntry<'_>, column: &Column) {
    let facts = type_facts(i64::from(column.ty.oid()));
    let is_table = relation.relkind == "r";
    let generation = is_table.then(|| generation_of(relation.object, column.id)).flatten();
    let has_default = is_table && default_of(relation.object, column.id).is_some();
    rows.push([
        ("attrelid", relation.oid.into()),
        ("attname", (&column.name).into()),
        ("atttypid", column.ty.oid().into()),
        ("attstattarget", (-1).into()),
        ("attlen", column.ty.type_len().into()),
        ("attnum", column.id.into()),
        ("attndims", i32::from(matches!(column.ty, SqlType::Array(_))).into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", column.ty.type_mod().into()),
        ("attbyval", facts.is_some_and(|f| f.by_value).into()),
        ("attalign", facts.map_or("i", |f| f.align).into()),
        ("attstorage", facts.map_or("x", |f| f.storage).into()),
        ("attnotnull", (is_table && !column.nullable).into()),
        ("atthasdef", has_default.into()),
        ("attidentity", generation.map_or("", identity_code).into()),
        ("attgenerated", if matches!(generation, Some(Generation::Stored(_))) { "s" } else { "" }.into()),
        ("attislocal", true.into()),
        ("attcollation", facts.map_or(0, |f| f.collation).into()),
    ]);
}

pub(super) fn pg_attrdef(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.user_objects() {
        for (column, default) in defaults(object) {
            rows.push([
                ("oid", default_oid(object.id, column).into()),
                ("adrelid", object.id.into()),
                ("adnum", column.into()),
                ("adbin", default.into()),
            ]);
        }
    }
}

/// The numbers of a table's columns that have a default, with its SQL text.
fn defaults(object: &Object) -> impl Iterator<Item = (u16, &str)> {
    shown(object).into_iter().filter_map(|column| match &column.def.generation {
        Generation::Stored(sql) => Some((column.number, sql.as_str())),
        _ => Some((column.number, column.def.default_sql.as_deref()?)),
    })
}

fn shown(object: &Object) -> Vec<ShownColumn<'_>> {
    match &object.kind {
        ObjectKind::Table(table) => table.shown(),
        _ => Vec::new(),
    }
}

fn generation_of(object: Option<&Object>, column: u16) -> Option<&Generation> {
    shown(object?).into_iter().find(|shown| shown.number == column).map(|shown| &shown.def.generation)
}

fn identity_code(generation: &Generation) -> &'static str {
    match generation {
        Generation::Identity { kind: IdentityKind::Always, .. } => "a",
        Generation::Identity { kind: IdentityKind::ByDefault, .. } => "d",
        _ => "",
    }
}

/// A column's default, as SQL text.
pub(super) fn default_of(object: Option<&Object>, column: u16) -> Option<&str> {
    defaults(object?).find(|(known, _)| *known == column).map(|(_, default)| default)
}
