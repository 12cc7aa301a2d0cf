//! EXPLAIN: the batch plan of a query, or the stages of a job's plan.
//!
//! ```text
//!   stage     query, DML          CREATE MATERIALIZED VIEW / SINK, MATERIALIZED VIEW name
//!   default   physical plan       stream plan
//!   logical   optimised plan      optimised plan
//!   stream    as if it were a view
//!   job       as if it were a view
//!   STATE     as if it were a view: a row for each piece of state
//! ```

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use futures::TryStreamExt;
use serde_json::Value;
use weir_catalog::{Object, ObjectKind, quote_identifier};
use weir_common::{Error, JobId, ObjectId, Result, SqlState};
use weir_exec::error::from_datafusion;
use weir_planner::bound::{
    BoundCreateSink, BoundCreateView, BoundQuery, ExplainFormat, ExplainOptions, ExplainStage,
};
use weir_planner::explain::{
    STATE_COLUMNS, job_json, logical_json, render_intervals, render_job, render_logical, render_state,
    render_stream, state_json, stream_json,
};
use weir_planner::rules::DisabledRules;
use weir_planner::stream::{JobTarget, PlannedJob, TargetOutput, into_table, plan_job};
use weir_planner::{BindContext, BoundStatement, OutputColumn};

use crate::outcome::Outcome;
use crate::query::Purpose;
use crate::recovery::decode_plan;
use crate::rows;
use crate::session::Session;

/// The number that an object has which is only planned.
const PLANNED_ONLY: ObjectId = ObjectId(0);

impl Session {
    /// EXPLAIN statement.
    pub(crate) async fn explain(
        &mut self,
        options: ExplainOptions,
        statement: BoundStatement,
    ) -> Result<Outcome> {
        match statement {
            BoundStatement::Query(query) => self.explain_query(options, query, Purpose::Select).await,
            BoundStatement::Insert(insert) => self.explain_dml(options, insert.query).await,
            BoundStatement::Update(update) => self.explain_dml(options, update.query).await,
            BoundStatement::Delete(delete) => self.explain_dml(options, delete.query).await,
            BoundStatement::CreateMaterializedView(create) => {
                explain_view(options, &create, &self.disabled_rules()?)
            }
            BoundStatement::CreateSink(create) => explain_sink(options, &create, &self.disabled_rules()?),
            _ => Err(Error::unsupported("EXPLAIN of this statement")
                .with_hint("Queries, INSERT, UPDATE, DELETE and CREATE MATERIALIZED VIEW have plans.")),
        }
    }

    /// EXPLAIN MATERIALIZED VIEW name: the plan that runs.
    pub(crate) fn explain_object(&mut self, options: ExplainOptions, id: ObjectId) -> Result<Outcome> {
        let catalog = self.catalog();
        let object = catalog.object(id).ok_or_else(|| Error::internal(format!("no object {id}")))?;
        if options.stage == ExplainStage::Job {
            let graph = decode_plan(running_plan(object)?)?;
            return output(options.format, || render_job(&graph), || job_json(&graph));
        }
        let ObjectKind::MaterializedView(view) = &object.kind else {
            return Err(Error::unsupported(format!("EXPLAIN of {} \"{}\"", object.kind.noun(), object.name))
                .with_hint("Use EXPLAIN (STAGE job)."));
        };
        let sql = format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {}{} AS {}{}",
            quote_identifier(&object.name),
            view.options_sql,
            view.query_sql.trim().trim_end_matches(';'),
            view.emission_sql
        );
        let parsed = weir_planner::parse(&sql)?;
        let context = BindContext::new(Arc::clone(&catalog), self.session_info());
        let bound = parsed.first().map(|statement| weir_planner::bind(statement, &context)).transpose()?;
        match bound {
            Some(BoundStatement::CreateMaterializedView(create)) => {
                explain_view(options, &create, &self.disabled_rules()?)
            }
            _ => Err(Error::internal(format!("\"{}\" is no view any more", object.name))),
        }
    }

    async fn explain_dml(&mut self, options: ExplainOptions, query: BoundQuery) -> Result<Outcome> {
        if options.analyze {
            return Err(Error::unsupported("EXPLAIN ANALYZE of INSERT, UPDATE or DELETE")
                .with_hint("Use EXPLAIN, or EXPLAIN ANALYZE of the query alone."));
        }
        self.explain_query(options, query, Purpose::Write).await
    }

    async fn explain_query(
        &mut self,
        options: ExplainOptions,
        query: BoundQuery,
        purpose: Purpose,
    ) -> Result<Outcome> {
        match options.stage {
            ExplainStage::Stream | ExplainStage::Job | ExplainStage::State => {
                explain_as_view(options, &query, &self.disabled_rules()?)
            }
            ExplainStage::Logical => {
                let plan = self.env.batch.optimise(&query.plan, &self.disabled_rules()?)?;
                output(options.format, || render_logical(&plan), || logical_json(&plan))
            }
            ExplainStage::Default => {
                let plan = self.executable_plan(&query, purpose).await?;
                let plan = self.env.batch.plan(&plan, &self.disabled_rules()?).await?;
                if options.analyze {
                    let rows = self.env.batch.stream(Arc::clone(&plan))?;
                    rows.try_for_each(|_| async { Ok(()) }).await.map_err(from_datafusion)?;
                }
                let lines = physical_lines(plan.as_ref(), options);
                output(options.format, || lines.clone(), || Value::from(lines.clone()))
            }
        }
    }
}

