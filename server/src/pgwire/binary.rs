//! PostgreSQL's binary format of every type, out of and into Arrow.
//!
//! ```text
//!   int, float     big endian                    date      days since 2000-01-01
//!   numeric        base-10000 digits             time      µs since midnight
//!   bool           one byte                      timestamp µs since 2000-01-01
//!   uuid, bytea    the bytes                     interval  µs i64, days i32, months i32
//!   text, json     UTF-8                         jsonb     version byte 1, then UTF-8
//!   T[]            dimensions, flags, element OID, (length, lower bound)…, (length, value)…
//! ```
//! Place in the flow: `rows` encodes results, `params` decodes parameters. Invariant: what is decoded is checked
//! against its length first; malformed bytes are 22P03, as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_common::text::{FormatOptions, Formatter, parse_value};
use weir_common::{Error, Result, SqlState, SqlType};

use super::frontend::{Body, utf8};

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;
/// Sign words of a numeric.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Appends the value in this row, which is not NULL, without its length. `formatter` is the type's.
pub fn encode(
    ty: &SqlType,
    array: &dyn Array,
    row: usize,
    formatter: &Formatter,
    out: &mut BytesMut,
) -> Result<()> {
    match ty {
        SqlType::Bool => out.put_u8(u8::from(array.as_boolean().value(row))),
        SqlType::Int2 => out.put_i16(value::<Int16Type>(array, row)),
        SqlType::Int4 => out.put_i32(value::<Int32Type>(array, row)),
        SqlType::Int8 => out.put_i64(value::<Int64Type>(array, row)),
        SqlType::Float4 => out.put_f32(value::<Float32Type>(array, row)),
        SqlType::Float8 => out.put_f64(value::<Float64Type>(array, row)),
        SqlType::Numeric(_) => {
            let mut text = String::new();
            formatter.write(array, row, &mut text);
            encode_numeric(&text, out);
        }
        SqlType::Date => out.put_i32(value::<Date32Type>(array, row).saturating_sub(EPOCH_DAYS)),
        SqlType::Time => out.put_i64(value::<Time64MicrosecondType>(array, row)),
        SqlType::Timestamp | SqlType::Timestamptz => {
            out.put_i64(value::<TimestampMicrosecondType>(array, row).saturating_sub(EPOCH_MICROS));
        }
        SqlType::Interval => {
            let interval = value::<IntervalMonthDayNanoType>(array, row);
            out.put_i64(interval.nanoseconds / 1_000);
            out.put_i32(interval.days);
            out.put_i32(interval.months);
        }
        SqlType::Bytea => out.put_slice(array.as_binary::<i32>().value(row)),
        SqlType::Uuid => out.put_slice(array.as_fixed_size_binary().value(row)),
        SqlType::Jsonb => {
            out.put_u8(1);
            out.put_slice(array.as_string::<i32>().value(row).as_bytes());
        }
        SqlType::Void => {}
        SqlType::Array(element) => encode_list(element, &array.as_list::<i32>().value(row), 1, out)?,
        SqlType::Int2Vector => encode_list(&SqlType::Int2, &array.as_list::<i32>().value(row), 0, out)?,
        SqlType::OidVector => encode_list(&SqlType::Oid, &array.as_list::<i32>().value(row), 0, out)?,
        ty if ty.is_oid_like() => out.put_u32(value::<Int64Type>(array, row) as u32),
        _ => {
            let mut text = String::new();
            formatter.write(array, row, &mut text);
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn value<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// A one-dimensional array whose first subscript is `lower`.
fn encode_list(ty: &SqlType, values: &ArrayRef, lower: i32, out: &mut BytesMut) -> Result<()> {
    if matches!(ty, SqlType::Array(_)) {
        return Err(
            Error::unsupported("the binary format of an array of arrays").with_hint("Ask for text format.")
        );
    }
    out.put_i32(i32::from(!values.is_empty()));
    out.put_i32(i32::from(values.null_count() > 0));
    out.put_u32(ty.oid());
    if values.is_empty() {
        return Ok(());
    }
    out.put_i32(values.len() as i32);
    out.put_i32(lower);
    // No element's binary form depends on the session's zone.
    let element = Formatter::new(ty, &FormatOptions::default());
    for row in 0..values.len() {
        encode_value(ty, values.as_ref(), row, &element, out)?;
    }
    Ok(())
}

/// Appends the length and the value; −1 alone for NULL.
pub fn encode_value(
    ty: &SqlType,
    array: &dyn Array,
    row: usize,
    text: &Formatter,
    out: &mut BytesMut,
) -> Result<()> {
    if array.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let at = out.len();
    out.put_i32(0);
    encode(ty, array, row, text, out)?;
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// From decimal text, `-12.50`: count of digits, weight of the first, sign, digits after the point, base-10000
/// digits (numeric_send in numeric.c).
fn encode_numeric(text: &str, out: &mut BytesMut) {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = whole.trim_start_matches('0');
    let groups_before = whole.len().div_ceil(4);
    let aligned = format!(
        "{whole:0>before$}{fraction:0<after$}",
        before = groups_before * 4,
        after = fraction.len().div_ceil(4) * 4
    );
    let digits: Vec<u16> =
        aligned.as_bytes().chunks(4).map(|g| g.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))).collect();
    let leading = digits.iter().take_while(|d| **d == 0).count();
    let trailing = digits[leading..].iter().rev().take_while(|d| **d == 0).count();
    let significant = &digits[leading..digits.len() - trailing];
    out.put_i16(significant.len() as i16);
    out.put_i16(if significant.is_empty() { 0 } else { groups_before as i16 - 1 - leading as i16 });
    out.put_u16(if significant.is_empty() { POSITIVE } else { sign });
    out.put_i16(fraction.len() as i16);
    significant.iter().for_each(|digit| out.put_u16(*digit));
}

/// One value of this type, as an array of one element.
pub fn decode(ty: &SqlType, bytes: &Bytes) -> Result<ArrayRef> {
    let mut b = &bytes[..];
    let array: ArrayRef = match ty {
        SqlType::Bool => Arc::new(BooleanArray::from(vec![fixed::<1>(b)?[0] != 0])),
        SqlType::Int2 => Arc::new(Int16Array::from(vec![i16::from_be_bytes(fixed(b)?)])),
        SqlType::Int4 => Arc::new(Int32Array::from(vec![i32::from_be_bytes(fixed(b)?)])),
        SqlType::Int8 => Arc::new(Int64Array::from(vec![i64::from_be_bytes(fixed(b)?)])),
        SqlType::Float4 => Arc::new(Float32Array::from(vec![f32::from_be_bytes(fixed(b)?)])),
        SqlType::Float8 => Arc::new(Float64Array::from(vec![f64::from_be_bytes(fixed(b)?)])),
        SqlType::Numeric(_) => parse_value(ty, &decode_numeric(b)?)?,
        SqlType::Date => {
            let days = i32::from_be_bytes(fixed(b)?).checked_add(EPOCH_DAYS).ok_or_else(|| beyond("date"))?;
            Arc::new(Date32Array::from(vec![days]))
        }
        SqlType::Time => Arc::new(Time64MicrosecondArray::from(vec![i64::from_be_bytes(fixed(b)?)])),
        SqlType::Timestamp => Arc::new(TimestampMicrosecondArray::from(vec![decode_timestamp(b)?])),
        SqlType::Timestamptz => {
            Arc::new(TimestampMicrosecondArray::from(vec![decode_timestamp(b)?]).with_timezone("UTC"))
        }
        SqlType::Interval => {
            fixed::<16>(b)?;
            let (micros, days, months) = (b.get_i64(), b.get_i32(), b.get_i32());
            let nanoseconds = micros.checked_mul(1_000).ok_or_else(|| beyond("interval"))?;
            Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano {
                months,
                days,
                nanoseconds,
            }]))
        }
        SqlType::Bytea => Arc::new(BinaryArray::from(vec![b])),
        SqlType::Uuid => {
            let uuid = std::iter::once(fixed::<16>(b)?);
            Arc::new(FixedSizeBinaryArray::try_from_iter(uuid).map_err(Error::internal)?)
        }
        SqlType::Jsonb => match b.split_first() {
            Some((1, text)) => parse_value(ty, utf8(text)?)?,
            _ => return Err(malformed("unsupported jsonb version number")),
        },
        SqlType::Array(element) => decode_list(element, bytes.clone())?,
        SqlType::Int2Vector => decode_list(&SqlType::Int2, bytes.clone())?,
        SqlType::OidVector => decode_list(&SqlType::Oid, bytes.clone())?,
        ty if ty.is_oid_like() => Arc::new(Int64Array::from(vec![i64::from(u32::from_be_bytes(fixed(b)?))])),
        SqlType::Text | SqlType::Unknown => Arc::new(StringArray::from(vec![text_of(b)?])),
        ty => parse_value(ty, text_of(b)?)?,
    };
    Ok(array)
}

