//! What resolution decides: types of results, common types, errors and their hints.

use weir_common::SqlType;
use weir_common::types::NumericType;

use crate::functions::type_code::{parse, write};
use crate::functions::{
    CastContext, CastKind, FunctionKind, by_name, common_type, registry, resolve_call, resolve_cast,
    resolve_function, resolve_operator,
};

fn ty(code: &str) -> SqlType {
    parse(code).unwrap_or_else(|| panic!("type {code}"))
}

fn result(left: &str, op: &str, right: &str) -> String {
    write(&resolve_operator(op, Some(&ty(left)), &ty(right)).unwrap().result)
}

#[test]
fn operators_promote_as_postgresql() {
    for (left, op, right, expect) in [
        ("int2", "+", "int4", "int4"),
        ("int4", "+", "int8", "int8"),
        ("int4", "+", "float4", "float8"),
        ("float4", "*", "float4", "float4"),
        ("int4", "+", "unknown", "int4"),
        ("interval", "+", "unknown", "interval"),
        ("int8", "*", "numeric(38,3)", "numeric(38,3)"),
        ("numeric(10,2)", "*", "numeric(10,3)", "numeric(38,5)"),
        ("numeric(10,2)", "+", "numeric(10,3)", "numeric(38,3)"),
        ("numeric(10,2)", "/", "int4", "numeric(38,20,quotient)"),
        ("numeric(38,16,trimmed)", "*", "numeric(38,16,trimmed)", "numeric(38,20,trimmed)"),
        ("numeric(38,2)", "*", "float8", "float8"),
        ("date", "+", "int2", "date"),
        ("date", "-", "date", "int4"),
        ("date", "+", "interval", "timestamp"),
        ("timestamptz", "-", "timestamp", "interval"),
        ("text", "||", "int4", "text"),
        ("varchar(3)", "||", "unknown", "text"),
        ("int4[]", "||", "int4", "int4[]"),
        ("jsonb", "->", "unknown", "jsonb"),
        ("jsonb", "->>", "int4", "text"),
        ("varchar(3)", "=", "unknown", "bool"),
    ] {
        assert_eq!(result(left, op, right), expect, "{left} {op} {right}");
    }
}

#[test]
fn comparisons_are_native_on_equal_arrow_types() {
    let types =
        ["int2", "int8", "float4", "float8", "numeric(10,2)", "numeric(5,0)", "date", "timestamptz", "oid"];
    for (left, right) in [(0, 1), (0, 3), (2, 3), (4, 5), (1, 4), (6, 7), (8, 0)] {
        let found = resolve_operator("<", Some(&ty(types[left])), &ty(types[right])).unwrap();
        assert!(matches!(found.kind, FunctionKind::Native(_)), "{} < {}", types[left], types[right]);
        assert_eq!(found.arg_types[0].arrow(), found.arg_types[1].arrow());
    }
}

#[test]
fn errors_have_state_words_and_hint() {
    let check = |error: weir_common::Error, state: &str, message: &str, hint: &str| {
        assert_eq!((error.state().0, error.message()), (state, message));
        assert_eq!(error.hint(), Some(hint));
    };
    check(
        resolve_operator("+", Some(&SqlType::Int4), &SqlType::Text).unwrap_err(),
        "42883",
        "operator does not exist: integer + text",
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    );
    check(
        resolve_operator("-", None, &SqlType::Text).unwrap_err(),
        "42883",
        "operator does not exist: - text",
        "No operator matches the given name and argument type. You might need to add an explicit type cast.",
    );
    check(
        resolve_operator("+", Some(&SqlType::Unknown), &SqlType::Unknown).unwrap_err(),
        "42725",
        "operator is not unique: unknown + unknown",
        "Could not choose a best candidate operator. You might need to add explicit type casts.",
    );
    check(
        resolve_function("foo", &[SqlType::Int4]).unwrap_err(),
        "42883",
        "function foo(integer) does not exist",
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    );
}

