//! CREATE SINK: a job that writes a relation's changes, or a query's, outside.

use std::sync::Arc;

use weir_catalog::{ObjectKind, SinkDef};
use weir_common::{JobId, ObjectId, Result};
use weir_planner::bound::{BoundCreateSink, columns_of};
use weir_planner::stream::{JobTarget, TargetOutput, plan_job};

use super::Done;
use crate::environment::Environment;
use crate::outcome::Notice;
use crate::recovery::encode_plan;

const TAG: &str = "CREATE SINK";
/// What a sink over a query, which has no name, is `from`.
const NO_RELATION: ObjectId = ObjectId(0);

impl Environment {
    pub(super) async fn create_sink(&self, create: BoundCreateSink, user: &str) -> Result<Done> {
        if create.exists {
            return Ok(Done::skipped(TAG, &create.name));
        }
        self.check_inputs_run(&create.query.relations)?;
        let columns = columns_of(&create.query);
        let sink = weir_connector::create_sink(&create.options, &columns, Arc::clone(&self.fs))?;
        let id = self.catalog.next_id()?;
        let target =
            JobTarget { job: JobId(id.0), name: create.name.name.clone(), output: TargetOutput::ToSink(id) };
        let planned = plan_job(&create.query, target)?;
        let definition = SinkDef {
            from: create.from.unwrap_or(NO_RELATION),
            columns,
            options: create.options,
            plan: encode_plan(&planned.job)?,
        };
        let object = self
            .new_object(id, &create.name, user, ObjectKind::Sink(definition), create.definition)
            .with_depends_on(create.depends_on);
        self.add_object(object)?;
        self.runtime.create_job(planned.job, Some(sink)).await.map_err(|e| self.take_back(id, e))?;
        Ok(Done::with(TAG, planned.warnings.into_iter().map(Notice::notice).collect()))
    }
}
