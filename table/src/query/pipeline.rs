//! `Pipeline`: projections, filters and limits compiled one by one, without an optimizer, whose work would cost many
//! times that of a few rows.
//!
//! Parameters of a prepared statement are columns of one value beside those of the rows. Invariant: a pipeline gives
//! what DataFusion would for the same plan.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, SkipType};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use weir_common::change::record_batch;
use weir_common::{Error, Result, SqlType};
use weir_exec::error::from_datafusion;
use weir_planner::OutputColumn;

/// A plan as a leaf and the nodes above it that a pipeline can be, from the leaf upwards.
pub struct Shape<'p> {
    pub leaf: &'p LogicalPlan,
    pub above: Vec<&'p LogicalPlan>,
}

/// Compiled steps.
pub struct Pipeline {
    steps: Vec<Step>,
    params: Vec<SqlType>,
    schema: SchemaRef,
}

/// What is done to a batch. Expressions are over its columns and, behind those, the parameters.
enum Step {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>),
    Limit { skip: usize, fetch: usize },
}

/// One run of a pipeline.
pub struct Run {
    steps: Vec<Step>,
    params: Vec<ArrayRef>,
    schema: SchemaRef,
}

impl<'p> Shape<'p> {
    /// Of any plan.
    pub fn of(plan: &'p LogicalPlan) -> Shape<'p> {
        let mut above = Vec::new();
        let mut leaf = plan;
        loop {
            let below = match leaf {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Limit(limit) => &limit.input,
                _ => {
                    above.reverse();
                    return Shape { leaf, above };
                }
            };
            above.push(leaf);
            leaf = below;
        }
    }

    /// The nodes above a leaf with these columns, compiled. An error where an expression cannot be compiled alone
    /// (a subquery): such a plan is DataFusion's.
    pub fn compile(
        &self,
        leaf: DFSchemaRef,
        params: &[SqlType],
        columns: &[OutputColumn],
    ) -> Result<Pipeline> {
        let named = params_schema(params)?;
        let mut steps = Vec::new();
        // The columns as they are named below a node.
        let mut input = leaf;
        for node in &self.above {
            match node {
                LogicalPlan::Filter(filter) => {
                    steps.push(Step::Filter(compile(&filter.predicate, &input, &named)?));
                }
                LogicalPlan::Projection(projection) => {
                    let exprs = projection.expr.iter().map(|e| compile(e, &input, &named));
                    steps.push(Step::Project(exprs.collect::<Result<_>>()?));
                    input = Arc::clone(&projection.schema);
                }
                LogicalPlan::Limit(limit) => {
                    let skip = limit.get_skip_type().map_err(from_datafusion)?;
                    let fetch = limit.get_fetch_type().map_err(from_datafusion)?;
                    let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (skip, fetch) else {
                        return Err(Error::internal("LIMIT of an expression"));
                    };
                    steps.push(Step::Limit { skip, fetch: fetch.unwrap_or(usize::MAX) });
                }
                LogicalPlan::SubqueryAlias(alias) => input = renamed(&input, alias)?,
                _ => return Err(Error::internal("a node that was not matched")),
            }
        }
        Ok(Pipeline { steps, params: params.to_vec(), schema: super::result_schema(columns) })
    }
}

impl Pipeline {
    /// A run with these parameters, each an array of one value.
    pub fn begin(&self, params: &[ArrayRef]) -> Result<Run> {
        if params.len() != self.params.len() {
            return Err(Error::internal("a kept plan has another number of parameters"));
        }
        let steps = self.steps.iter().map(|step| match step {
            Step::Filter(condition) => Step::Filter(Arc::clone(condition)),
            Step::Project(exprs) => Step::Project(exprs.clone()),
            Step::Limit { skip, fetch } => Step::Limit { skip: *skip, fetch: *fetch },
        });
        Ok(Run { steps: steps.collect(), params: params.to_vec(), schema: Arc::clone(&self.schema) })
    }
}

impl Run {
    /// Whether a limit is reached.
    pub fn is_done(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Limit { fetch: 0, .. }))
    }

    /// What becomes of a batch.
    pub fn push(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let mut batch = batch;
        for step in &mut self.steps {
            batch = match step {
                Step::Filter(condition) => {
                    let met = evaluate(condition, &with_params(&batch, &self.params)?)?;
                    let met: &BooleanArray = met
                        .as_any()
                        .downcast_ref()
                        .ok_or_else(|| Error::internal("a condition is not boolean"))?;
                    filter_record_batch(&batch, met).map_err(Error::internal)?
                }
                Step::Project(exprs) => {
                    let wide = with_params(&batch, &self.params)?;
                    let columns = exprs.iter().map(|e| evaluate(e, &wide)).collect::<Result<Vec<_>>>()?;
                    of_columns(columns, batch.num_rows())?
                }
                Step::Limit { skip, fetch } => {
                    let skipped = batch.num_rows().min(*skip);
                    let taken = (batch.num_rows() - skipped).min(*fetch);
                    *skip -= skipped;
                    *fetch -= taken;
                    batch.slice(skipped, taken)
                }
            };
        }
        super::conform(batch, &self.schema)
    }
}

