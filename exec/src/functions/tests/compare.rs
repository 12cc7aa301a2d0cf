//! Comparisons across types. Expected results are PostgreSQL 15's.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("=", &["int4:1", "int8:1"], "t"),
    ("<", &["int2:1", "float8:1.5"], "t"),
    ("=", &["numeric(5,2):1.50", "numeric(5,1):1.5"], "t"),
    (">", &["numeric(5,2):1.50", "int4:1"], "t"),
    ("=", &["float8:0", "float8:-0"], "t"),
    ("=", &["float8:NaN", "float8:NaN"], "t"),
    (">", &["float8:NaN", "float8:Infinity"], "t"),
    ("=", &["text:a", "unknown:a"], "t"),
    ("<", &["text:a", "varchar(3):b"], "t"),
    ("=", &["bpchar(3):a", "bpchar(5):a"], "t"),
    ("=", &["date:2024-01-01", "timestamp:2024-01-01 00:00:00"], "t"),
    ("<", &["timestamp:2024-01-01", "timestamptz:2024-01-02 00:00:00+00"], "t"),
    ("=", &["interval:1 month", "interval:30 days"], "t"),
    (">", &["interval:1 day", "interval:23:59:59"], "t"),
    ("<>", &["bool:t", "bool:f"], "t"),
    (
        "=",
        &["uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "unknown:A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
        "t",
    ),
    ("<", &[r"bytea:\x00", r"bytea:\x01"], "t"),
    ("=", &[r#"jsonb:{"a":1,"b":2}"#, r#"jsonb:{"b":2,"a":1}"#], "t"),
    ("=", &["int4[]:{1,2}", "int4[]:{1,2}"], "t"),
    ("=", &["int4:1", "text:1"], "42883 operator does not exist: integer = text"),
    ("=", &["int4:1", "bool:t"], "42883 operator does not exist: integer = boolean"),
    ("=", &["unknown:a", "unknown:b"], "f"),
    ("=", &["int4:NULL", "int4:1"], "NULL"),
    ("=", &["oid:5", "int4:5"], "t"),
    ("=", &["name:abc", "text:abc"], "t"),
];
