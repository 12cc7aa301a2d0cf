//! Decoding of keys, column by column: a read position per key moves from column to column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::encode::END;
use super::kind::interval_of_span;
use super::{KeyColumn, Kind, NULL_FIRST, NULL_LAST, VALUE};
use crate::error::{Error, Result};

/// The columns of these keys, and what follows them.
pub(super) fn decode<'k>(columns: &[KeyColumn], keys: &[&'k [u8]]) -> Result<(Vec<ArrayRef>, Vec<&'k [u8]>)> {
    let mut readers: Vec<Reader<'k>> = keys.iter().map(|key| Reader { rest: key, mask: 0 }).collect();
    let mut arrays = Vec::with_capacity(columns.len());
    for column in columns {
        readers.iter_mut().for_each(|reader| reader.mask = column.mask);
        arrays.push(decode_column(column, &mut readers)?);
    }
    Ok((arrays, readers.into_iter().map(|reader| reader.rest).collect()))
}

/// What follows the columns of a key.
pub(super) fn tail<'k>(columns: &[KeyColumn], key: &'k [u8]) -> Result<&'k [u8]> {
    let mut reader = Reader { rest: key, mask: 0 };
    for column in columns {
        reader.mask = column.mask;
        reader.skip(&column.kind)?;
    }
    Ok(reader.rest)
}

pub(super) fn too_long() -> Error {
    damaged("bytes after the last column")
}

fn damaged(what: &str) -> Error {
    Error::corrupted(format!("a stored key has {what}"))
}

/// What is left of a key; every byte read is XORed with `mask`.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
    mask: u8,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| damaged("too few bytes"))?;
        self.rest = rest;
        Ok(first ^ self.mask)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| damaged("too few bytes"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const WIDTH: usize>(&mut self) -> Result<[u8; WIDTH]> {
        let (taken, rest) = self.rest.split_first_chunk::<WIDTH>().ok_or_else(|| damaged("too few bytes"))?;
        self.rest = rest;
        Ok(taken.map(|byte| byte ^ self.mask))
    }

    /// Whether a value follows (true) or the column is NULL.
    fn is_value(&mut self) -> Result<bool> {
        match self.byte()? {
            VALUE => Ok(true),
            NULL_FIRST | NULL_LAST => Ok(false),
            _ => Err(damaged("an unknown column marker")),
        }
    }

    /// Appends the byte string that follows, unescaped.
    fn byte_string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0xFF => out.push(0),
                    end if end == END[1] => return Ok(()),
                    _ => return Err(damaged("an unknown escape")),
                },
                byte => out.push(byte),
            }
        }
    }

    /// Passes over one column.
    fn skip(&mut self, kind: &Kind) -> Result<()> {
        let is_value = self.is_value()?;
        if let Some(width) = kind.width() {
            return self.slice(width).map(drop);
        }
        if !is_value {
            return Ok(());
        }
        match kind {
            Kind::List(element) => {
                while self.rest.first().map(|byte| byte ^ self.mask) != Some(NULL_FIRST) {
                    self.skip(element)?;
                }
                self.byte().map(drop)
            }
            _ => self.byte_string(&mut Vec::new()),
        }
    }
}

fn decode_column(column: &KeyColumn, readers: &mut [Reader<'_>]) -> Result<ArrayRef> {
    let ty = &column.ty;
    Ok(match &column.kind {
        Kind::Bool => {
            let (values, nulls) = fixed(readers, |[byte]: [u8; 1]| Ok(byte != 0))?;
            Arc::new(BooleanArray::new(values.into_iter().collect(), nulls))
        }
        Kind::Int16 => primitive::<Int16Type, 2>(ty, readers, |b| Ok(i16::from_be_bytes(b) ^ i16::MIN))?,
        Kind::Int32 => primitive::<Int32Type, 4>(ty, readers, be_i32)?,
        Kind::Date32 => primitive::<Date32Type, 4>(ty, readers, be_i32)?,
        Kind::Int64 => primitive::<Int64Type, 8>(ty, readers, be_i64)?,
        Kind::Time64 => primitive::<Time64MicrosecondType, 8>(ty, readers, be_i64)?,
        Kind::Timestamp => primitive::<TimestampMicrosecondType, 8>(ty, readers, be_i64)?,
        Kind::Float32 => primitive::<Float32Type, 4>(ty, readers, |b| {
            let bits = u32::from_be_bytes(b);
            Ok(f32::from_bits(bits ^ if bits >> 31 == 1 { 1 << 31 } else { u32::MAX }))
        })?,
        Kind::Float64 => primitive::<Float64Type, 8>(ty, readers, |b| {
            let bits = u64::from_be_bytes(b);
            Ok(f64::from_bits(bits ^ if bits >> 63 == 1 { 1 << 63 } else { u64::MAX }))
        })?,
        Kind::Decimal(_) => {
            primitive::<Decimal128Type, 16>(ty, readers, |b| Ok(i128::from_be_bytes(b) ^ i128::MIN))?
        }
        Kind::Interval => primitive::<IntervalMonthDayNanoType, 16>(ty, readers, |b| {
            interval_of_span(i128::from_be_bytes(b) ^ i128::MIN)
                .ok_or_else(|| damaged("an interval out of range"))
        })?,
        Kind::Fixed(width) => fixed_binary(*width, readers)?,
        Kind::Text => {
            let (offsets, bytes, nulls) = byte_strings(readers)?;
            let text =
                StringArray::try_new(offsets, bytes, nulls).map_err(|_| damaged("text that is not UTF-8"))?;
            Arc::new(text)
        }
        Kind::Binary => {
            let (offsets, bytes, nulls) = byte_strings(readers)?;
            Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(Error::internal)?)
        }
        Kind::List(element) => lists(ty, element, readers)?,
    })
}

