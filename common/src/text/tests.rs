//! Input and output against what PostgreSQL 15 prints.

use super::*;
use crate::types::{NumericDisplay, NumericType};

fn round(ty: &SqlType, text: &str) -> String {
    let array = parse_value(ty, text).unwrap_or_else(|e| panic!("{ty} '{text}': {e}"));
    assert_eq!(array.data_type(), &ty.arrow(), "{ty}");
    let out = Formatter::new(ty, &FormatOptions::default()).format(&array, 0).expect("not NULL");
    let again = parse_value(ty, &out).unwrap_or_else(|e| panic!("{ty} '{out}' read back: {e}"));
    assert_eq!(&again, &array, "{ty} '{text}' does not round-trip through '{out}'");
    out
}

fn check(ty: SqlType, cases: &[(&str, &str)]) {
    for (text, expect) in cases {
        assert_eq!(round(&ty, text), *expect, "{ty} '{text}'");
    }
}

fn check_error(ty: SqlType, cases: &[(&str, &str, &str)]) {
    for (text, state, message) in cases {
        let error = parse_value(&ty, text).expect_err(text);
        assert_eq!((error.state().0, error.message()), (*state, *message), "{ty} '{text}'");
    }
}

#[test]
fn booleans_and_integers() {
    check(SqlType::Bool, &[("t", "t"), (" TRUE ", "t"), ("yes", "t"), ("of", "f"), ("0", "f")]);
    check(SqlType::Int4, &[(" 42 ", "42"), ("-2147483648", "-2147483648"), ("+7", "7")]);
    check(SqlType::Oid, &[("4294967295", "4294967295"), ("-1", "4294967295")]);
    check(SqlType::Regtype, &[("int4", "integer"), ("25", "text"), ("1007", "integer[]")]);
    check_error(
        SqlType::Int4,
        &[
            ("abc", "22P02", "invalid input syntax for type integer: \"abc\""),
            ("", "22P02", "invalid input syntax for type integer: \"\""),
            ("1.5", "22P02", "invalid input syntax for type integer: \"1.5\""),
            ("2147483648", "22003", "value \"2147483648\" is out of range for type integer"),
        ],
    );
    check_error(SqlType::Bool, &[("o", "22P02", "invalid input syntax for type boolean: \"o\"")]);
    check_error(SqlType::Int2, &[("40000", "22003", "value \"40000\" is out of range for type smallint")]);
}

