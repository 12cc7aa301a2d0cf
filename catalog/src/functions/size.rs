//! `pg_table_size`, `pg_database_size`, `pg_size_pretty`: bytes.

use weir_common::Result;
use weir_common::SqlType::{Int8, Regclass, Text};

use super::row::Row;
use super::{FunctionContext, SystemFunction, strict};
use crate::system::RelationEntry;
use crate::system::rows::Value;

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![
        strict("pg_table_size", &[Regclass], Int8, relation_size),
        strict("pg_relation_size", &[Regclass], Int8, relation_size),
        strict("pg_relation_size", &[Regclass, Text], Int8, relation_size),
        strict("pg_total_relation_size", &[Regclass], Int8, relation_size),
        strict("pg_indexes_size", &[Regclass], Int8, |_, _| Ok(0.into())),
        strict("pg_database_size", &[Text], Int8, |cx, _| Ok(database_size(cx).into())),
        strict("pg_size_pretty", &[Int8], Text, |_, row| Ok(pretty(row.int(0)?).into())),
    ]
}

/// NULL when there is no such relation. The primary key is the order the rows are stored in, so its index takes
/// nothing.
fn relation_size(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let oid = row.oid(0)?;
    Ok(RelationEntry::find(&cx.catalog, oid).map(|_| cx.relation_bytes(oid)).into())
}

fn database_size(cx: &FunctionContext) -> u64 {
    cx.relation_sizes.iter().map(|size| size.bytes).sum()
}

/// PostgreSQL's `pg_size_pretty`: a unit is used up to 10 of its successor (bytes) or 20 (the others), halves round
/// away from zero.
fn pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    if bytes.unsigned_abs() < 10 * 1024 {
        return format!("{bytes} {}", UNITS[0]);
    }
    // Twice the size in the unit at hand, so that half a unit is not lost before rounding.
    let mut doubled = bytes / 512;
    for (i, unit) in UNITS.iter().enumerate().skip(1) {
        if doubled.unsigned_abs() < 20 * 1024 - 1 || i == UNITS.len() - 1 {
            return format!("{} {unit}", half_rounded(doubled));
        }
        doubled /= 1024;
    }
    unreachable!("the last unit takes every size")
}

fn half_rounded(doubled: i64) -> i64 {
    (doubled + doubled.signum()) / 2
}
