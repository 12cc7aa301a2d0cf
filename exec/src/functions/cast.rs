//! Casts between types: which way a cast is done, and the checked conversions themselves.
//!
//! A cast that can fail or changes representation is a UDF named after its types (`float8_to_int4`,
//! `text_to_varchar(3)`; `assign_…` where storing must not truncate), made on demand by [`by_name`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StringBuilder};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::logical_expr::ScalarUDF;
use parking_lot::Mutex;
use weir_common::text::{
    FormatOptions, Formatter, civil, json, numeric as decimal, parse_array, too_long, truncate_name,
};
use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::{ArrowResult, Call, Eval, PgFunction};
use super::coerce::can_cast;
use super::{CastContext, CastKind, type_code};

/// How to cast, or `None` when PostgreSQL has no such cast in this context (42846 or 42804 to the user).
pub fn resolve_cast(from: &SqlType, to: &SqlType, context: CastContext) -> Result<Option<CastKind>> {
    if from == to {
        return Ok(Some(CastKind::NoOp));
    }
    if !can_cast(from, to, context) {
        return Ok(None);
    }
    if is_relabel(from, to) {
        return Ok(Some(CastKind::NoOp));
    }
    if is_lossless(from, to) {
        return Ok(Some(CastKind::Arrow));
    }
    let checked = context == CastContext::Assignment && limited(to);
    let name = cast_name(from, to, checked);
    match by_name(&name) {
        Some(udf) => Ok(Some(CastKind::Udf(udf))),
        None => Err(Error::unsupported(format!("a cast from {from} to {to}"))),
    }
}

/// A UDF that gives back its argument of this type.
pub(crate) fn identity(ty: &SqlType) -> Arc<ScalarUDF> {
    by_name(&cast_name(ty, ty, false)).expect("every type casts to itself")
}

fn cast_name(from: &SqlType, to: &SqlType, checked: bool) -> String {
    let prefix = if checked { "assign_" } else { "" };
    format!("{prefix}{}_to_{}", type_code::write(from), type_code::write(to))
}

/// Types whose length limit truncates in an explicit cast and fails in an assignment.
fn limited(ty: &SqlType) -> bool {
    match ty {
        SqlType::Varchar(limit) | SqlType::Bpchar(limit) => limit.is_some(),
        SqlType::Array(element) => limited(element),
        _ => false,
    }
}

/// Same representation, and every value of one is a value of the other.
fn is_relabel(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    match (from, to) {
        (from, to) if from.is_oid_like() && to.is_oid_like() => true,
        (Oid, Int8) => true,
        (from, Int8) if from.is_oid_like() => true,
        (
            Text | Varchar(_) | Bpchar(_) | Name | Char | Unknown | Json | Jsonb,
            Text | Varchar(None) | Unknown,
        ) => true,
        (Varchar(Some(from)), Varchar(Some(to))) => from <= to,
        (Bpchar(Some(_)), Bpchar(None)) | (Jsonb, Json) => true,
        (Bpchar(Some(from)), Bpchar(Some(to))) => from <= to,
        (Numeric(from), Numeric(to)) => from.scale == to.scale && from.precision <= to.precision,
        (Array(from), Array(to)) => from == to || is_relabel(from, to),
        (Int2Vector, Array(element)) => **element == Int2,
        (OidVector, Array(element)) => **element == Oid || **element == Int8,
        _ => false,
    }
}

fn is_lossless(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    matches!(
        (from, to),
        (Int2, Int4 | Int8 | Float4 | Float8)
            | (Int4, Int8 | Float4 | Float8)
            | (Int8, Float4 | Float8)
            | (Float4, Float8)
    )
}

static MADE: LazyLock<Mutex<HashMap<String, Arc<ScalarUDF>>>> = LazyLock::new(Mutex::default);

