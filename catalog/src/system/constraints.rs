//! `pg_index` and `pg_constraint`: primary keys, seen from both sides, and CHECK; `pg_sequence`.

use weir_common::{Column, ObjectId, SqlType};

use super::SystemContext;
use super::relation::{check_oid, constraint_oid};
use super::rows::{Rows, Value};
use super::types::type_facts;
use crate::object::{Object, ObjectKind, TableDef};
use crate::snapshot::CatalogSnapshot;

/// A table's primary key.
pub(super) struct PrimaryKey<'a> {
    pub table: &'a Object,
    pub index: ObjectId,
    pub name: &'a str,
    /// In the key's order.
    pub columns: Vec<&'a Column>,
}

/// Every primary key, in the order of their tables.
pub(super) fn primary_keys(catalog: &CatalogSnapshot) -> impl Iterator<Item = PrimaryKey<'_>> {
    catalog.user_objects().filter_map(|object| primary_key(object))
}

fn primary_key(object: &Object) -> Option<PrimaryKey<'_>> {
    let ObjectKind::Table(table) = &object.kind else { return None };
    let (index, name) = table.key_index()?;
    Some(PrimaryKey { table: object, index, name, columns: key_columns(table) })
}

fn key_columns(table: &TableDef) -> Vec<&Column> {
    table.key_positions().into_iter().map(|position| &table.columns[position].column).collect()
}

pub(super) fn pg_index(cx: &SystemContext, rows: &mut Rows<'_>) {
    for key in primary_keys(&cx.catalog) {
        let count = key.columns.len();
        rows.push([
            ("indexrelid", key.index.into()),
            ("indrelid", key.table.id.into()),
            ("indnatts", count.into()),
            ("indnkeyatts", count.into()),
            ("indisunique", true.into()),
            ("indisprimary", true.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", column_numbers(&key)),
            ("indcollation", key.columns.iter().map(|c| collation(&c.ty)).collect::<Vec<_>>().into()),
            ("indclass", key.columns.iter().map(|c| operator_class(&c.ty)).collect::<Vec<_>>().into()),
            ("indoption", vec![0; count].into()),
        ]);
    }
}

pub(super) fn pg_constraint(cx: &SystemContext, rows: &mut Rows<'_>) {
    for key in primary_keys(&cx.catalog) {
        rows.push([
            ("oid", constraint_oid(key.index).into()),
            ("conname", key.name.into()),
            ("connamespace", key.table.schema.into()),
            ("contype", "p".into()),
            ("convalidated", true.into()),
            ("conrelid", key.table.id.into()),
            ("conindid", key.index.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", column_numbers(&key)),
        ]);
    }
    for object in cx.catalog.user_objects() {
        let ObjectKind::Table(table) = &object.kind else { continue };
        for (i, check) in table.checks.iter().enumerate() {
            rows.push([
                ("oid", check_oid(object.id, i).into()),
                ("conname", (&check.name).into()),
                ("connamespace", object.schema.into()),
                ("contype", "c".into()),
                ("convalidated", true.into()),
                ("conrelid", object.id.into()),
                ("confupdtype", " ".into()),
                ("confdeltype", " ".into()),
                ("confmatchtype", " ".into()),
                ("conislocal", true.into()),
                ("conkey", check.columns.clone().into()),
                ("conbin", (&check.condition_sql).into()),
            ]);
        }
    }
}

/// `pg_sequence`: the rules of each sequence.
pub(super) fn pg_sequence(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.user_objects() {
        let ObjectKind::Sequence(sequence) = &object.kind else { continue };
        rows.push([
            ("seqrelid", object.id.into()),
            ("seqtypid", sequence.ty.oid().into()),
            ("seqstart", sequence.start.into()),
            ("seqincrement", sequence.increment.into()),
            ("seqmax", sequence.max.into()),
            ("seqmin", sequence.min.into()),
            ("seqcache", 1.into()),
            ("seqcycle", sequence.cycle.into()),
        ]);
    }
}

/// `pg_sequences`: the same for people.
pub(super) fn pg_sequences(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.user_objects() {
        let ObjectKind::Sequence(sequence) = &object.kind else { continue };
        rows.push([
            ("schemaname", cx.catalog.schema_name(object.schema).unwrap_or_default().to_owned().into()),
            ("sequencename", (&object.name).into()),
            ("sequenceowner", (&object.owner).into()),
            ("data_type", sequence.ty.oid().into()),
            ("start_value", sequence.start.into()),
            ("min_value", sequence.min.into()),
            ("max_value", sequence.max.into()),
            ("increment_by", sequence.increment.into()),
            ("cycle", sequence.cycle.into()),
            ("cache_size", 1.into()),
        ]);
    }
}

fn column_numbers(key: &PrimaryKey<'_>) -> Value {
    key.columns.iter().map(|column| column.id).collect::<Vec<_>>().into()
}

fn collation(ty: &SqlType) -> i64 {
    type_facts(i64::from(ty.oid())).map_or(0, |facts| facts.collation)
}

/// The default btree operator class of a type, as in `pg_opclass`.
fn operator_class(ty: &SqlType) -> i64 {
    match ty {
        SqlType::Array(_) => 10000,
        SqlType::Bool => 10003,
        SqlType::Bpchar(_) => 10004,
        SqlType::Bytea => 10006,
        SqlType::Char => 10007,
        SqlType::Date => 3122,
        SqlType::Float4 => 10012,
        SqlType::Float8 => 3123,
        SqlType::Int2 => 1979,
        SqlType::Int4 => 1978,
        SqlType::Int8 => 3124,
        SqlType::Interval => 10022,
        SqlType::Jsonb => 10088,
        SqlType::Name => 10028,
        SqlType::Numeric(_) => 3125,
        SqlType::OidVector => 10032,
        SqlType::Time => 10038,
        SqlType::Timestamp => 3128,
        SqlType::Timestamptz => 3127,
        SqlType::Uuid => 10065,
        ty if ty.is_oid_like() => 1981,
        _ => 3126,
    }
}
