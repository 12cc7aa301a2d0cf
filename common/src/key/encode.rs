//! Encoding of keys, column by column over a whole batch.
//!
//! When all columns have a fixed width, row `i` of a column lies at `i * stride + offset` and nothing else is
//! kept. Otherwise one pass adds up each row's length, and a write position per row moves from column to
//! column. Hot loops are monomorphic over the value's width and over how a place is found.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray, ListArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ByteArrayType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::{EncodedKeys, KeyColumn, Kind, NULL_FIRST, NULL_LAST, VALUE, interval_span};
use crate::error::{Error, Result, SqlState};

/// What stands for 00 inside a byte string, and what ends one.
pub(super) const ESCAPED_ZERO: [u8; 2] = [0x00, 0xFF];
pub(super) const END: [u8; 2] = [0x00, 0x01];

/// Replaces `out` by the keys of `rows` rows. Types and lengths of `arrays` have been checked.
pub(super) fn encode(
    columns: &[KeyColumn],
    arrays: &[ArrayRef],
    rows: usize,
    out: &mut EncodedKeys,
) -> Result<()> {
    out.bytes.clear();
    out.offsets.clear();
    match columns.iter().map(|column| column.kind.key_width()).sum() {
        Some(stride) => encode_strided(columns, arrays, rows, stride, out),
        None => encode_packed(columns, arrays, rows, out),
    }
}

fn encode_strided(
    columns: &[KeyColumn],
    arrays: &[ArrayRef],
    rows: usize,
    stride: usize,
    out: &mut EncodedKeys,
) -> Result<()> {
    check_size(rows * stride)?;
    out.bytes.resize(rows * stride, 0);
    out.offsets.extend((0..=rows).map(|row| (row * stride) as u32));
    let mut offset = 0;
    for (column, array) in columns.iter().zip(arrays) {
        write_fixed_column(column, array, &mut out.bytes, &mut Strided { stride, offset });
        offset += column.kind.key_width().unwrap_or(0);
    }
    Ok(())
}

fn encode_packed(
    columns: &[KeyColumn],
    arrays: &[ArrayRef],
    rows: usize,
    out: &mut EncodedKeys,
) -> Result<()> {
    let fixed: usize = columns.iter().filter_map(|column| column.kind.key_width()).sum();
    let mut lengths = vec![fixed; rows];
    let mut elements = Vec::with_capacity(columns.len());
    for (column, array) in columns.iter().zip(arrays) {
        elements.push(add_lengths(column, array, &mut lengths)?);
    }
    let mut places = Packed::new(&lengths, &mut out.offsets)?;
    out.bytes.resize(out.offsets[rows] as usize, 0);
    for ((column, array), elements) in columns.iter().zip(arrays).zip(&elements) {
        match &column.kind {
            Kind::Text => write_byte_strings(column, array.as_string::<i32>(), &mut out.bytes, &mut places),
            Kind::Binary => write_byte_strings(column, array.as_binary::<i32>(), &mut out.bytes, &mut places),
            Kind::List(_) => {
                write_lists(column, array.as_list::<i32>(), elements, &mut out.bytes, &mut places)
            }
            _ => write_fixed_column(column, array, &mut out.bytes, &mut places),
        }
    }
    Ok(())
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > u32::MAX as usize {
        let message = format!("encoded rows of one batch take {bytes} bytes, more than 4 GiB");
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(())
}

/// Where the next bytes of a row go.
pub(crate) trait Place {
    /// The position of `width` bytes of `row`; the following ones come after them.
    fn take(&mut self, row: usize, width: usize) -> usize;
}

/// Rows of equal width; one column of them.
struct Strided {
    stride: usize,
    offset: usize,
}

impl Place for Strided {
    #[inline]
    fn take(&mut self, row: usize, _width: usize) -> usize {
        row * self.stride + self.offset
    }
}

/// Rows of different lengths, each with a write position.
pub(crate) struct Packed {
    next: Vec<u32>,
}

impl Packed {
    /// Positions for rows of these lengths; fills `offsets` with where each row starts and the last ends.
    pub(crate) fn new(lengths: &[usize], offsets: &mut Vec<u32>) -> Result<Packed> {
        check_size(lengths.iter().sum())?;
        offsets.clear();
        offsets.reserve(lengths.len() + 1);
        offsets.push(0);
        let mut end = 0;
        for length in lengths {
            end += *length as u32;
            offsets.push(end);
        }
        Ok(Packed { next: offsets[..lengths.len()].to_vec() })
    }
}

impl Place for Packed {
    #[inline]
    fn take(&mut self, row: usize, width: usize) -> usize {
        let at = self.next[row];
        self.next[row] = at + width as u32;
        at as usize
    }
}

fn write_fixed_column(column: &KeyColumn, array: &ArrayRef, bytes: &mut [u8], places: &mut impl Place) {
    let nulls = array.logical_nulls();
    let mut sink =
        FixedSink { column, nulls: nulls.as_ref().filter(|n| n.null_count() > 0), rows: array.len(), bytes };
    match &column.kind {
        Kind::Bool => {
            let values = array.as_boolean().values();
            sink.write(places, |row| [u8::from(values.value(row))]);
        }
        Kind::Int16 => {
            let values = array.as_primitive::<Int16Type>().values();
            sink.write(places, |row| (values[row] ^ i16::MIN).to_be_bytes());
        }
        Kind::Int32 => write_i32(array.as_primitive::<Int32Type>().values(), &mut sink, places),
        Kind::Date32 => write_i32(array.as_primitive::<Date32Type>().values(), &mut sink, places),
        Kind::Int64 => write_i64(array.as_primitive::<Int64Type>().values(), &mut sink, places),
        Kind::Time64 => write_i64(array.as_primitive::<Time64MicrosecondType>().values(), &mut sink, places),
        Kind::Timestamp => {
            write_i64(array.as_primitive::<TimestampMicrosecondType>().values(), &mut sink, places)
        }
        Kind::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            sink.write(places, |row| ordered_f32(values[row]).to_be_bytes());
        }
        Kind::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            sink.write(places, |row| ordered_f64(values[row]).to_be_bytes());
        }
        Kind::Decimal(_) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            sink.write(places, |row| (values[row] ^ i128::MIN).to_be_bytes());
        }
        Kind::Interval => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            sink.write(places, |row| (interval_span(values[row]) ^ i128::MIN).to_be_bytes());
        }
        Kind::Fixed(width) => {
            let values = array.as_fixed_size_binary();
            sink.write_slices(places, *width, |row| values.value(row));
        }
        Kind::Text | Kind::Binary | Kind::List(_) => unreachable!("a column of varying width"),
    }
}

