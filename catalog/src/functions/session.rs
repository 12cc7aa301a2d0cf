//! The session and the server: `current_schema`, `current_setting`, `version`, `pg_backend_pid`, ….

use weir_common::SqlType::{Array, Bool, Int4, Int8, Name, Oid, Text, Timestamptz};
use weir_common::{Error, Result, SqlState};

use super::reg::effective_path;
use super::row::Row;
use super::{FunctionContext, SystemFunction, strict};
use crate::system::rows::Value;

/// PostgreSQL's name and number of the one character set.
const ENCODING: (&str, i64) = ("UTF8", 6);

pub(super) fn functions() -> Vec<SystemFunction> {
    let names = Array(Box::new(Name));
    vec![
        strict("current_database", &[], Name, |cx, _| Ok((&cx.database).into())),
        strict("current_catalog", &[], Name, |cx, _| Ok((&cx.database).into())),
        strict("current_schema", &[], Name, |cx, _| Ok(current_schema(cx).into())),
        strict("current_schemas", &[Bool], names, current_schemas),
        strict("current_user", &[], Name, |cx, _| Ok((&cx.user).into())),
        strict("session_user", &[], Name, |cx, _| Ok((&cx.user).into())),
        strict("current_role", &[], Name, |cx, _| Ok((&cx.user).into())),
        strict("user", &[], Name, |cx, _| Ok((&cx.user).into())),
        strict("version", &[], Text, |cx, _| Ok((&cx.version).into())),
        strict("pg_backend_pid", &[], Int4, |cx, _| Ok(cx.backend_pid.into())),
        strict("current_setting", &[Text], Text, current_setting),
        strict("current_setting", &[Text, Bool], Text, current_setting),
        strict("pg_is_in_recovery", &[], Bool, |_, _| Ok(false.into())),
        strict("pg_postmaster_start_time", &[], Timestamptz, |cx, _| Ok(cx.started_at.into())),
        strict("pg_conf_load_time", &[], Timestamptz, |cx, _| Ok(cx.started_at.into())),
        strict("txid_current", &[], Int8, |cx, _| Ok(cx.transaction_id.into())),
        strict("inet_server_addr", &[], Text, |_, _| Ok(Value::Null)),
        strict("inet_server_port", &[], Int4, |_, _| Ok(Value::Null)),
        strict("inet_client_addr", &[], Text, |_, _| Ok(Value::Null)),
        strict("inet_client_port", &[], Int4, |_, _| Ok(Value::Null)),
        strict("pg_my_temp_schema", &[], Oid, |_, _| Ok(0.into())),
        strict("pg_is_other_temp_schema", &[Oid], Bool, |_, _| Ok(false.into())),
        strict("pg_jit_available", &[], Bool, |_, _| Ok(false.into())),
        strict("getdatabaseencoding", &[], Name, |_, _| Ok(ENCODING.0.into())),
        strict("pg_client_encoding", &[], Name, |_, _| Ok(ENCODING.0.into())),
        strict("pg_encoding_to_char", &[Int4], Name, encoding_name),
        strict("pg_char_to_encoding", &[Name], Int4, encoding_number),
        strict("pg_tablespace_location", &[Oid], Text, |_, _| Ok("".into())),
    ]
}

/// The first schema of the path that exists: where new objects go.
fn current_schema(cx: &FunctionContext) -> Option<&str> {
    cx.search_path.iter().map(String::as_str).find(|schema| cx.catalog.schema_id(schema).is_some())
}

fn current_schemas(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let exists = |schema: &&str| cx.catalog.schema_id(schema).is_some();
    let schemas: Vec<&str> = if row.bool(0)? {
        effective_path(cx).filter(exists).collect()
    } else {
        cx.search_path.iter().map(String::as_str).filter(exists).collect()
    };
    Ok(schemas.into())
}

/// With a second argument that is true a setting that does not exist is NULL.
fn current_setting(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let name = row.text(0)?;
    let missing_ok = row.count() == 2 && row.bool(1)?;
    match cx.setting(name) {
        Some(value) => Ok(value.into()),
        None if missing_ok => Ok(Value::Null),
        None => Err(Error::new(
            SqlState::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn encoding_name(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    Ok(match row.int(0)? {
        0 => "SQL_ASCII".into(),
        number if number == ENCODING.1 => ENCODING.0.into(),
        _ => "".into(),
    })
}

fn encoding_number(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let name = row.text(0)?.to_ascii_uppercase();
    Ok(match name.as_str() {
        "UTF8" | "UTF-8" | "UNICODE" => ENCODING.1.into(),
        "SQL_ASCII" => 0.into(),
        _ => (-1).into(),
    })
}
