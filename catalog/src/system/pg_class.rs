//! `pg_class`: relations and indexes.

use super::relation::RelationEntry;
use super::rows::Rows;
use super::{RelationSize, SystemContext};
use crate::object::{Object, ObjectKind};
use crate::snapshot::ROLE_OID;

/// `pg_am.oid` of `heap`.
const HEAP: i64 = 2;
/// `pg_am.oid` of `btree`.
pub(super) const BTREE: i64 = 403;
/// Bytes of a page, as planners of clients assume.
const PAGE_BYTES: u64 = 8192;

pub(super) fn pg_class(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::all(&cx.catalog) {
        let is_stored = relation.object.is_none_or(Object::is_stored);
        let access_method = match relation.relkind {
            "i" => BTREE,
            "r" | "m" if is_stored => HEAP,
            _ => 0,
        };
        let size = cx.relation_size(relation.oid);
        let is_index = relation.relkind == "i";
        rows.push([
            ("oid", relation.oid.into()),
            ("relname", relation.name.into()),
            ("relnamespace", relation.schema.into()),
            ("relowner", ROLE_OID.into()),
            ("relam", access_method.into()),
            ("relfilenode", if access_method == 0 { 0.into() } else { relation.oid.into() }),
            ("relpages", size.map_or(0, pages).into()),
            ("reltuples", (if is_index { 0 } else { size.map_or(-1, |size| size.rows as i64) }).into()),
            (
                "relhasindex",
                (!is_index && relation.object.is_some_and(|o| cx.catalog.has_index(o.id))).into(),
            ),
            ("relpersistence", "p".into()),
            ("relkind", relation.relkind.into()),
            ("relnatts", relation.columns.len().into()),
            ("relchecks", check_count(&relation).into()),
            ("relhasrules", matches!(relation.relkind, "v" | "m").into()),
            ("relispopulated", true.into()),
            ("relreplident", replica_identity(&relation).into()),
        ]);
    }
}

fn check_count(relation: &RelationEntry<'_>) -> i64 {
    match relation.object.map(|object| &object.kind) {
        Some(ObjectKind::Table(table)) if relation.relkind == "r" => table.checks.len() as i64,
        _ => 0,
    }
}

fn pages(size: RelationSize) -> i64 {
    i64::try_from(size.bytes.div_ceil(PAGE_BYTES)).unwrap_or(i64::MAX).min(i64::from(i32::MAX))
}

fn replica_identity(relation: &RelationEntry<'_>) -> &'static str {
    let is_user_table = relation.relkind == "r"
        && relation.object.is_some_and(|o| matches!(o.kind, ObjectKind::Table(_) | ObjectKind::Source(_)));
    if is_user_table || relation.relkind == "m" { "d" } else { "n" }
}
