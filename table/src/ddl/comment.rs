//! COMMENT ON.

use weir_catalog::CatalogChange;
use weir_common::{ObjectId, Result};

use super::{Plan, Planner};

impl Planner<'_> {
    pub(super) fn comment(&self, id: ObjectId, column: Option<u16>, comment: Option<String>) -> Result<Plan> {
        Ok(Plan::new("COMMENT", vec![CatalogChange::Comment { id, column, comment }]))
    }
}
