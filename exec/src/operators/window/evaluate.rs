//! Window functions over complete partitions, by DataFusion's window expressions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::expressions::{Column, Literal as LiteralExpr};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use datafusion::scalar::ScalarValue;
use weir_common::change::record_batch;
use weir_common::{Error, Result};

use crate::compile::scalar_value;
use crate::error::from_datafusion;
use crate::expr::{Literal, ScalarExpr};
use crate::functions::window_function;
use crate::operators::positional_schema;
use crate::spec::{Frame, FrameBound, FrameUnits, SortColumn, WindowCall};
use crate::state::RowStore;

/// The calls of a window operator, ready to run on the columns that they read.
pub(super) struct Evaluator {
    /// Input columns that are read; none is read twice.
    read: Vec<usize>,
    schema: SchemaRef,
    calls: Vec<Arc<dyn WindowExpr>>,
    results: Vec<DataType>,
    /// How far the calls look; `None` if one looks at all rows.
    pub reach: Option<Reach>,
}

/// How many rows before and after a row its result depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub before: usize,
    pub after: usize,
}

impl Evaluator {
    /// Compiles calls over input columns of these types.
    pub fn new(calls: &[WindowCall], order: &[SortColumn], input: &[DataType]) -> Result<Evaluator> {
        let read = columns_read(calls, order, input.len())?;
        let types: Vec<DataType> = read.iter().map(|column| input[*column].clone()).collect();
        let compiler = Compiler { read: &read, schema: positional_schema(&types) };
        let order: Vec<PhysicalSortExpr> = order.iter().map(|key| compiler.sort_key(key)).collect();
        let calls_compiled =
            calls.iter().map(|call| compiler.call(call, &order, input)).collect::<Result<_>>()?;
        let results = calls.iter().map(|call| call.result.clone()).collect();
        let reach = calls.iter().try_fold(Reach::default(), |all, call| {
            let reach = reach(call)?;
            Some(Reach { before: all.before.max(reach.before), after: all.after.max(reach.after) })
        });
        Ok(Evaluator { schema: compiler.schema, calls: calls_compiled, results, reach, read })
    }

    /// The results of each call over the rows at `slots`; a partition ends at each of `ends`.
    pub fn evaluate(&self, rows: &RowStore, slots: &[u32], ends: &[usize]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() {
            return Ok(self.results.iter().map(new_empty_array).collect());
        }
        let columns = self.read.iter().map(|c| rows.gather(*c, slots)).collect::<Result<Vec<_>>>()?;
        let batch = record_batch(self.schema.clone(), columns, slots.len())?;
        let mut start = 0;
        let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.calls.len()];
        for end in ends {
            if *end > start {
                self.evaluate_partition(&batch.slice(start, end - start), &mut parts)?;
            }
            start = *end;
        }
        parts.into_iter().map(|parts| joined(&parts)).collect()
    }

    fn evaluate_partition(&self, batch: &RecordBatch, parts: &mut [Vec<ArrayRef>]) -> Result<()> {
        for ((call, result), parts) in self.calls.iter().zip(&self.results).zip(parts) {
            let values = call.evaluate(batch).map_err(from_datafusion)?;
            if values.data_type() != result {
                let found = values.data_type();
                return Err(Error::internal(format!("{} gives {found}, not {result}", call.name())));
            }
            parts.push(values);
        }
        Ok(())
    }
}

fn joined(parts: &[ArrayRef]) -> Result<ArrayRef> {
    if let [part] = parts {
        return Ok(part.clone());
    }
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
    concat(&parts).map_err(Error::internal)
}

/// The input columns that calls read; at least one, since a batch must have rows.
fn columns_read(calls: &[WindowCall], order: &[SortColumn], width: usize) -> Result<Vec<usize>> {
    let args = calls.iter().flat_map(|call| &call.args).filter_map(|arg| match arg {
        ScalarExpr::Column(column) => Some(*column),
        _ => None,
    });
    let filters = calls.iter().filter_map(|call| call.filter);
    let mut read: Vec<usize> = args.chain(filters).chain(order.iter().map(|key| key.column)).collect();
    read.sort_unstable();
    read.dedup();
    match read.last() {
        Some(last) if *last >= width => Err(Error::internal(format!("column {last} of {width}"))),
        Some(_) => Ok(read),
        None => Ok(vec![0]),
    }
}