/// The cast of this name.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    if let Some(made) = MADE.lock().get(name) {
        return Some(made.clone());
    }
    let (checked, types) = match name.strip_prefix("assign_") {
        Some(types) => (true, types),
        None => (false, name),
    };
    let (from, to) = types.split_once("_to_")?;
    let (from, to) = (type_code::parse(from)?, type_code::parse(to)?);
    let eval = conversion(&from, &to, checked)?;
    let function = PgFunction::new(name.to_owned(), ArrowResult::Fixed(to.arrow()), false, eval);
    let udf = Arc::new(ScalarUDF::new_from_impl(function));
    MADE.lock().insert(name.to_owned(), udf.clone());
    Some(udf)
}

fn eval(f: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static) -> Option<Eval> {
    Some(Arc::new(f))
}

/// The function that converts `from` to `to`.
fn conversion(from: &SqlType, to: &SqlType, checked: bool) -> Option<Eval> {
    if from == to {
        return eval(|call| Ok(call.array(0).0.clone()));
    }
    if let (SqlType::Array(from), SqlType::Array(to)) = (from, to) {
        return element_wise(from, to, checked);
    }
    if *from == SqlType::Unknown {
        return parsing(to);
    }
    numeric_conversion(from, to)
        .or_else(|| datetime_conversion(from, to))
        .or_else(|| other_conversion(from, to))
        .or_else(|| if to.is_string() { to_string(from, to, checked) } else { None })
        .or_else(|| if from.is_string() { parsing(to) } else { None })
}

fn element_wise(from: &SqlType, to: &SqlType, checked: bool) -> Option<Eval> {
    let convert = conversion(from, to, checked).or_else(|| arrow_cast(from, to))?;
    let field = match SqlType::Array(Box::new(to.clone())).arrow() {
        arrow::datatypes::DataType::List(field) => field,
        _ => return None,
    };
    eval(move |call| {
        let list = call.list(0).array;
        let values = Call::evaluate(&convert, list.values(), field.data_type())?;
        Ok(Arc::new(ListArray::new(field.clone(), list.offsets().clone(), values, list.nulls().cloned())))
    })
}

/// For lossless element types, which have no UDF of their own.
fn arrow_cast(from: &SqlType, to: &SqlType) -> Option<Eval> {
    let target = to.arrow();
    is_lossless(from, to).then(|| -> Eval {
        Arc::new(move |call: &Call<'_>| {
            arrow::compute::cast(call.array(0).0, &target).map_err(crate::error::from_arrow)
        })
    })
}

fn parsing(to: &SqlType) -> Option<Eval> {
    let to = to.clone();
    eval(move |call| parse_array(&to, call.text(0).array))
}

/// Through the output function; then the target's length limit.
fn to_string(from: &SqlType, to: &SqlType, checked: bool) -> Option<Eval> {
    let (to, from) = (to.clone(), from.clone());
    let formatter = match &from {
        // Blanks that pad char(n) vanish in a cast.
        SqlType::Bpchar(_) => Formatter::new(&SqlType::Text, &FormatOptions::default()),
        from => Formatter::new(from, &FormatOptions::default()),
    };
    eval(move |call| {
        let array = call.array(0).0;
        let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
        let mut value = String::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                builder.append_null();
                continue;
            }
            value.clear();
            match &from {
                SqlType::Bool => value.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
                _ => formatter.write(array, row, &mut value),
            }
            builder.append_value(fit(&value, &to, checked)?);
        }
        Ok(Arc::new(builder.finish()))
    })
}

/// The text as a value of this string type.
fn fit<'a>(text: &'a str, to: &SqlType, checked: bool) -> Result<&'a str> {
    let limit = match to {
        SqlType::Name => return Ok(truncate_name(text)),
        SqlType::Char => 1,
        SqlType::Bpchar(None) => return Ok(text.trim_end_matches(' ')),
        SqlType::Varchar(Some(limit)) | SqlType::Bpchar(Some(limit)) => *limit as usize,
        _ => return Ok(text),
    };
    let end = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
    if checked && !text[end..].bytes().all(|b| b == b' ') {
        return Err(too_long(to));
    }
    let kept = &text[..end];
    Ok(if matches!(to, SqlType::Bpchar(_)) { kept.trim_end_matches(' ') } else { kept })
}

