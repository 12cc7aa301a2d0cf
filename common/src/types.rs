//! `SqlType`: the SQL types, their PostgreSQL identity (OID, name, length) and their Arrow representation.
//!
//! Arrow does not know PostgreSQL's types (uuid, jsonb, varchar(n), regclass); a plan carries the `SqlType` of
//! each output column beside the Arrow schema. One `SqlType` has exactly one Arrow type:
//!
//! | SQL | Arrow |
//! |---|---|
//! | bool | Boolean |
//! | int2, int4, int8 | Int16, Int32, Int64 |
//! | float4, float8 | Float32, Float64 |
//! | numeric(p,s) | Decimal128(38, s) |
//! | text, varchar, char(n), name, "char", unknown | Utf8 |
//! | date | Date32 |
//! | time | Time64(µs) |
//! | timestamp, timestamptz | Timestamp(µs), Timestamp(µs, "UTC") |
//! | interval | Interval(MonthDayNano); nanoseconds are a multiple of 1,000 |
//! | bytea | Binary |
//! | uuid | FixedSizeBinary(16) |
//! | json, jsonb | Utf8; jsonb in PostgreSQL's normal form |
//! | oid, regclass, regtype, … | UInt32 would not be comparable with int4: Int64, always ≥ 0 |
//! | T[] | List(T) |

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// How a numeric's digits after the point are chosen when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NumericDisplay {
    /// All `scale` digits: a declared numeric(p,s), or a computation whose scale PostgreSQL fixes too.
    Fixed,
    /// Trailing zeros removed: a column declared `numeric` without precision.
    Trimmed,
    /// PostgreSQL's rule for quotients: at least 16 significant digits in groups of four
    /// (`select_div_scale` in numeric.c), computed from the value.
    Quotient,
    /// A variance: a quotient, but no variance at all is `0`.
    Variance,
    /// A standard deviation: as many digits as its square has as a [`NumericDisplay::Variance`].
    Deviation,
    /// Quotients beside values whose trailing zeros are removed: the digits of a quotient, 16 at least, since the others
    /// may have as many, without trailing zeros.
    Mixed,
}

/// A numeric's modifiers. Stored as a 128-bit integer of 38 digits with `scale` after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumericType {
    /// Most digits a value may have, 1..=38.
    pub precision: u8,
    /// Digits after the point, 0..=38.
    pub scale: i8,
    /// How it is printed.
    pub display: NumericDisplay,
}

impl NumericType {
    /// What a column declared `numeric`, without precision, is.
    pub const UNCONSTRAINED: NumericType =
        NumericType { precision: 38, scale: 16, display: NumericDisplay::Trimmed };
    /// What division and avg() give.
    pub const QUOTIENT: NumericType =
        NumericType { precision: 38, scale: 20, display: NumericDisplay::Quotient };
    /// What var_samp() and the like give.
    pub const VARIANCE: NumericType =
        NumericType { precision: 38, scale: 20, display: NumericDisplay::Variance };
    /// What stddev() and the like give.
    pub const DEVIATION: NumericType =
        NumericType { precision: 38, scale: 20, display: NumericDisplay::Deviation };

    /// An exact numeric of this scale.
    pub const fn fixed(precision: u8, scale: i8) -> NumericType {
        NumericType { precision, scale, display: NumericDisplay::Fixed }
    }
}

/// A SQL type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SqlType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric(NumericType),
    Text,
    /// varchar, with its length limit in characters.
    Varchar(Option<u32>),
    /// char(n), blank-padded; printed and compared without trailing blanks.
    Bpchar(Option<u32>),
    /// PostgreSQL's 63-byte identifier type.
    Name,
    /// PostgreSQL's one-byte `"char"`.
    Char,
    /// The type of a string literal or NULL before context decides.
    Unknown,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Bytea,
    Uuid,
    Json,
    Jsonb,
    Oid,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    Regrole,
    /// An array; elements may be NULL.
    Array(Box<SqlType>),
    Int2Vector,
    OidVector,
    /// What a function that returns nothing returns.
    Void,
}

