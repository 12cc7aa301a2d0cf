//! Memcomparable keys: rows of key columns as bytes whose order is SQL's order.
//!
//! One encoding serves storage keys, operators' hash keys, key groups and sort keys. Each column writes a
//! marker and its value; all bytes of a descending column are inverted.
//!
//! ```text
//!   marker   01 value   02 NULL, sorting last   00 NULL, sorting first
//!   integers, dates, times, decimals    big-endian, sign bit flipped
//!   floats                              IEEE bits made monotonic; −0.0 is 0.0, every NaN is one and greatest
//!   interval                            its span in nanoseconds (month = 30 days, day = 24 h) as 128 bits
//!   text, bytea                         bytes, 00 written as 00 FF, ended by 00 01
//!   uuid                                its 16 bytes
//!   array                               each element as a column of its own, ended by 00
//! ```
//!
//! Invariants: `a < b` in SQL (ascending, NULLs last) ⇔ `encode(a) < encode(b)` bytewise; equal keys ⇔ equal
//! bytes; no encoding is a prefix of another. A fixed-width column takes the same bytes when it is NULL, so a key of such columns
//! has one width ([`KeyEncoder::fixed_width`]). Decoding gives the canonical value of what was encoded:
//! `1 mon` comes back as the equal `30 days`, `-0.0` as `0.0`. Keys that must give back the very value are *exact*
//! ([`KeyEncoder::exact`]): a key whose values are not canonical has them in a tail behind it, so that equal values
//! lie together, and the key that has no tail is a prefix of theirs.

mod decode;
mod encode;
mod encoded;
mod forms;
mod kind;
mod range;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

pub(crate) use encode::{Packed, Place};
pub use encoded::EncodedKeys;
use forms::Forms;
pub use kind::canonical_interval;
pub(crate) use kind::{Kind, interval_span};
pub use range::{KeyRange, after_prefix};

use crate::error::{Error, Result};

/// Direction of one key column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyOrder {
    /// `ASC NULLS LAST`, PostgreSQL's default.
    #[default]
    Ascending,
    /// `ASC NULLS FIRST`.
    AscendingNullsFirst,
    /// `DESC NULLS FIRST`, PostgreSQL's default for DESC.
    Descending,
    /// `DESC NULLS LAST`.
    DescendingNullsLast,
}

impl KeyOrder {
    /// The order that `ORDER BY … [ASC|DESC] NULLS [FIRST|LAST]` asks for.
    pub fn of(descending: bool, nulls_first: bool) -> KeyOrder {
        match (descending, nulls_first) {
            (false, false) => KeyOrder::Ascending,
            (false, true) => KeyOrder::AscendingNullsFirst,
            (true, true) => KeyOrder::Descending,
            (true, false) => KeyOrder::DescendingNullsLast,
        }
    }
}

/// One column of a key, resolved: its type, layout and the two bytes that direction decides.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumn {
    ty: DataType,
    kind: Kind,
    /// XORed onto every byte.
    mask: u8,
    /// Marker of NULL, before the mask.
    null: u8,
}

impl KeyColumn {
    fn new(ty: &DataType, order: KeyOrder) -> Result<KeyColumn> {
        let (mask, null) = match order {
            KeyOrder::Ascending => (0, NULL_LAST),
            KeyOrder::AscendingNullsFirst => (0, NULL_FIRST),
            KeyOrder::Descending => (0xFF, NULL_LAST),
            KeyOrder::DescendingNullsLast => (0xFF, NULL_FIRST),
        };
        Ok(KeyColumn { ty: ty.clone(), kind: Kind::of(ty)?, mask, null })
    }
}

/// Marker of a value.
const VALUE: u8 = 1;
/// Marker of a NULL that sorts after all values.
const NULL_LAST: u8 = 2;
/// Marker of a NULL that sorts before all values; also what ends a list.
const NULL_FIRST: u8 = 0;

/// Encodes and decodes keys of fixed column types.
#[derive(Clone, Debug)]
pub struct KeyEncoder {
    columns: Vec<KeyColumn>,
    /// Of exact keys with columns whose equal values may differ.
    forms: Option<Forms>,
}

