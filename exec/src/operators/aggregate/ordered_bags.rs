//! Aggregates over all values of a group in their order: `string_agg`, `array_agg`, `jsonb_agg`, `mode() WITHIN
//! GROUP`, `percentile_cont` and `percentile_disc`.
//!
//! A value is all arguments of a row as one sort key: first the columns of the call's ORDER BY in their directions,
//! then the others ascending, NULLs last. So the order is total up to rows that are equal in everything, and neither
//! depends on how rows came nor differs between a query and a view; without ORDER BY it is that of the arguments.
//! A result is decoded from the sort keys again, which are exact: equal values that differ are one value for DISTINCT and
//! for `mode`, which give the first of them, and come back as they were.
//!
//! The values are counted and kept on disk by [`super::value_counts`] in front.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Float64Array, IntervalMonthDayNanoArray, ListArray,
    StringBuilder, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float64Type, IntervalMonthDayNanoType};
use weir_common::key::{KeyEncoder, KeyOrder};
use weir_common::{Error, Result};

use super::accumulator::{Accumulator, Rows};
use super::ordered_bag::OrderedBag;
use crate::functions::between;
use crate::spec::{AggregateCall, AggregateFunction, Fraction};

/// The values of groups.
pub(super) struct OrderedBags {
    function: AggregateFunction,
    distinct: bool,
    /// The argument in each column of the sort key.
    columns: Vec<usize>,
    encoder: KeyEncoder,
    bags: Vec<OrderedBag>,
    /// Different values of all groups, and their bytes.
    values: usize,
    value_bytes: usize,
    result: DataType,
}

impl OrderedBags {
    /// A call over arguments of these types.
    pub fn new(call: &AggregateCall, args: &[DataType]) -> Result<OrderedBags> {
        let ordered = call.order.iter().map(|key| (key.arg, key.order));
        let rest = (0..args.len()).map(|arg| (arg, KeyOrder::Ascending));
        let mut key: Vec<(usize, KeyOrder)> = Vec::new();
        for (arg, order) in ordered.chain(rest) {
            if key.iter().all(|(known, _)| *known != arg) {
                key.push((arg, order));
            }
        }
        let typed: Vec<_> = key.iter().map(|(arg, order)| (args[*arg].clone(), *order)).collect();
        Ok(OrderedBags {
            function: call.function,
            distinct: call.distinct,
            columns: key.into_iter().map(|(arg, _)| arg).collect(),
            encoder: KeyEncoder::ordered(&typed)?.exact()?,
            bags: Vec::new(),
            values: 0,
            value_bytes: 0,
            result: call.result.clone(),
        })
    }

    /// The arguments of these values, by position.
    fn decode(&self, values: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let mut decoded: Vec<_> = self.columns.iter().zip(self.encoder.decode(values)?).collect();
        decoded.sort_by_key(|(arg, _)| **arg);
        Ok(decoded.into_iter().map(|(_, column)| column).collect())
    }

