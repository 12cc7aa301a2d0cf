//! `pg_index` and `pg_constraint`: keys, seen from both sides, and CHECK; `pg_sequence`.

use weir_common::SqlType;

use super::SystemContext;
use super::relation::{check_oid, constraint_oid};
use super::rows::Rows;
use super::types::type_facts;
use crate::index_entry::{ConstraintKind, EntryColumn, EntryValue, IndexEntry};
use crate::object::ObjectKind;

pub(super) fn pg_index(cx: &SystemContext, rows: &mut Rows<'_>) {
    for index in IndexEntry::all(&cx.catalog) {
        let types: Vec<SqlType> = index.relation_columns().into_iter().map(|column| column.ty).collect();
        let keys = &types[..index.columns.len()];
        let included = index.include.iter().map(|column| column.id);
        let numbers: Vec<u16> = index.column_numbers().into_iter().chain(included).collect();
        let options: Vec<i32> = index.columns.iter().map(|column| column.option).collect();
        rows.push([
            ("indexrelid", index.oid.into()),
            ("indrelid", index.relation.id.into()),
            ("indnatts", types.len().into()),
            ("indnkeyatts", index.columns.len().into()),
            ("indisunique", index.is_unique.into()),
            ("indisprimary", (index.constraint == Some(ConstraintKind::PrimaryKey)).into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", numbers.into()),
            ("indcollation", keys.iter().map(collation).collect::<Vec<_>>().into()),
            ("indclass", keys.iter().map(operator_class).collect::<Vec<_>>().into()),
            ("indoption", options.into()),
            ("indexprs", expressions(&index).into()),
        ]);
    }
}

/// The expressions among its columns, as SQL text.
fn expressions(index: &IndexEntry<'_>) -> Option<String> {
    let expression = |column: &EntryColumn<'_>| match &column.value {
        EntryValue::Expression { sql, .. } => Some((*sql).to_owned()),
        EntryValue::Column(_) => None,
    };
    let all: Vec<String> = index.columns.iter().filter_map(expression).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

pub(super) fn pg_constraint(cx: &SystemContext, rows: &mut Rows<'_>) {
    for index in IndexEntry::all(&cx.catalog) {
        let Some(kind) = index.constraint else { continue };
        rows.push([
            ("oid", constraint_oid(index.oid).into()),
            ("conname", index.name.into()),
            ("connamespace", index.relation.schema.into()),
            ("contype", kind.code().into()),
            ("convalidated", true.into()),
            ("conrelid", index.relation.id.into()),
            ("conindid", index.oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", index.column_numbers().into()),
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
                ("conkey", check.columns.iter().map(|id| table.number(*id)).collect::<Vec<_>>().into()),
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
