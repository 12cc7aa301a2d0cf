//! `GroupedCall`: one aggregate call over groups that the caller numbers, for batch queries.
//!
//! The same accumulators as in views compute it, so that a query and a view over it agree to the last digit. State
//! leaves in columns and can be merged: first the values a call keeps with their counts, or else its running sums.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use weir_common::Result;

use super::call::{Accumulated, Input};
use super::value_counts::ValueCounts;
use crate::spec::{AggregateCall, ChangelogMode};

/// A call and its running results.
pub(crate) struct GroupedCall {
    call: Accumulated,
}

impl GroupedCall {
    /// `call` over columns of the types `input`.
    pub(crate) fn new(call: &AggregateCall, mode: ChangelogMode, input: &[DataType]) -> Result<GroupedCall> {
        Ok(GroupedCall { call: Accumulated::new(call, mode, input)? })
    }

    /// Makes room for groups below `bound`.
    pub(crate) fn resize(&mut self, bound: usize) {
        self.call.accumulator.resize(bound);
    }

    /// Takes in rows that pass the filter, if there is one; without `ops` all are inserts.
    pub(crate) fn update(
        &mut self,
        groups: &[u32],
        columns: &[ArrayRef],
        filter: Option<&BooleanArray>,
        ops: Option<&[i8]>,
    ) -> Result<()> {
        self.call.update(groups, &Input { columns, filter, ops, rows: groups.len() })
    }

    /// The results of the groups from `first` to `end`.
    pub(crate) fn evaluate(&self, first: u32, end: u32) -> Result<ArrayRef> {
        self.call.accumulator.evaluate(&(first..end).collect::<Vec<_>>())
    }

    /// Types of the columns that `save` makes.
    pub(crate) fn state_types(&self) -> Vec<DataType> {
        match &self.call.values {
            Some(values) => vec![values.list_type()],
            None => self.call.accumulator.state_types(),
        }
    }

    /// The state of the groups from `first` to `end`.
    pub(crate) fn save(&self, first: u32, end: u32) -> Result<Vec<ArrayRef>> {
        match &self.call.values {
            Some(values) => Ok(vec![values.lists(first, end)?]),
            None => self.call.accumulator.save(&(first..end).collect::<Vec<_>>()),
        }
    }

    /// Adds saved states to those of these groups.
    pub(crate) fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        if self.call.values.is_none() {
            return self.call.accumulator.merge(groups, state);
        }
        ValueCounts::unlist(&state[0], groups, &mut |rows| self.call.take_in(rows))
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.call.memory_bytes()
    }
}