/// How far a call looks, if it is limited and the result is a function of just these rows.
fn reach(call: &WindowCall) -> Option<Reach> {
    match call.function.as_str() {
        "lag" | "lead" => {
            let offset = match call.args.get(1) {
                None => 1,
                Some(ScalarExpr::Literal(Literal::Int(offset), _)) => *offset,
                Some(_) => return None,
            };
            let backwards = (call.function == "lag") == (offset >= 0);
            let rows = usize::try_from(offset.unsigned_abs()).ok()?;
            Some(if backwards { Reach { before: rows, after: 0 } } else { Reach { before: 0, after: rows } })
        }
        "count" | "sum" | "avg" | "min" | "max" | "first_value" | "last_value" | "nth_value" => {
            frame_reach(&call.frame)
        }
        _ => None,
    }
}

fn frame_reach(frame: &Frame) -> Option<Reach> {
    let rows = |bound: &FrameBound| match bound {
        FrameBound::Preceding(Literal::Int(rows), _) => usize::try_from(*rows).ok().map(|n| (n, 0)),
        FrameBound::Following(Literal::Int(rows), _) => usize::try_from(*rows).ok().map(|n| (0, n)),
        FrameBound::CurrentRow => Some((0, 0)),
        _ => None,
    };
    if frame.units != FrameUnits::Rows {
        return None;
    }
    let ((before, _), (_, after)) = (rows(&frame.start)?, rows(&frame.end)?);
    Some(Reach { before, after })
}

struct Compiler<'a> {
    read: &'a [usize],
    schema: SchemaRef,
}

impl Compiler<'_> {
    fn column(&self, column: usize) -> Arc<dyn PhysicalExpr> {
        let at = self.read.partition_point(|read| *read < column);
        Arc::new(Column::new(self.schema.field(at).name(), at))
    }

    fn sort_key(&self, key: &SortColumn) -> PhysicalSortExpr {
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        PhysicalSortExpr { expr: self.column(key.column), options }
    }

    fn call(
        &self,
        call: &WindowCall,
        order: &[PhysicalSortExpr],
        input: &[DataType],
    ) -> Result<Arc<dyn WindowExpr>> {
        let (mut args, mut types) =
            (Vec::with_capacity(call.args.len()), Vec::with_capacity(call.args.len()));
        for arg in &call.args {
            let (arg, ty): (Arc<dyn PhysicalExpr>, &DataType) = match arg {
                ScalarExpr::Column(column) => (self.column(*column), &input[*column]),
                ScalarExpr::Literal(value, ty) => (Arc::new(LiteralExpr::new(scalar_value(value, ty)?)), ty),
                other => return Err(Error::internal(format!("{other:?} as a window function's argument"))),
            };
            args.push(arg);
            types.push(ty.clone());
        }
        let function = window_function(&call.function, &types, &call.result)
            .ok_or_else(|| Error::internal(format!("no window function named {}", call.function)))?;
        create_window_expr(
            &function,
            call.function.clone(),
            &args,
            &[],
            order,
            Arc::new(frame(&call.frame)?),
            self.schema.clone(),
            false,
            false,
            call.filter.map(|column| self.column(column)),
        )
        .map_err(from_datafusion)
    }
}

fn frame(frame: &Frame) -> Result<WindowFrame> {
    let units = match frame.units {
        FrameUnits::Rows => WindowFrameUnits::Rows,
        FrameUnits::Range => WindowFrameUnits::Range,
        FrameUnits::Groups => WindowFrameUnits::Groups,
    };
    Ok(WindowFrame::new_bounds(units, bound(&frame.start)?, bound(&frame.end)?))
}

fn bound(bound: &FrameBound) -> Result<WindowFrameBound> {
    let unbounded = ScalarValue::UInt64(None);
    Ok(match bound {
        FrameBound::UnboundedPreceding => WindowFrameBound::Preceding(unbounded),
        FrameBound::Preceding(offset, ty) => WindowFrameBound::Preceding(scalar_value(offset, ty)?),
        FrameBound::CurrentRow => WindowFrameBound::CurrentRow,
        FrameBound::Following(offset, ty) => WindowFrameBound::Following(scalar_value(offset, ty)?),
        FrameBound::UnboundedFollowing => WindowFrameBound::Following(unbounded),
    })
}