/// An integer of a wider type into a narrower one.
macro_rules! narrow {
    ($call:ident, $from:ty => $to:ty, $name:literal) => {{
        let values = $call.prim::<$from>(0);
        $call.build::<$to>(|row| values.at(row).try_into().map_err(|_| Error::out_of_range($name)))
    }};
}

fn numeric_conversion(from: &SqlType, to: &SqlType) -> Option<Eval> {
    use SqlType::*;
    match (from, to) {
        (Int4, Int2) => eval(|call| narrow!(call, Int32Type => Int16Type, "smallint")),
        (Int8, Int2) => eval(|call| narrow!(call, Int64Type => Int16Type, "smallint")),
        (Int8, Int4) => eval(|call| narrow!(call, Int64Type => Int32Type, "integer")),
        (from, Int4) if from.is_oid_like() => eval(|call| {
            let values = call.int8(0);
            call.build::<Int32Type>(|row| Ok(values.at(row) as u32 as i32))
        }),
        (Int2, to) if to.is_oid_like() => eval(|call| {
            let values = call.int2(0);
            call.build::<Int64Type>(|row| Ok(i64::from(i32::from(values.at(row)) as u32)))
        }),
        (Int4, to) if to.is_oid_like() => eval(|call| {
            let values = call.int4(0);
            call.build::<Int64Type>(|row| Ok(i64::from(values.at(row) as u32)))
        }),
        (Int8, to) if to.is_oid_like() => eval(|call| {
            let values = call.int8(0);
            call.build::<Int64Type>(|row| {
                u32::try_from(values.at(row)).map(i64::from).map_err(|_| Error::out_of_range("OID"))
            })
        }),
        (Float4 | Float8, _) => from_float(*from == Float4, to),
        (Numeric(from), _) => from_numeric(*from, to),
        (Int2, Numeric(to)) => int_to_numeric::<Int16Type>(*to),
        (Int4, Numeric(to)) => int_to_numeric::<Int32Type>(*to),
        (Int8, Numeric(to)) => int_to_numeric::<Int64Type>(*to),
        _ => None,
    }
}

fn int_to_numeric<T>(to: NumericType) -> Option<Eval>
where
    T: arrow::datatypes::ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    let unit = decimal::power_of_ten(to.scale.max(0) as u32);
    let limit = decimal::power_of_ten(u32::from(to.precision.min(38)));
    // A bigint has at most 19 digits.
    let always_fits = i32::from(to.precision) - i32::from(to.scale) >= 19;
    eval(move |call| {
        let values = call.prim::<T>(0);
        if always_fits {
            let scaled = values.array.values().iter().map(|value| (*value).into() * unit).collect();
            return Ok(call.finish::<Decimal128Type>(scaled, values.array.nulls().cloned()));
        }
        call.build_numeric(|row| {
            let value: i128 = values.at(row).into();
            let scaled = value.checked_mul(unit).filter(|scaled| scaled.abs() < limit);
            scaled.ok_or_else(|| decimal::overflow(&to))
        })
    })
}

