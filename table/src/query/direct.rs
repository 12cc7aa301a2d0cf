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

use arrow::array::ArrayRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use weir_common::{Error, ObjectId, RelationSchema, Result, SqlType};
use weir_exec::error::from_datafusion;
use weir_planner::bound::BoundQuery;
use weir_planner::logical::relation_source;
use weir_planner::{OutputColumn, RelationKind, RelationSource};

use super::access::{KeyColumn, access, conjuncts, key_columns};
use super::pipeline::{Pipeline, Run, Shape};
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
    pipeline: Pipeline,
}

impl DirectRead {
    /// The query compiled, when it has the shape. `params` are the types of the placeholders in it.
    pub fn of(query: &BoundQuery, params: &[SqlType], indexes: &IndexesOf<'_>) -> Option<DirectRead> {
        if query.relations.len() != 1 {
            return None;
        }
        let shape = Shape::of(&query.plan);
        let scan = plain_scan(shape.leaf)?;
        let relation = relation_source(scan).ok()?;
        let is_stored = matches!(relation.kind, RelationKind::Table | RelationKind::MaterializedView);
        let conditions = conditions(&shape);
        if !is_stored || (params.is_empty() && !is_bounded(relation, &conditions, indexes)) {
            return None;
        }
        // What cannot be compiled alone (a subquery) is DataFusion's.
        let project = columns_needed(&shape, scan).ok()?;
        let scanned = projected(scan, &project).ok()?;
        let pipeline = shape.compile(scanned, params, &query.columns).ok()?;
        Some(DirectRead {
            relation: relation.clone(),
            columns: query.columns.clone(),
            conditions,
            project,
            pipeline,
        })
    }

    /// The rows, with these parameters; `None` when the conditions bound no key, so that DataFusion is to scan.
    pub fn run(&self, provider: &RelationProvider, params: &[ArrayRef]) -> Result<Option<RowStream>> {
        let run = self.pipeline.begin(params)?;
        let conditions = self.conditions_with(params)?;
        if !provider.is_bounded_by(&conditions)? {
            return Ok(None);
        }
        let scan = provider.open(self.project.clone(), &conditions, None).map_err(from_datafusion)?;
        let rows = scan.stream().map_err(from_datafusion)?;
        let next = async |(mut rows, mut run): (SendableRecordBatchStream, Run)| {
            while !run.is_done()
                && let Some(batch) = rows.next().await
            {
                let batch = run.push(batch.map_err(from_datafusion)?)?;
                if batch.num_rows() > 0 {
                    return Ok(Some((batch, (rows, run))));
                }
            }
            Ok(None)
        };
        Ok(Some(futures::stream::try_unfold((rows, run), next).boxed()))
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
}

/// Whether the conditions leave less than all keys of the relation.
fn is_bounded(relation: &RelationSource, conditions: &[Expr], indexes: &IndexesOf<'_>) -> bool {
    let schema = RelationSchema { columns: relation.columns.clone(), key: relation.key.clone() };
    let key = key_columns(&relation.schema, &schema.key_columns());
    let bounds = |key: &[KeyColumn]| access(conditions, key).is_ok_and(|access| access.is_some());
    bounds(&key) || indexes(relation.object).iter().any(|index| bounds(&index.columns))
}

/// The scan of a whole relation.
fn plain_scan(leaf: &LogicalPlan) -> Option<&TableScan> {
    match leaf {
        LogicalPlan::TableScan(scan) => {
            let is_plain = scan.filters.is_empty() && scan.fetch.is_none() && scan.projection.is_none();
            is_plain.then_some(scan)
        }
        _ => None,
    }
}

/// The conditions on rows of the relation: those of filters below any projection and limit.
fn conditions(shape: &Shape<'_>) -> Vec<Expr> {
    let below = shape.above.iter().map_while(|node| match node {
        LogicalPlan::Filter(filter) => Some(conjuncts(&filter.predicate)),
        LogicalPlan::SubqueryAlias(_) => Some(Vec::new()),
        _ => None,
    });
    below.flatten().collect()
}

/// Positions of the relation's columns that the nodes name, up to the first projection.
fn columns_needed(shape: &Shape<'_>, scan: &TableScan) -> Result<Vec<usize>> {
    let schema = &scan.projected_schema;
    let mut needed = vec![false; schema.fields().len()];
    let mut is_projected = false;
    for node in &shape.above {
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

/// The columns of a scan at these positions.
fn projected(scan: &TableScan, project: &[usize]) -> Result<DFSchemaRef> {
    let field = |i: &usize| {
        let (qualifier, field) = scan.projected_schema.qualified_field(*i);
        (qualifier.cloned(), Arc::clone(field))
    };
    let schema = DFSchema::new_with_metadata(project.iter().map(field).collect(), HashMap::new());
    schema.map(Arc::new).map_err(from_datafusion)
}

/// The position of a parameter among the values.
fn param_number(placeholder: &Placeholder) -> Option<usize> {
    placeholder.id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}
