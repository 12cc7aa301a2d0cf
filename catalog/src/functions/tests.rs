//! The functions over the sample catalog, called with values.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

use super::*;
use crate::sample::{self, MV, T, V};
use crate::system::constraint_oid;

#[derive(Clone, Copy)]
enum Arg<'a> {
    Int(i64),
    Text(&'a str),
    Bool(bool),
    Null,
}

use Arg::{Bool, Int, Null, Text};

fn context() -> FunctionContext {
    let mut cx = FunctionContext::new(sample::snapshot());
    cx.relation_sizes.push(RelationSize { id: T, rows: 3, bytes: 9000, backlog: 0 });
    cx.settings.push(Setting { name: "TimeZone".into(), value: "UTC".into(), ..Setting::default() });
    cx
}

fn array(ty: &SqlType, arg: Arg<'_>) -> ArrayRef {
    match (ty.arrow(), arg) {
        (ty, Null) => arrow::array::new_null_array(&ty, 1),
        (DataType::Int32, Int(value)) => Arc::new(Int32Array::from(vec![value as i32])),
        (DataType::Int64, Int(value)) => Arc::new(Int64Array::from(vec![value])),
        (DataType::Utf8, Text(value)) => Arc::new(StringArray::from(vec![value])),
        (DataType::Boolean, Bool(value)) => Arc::new(BooleanArray::from(vec![value])),
        (ty, _) => panic!("no argument of type {ty}"),
    }
}

