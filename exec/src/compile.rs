//! Compiles a [`ScalarExpr`] into DataFusion's vectorised physical expressions.
//!
//! A column alone passes through without being touched. Compilation happens once a job; [`CompiledExpr`] is
//! immutable, cheap to clone and shared by all batches.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, IsNotNullExpr, IsNullExpr, LikeExpr, Literal as LiteralExpr, NotExpr, case,
    in_list,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use weir_common::{Error, Result};

use crate::error::{from_arrow, from_datafusion};
use crate::expr::{BinaryOp, Literal, ScalarExpr};
use crate::functions;

/// An expression ready to run on columns.
#[derive(Clone)]
pub struct CompiledExpr {
    body: Body,
    schema: SchemaRef,
}

#[derive(Clone)]
enum Body {
    Column(usize),
    Physical(Arc<dyn PhysicalExpr>),
}

/// Compiles an expression over input columns of these types.
///
/// # Errors
/// XX000 when the expression does not fit the input: a column that is not there, an unknown function.
pub fn compile(expr: &ScalarExpr, input: &[DataType]) -> Result<CompiledExpr> {
    let fields: Vec<Field> =
        input.iter().enumerate().map(|(i, ty)| Field::new(format!("c{i}"), ty.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let body = match expr {
        ScalarExpr::Column(column) if *column < input.len() => Body::Column(*column),
        expr => Body::Physical(physical(expr, &schema)?),
    };
    Ok(CompiledExpr { body, schema })
}

impl CompiledExpr {
    /// The value of each of `rows` rows; `columns` have the types given to [`compile`].
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let expr = match &self.body {
            Body::Column(column) => return Ok(columns[*column].clone()),
            Body::Physical(expr) => expr,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)
            .map_err(from_arrow)?;
        match expr.evaluate(&batch).map_err(from_datafusion)? {
            ColumnarValue::Array(array) => Ok(array),
            ColumnarValue::Scalar(value) => value.to_array_of_size(rows).map_err(from_datafusion),
        }
    }

    /// The type of the result.
    pub fn data_type(&self) -> Result<DataType> {
        match &self.body {
            Body::Column(column) => Ok(self.schema.field(*column).data_type().clone()),
            Body::Physical(expr) => expr.data_type(&self.schema).map_err(from_datafusion),
        }
    }
}

impl fmt::Debug for CompiledExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Column(column) => write!(f, "c{column}"),
            Body::Physical(expr) => write!(f, "{expr}"),
        }
    }
}

type Physical = Arc<dyn PhysicalExpr>;

fn physical(expr: &ScalarExpr, schema: &SchemaRef) -> Result<Physical> {
    let sub = |expr: &ScalarExpr| physical(expr, schema);
    Ok(match expr {
        ScalarExpr::Column(column) => {
            if *column >= schema.fields().len() {
                return Err(Error::internal(format!("column {column} of {}", schema.fields().len())));
            }
            Arc::new(Column::new(schema.field(*column).name(), *column))
        }
        ScalarExpr::Literal(literal, ty) => Arc::new(LiteralExpr::new(scalar_value(literal, ty)?)),
        ScalarExpr::Binary { op, left, right } => {
            Arc::new(BinaryExpr::new(sub(left)?, operator(*op), sub(right)?))
        }
        ScalarExpr::Not(expr) => Arc::new(NotExpr::new(sub(expr)?)),
        ScalarExpr::IsNull(expr) => Arc::new(IsNullExpr::new(sub(expr)?)),
        ScalarExpr::IsNotNull(expr) => Arc::new(IsNotNullExpr::new(sub(expr)?)),
        ScalarExpr::Call { function, args, ty } => call(function, args, ty, schema)?,
        ScalarExpr::Case { operand, branches, otherwise } => {
            let operand = operand.as_deref().map(sub).transpose()?;
            let otherwise = otherwise.as_deref().map(sub).transpose()?;
            let branches: Result<Vec<(Physical, Physical)>> =
                branches.iter().map(|(when, then)| Ok((sub(when)?, sub(then)?))).collect();
            case(operand, branches?, otherwise).map_err(from_datafusion)?
        }
        ScalarExpr::Cast { expr, to } => Arc::new(CastExpr::new(sub(expr)?, to.clone(), None)),
        ScalarExpr::InList { expr, list, negated } => {
            let list: Result<Vec<Physical>> = list.iter().map(sub).collect();
            in_list(sub(expr)?, list?, negated, schema).map_err(from_datafusion)?
        }
        ScalarExpr::Like { expr, pattern, negated, case_insensitive } => {
            Arc::new(LikeExpr::new(*negated, *case_insensitive, sub(expr)?, sub(pattern)?))
        }
    })
}

fn call(name: &str, args: &[ScalarExpr], ty: &DataType, schema: &SchemaRef) -> Result<Physical> {
    let udf = function(name).ok_or_else(|| Error::internal(format!("no function named {name}")))?;
    let args: Result<Vec<Physical>> = args.iter().map(|arg| physical(arg, schema)).collect();
    let field = Arc::new(Field::new(name, ty.clone(), true));
    Ok(Arc::new(ScalarFunctionExpr::new(name, udf, args?, field, CONFIG.clone())))
}