impl SqlType {
    /// The one Arrow type that represents values of this type.
    pub fn arrow(&self) -> DataType {
        match self {
            SqlType::Bool => DataType::Boolean,
            SqlType::Int2 => DataType::Int16,
            SqlType::Int4 => DataType::Int32,
            SqlType::Int8
            | SqlType::Oid
            | SqlType::Regclass
            | SqlType::Regtype
            | SqlType::Regproc
            | SqlType::Regnamespace
            | SqlType::Regrole => DataType::Int64,
            SqlType::Float4 => DataType::Float32,
            SqlType::Float8 => DataType::Float64,
            SqlType::Numeric(n) => DataType::Decimal128(38, n.scale),
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Bpchar(_)
            | SqlType::Name
            | SqlType::Char
            | SqlType::Unknown
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Void => DataType::Utf8,
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            SqlType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Bytea => DataType::Binary,
            SqlType::Uuid => DataType::FixedSizeBinary(16),
            SqlType::Array(element) => list_of(element.arrow()),
            SqlType::Int2Vector => list_of(DataType::Int16),
            SqlType::OidVector => list_of(DataType::Int64),
        }
    }

    /// The OID of the type in PostgreSQL's pg_type.
    pub fn oid(&self) -> u32 {
        match self {
            SqlType::Bool => 16,
            SqlType::Bytea => 17,
            SqlType::Char => 18,
            SqlType::Name => 19,
            SqlType::Int8 => 20,
            SqlType::Int2 => 21,
            SqlType::Int2Vector => 22,
            SqlType::Int4 => 23,
            SqlType::Regproc => 24,
            SqlType::Text => 25,
            SqlType::Oid => 26,
            SqlType::OidVector => 30,
            SqlType::Json => 114,
            SqlType::Float4 => 700,
            SqlType::Float8 => 701,
            SqlType::Unknown => 705,
            SqlType::Bpchar(_) => 1042,
            SqlType::Varchar(_) => 1043,
            SqlType::Date => 1082,
            SqlType::Time => 1083,
            SqlType::Timestamp => 1114,
            SqlType::Timestamptz => 1184,
            SqlType::Interval => 1186,
            SqlType::Numeric(_) => 1700,
            SqlType::Regclass => 2205,
            SqlType::Regtype => 2206,
            SqlType::Void => 2278,
            SqlType::Uuid => 2950,
            SqlType::Jsonb => 3802,
            SqlType::Regnamespace => 4089,
            SqlType::Regrole => 4096,
            SqlType::Array(element) => element.array_oid(),
        }
    }

    /// The OID of the array type over this type; 0 when PostgreSQL has none.
    pub fn array_oid(&self) -> u32 {
        match self {
            SqlType::Bool => 1000,
            SqlType::Bytea => 1001,
            SqlType::Char => 1002,
            SqlType::Name => 1003,
            SqlType::Int2 => 1005,
            SqlType::Int2Vector => 1006,
            SqlType::Int4 => 1007,
            SqlType::Regproc => 1008,
            SqlType::Text | SqlType::Unknown => 1009,
            SqlType::OidVector => 1013,
            SqlType::Bpchar(_) => 1014,
            SqlType::Varchar(_) => 1015,
            SqlType::Int8 => 1016,
            SqlType::Float4 => 1021,
            SqlType::Float8 => 1022,
            SqlType::Oid => 1028,
            SqlType::Timestamp => 1115,
            SqlType::Date => 1182,
            SqlType::Time => 1183,
            SqlType::Timestamptz => 1185,
            SqlType::Interval => 1187,
            SqlType::Numeric(_) => 1231,
            SqlType::Json => 199,
            SqlType::Regclass => 2210,
            SqlType::Regtype => 2211,
            SqlType::Uuid => 2951,
            SqlType::Jsonb => 3807,
            SqlType::Regnamespace => 4090,
            SqlType::Regrole => 4097,
            SqlType::Void => 0,
            SqlType::Array(element) => element.array_oid(),
        }
    }

    /// `pg_type.typlen`: bytes of a fixed-length type, −1 for a varying one.
    pub fn type_len(&self) -> i16 {
        match self {
            SqlType::Bool | SqlType::Char => 1,
            SqlType::Int2 => 2,
            SqlType::Int4
            | SqlType::Float4
            | SqlType::Date
            | SqlType::Oid
            | SqlType::Regclass
            | SqlType::Regtype
            | SqlType::Regproc
            | SqlType::Regnamespace
            | SqlType::Regrole
            | SqlType::Void => 4,
            SqlType::Int8 | SqlType::Float8 | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz => 8,
            SqlType::Interval | SqlType::Uuid => 16,
            SqlType::Name => 64,
            SqlType::Unknown => -2,
            _ => -1,
        }
    }

    /// `atttypmod`: −1 when the type has no modifier.
    pub fn type_mod(&self) -> i32 {
        match self {
            SqlType::Varchar(Some(n)) | SqlType::Bpchar(Some(n)) => *n as i32 + 4,
            SqlType::Numeric(n) if n.display == NumericDisplay::Fixed && n.precision < 38 => {
                ((i32::from(n.precision) << 16) | i32::from(n.scale)) + 4
            }
            SqlType::Array(element) => element.type_mod(),
            _ => -1,
        }
    }