/// Text without zero bytes, which PostgreSQL's text cannot hold.
pub fn text_of(bytes: &[u8]) -> Result<&str> {
    let text = utf8(bytes)?;
    if text.contains('\0') {
        return Err(Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
}

fn decode_timestamp(bytes: &[u8]) -> Result<i64> {
    i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_MICROS).ok_or_else(|| beyond("timestamp"))
}

fn decode_numeric(mut b: &[u8]) -> Result<String> {
    let wrong = || malformed("invalid numeric in external binary format");
    if b.len() < 8 {
        return Err(wrong());
    }
    let (count, weight, sign, scale) = (b.get_u16(), b.get_i16(), b.get_u16(), b.get_u16());
    if b.len() != usize::from(count) * 2 || scale > 0x3fff || weight.unsigned_abs() > 100 {
        return Err(wrong());
    }
    let digits: Vec<u16> = b.chunks_exact(2).map(|d| u16::from_be_bytes([d[0], d[1]])).collect();
    if digits.iter().any(|d| *d > 9_999) {
        return Err(wrong());
    }
    let mut text = match sign {
        POSITIVE => String::new(),
        NEGATIVE => "-".to_string(),
        0xC000 => return Ok("NaN".to_string()),
        0xD000 => return Ok("Infinity".to_string()),
        0xF000 => return Ok("-Infinity".to_string()),
        _ => return Err(wrong()),
    };
    let group = |position: i32| {
        let index = i32::from(weight) - position;
        let digit = usize::try_from(index).ok().and_then(|i| digits.get(i)).copied().unwrap_or(0);
        format!("{digit:04}")
    };
    let whole: String = (0..=i32::from(weight).max(0)).rev().map(group).collect();
    text.push_str(&whole);
    if scale > 0 {
        let groups = i32::from(scale).div_euclid(4) + 1;
        let fraction: String = (1..=groups).map(|i| group(-i)).collect();
        text.push('.');
        text.push_str(&fraction[..usize::from(scale)]);
    }
    Ok(text)
}

fn decode_list(element: &SqlType, bytes: Bytes) -> Result<ArrayRef> {
    let mut body = Body(bytes);
    let short = |_| malformed("insufficient data left in array");
    let dimensions = body.u32().map_err(short)?;
    let _has_nulls = body.u32().map_err(short)?;
    let oid = body.u32().map_err(short)?;
    if oid != element.oid() {
        return Err(malformed(&format!(
            "binary data has array element type {oid} instead of expected {}",
            element.oid()
        )));
    }
    let values = match dimensions {
        0 => new_empty_array(&element.arrow()),
        1 => {
            let count = body.u32().map_err(short)? as usize;
            let _lower_bound = body.u32().map_err(short)?;
            if body.0.len() / 4 < count {
                return Err(malformed("insufficient data left in array"));
            }
            let rows = (0..count).map(|_| decode_element(element, &mut body)).collect::<Result<Vec<_>>>()?;
            concat(&rows, &element.arrow())?
        }
        _ => {
            return Err(
                Error::unsupported("the binary format of an array of arrays").with_hint("Send text format.")
            );
        }
    };
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let field = Arc::new(Field::new_list_field(element.arrow(), true));
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None).map_err(Error::internal)?))
}

