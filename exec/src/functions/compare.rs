//! Comparisons `= <> < <= > >=`.
//!
//! Most are Arrow's own, on equal Arrow types; Weir's values are canonical (no negative zero, one NaN, jsonb in
//! normal form, char(n) without trailing blanks), so that equal values have equal bytes. Intervals compare by
//! length (30-day months), jsonb by what is in it, which bytes do not show; they have functions here.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use datafusion::logical_expr::Operator;
use weir_common::text::interval::comparison_key;
use weir_common::text::json;
use weir_common::text::json_order::sort_key;
use weir_common::{Result, SqlType};

use super::call::Call;
use super::registry::{NUMERIC, Param, Returns, Table, is};

/// The UDF of what ORDER BY sorts a jsonb by.
pub const JSONB_SORT_KEY: &str = "jsonb_sort_key";

const OPERATORS: [(&str, Operator); 6] = [
    ("=", Operator::Eq),
    ("<>", Operator::NotEq),
    ("<", Operator::Lt),
    ("<=", Operator::LtEq),
    (">", Operator::Gt),
    (">=", Operator::GtEq),
];

pub(crate) fn register(t: &mut Table) {
    use SqlType::*;
    let types = [
        Bool,
        Int2,
        Int4,
        Int8,
        Float4,
        Float8,
        Text,
        Bpchar(None),
        Name,
        Char,
        Date,
        Time,
        Timestamp,
        Timestamptz,
        Bytea,
        Uuid,
        Oid,
        OidVector,
    ];
    for (sql, operator) in OPERATORS {
        for ty in &types {
            t.native(sql, operator, &[is(ty.clone()), is(ty.clone())]);
        }
        for mixed in [[Float4, Float8], [Float8, Float4]] {
            t.native(sql, operator, &mixed.map(is)).cast_to = Some(vec![Float8, Float8]);
        }
        for mixed in [[Name, Text], [Text, Name]] {
            t.native(sql, operator, &mixed.map(is)).cast_to = Some(vec![Text, Text]);
        }
        t.native(sql, operator, &[is(NUMERIC), is(NUMERIC)]).same_scale = true;
        t.native(sql, operator, &[Param::AnyArray, Param::AnyArray]);
    }
    intervals(t);
    jsonb(t);
}

/// Equality of jsonb is that of its text, which is in normal form; its order is one of its own.
fn jsonb(t: &mut Table) {
    let params = [is(SqlType::Jsonb), is(SqlType::Jsonb)];
    for (sql, operator) in [("=", Operator::Eq), ("<>", Operator::NotEq)] {
        t.native(sql, operator, &params);
    }
    let tests: [(&'static str, &str, fn(Ordering) -> bool); 4] = [
        ("<", "jsonb_lt", Ordering::is_lt),
        ("<=", "jsonb_le", Ordering::is_le),
        (">", "jsonb_gt", Ordering::is_gt),
        (">=", "jsonb_ge", Ordering::is_ge),
    ];
    for (sql, udf, test) in tests {
        t.generic(sql, udf, &params, Returns::Is(SqlType::Bool), move |call| {
            let (a, b) = (call.text(0), call.text(1));
            call.build_bool(|row| {
                let (a, b) = (json::parse(a.at(row))?, json::parse(b.at(row))?);
                Ok(test(sort_key(&a).cmp(&sort_key(&b))))
            })
        });
    }
    t.unnamed(JSONB_SORT_KEY, 1, Returns::Is(SqlType::Bytea), |call| {
        let values = call.text(0);
        call.build_bytes(|row| Ok(sort_key(&json::parse(values.at(row))?)))
    });
}

/// A comparison of two lengths in microseconds.
type Test = fn(i128, i128) -> bool;

fn intervals(t: &mut Table) {
    let tests: [(&'static str, &str, Test); 6] = [
        ("=", "interval_eq", |a, b| a == b),
        ("<>", "interval_ne", |a, b| a != b),
        ("<", "interval_lt", |a, b| a < b),
        ("<=", "interval_le", |a, b| a <= b),
        (">", "interval_gt", |a, b| a > b),
        (">=", "interval_ge", |a, b| a >= b),
    ];
    let params = [is(SqlType::Interval), is(SqlType::Interval)];
    for (sql, udf, test) in tests {
        t.generic(sql, udf, &params, Returns::Is(SqlType::Bool), move |call| compare_intervals(call, test));
    }
}

fn compare_intervals(call: &Call<'_>, test: Test) -> Result<ArrayRef> {
    let (a, b) = (call.interval(0), call.interval(1));
    call.build_bool(|row| Ok(test(comparison_key(a.at(row)), comparison_key(b.at(row)))))
}