#[test]
fn rounding_to_a_literal_has_its_scale() {
    let price = ty("numeric(38,20,quotient)");
    let rounded = resolve_call("round", &[price.clone(), SqlType::Int4], &[None, Some(2)]).unwrap();
    assert_eq!(write(&rounded.result), "numeric(38,2)");
    let unknown = resolve_call("round", &[price, SqlType::Int4], &[None, None]).unwrap();
    assert_eq!(write(&unknown.result), "numeric(38,20,trimmed)");
}

#[test]
fn a_type_name_called_is_a_cast() {
    assert_eq!(resolve_function("date", &[SqlType::Timestamp]).unwrap().result, SqlType::Date);
    assert_eq!(resolve_function("text", &[SqlType::Int4]).unwrap().result, SqlType::Text);
    assert_eq!(resolve_function("float8", &[SqlType::Int4]).unwrap().arg_types, [SqlType::Float8]);
}

#[test]
fn common_types() {
    let common = |codes: &[&str]| {
        let types: Vec<SqlType> = codes.iter().map(|code| ty(code)).collect();
        common_type(&types, "CASE").map(|ty| write(&ty)).map_err(|error| error.message().to_owned())
    };
    assert_eq!(common(&["unknown", "unknown"]), Ok("text".into()));
    assert_eq!(common(&["int4", "unknown", "int8"]), Ok("int8".into()));
    assert_eq!(common(&["int4", "numeric(10,2)"]), Ok("numeric(38,2)".into()));
    assert_eq!(common(&["numeric(10,2)", "numeric(10,3)"]), Ok("numeric(38,3,trimmed)".into()));
    assert_eq!(common(&["numeric(10,2)", "float8"]), Ok("float8".into()));
    assert_eq!(common(&["date", "timestamptz"]), Ok("timestamptz".into()));
    assert_eq!(common(&["varchar(3)", "varchar(5)"]), Ok("varchar".into()));
    assert_eq!(common(&["varchar(3)", "text"]), Ok("varchar".into()));
    assert_eq!(common(&["int4", "text"]), Err("CASE types integer and text cannot be matched".into()));
}

#[test]
fn casts_know_their_context() {
    let cast = |from: &str, to: &str, context| resolve_cast(&ty(from), &ty(to), context).unwrap();
    assert!(cast("int8", "int4", CastContext::Implicit).is_none());
    assert!(cast("int8", "int4", CastContext::Assignment).is_some());
    assert!(cast("text", "int4", CastContext::Assignment).is_none());
    assert!(cast("text", "int4", CastContext::Explicit).is_some());
    assert!(matches!(cast("varchar(3)", "text", CastContext::Implicit), Some(CastKind::NoOp)));
    assert!(matches!(cast("int4", "int8", CastContext::Implicit), Some(CastKind::Arrow)));
    assert!(matches!(cast("numeric(5,2)", "numeric(10,2)", CastContext::Implicit), Some(CastKind::NoOp)));
    let Some(CastKind::Udf(checked)) = cast("text", "varchar(3)", CastContext::Assignment) else {
        panic!("storing checks the length");
    };
    assert_eq!(checked.name(), "assign_text_to_varchar(3)");
}

#[test]
fn every_registered_function_is_found_by_name() {
    for (name, udf) in registry() {
        assert_eq!(by_name(name).as_ref(), Some(udf));
    }
    for made in [
        "numeric_round_to(2)",
        "int8_to_numeric(38,0)",
        "extract_timestamp(epoch)",
        "text_concat(text,numeric(5,2))",
        "text_to_int4[]",
    ] {
        assert_eq!(by_name(made).map(|udf| udf.name().to_owned()), Some(made.to_owned()));
    }
    assert!(by_name("nonsense_to_int4").is_none());
    assert_eq!(NumericType::QUOTIENT.scale, 20);
}

/// Known differences: numeric has 38 digits, no NaN.
#[test]
fn numeric_beyond_38_digits_is_an_error() {
    let error =
        super::evaluate("*", &["numeric(38,0):99999999999999999999", "numeric(38,0):9999999999999999999999"]);
    assert_eq!(error.unwrap_err().state().0, "22003");
    let nan = super::evaluate("::", &["float8:NaN", "numeric(5,2)"]);
    assert_eq!(nan.unwrap_err().state().0, "0A000");
}
