//! `pg_namespace`: schemas.

use super::SystemContext;
use super::rows::Rows;
use crate::snapshot::ROLE_OID;

pub(super) fn pg_namespace(cx: &SystemContext, rows: &mut Rows<'_>) {
    for schema in cx.catalog.schemas() {
        rows.push([
            ("oid", schema.id.into()),
            ("nspname", (&schema.name).into()),
            ("nspowner", ROLE_OID.into()),
        ]);
    }
}