fn from_float(single: bool, to: &SqlType) -> Option<Eval> {
    let read = move |call: &Call<'_>, row: usize| {
        if single { f64::from(call.float4(0).at(row)) } else { call.float8(0).at(row) }
    };
    let integer = move |value: f64, name: &str, low: f64, high: f64| {
        let rounded = value.round_ties_even();
        if rounded >= low && rounded < high { Ok(rounded) } else { Err(Error::out_of_range(name)) }
    };
    match to.clone() {
        SqlType::Int2 => eval(move |call| {
            call.build::<Int16Type>(|row| {
                integer(read(call, row), "smallint", -32768.0, 32768.0).map(|v| v as i16)
            })
        }),
        SqlType::Int4 => eval(move |call| {
            call.build::<Int32Type>(|row| {
                integer(read(call, row), "integer", -2_147_483_648.0, 2_147_483_648.0).map(|v| v as i32)
            })
        }),
        SqlType::Int8 => eval(move |call| {
            let bound = 9_223_372_036_854_775_808.0;
            call.build::<Int64Type>(|row| integer(read(call, row), "bigint", -bound, bound).map(|v| v as i64))
        }),
        SqlType::Float4 => eval(move |call| {
            call.build::<Float32Type>(|row| {
                let value = read(call, row);
                let narrow = value as f32;
                match () {
                    () if narrow.is_infinite() && value.is_finite() => Err(float_error("overflow")),
                    () if narrow == 0.0 && value != 0.0 => Err(float_error("underflow")),
                    () => Ok(narrow),
                }
            })
        }),
        SqlType::Numeric(to) => eval(move |call| {
            call.build_numeric(|row| float_to_numeric(read(call, row), if single { 6 } else { 15 }, &to))
        }),
        _ => None,
    }
}

fn float_error(what: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}"))
}

/// A float as numeric, by way of its 15 (6 for real) significant digits, as `float8_numeric` does.
pub(crate) fn float_to_numeric(value: f64, digits: usize, to: &NumericType) -> Result<i128> {
    if !value.is_finite() {
        let shown = if value.is_nan() { "NaN" } else { "infinity" };
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("cannot convert {shown} to numeric"),
        ));
    }
    decimal::parse(&format!("{value:.*e}", digits - 1), to)
}

fn from_numeric(from: NumericType, to: &SqlType) -> Option<Eval> {
    let scale = from.scale;
    let whole = move |value: i128| decimal::rescale(value, scale, 0).unwrap_or(value);
    match to {
        SqlType::Numeric(to) => {
            let to = *to;
            eval(move |call| {
                let values = call.numeric(0);
                call.build_numeric(|row| {
                    let value = decimal::rescale(values.at(row), scale, to.scale)
                        .ok_or_else(|| decimal::overflow(&to))?;
                    decimal::check_precision(value, &to)?;
                    Ok(value)
                })
            })
        }
        SqlType::Int2 => eval(move |call| {
            let values = call.numeric(0);
            call.build::<Int16Type>(|row| {
                whole(values.at(row)).try_into().map_err(|_| Error::out_of_range("smallint"))
            })
        }),
        SqlType::Int4 => eval(move |call| {
            let values = call.numeric(0);
            call.build::<Int32Type>(|row| {
                whole(values.at(row)).try_into().map_err(|_| Error::out_of_range("integer"))
            })
        }),
        SqlType::Int8 => eval(move |call| {
            let values = call.numeric(0);
            call.build::<Int64Type>(|row| {
                whole(values.at(row)).try_into().map_err(|_| Error::out_of_range("bigint"))
            })
        }),
        SqlType::Float8 => eval(move |call| {
            let values = call.numeric(0);
            call.build::<Float64Type>(|row| Ok(numeric_to_float(values.at(row), scale)))
        }),
        SqlType::Float4 => eval(move |call| {
            let values = call.numeric(0);
            call.build::<Float32Type>(|row| Ok(numeric_to_float(values.at(row), scale) as f32))
        }),
        _ => None,
    }
}

/// The float nearest to a numeric.
pub(crate) fn numeric_to_float(value: i128, scale: i8) -> f64 {
    const EXACT: i128 = 1 << 53;
    if value.abs() <= EXACT && (0..=22).contains(&scale) {
        // Both operands are exact, so one division rounds correctly.
        return value as f64 / 10f64.powi(i32::from(scale));
    }
    let mut text = String::new();
    decimal::write(value, &NumericType { precision: 38, scale, display: NumericDisplay::Fixed }, &mut text);
    text.parse().unwrap_or(f64::NAN)
}

