//! CREATE MATERIALIZED VIEW: plan the job, put the view into the catalog, start the job, wait until the view
//! holds what its inputs held when it began.
//!
//! When that first computation fails (a division by zero in some row) the statement fails and the view is taken
//! out again. A later failure only marks the job as failed.

use weir_catalog::{MaterializedViewDef, ObjectKind};
use weir_common::{JobId, Result};
use weir_planner::bound::BoundCreateView;
use weir_planner::stream::{JobTarget, TargetOutput, plan_job};

use super::Done;
use crate::environment::Environment;
use crate::outcome::Notice;
use crate::recovery::encode_plan;

const TAG: &str = "CREATE MATERIALIZED VIEW";

impl Environment {
    pub(super) async fn create_materialized_view(&self, create: BoundCreateView, user: &str) -> Result<Done> {
        if create.exists {
            return Ok(Done::skipped(TAG, &create.name));
        }
        self.check_inputs_run(&create.query.relations)?;
        let id = self.catalog.next_id()?;
        let target = JobTarget {
            job: JobId(id.0),
            name: create.name.name.clone(),
            output: TargetOutput::ToRelation(id),
        };
        let planned = plan_job(&create.query, target)?;
        let view = MaterializedViewDef {
            schema: planned.schema,
            query_sql: create.query_sql,
            plan: encode_plan(&planned.job)?,
        };
        let object = self
            .new_object(id, &create.name, user, ObjectKind::MaterializedView(view), create.definition)
            .with_depends_on(create.depends_on);
        self.add_object(object)?;
        self.runtime.create_job(planned.job, None).await.map_err(|e| self.take_back(id, e))?;
        Ok(Done::with(TAG, planned.warnings.into_iter().map(Notice::notice).collect()))
    }
}
