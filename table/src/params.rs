//! Parameter values: from what a client sent to the literals that stand in a plan.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use weir_common::text::{self, FormatOptions};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::expr::Literal;

use crate::outcome::ParamValue;

/// The values as literals of the parameters' types, text read with the session's options. Errors: 08P01/42P02 for a wrong number of values, 22P02 and
/// its kin for text that is no value of its type.
pub fn literals(types: &[SqlType], values: &[ParamValue], options: &FormatOptions) -> Result<Vec<Literal>> {
    arrays(types, values, options)?.iter().map(|array| literal_at(array, 0)).collect()
}

/// The values as arrays of one row, of the parameters' types. Errors as of [`literals`].
pub fn arrays(types: &[SqlType], values: &[ParamValue], options: &FormatOptions) -> Result<Vec<ArrayRef>> {
    if types.len() != values.len() {
        return Err(wrong_number(types.len(), values.len()));
    }
    let array = |(ty, value): (&SqlType, &ParamValue)| match value {
        ParamValue::Null => Ok(new_null_array(&ty.arrow(), 1)),
        ParamValue::Text(text) => text::parse_array_in(ty, &StringArray::from(vec![text.as_str()]), options),
        ParamValue::Value(array) if *array.data_type() == ty.arrow() && array.len() == 1 => {
            Ok(ArrayRef::clone(array))
        }
        ParamValue::Value(array) => {
            Err(Error::internal(format!("parameter value of type {} for {ty}", array.data_type())))
        }
    };
    types.iter().zip(values).map(array).collect()
}

fn wrong_number(wanted: usize, given: usize) -> Error {
    if given == 0 {
        return Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1");
    }
    Error::new(
        SqlState::PROTOCOL_VIOLATION,
        format!("bind message supplies {given} parameters, but the prepared statement requires {wanted}"),
    )
}

/// The value in row `row` of an array of some SQL type's Arrow type.
pub fn literal_at(array: &ArrayRef, row: usize) -> Result<Literal> {
    if array.is_null(row) {
        return Ok(Literal::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Literal::Null,
        DataType::Boolean => Literal::Bool(array.as_boolean().value(row)),
        DataType::Int16 => Literal::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Literal::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Literal::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Literal::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time64(TimeUnit::Microsecond) => {
            Literal::Int(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Literal::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Float32 => Literal::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Literal::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => Literal::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Literal::Text(array.as_string::<i32>().value(row).to_string()),
        DataType::Binary => Literal::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => Literal::Bytes(array.as_fixed_size_binary().value(row).to_vec()),
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Literal::Interval { months: value.months, days: value.days, nanos: value.nanoseconds }
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Literal::List((0..elements.len()).map(|i| literal_at(&elements, i)).collect::<Result<_>>()?)
        }
        other => return Err(Error::internal(format!("a parameter of Arrow type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;

    use super::*;

    #[test]
    fn the_number_of_values_must_be_right() {
        let options = FormatOptions::default();
        let one = literals(&[SqlType::Int4], &[], &options).unwrap_err();
        assert_eq!(one.state(), SqlState::UNDEFINED_PARAMETER);
        let two = literals(&[SqlType::Int4], &[ParamValue::Null, ParamValue::Null], &options).unwrap_err();
        assert_eq!(two.state(), SqlState::PROTOCOL_VIOLATION);
    }

    #[test]
    fn text_and_values_become_literals() {
        let values = [ParamValue::Text("7".into()), ParamValue::Value(Arc::new(Int32Array::from(vec![8])))];
        let got =
            literals(&[SqlType::Int4, SqlType::Int4], &values, &FormatOptions::default()).expect("valid");
        assert_eq!(got, [Literal::Int(7), Literal::Int(8)]);
        let bad = literals(&[SqlType::Int4], &[ParamValue::Text("x".into())], &FormatOptions::default())
            .unwrap_err();
        assert_eq!(bad.state(), SqlState::INVALID_TEXT_REPRESENTATION);
    }
}