impl KeyEncoder {
    /// The keys without the NULLs at their end; `arrays` are the columns they were made of. Keys that differ still
    /// do, but one may now be a prefix of another.
    pub fn without_last_nulls(&self, keys: EncodedKeys, arrays: &[ArrayRef]) -> EncodedKeys {
        if arrays.last().is_none_or(|last| last.null_count() == 0) {
            return keys;
        }
        let mut shortened = EncodedKeys::default();
        for (row, key) in keys.iter().enumerate() {
            let nulls = self.columns.iter().zip(arrays).rev().take_while(|(_, array)| array.is_null(row));
            // A NULL of varying width is its marker alone.
            let bytes: usize = nulls.map(|(column, _)| column.kind.key_width().unwrap_or(1)).sum();
            shortened.push(&key[..key.len() - bytes]);
        }
        shortened
    }

    /// The canonical encoder: every column ascending, NULLs last. 0A000 for a type that cannot be a key.
    pub fn new(types: &[DataType]) -> Result<KeyEncoder> {
        let columns =
            types.iter().map(|ty| KeyColumn::new(ty, KeyOrder::Ascending)).collect::<Result<_>>()?;
        Ok(KeyEncoder { columns, forms: None })
    }

    /// An encoder with a direction for each column, for sort keys.
    pub fn ordered(columns: &[(DataType, KeyOrder)]) -> Result<KeyEncoder> {
        let columns = columns.iter().map(|(ty, order)| KeyColumn::new(ty, *order)).collect::<Result<_>>()?;
        Ok(KeyEncoder { columns, forms: None })
    }

    /// The encoder of exact keys with the same columns: what differs has different keys.
    pub fn exact(self) -> Result<KeyEncoder> {
        Ok(KeyEncoder { forms: Forms::of(&self.columns)?, ..self })
    }

    /// Whether keys may have a tail.
    pub fn has_tails(&self) -> bool {
        self.forms.is_some()
    }

    /// What SQL compares of a key: all but its tail. XX001 when it is not one of this encoder.
    pub fn compared<'k>(&self, key: &'k [u8]) -> Result<&'k [u8]> {
        if self.forms.is_none() {
            return Ok(key);
        }
        let tail = decode::tail(&self.columns, key)?;
        Ok(&key[..key.len() - tail.len()])
    }

    /// Bytes of every key when all columns have a fixed width.
    pub fn fixed_width(&self) -> Option<usize> {
        if self.forms.is_some() {
            return None;
        }
        self.columns.iter().map(|column| column.kind.key_width()).sum()
    }

    /// The keys of all rows of these columns, one array a column. Without columns there are no rows: see
    /// [`KeyEncoder::encode_rows`].
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedKeys> {
        self.encode_rows(columns, columns.first().map_or(0, |column| column.len()))
    }

    /// The keys of `rows` rows, also when there is no column (then each key is empty).
    pub fn encode_rows(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedKeys> {
        let mut keys = EncodedKeys::default();
        self.encode_into(columns, rows, &mut keys)?;
        Ok(keys)
    }

    /// As [`KeyEncoder::encode_rows`], reusing the memory of `keys`, whose contents are replaced.
    pub fn encode_into(&self, columns: &[ArrayRef], rows: usize, keys: &mut EncodedKeys) -> Result<()> {
        if columns.len() != self.columns.len() {
            return Err(Error::internal(format!(
                "a key of {} columns, got {}",
                self.columns.len(),
                columns.len()
            )));
        }
        for (array, column) in columns.iter().zip(&self.columns) {
            if array.len() != rows || Kind::of(array.data_type())? != column.kind {
                return Err(Error::internal(format!(
                    "key column of type {} with {rows} rows expected, got {} with {}",
                    column.ty,
                    array.data_type(),
                    array.len()
                )));
            }
        }
        encode::encode(&self.columns, columns, rows, keys)?;
        if let Some(forms) = &self.forms {
            *keys = forms.with_tails(std::mem::take(keys), columns)?;
        }
        Ok(())
    }

    /// The columns of these keys. XX001 when a key is not one of this encoder.
    pub fn decode(&self, keys: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let (mut arrays, rest) = self.decode_prefix(keys)?;
        match &self.forms {
            Some(forms) => forms.restore(&mut arrays, &rest)?,
            None if rest.iter().any(|rest| !rest.is_empty()) => return Err(decode::too_long()),
            None => {}
        }
        Ok(arrays)
    }

    /// The columns of the keys that these bytes begin with, without their tails, and what follows them.
    pub fn decode_prefix<'k>(&self, keys: &[&'k [u8]]) -> Result<(Vec<ArrayRef>, Vec<&'k [u8]>)> {
        decode::decode(&self.columns, keys)
    }
}
