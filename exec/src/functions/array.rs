//! Arrays: length, search, concatenation, containment (arrayfuncs.c, array_userfuncs.c).
//!
//! Arrays have one dimension and begin at 1.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, ListArray, Scalar, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::{distinct, eq, not_distinct};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use weir_common::{Error, Result, SqlType};

use super::call::{Call, Operand};
use super::canonical::canonical;
use super::registry::{Param, Returns, Table, is};
use crate::error::from_arrow;

/// The UDF of `ARRAY[…]`: its arguments as a list.
pub const MAKE_ARRAY: &str = "make_array";

/// The UDF of `value = ANY (list)`.
pub const ARRAY_CONTAINS: &str = "array_any_eq";

const I: SqlType = SqlType::Int4;

pub(crate) fn register(t: &mut Table) {
    lengths(t);
    searching(t);
    concatenation(t);
    t.generic(
        "array_remove",
        "array_remove",
        &[Param::AnyArray, Param::AnyElement],
        Returns::SameAs(0),
        |call| {
            per_list(call, |row, values| {
                let keep = distinct(&values, &element(call, 1, row)).map_err(from_arrow)?;
                arrow::compute::filter(&values, &keep).map_err(from_arrow)
            })
        },
    )
    .strict = false;
    t.generic("trim_array", "trim_array", &[Param::AnyArray, is(I)], Returns::SameAs(0), |call| {
        let count = call.int4(1);
        per_list(call, |row, values| {
            let count = usize::try_from(count.at(row)).ok().filter(|count| *count <= values.len());
            let count = count.ok_or_else(|| {
                let most = values.len();
                Error::new(
                    weir_common::SqlState("2202E"),
                    format!("number of elements to trim must be between 0 and {most}"),
                )
            })?;
            Ok(values.slice(0, values.len() - count))
        })
    });
    subscripts(t);
    construction(t);
}

