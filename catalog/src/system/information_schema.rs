//! `information_schema`: the SQL standard's views. As in PostgreSQL, materialized views are not in them.

use weir_common::{Column, SqlType};

use super::pg_attribute::default_of;
use super::relation::RelationEntry;
use super::rows::{Rows, Value};
use super::{PushRows, SystemContext, no_rows};
use crate::functions::definitions::view_definition;
use crate::index_entry::{ConstraintKind, IndexEntry};
use crate::object::ObjectKind;
use crate::snapshot::{CatalogSnapshot, DATABASE};

/// Octets that PostgreSQL reports for a string without a length limit.
const MAX_OCTETS: i64 = 1 << 30;
/// Octets of one character at most.
const CHARACTER_OCTETS: i64 = 4;

pub(super) fn rows_of(name: &str) -> PushRows {
    match name {
        "tables" => tables,
        "columns" => columns,
        "schemata" => schemata,
        "views" => views,
        "table_constraints" => table_constraints,
        "key_column_usage" => key_column_usage,
        "constraint_column_usage" => constraint_column_usage,
        _ => no_rows,
    }
}

/// Relations that the standard knows: tables (and sources) and views.
fn standard_relations(cx: &SystemContext) -> impl Iterator<Item = RelationEntry<'_>> {
    RelationEntry::all(&cx.catalog).filter(|relation| matches!(relation.relkind, "r" | "v"))
}

fn is_writable(relation: &RelationEntry<'_>) -> bool {
    relation.object.is_some_and(|object| matches!(object.kind, ObjectKind::Table(_)))
}

fn yes_or_no(yes: bool) -> Value {
    if yes { "YES".into() } else { "NO".into() }
}

fn tables(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in standard_relations(cx) {
        let table_type = if relation.relkind == "v" { "VIEW" } else { "BASE TABLE" };
        rows.push([
            ("table_catalog", DATABASE.into()),
            ("table_schema", cx.catalog.schema_name(relation.schema).into()),
            ("table_name", relation.name.into()),
            ("table_type", table_type.into()),
            ("is_insertable_into", yes_or_no(is_writable(&relation))),
            ("is_typed", "NO".into()),
        ]);
    }
}

fn columns(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in standard_relations(cx) {
        for column in relation.columns.iter() {
            push_column(cx, rows, &relation, column);
        }
    }
}

