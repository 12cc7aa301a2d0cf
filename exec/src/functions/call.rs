//! The frame every scalar function runs in: typed access to arguments, typed building of the result.
//!
//! A function is a [`PgFunction`]: a name, a result type and an evaluator over a [`Call`]. A constant argument
//! stays an array of one row ([`Operand`] indexes it), so constants are never expanded; a call whose arguments
//! are all constant is evaluated on one row and gives a constant. The `build_*` methods are for strict
//! functions: they skip rows in which any argument is NULL.
//!
//! The binder gives every argument a type. DataFusion's optimizer does not when it tries whether a predicate rejects
//! NULL: it replaces columns by ones of no type at all, and takes an error for "not known".

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryBuilder, BooleanArray, BooleanBufferBuilder,
    Decimal128Array, ListArray, PrimitiveArray, StringArray, StringBuilder, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::common::{Result as DataFusionResult, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use weir_common::Result;

use crate::error::{from_datafusion, into_datafusion};

/// Computes one call over a batch.
pub(crate) type Eval = Arc<dyn Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync>;

/// A result type from argument types.
pub(crate) type TypeRule = Arc<dyn Fn(&[DataType]) -> DataType + Send + Sync>;

/// The Arrow type of a result.
#[derive(Clone)]
pub(crate) enum ArrowResult {
    /// The same for any arguments.
    Fixed(DataType),
    /// Determined by the arguments.
    From(TypeRule),
}

/// A scalar function with PostgreSQL's semantics, as DataFusion sees it. Two of the same name are equal.
pub(crate) struct PgFunction {
    name: String,
    result: ArrowResult,
    signature: Signature,
    eval: Eval,
}

impl PgFunction {
    /// A function of this name; the registry keeps names unique.
    pub(crate) fn new(name: String, result: ArrowResult, volatile: bool, eval: Eval) -> PgFunction {
        let volatility = if volatile { Volatility::Volatile } else { Volatility::Immutable };
        PgFunction { name, result, signature: Signature::user_defined(volatility), eval }
    }

    /// The same function, declared to take no arguments.
    pub(crate) fn without_arguments(mut self) -> PgFunction {
        self.signature = Signature::nullary(self.signature.volatility);
        self
    }

    fn is_volatile(&self) -> bool {
        self.signature.volatility == Volatility::Volatile
    }
}

impl fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(match &self.result {
            ArrowResult::Fixed(ty) => ty.clone(),
            ArrowResult::From(of) => of(arg_types),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let constant = !self.is_volatile() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let operands = args.args.into_iter().map(Arg::new).collect::<DataFusionResult<Vec<_>>>()?;
        if operands.iter().any(|operand| operand.array.data_type() == &DataType::Null) {
            return plan_err!("{} has no meaning for values without a type", self.name);
        }
        let call = Call { args: &operands, rows, result: args.return_field.data_type() };
        let array = (self.eval)(&call).map_err(into_datafusion)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// An argument: a column, or a constant as a column of one row.
pub(crate) struct Arg {
    pub(crate) array: ArrayRef,
    pub(crate) constant: bool,
}

impl Arg {
    fn new(value: ColumnarValue) -> DataFusionResult<Arg> {
        Ok(match value {
            ColumnarValue::Array(array) => Arg { array, constant: false },
            ColumnarValue::Scalar(scalar) => Arg { array: scalar.to_array()?, constant: true },
        })
    }
}

/// A typed argument. `at(row)` is undefined where the argument is NULL.
pub(crate) struct Operand<'a, A: ?Sized> {
    pub(crate) array: &'a A,
    pub(crate) constant: bool,
}

impl<A: ?Sized> Clone for Operand<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: ?Sized> Copy for Operand<'_, A> {}

impl<A: Array + ?Sized> Operand<'_, A> {
    #[inline]
    pub(crate) fn index(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    /// Whether the argument is NULL in this row.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.index(row))
    }
}

impl<T: ArrowPrimitiveType> Operand<'_, PrimitiveArray<T>> {
    #[inline]
    pub(crate) fn at(&self, row: usize) -> T::Native {
        self.array.value(self.index(row))
    }
}

impl<'a> Operand<'a, StringArray> {
    #[inline]
    pub(crate) fn at(&self, row: usize) -> &'a str {
        self.array.value(self.index(row))
    }
}

impl<'a> Operand<'a, BinaryArray> {
    #[inline]
    pub(crate) fn at(&self, row: usize) -> &'a [u8] {
        self.array.value(self.index(row))
    }
}

