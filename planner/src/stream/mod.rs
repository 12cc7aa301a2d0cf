//! Stream planning: a bound query becomes a continuous job.
//!
//! ```text
//!   BoundQuery ─ set_operation, unsupported, distinct_on, scalar_subquery ─ rules::optimize ─► LogicalPlan
//!              ─ lower ─► StreamPlan (operators with proved traits)
//!              ─ job   ─► JobGraph   (operators, exchanges, stable ids) ─► runtime
//! ```
//!
//! Place in the flow: called for CREATE MATERIALIZED VIEW, CREATE SINK and their EXPLAIN. Invariant: a pure
//! function of the bound query and the target; the same query gives the same job with the same operator ids.

mod distinct_on;
pub mod event_time;
pub mod into_table;
pub mod job;
mod lookup;
pub mod lower;
pub mod plan;
pub mod scalar;
mod scalar_subquery;
mod set_operation;
pub mod shared;
pub mod state;
mod tolerant;
pub mod traits;
mod ttl;
pub mod unsupported;

#[cfg(test)]
mod tests;

use datafusion::logical_expr::LogicalPlan;
use weir_common::{Column, Error, JobId, ObjectId, RelationKey, RelationSchema, Result, SqlState};
use weir_runtime::graph::JobGraph;

use crate::bound::{BoundQuery, Emission, OutputColumn, StateTtl};
use crate::rules::{self, DisabledRules};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::state::UnboundedState;
use crate::stream::state::endless::endless;

/// Where a job's rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetOutput {
    /// Into the relation of a materialized view.
    ToRelation(ObjectId),
    /// Into an external sink.
    ToSink(ObjectId),
    /// Into a table, which others may write too.
    ToTable { sink: ObjectId, table: ObjectId },
}

/// The job that a query is planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTarget {
    pub job: JobId,
    /// For people: the view's or sink's name.
    pub name: String,
    pub output: TargetOutput,
    /// The table that gets the rows whose expressions fail; `None` when they stop the job.
    pub letters: Option<ObjectId>,
    /// What it does with event time.
    pub emission: Emission,
    /// What of its state it may forget.
    pub ttl: StateTtl,
}

impl JobTarget {
    /// A job that an error stops.
    pub fn new(job: JobId, name: impl Into<String>, output: TargetOutput) -> JobTarget {
        let (emission, ttl) = (Emission::default(), StateTtl::default());
        JobTarget { job, name: name.into(), output, letters: None, emission, ttl }
    }
}

/// A query planned as a job, with every stage for EXPLAIN.
#[derive(Clone, Debug)]
pub struct PlannedJob {
    /// The optimised logical plan.
    pub logical: LogicalPlan,
    pub stream: StreamPlan,
    pub job: JobGraph,
    /// Columns and key of the rows that the job produces.
    pub schema: RelationSchema,
    /// State that grows as long as the job runs.
    pub unbounded: Vec<UnboundedState>,
    /// Whether the rows that it shows become ever more.
    pub grows: bool,
}

/// Plans a query as a continuous job, without the rules that are switched off.
pub fn plan_job(query: &BoundQuery, target: JobTarget, disabled: &DisabledRules) -> Result<PlannedJob> {
    let bound = set_operation::restore(query.plan.clone())?;
    unsupported::check(&bound)?;
    let bound = distinct_on::number_first_rows(bound)?;
    let bound = scalar_subquery::to_joins(scalar_subquery::check_single_values(bound)?)?;
    let logical = rules::optimize(bound, disabled)?;
    let mut rows = lower::lower(&logical)?;
    rows = ttl::apply(rows, &target.ttl)?;
    if target.letters.is_some() {
        rows = tolerant::lift_join_filters(rows);
    }
    if target.emission.on_close {
        rows = event_time::emit_on_close(rows)?;
    }
    let schema = relation_schema(&query.columns, &rows)?;
    let stream = root(rows, &schema, &target);
    let job = job::build_job(&stream, &schema, &target);
    let unbounded = state::unbounded(&stream);
    let grows = !endless(&stream).is_empty();
    Ok(PlannedJob { logical, stream, job, schema, unbounded, grows })
}

/// The query's columns under the user's names, and the key that was proved of its rows.
fn relation_schema(columns: &[OutputColumn], rows: &StreamPlan) -> Result<RelationSchema> {
    if columns.is_empty() {
        return Err(Error::unsupported("a materialized view without columns")
            .with_hint("Name at least one column after SELECT."));
    }
    let types = columns.iter().map(|column| column.ty.arrow());
    if types.ne(rows.columns.iter().map(|column| column.ty.clone())) {
        return Err(Error::internal("the planned columns differ from the query's"));
    }
    let mut relation = Vec::with_capacity(columns.len());
    for (position, OutputColumn { name, ty, .. }) in columns.iter().enumerate() {
        if columns[..position].iter().any(|earlier| earlier.name == *name) {
            return Err(Error::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let id = u16::try_from(position + 1)
            .map_err(|_| Error::new(SqlState::TOO_MANY_COLUMNS, "a view can have at most 65535 columns"))?;
        relation.push(Column { id, name: name.clone(), ty: ty.clone(), nullable: true });
    }
    // The key of no column, of one row at most, has no encoding; a bag does as well for one row.
    let key = match &rows.traits.key {
        Some(key) if !key.is_empty() => RelationKey::Columns(key.clone()),
        _ => RelationKey::Bag,
    };
    Ok(RelationSchema { columns: relation, key })
}

fn root(rows: StreamPlan, schema: &RelationSchema, target: &JobTarget) -> StreamPlan {
    let name = target.name.clone();
    let node = match target.output {
        TargetOutput::ToRelation(relation) => {
            StreamNode::Materialize { relation, name, key: schema.key.clone() }
        }
        TargetOutput::ToSink(sink) | TargetOutput::ToTable { sink, .. } => StreamNode::Sink { sink, name },
    };
    let named = |column: &Column| StreamColumn { name: column.name.clone(), ty: column.ty.arrow() };
    let columns = schema.columns.iter().map(named).collect();
    StreamPlan::new(node, vec![rows], columns)
}
