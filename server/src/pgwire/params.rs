//! Parameters of a Bind message, as values of a prepared statement.
//!
//! Place in the flow: `extended` hands over the raw bytes with their formats. Text is checked to be UTF-8 and
//! read later, by the session, as the parameter's type; binary is decoded here.

use bytes::Bytes;
use weir_common::{Error, Result, SqlState, SqlType};
use weir_table::ParamValue;

use super::binary;
use super::wire::violation;

/// Text format, on the wire.
pub const TEXT: i16 = 0;
/// Binary format, on the wire.
pub const BINARY: i16 = 1;

/// The declared type of a parameter; `None` leaves it to the statement.
pub fn declared_type(oid: u32) -> Result<Option<SqlType>> {
    if oid == 0 || oid == SqlType::Unknown.oid() {
        return Ok(None);
    }
    match weir_common::text::type_of_oid(i64::from(oid)) {
        Some(ty) => Ok(Some(ty)),
        None => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))),
    }
}

/// The values for parameters of these types.
pub fn decode(types: &[SqlType], formats: &[i16], values: &[Option<Bytes>]) -> Result<Vec<ParamValue>> {
    if values.len() != types.len() {
        return Err(violation(format!(
            "bind message supplies {} parameters, but prepared statement requires {}",
            values.len(),
            types.len()
        )));
    }
    let formats = spread(formats, values.len()).ok_or_else(|| {
        let (given, needed) = (formats.len(), values.len());
        violation(format!("bind message has {given} parameter formats but {needed} parameters"))
    })?;
    let formats = known(formats)?;
    let decode_one = |((ty, format), value): ((&SqlType, &i16), &Option<Bytes>)| match value {
        None => Ok(ParamValue::Null),
        Some(bytes) if *format == BINARY => binary::decode(ty, bytes).map(ParamValue::Value),
        Some(bytes) => Ok(ParamValue::Text(binary::text_of(bytes)?.to_string())),
    };
    let numbered = types.iter().zip(&formats).zip(values).enumerate();
    numbered
        .map(|(i, parameter)| {
            decode_one(parameter).map_err(|e| e.with_context(format!("unnamed portal parameter ${}", i + 1)))
        })
        .collect()
}

/// The formats of the result columns.
pub fn result_formats(formats: &[i16], columns: usize) -> Result<Vec<i16>> {
    known(spread(formats, columns).ok_or_else(|| {
        violation(format!(
            "bind message has {} result formats but query has {columns} columns",
            formats.len()
        ))
    })?)
}

/// One format for each of `count` values: none given means text, one given means all.
fn spread(formats: &[i16], count: usize) -> Option<Vec<i16>> {
    match formats {
        [] => Some(vec![TEXT; count]),
        [one] => Some(vec![*one; count]),
        many => (many.len() == count).then(|| many.to_vec()),
    }
}

fn known(formats: Vec<i16>) -> Result<Vec<i16>> {
    match formats.iter().find(|format| !matches!(**format, TEXT | BINARY)) {
        None => Ok(formats),
        Some(other) => {
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {other}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_spread_as_the_protocol_says() {
        assert_eq!(result_formats(&[], 2).unwrap(), [0, 0]);
        assert_eq!(result_formats(&[1], 2).unwrap(), [1, 1]);
        assert_eq!(result_formats(&[0, 1], 2).unwrap(), [0, 1]);
        assert!(
            result_formats(&[0, 1], 3).unwrap_err().message().contains("2 result formats but query has 3")
        );
        assert!(result_formats(&[7], 1).is_err());
    }

    #[test]
    fn values_of_both_formats() {
        let types = [SqlType::Int4, SqlType::Int4, SqlType::Text];
        let four = Some(Bytes::from_static(&[0, 0, 0, 4]));
        let values = [four, Some(Bytes::from_static(b"5")), None];
        let decoded = decode(&types, &[1, 0, 0], &values).unwrap();
        assert!(matches!(&decoded[0], ParamValue::Value(array) if array.len() == 1));
        assert!(matches!(&decoded[1], ParamValue::Text(text) if text == "5"));
        assert!(matches!(&decoded[2], ParamValue::Null));
    }

    #[test]
    fn a_wrong_count_is_refused() {
        let error = decode(&[SqlType::Int4], &[], &[]).err().unwrap();
        assert_eq!(error.message(), "bind message supplies 0 parameters, but prepared statement requires 1");
    }

    #[test]
    fn declared_types() {
        assert_eq!(declared_type(0).unwrap(), None);
        assert_eq!(declared_type(23).unwrap(), Some(SqlType::Int4));
        assert_eq!(declared_type(1009).unwrap(), Some(SqlType::Array(Box::new(SqlType::Text))));
        assert_eq!(declared_type(999_999).unwrap_err().state(), SqlState::UNDEFINED_OBJECT);
    }
}
