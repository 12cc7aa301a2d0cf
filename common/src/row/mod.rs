//! Row values as bytes: self-describing enough to outlive `ALTER` and to notice damage.
//!
//! ```text
//!   row     = version 01, column count u16, then each column
//!   column  = id u16, field
//!   field   = kind 00                      NULL
//!           | kind 01..05, 1 2 4 8 16 bytes  little-endian value
//!           | kind 06, length u32, bytes     text, bytea, array, other widths
//!   array   = element count u32, then each element as a field
//! ```
//! All numbers little-endian. Unlike a key, a row gives back exactly what was stored. Invariants: a column that
//! a stored row lacks (added later) reads as NULL, an unknown id is skipped, and no bytes whatever make decoding
//! panic: what is not a row is XX001.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::key::{EncodedKeys, Kind};

/// Encoded rows of a batch, laid out as keys are.
pub type EncodedRows = EncodedKeys;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 3;
/// Bytes before a field: the column's id.
const ID_BYTES: usize = 2;

/// The kind byte of NULL.
const NULL: u8 = 0;
/// The kind byte of a value whose length is written before it.
const VARYING: u8 = 6;

/// The kind byte of a value of this width.
fn kind_byte(width: Option<usize>) -> u8 {
    match width {
        Some(1) => 1,
        Some(2) => 2,
        Some(4) => 3,
        Some(8) => 4,
        Some(16) => 5,
        _ => VARYING,
    }
}

/// One column of a row format.
#[derive(Clone, Debug)]
struct RowColumn {
    id: u16,
    ty: DataType,
    kind: Kind,
}

/// Encodes and decodes rows with these columns.
#[derive(Clone, Debug)]
pub struct RowCodec {
    columns: Vec<RowColumn>,
}

impl RowCodec {
    /// A codec of columns by (stable id, type). 0A000 for a type that cannot be stored.
    pub fn new(columns: &[(u16, DataType)]) -> Result<RowCodec> {
        let column =
            |(id, ty): &(u16, DataType)| Ok(RowColumn { id: *id, ty: ty.clone(), kind: Kind::of(ty)? });
        Ok(RowCodec { columns: columns.iter().map(column).collect::<Result<_>>()? })
    }

    /// The rows of these columns, one array a column.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedRows> {
        self.encode_rows(columns, columns.first().map_or(0, |column| column.len()))
    }

    /// As [`RowCodec::encode`] for `rows` rows, also when there is no column.
    pub fn encode_rows(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedRows> {
        if columns.len() != self.columns.len() {
            return Err(Error::internal(format!(
                "a row of {} columns, got {}",
                self.columns.len(),
                columns.len()
            )));
        }
        for (array, column) in columns.iter().zip(&self.columns) {
            if array.len() != rows || Kind::of(array.data_type())? != column.kind {
                return Err(Error::internal(format!(
                    "column {} of type {} with {rows} rows expected, got {} with {}",
                    column.id,
                    column.ty,
                    array.data_type(),
                    array.len()
                )));
            }
        }
        encode::encode(&self.columns, columns, rows)
    }

    /// All columns of these rows.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        self.decode_projected(rows, &(0..self.columns.len()).collect::<Vec<_>>())
    }

    /// The columns at positions `project` of these rows, in that order.
    pub fn decode_projected(&self, rows: &[&[u8]], project: &[usize]) -> Result<Vec<ArrayRef>> {
        let wanted: Vec<&RowColumn> = project.iter().map(|position| &self.columns[*position]).collect();
        decode::decode(&wanted, rows)
    }
}
