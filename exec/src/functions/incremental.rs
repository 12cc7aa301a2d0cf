//! `Incremental`: the streaming Aggregate's functions as DataFusion aggregates.
//!
//! Place in the flow: [`super::aggregate`] gives them to the binder; a batch query runs them as they are, the lowering
//! of a view takes the [`AggregateFunction`] out again ([`Incremental::of`]). Both compute with the accumulators of
//! `operators::aggregate`, so a query and a view agree.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use weir_common::{Error, Result};

use crate::error::into_datafusion;
use crate::operators::aggregate::grouped::GroupedCall;
use crate::spec::{AggregateCall, AggregateFunction, ChangelogMode, Regression, ValueOrder};

/// An aggregate function of Weir's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Incremental {
    pub function: AggregateFunction,
    /// What an ordered function orders by first, over the arguments of the call.
    pub order: Vec<ValueOrder>,
    result: DataType,
    signature: Signature,
}

impl Incremental {
    /// The function with results of this type.
    pub(super) fn udaf(function: AggregateFunction, result: &DataType) -> Arc<AggregateUDF> {
        Incremental::ordered(function, Vec::new(), result)
    }

    /// The function over values in an order.
    pub(super) fn ordered(
        function: AggregateFunction,
        order: Vec<ValueOrder>,
        result: &DataType,
    ) -> Arc<AggregateUDF> {
        let signature = Signature::user_defined(Volatility::Immutable);
        let result = result.clone();
        Arc::new(AggregateUDF::new_from_impl(Incremental { function, order, result, signature }))
    }

    /// What a UDAF computes, if it is one of these.
    pub fn of(udaf: &AggregateUDF) -> Option<&Incremental> {
        udaf.inner().downcast_ref()
    }

    /// A call as SQL writes it; also its name among the columns of a plan, so it says all that distinguishes it.
    fn render(&self, params: &AggregateFunctionParams) -> String {
        let args: Vec<String> = params.args.iter().map(|arg| arg.schema_name().to_string()).collect();
        let call = self.function.render(&args, params.distinct, &self.order);
        match &params.filter {
            Some(filter) => format!("{call} FILTER (WHERE {})", filter.schema_name()),
            None => call,
        }
    }

    fn spec(&self, args: &[FieldRef], distinct: bool) -> CallSpec {
        CallSpec {
            function: self.function,
            order: self.order.clone(),
            distinct,
            args: args.iter().map(|field| field.data_type().clone()).collect(),
            result: self.result.clone(),
        }
    }
}

