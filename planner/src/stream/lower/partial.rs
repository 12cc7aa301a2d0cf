//! Aggregates in two steps: partial results of parts of a group, and what they come to together.
//!
//! | call | partial results | together |
//! |---|---|---|
//! | count | count | their sum |
//! | sum, min, max, bool_and, bool_or, bit_and, bit_or, bit_xor | the same | the same |
//! | avg | sum, count | sum of the sums, divided by the sum of the counts |
//!
//! Of rows that are only added, the partial result of a part is taken back only for a better one: then the smallest and largest
//! ones so far are all that the second step keeps.
//!
//! Place in the flow: while an aggregate is lowered. Invariant: the result is that of one step to the last digit. So there are
//! no partial sums of floating-point numbers, which would be rounded, and none of intervals, of which equal ones differ;
//! DISTINCT and ordered functions need all values in one place.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use weir_exec::expr::ScalarExpr;
use weir_exec::spec::{AggregateCall, AggregateFunction, ChangelogMode};

use crate::rules::merge_calc;
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};

/// Whole numbers as numeric divides them.
const WHOLE: DataType = DataType::Decimal128(38, 0);

/// The partial results of an aggregate's calls.
pub(super) struct Partials {
    calls: Vec<AggregateCall>,
    results: Vec<Merged>,
    /// How the rows of the parts change.
    mode: ChangelogMode,
}

/// How a call's result is made of merged partial results, by their positions.
enum Merged {
    One(usize),
    Average { sum: usize, count: usize, result: DataType },
}

impl Partials {
    /// Of calls over an input; `None` if one of them cannot be made in two steps.
    pub fn of(calls: &[AggregateCall], input: &StreamPlan) -> Option<Partials> {
        let mut partials = Partials { calls: Vec::new(), results: Vec::new(), mode: input.traits.mode };
        for call in calls {
            let arg = call.args.first().map(|arg| &input.columns[*arg].ty);
            let result = partials.split(call, arg)?;
            partials.results.push(result);
        }
        Some(partials)
    }

    fn split(&mut self, call: &AggregateCall, arg: Option<&DataType>) -> Option<Merged> {
        use AggregateFunction as F;
        let is_exact =
            arg.is_none_or(|ty| !matches!(ty, DataType::Float32 | DataType::Float64 | DataType::Interval(_)));
        if call.distinct || !call.order.is_empty() {
            return None;
        }
        match call.function {
            F::Count | F::BoolAnd | F::BoolOr | F::BitAnd | F::BitOr | F::BitXor => {
                Some(Merged::One(self.add(call.clone())))
            }
            F::Min | F::Max if !matches!(arg, Some(DataType::Interval(_))) => {
                Some(Merged::One(self.add(call.clone())))
            }
            F::Sum if is_exact => Some(Merged::One(self.add(call.clone()))),
            F::Avg if is_exact => {
                let sum = AggregateCall { function: F::Sum, result: sum_type(arg?), ..call.clone() };
                let count = AggregateCall { function: F::Count, result: DataType::Int64, ..call.clone() };
                let result = call.result.clone();
                Some(Merged::Average { sum: self.add(sum), count: self.add(count), result })
            }
            _ => None,
        }
    }

    /// The position of a partial result; two calls may share it.
    fn add(&mut self, call: AggregateCall) -> usize {
        self.calls.iter().position(|known| *known == call).unwrap_or_else(|| {
            self.calls.push(call);
            self.calls.len() - 1
        })
    }

    /// The columns that the calls read.
    pub fn columns_read(&self) -> BTreeSet<usize> {
        self.calls.iter().flat_map(|call| call.args.iter().chain(&call.filter)).copied().collect()
    }

    /// The calls of the first step, over moved columns.
    pub fn calls(&self, moved: &dyn Fn(usize) -> usize) -> Vec<AggregateCall> {
        let move_call = |call: &AggregateCall| AggregateCall {
            args: call.args.iter().map(|arg| moved(*arg)).collect(),
            filter: call.filter.map(moved),
            ..call.clone()
        };
        self.calls.iter().map(move_call).collect()
    }

    /// What the partial results are called.
    pub fn columns(&self) -> Vec<StreamColumn> {
        let column = |call: &AggregateCall| {
            let name = format!("{:?}", call.function).to_lowercase();
            StreamColumn { name: format!("partial_{name}"), ty: call.result.clone() }
        };
        self.calls.iter().map(column).collect()
    }

    /// What makes one of the partial results of a function.
    fn merging(&self, function: AggregateFunction) -> AggregateFunction {
        use AggregateFunction as F;
        match function {
            F::Count => F::Sum,
            F::Min if self.mode == ChangelogMode::AppendOnly => F::Lowest,
            F::Max if self.mode == ChangelogMode::AppendOnly => F::Highest,
            same => same,
        }
    }

    /// The aggregate of an input whose columns are `group` columns to group by, then the partial results.
    pub fn merged(&self, input: StreamPlan, group: usize, columns: &[StreamColumn]) -> StreamPlan {
        let merge = |(position, call): (usize, &AggregateCall)| AggregateCall {
            function: self.merging(call.function),
            args: vec![group + position],
            order: Vec::new(),
            filter: None,
            distinct: false,
            result: call.result.clone(),
        };
        let calls: Vec<AggregateCall> = self.calls.iter().enumerate().map(merge).collect();
        let mut own = columns[..group].to_vec();
        own.extend(self.columns());
        let node = StreamNode::Aggregate { group: (0..group).collect(), calls, ttl: None };
        let plan = StreamPlan::new(node, vec![input], own);
        let results = self.results.iter().map(|merged| merged.expr(group, &self.calls));
        let exprs = (0..group).map(ScalarExpr::Column).chain(results).collect();
        merge_calc::calc(plan, None, exprs, columns.to_vec())
    }
}

impl Merged {
    fn expr(&self, group: usize, calls: &[AggregateCall]) -> ScalarExpr {
        let whole = |position: usize| {
            let column = ScalarExpr::Column(group + position);
            match calls[position].result {
                DataType::Int64 => ScalarExpr::Cast { expr: Box::new(column), to: WHOLE },
                _ => column,
            }
        };
        match self {
            Merged::One(position) => ScalarExpr::Column(group + position),
            Merged::Average { sum, count, result } => ScalarExpr::Call {
                function: "numeric_div".into(),
                args: vec![whole(*sum), whole(*count)],
                ty: result.clone(),
            },
        }
    }
}

/// The type of a sum, as `sum` has it.
fn sum_type(arg: &DataType) -> DataType {
    match arg {
        DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
        _ => WHOLE,
    }
}
