//! `pg_tables`, `pg_views`, `pg_matviews`, `pg_indexes`: relations by kind, with names in place of OIDs.

use super::SystemContext;
use super::relation::RelationEntry;
use super::rows::Rows;
use crate::functions::definitions::view_definition;
use crate::index_entry::IndexEntry;
use crate::snapshot::ROLE;

pub(super) fn pg_tables(cx: &SystemContext, rows: &mut Rows<'_>) {
    for relation in RelationEntry::all(&cx.catalog).filter(|relation| relation.relkind == "r") {
        rows.push([
            ("schemaname", cx.catalog.schema_name(relation.schema).into()),
            ("tablename", relation.name.into()),
            ("tableowner", owner(&relation).into()),
            ("hasindexes", relation.object.is_some_and(|o| cx.catalog.has_index(o.id)).into()),
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
            ("hasindexes", relation.object.is_some_and(|o| cx.catalog.has_index(o.id)).into()),
            ("ispopulated", true.into()),
            ("definition", relation.object.and_then(view_definition).into()),
        ]);
    }
}

pub(super) fn pg_indexes(cx: &SystemContext, rows: &mut Rows<'_>) {
    for index in IndexEntry::all(&cx.catalog) {
        let schema = cx.catalog.schema_name(index.relation.schema);
        rows.push([
            ("schemaname", schema.into()),
            ("tablename", (&index.relation.name).into()),
            ("indexname", index.name.into()),
            ("indexdef", index.definition(schema).into()),
        ]);
    }
}

fn owner<'a>(relation: &RelationEntry<'a>) -> &'a str {
    relation.object.map_or(ROLE, |object| object.owner.as_str())
}
