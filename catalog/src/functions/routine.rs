//! What `pg_proc`'s rows look like in SQL: `pg_get_function_result`, `pg_get_function_arguments`,
//! `pg_get_functiondef`.

use weir_common::SqlType::{Oid, Text};
use weir_common::{Error, Result, SqlState};

use super::row::Row;
use super::type_name::type_display;
use super::{FunctionContext, SystemFunction, strict};
use crate::system::rows::Value;
use crate::system::types::{ProcFacts, proc_facts};

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![
        strict("pg_get_function_result", &[Oid], Text, result),
        strict("pg_get_function_arguments", &[Oid], Text, arguments),
        strict("pg_get_function_identity_arguments", &[Oid], Text, arguments),
        strict("pg_get_functiondef", &[Oid], Text, definition),
        // Every function is built in; none has a body in SQL.
        strict("pg_get_function_sqlbody", &[Oid], Text, |_, _| Ok(Value::Null)),
    ]
}

fn result(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    Ok(proc_facts(row.int(0)?).map(result_of).into())
}

fn arguments(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    Ok(proc_facts(row.int(0)?).map(arguments_of).into())
}

fn result_of(facts: &ProcFacts) -> String {
    let set_of = if facts.returns_set { "SETOF " } else { "" };
    format!("{set_of}{}", display(facts.result))
}

fn arguments_of(facts: &ProcFacts) -> String {
    let mut types: Vec<String> =
        facts.arg_types.split(' ').filter_map(|oid| oid.parse().ok()).map(display).collect();
    if facts.variadic != 0
        && let Some(last) = types.last_mut()
    {
        *last = format!("VARIADIC {last}");
    }
    types.join(", ")
}

fn display(oid: i64) -> String {
    type_display(oid, None).unwrap_or_else(|| "???".to_owned())
}

fn definition(_: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let oid = row.int(0)?;
    let missing =
        || Error::new(SqlState::UNDEFINED_FUNCTION, format!("function with OID {oid} does not exist"));
    let facts = proc_facts(oid).ok_or_else(missing)?;
    Ok(format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.{}({})\n RETURNS {}\n LANGUAGE internal\n",
        facts.name,
        arguments_of(facts),
        result_of(facts)
    )
    .into())
}
