//! `DirectRead`: a query that needs no optimizer: conditions and expressions over the rows that a few keys of one
//! relation have.
//!
//! ```text
//!   project ─ filter ─ scan        conditions on leading columns of a key: only those rows are read
//! ```
//! Place in the flow: a SELECT or the reading part of DML that has this shape runs here instead of on DataFusion, whose
//! planning would cost many times the read. A prepared statement keeps its `DirectRead`; its parameters are columns of
//! one value beside those of the rows. Invariant: it gives what DataFusion would for the same plan.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, SkipType, TableScan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use weir_common::change::record_batch;
use weir_common::{Error, ObjectId, RelationSchema, Result, SqlType};
use weir_exec::error::from_datafusion;
use weir_planner::bound::BoundQuery;
use weir_planner::logical::relation_source;
use weir_planner::{OutputColumn, RelationKind, RelationSource};

use super::access::{KeyColumn, access, conjuncts, key_columns};
use super::provider::RelationProvider;
use crate::indexes::IndexKey;
use crate::outcome::RowStream;

/// Gives the keys of a relation's indexes.
pub type IndexesOf<'a> = dyn Fn(ObjectId) -> Vec<Arc<IndexKey>> + 'a;

/// A query of this shape, compiled.
pub struct DirectRead {
    /// The one relation it reads.
    pub relation: RelationSource,
    pub columns: Vec<OutputColumn>,
    /// What must hold of the relation's rows; with the parameters in place it bounds the keys.
    conditions: Vec<Expr>,
    /// The relation's columns that are needed.
    project: Vec<usize>,
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

/// The nodes above a scan, from it upwards.
struct Shape<'p> {
    scan: &'p TableScan,
    above: Vec<&'p LogicalPlan>,
}

impl DirectRead {
    /// The query compiled, when it has the shape. `params` are the types of the placeholders in it.
    pub fn of(query: &BoundQuery, params: &[SqlType], indexes: &IndexesOf<'_>) -> Option<DirectRead> {
        if query.relations.len() != 1 {
            return None;
        }
        let shape = Shape::of(&query.plan)?;
        let relation = relation_source(shape.scan).ok()?;
        let is_stored = matches!(relation.kind, RelationKind::Table | RelationKind::MaterializedView);
        let conditions = shape.conditions();
        if !is_stored || (params.is_empty() && !is_bounded(relation, &conditions, indexes)) {
            return None;
        }
        // What cannot be compiled alone (a subquery) is DataFusion's.
        let compiled = shape.compile(params).ok()?;
        Some(DirectRead {
            relation: relation.clone(),
            columns: query.columns.clone(),
            conditions,
            project: compiled.project,
            steps: compiled.steps,
            params: params.to_vec(),
            schema: super::result_schema(&query.columns),
        })
    }

    /// The rows, with these parameters; `None` when the conditions bound no key, so that DataFusion is to scan.
    pub fn run(&self, provider: &RelationProvider, params: &[ArrayRef]) -> Result<Option<RowStream>> {
        if params.len() != self.params.len() {
            return Err(Error::internal("a kept plan has another number of parameters"));
        }
        let conditions = self.conditions_with(params)?;
        if !provider.is_bounded_by(&conditions)? {
            return Ok(None);
        }
        let scan = provider.open(self.project.clone(), &conditions, None).map_err(from_datafusion)?;
        let rows = scan.stream().map_err(from_datafusion)?;
        let work = (rows, self.pipeline(params));
        let next = async |(mut rows, mut pipeline): (SendableRecordBatchStream, Pipeline)| {
            while !pipeline.is_done()
                && let Some(batch) = rows.next().await
            {
                let batch = pipeline.push(batch.map_err(from_datafusion)?)?;
                if batch.num_rows() > 0 {
                    return Ok(Some((batch, (rows, pipeline))));
                }
            }
            Ok(None)
        };
        Ok(Some(futures::stream::try_unfold(work, next).boxed()))
    }

    fn conditions_with(&self, params: &[ArrayRef]) -> Result<Vec<Expr>> {
        if params.is_empty() {
            return Ok(self.conditions.clone());
        }
        let values = params.iter().map(|array| ScalarValue::try_from_array(array, 0));
        let values: Vec<ScalarValue> = values.collect::<Result<_, _>>().map_err(from_datafusion)?;
        let with_value = |expr: Expr| match &expr {
            Expr::Placeholder(placeholder) => match param_number(placeholder).and_then(|i| values.get(i)) {
                Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
                None => Ok(Transformed::no(expr)),
            },
            _ => Ok(Transformed::no(expr)),
        };
        let conditions = self.conditions.iter().map(|e| e.clone().transform(with_value).map(|t| t.data));
        conditions.collect::<Result<_, _>>().map_err(from_datafusion)
    }

    fn pipeline(&self, params: &[ArrayRef]) -> Pipeline {
        let steps = self.steps.iter().map(|step| match step {
            Step::Filter(condition) => Step::Filter(Arc::clone(condition)),
            Step::Project(exprs) => Step::Project(exprs.clone()),
            Step::Limit { skip, fetch } => Step::Limit { skip: *skip, fetch: *fetch },
        });
        Pipeline { steps: steps.collect(), params: params.to_vec(), schema: Arc::clone(&self.schema) }
    }
}

/// The steps of one run.
struct Pipeline {
    steps: Vec<Step>,
    params: Vec<ArrayRef>,
    schema: SchemaRef,
}

