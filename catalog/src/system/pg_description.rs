//! `pg_description`: comments on schemas, relations and columns.

use weir_common::ObjectId;

use super::SystemContext;
use super::rows::Rows;
use crate::object::{Object, ObjectKind};

/// OID of `pg_class`, which classifies a comment as one on a relation.
pub(crate) const PG_CLASS_OID: ObjectId = ObjectId(1259);
/// OID of `pg_namespace`.
pub(crate) const PG_NAMESPACE_OID: ObjectId = ObjectId(2615);

pub(super) fn pg_description(cx: &SystemContext, rows: &mut Rows<'_>) {
    for object in cx.catalog.objects() {
        let column_comments = object.column_comments.iter().map(|(column, comment)| (*column, comment));
        for (column, comment) in object.comment.iter().map(|comment| (0, comment)).chain(column_comments) {
            rows.push([
                ("objoid", object.id.into()),
                ("classoid", class_of(object).into()),
                ("objsubid", column.into()),
                ("description", comment.into()),
            ]);
        }
    }
}

fn class_of(object: &Object) -> ObjectId {
    match object.kind {
        ObjectKind::Schema => PG_NAMESPACE_OID,
        _ => PG_CLASS_OID,
    }
}