impl AggregateUDFImpl for Incremental {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.result.clone())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let spec = self.spec(args.expr_fields, args.is_distinct);
        Ok(Box::new(OneGroup::new(spec, ChangelogMode::AppendOnly).map_err(into_datafusion)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let spec = self.spec(args.expr_fields, args.is_distinct);
        Ok(Box::new(OneGroup::new(spec, ChangelogMode::Retract).map_err(into_datafusion)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DataFusionResult<Vec<FieldRef>> {
        let call = self.spec(args.input_fields, args.is_distinct).call(ChangelogMode::AppendOnly);
        let types = call.map_err(into_datafusion)?.state_types();
        let field = |(i, ty)| Arc::new(Field::new(format!("{}[{i}]", args.name), ty, true));
        Ok(types.into_iter().enumerate().map(field).collect())
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        let spec = self.spec(args.expr_fields, args.is_distinct);
        Ok(Box::new(ManyGroups::new(spec).map_err(into_datafusion)?))
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> DataFusionResult<String> {
        Ok(self.render(params))
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> DataFusionResult<String> {
        Ok(self.render(params))
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> DataFusionResult<String> {
        Ok(self.render(params))
    }

    /// What an outer join that a subquery became leaves where there is no row.
    fn default_value(&self, data_type: &DataType) -> DataFusionResult<ScalarValue> {
        match self.function {
            AggregateFunction::Regression(Regression::Count) => Ok(ScalarValue::Int64(Some(0))),
            _ => ScalarValue::try_from(data_type),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// What a call is made from.
#[derive(Clone, Debug)]
struct CallSpec {
    function: AggregateFunction,
    order: Vec<ValueOrder>,
    distinct: bool,
    args: Vec<DataType>,
    result: DataType,
}

impl CallSpec {
    /// A fresh call over the arguments.
    fn call(&self, mode: ChangelogMode) -> Result<GroupedCall> {
        let call = AggregateCall {
            function: self.function,
            args: (0..self.args.len()).collect(),
            order: self.order.clone(),
            filter: None,
            distinct: self.distinct,
            result: self.result.clone(),
        };
        GroupedCall::new(&call, mode, &self.args)
    }
}

/// All groups of a hash aggregation.
struct ManyGroups {
    spec: CallSpec,
    call: GroupedCall,
    /// Groups that have left already: DataFusion numbers those that remain from 0 again.
    left: u32,
    bound: u32,
}

impl ManyGroups {
    fn new(spec: CallSpec) -> Result<ManyGroups> {
        let call = spec.call(ChangelogMode::AppendOnly)?;
        Ok(ManyGroups { spec, call, left: 0, bound: 0 })
    }

    /// The call's numbers of groups.
    fn groups(&mut self, indices: &[usize], total: usize) -> Result<Vec<u32>> {
        self.bound = u32::try_from(total + self.left as usize).map_err(Error::internal)?;
        self.call.resize(self.bound as usize);
        Ok(indices.iter().map(|index| *index as u32 + self.left).collect())
    }

    /// Hands out groups, which are gone then.
    fn emit<T>(
        &mut self,
        emit_to: EmitTo,
        take: impl FnOnce(&GroupedCall, u32, u32) -> Result<T>,
    ) -> DataFusionResult<T> {
        let end = match emit_to {
            EmitTo::All => self.bound,
            EmitTo::First(n) => self.left + n as u32,
        };
        let taken = take(&self.call, self.left, end).map_err(into_datafusion)?;
        if end == self.bound {
            *self = ManyGroups::new(self.spec.clone()).map_err(into_datafusion)?;
        } else {
            self.left = end;
        }
        Ok(taken)
    }
}

impl GroupsAccumulator for ManyGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        let groups = self.groups(group_indices, total_num_groups).map_err(into_datafusion)?;
        self.call.update(&groups, values, opt_filter, None).map_err(into_datafusion)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DataFusionResult<ArrayRef> {
        self.emit(emit_to, GroupedCall::evaluate)
    }

    fn state(&mut self, emit_to: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        self.emit(emit_to, GroupedCall::save)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        let groups = self.groups(group_indices, total_num_groups).map_err(into_datafusion)?;
        self.call.merge(&groups, values).map_err(into_datafusion)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> DataFusionResult<Vec<ArrayRef>> {
        let mut rows = ManyGroups::new(self.spec.clone()).map_err(into_datafusion)?;
        let each: Vec<usize> = (0..values.first().map_or(0, |column| column.len())).collect();
        rows.update_batch(values, &each, opt_filter, each.len())?;
        rows.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.call.memory_bytes()
    }
}

/// The one group of a query without GROUP BY, or a window frame.
struct OneGroup {
    call: GroupedCall,
    mode: ChangelogMode,
}

impl OneGroup {
    fn new(spec: CallSpec, mode: ChangelogMode) -> Result<OneGroup> {
        let mut call = spec.call(mode)?;
        call.resize(1);
        Ok(OneGroup { call, mode })
    }

    fn change(&mut self, values: &[ArrayRef], op: i8) -> DataFusionResult<()> {
        let rows = values.first().map_or(0, |column| column.len());
        let ops = (op < 0).then(|| vec![op; rows]);
        self.call.update(&vec![0; rows], values, None, ops.as_deref()).map_err(into_datafusion)
    }
}

impl std::fmt::Debug for OneGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneGroup").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.change(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.change(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        self.mode == ChangelogMode::Retract
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        ScalarValue::try_from_array(&self.call.evaluate(0, 1).map_err(into_datafusion)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.call.memory_bytes()
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let columns = self.call.save(0, 1).map_err(into_datafusion)?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let rows = states.first().map_or(0, |column| column.len());
        self.call.merge(&vec![0; rows], states).map_err(into_datafusion)
    }
}