fn push_column(cx: &SystemContext, rows: &mut Rows<'_>, relation: &RelationEntry<'_>, column: &Column) {
    let ty = &column.ty;
    let data_type = if matches!(ty, SqlType::Array(_)) { "ARRAY".to_owned() } else { ty.name() };
    let is_nullable = column.nullable || relation.relkind == "v";
    let (precision, radix, scale) = numeric_facts(ty);
    rows.push([
        ("table_catalog", DATABASE.into()),
        ("table_schema", cx.catalog.schema_name(relation.schema).into()),
        ("table_name", relation.name.into()),
        ("column_name", (&column.name).into()),
        ("ordinal_position", column.id.into()),
        ("column_default", default_of(relation.object, column.id).into()),
        ("is_nullable", yes_or_no(is_nullable)),
        ("data_type", data_type.into()),
        ("character_maximum_length", character_limit(ty).into()),
        ("character_octet_length", octet_limit(ty).into()),
        ("numeric_precision", precision.into()),
        ("numeric_precision_radix", radix.into()),
        ("numeric_scale", scale.into()),
        ("datetime_precision", datetime_precision(ty).into()),
        ("udt_catalog", DATABASE.into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", ty.catalog_name().into()),
        ("dtd_identifier", column.id.to_string().into()),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("identity_cycle", "NO".into()),
        ("is_generated", "NEVER".into()),
        ("is_updatable", yes_or_no(is_writable(relation))),
    ]);
}

fn character_limit(ty: &SqlType) -> Option<i64> {
    match ty {
        SqlType::Varchar(limit) | SqlType::Bpchar(limit) => limit.map(i64::from),
        _ => None,
    }
}

fn octet_limit(ty: &SqlType) -> Option<i64> {
    match ty {
        SqlType::Varchar(Some(limit)) | SqlType::Bpchar(Some(limit)) => {
            Some(i64::from(*limit) * CHARACTER_OCTETS)
        }
        SqlType::Text | SqlType::Varchar(None) | SqlType::Bpchar(None) => Some(MAX_OCTETS),
        _ => None,
    }
}

/// Precision, radix and scale, as `_pg_numeric_precision` and its kin compute them.
fn numeric_facts(ty: &SqlType) -> (Option<i64>, Option<i64>, Option<i64>) {
    match ty {
        SqlType::Int2 => (Some(16), Some(2), Some(0)),
        SqlType::Int4 => (Some(32), Some(2), Some(0)),
        SqlType::Int8 => (Some(64), Some(2), Some(0)),
        SqlType::Float4 => (Some(24), Some(2), None),
        SqlType::Float8 => (Some(53), Some(2), None),
        SqlType::Numeric(numeric) if ty.type_mod() >= 0 => {
            (Some(i64::from(numeric.precision)), Some(10), Some(i64::from(numeric.scale)))
        }
        SqlType::Numeric(_) => (None, Some(10), None),
        _ => (None, None, None),
    }
}

fn datetime_precision(ty: &SqlType) -> Option<i64> {
    match ty {
        SqlType::Date => Some(0),
        SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => Some(6),
        _ => None,
    }
}

fn schemata(cx: &SystemContext, rows: &mut Rows<'_>) {
    for schema in cx.catalog.schemas() {
        rows.push([
            ("catalog_name", DATABASE.into()),
            ("schema_name", (&schema.name).into()),
            ("schema_owner", (&schema.owner).into()),
        ]);
    }
}

fn views(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in standard_relations(cx).filter(|relation| relation.relkind == "v") {
        rows.push([
            ("table_catalog", DATABASE.into()),
            ("table_schema", cx.catalog.schema_name(relation.schema).into()),
            ("table_name", relation.name.into()),
            ("view_definition", relation.object.and_then(view_definition).into()),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
            ("is_insertable_into", "NO".into()),
            ("is_trigger_updatable", "NO".into()),
            ("is_trigger_deletable", "NO".into()),
            ("is_trigger_insertable_into", "NO".into()),
        ]);
    }
}

fn table_constraints(cx: &SystemContext, rows: &mut Rows<'_>) {
    for (key, kind) in key_constraints(&cx.catalog) {
        let schema = schema_of(cx, &key);
        rows.push([
            ("constraint_catalog", DATABASE.into()),
            ("constraint_schema", schema.clone()),
            ("constraint_name", key.name.into()),
            ("table_catalog", DATABASE.into()),
            ("table_schema", schema),
            ("table_name", (&key.relation.name).into()),
            ("constraint_type", kind.words().into()),
            ("is_deferrable", "NO".into()),
            ("initially_deferred", "NO".into()),
            ("enforced", "YES".into()),
        ]);
    }
}

fn key_column_usage(cx: &SystemContext, rows: &mut Rows<'_>) {
    for (key, _) in key_constraints(&cx.catalog) {
        for (i, column) in key.plain_columns().flatten().enumerate() {
            rows.push([
                ("constraint_catalog", DATABASE.into()),
                ("constraint_schema", schema_of(cx, &key)),
                ("constraint_name", key.name.into()),
                ("table_catalog", DATABASE.into()),
                ("table_schema", schema_of(cx, &key)),
                ("table_name", (&key.relation.name).into()),
                ("column_name", (&column.name).into()),
                ("ordinal_position", (i + 1).into()),
            ]);
        }
    }
}

fn constraint_column_usage(cx: &SystemContext, rows: &mut Rows<'_>) {
    for (key, _) in key_constraints(&cx.catalog) {
        for column in key.plain_columns().flatten() {
            rows.push([
                ("table_catalog", DATABASE.into()),
                ("table_schema", schema_of(cx, &key)),
                ("table_name", (&key.relation.name).into()),
                ("column_name", (&column.name).into()),
                ("constraint_catalog", DATABASE.into()),
                ("constraint_schema", schema_of(cx, &key)),
                ("constraint_name", key.name.into()),
            ]);
        }
    }
}

/// The keys that are constraints.
fn key_constraints(catalog: &CatalogSnapshot) -> impl Iterator<Item = (IndexEntry<'_>, ConstraintKind)> {
    IndexEntry::all(catalog).filter_map(|index| {
        let kind = index.constraint?;
        Some((index, kind))
    })
}

fn schema_of(cx: &SystemContext, key: &IndexEntry<'_>) -> Value {
    cx.catalog.schema_name(key.relation.schema).into()
}
