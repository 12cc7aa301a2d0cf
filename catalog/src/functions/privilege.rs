//! `has_table_privilege` and its kin. The one role is a superuser, so what exists may be done; naming a relation,
//! schema or role that does not exist is an error, as in PostgreSQL.

use weir_common::SqlType::{self, Bool, Name, Regclass, Regnamespace, Regrole, Text};

use super::{SystemFunction, strict};
use crate::system::rows::Value;

pub(super) fn functions() -> Vec<SystemFunction> {
    let subjects = [
        ("has_table_privilege", Regclass),
        ("has_any_column_privilege", Regclass),
        ("has_sequence_privilege", Regclass),
        ("has_schema_privilege", Regnamespace),
        ("has_database_privilege", Text),
        ("has_function_privilege", Text),
        ("has_language_privilege", Text),
        ("has_tablespace_privilege", Text),
        ("has_type_privilege", Text),
        ("has_foreign_data_wrapper_privilege", Text),
        ("has_server_privilege", Text),
        ("pg_has_role", Regrole),
    ];
    let mut functions = Vec::new();
    for (name, subject) in subjects {
        functions.push(allowed(name, &[subject.clone(), Text]));
        functions.push(allowed(name, &[Regrole, subject, Text]));
    }
    functions.push(allowed("has_column_privilege", &[Regclass, Text, Text]));
    functions.push(allowed("has_column_privilege", &[Regrole, Regclass, Text, Text]));
    functions.push(strict("row_security_active", &[Regclass], Bool, |_, _| Ok(Value::Bool(false))));
    functions.push(strict("pg_get_userbyid", &[SqlType::Oid], Name, |cx, row| {
        Ok(super::reg::role_name(cx, row.oid(0)?).into())
    }));
    functions
}

fn allowed(name: &'static str, args: &[SqlType]) -> SystemFunction {
    strict(name, args, Bool, |_, _| Ok(Value::Bool(true)))
}
