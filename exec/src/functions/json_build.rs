//! JSON from values of any type: to_jsonb, json[b]_build_object, json[b]_build_array (json.c, jsonb.c).
//!
//! The builders take JSON texts; they are called through the variants of [`super::any_text`], which write each
//! argument as JSON by its type first.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use weir_common::text::json::{Json, parse, write_string};
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::registry::{Param, Returns, Table};

/// Functions whose arguments become JSON before they are called.
pub(crate) const BUILDERS: [&str; 4] =
    ["json_build_object", "jsonb_build_object", "json_build_array", "jsonb_build_array"];

pub(crate) fn register(t: &mut Table) {
    use SqlType::*;
    let types = [
        Int2,
        Int4,
        Int8,
        super::registry::NUMERIC,
        Float4,
        Float8,
        Bool,
        Jsonb,
        Json,
        Text,
        Date,
        Time,
        Timestamp,
        Timestamptz,
        Interval,
        Uuid,
        Bytea,
    ];
    for ty in types {
        let name = format!("to_jsonb_{}", ty.catalog_name());
        t.add("to_jsonb", &name, std::slice::from_ref(&ty), Jsonb, {
            let ty = ty.clone();
            move |call| to_json(call, &ty)
        });
    }
    for name in BUILDERS {
        let binary = name.starts_with("jsonb");
        let result = Returns::Is(if binary { Jsonb } else { Json });
        let build = if name.ends_with("object") { build_object } else { build_array };
        let overload = t.generic(name, name, &[Param::Any], result, move |call| build(call, binary));
        (overload.variadic, overload.strict, overload.all_text) = (true, false, true);
    }
}

/// The numeric type of a column: the function sees its scale, all digits are printed.
fn seen_type(data: &DataType, ty: &SqlType) -> SqlType {
    match (data, ty) {
        (DataType::Decimal128(_, scale), SqlType::Numeric(_)) => {
            SqlType::Numeric(weir_common::types::NumericType::fixed(38, *scale))
        }
        _ => ty.clone(),
    }
}

fn to_json(call: &Call<'_>, ty: &SqlType) -> Result<ArrayRef> {
    let (array, _) = call.array(0);
    let writer = JsonWriter::new(&seen_type(array.data_type(), ty));
    call.build_text(|row, out| {
        writer.write(array, call.any(0).index(row), out);
        Ok(())
    })
}

/// Writes values of one type as JSON.
pub(crate) struct JsonWriter {
    ty: SqlType,
    formatter: Formatter,
    /// Of an array's elements.
    element: Option<Box<JsonWriter>>,
}

impl JsonWriter {
    pub(crate) fn new(ty: &SqlType) -> JsonWriter {
        let element = match ty {
            SqlType::Array(element) => Some(Box::new(JsonWriter::new(element))),
            _ => None,
        };
        JsonWriter { ty: ty.clone(), formatter: Formatter::new(ty, &FormatOptions::default()), element }
    }

    /// Writes the value in a row; what has no JSON form of its own becomes a string of its text.
    pub(crate) fn write(&self, array: &dyn Array, row: usize, out: &mut String) {
        if array.is_null(row) {
            out.push_str("null");
            return;
        }
        if let (Some(element), Some(list)) = (&self.element, array.as_list_opt::<i32>()) {
            let values = list.value(row);
            out.push('[');
            for i in 0..values.len() {
                out.push_str(if i > 0 { "," } else { "" });
                element.write(&values, i, out);
            }
            out.push(']');
            return;
        }
        let mut text = String::new();
        self.formatter.write(array, row, &mut text);
        match self.ty {
            SqlType::Bool => out.push_str(if text == "t" { "true" } else { "false" }),
            SqlType::Json | SqlType::Jsonb => out.push_str(&text),
            // NaN and infinity have no JSON form but a string.
            SqlType::Int2
            | SqlType::Int4
            | SqlType::Int8
            | SqlType::Numeric(_)
            | SqlType::Float4
            | SqlType::Float8
                if text.ends_with(|c: char| c.is_ascii_digit()) =>
            {
                // An exponent and leading zeros as jsonb has them.
                match parse(&text) {
                    Ok(number) => number.write(out),
                    Err(_) => out.push_str(&text),
                }
            }
            SqlType::Timestamp | SqlType::Timestamptz => write_string(&iso_8601(&text), out),
            _ => write_string(&text, out),
        }
    }
}

/// `2024-01-01 00:00:00+00` as JSON has it: `2024-01-01T00:00:00+00:00`.
fn iso_8601(text: &str) -> String {
    let mut iso = text.replacen(' ', "T", 1);
    let zone = iso.rfind(['+', '-']).filter(|at| *at > 10);
    if zone.is_some_and(|at| iso.len() - at == 3) {
        iso.push_str(":00");
    }
    iso
}

fn build_object(call: &Call<'_>, binary: bool) -> Result<ArrayRef> {
    if call.len() % 2 == 1 {
        let message = "argument list must have even number of elements";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let parts: Vec<_> = (0..call.len()).map(|i| call.text(i)).collect();
    call.build_text(|row, out| {
        let mut members = Vec::with_capacity(parts.len() / 2);
        for (i, pair) in parts.chunks_exact(2).enumerate() {
            members.push((key(pair[0].at(row), 2 * i + 1)?, pair[1].at(row)));
        }
        if binary {
            let members = members.into_iter().map(|(key, value)| Ok((key, parse(value)?)));
            Json::object(members.collect::<Result<_>>()?).write(out);
            return Ok(());
        }
        out.push('{');
        for (i, (key, value)) in members.iter().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            write_string(key, out);
            out.push_str(" : ");
            out.push_str(value);
        }
        out.push('}');
        Ok(())
    })
}

/// A key's text: that of a string, or of any other scalar.
fn key(json: &str, argument: usize) -> Result<String> {
    match parse(json)? {
        Json::Null => {
            let message = format!("argument {argument} cannot be null");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Object keys should be text."))
        }
        Json::Array(_) | Json::Object(_) => {
            let message = "key value must be scalar, not array, composite, or json";
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
        scalar => {
            let mut text = String::new();
            scalar.write_unquoted(&mut text);
            Ok(text)
        }
    }
}

fn build_array(call: &Call<'_>, binary: bool) -> Result<ArrayRef> {
    let parts: Vec<_> = (0..call.len()).map(|i| call.text(i)).collect();
    call.build_text(|row, out| {
        if binary {
            let elements = parts.iter().map(|part| parse(part.at(row))).collect::<Result<_>>()?;
            Json::Array(elements).write(out);
            return Ok(());
        }
        out.push('[');
        for (i, part) in parts.iter().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            out.push_str(part.at(row));
        }
        out.push(']');
        Ok(())
    })
}
