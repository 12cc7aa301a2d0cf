//! Literals and parameters: `1`, `1.50`, `'text'`, `DATE '…'`, `INTERVAL '…'`, `$1`.

use arrow::datatypes::{Field, IntervalMonthDayNano};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{DateTimeField, Interval, Value, ValueWithSpan};
use std::sync::Arc;
use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::expr::Literal;

use super::typed::{Typed, typed_null};
use super::{Binder, plan_error};
use crate::context::ParamValues;

impl Binder<'_> {
    pub(crate) fn bind_value(&self, value: &ValueWithSpan) -> Result<Typed> {
        let position = self.span_position(value.span);
        match &value.value {
            Value::Number(digits, _) => number(digits, position).map_err(|e| e.at(position)),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(unknown_text(text, position)),
            Value::DollarQuotedString(quoted) => Ok(unknown_text(&quoted.value, position)),
            Value::Boolean(value) => Ok(Typed::new(
                Expr::Literal(ScalarValue::Boolean(Some(*value)), None),
                SqlType::Bool,
                position,
            )),
            Value::Null => Ok(Typed::null(position)),
            Value::Placeholder(id) => self.bind_parameter(id, position).map_err(|e| e.at(position)),
            other => Err(Error::unsupported(format!("literal {other}")).at(position)),
        }
    }

    fn bind_parameter(&self, id: &str, position: Option<usize>) -> Result<Typed> {
        let number: usize = id
            .trim_start_matches('$')
            .parse()
            .map_err(|_| Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{id}\"")))?;
        match self.cx.params.lookup(number)? {
            Some(ty) => self.parameter_value(number, ty, position),
            None => Ok(Typed::new(placeholder(id, &SqlType::Unknown), SqlType::Unknown, position)),
        }
    }

    /// A parameter whose type is known: its value, NULL when the statement is only described, or itself.
    pub(crate) fn parameter_value(
        &self,
        number: usize,
        ty: SqlType,
        position: Option<usize>,
    ) -> Result<Typed> {
        let expr = match &self.cx.param_values {
            ParamValues::Described => typed_null(&ty)?,
            ParamValues::Kept => placeholder(&format!("${number}"), &ty),
            ParamValues::Given(values) => match values.get(number - 1) {
                None => typed_null(&ty)?,
                Some(literal) => Expr::Literal(scalar_value(literal, &ty)?, None),
            },
        };
        Ok(Typed::new(expr, ty, position))
    }

    /// `INTERVAL '…'`, `INTERVAL '…' SECOND`.
    pub(crate) fn bind_interval(&self, interval: &Interval, position: Option<usize>) -> Result<Typed> {
        let sqlparser::ast::Expr::Value(ValueWithSpan { value, .. }) = interval.value.as_ref() else {
            return Err(Error::unsupported("INTERVAL of an expression")
                .with_hint("Multiply instead: x * INTERVAL '1 second'.")
                .at(position));
        };
        let text = match value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
            other => return Err(Error::unsupported(format!("INTERVAL {other}")).at(position)),
        };
        let text = match &interval.leading_field {
            Some(field) if interval.last_field.is_none() && text.trim().parse::<f64>().is_ok() => {
                format!(
                    "{text} {}",
                    unit(field).ok_or_else(|| Error::unsupported(format!("INTERVAL … {field}")))?
                )
            }
            _ => text,
        };
        let literal = unknown_text(&text, position);
        self.cast_explicitly(literal, &SqlType::Interval, position)
    }
}

fn placeholder(id: &str, ty: &SqlType) -> Expr {
    let field = Some(Arc::new(Field::new(id, ty.arrow(), true)));
    Expr::Placeholder(Placeholder::new_with_field(id.to_owned(), field))
}

/// A string constant as an expression of open type.
pub(crate) fn unknown_text(text: &str, position: Option<usize>) -> Typed {
    Typed::new(Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None), SqlType::Unknown, position)
}

/// A text constant.
pub(crate) fn text_literal(text: &str) -> Expr {
    Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None)
}

fn unit(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => "years",
        DateTimeField::Month | DateTimeField::Months => "months",
        DateTimeField::Week(_) | DateTimeField::Weeks => "weeks",
        DateTimeField::Day | DateTimeField::Days => "days",
        DateTimeField::Hour | DateTimeField::Hours => "hours",
        DateTimeField::Minute | DateTimeField::Minutes => "minutes",
        DateTimeField::Second | DateTimeField::Seconds => "seconds",
        _ => return None,
    })
}

