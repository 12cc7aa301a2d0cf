//! Encoding of rows, column by column over a whole batch: lengths first, then every column at its place.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::{EncodedRows, HEADER_BYTES, ID_BYTES, NULL, RowColumn, VARYING, VERSION, kind_byte};
use crate::error::{Error, Result, SqlState};
use crate::key::{EncodedKeys, Kind, Packed, Place};

/// The rows of checked arrays.
pub(super) fn encode(columns: &[RowColumn], arrays: &[ArrayRef], rows: usize) -> Result<EncodedRows> {
    let mut lengths = vec![HEADER_BYTES + ID_BYTES * columns.len(); rows];
    let mut fields = Vec::with_capacity(columns.len());
    for (column, array) in columns.iter().zip(arrays) {
        fields.push(Field::new(&column.kind, array, &mut lengths)?);
    }
    let mut out = EncodedRows::default();
    let mut places = Packed::new(&lengths, &mut out.offsets)?;
    out.bytes.resize(out.offsets[rows] as usize, 0);
    let [low, high] = u16::try_from(columns.len()).map_err(Error::internal)?.to_le_bytes();
    for row in 0..rows {
        let at = places.take(row, HEADER_BYTES);
        out.bytes[at..at + HEADER_BYTES].copy_from_slice(&[VERSION, low, high]);
    }
    for (column, field) in columns.iter().zip(&fields) {
        field.write(Some(column.id), &mut out.bytes, &mut places);
    }
    Ok(out)
}

/// One column to be written, or the elements of one.
struct Field<'a> {
    kind: &'a Kind,
    array: &'a ArrayRef,
    nulls: Option<NullBuffer>,
    /// The encoded elements of a list column.
    elements: EncodedKeys,
}