impl Pipeline {
    /// Whether a limit is reached.
    fn is_done(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Limit { fetch: 0, .. }))
    }

    /// What becomes of a batch.
    fn push(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
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

/// Whether the conditions leave less than all keys of the relation.
fn is_bounded(relation: &RelationSource, conditions: &[Expr], indexes: &IndexesOf<'_>) -> bool {
    let schema = RelationSchema { columns: relation.columns.clone(), key: relation.key.clone() };
    let key = key_columns(&relation.schema, &schema.key_columns());
    let bounds = |key: &[KeyColumn]| access(conditions, key).is_ok_and(|access| access.is_some());
    bounds(&key) || indexes(relation.object).iter().any(|index| bounds(&index.columns))
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    let value = expr.evaluate(batch).map_err(from_datafusion)?;
    value.into_array(batch.num_rows()).map_err(from_datafusion)
}

/// The batch with the parameters' values in every row, behind its columns.
fn with_params(batch: &RecordBatch, params: &[ArrayRef]) -> Result<RecordBatch> {
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
fn of_columns(columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let field = |(i, column): (usize, &ArrayRef)| Field::new(i.to_string(), column.data_type().clone(), true);
    let fields: Fields = columns.iter().enumerate().map(field).collect();
    record_batch(Arc::new(Schema::new(fields)), columns, rows)
}

/// A shape's steps, and what they read.
struct Compiled {
    project: Vec<usize>,
    steps: Vec<Step>,
}

impl<'p> Shape<'p> {
    fn of(plan: &'p LogicalPlan) -> Option<Shape<'p>> {
        let mut above = Vec::new();
        let mut node = plan;
        loop {
            let below = match node {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Limit(limit) => &limit.input,
                LogicalPlan::TableScan(scan) => {
                    let is_plain =
                        scan.filters.is_empty() && scan.fetch.is_none() && scan.projection.is_none();
                    above.reverse();
                    return is_plain.then_some(Shape { scan, above });
                }
                _ => return None,
            };
            above.push(node);
            node = below;
        }
    }

    /// The conditions on rows of the relation: those of filters below any projection and limit.
    fn conditions(&self) -> Vec<Expr> {
        let below = self.above.iter().map_while(|node| match node {
            LogicalPlan::Filter(filter) => Some(conjuncts(&filter.predicate)),
            LogicalPlan::SubqueryAlias(_) => Some(Vec::new()),
            _ => None,
        });
        below.flatten().collect()
    }

    fn compile(&self, params: &[SqlType]) -> Result<Compiled> {
        let project = self.columns_needed()?;
        let fields = |i: &usize| {
            let (qualifier, field) = self.scan.projected_schema.qualified_field(*i);
            (qualifier.cloned(), Arc::clone(field))
        };
        let scanned = project.iter().map(fields).collect();
        let scanned = DFSchema::new_with_metadata(scanned, HashMap::new()).map_err(from_datafusion)?;
        let params = params_schema(params)?;
        let mut steps = Vec::new();
        // The columns as they are named below a node.
        let mut input: DFSchemaRef = Arc::new(scanned);
        for node in &self.above {
            match node {
                LogicalPlan::Filter(filter) => {
                    steps.push(Step::Filter(compile(&filter.predicate, &input, &params)?));
                }
                LogicalPlan::Projection(projection) => {
                    let exprs = projection.expr.iter().map(|e| compile(e, &input, &params));
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
        Ok(Compiled { project, steps })
    }

    /// Positions of the relation's columns that the steps name, up to the first projection.
    fn columns_needed(&self) -> Result<Vec<usize>> {
        let schema = &self.scan.projected_schema;
        let mut needed = vec![false; schema.fields().len()];
        let mut is_projected = false;
        for node in &self.above {
            if is_projected {
                break;
            }
            is_projected = matches!(node, LogicalPlan::Projection(_));
            for expr in node.expressions() {
                for column in expr.column_refs() {
                    let position = schema.fields().iter().position(|field| *field.name() == column.name);
                    let position = position.ok_or_else(|| Error::internal("a column that is not there"))?;
                    needed[position] = true;
                }
            }
        }
        let all = 0..needed.len();
        Ok(if is_projected { all.filter(|i| needed[*i]).collect() } else { all.collect() })
    }
}

/// The columns under the name of a FROM item.
fn renamed(input: &DFSchemaRef, alias: &datafusion::logical_expr::SubqueryAlias) -> Result<DFSchemaRef> {
    let fields = input.fields().iter().map(|field| (Some(alias.alias.clone()), Arc::clone(field)));
    let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new());
    schema.map(Arc::new).map_err(from_datafusion)
}

/// The parameters as columns `$1`, `$2`, ….
fn params_schema(params: &[SqlType]) -> Result<DFSchema> {
    let field = |(i, ty): (usize, &SqlType)| Field::new(format!("${}", i + 1), ty.arrow(), true);
    let fields: Fields = params.iter().enumerate().map(field).collect();
    DFSchema::from_unqualified_fields(fields, HashMap::new()).map_err(from_datafusion)
}

fn compile(expr: &Expr, input: &DFSchema, params: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
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
    let as_column = |e: Expr| match &e {
        Expr::Placeholder(placeholder) => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(placeholder.id.clone()))))
        }
        _ => Ok(Transformed::no(e)),
    };
    let expr = expr.clone().transform(as_column).map_err(from_datafusion)?.data;
    let schema = input.join(params).map_err(from_datafusion)?;
    let context = PhysicalPlanningContext::default();
    create_physical_expr(&expr, &schema, &ExecutionProps::new(), &context).map_err(from_datafusion)
}

/// The position of a parameter among the values.
fn param_number(placeholder: &Placeholder) -> Option<usize> {
    placeholder.id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}
