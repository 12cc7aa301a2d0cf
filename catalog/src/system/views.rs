//! `pg_tables`, `pg_views`, `pg_matviews`, `pg_indexes`: relations by kind, with names in place of OIDs.

use super::SystemContext;
use super::constraints::primary_keys;
use super::relation::RelationEntry;
use super::rows::Rows;
use crate::functions::definitions::{index_definition, view_definition};
use crate::object::Object;
use crate::snapshot::{CatalogSnapshot, ROLE};

pub(super) fn pg_tables(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::all(&cx.catalog).filter(|relation| relation.relkind == "r") {
        rows.push([
            ("schemaname", cx.catalog.schema_name(relation.schema).into()),
            ("tablename", relation.name.into()),
            ("tableowner", owner(&relation).into()),
            ("hasindexes", relation.object.is_some_and(|o| o.key_index().is_some()).into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", false.into()),
        ]);
    }
}

pub(super) fn pg_views(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::all(&cx.catalog).filter(|relation| relation.relkind == "v") {
        rows.push([
            ("schemaname", cx.catalog.schema_name(relation.schema).into()),
            ("viewname", relation.name.into()),
            ("viewowner", owner(&relation).into()),
            ("definition", relation.object.and_then(view_definition).into()),
        ]);
    }
}

pub(super) fn pg_matviews(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::users(&cx.catalog).filter(|relation| relation.relkind == "m") {
        rows.push([
            ("schemaname", cx.catalog.schema_name(relation.schema).into()),
            ("matviewname", relation.name.into()),
            ("matviewowner", owner(&relation).into()),
            ("hasindexes", false.into()),
            ("ispopulated", true.into()),
            ("definition", relation.object.and_then(view_definition).into()),
        ]);
    }
}

pub(super) fn pg_indexes(cx: &SystemContext, rows: &mut Rows<'_>) {
    for key in primary_keys(&cx.catalog) {
        rows.push([
            ("schemaname", schema_name(&cx.catalog, key.table).into()),
            ("tablename", (&key.table.name).into()),
            ("indexname", key.name.into()),
            ("indexdef", index_definition(&cx.catalog, key.table).into()),
        ]);
    }
}

fn schema_name<'a>(catalog: &'a CatalogSnapshot, object: &Object) -> Option<&'a str> {
    catalog.schema_name(object.schema)
}

fn owner<'a>(relation: &RelationEntry<'a>) -> &'a str {
    relation.object.map_or(ROLE, |object| object.owner.as_str())
}
