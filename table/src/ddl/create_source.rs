//! CREATE SOURCE: the connector checks the options; nothing is read until a job reads it.

use weir_catalog::{ObjectKind, SourceDef};
use weir_common::{Error, Result, SqlState};
use weir_planner::bound::BoundCreateSource;

use super::{Plan, Planner, Start};
use crate::recovery::source_spec;

impl Planner<'_> {
    pub(super) fn create_source(&self, create: BoundCreateSource) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped("CREATE SOURCE", &create.name));
        }
        let columns = match create.columns.is_empty() {
            false => create.columns,
            true => weir_connector::source_columns(&create.options)?.ok_or_else(|| {
                Error::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("source \"{}\" has no columns", create.name.name),
                )
                .with_hint("This connector does not define columns itself: list them after the name.")
            })?,
        };
        let source = weir_connector::create_source(&create.options, &columns)?;
        let watermark = create.watermark.as_ref();
        let watermark =
            watermark.map(|w| weir_planner::bind_watermark(self.catalog, w, &columns)).transpose()?;
        let id = self.env.catalog.next_id()?;
        let def = SourceDef { columns, options: create.options, watermark };
        let spec = source_spec(id, &def, source);
        let kind = ObjectKind::Source(def);
        let object = self.new_object(id, &create.name, kind, create.definition);
        let object = object.with_depends_on(create.depends_on);
        Ok(Plan::create("CREATE SOURCE", object).starting(Start::Source(spec)))
    }
}
