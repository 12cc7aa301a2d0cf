//! The lists of set-returning functions: `generate_series` (int.c, int8.c, numeric.c, timestamp.c), `generate_subscripts`
//! (arrayfuncs.c) and the numbers of WITH ORDINALITY.
//!
//! PostgreSQL's functions give one value a call; here a call gives all values of its row as a list, and an Unnest above
//! makes rows of it. Where an argument is NULL the list is NULL, which makes no row either.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Decimal128Type, Int32Type, Int64Type, IntervalMonthDayNano, TimestampMicrosecondType,
};
use weir_common::text::interval::comparison_key;
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::datetime_arithmetic::add;
use super::registry::{NUMERIC, Param, Returns, Table, is};

use SqlType::{Bool, Int4, Int8, Interval, Timestamp, Timestamptz};

/// The numbers 1, 2, … up to the length of the longest of the argument's lists: what WITH ORDINALITY counts.
pub const ORDINALS: &str = "ordinals";

/// Most values of one series: they are made at once.
const SERIES_VALUES: usize = 50_000_000;

/// Most values of all lists of a call, whose ends are 32-bit numbers.
const CALL_VALUES: usize = i32::MAX as usize;

pub(crate) fn register(t: &mut Table) {
    integer_series(t);
    timestamp_series(t, "generate_series_timestamp", Timestamp);
    timestamp_series(t, "generate_series_timestamptz", Timestamptz);
    subscripts(t);
    t.unnamed(ORDINALS, 1, Returns::Is(array_of(Int8)), |call| {
        let lengths = |row: usize| (0..call.len()).map(move |i| length(call, i, row));
        lists::<Int64Type>(call, None, |row, out| {
            out.extend(1..=lengths(row).max().unwrap_or(0) as i64);
            Ok(())
        })
    });
}

fn array_of(element: SqlType) -> SqlType {
    SqlType::Array(Box::new(element))
}

/// `generate_series` of integers and numerics, with and without a step.
fn integer_series(t: &mut Table) {
    let kinds: [(&str, Param, Returns); 3] = [
        ("generate_series_int4", is(Int4), Returns::Is(array_of(Int4))),
        ("generate_series_int8", is(Int8), Returns::Is(array_of(Int8))),
        ("generate_series_numeric", is(NUMERIC), Returns::ArrayOf(0)),
    ];
    for (udf, param, returns) in kinds {
        let eval = move |call: &Call<'_>| match call.array(0).0.data_type() {
            DataType::Int32 => numbers::<Int32Type>(call, |value| value as i32),
            DataType::Int64 => numbers::<Int64Type>(call, |value| value as i64),
            _ => numbers::<Decimal128Type>(call, |value| value),
        };
        for (name, width) in [(udf.to_owned(), 2), (format!("{udf}_step"), 3)] {
            let params = vec![param.clone(); width];
            t.list_maker("generate_series", &name, &params, returns.clone(), eval).same_scale = true;
        }
    }
}

