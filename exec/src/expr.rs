//! `ScalarExpr`: a scalar expression as plain serialisable data.
//!
//! The planner makes it from an optimised DataFusion `Expr`; `compile` turns it into a DataFusion physical
//! expression, which is the vectorised interpreter. Types are explicit, nothing is coerced here.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Between, Case, Expr, ExprSchemable, Operator};
use serde::{Deserialize, Serialize};
use weir_common::{Error, Result};

use crate::error::from_datafusion;

/// A constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    Null,
    Bool(bool),
    /// Any integer, date (days) or time/timestamp (µs) type.
    Int(i64),
    Float(f64),
    /// Unscaled value of a decimal.
    Decimal(i128),
    Text(String),
    Bytes(Vec<u8>),
    Interval {
        months: i32,
        days: i32,
        nanos: i64,
    },
    List(Vec<Literal>),
}

/// Comparison and logical operators. `NULL` follows SQL's three-valued logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    And,
    Or,
    IsDistinctFrom,
    IsNotDistinctFrom,
}

/// A scalar expression over the columns of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ScalarExpr {
    /// The input column at this position.
    Column(usize),
    Literal(Literal, DataType),
    Binary {
        op: BinaryOp,
        left: Box<ScalarExpr>,
        right: Box<ScalarExpr>,
    },
    Not(Box<ScalarExpr>),
    IsNull(Box<ScalarExpr>),
    IsNotNull(Box<ScalarExpr>),
    /// A function of the registry (`functions::registry`), by name; `ty` is its result.
    Call {
        function: String,
        args: Vec<ScalarExpr>,
        ty: DataType,
    },
    /// `CASE [operand] WHEN … THEN … [ELSE …] END`.
    Case {
        operand: Option<Box<ScalarExpr>>,
        branches: Vec<(ScalarExpr, ScalarExpr)>,
        otherwise: Option<Box<ScalarExpr>>,
    },
    /// A lossless or Arrow-defined cast; PostgreSQL's checked casts are functions.
    Cast {
        expr: Box<ScalarExpr>,
        to: DataType,
    },
    InList {
        expr: Box<ScalarExpr>,
        list: Vec<ScalarExpr>,
        negated: bool,
    },
    Like {
        expr: Box<ScalarExpr>,
        pattern: Box<ScalarExpr>,
        negated: bool,
        case_insensitive: bool,
    },
}

/// The plain form of a DataFusion expression over the columns of `schema`.
///
/// # Errors
/// 0A000 for what has no plain form: subqueries, aggregates, window functions.
pub fn from_logical(expr: &Expr, schema: &DFSchema) -> Result<ScalarExpr> {
    let boxed = |expr: &Expr| from_logical(expr, schema).map(Box::new);
    Ok(match expr {
        Expr::Alias(alias) => from_logical(&alias.expr, schema)?,
        Expr::Column(column) => ScalarExpr::Column(schema.index_of_column(column).map_err(from_datafusion)?),
        Expr::Literal(value, _) => ScalarExpr::Literal(literal(value)?, value.data_type()),
        Expr::BinaryExpr(binary) => ScalarExpr::Binary {
            op: binary_op(binary.op)?,
            left: boxed(&binary.left)?,
            right: boxed(&binary.right)?,
        },
        Expr::Not(inner) => ScalarExpr::Not(boxed(inner)?),
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => ScalarExpr::IsNull(boxed(inner)?),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => ScalarExpr::IsNotNull(boxed(inner)?),
        Expr::IsTrue(inner) => is(BinaryOp::IsNotDistinctFrom, boxed(inner)?, true),
        Expr::IsFalse(inner) => is(BinaryOp::IsNotDistinctFrom, boxed(inner)?, false),
        Expr::IsNotTrue(inner) => is(BinaryOp::IsDistinctFrom, boxed(inner)?, true),
        Expr::IsNotFalse(inner) => is(BinaryOp::IsDistinctFrom, boxed(inner)?, false),
        Expr::Between(between) => between_bounds(between, schema)?,
        Expr::Case(case) => case_branches(case, schema)?,
        Expr::Cast(cast) => ScalarExpr::Cast { expr: boxed(&cast.expr)?, to: cast.field.data_type().clone() },
        Expr::ScalarFunction(call) => {
            let ty = expr.get_type(schema).map_err(from_datafusion)?;
            ScalarExpr::Call { function: call.name().to_owned(), args: all(&call.args, schema)?, ty }
        }
        Expr::InList(list) => ScalarExpr::InList {
            expr: boxed(&list.expr)?,
            list: all(&list.list, schema)?,
            negated: list.negated,
        },
        Expr::Like(like) if like.escape_char.is_none_or(|escape| escape == '\\') => ScalarExpr::Like {
            expr: boxed(&like.expr)?,
            pattern: boxed(&like.pattern)?,
            negated: like.negated,
            case_insensitive: like.case_insensitive,
        },
        other => return Err(Error::unsupported(format!("the expression {other} in a streaming query"))),
    })
}

