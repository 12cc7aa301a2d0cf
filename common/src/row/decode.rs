//! Decoding of rows: one walk over each row finds its fields, then each column is built from its fields.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::{NULL, RowColumn, VARYING, VERSION};
use crate::error::{Error, Result};
use crate::key::Kind;

/// A field's value; `None` is NULL.
type Field<'a> = Option<&'a [u8]>;

/// The wanted columns of these rows.
pub(super) fn decode(wanted: &[&RowColumn], rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
    let mut columns: Vec<Vec<Field<'_>>> = vec![vec![None; rows.len()]; wanted.len()];
    let repeats = wanted.iter().enumerate().any(|(i, column)| wanted[..i].iter().any(|c| c.id == column.id));
    for (index, row) in rows.iter().enumerate() {
        read_row(wanted, repeats, row, index, &mut columns)?;
    }
    wanted.iter().zip(&columns).map(|(column, fields)| build(&column.ty, &column.kind, fields)).collect()
}

fn damaged(what: &str) -> Error {
    Error::corrupted(format!("a stored row has {what}"))
}

/// Walks over one row. Stored rows mostly have the wanted columns in order, so the next one is looked for
/// where the last one was found. `repeats`: a column is wanted more than once.
fn read_row<'a>(
    wanted: &[&RowColumn],
    repeats: bool,
    row: &'a [u8],
    index: usize,
    columns: &mut [Vec<Field<'a>>],
) -> Result<()> {
    let mut rest = row;
    let [version, low, high] = take::<3>(&mut rest)?;
    if version != VERSION {
        return Err(damaged(&format!("the unknown format version {version}")));
    }
    let mut next = 0;
    for _ in 0..u16::from_le_bytes([low, high]) {
        let id = u16::from_le_bytes(take::<2>(&mut rest)?);
        let field = read_field(&mut rest)?;
        if wanted.get(next).is_none_or(|column| column.id != id) {
            match wanted.iter().position(|column| column.id == id) {
                Some(position) => next = position,
                None => continue,
            }
        }
        columns[next][index] = field;
        next += 1;
        if repeats {
            let same = wanted.iter().enumerate().filter(|(_, column)| column.id == id);
            same.for_each(|(position, _)| columns[position][index] = field);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(damaged("bytes after its last column")) }
}

fn take<const WIDTH: usize>(rest: &mut &[u8]) -> Result<[u8; WIDTH]> {
    let (taken, left) = rest.split_first_chunk::<WIDTH>().ok_or_else(|| damaged("too few bytes"))?;
    *rest = left;
    Ok(*taken)
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>> {
    let [kind] = take::<1>(rest)?;
    let width = match kind {
        NULL => return Ok(None),
        1..VARYING => 1 << (kind - 1),
        VARYING => u32::from_le_bytes(take::<4>(rest)?) as usize,
        _ => return Err(damaged(&format!("the unknown field kind {kind}"))),
    };
    let (value, left) = rest.split_at_checked(width).ok_or_else(|| damaged("too few bytes"))?;
    *rest = left;
    Ok(Some(value))
}

fn build(ty: &DataType, kind: &Kind, fields: &[Field<'_>]) -> Result<ArrayRef> {
    Ok(match kind {
        Kind::Bool => Arc::new(booleans(fields)?),
        Kind::Int16 => primitive::<Int16Type, 2>(ty, fields, i16::from_le_bytes)?,
        Kind::Int32 => primitive::<Int32Type, 4>(ty, fields, i32::from_le_bytes)?,
        Kind::Date32 => primitive::<Date32Type, 4>(ty, fields, i32::from_le_bytes)?,
        Kind::Int64 => primitive::<Int64Type, 8>(ty, fields, i64::from_le_bytes)?,
        Kind::Time64 => primitive::<Time64MicrosecondType, 8>(ty, fields, i64::from_le_bytes)?,
        Kind::Timestamp => primitive::<TimestampMicrosecondType, 8>(ty, fields, i64::from_le_bytes)?,
        Kind::Float32 => primitive::<Float32Type, 4>(ty, fields, f32::from_le_bytes)?,
        Kind::Float64 => primitive::<Float64Type, 8>(ty, fields, f64::from_le_bytes)?,
        Kind::Decimal(_) => primitive::<Decimal128Type, 16>(ty, fields, i128::from_le_bytes)?,
        Kind::Interval => primitive::<IntervalMonthDayNanoType, 16>(ty, fields, interval)?,
        Kind::Fixed(width) => Arc::new(fixed_binary(*width, fields)?),
        Kind::Text => {
            let (offsets, bytes) = byte_strings(fields)?;
            let text = StringArray::try_new(offsets, bytes, nulls_of(fields));
            Arc::new(text.map_err(|_| damaged("text that is not UTF-8"))?)
        }
        Kind::Binary => {
            let (offsets, bytes) = byte_strings(fields)?;
            Arc::new(BinaryArray::try_new(offsets, bytes, nulls_of(fields)).map_err(Error::internal)?)
        }
        Kind::List(element) => lists(ty, element, fields)?,
    })
}

fn interval(bytes: [u8; 16]) -> IntervalMonthDayNano {
    let all = u128::from_le_bytes(bytes);
    IntervalMonthDayNano::new(all as i32, (all >> 32) as i32, (all >> 64) as i64)
}

fn nulls_of(fields: &[Field<'_>]) -> Option<NullBuffer> {
    let any = fields.iter().any(Option::is_none);
    any.then(|| NullBuffer::from_iter(fields.iter().map(Option::is_some)))
}

fn wrong_width(field: &[u8], width: usize) -> Error {
    damaged(&format!("a value of {} bytes where its type has {width}", field.len()))
}

fn primitive<T: ArrowPrimitiveType, const WIDTH: usize>(
    ty: &DataType,
    fields: &[Field<'_>],
    value: impl Fn([u8; WIDTH]) -> T::Native,
) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(fields.len());
    for field in fields {
        values.push(match field {
            None => T::Native::default(),
            Some(bytes) => value((*bytes).try_into().map_err(|_| wrong_width(bytes, WIDTH))?),
        });
    }
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls_of(fields)).with_data_type(ty.clone())))
}

fn booleans(fields: &[Field<'_>]) -> Result<BooleanArray> {
    fields
        .iter()
        .map(|field| match field {
            None => Ok(None),
            Some([byte @ (0 | 1)]) => Ok(Some(*byte == 1)),
            Some(_) => Err(damaged("a boolean that is neither true nor false")),
        })
        .collect()
}

fn fixed_binary(width: usize, fields: &[Field<'_>]) -> Result<FixedSizeBinaryArray> {
    let mut bytes = Vec::with_capacity(width * fields.len());
    for field in fields {
        match field {
            None => bytes.resize(bytes.len() + width, 0),
            Some(value) if value.len() == width => bytes.extend_from_slice(value),
            Some(value) => return Err(wrong_width(value, width)),
        }
    }
    let width = i32::try_from(width).map_err(Error::internal)?;
    FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls_of(fields)).map_err(Error::internal)
}

fn byte_strings(fields: &[Field<'_>]) -> Result<(OffsetBuffer<i32>, Buffer)> {
    let mut bytes = Vec::with_capacity(fields.iter().flatten().map(|field| field.len()).sum());
    let mut ends = Vec::with_capacity(fields.len() + 1);
    ends.push(0);
    for field in fields {
        bytes.extend_from_slice(field.unwrap_or_default());
        ends.push(i32::try_from(bytes.len()).map_err(|_| Error::internal("decoded rows exceed 2 GiB"))?);
    }
    Ok((OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(bytes)))
}

fn lists(ty: &DataType, kind: &Kind, fields: &[Field<'_>]) -> Result<ArrayRef> {
    let DataType::List(field) = ty else { return Err(Error::internal("a list column without a list type")) };
    let mut elements = Vec::new();
    let mut ends = Vec::with_capacity(fields.len() + 1);
    ends.push(0i32);
    for list in fields {
        if let Some(mut rest) = *list {
            for _ in 0..u32::from_le_bytes(take::<4>(&mut rest)?) {
                elements.push(read_field(&mut rest)?);
            }
            if !rest.is_empty() {
                return Err(damaged("bytes after the last element of an array"));
            }
        }
        ends.push(i32::try_from(elements.len()).map_err(|_| damaged("too many array elements"))?);
    }
    let values = build(field.data_type(), kind, &elements)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(
        ListArray::try_new(field.clone(), offsets, values, nulls_of(fields)).map_err(Error::internal)?,
    ))
}