/// int4 when it fits, else int8, else numeric with the digits' scale.
fn number(digits: &str, position: Option<usize>) -> Result<Typed> {
    let digits = digits.replace('_', "");
    if let Ok(value) = digits.parse::<i32>() {
        return Ok(Typed::new(Expr::Literal(ScalarValue::Int32(Some(value)), None), SqlType::Int4, position));
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Ok(Typed::new(Expr::Literal(ScalarValue::Int64(Some(value)), None), SqlType::Int8, position));
    }
    let (unscaled, scale) = decimal(&digits)?;
    let ty = SqlType::Numeric(NumericType::fixed(38, scale));
    Ok(Typed::new(Expr::Literal(ScalarValue::Decimal128(Some(unscaled), 38, scale), None), ty, position))
}

/// Digits, point and exponent as an unscaled integer and a scale.
fn decimal(text: &str) -> Result<(i128, i8)> {
    let too_long = || {
        let message = format!("numeric literal {text} has more than 38 digits");
        Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().map_err(|_| too_long())?;
    let scale = fraction.len() as i64 - exponent;
    let mut digits = format!("{whole}{fraction}");
    if scale < 0 {
        let zeros = usize::try_from(-scale).ok().filter(|n| *n <= 38).ok_or_else(too_long)?;
        digits.push_str(&"0".repeat(zeros));
    }
    let significant = digits.trim_start_matches('0');
    let unscaled: i128 =
        if significant.is_empty() { 0 } else { significant.parse().map_err(|_| too_long())? };
    let scale = i8::try_from(scale.max(0)).map_err(|_| too_long())?;
    if significant.len() > 38 || scale > 38 {
        return Err(too_long());
    }
    Ok((unscaled, scale))
}

/// The Arrow value of a parameter's literal.
pub(crate) fn scalar_value(literal: &Literal, ty: &SqlType) -> Result<ScalarValue> {
    let mismatch = || Error::internal(format!("a parameter of type {ty} has the value {literal:?}"));
    let narrow = |v: i64| i32::try_from(v).map_err(|_| Error::out_of_range(&ty.name()));
    Ok(match (literal, ty.arrow()) {
        (Literal::Null, data_type) => ScalarValue::try_from(&data_type).map_err(plan_error)?,
        (Literal::Bool(v), _) => ScalarValue::Boolean(Some(*v)),
        (Literal::Int(v), data_type) => {
            use arrow::datatypes::{DataType, TimeUnit};
            match data_type {
                DataType::Int16 => {
                    ScalarValue::Int16(Some(i16::try_from(*v).map_err(|_| Error::out_of_range(&ty.name()))?))
                }
                DataType::Int32 => ScalarValue::Int32(Some(narrow(*v)?)),
                DataType::Int64 => ScalarValue::Int64(Some(*v)),
                DataType::Date32 => ScalarValue::Date32(Some(narrow(*v)?)),
                DataType::Time64(_) => ScalarValue::Time64Microsecond(Some(*v)),
                DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                    ScalarValue::TimestampMicrosecond(Some(*v), zone)
                }
                _ => return Err(mismatch()),
            }
        }
        (Literal::Float(v), arrow::datatypes::DataType::Float32) => ScalarValue::Float32(Some(*v as f32)),
        (Literal::Float(v), _) => ScalarValue::Float64(Some(*v)),
        (Literal::Decimal(v), arrow::datatypes::DataType::Decimal128(p, s)) => {
            ScalarValue::Decimal128(Some(*v), p, s)
        }
        (Literal::Text(v), _) => ScalarValue::Utf8(Some(v.clone())),
        (Literal::Bytes(v), arrow::datatypes::DataType::FixedSizeBinary(n)) => {
            ScalarValue::FixedSizeBinary(n, Some(v.clone()))
        }
        (Literal::Bytes(v), _) => ScalarValue::Binary(Some(v.clone())),
        (Literal::Interval { months, days, nanos }, _) => {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(*months, *days, *nanos)))
        }
        (Literal::List(items), arrow::datatypes::DataType::List(field)) => {
            let SqlType::Array(element) = ty else { return Err(mismatch()) };
            let values: Result<Vec<ScalarValue>> =
                items.iter().map(|item| scalar_value(item, element)).collect();
            ScalarValue::List(ScalarValue::new_list(&values?, field.data_type(), true))
        }
        _ => return Err(mismatch()),
    })
}