fn all(exprs: &[Expr], schema: &DFSchema) -> Result<Vec<ScalarExpr>> {
    exprs.iter().map(|expr| from_logical(expr, schema)).collect()
}

fn is(op: BinaryOp, expr: Box<ScalarExpr>, value: bool) -> ScalarExpr {
    let right = Box::new(ScalarExpr::Literal(Literal::Bool(value), DataType::Boolean));
    ScalarExpr::Binary { op, left: expr, right }
}

fn between_bounds(between: &Between, schema: &DFSchema) -> Result<ScalarExpr> {
    let bound = |op, bound: &Expr| -> Result<Box<ScalarExpr>> {
        let (left, right) = (from_logical(&between.expr, schema)?, from_logical(bound, schema)?);
        Ok(Box::new(ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) }))
    };
    let (left, right) = (bound(BinaryOp::GtEq, &between.low)?, bound(BinaryOp::LtEq, &between.high)?);
    let inside = ScalarExpr::Binary { op: BinaryOp::And, left, right };
    Ok(if between.negated { ScalarExpr::Not(Box::new(inside)) } else { inside })
}

fn case_branches(case: &Case, schema: &DFSchema) -> Result<ScalarExpr> {
    let optional = |expr: &Option<Box<Expr>>| -> Result<Option<Box<ScalarExpr>>> {
        expr.as_ref().map(|expr| from_logical(expr, schema).map(Box::new)).transpose()
    };
    let branches: Result<Vec<(ScalarExpr, ScalarExpr)>> = case
        .when_then_expr
        .iter()
        .map(|(when, then)| Ok((from_logical(when, schema)?, from_logical(then, schema)?)))
        .collect();
    Ok(ScalarExpr::Case {
        operand: optional(&case.expr)?,
        branches: branches?,
        otherwise: optional(&case.else_expr)?,
    })
}

fn binary_op(op: Operator) -> Result<BinaryOp> {
    Ok(match op {
        Operator::Eq => BinaryOp::Eq,
        Operator::NotEq => BinaryOp::NotEq,
        Operator::Lt => BinaryOp::Lt,
        Operator::LtEq => BinaryOp::LtEq,
        Operator::Gt => BinaryOp::Gt,
        Operator::GtEq => BinaryOp::GtEq,
        Operator::And => BinaryOp::And,
        Operator::Or => BinaryOp::Or,
        Operator::IsDistinctFrom => BinaryOp::IsDistinctFrom,
        Operator::IsNotDistinctFrom => BinaryOp::IsNotDistinctFrom,
        other => return Err(Error::internal(format!("operator {other} in an optimised plan"))),
    })
}

/// A DataFusion scalar as a literal; its type goes beside it.
pub fn literal(value: &ScalarValue) -> Result<Literal> {
    use ScalarValue as S;
    if value.is_null() {
        return Ok(Literal::Null);
    }
    Ok(match value {
        S::Boolean(Some(value)) => Literal::Bool(*value),
        S::Int8(Some(value)) => Literal::Int(i64::from(*value)),
        S::Int16(Some(value)) => Literal::Int(i64::from(*value)),
        S::Int32(Some(value)) | S::Date32(Some(value)) => Literal::Int(i64::from(*value)),
        S::Int64(Some(value))
        | S::Time64Microsecond(Some(value))
        | S::TimestampMicrosecond(Some(value), _) => Literal::Int(*value),
        S::UInt64(Some(value)) => {
            Literal::Int(i64::try_from(*value).map_err(|_| Error::out_of_range("bigint"))?)
        }
        S::Float32(Some(value)) => Literal::Float(f64::from(*value)),
        S::Float64(Some(value)) => Literal::Float(*value),
        S::Decimal128(Some(value), _, _) => Literal::Decimal(*value),
        S::Utf8(Some(value)) | S::LargeUtf8(Some(value)) | S::Utf8View(Some(value)) => {
            Literal::Text(value.clone())
        }
        S::Binary(Some(value)) | S::FixedSizeBinary(_, Some(value)) => Literal::Bytes(value.clone()),
        S::IntervalMonthDayNano(Some(value)) => {
            Literal::Interval { months: value.months, days: value.days, nanos: value.nanoseconds }
        }
        S::List(list) => {
            let elements = list.value(0);
            let elements: Result<Vec<Literal>> = (0..elements.len())
                .map(|row| literal(&ScalarValue::try_from_array(&elements, row).map_err(from_datafusion)?))
                .collect();
            Literal::List(elements?)
        }
        other => return Err(Error::internal(format!("a literal of type {}", other.data_type()))),
    })
}
