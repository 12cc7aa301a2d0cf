//! bytea: length, concatenation, encode and decode, hashes.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use weir_common::text::bytes::{parse_bytea, write_hex};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::{Call, from_df};
use super::registry::Table;
use crate::error::from_arrow;

const B: SqlType = SqlType::Bytea;
const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    for (sql, udf) in [("length", "bytea_length"), ("octet_length", "byteaoctetlen")] {
        t.add(sql, udf, &[B], SqlType::Int4, |call| {
            let bytes = call.bytes(0);
            call.build::<Int32Type>(|row| Ok(bytes.at(row).len() as i32))
        });
    }
    t.add("||", "byteacat", &[B, B], B, |call| {
        let (a, b) = (call.bytes(0), call.bytes(1));
        call.build_bytes(|row| Ok([a.at(row), b.at(row)].concat()))
    });
    t.add("substring", "bytea_substr", &[B, SqlType::Int4, SqlType::Int4], B, |call| {
        let (bytes, start, count) = (call.bytes(0), call.int4(1), call.int4(2));
        call.build_bytes(|row| {
            let (from, count) = (i64::from(start.at(row)) - 1, i64::from(count.at(row)));
            if count < 0 {
                return Err(Error::new(SqlState("22011"), "negative substring length not allowed"));
            }
            let length = bytes.at(row).len() as i64;
            let (from, to) = (from.clamp(0, length), (from + count).clamp(0, length));
            Ok(bytes.at(row)[from as usize..to.max(from) as usize].to_vec())
        })
    });
    t.one("encode", &[B, T], T, |call| {
        let (bytes, format) = (call.bytes(0), call.text(1));
        call.build_text(|row, out| encode(bytes.at(row), format.at(row), out))
    });
    t.one("decode", &[T, T], B, |call| {
        let (text, format) = (call.text(0), call.text(1));
        call.build_bytes(|row| decode(text.at(row), format.at(row)))
    });
    t.add("md5", "md5_text", &[T], T, |call| delegate(&datafusion::functions::crypto::md5(), call));
    t.add("md5", "md5_bytea", &[B], T, |call| delegate(&datafusion::functions::crypto::md5(), call));
    t.add("sha256", "sha256_bytea", &[B], B, |call| delegate(&datafusion::functions::crypto::sha256(), call));
    t.add("sha512", "sha512_bytea", &[B], B, |call| delegate(&datafusion::functions::crypto::sha512(), call));
    t.add("convert_to", "pg_convert_to", &[T, T], B, |call| {
        let (text, encoding) = (call.text(0), call.text(1));
        call.build_bytes(|row| only_utf8(encoding.at(row)).map(|()| text.at(row).as_bytes().to_vec()))
    });
    t.add("convert_from", "pg_convert_from", &[B, T], T, |call| {
        let (bytes, encoding) = (call.bytes(0), call.text(1));
        call.build_text(|row, out| {
            only_utf8(encoding.at(row))?;
            out.push_str(std::str::from_utf8(bytes.at(row)).map_err(|_| {
                Error::new(
                    SqlState::CHARACTER_NOT_IN_REPERTOIRE,
                    "invalid byte sequence for encoding \"UTF8\"",
                )
            })?);
            Ok(())
        })
    });
}

fn only_utf8(encoding: &str) -> Result<()> {
    if encoding.eq_ignore_ascii_case("utf8") || encoding.eq_ignore_ascii_case("utf-8") {
        return Ok(());
    }
    Err(Error::unsupported(format!("the encoding \"{encoding}\"")).with_hint("Use UTF8."))
}

/// Calls DataFusion's function with the same arguments and brings its result to the type promised.
fn delegate(udf: &Arc<ScalarUDF>, call: &Call<'_>) -> Result<ArrayRef> {
    let (array, constant) = call.array(0);
    let rows = if constant { 1 } else { call.rows };
    let arg = Arc::new(Field::new("a", array.data_type().clone(), true));
    let result = from_df(udf.return_type(&[array.data_type().clone()]))?;
    let value = from_df(udf.invoke_with_args(ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(array.clone())],
        arg_fields: vec![arg],
        number_rows: rows,
        return_field: Arc::new(Field::new("r", result, true)),
        config_options: Arc::default(),
    }))?;
    let value = from_df(value.to_array(rows))?;
    let target: &DataType = call.result;
    arrow::compute::cast(&value, target).map_err(from_arrow)
}

fn encode(bytes: &[u8], format: &str, out: &mut String) -> Result<()> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => write_hex(bytes, out),
        "base64" => write_base64(bytes, out),
        "escape" => {
            for byte in bytes {
                match byte {
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    b'\\' => out.push_str("\\\\"),
                    byte => out.push(char::from(*byte)),
                }
            }
        }
        _ => return Err(unknown_encoding(format)),
    }
    Ok(())
}

fn decode(text: &str, format: &str) -> Result<Vec<u8>> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => parse_bytea(&format!("\\x{text}")),
        "base64" => read_base64(text),
        "escape" => parse_bytea(text),
        _ => Err(unknown_encoding(format)),
    }
}

fn unknown_encoding(format: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{format}\""))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 2045: a line break after every 76 characters.
fn write_base64(bytes: &[u8], out: &mut String) {
    for (i, chunk) in bytes.chunks(3).enumerate() {
        if i > 0 && i % 19 == 0 {
            out.push('\n');
        }
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                out.push(char::from(BASE64[(word >> (18 - 6 * position)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
}

fn read_base64(text: &str) -> Result<Vec<u8>> {
    let invalid = |what: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, what);
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0u32, 0);
    let symbols: Vec<char> = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if !symbols.len().is_multiple_of(4) {
        return Err(invalid("invalid base64 end sequence".into()));
    }
    for c in symbols.into_iter().filter(|c| *c != '=') {
        let digit = BASE64.iter().position(|symbol| char::from(*symbol) == c);
        let digit = digit
            .ok_or_else(|| invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence")))?;
        word = word << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Ok(bytes)
}
