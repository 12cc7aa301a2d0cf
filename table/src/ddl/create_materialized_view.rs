//! CREATE MATERIALIZED VIEW: plan the job, put the view into the catalog, start the job, wait until the view
//! holds what its inputs held when it began.
//!
//! When that first computation fails (a division by zero in some row) the statement fails and the view is taken
//! out again. A later failure only marks the job as failed.

use weir_catalog::{MaterializedViewDef, ObjectKind};
use weir_common::{JobId, Result};
use weir_exec::event_time::WatermarkExpr;
use weir_planner::bound::BoundCreateView;
use weir_planner::stream::{JobTarget, TargetOutput, plan_job};

use super::{Plan, Planner, Start};
use crate::recovery::encode_plan;

const TAG: &str = "CREATE MATERIALIZED VIEW";

impl Planner<'_> {
    pub(super) fn create_materialized_view(&self, create: BoundCreateView) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped(TAG, &create.name));
        }
        self.check_inputs_run(&create.query.relations)?;
        let id = self.env.catalog.next_id()?;
        let target = JobTarget {
            job: JobId(id.0),
            name: create.name.name.clone(),
            output: TargetOutput::ToRelation(id),
            letters: create.letters,
            emission: create.emission,
            ttl: create.ttl,
        };
        let planned = plan_job(&create.query, target, &self.session.disabled_rules()?)?;
        let notices = self.check_state(&create.name.name, &planned)?;
        let [options_sql, emission_sql] = create.emission_sql;
        let column_id = |(column, _): &(usize, WatermarkExpr)| Some(planned.schema.columns.get(*column)?.id);
        let view = MaterializedViewDef {
            schema: planned.schema.clone(),
            query_sql: create.query_sql,
            options_sql,
            emission_sql,
            watermarks: planned.job.watermarks.iter().filter_map(column_id).collect(),
            grows: planned.grows,
            plan: encode_plan(&planned.job)?,
        };
        let object = self
            .new_object(id, &create.name, ObjectKind::MaterializedView(view), create.definition)
            .with_depends_on(create.depends_on);
        Ok(Plan::create(TAG, object)
            .starting(Start::Job { graph: planned.job, sink: None })
            .with_notices(notices))
    }
}