impl Operand<'_, BooleanArray> {
    #[inline]
    pub(crate) fn at(&self, row: usize) -> bool {
        self.array.value(self.index(row))
    }
}

impl Operand<'_, ListArray> {
    #[inline]
    pub(crate) fn at(&self, row: usize) -> ArrayRef {
        self.array.value(self.index(row))
    }
}

/// One call over a batch.
pub(crate) struct Call<'a> {
    args: &'a [Arg],
    /// Rows of the result.
    pub(crate) rows: usize,
    /// Arrow type of the result.
    pub(crate) result: &'a DataType,
}

impl Call<'_> {
    /// Runs an evaluator on one whole column.
    pub(crate) fn evaluate(eval: &Eval, column: &ArrayRef, result: &DataType) -> Result<ArrayRef> {
        let args = [Arg { array: column.clone(), constant: false }];
        eval(&Call { args: &args, rows: column.len(), result })
    }

    /// The same call of other arguments.
    pub(crate) fn with_args<'b>(&'b self, args: &'b [Arg]) -> Call<'b> {
        Call { args, rows: self.rows, result: self.result }
    }

    /// Number of arguments.
    pub(crate) fn len(&self) -> usize {
        self.args.len()
    }

    /// The argument, whatever its type.
    pub(crate) fn any(&self, i: usize) -> Operand<'_, dyn Array> {
        Operand { array: self.args[i].array.as_ref(), constant: self.args[i].constant }
    }

    /// The argument as an array that can be kept.
    pub(crate) fn array(&self, i: usize) -> (&ArrayRef, bool) {
        (&self.args[i].array, self.args[i].constant)
    }

    /// The argument as this array type, which the resolved argument types guarantee.
    pub(crate) fn arg<A: Array + 'static>(&self, i: usize) -> Operand<'_, A> {
        let array = self.args[i].array.as_any().downcast_ref().expect("arguments have the resolved types");
        Operand { array, constant: self.args[i].constant }
    }

    pub(crate) fn prim<T: ArrowPrimitiveType>(&self, i: usize) -> Operand<'_, PrimitiveArray<T>> {
        self.arg(i)
    }
    pub(crate) fn bool(&self, i: usize) -> Operand<'_, BooleanArray> {
        self.arg(i)
    }
    pub(crate) fn int2(&self, i: usize) -> Operand<'_, PrimitiveArray<Int16Type>> {
        self.arg(i)
    }
    pub(crate) fn int4(&self, i: usize) -> Operand<'_, PrimitiveArray<Int32Type>> {
        self.arg(i)
    }
    pub(crate) fn int8(&self, i: usize) -> Operand<'_, PrimitiveArray<Int64Type>> {
        self.arg(i)
    }
    pub(crate) fn float4(&self, i: usize) -> Operand<'_, PrimitiveArray<Float32Type>> {
        self.arg(i)
    }
    pub(crate) fn float8(&self, i: usize) -> Operand<'_, PrimitiveArray<Float64Type>> {
        self.arg(i)
    }
    pub(crate) fn numeric(&self, i: usize) -> Operand<'_, PrimitiveArray<Decimal128Type>> {
        self.arg(i)
    }
    pub(crate) fn text(&self, i: usize) -> Operand<'_, StringArray> {
        self.arg(i)
    }
    pub(crate) fn bytes(&self, i: usize) -> Operand<'_, BinaryArray> {
        self.arg(i)
    }
    pub(crate) fn date(&self, i: usize) -> Operand<'_, PrimitiveArray<Date32Type>> {
        self.arg(i)
    }
    pub(crate) fn time(&self, i: usize) -> Operand<'_, PrimitiveArray<Time64MicrosecondType>> {
        self.arg(i)
    }
    pub(crate) fn timestamp(&self, i: usize) -> Operand<'_, PrimitiveArray<TimestampMicrosecondType>> {
        self.arg(i)
    }
    pub(crate) fn interval(&self, i: usize) -> Operand<'_, PrimitiveArray<IntervalMonthDayNanoType>> {
        self.arg(i)
    }
    pub(crate) fn list(&self, i: usize) -> Operand<'_, ListArray> {
        self.arg(i)
    }

    /// Digits after the point of a numeric argument.
    pub(crate) fn scale(&self, i: usize) -> i8 {
        scale_of(self.args[i].array.data_type())
    }

    /// Digits after the point of a numeric result.
    pub(crate) fn result_scale(&self) -> i8 {
        scale_of(self.result)
    }

    /// Validity of the rows of a strict function: NULL where any argument is. `Err(all NULL)` when a constant is.
    pub(crate) fn nulls(&self) -> std::result::Result<Option<NullBuffer>, ArrayRef> {
        let mut nulls: Option<NullBuffer> = None;
        for arg in self.args {
            if !arg.constant {
                nulls = NullBuffer::union(nulls.as_ref(), arg.array.nulls());
            } else if arg.array.is_null(0) {
                return Err(new_null_array(self.result, self.rows));
            }
        }
        Ok(nulls.filter(|nulls| nulls.null_count() > 0))
    }

    /// Builds a primitive result row by row.
    pub(crate) fn build<T: ArrowPrimitiveType>(
        &self,
        mut f: impl FnMut(usize) -> Result<T::Native>,
    ) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut values = Vec::with_capacity(self.rows);
        match &nulls {
            None => {
                for row in 0..self.rows {
                    values.push(f(row)?);
                }
            }
            Some(nulls) => {
                for row in 0..self.rows {
                    values.push(if nulls.is_valid(row) { f(row)? } else { T::Native::default() });
                }
            }
        }
        Ok(self.finish::<T>(values, nulls))
    }

    /// Wraps computed values as an array of the result type.
    pub(crate) fn finish<T: ArrowPrimitiveType>(
        &self,
        values: Vec<T::Native>,
        nulls: Option<NullBuffer>,
    ) -> ArrayRef {
        let array = PrimitiveArray::<T>::new(values.into(), nulls);
        if array.data_type() == self.result {
            return Arc::new(array);
        }
        Arc::new(array.with_data_type(self.result.clone()))
    }

    /// Builds a primitive result that may be NULL although no argument is.
    pub(crate) fn build_option<T: ArrowPrimitiveType>(
        &self,
        mut f: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut values = Vec::with_capacity(self.rows);
        for row in 0..self.rows {
            let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            values.push(if valid { f(row)? } else { None });
        }
        let array: PrimitiveArray<T> = values.into_iter().collect();
        Ok(Arc::new(array.with_data_type(self.result.clone())))
    }

    /// Builds a numeric result of scale [`Self::result_scale`].
    pub(crate) fn build_numeric(&self, f: impl FnMut(usize) -> Result<i128>) -> Result<ArrayRef> {
        self.build::<Decimal128Type>(f)
    }

    /// Builds a boolean result.
    pub(crate) fn build_bool(&self, mut f: impl FnMut(usize) -> Result<bool>) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut values = BooleanBufferBuilder::new(self.rows);
        for row in 0..self.rows {
            values.append(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && f(row)?);
        }
        Ok(Arc::new(BooleanArray::new(values.finish(), nulls)))
    }

    /// Builds a text result: `f` writes each value into an empty string.
    pub(crate) fn build_text(&self, mut f: impl FnMut(usize, &mut String) -> Result<()>) -> Result<ArrayRef> {
        self.build_text_option(|row, out| f(row, out).map(|()| Some(())))
    }

    /// As [`Self::build_text`]; `None` is NULL.
    pub(crate) fn build_text_option(
        &self,
        mut f: impl FnMut(usize, &mut String) -> Result<Option<()>>,
    ) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 8);
        let mut value = String::new();
        for row in 0..self.rows {
            let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            value.clear();
            if valid && f(row, &mut value)?.is_some() {
                builder.append_value(&value);
            } else {
                builder.append_null();
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Builds a text result out of pieces of the arguments, without a copy in between.
    pub(crate) fn build_str<'s>(&self, mut f: impl FnMut(usize) -> Result<&'s str>) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 8);
        for row in 0..self.rows {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                builder.append_value(f(row)?);
            } else {
                builder.append_null();
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Builds a bytea result.
    pub(crate) fn build_bytes(&self, mut f: impl FnMut(usize) -> Result<Vec<u8>>) -> Result<ArrayRef> {
        let nulls = match self.nulls() {
            Ok(nulls) => nulls,
            Err(all_null) => return Ok(all_null),
        };
        let mut builder = BinaryBuilder::with_capacity(self.rows, self.rows * 8);
        for row in 0..self.rows {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                builder.append_value(f(row)?);
            } else {
                builder.append_null();
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

/// Arrow's verdict as ours.
pub(crate) fn from_df<T>(result: DataFusionResult<T>) -> Result<T> {
    result.map_err(from_datafusion)
}

fn scale_of(ty: &DataType) -> i8 {
    match ty {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

/// Decimal values with this scale.
pub(crate) fn decimals(values: Vec<i128>, nulls: Option<NullBuffer>, scale: i8) -> ArrayRef {
    let array = Decimal128Array::new(values.into(), nulls);
    Arc::new(array.with_data_type(DataType::Decimal128(38, scale)))
}
