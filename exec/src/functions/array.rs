//! Arrays: length, search, concatenation, containment (arrayfuncs.c, array_userfuncs.c).
//!
//! Arrays have one dimension and begin at 1.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, ListArray, Scalar, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::{distinct, not_distinct};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use weir_common::{Error, Result, SqlType};

use super::call::{Call, Operand};
use super::registry::{Param, Returns, Table, is};
use crate::error::from_arrow;

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
    Scalar::new(array.slice(if constant { 0 } else { row }, 1))
}

fn searching(t: &mut Table) {
    let params = [Param::AnyArray, Param::AnyElement];
    t.generic("array_position", "array_position", &params, Returns::Is(I), |call| {
        let list = call.list(0);
        build_position(call, |row| {
            if list.is_null(row) {
                return Ok(None);
            }
            let same = not_distinct(&list.at(row), &element(call, 1, row)).map_err(from_arrow)?;
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
    call.build_bool(|row| test(a.at(row), b.at(row)))
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
    t.generic("= any", "array_any_eq", &params, Returns::Is(SqlType::Bool), |call| {
        let (list, values) = (call.list(1), call.any(0));
        let found: Result<BooleanArray> = (0..call.rows)
            .map(|row| {
                if list.is_null(row) {
                    return Ok(None);
                }
                let elements = list.at(row);
                if values.is_null(row) {
                    return Ok((elements.is_empty()).then_some(false));
                }
                let same = not_distinct(&elements, &element(call, 0, row)).map_err(from_arrow)?;
                Ok(if same.true_count() > 0 {
                    Some(true)
                } else {
                    (elements.null_count() == 0).then_some(false)
                })
            })
            .collect();
        Ok(Arc::new(found?))
    })
    .strict = false;
}