    /// All values of these groups, each as often as it is there, and how many each group has.
    fn all_values(&self, groups: &[u32]) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let (mut values, mut at) = (Vec::new(), Vec::new());
        let mut lengths = Vec::with_capacity(groups.len());
        for group in groups {
            let before = at.len();
            let mut last: Option<&[u8]> = None;
            for (value, count) in self.bags[*group as usize].entries() {
                if self.distinct && self.encoder.has_tails() {
                    let compared = Some(self.encoder.compared(value)?);
                    if std::mem::replace(&mut last, compared) == compared {
                        continue;
                    }
                }
                at.extend(std::iter::repeat_n(values.len() as u32, usize::try_from(count).unwrap_or(0)));
                values.push(value);
            }
            lengths.push(at.len() - before);
        }
        let at = UInt32Array::from(at);
        let decoded = self.decode(&values)?;
        let repeated = decoded.iter().map(|column| take(column, &at, None)).collect::<Result<_, _>>();
        Ok((repeated.map_err(Error::internal)?, lengths))
    }

    /// One value of each group, or NULL.
    fn one_value<'a>(
        &'a self,
        groups: &[u32],
        choose: impl Fn(&'a OrderedBag) -> Option<&'a [u8]>,
    ) -> Result<ArrayRef> {
        let chosen: Vec<Option<&[u8]>> = groups.iter().map(|g| choose(&self.bags[*g as usize])).collect();
        self.values_of(&chosen)
    }

    /// The first argument of each of these values.
    fn values_of(&self, chosen: &[Option<&[u8]>]) -> Result<ArrayRef> {
        let values: Vec<&[u8]> = chosen.iter().flatten().copied().collect();
        if values.is_empty() {
            return Ok(new_null_array(&self.result, chosen.len()));
        }
        let mut next = 0..;
        let at: UInt32Array = chosen.iter().map(|value| value.and_then(|_| next.next())).collect();
        take(&self.decode(&values)?[0], &at, None).map_err(Error::internal)
    }

    /// The first value of those that are there most often, equal ones taken together.
    fn mode(&self, groups: &[u32]) -> Result<ArrayRef> {
        if !self.encoder.has_tails() {
            return self.one_value(groups, OrderedBag::most_frequent);
        }
        let mut modes = Vec::with_capacity(groups.len());
        for group in groups {
            // Compared part, first value and count of the values so far that equal the last one; the most frequent.
            let (mut run, mut best): ((&[u8], &[u8], i64), Option<(&[u8], i64)>) = ((&[], &[], 0), None);
            for (value, count) in self.bags[*group as usize].entries() {
                let compared = self.encoder.compared(value)?;
                run =
                    if run.0 == compared { (run.0, run.1, run.2 + count) } else { (compared, value, count) };
                if best.is_none_or(|(_, most)| run.2 > most) {
                    best = Some((run.1, run.2));
                }
            }
            modes.push(best.map(|(value, _)| value));
        }
        self.values_of(&modes)
    }

    fn percentile_cont(&self, groups: &[u32], fraction: Fraction) -> Result<ArrayRef> {
        let position = |bag: &OrderedBag| position(bag, fraction);
        let low = self.one_value(groups, |bag| bag.at_rank(position(bag).floor() as i64))?;
        let high = self.one_value(groups, |bag| bag.at_rank(position(bag).ceil() as i64))?;
        if let DataType::Interval(_) = self.result {
            return self.interpolated_intervals(groups, fraction, &low, &high);
        }
        let (low, high) = (low.as_primitive::<Float64Type>(), high.as_primitive::<Float64Type>());
        let interpolated = groups.iter().enumerate().map(|(row, group)| {
            let position = position(&self.bags[*group as usize]);
            let (from, to) = (low.value(row), high.value(row));
            let between = position - position.floor();
            let value = if position.ceil() == position.floor() { from } else { from + between * (to - from) };
            low.is_valid(row).then_some(value)
        });
        Ok(Arc::new(interpolated.collect::<Float64Array>()))
    }

    fn interpolated_intervals(
        &self,
        groups: &[u32],
        fraction: Fraction,
        low: &ArrayRef,
        high: &ArrayRef,
    ) -> Result<ArrayRef> {
        let low = low.as_primitive::<IntervalMonthDayNanoType>();
        let high = high.as_primitive::<IntervalMonthDayNanoType>();
        let value = |(row, group): (usize, &u32)| {
            let position = position(&self.bags[*group as usize], fraction);
            let interpolated = || between(low.value(row), high.value(row), position - position.floor());
            low.is_valid(row).then(interpolated).transpose()
        };
        let values = groups.iter().enumerate().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(values.into_iter().collect::<IntervalMonthDayNanoArray>()))
    }

    fn percentile_disc(&self, groups: &[u32], fraction: Fraction) -> Result<ArrayRef> {
        self.one_value(groups, |bag| {
            let row = (fraction.value() * bag.total() as f64).ceil() as i64;
            bag.at_rank(row.max(1) - 1)
        })
    }

    fn lists(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (values, lengths) = self.all_values(groups)?;
        let present: NullBuffer = lengths.iter().map(|length| *length > 0).collect();
        let field = Arc::new(Field::new_list_field(values[0].data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let lists = ListArray::try_new(field, offsets, values[0].clone(), Some(present));
        Ok(Arc::new(lists.map_err(Error::internal)?))
    }

    fn joined(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (values, lengths) = self.all_values(groups)?;
        if self.result == DataType::Binary {
            return joined_bytes(&values, &lengths);
        }
        let (text, separators) = (values[0].as_string::<i32>(), values[1].as_string::<i32>());
        let mut joined = StringBuilder::new();
        let mut row = 0;
        for length in lengths {
            let mut one = String::new();
            for at in row..row + length {
                if at > row && separators.is_valid(at) {
                    one.push_str(separators.value(at));
                }
                one.push_str(text.value(at));
            }
            row += length;
            joined.append_option((length > 0).then_some(one));
        }
        Ok(Arc::new(joined.finish()))
    }

    fn json(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (values, lengths) = self.all_values(groups)?;
        let json = values[0].as_string::<i32>();
        let element = |at: usize| if json.is_valid(at) { json.value(at) } else { "null" };
        let mut arrays = StringBuilder::new();
        let mut row = 0;
        for length in lengths {
            let elements: Vec<&str> = (row..row + length).map(element).collect();
            row += length;
            arrays.append_option((length > 0).then(|| format!("[{}]", elements.join(", "))));
        }
        Ok(Arc::new(arrays.finish()))
    }
}

/// Where, between which ranks, a fraction of a bag's values is.
fn position(bag: &OrderedBag, fraction: Fraction) -> f64 {
    fraction.value() * (bag.total() - 1) as f64
}

fn joined_bytes(values: &[ArrayRef], lengths: &[usize]) -> Result<ArrayRef> {
    let (bytes, separators) = (values[0].as_binary::<i32>(), values[1].as_binary::<i32>());
    let mut joined = BinaryBuilder::new();
    let mut row = 0;
    for length in lengths {
        let mut one = Vec::new();
        for at in row..row + length {
            if at > row && separators.is_valid(at) {
                one.extend_from_slice(separators.value(at));
            }
            one.extend_from_slice(bytes.value(at));
        }
        row += length;
        joined.append_option((*length > 0).then_some(one));
    }
    Ok(Arc::new(joined.finish()))
}

impl Accumulator for OrderedBags {
    fn resize(&mut self, bound: usize) {
        self.bags.resize(bound, OrderedBag::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let columns =
            self.columns.iter().map(|arg| rows.column(*arg).cloned()).collect::<Result<Vec<_>>>()?;
        let keys = self.encoder.encode(&columns)?;
        rows.try_for_each(|row, group, times| {
            match self.bags[group].add(keys.row(row), times) {
                Some(true) => {
                    self.values += 1;
                    self.value_bytes += keys.row(row).len();
                }
                Some(false) => {
                    self.values -= 1;
                    self.value_bytes -= keys.row(row).len();
                }
                None => {}
            }
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        match self.function {
            AggregateFunction::StringAgg => self.joined(groups),
            AggregateFunction::ArrayAgg => self.lists(groups),
            AggregateFunction::JsonbAgg => self.json(groups),
            AggregateFunction::Mode => self.mode(groups),
            AggregateFunction::PercentileCont(Some(fraction)) => self.percentile_cont(groups, fraction),
            AggregateFunction::PercentileDisc(Some(fraction)) => self.percentile_disc(groups, fraction),
            _ => Ok(new_null_array(&self.result, groups.len())),
        }
    }

    fn restore_values(&mut self, rows: &Rows<'_>) -> Result<()> {
        self.update(rows)
    }

    fn memory_bytes(&self) -> usize {
        self.bags.capacity() * size_of::<OrderedBag>()
            + self.values * OrderedBag::VALUE_BYTES
            + self.value_bytes
    }
}
