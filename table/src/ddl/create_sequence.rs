//! CREATE SEQUENCE.

use weir_catalog::ObjectKind;
use weir_common::Result;
use weir_planner::bound::BoundCreateSequence;

use super::Done;
use crate::environment::Environment;

impl Environment {
    pub(super) fn create_sequence(&self, create: BoundCreateSequence, user: &str) -> Result<Done> {
        if create.exists {
            return Ok(Done::skipped("CREATE SEQUENCE", &create.name));
        }
        let id = self.catalog.next_id()?;
        let kind = ObjectKind::Sequence(create.def);
        self.add_object(self.new_object(id, &create.name, user, kind, create.definition))?;
        Ok(Done::new("CREATE SEQUENCE"))
    }
}
