//! COMMENT ON.

use weir_catalog::CatalogChange;
use weir_common::{ObjectId, Result};

use super::Done;
use crate::environment::Environment;

impl Environment {
    pub(super) fn comment(&self, id: ObjectId, column: Option<u16>, comment: Option<String>) -> Result<Done> {
        self.catalog.apply(vec![CatalogChange::Comment { id, column, comment }])?;
        Ok(Done::new("COMMENT"))
    }
}
