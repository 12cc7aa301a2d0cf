//! Aggregates over rows of a match, by the streaming Aggregate's accumulators: so they agree with those of a GROUP BY.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use weir_common::{Error, Result};

use super::rows::Rows;
use crate::compile::{CompiledExpr, compile};
use crate::operators::aggregate::grouped::GroupedCall;
use crate::spec::{ChangelogMode, MatchAggregate};

/// An aggregate ready to take rows in.
pub(super) struct Accumulation {
    reads: Vec<usize>,
    args: Vec<CompiledExpr>,
    call: GroupedCall,
    result: DataType,
}

impl Accumulation {
    /// An aggregate over rows with columns of these types, in which rows may be taken back.
    pub fn new(aggregate: &MatchAggregate, mode: ChangelogMode, input: &[DataType]) -> Result<Accumulation> {
        let reads = aggregate.reads.iter().map(|column| input.get(*column).cloned());
        let types: Option<Vec<DataType>> =
            reads.chain([Some(DataType::Int64), Some(DataType::Utf8)]).collect();
        let types = types.ok_or_else(|| Error::internal("an aggregate reads a column that is not there"))?;
        let args = aggregate.args.iter().map(|arg| compile(arg, &types)).collect::<Result<Vec<_>>>()?;
        let arg_types = args.iter().map(CompiledExpr::data_type).collect::<Result<Vec<_>>>()?;
        let call = GroupedCall::new(&aggregate.call, mode, &arg_types)?;
        Ok(Accumulation { reads: aggregate.reads.clone(), args, call, result: aggregate.result.clone() })
    }

    /// Makes room for so many groups.
    pub fn resize(&mut self, groups: usize) {
        self.call.resize(groups);
    }

    /// Takes rows into groups, or with an op of −1 out of them. They are mapped to variables of these names.
    pub fn update(
        &mut self,
        rows: &Rows,
        at: &UInt32Array,
        names: StringArray,
        groups: &[u32],
        ops: Option<&[i8]>,
    ) -> Result<()> {
        let columns = self.reads.iter().map(|column| rows.take(*column, at));
        let mut columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        columns.push(rows.numbers(at));
        columns.push(Arc::new(names));
        let args = self.args.iter().map(|arg| arg.evaluate(&columns, at.len()));
        let args = args.collect::<Result<Vec<_>>>()?;
        self.call.update(groups, &args, None, ops)
    }

    /// The results of the first groups.
    pub fn results(&self, groups: usize) -> Result<ArrayRef> {
        let groups = u32::try_from(groups).map_err(Error::internal)?;
        let results = self.call.evaluate(0, groups)?;
        match *results.data_type() == self.result {
            true => Ok(results),
            false => cast(&results, &self.result).map_err(Error::internal),
        }
    }
}