fn physical_lines(plan: &dyn ExecutionPlan, options: ExplainOptions) -> Vec<String> {
    let display = match options.analyze {
        true => DisplayableExecutionPlan::with_metrics(plan),
        false => DisplayableExecutionPlan::new(plan),
    };
    display.indent(false).to_string().lines().map(render_intervals).collect()
}

fn running_plan(object: &Object) -> Result<&[u8]> {
    match &object.kind {
        ObjectKind::MaterializedView(view) => Ok(&view.plan),
        ObjectKind::Sink(sink) => Ok(&sink.plan),
        kind => Err(Error::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("{} \"{}\" has no job", kind.noun(), object.name),
        )),
    }
}

/// A sink into a table says first what it promises.
fn explain_sink(
    options: ExplainOptions,
    create: &BoundCreateSink,
    disabled: &DisabledRules,
) -> Result<Outcome> {
    let name = &create.name.name;
    let Some(into) = &create.into else {
        let target = planned_only(name, TargetOutput::ToSink(PLANNED_ONLY));
        return show(options, &plan(options, &create.query, target, disabled)?, None);
    };
    let target = TargetOutput::ToTable { sink: PLANNED_ONLY, table: into.table };
    let planned = plan(options, &create.query, planned_only(name, target), disabled)?;
    into_table::check(&planned, into)?;
    let promise = into_table::describe(into, &planned);
    show(options, &planned, Some(promise))
}

fn explain_as_view(options: ExplainOptions, query: &BoundQuery, disabled: &DisabledRules) -> Result<Outcome> {
    let target = planned_only("explained", TargetOutput::ToRelation(PLANNED_ONLY));
    show(options, &plan(options, query, target, disabled)?, None)
}

fn explain_view(
    options: ExplainOptions,
    create: &BoundCreateView,
    disabled: &DisabledRules,
) -> Result<Outcome> {
    let target = planned_only(&create.name.name, TargetOutput::ToRelation(PLANNED_ONLY));
    let (letters, emission, ttl) = (create.letters, create.emission, create.ttl.clone());
    let target = JobTarget { letters, emission, ttl, ..target };
    show(options, &plan(options, &create.query, target, disabled)?, None)
}

fn planned_only(name: &str, output: TargetOutput) -> JobTarget {
    JobTarget::new(JobId(PLANNED_ONLY.0), name, output)
}

fn plan(
    options: ExplainOptions,
    query: &BoundQuery,
    target: JobTarget,
    disabled: &DisabledRules,
) -> Result<PlannedJob> {
    if options.analyze {
        return Err(Error::unsupported("EXPLAIN ANALYZE of a job")
            .with_hint("SELECT * FROM sys.jobs shows what jobs are doing."));
    }
    plan_job(query, target, disabled)
}

fn show(options: ExplainOptions, planned: &PlannedJob, heading: Option<String>) -> Result<Outcome> {
    let PlannedJob { logical, stream, job, .. } = planned;
    let headed = |lines: Vec<String>| heading.iter().cloned().chain(lines).collect();
    match options.stage {
        ExplainStage::Logical => {
            output(options.format, || headed(render_logical(logical)), || logical_json(logical))
        }
        ExplainStage::Job => output(options.format, || headed(render_job(job)), || job_json(job)),
        ExplainStage::State if options.format == ExplainFormat::Text => {
            rows::text_rows(&STATE_COLUMNS, render_state(stream), "EXPLAIN")
        }
        ExplainStage::State => output(options.format, Vec::new, || state_json(stream)),
        ExplainStage::Default | ExplainStage::Stream => {
            output(options.format, || headed(render_stream(stream)), || stream_json(stream))
        }
    }
}

/// One row a line of text, or one row of JSON.
fn output(
    format: ExplainFormat,
    lines: impl FnOnce() -> Vec<String>,
    json: impl FnOnce() -> Value,
) -> Result<Outcome> {
    let lines = match format {
        ExplainFormat::Text => lines(),
        ExplainFormat::Json => vec![serde_json::to_string_pretty(&json()).map_err(Error::internal)?],
    };
    rows::text_rows(&rows::EXPLAIN, lines.into_iter().map(|line| vec![line]).collect(), "EXPLAIN")
}

/// The columns of what EXPLAIN returns.
pub(crate) fn columns(options: ExplainOptions) -> Vec<OutputColumn> {
    let is_table = options.stage == ExplainStage::State && options.format == ExplainFormat::Text;
    if is_table { rows::text_columns(&STATE_COLUMNS) } else { rows::text_columns(&rows::EXPLAIN) }
}
