//! `bool_and` and `bool_or`: how many values are true and how many false, which a delete takes back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use weir_common::Result;

use super::accumulator::{Accumulator, Rows, gather_i64, merge_i64};
use crate::spec::AggregateFunction;

/// Counts of both values by group.
pub(super) struct BoolCounts {
    trues: Vec<i64>,
    falses: Vec<i64>,
    function: AggregateFunction,
}

impl BoolCounts {
    /// `bool_and` or `bool_or`.
    pub fn new(function: AggregateFunction) -> BoolCounts {
        BoolCounts { trues: Vec::new(), falses: Vec::new(), function }
    }

    fn value(&self, group: u32) -> Option<bool> {
        let (trues, falses) = (self.trues[group as usize], self.falses[group as usize]);
        let value = if self.function == AggregateFunction::BoolAnd { falses == 0 } else { trues > 0 };
        (trues + falses > 0).then_some(value)
    }
}

impl Accumulator for BoolCounts {
    fn resize(&mut self, bound: usize) {
        self.trues.resize(bound, 0);
        self.falses.resize(bound, 0);
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups.iter().map(|group| *group as usize) {
            (self.trues[group], self.falses[group]) = (0, 0);
        }
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = rows.values()?.as_boolean();
        let (trues, falses) = (&mut self.trues, &mut self.falses);
        rows.try_for_each(|row, group, times| {
            let count = if values.value(row) { &mut trues[group] } else { &mut falses[group] };
            *count += times;
            Ok(())
        })
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(|group| self.value(*group)).collect::<BooleanArray>()))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(gather_i64(&self.trues, groups)), Arc::new(gather_i64(&self.falses, groups))])
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        merge_i64(&state[0], groups, |group, count| self.trues[group] += count);
        merge_i64(&state[1], groups, |group, count| self.falses[group] += count);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        (self.trues.capacity() + self.falses.capacity()) * size_of::<i64>()
    }
}
