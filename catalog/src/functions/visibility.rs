//! `pg_table_is_visible` and its kin: whether the search path leads to an object by its bare name.

use weir_common::SqlType::{Bool, Int4, Oid, Regclass};
use weir_common::{ObjectId, Result};

use super::definitions::relation_object;
use super::reg::find_relation;
use super::row::Row;
use super::{FunctionContext, SystemFunction, strict};
use crate::object::ObjectKind;
use crate::system::RelationEntry;
use crate::system::rows::Value;
use crate::system::types::{proc_facts, type_facts};

/// `pg_relation_is_updatable` of a table: INSERT (8), UPDATE (4) and DELETE (16).
const ALL_EVENTS: i64 = 28;

pub(super) fn functions() -> Vec<SystemFunction> {
    let mut functions = vec![
        strict("pg_table_is_visible", &[Oid], Bool, |cx, row| Ok(is_visible(cx, row.oid(0)?).into())),
        strict("pg_type_is_visible", &[Oid], Bool, |_, row| Ok(type_facts(row.int(0)?).map(|_| true).into())),
        strict("pg_function_is_visible", &[Oid], Bool, |_, row| {
            Ok(proc_facts(row.int(0)?).map(|_| true).into())
        }),
        strict("pg_relation_is_publishable", &[Regclass], Bool, |cx, row| Ok(is_table(cx, row)?.into())),
        strict("pg_relation_is_updatable", &[Regclass, Bool], Int4, |cx, row| {
            Ok(if is_table(cx, row)? { ALL_EVENTS.into() } else { 0.into() })
        }),
    ];
    // Objects of these kinds are all built in, and so in pg_catalog.
    let built_in = [
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ];
    functions.extend(built_in.map(|name| strict(name, &[Oid], Bool, |_, _| Ok(Value::Bool(true)))));
    functions
}

/// Whether the search path leads to this relation; `None` when there is no such relation.
pub(super) fn is_visible(cx: &FunctionContext, oid: ObjectId) -> Option<bool> {
    let name = match RelationEntry::find(&cx.catalog, oid) {
        Some(relation) => relation.name,
        None => relation_object(&cx.catalog, oid)?.name.as_str(),
    };
    Some(find_relation(cx, None, name) == Some(oid))
}

fn is_table(cx: &FunctionContext, row: &Row<'_>) -> Result<bool> {
    Ok(cx.catalog.object(row.oid(0)?).is_some_and(|object| matches!(object.kind, ObjectKind::Table(_))))
}
