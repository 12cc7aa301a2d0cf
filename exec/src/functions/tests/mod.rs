//! Every family against a table of calls with PostgreSQL 15's results.
//!
//! A case is a function, operator, `extract` or `::`, its arguments as `type:text` (a target type after `::`,
//! the field of `extract`), and what PostgreSQL prints: the value, `NULL`, or SQLSTATE and message.

mod arithmetic;
mod cast;
mod compare;
mod datetime;
mod json_array;
mod resolution;
mod series;
mod string;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use datafusion::logical_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use weir_common::text::{FormatOptions, Formatter, parse_value};
use weir_common::{Error, Result, SqlState, SqlType};

use super::{CastContext, CastKind, FunctionKind, ResolvedFunction, resolve_cast, type_code};
use crate::error::{from_arrow, from_datafusion};

type Case = (&'static str, &'static [&'static str], &'static str);

fn check(cases: &[Case]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(name, args, expect)| {
            let found = match evaluate(name, args) {
                Ok(text) => text,
                Err(error) => format!("{} {}", error.state().0, error.message()),
            };
            (found != *expect)
                .then(|| format!("{name} {args:?}\n     expected {expect}\n     found    {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn arithmetic_is_postgresql_s() {
    check(arithmetic::CASES);
}

#[test]
fn comparisons_are_postgresql_s() {
    check(compare::CASES);
}

#[test]
fn strings_are_postgresql_s() {
    check(string::CASES);
}

#[test]
fn dates_and_times_are_postgresql_s() {
    check(datetime::CASES);
}

#[test]
fn json_and_arrays_are_postgresql_s() {
    check(json_array::CASES);
}

#[test]
fn series_are_postgresql_s() {
    check(series::CASES);
}

#[test]
fn casts_are_postgresql_s() {
    check(cast::CASES);
}

/// A value with its type.
struct Value {
    ty: SqlType,
    array: ArrayRef,
}

fn read(arg: &str) -> Result<Value> {
    let (ty, text) = arg.split_once(':').expect("type:text");
    let ty = type_code::parse(ty).unwrap_or_else(|| panic!("type {ty}"));
    let array =
        if text == "NULL" { arrow::array::new_null_array(&ty.arrow(), 1) } else { parse_value(&ty, text)? };
    Ok(Value { ty, array })
}

fn evaluate(name: &str, args: &[&str]) -> Result<String> {
    let result = match name {
        "::" => {
            cast(read(args[0])?, &type_code::parse(args[1]).expect("target type"), CastContext::Explicit)?
        }
        "extract" => {
            let value = read(args[1])?;
            call(&super::resolve_extract(args[0], &value.ty)?, vec![value])?
        }
        name => {
            let values: Result<Vec<Value>> = args.iter().map(|arg| read(arg)).collect();
            let values = values?;
            let types: Vec<SqlType> = values.iter().map(|value| value.ty.clone()).collect();
            call(&resolve(name, args, &types)?, values)?
        }
    };
    let text = Formatter::new(&result.ty, &FormatOptions::default()).format(&result.array, 0);
    Ok(text.unwrap_or_else(|| "NULL".to_owned()))
}

fn resolve(name: &str, args: &[&str], types: &[SqlType]) -> Result<ResolvedFunction> {
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let constants: Vec<Option<i64>> =
            args.iter().map(|arg| arg.split_once(':')?.1.parse().ok()).collect();
        return super::resolve_call(name, types, &constants);
    }
    match types {
        [right] => super::resolve_operator(name, None, right),
        [left, right] => super::resolve_operator(name, Some(left), right),
        _ => panic!("an operator has one or two operands"),
    }
}

/// Evaluates a resolved function as the executor would: arguments cast first.
fn call(function: &ResolvedFunction, values: Vec<Value>) -> Result<Value> {
    let values: Result<Vec<Value>> = values
        .into_iter()
        .zip(&function.arg_types)
        .map(|(value, to)| cast(value, to, CastContext::Implicit))
        .collect();
    let values = values?;
    let array = match &function.kind {
        FunctionKind::Udf(udf) => invoke(udf, &values)?,
        FunctionKind::Native(operator) => compare(*operator, &values[0].array, &values[1].array)?,
    };
    assert_eq!(array.data_type(), &function.result.arrow(), "the promised type");
    Ok(Value { ty: function.result.clone(), array })
}

fn cast(value: Value, to: &SqlType, context: CastContext) -> Result<Value> {
    let array = match resolve_cast(&value.ty, to, context)? {
        None => {
            let message = format!("cannot cast type {} to {}", value.ty.name(), to.name());
            return Err(Error::new(SqlState::CANNOT_COERCE, message));
        }
        Some(CastKind::NoOp) => value.array,
        Some(CastKind::Arrow) => arrow::compute::cast(&value.array, &to.arrow()).map_err(from_arrow)?,
        Some(CastKind::Udf(udf)) => {
            let again = super::by_name(udf.name()).expect("a cast is found again by its name");
            invoke(&again, &[value])?
        }
    };
    assert_eq!(array.data_type(), &to.arrow(), "the type cast to");
    Ok(Value { ty: to.clone(), array })
}

/// One row as a column, which must give what the constant gives.
fn invoke(udf: &Arc<ScalarUDF>, values: &[Value]) -> Result<ArrayRef> {
    let columns: Vec<ColumnarValue> =
        values.iter().map(|value| ColumnarValue::Array(value.array.clone())).collect();
    let constants = values
        .iter()
        .map(|value| {
            datafusion::common::ScalarValue::try_from_array(&value.array, 0).map(ColumnarValue::Scalar)
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(from_datafusion)?;
    let (from_columns, from_constants) = (run(udf, columns, values), run(udf, constants, values));
    assert_eq!(from_columns, from_constants, "{} of columns and of constants", udf.name());
    from_columns
}

fn run(udf: &Arc<ScalarUDF>, args: Vec<ColumnarValue>, values: &[Value]) -> Result<ArrayRef> {
    let types: Vec<_> = values.iter().map(|value| value.array.data_type().clone()).collect();
    let result = udf.return_type(&types).map_err(from_datafusion)?;
    let args = ScalarFunctionArgs {
        args,
        arg_fields: types.into_iter().map(|ty| Arc::new(Field::new("a", ty, true))).collect(),
        number_rows: 1,
        return_field: Arc::new(Field::new("r", result, true)),
        config_options: Arc::default(),
    };
    udf.invoke_with_args(args).and_then(|value| value.to_array(1)).map_err(from_datafusion)
}

/// As a physical comparison does it.
fn compare(operator: Operator, a: &ArrayRef, b: &ArrayRef) -> Result<ArrayRef> {
    use datafusion::physical_expr::expressions::{BinaryExpr, Column};
    let fields: Vec<Field> =
        [a, b].iter().map(|array| Field::new("x", array.data_type().clone(), true)).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let batch = arrow::array::RecordBatch::try_new(schema, vec![a.clone(), b.clone()]).map_err(from_arrow)?;
    let expr = BinaryExpr::new(Arc::new(Column::new("x", 0)), operator, Arc::new(Column::new("x", 1)));
    expr.evaluate(&batch).and_then(|value| value.into_array(1)).map_err(from_datafusion)
}

#[tokio::test]
async fn functions_run_inside_a_datafusion_plan() -> datafusion::common::Result<()> {
    use datafusion::prelude::{SessionContext, lit};
    let function = |name: &str| super::by_name(name).expect("registered");
    let plan = SessionContext::new().read_empty()?.select(vec![
        function("random").call(vec![]).alias("random"),
        function("pi").call(vec![]).alias("pi"),
        function("int4pl").call(vec![lit(1i32), lit(2i32)]).alias("sum"),
    ])?;
    let batches = plan.collect().await?;
    assert_eq!(batches[0].column(2).as_ref(), &arrow::array::Int32Array::from(vec![3]));
    let overflow = SessionContext::new()
        .read_empty()?
        .select(vec![function("int4pl").call(vec![lit(i32::MAX), lit(1i32)]).alias("sum")])?;
    let error = from_datafusion(overflow.collect().await.expect_err("overflow"));
    assert_eq!(error.message(), "integer out of range");
    Ok(())
}
