//! CREATE SEQUENCE.

use weir_catalog::ObjectKind;
use weir_common::Result;
use weir_planner::bound::BoundCreateSequence;

use super::{Plan, Planner};

impl Planner<'_> {
    pub(super) fn create_sequence(&self, create: BoundCreateSequence) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped("CREATE SEQUENCE", &create.name));
        }
        let id = self.env.catalog.next_id()?;
        let kind = ObjectKind::Sequence(create.def);
        Ok(Plan::create("CREATE SEQUENCE", self.new_object(id, &create.name, kind, create.definition)))
    }
}
