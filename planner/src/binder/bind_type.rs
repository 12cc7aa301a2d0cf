//! Type names: sqlparser's `DataType` and PostgreSQL's names → `SqlType`.

use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, ObjectName, TimezoneInfo,
};
use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};

use crate::parser::fold;

/// The type that a type name means.
///
/// # Errors
/// 42704 for a name that is no type, 0A000 for PostgreSQL's types that are not there, 22023 for bad modifiers.
pub fn sql_type(ty: &DataType) -> Result<SqlType> {
    Ok(match ty {
        DataType::Bool | DataType::Boolean => SqlType::Bool,
        DataType::Int2(_) | DataType::SmallInt(_) => SqlType::Int2,
        DataType::Int(_) | DataType::Int4(_) | DataType::Integer(_) => SqlType::Int4,
        DataType::Int8(_) | DataType::BigInt(_) => SqlType::Int8,
        DataType::Float4 | DataType::Real => SqlType::Float4,
        DataType::Float8 | DataType::DoublePrecision | DataType::Double(_) => SqlType::Float8,
        DataType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => SqlType::Float4,
        DataType::Float(_) => SqlType::Float8,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text | DataType::String(_) => SqlType::Text,
        DataType::Varchar(n) | DataType::CharVarying(n) | DataType::CharacterVarying(n) => {
            SqlType::Varchar(length(n)?)
        }
        DataType::Char(n) | DataType::Character(n) => SqlType::Bpchar(Some(length(n)?.unwrap_or(1))),
        DataType::Date => SqlType::Date,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Timestamp,
        DataType::Timestamp(_, _) => SqlType::Timestamptz,
        DataType::Interval { .. } => SqlType::Interval,
        DataType::Bytea | DataType::Bytes(_) => SqlType::Bytea,
        DataType::Uuid => SqlType::Uuid,
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Regclass => SqlType::Regclass,
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => {
            match sql_type(element)? {
                // PostgreSQL's arrays of arrays are one type whatever the dimensions.
                SqlType::Array(_) => return Err(Error::unsupported("a multi-dimensional array")),
                element => SqlType::Array(Box::new(element)),
            }
        }
        DataType::Custom(name, modifiers) => named(name, modifiers)?,
        DataType::Bit(_)
        | DataType::BitVarying(_)
        | DataType::Time(..)
        | DataType::TsVector
        | DataType::TsQuery => {
            return Err(Error::unsupported(format!("type {ty}")).with_hint("Use text instead."));
        }
        other => return Err(unknown_type(&other.to_string().to_lowercase())),
    })
}

fn named(name: &ObjectName, modifiers: &[String]) -> Result<SqlType> {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
    let (short, quoted_char) = match parts.as_slice() {
        [name] => (name.as_str(), name == "char"),
        [schema, name] if schema == "pg_catalog" => (name.as_str(), name == "char"),
        _ => return Err(unknown_type(&parts.join("."))),
    };
    if quoted_char {
        return Ok(SqlType::Char);
    }
    if let Some(element) = short.strip_prefix('_') {
        return Ok(SqlType::Array(Box::new(by_name(element, &[]).ok_or_else(|| unknown_type(short))??)));
    }
    by_name(short, modifiers).ok_or_else(|| unknown_type(short))?
}

fn by_name(name: &str, modifiers: &[String]) -> Option<Result<SqlType>> {
    let number = |i: usize| modifiers.get(i).and_then(|m: &String| m.trim().parse::<u32>().ok());
    Some(Ok(match name {
        "bool" | "boolean" => SqlType::Bool,
        "int2" | "smallint" => SqlType::Int2,
        "int4" | "int" | "integer" => SqlType::Int4,
        "int8" | "bigint" => SqlType::Int8,
        "float4" | "real" => SqlType::Float4,
        "float8" | "double" => SqlType::Float8,
        "numeric" | "decimal" => match (number(0), number(1)) {
            (None, _) => SqlType::Numeric(NumericType::UNCONSTRAINED),
            (Some(p), s) => return Some(fixed_numeric(u64::from(p), i64::from(s.unwrap_or(0)))),
        },
        "text" | "string" | "citext" => SqlType::Text,
        "varchar" => SqlType::Varchar(number(0)),
        "bpchar" => SqlType::Bpchar(number(0)),
        "name" => SqlType::Name,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" | "timestamp_ltz" => SqlType::Timestamptz,
        "interval" => SqlType::Interval,
        "bytea" | "bytes" => SqlType::Bytea,
        "uuid" => SqlType::Uuid,
        "json" => SqlType::Json,
        "jsonb" => SqlType::Jsonb,
        "oid" | "xid" | "cid" => SqlType::Oid,
        "regclass" => SqlType::Regclass,
        "regtype" => SqlType::Regtype,
        "regproc" | "regprocedure" => SqlType::Regproc,
        "regnamespace" => SqlType::Regnamespace,
        "regrole" => SqlType::Regrole,
        "int2vector" => SqlType::Int2Vector,
        "oidvector" => SqlType::OidVector,
        "unknown" => SqlType::Unknown,
        "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2" => {
            let error = Error::unsupported(format!("type {name}"));
            return Some(Err(error.with_hint("Use int or bigint and give the values in the statement.")));
        }
        "money" | "bit" | "varbit" | "inet" | "cidr" | "macaddr" | "xml" | "tsvector" | "tsquery"
        | "point" | "timetz" | "record" | "int4range" | "int8range" | "numrange" | "tsrange"
        | "tstzrange" | "daterange" => {
            return Some(Err(Error::unsupported(format!("type {name}")).with_hint("Use text instead.")));
        }
        _ => return None,
    }))
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    match info {
        ExactNumberInfo::None => Ok(SqlType::Numeric(NumericType::UNCONSTRAINED)),
        ExactNumberInfo::Precision(p) => fixed_numeric(*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => fixed_numeric(*p, *s),
    }
}

fn fixed_numeric(precision: u64, scale: i64) -> Result<SqlType> {
    if precision == 0 || precision > 1000 {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p), Ok(s)) if p <= 38 && s >= 0 && s <= p as i8 => Ok(SqlType::Numeric(NumericType::fixed(p, s))),
        _ => Err(Error::unsupported(format!("numeric({precision},{scale})"))
            .with_hint("Precision goes to 38, and scale from 0 to the precision.")),
    }
}

fn length(n: &Option<CharacterLength>) -> Result<Option<u32>> {
    match n {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) if (1..=10_485_760).contains(length) => {
            Ok(u32::try_from(*length).ok())
        }
        Some(_) => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "length for type varchar must be between 1 and 10485760",
        )),
    }
}

fn unknown_type(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}
