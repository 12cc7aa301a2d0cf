//! Text in and out of every SQL type, as PostgreSQL's input and output functions do it.
//!
//! Used by casts, by COPY and the text formats of connectors, by the wire protocol and by anything that shows a
//! value. One file a type family; this one dispatches on the [`SqlType`]. Invariant: what [`Formatter`] writes,
//! [`parse_value`] reads back to an equal value of the same type.

pub mod array;
pub mod bytes;
pub mod civil;
pub mod datetime;
pub mod interval;
pub mod json;
pub mod json_order;
pub mod number;
pub mod numeric;
pub mod zone;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, FixedSizeBinaryBuilder, PrimitiveArray,
    StringArray, StringBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use crate::types::SqlType;
use crate::{Error, Result, SqlState};

/// What the session says about how values look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// `TimeZone`: how timestamptz is shown, and read when it names no zone.
    pub time_zone: chrono_tz::Tz,
}

impl Default for FormatOptions {
    fn default() -> Self {
        FormatOptions { time_zone: chrono_tz::Tz::UTC }
    }
}

/// Reads every value; NULL stays NULL. In UTC; see [`parse_array_in`].
///
/// # Errors
/// 22P02 for malformed text, 22007 and 22008 for dates and times, 22003 for numbers out of range.
pub fn parse_array(ty: &SqlType, values: &StringArray) -> Result<ArrayRef> {
    parse_array_in(ty, values, &FormatOptions::default())
}

/// Reads one value into an array of one row.
pub fn parse_value(ty: &SqlType, text: &str) -> Result<ArrayRef> {
    parse_array(ty, &StringArray::from(vec![text]))
}