fn try_call(cx: &FunctionContext, name: &str, args: &[Arg<'_>]) -> Result<String> {
    let function = find(name, args.len()).unwrap_or_else(|| panic!("no function {name}/{}", args.len()));
    let arrays: Vec<ArrayRef> = function.args.iter().zip(args).map(|(ty, arg)| array(ty, *arg)).collect();
    let result = function.eval(cx, &arrays, 1)?;
    assert_eq!(result.data_type(), &function.result.arrow());
    Ok(if result.is_null(0) { "NULL".to_owned() } else { array_value_to_string(&result, 0).unwrap() })
}

fn call(name: &str, args: &[Arg<'_>]) -> String {
    try_call(&context(), name, args).unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

fn oid(id: ObjectId) -> Arg<'static> {
    Int(i64::from(id.0))
}

#[test]
fn format_type_prints_modifiers() {
    let cases = [
        (23, -1, "integer"),
        (1043, 24, "character varying(20)"),
        (1042, -1, "bpchar"),
        (1042, 7, "character(3)"),
        (1700, ((10 << 16) | 2) + 4, "numeric(10,2)"),
        (1007, -1, "integer[]"),
        (1015, 24, "character varying(20)[]"),
        (1184, -1, "timestamp with time zone"),
        (1114, 3, "timestamp(3) without time zone"),
        (18, -1, "\"char\""),
        (22, -1, "int2vector"),
        (0, -1, "-"),
        (999_999, -1, "???"),
    ];
    for (oid, type_mod, expected) in cases {
        assert_eq!(call("format_type", &[Int(oid), Int(type_mod)]), expected);
    }
    assert_eq!(call("format_type", &[Int(1042), Null]), "character");
    assert_eq!(call("format_type", &[Null, Null]), "NULL");
}

#[test]
fn definitions_are_sql() {
    assert_eq!(call("pg_get_viewdef", &[oid(V), Bool(true)]), " SELECT id FROM t;");
    assert_eq!(call("pg_get_viewdef", &[oid(MV)]), " SELECT count(*) AS n FROM v;");
    assert_eq!(call("pg_get_viewdef", &[Int(1)]), "NULL");
    let index = oid(sample::T_PKEY);
    assert_eq!(call("pg_get_indexdef", &[index]), "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)");
    let short = call("pg_get_indexdef", &[index, Int(0), Bool(true)]);
    assert_eq!(short, "CREATE UNIQUE INDEX t_pkey ON t USING btree (id)");
    assert_eq!(call("pg_get_indexdef", &[index, Int(1), Bool(true)]), "id");
    let constraint = oid(constraint_oid(sample::T_PKEY));
    assert_eq!(call("pg_get_constraintdef", &[constraint, Bool(true)]), "PRIMARY KEY (id)");
    assert_eq!(call("pg_get_expr", &[Text("1 + 1"), oid(T), Bool(true)]), "1 + 1");
    assert_eq!(call("pg_get_function_arguments", &[Int(1397)]), "integer");
    assert_eq!(call("pg_get_function_result", &[Int(1397)]), "integer");
}

#[test]
fn visibility_depends_on_the_search_path() {
    assert_eq!(call("pg_table_is_visible", &[oid(T)]), "true");
    assert_eq!(call("pg_table_is_visible", &[oid(sample::T_PKEY)]), "true");
    assert_eq!(call("pg_table_is_visible", &[Int(1259)]), "true");
    assert_eq!(call("pg_table_is_visible", &[Int(15001)]), "false");
    assert_eq!(call("pg_table_is_visible", &[Int(5)]), "NULL");
    let mut cx = context();
    cx.search_path = vec!["sys".to_owned()];
    assert_eq!(try_call(&cx, "pg_table_is_visible", &[oid(T)]).unwrap(), "false");
    assert_eq!(try_call(&cx, "regclass_to_text", &[oid(T)]).unwrap(), "public.t");
    assert_eq!(try_call(&cx, "current_schema", &[]).unwrap(), "sys");
    assert_eq!(call("current_schemas", &[Bool(true)]), "[pg_catalog, public]");
    assert_eq!(call("current_schemas", &[Bool(false)]), "[public]");
}

#[test]
fn names_become_oids_and_back() {
    for (name, expected) in [
        ("t", "16384"),
        ("public.t", "16384"),
        ("\"public\" . \"t\"", "16384"),
        ("T", "16384"),
        ("t_pkey", "16385"),
        ("pg_class", "1259"),
        ("pg_catalog.pg_class", "1259"),
        ("sys.jobs", "15001"),
        ("16462", "16462"),
        ("-", "0"),
    ] {
        assert_eq!(call("cast_to_regclass", &[Text(name)]), expected, "{name}");
    }
    for (function, oid, expected) in [
        ("regclass_to_text", 16384, "t"),
        ("regclass_to_text", 15001, "sys.jobs"),
        ("regclass_to_text", 77, "77"),
        ("regclass_to_text", 0, "-"),
        ("regtype_to_text", 1009, "text[]"),
        ("regproc_to_text", 750, "array_in"),
        ("regproc_to_text", 1397, "pg_catalog.abs"),
        ("regnamespace_to_text", 2200, "public"),
        ("regrole_to_text", 10, "weir"),
    ] {
        assert_eq!(call(function, &[Int(oid)]), expected);
    }
    for (name, expected) in [
        ("int4", "23"),
        ("integer[]", "1007"),
        ("Double  Precision", "701"),
        ("timestamp(3) with time zone", "1184"),
        ("numeric(10,2)", "1700"),
        ("pg_catalog.text", "25"),
        ("\"char\"", "18"),
        ("char(3)", "1042"),
        ("_int4", "1007"),
    ] {
        assert_eq!(call("cast_to_regtype", &[Text(name)]), expected, "{name}");
    }
    assert_eq!(call("cast_to_regproc", &[Text("pg_catalog.array_in")]), "750");
    assert_eq!(call("cast_to_regprocedure", &[Text("abs(integer)")]), "1397");
    assert_eq!(call("cast_to_regnamespace", &[Text("public")]), "2200");
    assert_eq!(call("cast_to_regrole", &[Text("weir")]), "10");
}

#[test]
fn unknown_names_are_errors_or_null() {
    for (cast, to, name, state, message) in [
        ("cast_to_regclass", "to_regclass", "nope", "42P01", "relation \"nope\" does not exist"),
        ("cast_to_regtype", "to_regtype", "nope", "42704", "type \"nope\" does not exist"),
        ("cast_to_regproc", "to_regproc", "nope", "42883", "function \"nope\" does not exist"),
        ("cast_to_regnamespace", "to_regnamespace", "nope", "3F000", "schema \"nope\" does not exist"),
        ("cast_to_regrole", "to_regrole", "nope", "42704", "role \"nope\" does not exist"),
    ] {
        let error = try_call(&context(), cast, &[Text(name)]).unwrap_err();
        assert_eq!((error.state().0, error.message()), (state, message));
        assert_eq!(call(to, &[Text(name)]), "NULL");
    }
    for broken in ["", "a..b", "\"a", "a b", "a.", "\"a\"b"] {
        let error = try_call(&context(), "cast_to_regclass", &[Text(broken)]).unwrap_err();
        assert_eq!(error.state().0, "42602", "{broken}");
    }
}

#[test]
fn comments_and_owners() {
    assert_eq!(call("obj_description", &[oid(T), Text("pg_class")]), "people");
    assert_eq!(call("obj_description", &[oid(T), Text("pg_type")]), "NULL");
    assert_eq!(call("obj_description", &[Int(2200), Text("pg_namespace")]), "standard public schema");
    assert_eq!(call("col_description", &[oid(T), Int(2)]), "given name");
    assert_eq!(call("col_description", &[oid(T), Int(1)]), "NULL");
    assert_eq!(call("pg_get_userbyid", &[Int(10)]), "weir");
    assert_eq!(call("pg_get_userbyid", &[Int(11)]), "unknown (OID=11)");
    assert_eq!(call("has_table_privilege", &[oid(T), Text("SELECT")]), "true");
    assert_eq!(call("has_table_privilege", &[Null, Text("SELECT")]), "NULL");
}

#[test]
fn sizes_are_pretty() {
    for (bytes, expected) in [
        (0, "0 bytes"),
        (10_239, "10239 bytes"),
        (10_240, "10 kB"),
        (-10_240, "-10 kB"),
        (-10_241, "-10 kB"),
        (10_485_247, "10239 kB"),
        (10_485_248, "10 MB"),
        (1 << 40, "1024 GB"),
        (i64::MAX, "8192 PB"),
    ] {
        assert_eq!(call("pg_size_pretty", &[Int(bytes)]), expected, "{bytes}");
    }
    assert_eq!(call("pg_table_size", &[oid(T)]), "9000");
    assert_eq!(call("pg_table_size", &[Int(1)]), "NULL");
    assert_eq!(call("pg_database_size", &[Text("weir")]), "9000");
}

#[test]
fn settings_are_found_in_any_case() {
    assert_eq!(call("current_setting", &[Text("timezone")]), "UTC");
    assert_eq!(call("current_setting", &[Text("max_index_keys")]), "32");
    assert_eq!(call("current_setting", &[Text("nope"), Bool(true)]), "NULL");
    let error = try_call(&context(), "current_setting", &[Text("nope")]).unwrap_err();
    assert_eq!(error.message(), "unrecognized configuration parameter \"nope\"");
    assert_eq!(call("pg_encoding_to_char", &[Int(6)]), "UTF8");
    assert_eq!(call("current_database", &[]), "weir");
}

#[test]
fn reserved_words_are_sorted_and_quoted() {
    for (name, expected) in [
        ("t", "t"),
        ("Select", "\"Select\""),
        ("select", "\"select\""),
        ("a b", "\"a b\""),
        ("q\"", "\"q\"\"\""),
        ("1a", "\"1a\""),
    ] {
        assert_eq!(reg::quote_identifier(name), expected);
    }
    assert_eq!(reg::quote_identifier("xmltable"), "\"xmltable\"");
    assert_eq!(reg::quote_identifier("all"), "\"all\"");
}