fn lengths(t: &mut Table) {
    let dimension = [Param::AnyArray, is(I)];
    for (sql, of) in
        [("array_length", Bound::Length), ("array_upper", Bound::Length), ("array_lower", Bound::Lower)]
    {
        t.generic(sql, sql, &dimension, Returns::Is(I), move |call| {
            let (list, dimension) = (call.list(0), call.int4(1));
            call.build_option::<Int32Type>(|row| {
                let length = list.array.value_length(list.index(row));
                let present = dimension.at(row) == 1 && length > 0;
                Ok(present.then_some(if of == Bound::Lower { 1 } else { length }))
            })
        });
    }
    t.generic("cardinality", "array_cardinality", &[Param::AnyArray], Returns::Is(I), |call| {
        let list = call.list(0);
        call.build::<Int32Type>(|row| Ok(list.array.value_length(list.index(row))))
    });
    t.generic("array_ndims", "array_ndims", &[Param::AnyArray], Returns::Is(I), |call| {
        let list = call.list(0);
        call.build_option::<Int32Type>(|row| Ok((list.array.value_length(list.index(row)) > 0).then_some(1)))
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Lower,
    Length,
}

/// The argument's value in this row, to compare a whole array with.
fn element(call: &Call<'_>, i: usize, row: usize) -> Scalar<ArrayRef> {
    let (array, constant) = call.array(i);
    Scalar::new(canonical(&array.slice(if constant { 0 } else { row }, 1)))
}

fn searching(t: &mut Table) {
    let params = [Param::AnyArray, Param::AnyElement];
    t.generic("array_position", "array_position", &params, Returns::Is(I), |call| {
        let list = call.list(0);
        build_position(call, |row| {
            if list.is_null(row) {
                return Ok(None);
            }
            let same = not_distinct(&canonical(&list.at(row)), &element(call, 1, row)).map_err(from_arrow)?;
            Ok((0..same.len()).find(|i| same.value(*i)).map(|i| i as i32 + 1))
        })
    })
    .strict = false;
    let both = [Param::AnyArray, Param::AnyArray];
    t.generic("@>", "arraycontains", &both, Returns::Is(SqlType::Bool), |call| {
        containment(call, |a, b| contains_all(&a, &b))
    });
    t.generic("<@", "arraycontained", &both, Returns::Is(SqlType::Bool), |call| {
        containment(call, |a, b| contains_all(&b, &a))
    });
    t.generic("&&", "arrayoverlap", &both, Returns::Is(SqlType::Bool), |call| {
        containment(call, |a, b| Ok(!common(&a, &b)?.is_empty()))
    });
}

fn build_position(call: &Call<'_>, f: impl Fn(usize) -> Result<Option<i32>>) -> Result<ArrayRef> {
    let found: Result<arrow::array::Int32Array> = (0..call.rows).map(f).collect();
    Ok(Arc::new(found?))
}

fn containment(call: &Call<'_>, test: impl Fn(ArrayRef, ArrayRef) -> Result<bool>) -> Result<ArrayRef> {
    let (a, b) = (call.list(0), call.list(1));
    call.build_bool(|row| test(canonical(&a.at(row)), canonical(&b.at(row))))
}

fn contains_all(whole: &ArrayRef, part: &ArrayRef) -> Result<bool> {
    Ok(part.null_count() == 0 && common(part, whole)?.len() == part.len())
}

/// Positions in `a` of elements that `b` has too; NULL equals nothing.
fn common(a: &ArrayRef, b: &ArrayRef) -> Result<Vec<usize>> {
    let mut positions = Vec::new();
    for i in (0..a.len()).filter(|i| a.is_valid(*i)) {
        let one: &dyn Datum = &Scalar::new(a.slice(i, 1));
        let same: BooleanArray = not_distinct(b, one).map_err(from_arrow)?;
        if same.true_count() > 0 {
            positions.push(i);
        }
    }
    Ok(positions)
}

fn concatenation(t: &mut Table) {
    let both = [Param::AnyArray, Param::AnyArray];
    let append = [Param::AnyArray, Param::AnyElement];
    let prepend = [Param::AnyElement, Param::AnyArray];
    t.generic("||", "array_cat", &both, Returns::SameAs(0), |call| joined(call, piece, piece)).strict = false;
    t.generic("||", "array_append", &append, Returns::SameAs(0), |call| joined(call, piece, single)).strict =
        false;
    t.generic("||", "array_prepend", &prepend, Returns::SameAs(1), |call| joined(call, single, piece))
        .strict = false;
    for (sql, params, returns) in
        [("array_cat", both, 0), ("array_append", append, 0), ("array_prepend", prepend, 1)]
    {
        t.generic_alias(sql, sql, &params, Returns::SameAs(returns)).strict = false;
    }
}

/// A part of a concatenation: `None` where the array is NULL.
type Piece = fn(&Call<'_>, usize, usize) -> Option<ArrayRef>;

fn piece(call: &Call<'_>, i: usize, row: usize) -> Option<ArrayRef> {
    let list: Operand<'_, ListArray> = call.list(i);
    (!list.is_null(row)).then(|| list.at(row))
}

fn single(call: &Call<'_>, i: usize, row: usize) -> Option<ArrayRef> {
    let (array, constant) = call.array(i);
    Some(array.slice(if constant { 0 } else { row }, 1))
}

/// NULL with an array is that array; NULL with NULL is NULL.
fn joined(call: &Call<'_>, left: Piece, right: Piece) -> Result<ArrayRef> {
    let mut pieces: Vec<ArrayRef> = Vec::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let both = [left(call, 0, row), right(call, 1, row)];
        valid.push(both.iter().any(Option::is_some));
        lengths.push(both.iter().flatten().map(|piece| piece.len()).sum());
        pieces.extend(both.into_iter().flatten());
    }
    list_of(call.result, &pieces, lengths, valid)
}

fn item_field(ty: &DataType) -> Result<&FieldRef> {
    match ty {
        DataType::List(field) => Ok(field),
        other => Err(Error::internal(format!("an array function that gives {other}"))),
    }
}

fn list_of(ty: &DataType, pieces: &[ArrayRef], lengths: Vec<usize>, valid: Vec<bool>) -> Result<ArrayRef> {
    let field = item_field(ty)?;
    let parts: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    let values = match parts.as_slice() {
        [] => arrow::array::new_empty_array(field.data_type()),
        parts => concat(parts).map_err(from_arrow)?,
    };
    Ok(Arc::new(ListArray::new(
        field.clone(),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(valid.into()),
    )))
}

/// Builds arrays out of the first argument's, which decides alone about NULL.
fn per_list(call: &Call<'_>, f: impl Fn(usize, ArrayRef) -> Result<ArrayRef>) -> Result<ArrayRef> {
    let list = call.list(0);
    let mut pieces = Vec::with_capacity(call.rows);
    let (mut lengths, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let present = !list.is_null(row);
        let values = if present { Some(f(row, list.at(row))?) } else { None };
        valid.push(present);
        lengths.push(values.as_ref().map_or(0, |values| values.len()));
        pieces.extend(values);
    }
    list_of(call.result, &pieces, lengths, valid)
}

/// `a[i]` as a function, and `= ANY (array)` with its three-valued logic.
fn subscripts(t: &mut Table) {
    t.generic(
        "array_subscript",
        "array_subscript",
        &[Param::AnyArray, is(I)],
        Returns::ElementOf(0),
        |call| {
            let (list, index) = (call.list(0), call.int4(1));
            let offsets = list.array.offsets();
            let positions: UInt32Array = (0..call.rows)
                .map(|row| {
                    let at = list.index(row);
                    let length = list.array.value_length(at);
                    let inside =
                        !list.is_null(row) && !index.is_null(row) && (1..=length).contains(&index.at(row));
                    inside.then(|| (offsets[at] + index.at(row) - 1) as u32)
                })
                .collect();
            take(list.array.values(), &positions, None).map_err(from_arrow)
        },
    );
    let params = [Param::AnyElement, Param::AnyArray];
    t.generic("= any", ARRAY_CONTAINS, &params, Returns::Is(SqlType::Bool), contains_value).strict = false;
}

/// `value = ANY (list)`: NULL when nothing is equal and something is NULL.
fn contains_value(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, value) = (call.list(1), call.array(0));
    let length = |row: usize| {
        let at = list.index(row);
        if list.array.is_null(at) { 0 } else { list.array.value_length(at) as usize }
    };
    let elements: UInt32Array = (0..call.rows)
        .flat_map(|row| (0..length(row)).map(move |i| (row, i)))
        .map(|(row, i)| list.array.value_offsets()[list.index(row)] as u32 + i as u32)
        .collect();
    let owner = |row: usize| if value.1 { 0 } else { row as u32 };
    let owners: UInt32Array =
        (0..call.rows).flat_map(|row| std::iter::repeat_n(owner(row), length(row))).collect();
    let values = take(value.0, &owners, None).map_err(from_arrow)?;
    let elements = take(list.array.values(), &elements, None).map_err(from_arrow)?;
    let equal = eq(&canonical(&values), &canonical(&elements)).map_err(from_arrow)?;
    let mut next = 0;
    let mut answer = |row: usize| {
        let range = next..next + length(row);
        next = range.end;
        if list.is_null(row) || (call.any(0).is_null(row) && !range.is_empty()) {
            return None;
        }
        match range.clone().any(|i| equal.is_valid(i) && equal.value(i)) {
            true => Some(true),
            false => range.clone().all(|i| equal.is_valid(i)).then_some(false),
        }
    };
    Ok(Arc::new((0..call.rows).map(&mut answer).collect::<BooleanArray>()))
}

/// `ARRAY[…]` of one value at least.
fn construction(t: &mut Table) {
    t.unnamed(MAKE_ARRAY, 1, Returns::ArrayOf(0), |call| {
        let field = item_field(call.result)?;
        let items: Vec<_> = (0..call.len()).map(|i| call.array(i)).collect();
        let arrays: Vec<&dyn Array> = items.iter().map(|(array, _)| array.as_ref()).collect();
        let place = |row: usize, i: usize| (i, if items[i].1 { 0 } else { row });
        let indices: Vec<(usize, usize)> = (0..call.rows)
            .flat_map(|row| (0..items.len()).map(move |i| (row, i)))
            .map(|(row, i)| place(row, i))
            .collect();
        let values = interleave(&arrays, &indices).map_err(from_arrow)?;
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(items.len(), call.rows));
        Ok(Arc::new(ListArray::try_new(field.clone(), offsets, values, None).map_err(from_arrow)?))
    });
}