/// Arithmetic series; `narrow` is exact for values between the first and the last.
fn numbers<T: ArrowPrimitiveType>(call: &Call<'_>, narrow: fn(i128) -> T::Native) -> Result<ArrayRef>
where
    T::Native: Into<i128>,
{
    let (start, stop) = (call.prim::<T>(0), call.prim::<T>(1));
    // 1, as the argument's type writes it.
    let one = 10i128.pow(u32::from(call.scale(0).unsigned_abs()));
    strict::<T>(call, |row, out| {
        let (start, stop): (i128, i128) = (start.at(row).into(), stop.at(row).into());
        let step: i128 = if call.len() == 3 { call.prim::<T>(2).at(row).into() } else { one };
        if step == 0 {
            return Err(zero_step());
        }
        let span = stop.checked_sub(start).ok_or_else(too_long)?;
        if span != 0 && (span < 0) != (step < 0) {
            return Ok(());
        }
        let more = usize::try_from(span / step).ok().filter(|more| *more < SERIES_VALUES);
        let more = more.ok_or_else(too_long)? as i128;
        out.extend((0..=more).map(|i| narrow(start + i * step)));
        Ok(())
    })
}

fn timestamp_series(t: &mut Table, udf: &str, ty: SqlType) {
    let params = [is(ty.clone()), is(ty.clone()), is(Interval)];
    t.list_maker("generate_series", udf, &params, Returns::Is(array_of(ty)), |call| {
        let (start, stop, step) = (call.timestamp(0), call.timestamp(1), call.interval(2));
        strict::<TimestampMicrosecondType>(call, |row, out| {
            append_timestamps(start.at(row), stop.at(row), step.at(row), out)
        })
    });
}

/// Each value is the one before plus the step, so that months clip days for good: Jan 31, Feb 28, Mar 28.
fn append_timestamps(start: i64, stop: i64, step: IntervalMonthDayNano, out: &mut Vec<i64>) -> Result<()> {
    let direction = comparison_key(step);
    if direction == 0 {
        return Err(zero_step());
    }
    let before = out.len();
    let mut value = start;
    while if direction > 0 { value <= stop } else { value >= stop } {
        if out.len() - before == SERIES_VALUES {
            return Err(too_long());
        }
        out.push(value);
        value = add(value, step)?;
    }
    Ok(())
}

/// `generate_subscripts(array, dimension [, reverse])`; vectors of the catalog begin at 0, arrays at 1.
fn subscripts(t: &mut Table) {
    let vectors = [SqlType::Int2Vector, SqlType::OidVector];
    let vectors = vectors.map(|ty| (format!("generate_subscripts_{}", ty.catalog_name()), is(ty), 0));
    let arrays = ("generate_subscripts".to_owned(), Param::AnyArray, 1);
    for (udf, array, base) in vectors.into_iter().chain([arrays]) {
        let eval = move |call: &Call<'_>| {
            let dimension = call.int4(1);
            strict::<Int32Type>(call, |row, out| {
                let length = if dimension.at(row) == 1 { length(call, 0, row) as i32 } else { 0 };
                let range = base..base + length;
                if call.len() == 3 && call.bool(2).at(row) {
                    out.extend(range.rev());
                } else {
                    out.extend(range);
                }
                Ok(())
            })
        };
        let params = [array, is(Int4), is(Bool)];
        for (name, width) in [(udf.clone(), 2), (format!("{udf}_reverse"), 3)] {
            let returns = Returns::Is(array_of(Int4));
            t.list_maker("generate_subscripts", &name, &params[..width], returns, eval);
        }
    }
}

/// How many elements the list argument has in this row; NULL has none.
fn length(call: &Call<'_>, argument: usize, row: usize) -> usize {
    let list = call.list(argument);
    if list.is_null(row) { 0 } else { list.array.value_length(list.index(row)) as usize }
}

/// As [`lists`], NULL where an argument is.
fn strict<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    fill: impl Fn(usize, &mut Vec<T::Native>) -> Result<()>,
) -> Result<ArrayRef> {
    match call.nulls() {
        Ok(nulls) => lists::<T>(call, nulls, fill),
        Err(all_null) => Ok(all_null),
    }
}

/// A list for each row; `fill` appends its values.
pub(crate) fn lists<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    nulls: Option<NullBuffer>,
    fill: impl Fn(usize, &mut Vec<T::Native>) -> Result<()>,
) -> Result<ArrayRef> {
    let mut values = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = values.len();
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            fill(row, &mut values)?;
        }
        if values.len() > CALL_VALUES {
            return Err(too_long());
        }
        lengths.push(values.len() - before);
    }
    let DataType::List(field) = call.result else {
        return Err(Error::internal(format!("a list of type {}", call.result)));
    };
    let values = PrimitiveArray::<T>::new(values.into(), None).with_data_type(field.data_type().clone());
    let list =
        ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), Arc::new(values), nulls);
    Ok(Arc::new(list.map_err(Error::internal)?))
}

fn zero_step() -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

fn too_long() -> Error {
    let message = format!("generate_series of more than {SERIES_VALUES} values");
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).with_hint("Combine two series with a cross join.")
}
