//! `RelationEntry`: what has a row in `pg_class`: users' tables, sources, views, materialized views, indexes, and the virtual tables themselves.
//!
//! Entries of `pg_constraint`, `pg_rewrite` and `pg_attrdef` have no id of their own in the catalog; theirs is
//! computed from the object's, in ranges far above what the catalog hands out.

use std::borrow::Cow;

use weir_common::{Column, ObjectId};

use crate::index_entry::IndexEntry;
use crate::object::{Object, ObjectKind};
use crate::snapshot::{CatalogSnapshot, INFORMATION_SCHEMA, PG_CATALOG, SYS};
use crate::system;

/// One row of `pg_class`.
pub(crate) struct RelationEntry<'a> {
    pub oid: ObjectId,
    pub schema: ObjectId,
    pub name: &'a str,
    /// `r`, `m`, `v`, `S` or `i`.
    pub relkind: &'static str,
    pub columns: Cow<'a, [Column]>,
    /// The user's object: the relation, or for an index that of which it is.
    pub object: Option<&'a Object>,
}

impl<'a> RelationEntry<'a> {
    /// Every relation: the virtual tables, then the users' in the order of ids.
    pub(crate) fn all(catalog: &'a CatalogSnapshot) -> impl Iterator<Item = RelationEntry<'a>> {
        let built_in =
            catalog.object(ObjectId::DEAD_LETTERS).and_then(|object| RelationEntry::of_object(object));
        let system = system::tables().iter().map(RelationEntry::of_system);
        system.chain(built_in).chain(RelationEntry::users(catalog))
    }

    /// The relations that users made, each followed by the index of its primary key.
    pub(crate) fn users(catalog: &'a CatalogSnapshot) -> impl Iterator<Item = RelationEntry<'a>> {
        let entries = |object: &'a std::sync::Arc<Object>| {
            let index = IndexEntry::of_object(catalog, object).map(RelationEntry::of_index);
            RelationEntry::of_object(object).into_iter().chain(index)
        };
        catalog.user_objects().flat_map(entries)
    }

    /// The relation with this OID.
    pub(crate) fn find(catalog: &'a CatalogSnapshot, oid: ObjectId) -> Option<RelationEntry<'a>> {
        if let Some(table) = system::find_oid(oid) {
            return Some(RelationEntry::of_system(table));
        }
        if let Some(index) = IndexEntry::find(catalog, oid) {
            return Some(RelationEntry::of_index(index));
        }
        catalog.object(oid).and_then(|object| RelationEntry::of_object(object))
    }

    fn of_system(table: &'static system::SystemTable) -> RelationEntry<'a> {
        let schema = match table.schema {
            "pg_catalog" => PG_CATALOG,
            "information_schema" => INFORMATION_SCHEMA,
            _ => SYS,
        };
        let columns = Cow::Borrowed(table.columns.as_slice());
        RelationEntry {
            oid: table.oid,
            schema,
            name: table.name,
            relkind: table.relkind,
            columns,
            object: None,
        }
    }

    fn of_object(object: &'a Object) -> Option<RelationEntry<'a>> {
        let relkind = match object.kind {
            ObjectKind::Table(_) | ObjectKind::Source(_) => "r",
            ObjectKind::View(_) => "v",
            ObjectKind::MaterializedView(_) => "m",
            ObjectKind::Sequence(_) => "S",
            ObjectKind::Schema | ObjectKind::Sink(_) | ObjectKind::Index(_) => return None,
        };
        let columns = Cow::Owned(object.columns());
        Some(RelationEntry {
            oid: object.id,
            schema: object.schema,
            name: &object.name,
            relkind,
            columns,
            object: Some(object),
        })
    }

    fn of_index(index: IndexEntry<'a>) -> RelationEntry<'a> {
        RelationEntry {
            oid: index.oid,
            schema: index.relation.schema,
            name: index.name,
            relkind: "i",
            columns: Cow::Owned(index.relation_columns()),
            object: Some(index.relation),
        }
    }
}

/// The OID of the row in `pg_constraint` of a key that an index enforces.
pub(crate) fn constraint_oid(index: ObjectId) -> ObjectId {
    ObjectId(index.0.wrapping_add(2_000_000_000))
}

/// The OID of the row in `pg_constraint` of a table's CHECK constraint number `index`.
pub(crate) fn check_oid(table: ObjectId, index: usize) -> ObjectId {
    ObjectId(3_800_000_000 + table.0 % 1_000_000 * 400 + index as u32 % 400)
}

/// The OID of a view's row in `pg_rewrite`.
pub(crate) fn rewrite_oid(view: ObjectId) -> ObjectId {
    ObjectId(view.0.wrapping_add(2_500_000_000))
}

/// The OID of a default's row in `pg_attrdef`.
pub(crate) fn default_oid(table: ObjectId, column: u16) -> ObjectId {
    ObjectId(3_000_000_000 + table.0 % 500_000 * 1_600 + u32::from(column))
}
