//! Set-returning functions: the rows that PostgreSQL gives, as a list.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("generate_series", &["int4:2", "int4:5"], "{2,3,4,5}"),
    ("generate_series", &["int4:5", "int4:2"], "{}"),
    ("generate_series", &["int4:5", "int4:2", "int4:-2"], "{5,3}"),
    ("generate_series", &["int4:2147483646", "int4:2147483647"], "{2147483646,2147483647}"),
    ("generate_series", &["int4:1", "int4:2", "int4:0"], "22023 step size cannot equal zero"),
    ("generate_series", &["int4:1", "int4:NULL"], "NULL"),
    ("generate_series", &["int4:1", "int8:2"], "{1,2}"),
    (
        "generate_series",
        &["int8:-9223372036854775808", "int8:9223372036854775807", "int8:6917529027641081856"],
        "{-9223372036854775808,-2305843009213693952,4611686018427387904}",
    ),
    ("generate_series", &["int8:1", "int8:50000001"], "54000 generate_series of more than 50000000 values"),
    ("generate_series", &["numeric(10,1):0.5", "numeric(10,1):2", "numeric(10,1):0.5"], "{0.5,1.0,1.5,2.0}"),
    ("generate_series", &["numeric(10,2):0.50", "numeric(10,2):2.75"], "{0.50,1.50,2.50}"),
    (
        "generate_series",
        &["timestamp:2024-01-31 00:00:00", "timestamp:2024-04-01 00:00:00", "interval:1 month"],
        r#"{"2024-01-31 00:00:00","2024-02-29 00:00:00","2024-03-29 00:00:00"}"#,
    ),
    (
        "generate_series",
        &["date:2024-03-01", "date:2024-02-28", "interval:-1 day"],
        r#"{"2024-03-01 00:00:00+00","2024-02-29 00:00:00+00","2024-02-28 00:00:00+00"}"#,
    ),
    (
        "generate_series",
        &["timestamp:2024-01-01 00:00:00", "timestamp:2024-01-02 00:00:00", "interval:1 month -30 days"],
        "22023 step size cannot equal zero",
    ),
    (
        "generate_series",
        &["timestamp:2024-01-01 00:00:00", "timestamp:2024-01-02 00:00:00"],
        "42883 function generate_series(timestamp without time zone, timestamp without time zone) does not exist",
    ),
    ("generate_subscripts", &["text[]:{a,NULL,c}", "int4:1"], "{1,2,3}"),
    ("generate_subscripts", &["text[]:{a,b}", "int4:1", "bool:t"], "{2,1}"),
    ("generate_subscripts", &["text[]:{a,b}", "int4:2"], "{}"),
    ("generate_subscripts", &["oidvector:7 8", "int4:1"], "{0,1}"),
    ("jsonb_array_elements", &[r#"jsonb:[1, {"a": null}, "x"]"#], r#"{1,"{\"a\": null}","\"x\""}"#),
    ("jsonb_array_elements_text", &[r#"jsonb:[1, null, "x y"]"#], r#"{1,NULL,"x y"}"#),
    ("jsonb_array_elements", &["jsonb:{}"], "22023 cannot extract elements from an object"),
    ("jsonb_array_elements", &["jsonb:1"], "22023 cannot extract elements from a scalar"),
    ("jsonb_object_keys", &[r#"jsonb:{"bb": 1, "a": 2}"#], "{a,bb}"),
    ("jsonb_object_keys", &["jsonb:[]"], "22023 cannot call jsonb_object_keys on an array"),
    ("jsonb_each_text", &[r#"jsonb:{"bb": 1, "a": null}"#], "{NULL,1}"),
    ("jsonb_each", &["jsonb:1"], "22023 cannot call jsonb_each on a non-object"),
    ("string_to_table", &["text:a,b", "text:,"], "{a,b}"),
    ("regexp_split_to_table", &["text:a  b", r"text:\s+"], "{a,b}"),
];
