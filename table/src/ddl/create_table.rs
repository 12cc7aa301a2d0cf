//! CREATE TABLE: a stored table; nothing of it is in the relation store until the first commit.

use weir_catalog::{ObjectKind, TableDef};
use weir_common::Result;
use weir_planner::bound::BoundCreateTable;

use super::Done;
use crate::environment::Environment;

impl Environment {
    pub(super) fn create_table(&self, create: BoundCreateTable, user: &str) -> Result<Done> {
        if create.exists {
            return Ok(Done::skipped("CREATE TABLE", &create.name));
        }
        let id = self.catalog.next_id()?;
        let has_key = !create.primary_key.is_empty();
        let key_index_id = if has_key { Some(self.catalog.next_id()?) } else { None };
        let table = TableDef {
            columns: create.columns,
            primary_key: create.primary_key,
            key_constraint_name: create.key_constraint_name.filter(|_| has_key),
            key_index_id,
        };
        let schema = table.relation_schema();
        let object = self.new_object(id, &create.name, user, ObjectKind::Table(table), create.definition);
        self.add_object(object)?;
        self.runtime.create_table(id, schema, &create.name.name).map_err(|e| self.take_back(id, e))?;
        Ok(Done::new("CREATE TABLE"))
    }
}
