//! The database, the role and the tablespaces: `pg_database`, `pg_authid` and its views, `pg_tablespace`.
//! A server has one database and one role, a superuser.

use super::SystemContext;
use super::rows::{Rows, Value};
use crate::snapshot::{DATABASE, DATABASE_OID, ROLE, ROLE_OID};

/// `pg_tablespace.oid` of `pg_default`.
const PG_DEFAULT: i64 = 1663;
/// PostgreSQL's number for UTF8.
pub(crate) const UTF8: i64 = 6;
/// How text is ordered: by code point.
const LOCALE: &str = "C.UTF-8";

pub(super) fn pg_database(_: &SystemContext, rows: &mut Rows<'_>) {
    rows.push([
        ("oid", DATABASE_OID.into()),
        ("datname", DATABASE.into()),
        ("datdba", ROLE_OID.into()),
        ("encoding", UTF8.into()),
        ("datlocprovider", "c".into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1).into()),
        ("dattablespace", PG_DEFAULT.into()),
        ("datcollate", LOCALE.into()),
        ("datctype", LOCALE.into()),
    ]);
}

pub(super) fn pg_roles(_: &SystemContext, rows: &mut Rows<'_>) {
    rows.push([
        ("rolname", ROLE.into()),
        ("rolsuper", true.into()),
        ("rolinherit", true.into()),
        ("rolcreaterole", true.into()),
        ("rolcreatedb", true.into()),
        ("rolcanlogin", true.into()),
        ("rolreplication", true.into()),
        ("rolconnlimit", (-1).into()),
        ("rolpassword", "********".into()),
        ("rolbypassrls", true.into()),
        ("oid", ROLE_OID.into()),
    ]);
}

pub(super) fn pg_authid(_: &SystemContext, rows: &mut Rows<'_>) {
    rows.push([
        ("oid", ROLE_OID.into()),
        ("rolname", ROLE.into()),
        ("rolsuper", true.into()),
        ("rolinherit", true.into()),
        ("rolcreaterole", true.into()),
        ("rolcreatedb", true.into()),
        ("rolcanlogin", true.into()),
        ("rolreplication", true.into()),
        ("rolbypassrls", true.into()),
        ("rolconnlimit", (-1).into()),
    ]);
}

pub(super) fn pg_user(_: &SystemContext, rows: &mut Rows<'_>) {
    push_user(rows, "********".into());
}

pub(super) fn pg_shadow(_: &SystemContext, rows: &mut Rows<'_>) {
    push_user(rows, Value::Null);
}

fn push_user(rows: &mut Rows<'_>, password: Value) {
    rows.push([
        ("usename", ROLE.into()),
        ("usesysid", ROLE_OID.into()),
        ("usecreatedb", true.into()),
        ("usesuper", true.into()),
        ("userepl", true.into()),
        ("usebypassrls", true.into()),
        ("passwd", password),
    ]);
}

pub(super) fn pg_tablespace(_: &SystemContext, rows: &mut Rows<'_>) {
    for (oid, name) in [(PG_DEFAULT, "pg_default"), (1664, "pg_global")] {
        rows.push([("oid", oid.into()), ("spcname", name.into()), ("spcowner", ROLE_OID.into())]);
    }
}