/// Reads every value with the session's options.
pub fn parse_array_in(ty: &SqlType, values: &StringArray, options: &FormatOptions) -> Result<ArrayRef> {
    match ty {
        SqlType::Bool => {
            let parsed: Result<BooleanArray> = values.iter().map(|v| v.map(parse_bool).transpose()).collect();
            Ok(Arc::new(parsed?))
        }
        SqlType::Int2 => primitive::<Int16Type>(ty, values, number::parse_int2),
        SqlType::Int4 => primitive::<Int32Type>(ty, values, number::parse_int4),
        SqlType::Int8 => primitive::<Int64Type>(ty, values, number::parse_int8),
        SqlType::Float4 => primitive::<Float32Type>(ty, values, number::parse_float4),
        SqlType::Float8 => primitive::<Float64Type>(ty, values, number::parse_float8),
        SqlType::Numeric(numeric) => primitive::<Decimal128Type>(ty, values, |v| numeric::parse(v, numeric)),
        SqlType::Date => primitive::<Date32Type>(ty, values, datetime::parse_date),
        SqlType::Time => primitive::<Time64MicrosecondType>(ty, values, datetime::parse_time),
        SqlType::Timestamp => primitive::<TimestampMicrosecondType>(ty, values, datetime::parse_timestamp),
        SqlType::Timestamptz => primitive::<TimestampMicrosecondType>(ty, values, |v| {
            datetime::parse_timestamptz(v, options.time_zone)
        }),
        SqlType::Interval => primitive::<IntervalMonthDayNanoType>(ty, values, interval::parse),
        SqlType::Bytea => {
            let mut builder = BinaryBuilder::new();
            for value in values {
                builder.append_option(value.map(bytes::parse_bytea).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        SqlType::Uuid => parse_uuids(values),
        SqlType::Array(element) => array::parse(element, values, options),
        SqlType::Int2Vector | SqlType::OidVector => array::parse_vector(ty, values, options),
        ty if ty.is_oid_like() => primitive::<Int64Type>(ty, values, |v| number::parse_oid(v, ty)),
        _ => strings(values, |text, out| write_string(ty, text, out)),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    ty: &SqlType,
    values: &StringArray,
    parse: impl Fn(&str) -> Result<T::Native>,
) -> Result<ArrayRef> {
    let parsed: Result<PrimitiveArray<T>> = values.iter().map(|v| v.map(&parse).transpose()).collect();
    Ok(Arc::new(parsed?.with_data_type(ty.arrow())))
}

fn strings(values: &StringArray, read: impl Fn(&str, &mut String) -> Result<()>) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(values.len(), values.value_data().len());
    let mut buffer = String::new();
    for value in values {
        match value {
            None => builder.append_null(),
            Some(text) => {
                buffer.clear();
                read(text, &mut buffer)?;
                builder.append_value(&buffer);
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn parse_uuids(values: &StringArray) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for value in values {
        match value {
            None => builder.append_null(),
            Some(text) => {
                builder.append_value(bytes::parse_uuid(text)?).map_err(|e| Error::internal(e.to_string()))?;
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Input functions of the types represented as text.
fn write_string(ty: &SqlType, text: &str, out: &mut String) -> Result<()> {
    match ty {
        SqlType::Varchar(Some(limit)) => {
            if text.chars().count() > *limit as usize {
                let kept: String = text.chars().take(*limit as usize).collect();
                if !text[kept.len()..].bytes().all(|b| b == b' ') {
                    return Err(too_long(ty));
                }
                out.push_str(&kept);
                return Ok(());
            }
            out.push_str(text);
        }
        SqlType::Bpchar(limit) => {
            let text = text.trim_end_matches(' ');
            if limit.is_some_and(|limit| text.chars().count() > limit as usize) {
                return Err(too_long(ty));
            }
            out.push_str(text);
        }
        SqlType::Name => out.push_str(truncate_name(text)),
        SqlType::Char => out.extend(text.chars().next()),
        SqlType::Json => {
            json::parse(text)?;
            out.push_str(text);
        }
        SqlType::Jsonb => json::parse(text)?.write(out),
        _ => out.push_str(text),
    }
    Ok(())
}

/// 22001, as PostgreSQL words it.
pub fn too_long(ty: &SqlType) -> Error {
    Error::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {ty}"))
}

/// What is left of an identifier in PostgreSQL's 63 bytes.
pub fn truncate_name(text: &str) -> &str {
    let mut end = text.len().min(63);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a boolean: any unique prefix of true, false, yes, no, on, off, or 1 and 0.
pub fn parse_bool(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let is_prefix = |of: &str, least: usize| word.len() >= least && of.starts_with(word.as_str());
    if is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) || word == "1" {
        Ok(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(Error::invalid_text("boolean", text))
    }
}

/// Writes values of one type as text.
#[derive(Clone, Debug)]
pub struct Formatter {
    ty: SqlType,
    options: FormatOptions,
    /// Of the elements, for an array type.
    element: Option<Box<Formatter>>,
}

impl Formatter {
    /// A formatter for values of this type.
    pub fn new(ty: &SqlType, session: &FormatOptions) -> Formatter {
        let element = match ty {
            SqlType::Array(element) => Some(element.as_ref().clone()),
            SqlType::Int2Vector => Some(SqlType::Int2),
            SqlType::OidVector => Some(SqlType::Oid),
            _ => None,
        };
        let element = element.map(|element| Box::new(Formatter::new(&element, session)));
        Formatter { ty: ty.clone(), options: session.clone(), element }
    }

    /// Appends the value in this row, which must not be NULL; `array` has the type's Arrow representation.
    pub fn write(&self, array: &dyn Array, row: usize, out: &mut String) {
        match &self.ty {
            SqlType::Bool => out.push(if array.as_boolean().value(row) { 't' } else { 'f' }),
            SqlType::Int2 => number::write_integer(i64::from(value::<Int16Type>(array, row)), out),
            SqlType::Int4 => number::write_integer(i64::from(value::<Int32Type>(array, row)), out),
            SqlType::Int8 => number::write_integer(value::<Int64Type>(array, row), out),
            SqlType::Float4 => number::write_float4(value::<Float32Type>(array, row), out),
            SqlType::Float8 => number::write_float8(value::<Float64Type>(array, row), out),
            SqlType::Numeric(numeric) => numeric::write(value::<Decimal128Type>(array, row), numeric, out),
            SqlType::Date => datetime::write_date(value::<Date32Type>(array, row), out),
            SqlType::Time => datetime::write_time(value::<Time64MicrosecondType>(array, row), out),
            SqlType::Timestamp => {
                datetime::write_timestamp(value::<TimestampMicrosecondType>(array, row), out)
            }
            SqlType::Timestamptz => {
                let micros = value::<TimestampMicrosecondType>(array, row);
                datetime::write_timestamptz(micros, self.options.time_zone, out);
            }
            SqlType::Interval => interval::write(value::<IntervalMonthDayNanoType>(array, row), out),
            SqlType::Bytea => bytes::write_bytea(array.as_binary::<i32>().value(row), out),
            SqlType::Uuid => bytes::write_uuid(array.as_fixed_size_binary().value(row), out),
            SqlType::Regtype => write_regtype(value::<Int64Type>(array, row), out),
            SqlType::Bpchar(Some(width)) => {
                let text = array.as_string::<i32>().value(row);
                out.push_str(text);
                out.extend(std::iter::repeat_n(' ', (*width as usize).saturating_sub(text.chars().count())));
            }
            ty if ty.is_oid_like() => number::write_integer(value::<Int64Type>(array, row), out),
            _ => match &self.element {
                Some(element) => self.write_list(element, &array.as_list::<i32>().value(row), out),
                None => out.push_str(array.as_string::<i32>().value(row)),
            },
        }
    }

    /// The value as a string of its own; `None` for NULL.
    pub fn format(&self, array: &dyn Array, row: usize) -> Option<String> {
        array.is_valid(row).then(|| {
            let mut out = String::new();
            self.write(array, row, &mut out);
            out
        })
    }

    fn write_list(&self, element: &Formatter, values: &ArrayRef, out: &mut String) {
        if matches!(self.ty, SqlType::Array(_)) {
            array::write(element, values, out);
        } else {
            array::write_vector(element, values, out);
        }
    }
}

fn value<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn write_regtype(oid: i64, out: &mut String) {
    match type_of_oid(oid) {
        Some(ty) => out.push_str(&ty.name()),
        None if oid == 0 => out.push('-'),
        None => number::write_integer(oid, out),
    }
}

/// The built-in type with this OID in pg_type, arrays included, without modifiers.
pub fn type_of_oid(oid: i64) -> Option<SqlType> {
    let scalars = scalar_types();
    scalars.iter().find(|ty| i64::from(ty.oid()) == oid).cloned().or_else(|| {
        let element =
            scalars.into_iter().find(|ty| *ty != SqlType::Unknown && i64::from(ty.array_oid()) == oid)?;
        Some(SqlType::Array(Box::new(element)))
    })
}

/// Every type that is not an array, without modifiers.
pub fn scalar_types() -> Vec<SqlType> {
    use SqlType::*;
    vec![
        Bool,
        Int2,
        Int4,
        Int8,
        Float4,
        Float8,
        Numeric(crate::types::NumericType::UNCONSTRAINED),
        Text,
        Varchar(None),
        Bpchar(None),
        Name,
        Char,
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
        Int2Vector,
        OidVector,
        Void,
    ]
}

#[cfg(test)]
mod tests;
