//! `pg_depend` and `pg_rewrite`: what reads what, in PostgreSQL's terms.
//!
//! A view depends on relations through its rule `_RETURN`; an index belongs to its constraint or its table's columns,
//! and the constraint to those.

use weir_common::ObjectId;

use super::SystemContext;
use super::pg_description::PG_CLASS_OID;
use super::relation::{constraint_oid, rewrite_oid};
use super::rows::Rows;
use crate::index_entry::IndexEntry;
use crate::object::{Object, ObjectKind};
use crate::snapshot::CatalogSnapshot;

const PG_REWRITE_OID: ObjectId = ObjectId(2618);
const PG_CONSTRAINT_OID: ObjectId = ObjectId(2606);

pub(super) fn pg_depend(cx: &SystemContext, rows: &mut Rows<'_>) {
    for view in views(&cx.catalog) {
        let rule = (PG_REWRITE_OID, rewrite_oid(view.id));
        push(rows, rule, (PG_CLASS_OID, view.id, 0), "i");
        for read in &view.depends_on {
            push(rows, rule, (PG_CLASS_OID, *read, 0), "n");
        }
    }
    for index in IndexEntry::all(&cx.catalog) {
        let own = (PG_CLASS_OID, index.oid);
        let dependent = match index.constraint {
            Some(_) => {
                let constraint = (PG_CONSTRAINT_OID, constraint_oid(index.oid));
                push(rows, own, (constraint.0, constraint.1, 0), "i");
                constraint
            }
            None => own,
        };
        for column in index.plain_columns().flatten() {
            push(rows, dependent, (PG_CLASS_OID, index.relation.id, column.id), "a");
        }
    }
}

fn push(rows: &mut Rows<'_>, from: (ObjectId, ObjectId), to: (ObjectId, ObjectId, u16), deptype: &str) {
    rows.push([
        ("classid", from.0.into()),
        ("objid", from.1.into()),
        ("refclassid", to.0.into()),
        ("refobjid", to.1.into()),
        ("refobjsubid", to.2.into()),
        ("deptype", deptype.into()),
    ]);
}

pub(super) fn pg_rewrite(cx: &SystemContext, rows: &mut Rows<'_>) {
    for view in views(&cx.catalog) {
        rows.push([
            ("oid", rewrite_oid(view.id).into()),
            ("rulename", "_RETURN".into()),
            ("ev_class", view.id.into()),
            ("ev_type", "1".into()),
            ("ev_enabled", "O".into()),
            ("is_instead", true.into()),
            ("ev_qual", "<>".into()),
        ]);
    }
}

fn views(catalog: &CatalogSnapshot) -> impl Iterator<Item = &Object> {
    let is_view =
        |object: &&Object| matches!(object.kind, ObjectKind::View(_) | ObjectKind::MaterializedView(_));
    catalog.user_objects().map(AsRef::as_ref).filter(is_view)
}