fn be_i32(bytes: [u8; 4]) -> Result<i32> {
    Ok(i32::from_be_bytes(bytes) ^ i32::MIN)
}

fn be_i64(bytes: [u8; 8]) -> Result<i64> {
    Ok(i64::from_be_bytes(bytes) ^ i64::MIN)
}

fn primitive<T: ArrowPrimitiveType, const WIDTH: usize>(
    ty: &DataType,
    readers: &mut [Reader<'_>],
    value: impl Fn([u8; WIDTH]) -> Result<T::Native>,
) -> Result<ArrayRef> {
    let (values, nulls) = fixed(readers, value)?;
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(ty.clone())))
}

fn fixed<V: Default, const WIDTH: usize>(
    readers: &mut [Reader<'_>],
    value: impl Fn([u8; WIDTH]) -> Result<V>,
) -> Result<(Vec<V>, Option<NullBuffer>)> {
    let mut values = Vec::with_capacity(readers.len());
    let mut valid = Vec::with_capacity(readers.len());
    for reader in readers {
        let is_value = reader.is_value()?;
        let bytes = reader.array::<WIDTH>()?;
        values.push(if is_value { value(bytes)? } else { V::default() });
        valid.push(is_value);
    }
    Ok((values, nulls_of(valid)))
}

fn nulls_of(valid: Vec<bool>) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

fn fixed_binary(width: usize, readers: &mut [Reader<'_>]) -> Result<ArrayRef> {
    let mut bytes = Vec::with_capacity(width * readers.len());
    let mut valid = Vec::with_capacity(readers.len());
    for reader in readers {
        valid.push(reader.is_value()?);
        let mask = reader.mask;
        bytes.extend(reader.slice(width)?.iter().map(|byte| byte ^ mask));
    }
    let array = FixedSizeBinaryArray::try_new(width as i32, Buffer::from_vec(bytes), nulls_of(valid));
    Ok(Arc::new(array.map_err(Error::internal)?))
}

type ByteStrings = (OffsetBuffer<i32>, Buffer, Option<NullBuffer>);

fn byte_strings(readers: &mut [Reader<'_>]) -> Result<ByteStrings> {
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(readers.len() + 1);
    ends.push(0);
    let mut valid = Vec::with_capacity(readers.len());
    for reader in readers {
        let is_value = reader.is_value()?;
        if is_value {
            reader.byte_string(&mut bytes)?;
        }
        ends.push(i32::try_from(bytes.len()).map_err(|_| Error::internal("decoded keys exceed 2 GiB"))?);
        valid.push(is_value);
    }
    Ok((OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(bytes), nulls_of(valid)))
}

/// Finds where each element begins, then decodes all elements as one column.
fn lists(ty: &DataType, kind: &Kind, readers: &mut [Reader<'_>]) -> Result<ArrayRef> {
    let DataType::List(field) = ty else { return Err(Error::internal("a list column without a list type")) };
    let mut elements = Vec::new();
    let mut ends = Vec::with_capacity(readers.len() + 1);
    ends.push(0i32);
    let mut valid = Vec::with_capacity(readers.len());
    for reader in readers {
        let is_value = reader.is_value()?;
        valid.push(is_value);
        if is_value {
            while reader.rest.first().map(|byte| byte ^ reader.mask) != Some(NULL_FIRST) {
                elements.push(*reader);
                reader.skip(kind)?;
            }
            reader.byte()?;
        }
        ends.push(
            i32::try_from(elements.len())
                .map_err(|_| Error::internal("decoded keys exceed 2^31 elements"))?,
        );
    }
    let element = KeyColumn { ty: field.data_type().clone(), kind: kind.clone(), mask: 0, null: NULL_LAST };
    let values = decode_column(&element, &mut elements)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(
        ListArray::try_new(field.clone(), offsets, values, nulls_of(valid)).map_err(Error::internal)?,
    ))
}
