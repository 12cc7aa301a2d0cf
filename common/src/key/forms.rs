//! `Forms`: what values are like that equal others and are not the same: `1 mon` equals `30 days`.
//!
//! Only intervals, and arrays of them, have forms: Weir's floats have no −0 and one NaN, jsonb and char(n) are kept in
//! a normal form. A key holds what SQL compares. One that must also give back the very value has a tail: the columns
//! that have forms as a row of [`crate::row`]. A key without a tail stands for the canonical values, which decoding
//! makes anyway; so keys of other types never have one.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType};

use super::kind::canonical_interval;
use super::{EncodedKeys, KeyColumn, Kind};
use crate::error::{Error, Result};
use crate::row::RowCodec;

/// The columns of a key that have forms, and how tails are written.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    columns: Vec<usize>,
    tails: RowCodec,
}

impl Forms {
    /// Those of these columns; `None` if no column has any.
    pub fn of(columns: &[KeyColumn]) -> Result<Option<Forms>> {
        let formed: Vec<usize> = (0..columns.len()).filter(|at| has_forms(&columns[*at].kind)).collect();
        let types: Vec<(u16, DataType)> =
            (1..).zip(formed.iter().map(|at| columns[*at].ty.clone())).collect();
        if types.is_empty() {
            return Ok(None);
        }
        Ok(Some(Forms { columns: formed, tails: RowCodec::new(&types)? }))
    }

    /// The keys with the tails that they need; `arrays` are the columns they were made of.
    pub fn with_tails(&self, keys: EncodedKeys, arrays: &[ArrayRef]) -> Result<EncodedKeys> {
        let formed: Vec<ArrayRef> = self.columns.iter().map(|at| arrays[*at].clone()).collect();
        let unusual = formed.iter().filter_map(uncanonical).reduce(|a, b| &a | &b);
        let Some(unusual) = unusual else { return Ok(keys) };
        let rows: UInt32Array = unusual.set_indices().map(|row| row as u32).collect::<Vec<_>>().into();
        let taken = formed.iter().map(|array| take(array, &rows, None));
        let tails = self.tails.encode(&taken.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?)?;
        let mut tails = tails.iter();
        let mut with_tails = EncodedKeys::default();
        for (row, key) in keys.iter().enumerate() {
            match unusual.value(row) {
                true => with_tails.push(&[key, tails.next().unwrap_or(&[])].concat()),
                false => with_tails.push(key),
            }
        }
        Ok(with_tails)
    }

    /// Puts the values of the tails into the columns that were decoded from the keys before them.
    pub fn restore(&self, arrays: &mut [ArrayRef], tails: &[&[u8]]) -> Result<()> {
        let written: Vec<&[u8]> = tails.iter().copied().filter(|tail| !tail.is_empty()).collect();
        if written.is_empty() {
            return Ok(());
        }
        let mut next = 0..;
        let source = |(row, tail): (usize, &&[u8])| match tail.is_empty() {
            true => (0, row),
            false => (1, next.next().unwrap_or_default()),
        };
        let sources: Vec<(usize, usize)> = tails.iter().enumerate().map(source).collect();
        for (at, values) in self.columns.iter().zip(self.tails.decode(&written)?) {
            arrays[*at] = interleave(&[&arrays[*at], &values], &sources).map_err(Error::internal)?;
        }
        Ok(())
    }
}

fn has_forms(kind: &Kind) -> bool {
    match kind {
        Kind::Interval => true,
        Kind::List(element) => has_forms(element),
        _ => false,
    }
}

/// The rows whose value is not the canonical one of its key; `None` if there is none.
fn uncanonical(array: &ArrayRef) -> Option<BooleanBuffer> {
    let unusual = match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let elements = uncanonical(lists.values())?;
            let ends = lists.offsets();
            BooleanBuffer::collect_bool(array.len(), |row| {
                let (from, to) = (ends[row] as usize, ends[row + 1] as usize);
                array.is_valid(row) && elements.slice(from, to - from).count_set_bits() > 0
            })
        }
        _ => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            BooleanBuffer::collect_bool(array.len(), |row| {
                array.is_valid(row) && canonical_interval(values[row]) != values[row]
            })
        }
    };
    (unusual.count_set_bits() > 0).then_some(unusual)
}
