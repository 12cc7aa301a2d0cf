//! `format_type`, and its inverse for `'…'::regtype`: the names of types in SQL.

use weir_common::SqlType::{Int4, Oid, Text};
use weir_common::{Error, Result, SqlState};

use super::reg::split_name;
use super::row::Row;
use super::{FunctionContext, SystemFunction, lenient};
use crate::system::rows::Value;
use crate::system::types::{type_facts, type_oid};

const BPCHAR: i64 = 1042;
const VARCHAR: i64 = 1043;
const TIME: i64 = 1083;
const TIMESTAMP: i64 = 1114;
const TIMESTAMPTZ: i64 = 1184;
const NUMERIC: i64 = 1700;
/// What a length or precision is shifted by in `atttypmod` (PostgreSQL's VARHDRSZ).
const TYPE_MOD_OFFSET: i64 = 4;

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![lenient("format_type", &[Oid, Int4], Text, format_type)]
}

fn format_type(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    if row.is_null(0) {
        return Ok(Value::Null);
    }
    let type_mod = if row.is_null(1) { None } else { Some(row.int(1)?) };
    Ok(match row.int(0)? {
        0 => "-".into(),
        oid => type_display(oid, type_mod).unwrap_or_else(|| "???".to_owned()).into(),
    })
}

/// A built-in type in SQL's words, with its modifier unless that is −1; `None` when there is no such type.
///
/// The modifier says two things: without one `bpchar` prints as `character`, with −1 as `bpchar`, since
/// `character` alone means `character(1)`.
pub fn type_display(oid: i64, type_mod: Option<i64>) -> Option<String> {
    let facts = type_facts(oid)?;
    let is_array = facts.element != 0 && facts.len == -1 && facts.name.starts_with('_');
    if is_array {
        return type_display(facts.element, type_mod).map(|element| format!("{element}[]"));
    }
    let given = type_mod.filter(|type_mod| *type_mod >= 0);
    let limit = given.map_or_else(String::new, |type_mod| format!("({})", type_mod - TYPE_MOD_OFFSET));
    let precision = given.map_or_else(String::new, |type_mod| format!("({type_mod})"));
    Some(match oid {
        BPCHAR if type_mod == Some(-1) => "bpchar".to_owned(),
        BPCHAR => format!("character{limit}"),
        VARCHAR => format!("character varying{limit}"),
        NUMERIC => format!("numeric{}", given.map_or_else(String::new, numeric_modifier)),
        TIME => format!("time{precision} without time zone"),
        TIMESTAMP => format!("timestamp{precision} without time zone"),
        TIMESTAMPTZ => format!("timestamp{precision} with time zone"),
        _ => sql_name(facts.name).to_owned(),
    })
}

fn numeric_modifier(type_mod: i64) -> String {
    let bits = type_mod - TYPE_MOD_OFFSET;
    format!("({},{})", bits >> 16, bits & 0x7ff)
}

/// The SQL standard's word for a `typname`, or the `typname` itself.
fn sql_name(type_name: &'static str) -> &'static str {
    match type_name {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "char" => "\"char\"",
        "any" => "\"any\"",
        other => other,
    }
}

/// The OID of the type that `text` names, modifiers and array brackets allowed (42704 when there is none).
pub(super) fn parse_type(_: &FunctionContext, text: &str) -> Result<i64> {
    builtin_type(text)
}

/// As [`parse_type`]: every type is built in.
pub(super) fn builtin_type(text: &str) -> Result<i64> {
    let missing =
        || Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", text.trim()));
    let mut name = text.trim();
    let mut is_array = false;
    while let Some(element) =
        name.strip_suffix(']').and_then(|name| name.rfind('[').map(|open| &name[..open]))
    {
        name = element.trim_end();
        is_array = true;
    }
    let element = element_type(name).ok_or_else(missing)?;
    if !is_array {
        return Ok(element);
    }
    type_facts(element).map(|facts| facts.array).filter(|array| *array != 0).ok_or_else(missing)
}

fn element_type(name: &str) -> Option<i64> {
    let words = without_modifier(name).to_lowercase();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let type_name = match words.as_str() {
        "boolean" => "bool",
        "smallint" => "int2",
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "float" | "double precision" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" | "char varying" => "varchar",
        "character" | "char" => "bpchar",
        "time without time zone" => "time",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        _ => return qualified_type(name),
    };
    type_oid(type_name)
}

/// A `typname`, possibly in quotes and after `pg_catalog.`
fn qualified_type(name: &str) -> Option<i64> {
    match split_name(&without_modifier(name)).ok()?.as_slice() {
        [name] => type_oid(name),
        [schema, name] if schema == "pg_catalog" => type_oid(name),
        _ => None,
    }
}

/// `numeric(10,2)` → `numeric`; `timestamp(3) with time zone` → `timestamp with time zone`.
fn without_modifier(name: &str) -> String {
    match (name.find('('), name.find(')')) {
        (Some(open), Some(close)) if open < close && !name.starts_with('"') => {
            format!("{}{}", name[..open].trim_end(), &name[close + 1..])
        }
        _ => name.to_owned(),
    }
}
