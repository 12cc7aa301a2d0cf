//! Tables whose rows are the same in every database: types, functions, operators, casts, access methods,
//! collations, languages.

use super::rows::{Rows, Value};
use super::types::{PG_PROC, PG_TYPE};
use super::{PushRows, SystemContext, no_rows};
use crate::snapshot::{PG_CATALOG, ROLE_OID};

pub(super) fn rows_of(name: &str) -> PushRows {
    match name {
        "pg_type" => pg_type,
        "pg_proc" => pg_proc,
        "pg_operator" => pg_operator,
        "pg_cast" => pg_cast,
        "pg_opclass" => pg_opclass,
        "pg_opfamily" => pg_opfamily,
        "pg_aggregate" => pg_aggregate,
        "pg_am" => pg_am,
        "pg_collation" => pg_collation,
        "pg_language" => pg_language,
        "pg_ts_config" => pg_ts_config,
        _ => no_rows,
    }
}

fn pg_type(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants = [
        ("typnamespace", PG_CATALOG.into()),
        ("typowner", ROLE_OID.into()),
        ("typisdefined", true.into()),
        ("typdelim", ",".into()),
        ("typtypmod", (-1).into()),
    ];
    rows.push_tsv(PG_TYPE, &constants);
}

fn pg_proc(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants =
        [("pronamespace", PG_CATALOG.into()), ("proowner", ROLE_OID.into()), ("proparallel", "s".into())];
    rows.push_tsv(PG_PROC, &constants);
}

fn pg_operator(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants = [("oprnamespace", PG_CATALOG.into()), ("oprowner", ROLE_OID.into())];
    rows.push_tsv(include_str!("data/pg_operator.tsv"), &constants);
}

fn pg_cast(_: &SystemContext, rows: &mut Rows<'_>) {
    rows.push_tsv(include_str!("data/pg_cast.tsv"), &[]);
}

fn pg_opclass(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants = [("opcnamespace", PG_CATALOG.into()), ("opcowner", ROLE_OID.into())];
    rows.push_tsv(include_str!("data/pg_opclass.tsv"), &constants);
}

fn pg_opfamily(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants = [("opfnamespace", PG_CATALOG.into()), ("opfowner", ROLE_OID.into())];
    rows.push_tsv(include_str!("data/pg_opfamily.tsv"), &constants);
}

fn pg_aggregate(_: &SystemContext, rows: &mut Rows<'_>) {
    let constants = [("aggfinalmodify", "r".into()), ("aggmfinalmodify", "r".into())];
    rows.push_tsv(include_str!("data/pg_aggregate.tsv"), &constants);
}

fn pg_am(_: &SystemContext, rows: &mut Rows<'_>) {
    for (oid, name, kind, handler) in [(2, "heap", "t", 3), (403, "btree", "i", 330)] {
        rows.push([
            ("oid", oid.into()),
            ("amname", name.into()),
            ("amhandler", handler.into()),
            ("amtype", kind.into()),
        ]);
    }
}

fn pg_collation(_: &SystemContext, rows: &mut Rows<'_>) {
    for (oid, name, provider, locale) in
        [(100, "default", "d", None), (950, "C", "c", Some("C")), (951, "POSIX", "c", Some("POSIX"))]
    {
        rows.push([
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG.into()),
            ("collowner", ROLE_OID.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1).into()),
            ("collcollate", locale.into()),
            ("collctype", locale.into()),
        ]);
    }
}

fn pg_language(_: &SystemContext, rows: &mut Rows<'_>) {
    for (oid, name, trusted, validator) in
        [(12, "internal", false, 2246), (13, "c", false, 2247), (14, "sql", true, 2248)]
    {
        rows.push([
            ("oid", oid.into()),
            ("lanname", name.into()),
            ("lanowner", ROLE_OID.into()),
            ("lanpltrusted", trusted.into()),
            ("lanvalidator", validator.into()),
        ]);
    }
}

fn pg_ts_config(_: &SystemContext, rows: &mut Rows<'_>) {
    rows.push([
        ("oid", 3748.into()),
        ("cfgname", "simple".into()),
        ("cfgnamespace", PG_CATALOG.into()),
        ("cfgowner", ROLE_OID.into()),
        ("cfgparser", Value::Int(3722)),
    ]);
}