/// An expression's values for the rows of a batch.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    let value = expr.evaluate(batch).map_err(from_datafusion)?;
    value.into_array(batch.num_rows()).map_err(from_datafusion)
}

/// The batch with the parameters' values in every row, behind its columns.
pub fn with_params(batch: &RecordBatch, params: &[ArrayRef]) -> Result<RecordBatch> {
    if params.is_empty() {
        return Ok(batch.clone());
    }
    let repeated = params.iter().map(|value| {
        let value = ScalarValue::try_from_array(value, 0)?;
        value.to_array_of_size(batch.num_rows())
    });
    let repeated: Vec<ArrayRef> = repeated.collect::<Result<_, _>>().map_err(from_datafusion)?;
    of_columns(batch.columns().iter().cloned().chain(repeated).collect(), batch.num_rows())
}

/// A batch of these columns, which are found by position.
pub fn of_columns(columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let field = |(i, column): (usize, &ArrayRef)| Field::new(i.to_string(), column.data_type().clone(), true);
    let fields: Fields = columns.iter().enumerate().map(field).collect();
    record_batch(Arc::new(Schema::new(fields)), columns, rows)
}

/// The columns under the name of a FROM item.
fn renamed(input: &DFSchemaRef, alias: &datafusion::logical_expr::SubqueryAlias) -> Result<DFSchemaRef> {
    let fields = input.fields().iter().map(|field| (Some(alias.alias.clone()), Arc::clone(field)));
    let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new());
    schema.map(Arc::new).map_err(from_datafusion)
}

/// The parameters as columns `$1`, `$2`, ….
pub fn params_schema(params: &[SqlType]) -> Result<DFSchema> {
    let field = |(i, ty): (usize, &SqlType)| Field::new(format!("${}", i + 1), ty.arrow(), true);
    let fields: Fields = params.iter().enumerate().map(field).collect();
    DFSchema::from_unqualified_fields(fields, HashMap::new()).map_err(from_datafusion)
}

/// Compiles an expression over columns and parameters; an error where it has a query in it.
pub fn compile(expr: &Expr, input: &DFSchema, params: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let mut is_plain = true;
    let checked = expr.apply(|e| {
        is_plain &= !matches!(
            e,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Unnest(_)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    checked.map_err(from_datafusion)?;
    if !is_plain {
        return Err(Error::internal("an expression with a query in it"));
    }
    let context = PhysicalPlanningContext::default();
    let create = |expr: &Expr, schema: &DFSchema| {
        create_physical_expr(expr, schema, &ExecutionProps::new(), &context).map_err(from_datafusion)
    };
    if params.fields().is_empty() {
        return create(expr, input);
    }
    let as_column = |e: Expr| match &e {
        Expr::Placeholder(placeholder) => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(placeholder.id.clone()))))
        }
        _ => Ok(Transformed::no(e)),
    };
    let expr = expr.clone().transform(as_column).map_err(from_datafusion)?.data;
    create(&expr, &input.join(params).map_err(from_datafusion)?)
}
