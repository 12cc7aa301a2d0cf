//! CREATE SOURCE: the connector checks the options; nothing is read until a job reads it.

use weir_catalog::{ObjectKind, SourceDef};
use weir_common::{Error, Result, SqlState};
use weir_planner::bound::BoundCreateSource;

use super::Done;
use crate::environment::Environment;

impl Environment {
    pub(super) fn create_source(&self, create: BoundCreateSource, user: &str) -> Result<Done> {
        if create.exists {
            return Ok(Done::skipped("CREATE SOURCE", &create.name));
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
        let id = self.catalog.next_id()?;
        let kind = ObjectKind::Source(SourceDef { columns, options: create.options, watermark: None });
        self.add_object(self.new_object(id, &create.name, user, kind, create.definition))?;
        self.runtime.create_source(id, source).map_err(|e| self.take_back(id, e))?;
        Ok(Done::new("CREATE SOURCE"))
    }
}