static CONFIG: LazyLock<Arc<ConfigOptions>> = LazyLock::new(Arc::default);

/// Functions that DataFusion's optimiser itself writes into plans.
static DATAFUSION: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    datafusion::functions::all_default_functions()
        .into_iter()
        .map(|udf| (udf.name().to_owned(), udf))
        .collect()
});

/// The function of this name: ours, else DataFusion's.
pub(crate) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    functions::by_name(name).or_else(|| DATAFUSION.get(name).cloned())
}

fn operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Eq => Operator::Eq,
        BinaryOp::NotEq => Operator::NotEq,
        BinaryOp::Lt => Operator::Lt,
        BinaryOp::LtEq => Operator::LtEq,
        BinaryOp::Gt => Operator::Gt,
        BinaryOp::GtEq => Operator::GtEq,
        BinaryOp::And => Operator::And,
        BinaryOp::Or => Operator::Or,
        BinaryOp::IsDistinctFrom => Operator::IsDistinctFrom,
        BinaryOp::IsNotDistinctFrom => Operator::IsNotDistinctFrom,
    }
}

/// A literal of this type as DataFusion's scalar.
pub fn scalar_value(literal: &Literal, ty: &DataType) -> Result<ScalarValue> {
    let mismatch = || Error::internal(format!("literal {literal:?} of type {ty}"));
    Ok(match (literal, ty) {
        (Literal::Null, ty) => ScalarValue::try_from(ty).map_err(from_datafusion)?,
        (Literal::Bool(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Literal::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Literal::Float(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Literal::Decimal(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        (Literal::Text(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.clone())),
        (Literal::Text(value), DataType::LargeUtf8) => ScalarValue::LargeUtf8(Some(value.clone())),
        (Literal::Text(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        (Literal::Bytes(value), DataType::Binary) => ScalarValue::Binary(Some(value.clone())),
        (Literal::Bytes(value), DataType::FixedSizeBinary(size)) => {
            ScalarValue::FixedSizeBinary(*size, Some(value.clone()))
        }
        (Literal::Interval { months, days, nanos }, DataType::Interval(_)) => {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(*months, *days, *nanos)))
        }
        (Literal::List(elements), DataType::List(field)) => {
            let elements: Result<Vec<ScalarValue>> =
                elements.iter().map(|element| scalar_value(element, field.data_type())).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&elements?, field.data_type()))
        }
        (Literal::Int(value), ty) => integer_value(*value, ty).ok_or_else(mismatch)?,
        _ => return Err(mismatch()),
    })
}

fn integer_value(value: i64, ty: &DataType) -> Option<ScalarValue> {
    Some(match ty {
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value)),
        DataType::UInt64 => ScalarValue::UInt64(Some(value.try_into().ok()?)),
        DataType::Date32 => ScalarValue::Date32(Some(value.try_into().ok()?)),
        DataType::Time64(_) => ScalarValue::Time64Microsecond(Some(value)),
        DataType::Timestamp(_, zone) => ScalarValue::TimestampMicrosecond(Some(value), zone.clone()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::Int32Type;

    fn column() -> Vec<ArrayRef> {
        vec![Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))]
    }

    fn int4(value: i64) -> ScalarExpr {
        ScalarExpr::Literal(Literal::Int(value), DataType::Int32)
    }

    #[test]
    fn a_column_passes_through_untouched() {
        let columns = column();
        let same =
            compile(&ScalarExpr::Column(0), &[DataType::Int32]).unwrap().evaluate(&columns, 3).unwrap();
        assert!(Arc::ptr_eq(&same, &columns[0]));
    }

    #[test]
    fn calls_find_functions_by_name_and_report_their_errors() {
        let add = |right| ScalarExpr::Call {
            function: "int4pl".into(),
            args: vec![ScalarExpr::Column(0), right],
            ty: DataType::Int32,
        };
        let sum = compile(&add(int4(10)), &[DataType::Int32]).unwrap().evaluate(&column(), 3).unwrap();
        assert_eq!(sum.as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(11), None, Some(13)]));
        let overflow = compile(&add(int4(i64::from(i32::MAX))), &[DataType::Int32]).unwrap();
        assert_eq!(overflow.evaluate(&column(), 3).unwrap_err().message(), "integer out of range");
    }

    #[test]
    fn a_constant_fills_all_rows() {
        let seven = compile(&int4(7), &[]).unwrap().evaluate(&[], 2).unwrap();
        assert_eq!(seven.as_primitive::<Int32Type>().values(), &[7, 7]);
    }

    #[test]
    fn an_unknown_function_is_an_error() {
        let call = ScalarExpr::Call { function: "nonsense".into(), args: vec![], ty: DataType::Int32 };
        assert!(compile(&call, &[]).is_err());
    }
}
