//! `OrderedValue`: values of a column in a form that compares as SQL orders them.
//!
//! Int-like types and floats become `i64` (floats with their bits turned so that integer order is theirs, NaN
//! last and −0 equal to 0), decimals `i128`, everything else the bytes of the exact memcomparable key encoding.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::{Error, Result};

use crate::state::native::{int_array, int_values, is_int_like};

/// How values of a type are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    Int,
    Decimal,
    Bytes,
}

impl Representation {
    /// The representation of a type.
    pub fn of(ty: &DataType) -> Representation {
        match ty {
            DataType::Float32 | DataType::Float64 => Representation::Int,
            DataType::Decimal128(..) => Representation::Decimal,
            ty if is_int_like(ty) => Representation::Int,
            _ => Representation::Bytes,
        }
    }
}

/// A value that compares as SQL orders it.
pub(super) trait OrderedValue: Ord + Clone + Default + Send + Sync + 'static {
    /// A column of values; rows that are NULL hold anything.
    type Column;

    /// The values of a column of a type with this representation.
    fn column(array: &ArrayRef, encoder: &KeyEncoder) -> Result<Self::Column>;
    /// The value of a row.
    fn at(column: &Self::Column, row: usize) -> Self;
    /// Compares with the value of a row.
    fn compare(&self, column: &Self::Column, row: usize) -> Ordering;
    /// The Arrow column of these values.
    fn array(values: &[Option<&Self>], ty: &DataType, encoder: &KeyEncoder) -> Result<ArrayRef>;
    /// Bytes it takes outside its own size.
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl OrderedValue for i64 {
    type Column = ScalarBuffer<i64>;

    fn column(array: &ArrayRef, _encoder: &KeyEncoder) -> Result<Self::Column> {
        match array.data_type() {
            DataType::Float32 | DataType::Float64 => {
                let wide = cast(array, &DataType::Float64).map_err(Error::internal)?;
                Ok(wide
                    .as_primitive::<Float64Type>()
                    .values()
                    .iter()
                    .map(|value| ordered_bits(*value))
                    .collect())
            }
            _ => int_values(array),
        }
    }

    #[inline]
    fn at(column: &Self::Column, row: usize) -> i64 {
        column[row]
    }

    #[inline]
    fn compare(&self, column: &Self::Column, row: usize) -> Ordering {
        self.cmp(&column[row])
    }

    fn array(values: &[Option<&i64>], ty: &DataType, _encoder: &KeyEncoder) -> Result<ArrayRef> {
        let floats = || values.iter().map(|value| value.map(|bits| float_of(*bits)));
        match ty {
            DataType::Float64 => Ok(Arc::new(floats().collect::<Float64Array>())),
            DataType::Float32 => {
                Ok(Arc::new(floats().map(|v| v.map(|v| v as f32)).collect::<Float32Array>()))
            }
            _ => {
                let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
                let ints = values.iter().map(|value| value.copied().unwrap_or(0)).collect();
                int_array(ints, Some(nulls).filter(|nulls| nulls.null_count() > 0), ty)
            }
        }
    }
}

impl OrderedValue for i128 {
    type Column = ScalarBuffer<i128>;

    fn column(array: &ArrayRef, _encoder: &KeyEncoder) -> Result<Self::Column> {
        Ok(array.as_primitive::<Decimal128Type>().values().clone())
    }

    #[inline]
    fn at(column: &Self::Column, row: usize) -> i128 {
        column[row]
    }

    #[inline]
    fn compare(&self, column: &Self::Column, row: usize) -> Ordering {
        self.cmp(&column[row])
    }

    fn array(values: &[Option<&i128>], ty: &DataType, _encoder: &KeyEncoder) -> Result<ArrayRef> {
        let decimals: Decimal128Array = values.iter().map(|value| value.copied()).collect();
        Ok(Arc::new(decimals.with_data_type(ty.clone())))
    }
}

impl OrderedValue for Box<[u8]> {
    type Column = EncodedKeys;

    fn column(array: &ArrayRef, encoder: &KeyEncoder) -> Result<Self::Column> {
        encoder.encode(std::slice::from_ref(array))
    }

    fn at(column: &Self::Column, row: usize) -> Self {
        column.row(row).into()
    }

    fn compare(&self, column: &Self::Column, row: usize) -> Ordering {
        self.as_ref().cmp(column.row(row))
    }

    fn array(values: &[Option<&Self>], ty: &DataType, encoder: &KeyEncoder) -> Result<ArrayRef> {
        let null = encoder.encode(&[arrow::array::new_null_array(ty, 1)])?;
        let keys: Vec<&[u8]> =
            values.iter().map(|value| value.map_or(null.row(0), |value| value.as_ref())).collect();
        encoder.decode(&keys)?.pop().ok_or_else(|| Error::internal("a key of one column decodes to one"))
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

/// Bits whose integer order is the order of floats: negative numbers' bits run backwards, so they are flipped.
fn ordered_bits(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = value.to_bits() as i64 & if value.is_nan() { i64::MAX } else { -1 };
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn float_of(ordered: i64) -> f64 {
    f64::from_bits((ordered ^ (((ordered >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_bits_keep_order_and_value() {
        let floats = [f64::NEG_INFINITY, -1e300, -1.5, -1e-300, 0.0, 1e-300, 1.5, f64::INFINITY];
        for pair in floats.windows(2) {
            assert!(ordered_bits(pair[0]) < ordered_bits(pair[1]), "{pair:?}");
        }
        for value in floats {
            assert_eq!(float_of(ordered_bits(value)), value);
        }
        assert_eq!(ordered_bits(-0.0), ordered_bits(0.0));
        assert!(ordered_bits(f64::NAN) > ordered_bits(f64::INFINITY));
        assert_eq!(ordered_bits(-f64::NAN), ordered_bits(f64::NAN));
    }
}