    /// The name without modifiers, as PostgreSQL's error messages and `pg_typeof` print it.
    pub fn name(&self) -> String {
        match self {
            SqlType::Bool => "boolean".into(),
            SqlType::Int2 => "smallint".into(),
            SqlType::Int4 => "integer".into(),
            SqlType::Int8 => "bigint".into(),
            SqlType::Float4 => "real".into(),
            SqlType::Float8 => "double precision".into(),
            SqlType::Numeric(_) => "numeric".into(),
            SqlType::Text => "text".into(),
            SqlType::Varchar(_) => "character varying".into(),
            SqlType::Bpchar(_) => "character".into(),
            SqlType::Name => "name".into(),
            SqlType::Char => "\"char\"".into(),
            SqlType::Unknown => "unknown".into(),
            SqlType::Date => "date".into(),
            SqlType::Time => "time without time zone".into(),
            SqlType::Timestamp => "timestamp without time zone".into(),
            SqlType::Timestamptz => "timestamp with time zone".into(),
            SqlType::Interval => "interval".into(),
            SqlType::Bytea => "bytea".into(),
            SqlType::Uuid => "uuid".into(),
            SqlType::Json => "json".into(),
            SqlType::Jsonb => "jsonb".into(),
            SqlType::Oid => "oid".into(),
            SqlType::Regclass => "regclass".into(),
            SqlType::Regtype => "regtype".into(),
            SqlType::Regproc => "regproc".into(),
            SqlType::Regnamespace => "regnamespace".into(),
            SqlType::Regrole => "regrole".into(),
            SqlType::Int2Vector => "int2vector".into(),
            SqlType::OidVector => "oidvector".into(),
            SqlType::Void => "void".into(),
            SqlType::Array(element) => format!("{}[]", element.name()),
        }
    }

    /// The name in `pg_type.typname`: `int4`, `_text`.
    pub fn catalog_name(&self) -> String {
        match self {
            SqlType::Bool => "bool".into(),
            SqlType::Int2 => "int2".into(),
            SqlType::Int4 => "int4".into(),
            SqlType::Int8 => "int8".into(),
            SqlType::Float4 => "float4".into(),
            SqlType::Float8 => "float8".into(),
            SqlType::Varchar(_) => "varchar".into(),
            SqlType::Bpchar(_) => "bpchar".into(),
            SqlType::Char => "char".into(),
            SqlType::Time => "time".into(),
            SqlType::Timestamp => "timestamp".into(),
            SqlType::Timestamptz => "timestamptz".into(),
            SqlType::Array(element) => format!("_{}", element.catalog_name()),
            other => other.name(),
        }
    }

    /// Whether values are numbers.
    pub fn is_numeric(&self) -> bool {
        matches!(
            self,
            SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Float4
                | SqlType::Float8
                | SqlType::Numeric(_)
        )
    }

    /// Whether values are int2, int4 or int8.
    pub fn is_integer(&self) -> bool {
        matches!(self, SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
    }

    /// Whether values are character strings (PostgreSQL's type category S).
    pub fn is_string(&self) -> bool {
        matches!(
            self,
            SqlType::Text
                | SqlType::Varchar(_)
                | SqlType::Bpchar(_)
                | SqlType::Name
                | SqlType::Char
                | SqlType::Unknown
        )
    }

    /// Whether the type is oid or one of its reg* aliases.
    pub fn is_oid_like(&self) -> bool {
        matches!(
            self,
            SqlType::Oid
                | SqlType::Regclass
                | SqlType::Regtype
                | SqlType::Regproc
                | SqlType::Regnamespace
                | SqlType::Regrole
        )
    }

    /// Same type, whatever the modifiers.
    pub fn same_family(&self, other: &SqlType) -> bool {
        self.oid() == other.oid()
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

impl fmt::Display for SqlType {
    /// With modifiers, as `format_type` prints it: `numeric(10,2)`, `character varying(20)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Varchar(Some(n)) => write!(f, "character varying({n})"),
            SqlType::Bpchar(Some(n)) => write!(f, "character({n})"),
            SqlType::Numeric(n) if self.type_mod() >= 0 => write!(f, "numeric({},{})", n.precision, n.scale),
            SqlType::Array(element) => write!(f, "{element}[]"),
            other => f.write_str(&other.name()),
        }
    }
}