#[test]
fn floats_print_shortest() {
    check(
        SqlType::Float8,
        &[
            ("1", "1"),
            ("1e20", "1e+20"),
            ("1e14", "100000000000000"),
            ("1e15", "1e+15"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1234567890123456", "1.234567890123456e+15"),
            ("0.1", "0.1"),
            ("-0", "0"),
            ("NaN", "NaN"),
            ("-inf", "-Infinity"),
            ("Infinity", "Infinity"),
            ("1.5e-300", "1.5e-300"),
            ("1125899906842624.25", "1.1258999068426242e+15"),
            ("1125899906842624.75", "1.1258999068426248e+15"),
            ("0.30000000000000004", "0.30000000000000004"),
        ],
    );
    check(SqlType::Float4, &[("1e5", "100000"), ("1e6", "1e+06"), ("123456.7", "123456.7"), ("3.4", "3.4")]);
    check(SqlType::Float4, &[("1.41015625", "1.4101562"), ("-1.41015625", "-1.4101562")]);
    check_error(
        SqlType::Float8,
        &[
            ("1e400", "22003", "\"1e400\" is out of range for type double precision"),
            ("1e-400", "22003", "\"1e-400\" is out of range for type double precision"),
            ("x", "22P02", "invalid input syntax for type double precision: \"x\""),
        ],
    );
}

#[test]
fn numerics_by_display() {
    check(
        SqlType::Numeric(NumericType::fixed(10, 2)),
        &[("1.005", "1.01"), ("-1.005", "-1.01"), ("-0.5", "-0.50"), ("1e3", "1000.00"), (".5", "0.50")],
    );
    check(
        SqlType::Numeric(NumericType::UNCONSTRAINED),
        &[
            ("1.50", "1.5"),
            ("100", "100"),
            ("-0.000", "0"),
            ("123456789012345678.25", "123456789012345678.25"),
        ],
    );
    check_error(
        SqlType::Numeric(NumericType::fixed(4, 2)),
        &[
            ("99.995", "22003", "numeric field overflow"),
            ("1..2", "22P02", "invalid input syntax for type numeric: \"1..2\""),
            ("NaN", "0A000", "numeric value NaN is not supported"),
        ],
    );
}

#[test]
fn quotients_beside_others_have_no_trailing_zeros() {
    let ty = SqlType::Numeric(NumericType { precision: 38, scale: 20, display: NumericDisplay::Mixed });
    for (stored, expect) in [
        ("1.33333333333333333333", "1.3333333333333333"),
        ("0.66666666666666666667", "0.66666666666666666667"),
        ("1", "1"),
        ("-2.50", "-2.5"),
        ("0", "0"),
        ("123456.1234567890123456", "123456.1234567890123456"),
    ] {
        let array = parse_value(&ty, stored).unwrap();
        let text = Formatter::new(&ty, &FormatOptions::default()).format(&array, 0).unwrap();
        assert_eq!(text, expect, "{stored}");
    }
}

#[test]
fn quotients_have_sixteen_significant_digits() {
    let ty = SqlType::Numeric(NumericType { precision: 38, scale: 20, display: NumericDisplay::Quotient });
    for (stored, expect) in [
        ("3.33333333333333333333", "3.3333333333333333"),
        ("1", "1.00000000000000000000"),
        ("2", "2.0000000000000000"),
        ("0", "0.00000000000000000000"),
        ("0.33333333333333333333", "0.33333333333333333333"),
        ("12345.67890123456789", "12345.678901234568"),
        ("33333333.33333333333333333333", "33333333.333333333333"),
        ("-2.5", "-2.5000000000000000"),
    ] {
        let array = parse_value(&ty, stored).unwrap();
        assert_eq!(
            Formatter::new(&ty, &FormatOptions::default()).format(&array, 0).unwrap(),
            expect,
            "{stored}"
        );
    }
}

#[test]
fn dates_and_times() {
    check(
        SqlType::Date,
        &[
            ("2024-02-29", "2024-02-29"),
            ("20240131", "2024-01-31"),
            ("1/31/2024", "2024-01-31"),
            ("January 8, 1999", "1999-01-08"),
            ("8 Jan 99", "1999-01-08"),
            ("0044-03-15 BC", "0044-03-15 BC"),
            ("08-Jan-1999", "1999-01-08"),
            ("infinity", "infinity"),
            ("12345-01-01", "12345-01-01"),
            ("2024-01-01 23:59:59", "2024-01-01"),
        ],
    );
    check(
        SqlType::Timestamp,
        &[
            ("2024-01-01", "2024-01-01 00:00:00"),
            ("2024-01-01T12:34:56.7890", "2024-01-01 12:34:56.789"),
            ("2024-01-01 12:34:56.1234567", "2024-01-01 12:34:56.123457"),
            ("1969-12-31 23:59:59.5", "1969-12-31 23:59:59.5"),
            ("2024-01-01 3:04 PM", "2024-01-01 15:04:00"),
            ("2024-01-01 12:00:00+05", "2024-01-01 12:00:00"),
            ("epoch", "1970-01-01 00:00:00"),
            ("-infinity", "-infinity"),
            ("2024-01-01 24:00", "2024-01-02 00:00:00"),
            ("Mon Jan 01 2024 01:02:03", "2024-01-01 01:02:03"),
            ("20240101T010203", "2024-01-01 01:02:03"),
        ],
    );
    check(
        SqlType::Timestamptz,
        &[
            ("2024-01-01 00:00:00+05:30", "2023-12-31 18:30:00+00"),
            ("2024-07-01 12:00 Europe/Berlin", "2024-07-01 10:00:00+00"),
            ("2024-01-01T00:00:00Z", "2024-01-01 00:00:00+00"),
            ("2024-01-01 00:00:00 EST", "2024-01-01 05:00:00+00"),
        ],
    );
    check(
        SqlType::Time,
        &[
            ("04:05", "04:05:00"),
            ("04:05:06.789", "04:05:06.789"),
            ("12:30 am", "00:30:00"),
            ("24:00", "24:00:00"),
        ],
    );
    check_error(
        SqlType::Date,
        &[
            ("2024-02-30", "22008", "date/time field value out of range: \"2024-02-30\""),
            ("abc", "22007", "invalid input syntax for type date: \"abc\""),
            ("", "22007", "invalid input syntax for type date: \"\""),
        ],
    );
    check_error(
        SqlType::Timestamp,
        &[
            ("2024-01-01 25:00", "22008", "date/time field value out of range: \"2024-01-01 25:00\""),
            ("nonsense", "22007", "invalid input syntax for type timestamp: \"nonsense\""),
        ],
    );
}

#[test]
fn timestamptz_prints_in_the_session_zone() {
    let ty = SqlType::Timestamptz;
    for (zone, text, expect) in [
        (chrono_tz::Europe::Berlin, "2024-07-01 12:00", "2024-07-01 12:00:00+02"),
        (chrono_tz::Asia::Kolkata, "2024-07-01 00:00+00", "2024-07-01 05:30:00+05:30"),
        (chrono_tz::America::New_York, "2024-03-10 02:30", "2024-03-10 03:30:00-04"),
    ] {
        let options = FormatOptions { time_zone: zone };
        let array = parse_array_in(&ty, &StringArray::from(vec![text]), &options).unwrap();
        assert_eq!(Formatter::new(&ty, &options).format(&array, 0).unwrap(), expect);
    }
}

#[test]
fn intervals() {
    check(
        SqlType::Interval,
        &[
            ("1 year 2 months 3 days 04:05:06.789", "1 year 2 mons 3 days 04:05:06.789"),
            ("1 day", "1 day"),
            ("-1 day 2 hours", "-1 days +02:00:00"),
            ("1 day -00:00:01", "1 day -00:00:01"),
            ("0", "00:00:00"),
            ("-1 mon -2 days -03:04:05.6", "-1 mons -2 days -03:04:05.6"),
            ("1.5 months", "1 mon 15 days"),
            ("1.5 years 1.5 weeks", "1 year 6 mons 10 days 12:00:00"),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("5s", "00:00:05"),
            ("1 hour 30 min", "01:30:00"),
            ("2 days ago", "-2 days"),
            ("1-2", "1 year 2 mons"),
            ("1 02:03", "1 day 02:03:00"),
            ("30", "00:00:30"),
            ("100 milliseconds", "00:00:00.1"),
            ("- 1 day", "-1 days"),
            ("36:00:00", "36:00:00"),
            ("PT-1.5S", "-00:00:01.5"),
        ],
    );
    check_error(
        SqlType::Interval,
        &[
            ("1 foo", "22007", "invalid input syntax for type interval: \"1 foo\""),
            ("", "22007", "invalid input syntax for type interval: \"\""),
            ("9999999999 years", "22008", "interval field value out of range: \"9999999999 years\""),
        ],
    );
}

#[test]
fn bytes_and_uuids() {
    check(SqlType::Bytea, &[("\\xDEadBEef", "\\xdeadbeef"), ("a\\000\\\\", "\\x61005c"), ("", "\\x")]);
    check(SqlType::Uuid, &[("{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]);
    check_error(SqlType::Uuid, &[("a0ee", "22P02", "invalid input syntax for type uuid: \"a0ee\"")]);
    check_error(SqlType::Bytea, &[("\\xg0", "22023", "invalid hexadecimal digit: \"g\"")]);
}

#[test]
fn arrays() {
    check(
        SqlType::Array(Box::new(SqlType::Text)),
        &[
            ("{a,\"b c\",NULL,\"NULL\",\"\",\"q\\\"\\\\\"}", "{a,\"b c\",NULL,\"NULL\",\"\",\"q\\\"\\\\\"}"),
            ("{}", "{}"),
            (" { x , y } ", "{x,y}"),
        ],
    );
    check(SqlType::Array(Box::new(SqlType::Int4)), &[("{1,null,-3}", "{1,NULL,-3}")]);
    check(SqlType::OidVector, &[("23 25", "23 25"), ("", "")]);
    check(SqlType::Array(Box::new(SqlType::Timestamp)), &[("{2024-01-01}", "{\"2024-01-01 00:00:00\"}")]);
    check_error(
        SqlType::Array(Box::new(SqlType::Int4)),
        &[
            ("1,2", "22P02", "malformed array literal: \"1,2\""),
            ("{1,2", "22P02", "malformed array literal: \"{1,2\""),
            ("{a}", "22P02", "invalid input syntax for type integer: \"a\""),
            ("{{1}}", "0A000", "multidimensional arrays is not supported"),
        ],
    );
}

#[test]
fn strings_keep_their_limits() {
    check(SqlType::Varchar(Some(3)), &[("abc   ", "abc"), ("äöü", "äöü")]);
    check(SqlType::Bpchar(Some(3)), &[("a", "a  "), ("abc  ", "abc")]);
    check_error(
        SqlType::Varchar(Some(3)),
        &[("abcd", "22001", "value too long for type character varying(3)")],
    );
    assert_eq!(truncate_name(&"é".repeat(40)).len(), 62);
}

#[test]
fn jsonb_has_one_form() {
    check(
        SqlType::Jsonb,
        &[
            ("{\"b\":1,\"a\":[1.10,2e2,null],\"b\":3}", "{\"a\": [1.10, 200, null], \"b\": 3}"),
            ("{\"aa\":1,\"b\":2}", "{\"b\": 2, \"aa\": 1}"),
            ("\"\\u00e9\\n\\/\"", "\"é\\n/\""),
            (" [ ] ", "[]"),
            ("-0", "0"),
            ("12345678901234567890123", "12345678901234567890123"),
        ],
    );
    check(SqlType::Json, &[("{ \"b\" : 1 }", "{ \"b\" : 1 }")]);
    check_error(
        SqlType::Jsonb,
        &[
            ("{a:1}", "22P02", "invalid input syntax for type json"),
            ("[1,]", "22P02", "invalid input syntax for type json"),
            ("01", "22P02", "invalid input syntax for type json"),
        ],
    );
}