fn decode_element(element: &SqlType, body: &mut Body) -> Result<ArrayRef> {
    match body.value().map_err(|_| malformed("insufficient data left in array"))? {
        None => Ok(new_null_array(&element.arrow(), 1)),
        Some(bytes) => decode(element, &bytes),
    }
}

fn concat(rows: &[ArrayRef], ty: &DataType) -> Result<ArrayRef> {
    if rows.is_empty() {
        return Ok(new_empty_array(ty));
    }
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&rows).map_err(Error::internal)
}

/// Exactly N bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed("incorrect binary data format"))
}

fn malformed(message: &str) -> Error {
    Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

fn beyond(type_name: &str) -> Error {
    Error::new(SqlState("22008"), format!("{type_name} out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::types::NumericType;

    fn round_trip(ty: SqlType, text: &str) -> (Vec<u8>, String) {
        let formatter = Formatter::new(&ty, &FormatOptions::default());
        let array = parse_value(&ty, text).unwrap();
        let mut out = BytesMut::new();
        encode(&ty, array.as_ref(), 0, &formatter, &mut out).unwrap();
        let bytes = out.freeze();
        let back = decode(&ty, &bytes).unwrap();
        (bytes.to_vec(), formatter.format(back.as_ref(), 0).unwrap())
    }

    #[test]
    fn every_type_comes_back() {
        let numeric = SqlType::Numeric(NumericType::fixed(20, 5));
        let array = |element: SqlType| SqlType::Array(Box::new(element));
        for (ty, text) in [
            (SqlType::Bool, "t"),
            (SqlType::Int2, "-7"),
            (SqlType::Int4, "123456"),
            (SqlType::Int8, "-9223372036854775808"),
            (SqlType::Float4, "1.5"),
            (SqlType::Float8, "1e+20"),
            (numeric.clone(), "-12345.60000"),
            (numeric.clone(), "0.00001"),
            (numeric.clone(), "0.00000"),
            (numeric, "100000000.00000"),
            (SqlType::Text, "naïve"),
            (SqlType::Varchar(Some(9)), "abc"),
            (SqlType::Date, "1999-12-31"),
            (SqlType::Time, "12:34:56.789"),
            (SqlType::Timestamp, "2024-01-01 00:00:00.5"),
            (SqlType::Timestamptz, "1969-07-20 20:17:40+00"),
            (SqlType::Interval, "1 year 2 mons 3 days 04:05:06.5"),
            (SqlType::Bytea, "\\xdeadbeef"),
            (SqlType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (SqlType::Jsonb, "{\"a\": [1, null]}"),
            (SqlType::Oid, "4294967295"),
            (array(SqlType::Int4), "{1,NULL,3}"),
            (array(SqlType::Text), "{}"),
            (array(SqlType::Text), "{a,\"b c\",NULL}"),
        ] {
            assert_eq!(round_trip(ty.clone(), text).1, text, "{ty}");
        }
    }

    #[test]
    fn known_encodings() {
        assert_eq!(round_trip(SqlType::Date, "2000-01-02").0, [0, 0, 0, 1]);
        assert_eq!(round_trip(SqlType::Timestamp, "2000-01-01 00:00:00.000002").0, [0, 0, 0, 0, 0, 0, 0, 2]);
        // 1.5: two digits, weight 0, positive, scale 2, digits 1 and 5000.
        let numeric = SqlType::Numeric(NumericType::fixed(5, 2));
        assert_eq!(round_trip(numeric, "1.50").0, [0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88]);
    }

    #[test]
    fn wrong_lengths_are_22p03() {
        let array = SqlType::Array(Box::new(SqlType::Int4));
        for (ty, bytes) in [
            (SqlType::Int4, &b"\0"[..]),
            (SqlType::Uuid, b"short"),
            (SqlType::Interval, b""),
            (SqlType::Numeric(NumericType::UNCONSTRAINED), b"\0\x09\0\0\0\0\0\0"),
            (SqlType::Numeric(NumericType::UNCONSTRAINED), b"\0\0\x7f\xff\0\0\0\0"),
            (SqlType::Jsonb, b"\x02{}"),
            (array.clone(), b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01"),
            (array, b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\0\0\0\0\x01"),
        ] {
            let error = decode(&ty, &Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error.state(), SqlState::INVALID_BINARY_REPRESENTATION, "{ty}: {error}");
        }
    }
}
