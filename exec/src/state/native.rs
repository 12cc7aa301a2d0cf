//! Arrow columns as plain integers, and back; and hashes of rows.
//!
//! *Int-like* types are those whose values are at most 64 bits wide and equal exactly when their bits are:
//! booleans, integers, dates, times, timestamps. Keys of such columns need no byte encoding.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int16Array, Int32Array, Int64Array,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use weir_common::key::KeyEncoder;
use weir_common::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const SEED: u64 = 0xA076_1D64_78BD_642F;
const NULL_HASH: u64 = 0xE703_7ED1_A0B4_28DB;

/// Whether values of this type are handled as `i64`.
pub(crate) fn is_int_like(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// The values of an int-like column; anything where it is NULL. Shares memory when they are 64 bits wide.
pub(crate) fn int_values(array: &dyn Array) -> Result<ScalarBuffer<i64>> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().values().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().values().clone()
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            array.as_primitive::<Time64MicrosecondType>().values().clone()
        }
        DataType::Int32 => array.as_primitive::<Int32Type>().values().iter().map(|v| i64::from(*v)).collect(),
        DataType::Int16 => array.as_primitive::<Int16Type>().values().iter().map(|v| i64::from(*v)).collect(),
        DataType::Date32 => {
            array.as_primitive::<Date32Type>().values().iter().map(|v| i64::from(*v)).collect()
        }
        DataType::Boolean => array.as_boolean().values().iter().map(i64::from).collect(),
        other => return Err(Error::internal(format!("{other} is not an integer type"))),
    })
}

/// The int-like column of this type with these values.
pub(crate) fn int_array(values: Vec<i64>, nulls: Option<NullBuffer>, ty: &DataType) -> Result<ArrayRef> {
    let narrow32 = |values: Vec<i64>| values.into_iter().map(|v| v as i32).collect::<ScalarBuffer<i32>>();
    Ok(match ty {
        DataType::Int64 => Arc::new(Int64Array::new(values.into(), nulls)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            Arc::new(Time64MicrosecondArray::new(values.into(), nulls))
        }
        DataType::Int32 => Arc::new(Int32Array::new(narrow32(values), nulls)),
        DataType::Date32 => Arc::new(Date32Array::new(narrow32(values), nulls)),
        DataType::Int16 => Arc::new(Int16Array::new(
            values.into_iter().map(|v| v as i16).collect::<ScalarBuffer<i16>>(),
            nulls,
        )),
        DataType::Boolean => {
            let bits = BooleanBuffer::collect_bool(values.len(), |i| values[i] != 0);
            Arc::new(BooleanArray::new(bits, nulls))
        }
        other => return Err(Error::internal(format!("{other} is not an integer type"))),
    })
}

/// Mixes a word into a hash: a 64×64→128-bit product, folded.
#[inline]
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ SEED) * u128::from(MULTIPLIER);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded.rotate_left(29)
}

/// The 32 bits of a hash that an index uses.
#[inline]
pub(crate) fn tag_of(hash: u64) -> u32 {
    (hash.wrapping_mul(MULTIPLIER) >> 32) as u32
}

/// Mixes a column into the hashes of its rows. Rows that are identical, bit for bit, hash the same.
pub(crate) fn hash_column(array: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    if is_int_like(array.data_type()) {
        let values = int_values(array)?;
        mix_words(array, hashes, |row| values[row] as u64);
        return Ok(());
    }
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            mix_words(array, hashes, |row| values[row].to_bits());
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            mix_words(array, hashes, |row| u64::from(values[row].to_bits()));
        }
        DataType::Decimal128(..) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            mix_words(array, hashes, |row| {
                (values[row] as u64) ^ ((values[row] >> 64) as u64).rotate_left(17)
            });
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            mix_words(array, hashes, |row| xxh3_64(values.value(row).as_bytes()));
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            mix_words(array, hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            mix_words(array, hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::Interval(IntervalUnit::MonthDayNano) | DataType::List(_) => {
            let encoder = KeyEncoder::new(&[array.data_type().clone()])?;
            let keys = encoder.encode(std::slice::from_ref(array))?;
            mix_words(array, hashes, |row| xxh3_64(keys.row(row)));
        }
        other => return Err(Error::internal(format!("rows with {other} cannot be hashed"))),
    }
    Ok(())
}

#[inline]
fn mix_words(array: &ArrayRef, hashes: &mut [u64], word: impl Fn(usize) -> u64) {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => hashes.iter_mut().enumerate().for_each(|(row, hash)| *hash = mix(*hash, word(row))),
        Some(nulls) => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(*hash, if nulls.is_valid(row) { word(row) } else { NULL_HASH });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_the_round_trip_in_every_int_like_type() {
        let types = [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ];
        for ty in types {
            assert!(is_int_like(&ty));
            let nulls = NullBuffer::from(vec![true, false, true]);
            let array = int_array(vec![1, 0, 0], Some(nulls), &ty).unwrap();
            assert_eq!(array.data_type(), &ty);
            assert_eq!(array.null_count(), 1);
            let values = int_values(&array).unwrap();
            assert_eq!((values[0], values[2]), (1, 0));
        }
        assert!(int_values(&arrow::array::StringArray::from(vec!["x"])).is_err());
    }

    #[test]
    fn equal_rows_hash_the_same_and_null_is_a_value_of_its_own() {
        let texts: ArrayRef =
            Arc::new(arrow::array::StringArray::from(vec![Some("a"), Some("a"), None, Some("")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 1]));
        let mut hashes = vec![0; 4];
        hash_column(&texts, &mut hashes).unwrap();
        hash_column(&numbers, &mut hashes).unwrap();
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[2], hashes[3]);
    }

    #[test]
    fn tags_of_small_integers_spread() {
        let mut homes: Vec<u32> = (0..1024u64).map(|i| tag_of(mix(0, i)) >> 22).collect();
        homes.sort_unstable();
        homes.dedup();
        assert!(homes.len() > 550, "{} of 1024 homes are used", homes.len());
    }
}