fn write_i32(values: &[i32], sink: &mut FixedSink<'_>, places: &mut impl Place) {
    sink.write(places, |row| (values[row] ^ i32::MIN).to_be_bytes());
}

fn write_i64(values: &[i64], sink: &mut FixedSink<'_>, places: &mut impl Place) {
    sink.write(places, |row| (values[row] ^ i64::MIN).to_be_bytes());
}

/// Bits that order as the number does: −0.0 as 0.0, every NaN as the one that is greater than infinity.
#[inline]
fn ordered_f64(value: f64) -> u64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() };
    bits ^ (((bits as i64 >> 63) as u64) | (1 << 63))
}

/// As [`ordered_f64`].
#[inline]
fn ordered_f32(value: f32) -> u32 {
    let bits = if value.is_nan() { f32::NAN.to_bits() & !(1 << 31) } else { (value + 0.0).to_bits() };
    bits ^ (((bits as i32 >> 31) as u32) | (1 << 31))
}

/// Where one column of fixed width is written.
struct FixedSink<'a> {
    column: &'a KeyColumn,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
    bytes: &'a mut [u8],
}

impl FixedSink<'_> {
    #[inline]
    fn write<const WIDTH: usize>(&mut self, places: &mut impl Place, value: impl Fn(usize) -> [u8; WIDTH]) {
        let mask = self.column.mask;
        let Some(nulls) = self.nulls else {
            for row in 0..self.rows {
                let at = places.take(row, WIDTH + 1);
                let slot = &mut self.bytes[at..at + WIDTH + 1];
                slot[0] = VALUE ^ mask;
                slot[1..].copy_from_slice(&value(row).map(|byte| byte ^ mask));
            }
            return;
        };
        for row in 0..self.rows {
            let at = places.take(row, WIDTH + 1);
            let slot = &mut self.bytes[at..at + WIDTH + 1];
            let (marker, value) =
                if nulls.is_valid(row) { (VALUE, value(row)) } else { (self.column.null, [0; WIDTH]) };
            slot[0] = marker ^ mask;
            slot[1..].copy_from_slice(&value.map(|byte| byte ^ mask));
        }
    }

    fn write_slices<'v>(&mut self, places: &mut impl Place, width: usize, value: impl Fn(usize) -> &'v [u8]) {
        for row in 0..self.rows {
            let at = places.take(row, width + 1);
            let slot = &mut self.bytes[at..at + width + 1];
            if self.nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                slot[0] = VALUE;
                slot[1..].copy_from_slice(value(row));
            } else {
                slot[0] = self.column.null;
                slot[1..].fill(0);
            }
            invert(slot, self.column.mask);
        }
    }
}