impl<'a> Field<'a> {
    /// Adds the column's fields (without ids) to each row's length.
    fn new(kind: &'a Kind, array: &'a ArrayRef, lengths: &mut [usize]) -> Result<Field<'a>> {
        let mut field = Field { kind, array, nulls: array.logical_nulls(), elements: EncodedKeys::default() };
        if let Kind::List(element) = kind {
            let values = array.as_list::<i32>().values();
            let mut element_lengths = vec![0; values.len()];
            let child = Field::new(element, values, &mut element_lengths)?;
            let mut places = Packed::new(&element_lengths, &mut field.elements.offsets)?;
            field.elements.bytes.resize(element_lengths.iter().sum(), 0);
            child.write(None, &mut field.elements.bytes, &mut places);
        }
        for (row, length) in lengths.iter_mut().enumerate() {
            *length += if field.is_null(row) { 1 } else { field.value_length(row)? };
        }
        Ok(field)
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Bytes of a field that is not NULL, its kind included.
    fn value_length(&self, row: usize) -> Result<usize> {
        let bytes = match self.kind {
            Kind::Text => self.array.as_string::<i32>().value_length(row) as usize,
            Kind::Binary => self.array.as_binary::<i32>().value_length(row) as usize,
            Kind::List(_) => 4 + element_bytes(self.array.as_list::<i32>(), &self.elements, row).len(),
            kind => match (kind.width(), kind_byte(kind.width())) {
                (Some(width), VARYING) => width,
                (width, _) => return Ok(1 + width.unwrap_or(0)),
            },
        };
        if bytes > u32::MAX as usize {
            return Err(Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a value of {bytes} bytes is too long"),
            ));
        }
        Ok(5 + bytes)
    }

    fn write(&self, id: Option<u16>, bytes: &mut [u8], places: &mut impl Place) {
        let array = self.array;
        match self.kind {
            Kind::Bool => {
                let values = array.as_boolean().values();
                self.fixed(id, bytes, places, |row| [u8::from(values.value(row))]);
            }
            Kind::Int16 => self
                .native(id, bytes, places, array.as_primitive::<Int16Type>().values(), |v| v.to_le_bytes()),
            Kind::Int32 => self
                .native(id, bytes, places, array.as_primitive::<Int32Type>().values(), |v| v.to_le_bytes()),
            Kind::Date32 => {
                self.native(id, bytes, places, array.as_primitive::<Date32Type>().values(), |v| {
                    v.to_le_bytes()
                })
            }
            Kind::Int64 => self
                .native(id, bytes, places, array.as_primitive::<Int64Type>().values(), |v| v.to_le_bytes()),
            Kind::Time64 => {
                self.native(id, bytes, places, array.as_primitive::<Time64MicrosecondType>().values(), |v| {
                    v.to_le_bytes()
                });
            }
            Kind::Timestamp => {
                let values = array.as_primitive::<TimestampMicrosecondType>().values();
                self.native(id, bytes, places, values, |v| v.to_le_bytes());
            }
            Kind::Float32 => {
                self.native(id, bytes, places, array.as_primitive::<Float32Type>().values(), |v| {
                    v.to_le_bytes()
                });
            }
            Kind::Float64 => {
                self.native(id, bytes, places, array.as_primitive::<Float64Type>().values(), |v| {
                    v.to_le_bytes()
                });
            }
            Kind::Decimal(_) => {
                self.native(id, bytes, places, array.as_primitive::<Decimal128Type>().values(), |v| {
                    v.to_le_bytes()
                });
            }
            Kind::Interval => {
                let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
                self.native(id, bytes, places, values, |v| {
                    let mut out = [0; 16];
                    out[..4].copy_from_slice(&v.months.to_le_bytes());
                    out[4..8].copy_from_slice(&v.days.to_le_bytes());
                    out[8..].copy_from_slice(&v.nanoseconds.to_le_bytes());
                    out
                });
            }
            Kind::Fixed(16) => {
                let values = array.as_fixed_size_binary();
                self.fixed(id, bytes, places, |row| {
                    *values.value(row).first_chunk::<16>().expect("a value of a column 16 bytes wide")
                });
            }
            Kind::Fixed(_) => {
                let values = array.as_fixed_size_binary();
                self.varying(id, bytes, places, |row| ([].as_slice(), values.value(row)));
            }
            Kind::Text => {
                let values = array.as_string::<i32>();
                self.varying(id, bytes, places, |row| ([].as_slice(), values.value(row).as_bytes()));
            }
            Kind::Binary => {
                let values = array.as_binary::<i32>();
                self.varying(id, bytes, places, |row| ([].as_slice(), values.value(row)));
            }
            Kind::List(_) => self.lists(id, bytes, places, array.as_list::<i32>()),
        }
    }

    #[inline]
    fn native<V: Copy, const WIDTH: usize>(
        &self,
        id: Option<u16>,
        bytes: &mut [u8],
        places: &mut impl Place,
        values: &[V],
        encode: impl Fn(V) -> [u8; WIDTH],
    ) {
        self.fixed(id, bytes, places, |row| encode(values[row]));
    }

    #[inline]
    fn fixed<const WIDTH: usize>(
        &self,
        id: Option<u16>,
        bytes: &mut [u8],
        places: &mut impl Place,
        value: impl Fn(usize) -> [u8; WIDTH],
    ) {
        let kind = kind_byte(Some(WIDTH));
        for row in 0..self.array.len() {
            let is_null = self.is_null(row);
            self.start(id, row, if is_null { NULL } else { kind }, bytes, places);
            if !is_null {
                let at = places.take(row, WIDTH);
                bytes[at..at + WIDTH].copy_from_slice(&value(row));
            }
        }
    }

    /// Writes values of varying length, each given in two parts.
    fn varying<'v>(
        &self,
        id: Option<u16>,
        bytes: &mut [u8],
        places: &mut impl Place,
        value: impl Fn(usize) -> (&'v [u8], &'v [u8]),
    ) {
        for row in 0..self.array.len() {
            let is_null = self.is_null(row);
            self.start(id, row, if is_null { NULL } else { VARYING }, bytes, places);
            if is_null {
                continue;
            }
            let (head, tail) = value(row);
            let len = head.len() + tail.len();
            let at = places.take(row, 4 + len);
            let slot = &mut bytes[at..at + 4 + len];
            slot[..4].copy_from_slice(&(len as u32).to_le_bytes());
            slot[4..4 + head.len()].copy_from_slice(head);
            slot[4 + head.len()..].copy_from_slice(tail);
        }
    }

    fn lists(&self, id: Option<u16>, bytes: &mut [u8], places: &mut impl Place, list: &ListArray) {
        let counts: Vec<[u8; 4]> =
            (0..list.len()).map(|row| (list.value_length(row) as u32).to_le_bytes()).collect();
        self.varying(id, bytes, places, |row| {
            (counts[row].as_slice(), element_bytes(list, &self.elements, row))
        });
    }

    /// Writes what comes before a value: the column's id, if there is one, and the kind.
    #[inline]
    fn start(&self, id: Option<u16>, row: usize, kind: u8, bytes: &mut [u8], places: &mut impl Place) {
        match id {
            Some(id) => {
                let [low, high] = id.to_le_bytes();
                let at = places.take(row, 3);
                bytes[at..at + 3].copy_from_slice(&[low, high, kind]);
            }
            None => bytes[places.take(row, 1)] = kind,
        }
    }
}

/// The encoded elements of one list: they lie side by side.
fn element_bytes<'a>(list: &ListArray, elements: &'a EncodedKeys, row: usize) -> &'a [u8] {
    let first = list.value_offsets()[row] as usize;
    let end = list.value_offsets()[row + 1] as usize;
    &elements.bytes[elements.offsets[first] as usize..elements.offsets[end] as usize]
}
