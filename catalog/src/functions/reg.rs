//! The OID alias types: text in (`'public.t'::regclass`) and out, and SQL's identifiers.
//!
//! A name that does not exist is an error in a cast and NULL in `to_regclass` and its kin. Digits are an OID,
//! existing or not; `-` is 0. Out, an OID that means nothing prints as digits.

use weir_common::SqlType::{Oid, Regclass, Regnamespace, Regproc, Regrole, Regtype, Text};
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};

use super::row::Row;
use super::type_name::{parse_type, type_display};
use super::visibility::is_visible;
use super::{FunctionContext, SystemFunction, strict};
use crate::snapshot::{ROLE, ROLE_OID};
use crate::system::rows::Value;
use crate::system::types::{proc_facts, proc_oids};
use crate::system::{self, RelationEntry};

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![
        strict("cast_to_regclass", &[Text], Regclass, |cx, row| Ok(regclass(cx, row.text(0)?)?.into())),
        strict("cast_to_regtype", &[Text], Regtype, |cx, row| Ok(regtype(cx, row.text(0)?)?.into())),
        strict("cast_to_regproc", &[Text], Regproc, |_, row| Ok(regproc(row.text(0)?)?.into())),
        strict("cast_to_regprocedure", &[Text], Oid, |_, row| Ok(regprocedure(row.text(0)?)?.into())),
        strict("cast_to_regnamespace", &[Text], Regnamespace, |cx, row| {
            Ok(regnamespace(cx, row.text(0)?)?.into())
        }),
        strict("cast_to_regrole", &[Text], Regrole, |_, row| Ok(regrole(row.text(0)?)?.into())),
        strict("to_regclass", &[Text], Regclass, |cx, row| if_known(regclass(cx, row.text(0)?))),
        strict("to_regtype", &[Text], Regtype, |cx, row| if_known(regtype(cx, row.text(0)?))),
        strict("to_regproc", &[Text], Regproc, |_, row| if_known(regproc(row.text(0)?))),
        strict("to_regprocedure", &[Text], Oid, |_, row| if_known(regprocedure(row.text(0)?))),
        strict("to_regnamespace", &[Text], Regnamespace, |cx, row| if_known(regnamespace(cx, row.text(0)?))),
        strict("to_regrole", &[Text], Regrole, |_, row| if_known(regrole(row.text(0)?))),
        strict("regclass_to_text", &[Regclass], Text, |cx, row| print(cx, &Regclass, row)),
        strict("regtype_to_text", &[Regtype], Text, |cx, row| print(cx, &Regtype, row)),
        strict("regproc_to_text", &[Regproc], Text, |cx, row| print(cx, &Regproc, row)),
        strict("regnamespace_to_text", &[Regnamespace], Text, |cx, row| print(cx, &Regnamespace, row)),
        strict("regrole_to_text", &[Regrole], Text, |cx, row| print(cx, &Regrole, row)),
        strict("quote_ident", &[Text], Text, |_, row| Ok(quote_identifier(row.text(0)?).into())),
    ]
}

/// NULL in place of "does not exist"; other errors (bad syntax) stay.
fn if_known(oid: Result<i64>) -> Result<Value> {
    let absent = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    match oid {
        Err(error) if absent.contains(&error.state()) || error.state() == SqlState::AMBIGUOUS_FUNCTION => {
            Ok(Value::Null)
        }
        oid => Ok(oid?.into()),
    }
}

fn print(cx: &FunctionContext, ty: &SqlType, row: &Row<'_>) -> Result<Value> {
    Ok(output_name(cx, ty, row.int(0)?).into())
}

/// The text form of a value of an OID alias type.
pub fn output_name(cx: &FunctionContext, ty: &SqlType, oid: i64) -> String {
    let object = ObjectId(u32::try_from(oid).unwrap_or(0));
    let name = match ty {
        _ if oid == 0 && *ty != SqlType::Oid => Some("-".to_owned()),
        Regclass => relation_name(cx, object),
        Regtype => type_display(oid, None),
        Regproc => proc_facts(oid).map(|facts| match proc_oids(facts.name).len() {
            1 => quote_identifier(facts.name),
            _ => format!("pg_catalog.{}", quote_identifier(facts.name)),
        }),
        Regnamespace => cx.catalog.schema_name(object).map(quote_identifier),
        Regrole => (object == ROLE_OID).then(|| ROLE.to_owned()),
        _ => None,
    };
    name.unwrap_or_else(|| oid.to_string())
}

/// `t`, or `s.t` where the search path does not lead to it.
fn relation_name(cx: &FunctionContext, oid: ObjectId) -> Option<String> {
    let (schema, name) = match RelationEntry::find(&cx.catalog, oid) {
        Some(relation) => (relation.schema, relation.name),
        None => cx.catalog.object(oid).map(|object| (object.schema, object.name.as_str()))?,
    };
    if is_visible(cx, oid) == Some(true) {
        return Some(quote_identifier(name));
    }
    Some(format!("{}.{}", quote_identifier(cx.catalog.schema_name(schema)?), quote_identifier(name)))
}

