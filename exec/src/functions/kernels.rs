//! Arithmetic loops over slices: one tight loop over the values, validity handled apart, constants not expanded.
//!
//! Checked kernels compute every row, also NULL ones (whose value is arbitrary), and only gather whether any
//! row overflowed; only then a second pass looks whether it was a valid one.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::NullBuffer;
use weir_common::{Error, Result};

use super::call::{Call, Operand};

/// `op` gives the wrapped value and whether it overflowed.
pub(crate) fn checked_binary<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    op: impl Fn(T::Native, T::Native) -> (T::Native, bool),
    error: impl Fn() -> Error,
) -> Result<ArrayRef> {
    let nulls = match call.nulls() {
        Ok(nulls) => nulls,
        Err(all_null) => return Ok(all_null),
    };
    let (left, right) = (call.prim::<T>(0), call.prim::<T>(1));
    let mut overflowed = false;
    let values = zip(left, right, call.rows, |a, b| {
        let (value, over) = op(a, b);
        overflowed |= over;
        value
    });
    if overflowed && any_valid(&nulls, call.rows, |row| op(left.at(row), right.at(row)).1) {
        return Err(error());
    }
    Ok(call.finish::<T>(values, nulls))
}

/// `op` cannot fail.
pub(crate) fn binary<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    op: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let nulls = match call.nulls() {
        Ok(nulls) => nulls,
        Err(all_null) => return Ok(all_null),
    };
    let values = zip(call.prim::<T>(0), call.prim::<T>(1), call.rows, op);
    Ok(call.finish::<T>(values, nulls))
}

/// `op` of one argument gives the wrapped value and whether it overflowed.
pub(crate) fn checked_unary<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    op: impl Fn(T::Native) -> (T::Native, bool),
    error: impl Fn() -> Error,
) -> Result<ArrayRef> {
    let input = call.prim::<T>(0);
    let nulls = input.array.nulls().cloned();
    let mut overflowed = false;
    let values = input.array.values().iter().map(|a| {
        let (value, over) = op(*a);
        overflowed |= over;
        value
    });
    let values: Vec<T::Native> = values.collect();
    if overflowed && any_valid(&nulls, values.len(), |row| op(input.at(row)).1) {
        return Err(error());
    }
    Ok(call.finish::<T>(values, nulls))
}

/// `op` of one argument cannot fail, whatever number is below a NULL.
pub(crate) fn unary<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    op: impl Fn(T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let input = call.prim::<T>(0).array;
    Ok(call.finish::<T>(input.values().iter().map(|a| op(*a)).collect(), input.nulls().cloned()))
}

fn zip<T: ArrowPrimitiveType>(
    left: Operand<'_, PrimitiveArray<T>>,
    right: Operand<'_, PrimitiveArray<T>>,
    rows: usize,
    mut op: impl FnMut(T::Native, T::Native) -> T::Native,
) -> Vec<T::Native> {
    let (a, b) = (left.array.values(), right.array.values());
    match (left.constant, right.constant) {
        (false, false) => a.iter().zip(b.iter()).map(|(a, b)| op(*a, *b)).collect(),
        (false, true) => {
            let b = b[0];
            a.iter().map(|a| op(*a, b)).collect()
        }
        (true, false) => {
            let a = a[0];
            b.iter().map(|b| op(a, *b)).collect()
        }
        (true, true) => vec![op(a[0], b[0]); rows],
    }
}

fn any_valid(nulls: &Option<NullBuffer>, rows: usize, mut test: impl FnMut(usize) -> bool) -> bool {
    (0..rows).any(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && test(row))
}