#[inline]
fn invert(bytes: &mut [u8], mask: u8) {
    if mask != 0 {
        bytes.iter_mut().for_each(|byte| *byte ^= mask);
    }
}

/// Adds a column of varying width to each row's length. Gives the encoded elements of a list column.
fn add_lengths(column: &KeyColumn, array: &ArrayRef, lengths: &mut [usize]) -> Result<EncodedKeys> {
    match &column.kind {
        Kind::Text => add_byte_lengths(array.as_string::<i32>(), lengths),
        Kind::Binary => add_byte_lengths(array.as_binary::<i32>(), lengths),
        Kind::List(element) => {
            let list = array.as_list::<i32>();
            let elements = encode_elements(column, element, list)?;
            for (row, length) in lengths.iter_mut().enumerate() {
                *length += if list.is_null(row) { 1 } else { element_bytes(list, &elements, row).len() + 2 };
            }
            return Ok(elements);
        }
        _ => {}
    }
    Ok(EncodedKeys::default())
}

fn add_byte_lengths<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>, lengths: &mut [usize]) {
    let escapes = contains_zero(array);
    for (row, length) in lengths.iter_mut().enumerate() {
        if array.is_null(row) {
            *length += 1;
            continue;
        }
        let value: &[u8] = array.value(row).as_ref();
        let zeros = if escapes { value.iter().filter(|byte| **byte == 0).count() } else { 0 };
        *length += 1 + value.len() + zeros + END.len();
    }
}

/// Whether any row needs escapes: one fast search over the whole column.
fn contains_zero<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> bool {
    let offsets = array.value_offsets();
    array.value_data()[offsets[0] as usize..offsets[array.len()] as usize].contains(&0)
}

fn write_byte_strings<T: ByteArrayType<Offset = i32>>(
    column: &KeyColumn,
    array: &GenericByteArray<T>,
    bytes: &mut [u8],
    places: &mut impl Place,
) {
    let escapes = contains_zero(array);
    let mut escaped = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            bytes[places.take(row, 1)] = column.null ^ column.mask;
            continue;
        }
        let mut value: &[u8] = array.value(row).as_ref();
        if escapes && value.contains(&0) {
            escape(value, &mut escaped);
            value = &escaped;
        }
        let at = places.take(row, value.len() + 3);
        let slot = &mut bytes[at..at + value.len() + 3];
        slot[0] = VALUE;
        slot[1..=value.len()].copy_from_slice(value);
        slot[value.len() + 1..].copy_from_slice(&END);
        invert(slot, column.mask);
    }
}

fn escape(value: &[u8], escaped: &mut Vec<u8>) {
    escaped.clear();
    for byte in value {
        match byte {
            0 => escaped.extend_from_slice(&ESCAPED_ZERO),
            other => escaped.push(*other),
        }
    }
}

/// The elements of all lists, each encoded as a column of its own, not inverted.
fn encode_elements(column: &KeyColumn, kind: &Kind, list: &ListArray) -> Result<EncodedKeys> {
    let element = KeyColumn { ty: column.ty.clone(), kind: kind.clone(), mask: 0, null: NULL_LAST };
    let mut elements = EncodedKeys::default();
    encode(&[element], std::slice::from_ref(list.values()), list.values().len(), &mut elements)?;
    Ok(elements)
}

/// The encoded elements of one list: they lie side by side.
fn element_bytes<'a>(list: &ListArray, elements: &'a EncodedKeys, row: usize) -> &'a [u8] {
    let first = list.value_offsets()[row] as usize;
    let end = list.value_offsets()[row + 1] as usize;
    &elements.bytes[elements.offsets[first] as usize..elements.offsets[end] as usize]
}

fn write_lists(
    column: &KeyColumn,
    list: &ListArray,
    elements: &EncodedKeys,
    bytes: &mut [u8],
    places: &mut impl Place,
) {
    for row in 0..list.len() {
        if list.is_null(row) {
            bytes[places.take(row, 1)] = column.null ^ column.mask;
            continue;
        }
        let value = element_bytes(list, elements, row);
        let at = places.take(row, value.len() + 2);
        let slot = &mut bytes[at..at + value.len() + 2];
        slot[0] = VALUE;
        slot[1..=value.len()].copy_from_slice(value);
        slot[value.len() + 1] = NULL_FIRST;
        invert(slot, column.mask);
    }
}