/// The name of a role; `unknown (OID=n)` when there is none.
pub(super) fn role_name(_: &FunctionContext, oid: ObjectId) -> String {
    if oid == ROLE_OID { ROLE.to_owned() } else { format!("unknown (OID={oid})") }
}

/// Digits as an OID, `-` as 0.
fn literal_oid(text: &str) -> Option<i64> {
    if text == "-" {
        return Some(0);
    }
    text.parse::<u32>().ok().map(i64::from)
}

fn regclass(cx: &FunctionContext, text: &str) -> Result<i64> {
    if let Some(oid) = literal_oid(text) {
        return Ok(oid);
    }
    let missing = || Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"));
    let parts = split_name(text)?;
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name),
        [schema, name] => (Some(schema.as_str()), name),
        [database, schema, name] if *database == cx.database => (Some(schema.as_str()), name),
        _ => return Err(Error::unsupported(format!("cross-database reference: \"{text}\""))),
    };
    let oid = find_relation(cx, schema, name).ok_or_else(missing)?;
    Ok(i64::from(oid.0))
}

/// The relation, index or virtual table that a name means.
pub(super) fn find_relation(cx: &FunctionContext, schema: Option<&str>, name: &str) -> Option<ObjectId> {
    let in_schema = |schema: &str| {
        let system = system::find(schema, name).map(|table| table.oid);
        system.or_else(|| cx.catalog.relation_id(cx.catalog.schema_id(schema)?, name))
    };
    match schema {
        Some(schema) => in_schema(schema),
        None => effective_path(cx).find_map(in_schema),
    }
}

/// The search path with `pg_catalog` before it, unless it names that itself.
pub(super) fn effective_path(cx: &FunctionContext) -> impl Iterator<Item = &str> {
    let implied = (!cx.search_path.iter().any(|schema| schema == "pg_catalog")).then_some("pg_catalog");
    implied.into_iter().chain(cx.search_path.iter().map(String::as_str))
}

fn regtype(cx: &FunctionContext, text: &str) -> Result<i64> {
    match literal_oid(text) {
        Some(oid) => Ok(oid),
        None => parse_type(cx, text),
    }
}

fn regproc(text: &str) -> Result<i64> {
    if let Some(oid) = literal_oid(text) {
        return Ok(oid);
    }
    let oids = match split_name(text)?.as_slice() {
        [name] => proc_oids(name),
        [schema, name] if schema == "pg_catalog" => proc_oids(name),
        _ => Vec::new(),
    };
    match oids.as_slice() {
        [oid] => Ok(*oid),
        [] => Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"))),
        _ => {
            Err(Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("more than one function named \"{text}\"")))
        }
    }
}

/// `abs(integer)`
fn regprocedure(text: &str) -> Result<i64> {
    if let Some(oid) = literal_oid(text) {
        return Ok(oid);
    }
    let missing = || Error::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"));
    let (name, args) = text.split_once('(').ok_or_else(|| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "expected a left parenthesis".to_owned())
    })?;
    let args = args.trim_end().strip_suffix(')').ok_or_else(|| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "expected a right parenthesis".to_owned())
    })?;
    let types: Result<Vec<String>> = args
        .split(',')
        .filter(|arg| !arg.trim().is_empty())
        .map(|arg| Ok(super::type_name::builtin_type(arg)?.to_string()))
        .collect();
    let wanted = types?.join(" ");
    let parts = split_name(name)?;
    let oids = parts.last().map_or_else(Vec::new, |name| proc_oids(name));
    let same_args = |oid: &i64| proc_facts(*oid).is_some_and(|facts| facts.arg_types == wanted);
    oids.into_iter().find(same_args).ok_or_else(missing)
}

fn regnamespace(cx: &FunctionContext, text: &str) -> Result<i64> {
    if let Some(oid) = literal_oid(text) {
        return Ok(oid);
    }
    let missing = || Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{text}\" does not exist"));
    let parts = split_name(text)?;
    let schema = parts.first().filter(|_| parts.len() == 1).and_then(|name| cx.catalog.schema_id(name));
    Ok(i64::from(schema.ok_or_else(missing)?.0))
}

fn regrole(text: &str) -> Result<i64> {
    if let Some(oid) = literal_oid(text) {
        return Ok(oid);
    }
    match split_name(text)?.as_slice() {
        [name] if name == ROLE => Ok(i64::from(ROLE_OID.0)),
        _ => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("role \"{text}\" does not exist"))),
    }
}

/// The parts of a dotted name: unquoted ones in lower case, quoted ones as they are.
pub(super) fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            take_quoted(quoted).ok_or_else(invalid)?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (rest[..end].trim_end().to_lowercase(), &rest[end..])
        };
        if part.is_empty() || part.contains(char::is_whitespace) && !rest.starts_with('"') {
            return Err(invalid());
        }
        parts.push(part);
        match after.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if after.trim().is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

/// What is before the closing quote, doubled quotes undone, and what follows it.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"')?;
        part.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, rest)),
        }
    }
}

/// PostgreSQL's reserved words that an identifier needs quotes for, sorted.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier as SQL needs it written: in quotes unless it is a plain lower-case word.
pub fn quote_identifier(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && RESERVED.binary_search(&name).is_err();
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