fn datetime_conversion(from: &SqlType, to: &SqlType) -> Option<Eval> {
    use SqlType::*;
    match (from, to) {
        (Date, Timestamp | Timestamptz) => eval(|call| {
            let days = call.date(0);
            call.build::<TimestampMicrosecondType>(|row| date_to_timestamp(days.at(row)))
        }),
        (Timestamp, Timestamptz) | (Timestamptz, Timestamp) => eval(|call| {
            let values = call.timestamp(0);
            Ok(call.finish::<TimestampMicrosecondType>(
                values.array.values().to_vec(),
                values.array.nulls().cloned(),
            ))
        }),
        (Timestamp | Timestamptz, Date) => eval(|call| {
            let values = call.timestamp(0);
            call.build::<Date32Type>(|row| {
                Ok(match values.at(row) {
                    i64::MAX => i32::MAX,
                    i64::MIN => i32::MIN,
                    micros => civil::split_day(micros).0 as i32,
                })
            })
        }),
        (Timestamp | Timestamptz, Time) => eval(|call| {
            let values = call.timestamp(0);
            call.build_option::<Time64MicrosecondType>(|row| {
                let micros = values.at(row);
                Ok(civil::is_finite(micros).then(|| civil::split_day(micros).1))
            })
        }),
        (Time, Interval) => eval(|call| {
            let values = call.time(0);
            call.build::<IntervalMonthDayNanoType>(|row| {
                weir_common::text::interval::from_parts(0, 0, values.at(row))
            })
        }),
        (Interval, Time) => eval(|call| {
            let values = call.interval(0);
            call.build::<Time64MicrosecondType>(|row| {
                Ok((values.at(row).nanoseconds / 1000).rem_euclid(civil::DAY))
            })
        }),
        _ => None,
    }
}

/// Midnight of a date.
pub(crate) fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => i64::from(days)
            .checked_mul(civil::DAY)
            .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
    }
}

fn other_conversion(from: &SqlType, to: &SqlType) -> Option<Eval> {
    use SqlType::*;
    match (from, to) {
        (Bool, Int4) => eval(|call| {
            let values = call.bool(0);
            call.build::<Int32Type>(|row| Ok(i32::from(values.at(row))))
        }),
        (Int4, Bool) => eval(|call| {
            let values = call.int4(0);
            call.build_bool(|row| Ok(values.at(row) != 0))
        }),
        (Char, Int4) => eval(|call| {
            let values = call.text(0);
            call.build::<Int32Type>(|row| Ok(values.at(row).bytes().next().map_or(0, i32::from)))
        }),
        (Int4, Char) => eval(|call| {
            let values = call.int4(0);
            call.build_text(|row, out| {
                let code = u8::try_from(values.at(row)).map_err(|_| Error::out_of_range("\"char\""))?;
                out.push(char::from(code));
                Ok(())
            })
        }),
        (Jsonb, Bool) => eval(|call| {
            let values = call.text(0);
            call.build_bool(|row| match json::parse(values.at(row))? {
                json::Json::Bool(value) => Ok(value),
                other => Err(json_type_error(&other, "boolean")),
            })
        }),
        (Jsonb, to) if to.is_numeric() => jsonb_to_number(to),
        (Json, Jsonb) => parsing(to),
        _ => None,
    }
}

fn jsonb_to_number(to: &SqlType) -> Option<Eval> {
    let (exact, target) = (SqlType::Numeric(NumericType::UNCONSTRAINED), to.clone());
    let convert = conversion(&exact, to, false);
    eval(move |call| {
        let values = call.text(0);
        let mut digits: Vec<Option<String>> = Vec::with_capacity(values.array.len());
        for value in values.array {
            digits.push(match value.map(json::parse).transpose()? {
                None => None,
                Some(json::Json::Number(number)) => Some(number),
                Some(other) => return Err(json_type_error(&other, &target.name())),
            });
        }
        let numbers = parse_array(&exact, &StringArray::from(digits))?;
        match &convert {
            Some(convert) => Call::evaluate(convert, &numbers, call.result),
            None => Ok(numbers),
        }
    })
}

fn json_type_error(value: &json::Json, ty: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("cannot cast jsonb {} to type {ty}", value.type_name()),
    )
}
