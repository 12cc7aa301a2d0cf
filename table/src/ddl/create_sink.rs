//! CREATE SINK: a job that writes a relation's changes, or a query's, outside or into a table.

use std::sync::Arc;

use weir_catalog::{ObjectKind, SinkDef, SinkTable};
use weir_common::{JobId, ObjectId, Result};
use weir_planner::bound::{BoundCreateSink, BoundSinkTable, columns_of};
use weir_planner::stream::{JobTarget, TargetOutput, into_table, plan_job};

use super::{Plan, Planner, Start};
use crate::recovery::encode_plan;

const TAG: &str = "CREATE SINK";
/// What a sink over a query, which has no name, is `from`.
const NO_RELATION: ObjectId = ObjectId(0);

impl Planner<'_> {
    pub(super) fn create_sink(&self, create: BoundCreateSink) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped(TAG, &create.name));
        }
        self.check_inputs_run(&create.query.relations)?;
        if let Some(into) = create.into.clone() {
            return self.create_sink_into(create, &into);
        }
        let columns = columns_of(&create.query);
        let sink = weir_connector::create_sink(&create.options, &columns, Arc::clone(&self.env.fs))?;
        let id = self.env.catalog.next_id()?;
        let target = JobTarget::new(JobId(id.0), &create.name.name, TargetOutput::ToSink(id));
        let planned = plan_job(&create.query, target, &self.session.disabled_rules()?)?;
        let notices = self.check_state(&create.name.name, &planned)?;
        let definition = SinkDef {
            from: create.from.unwrap_or(NO_RELATION),
            columns,
            options: create.options,
            plan: encode_plan(&planned.job)?,
        };
        let object = self
            .new_object(id, &create.name, ObjectKind::Sink(definition), create.definition)
            .with_depends_on(create.depends_on);
        Ok(Plan::create(TAG, object)
            .starting(Start::Job { graph: planned.job, sink: Some(sink) })
            .with_notices(notices))
    }

    fn create_sink_into(&self, create: BoundCreateSink, into: &BoundSinkTable) -> Result<Plan> {
        let id = self.env.catalog.next_id()?;
        let output = TargetOutput::ToTable { sink: id, table: into.table };
        let target = JobTarget::new(JobId(id.0), &create.name.name, output);
        let planned = plan_job(&create.query, target, &self.session.disabled_rules()?)?;
        let notices = self.check_state(&create.name.name, &planned)?;
        into_table::check(&planned, into)?;
        let written = SinkTable { table: into.table, columns: into.columns.clone() };
        let definition = SinkDef {
            from: create.from.unwrap_or(NO_RELATION),
            columns: columns_of(&create.query),
            options: written.options(),
            plan: encode_plan(&planned.job)?,
        };
        let object = self
            .new_object(id, &create.name, ObjectKind::Sink(definition), create.definition)
            .with_depends_on(create.depends_on);
        Ok(Plan::create(TAG, object).starting(Start::TableSink { graph: planned.job }).with_notices(notices))
    }
}
