//! CREATE TABLE: a stored table; nothing of it is in the relation store until the first commit. The sequences of its
//! serial and identity columns come with it, in one change of the catalog.

use weir_catalog::{CatalogChange, Generation, ObjectKind, SequenceDef, TableDef};
use weir_common::Result;
use weir_planner::bound::{BoundCreateTable, NewName};

use super::{Plan, Planner, Start};

impl Planner<'_> {
    pub(super) fn create_table(&self, create: BoundCreateTable) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped("CREATE TABLE", &create.name));
        }
        // A table depends on its sequences: ids are in the order of dependencies.
        let mut sequences = Vec::with_capacity(create.sequences.len());
        for sequence in create.sequences {
            sequences.push((self.env.catalog.next_id()?, sequence));
        }
        let id = self.env.catalog.next_id()?;
        let has_key = !create.primary_key.is_empty();
        let key_index_id = if has_key { Some(self.env.catalog.next_id()?) } else { None };
        let mut table = TableDef {
            columns: create.columns,
            primary_key: create.primary_key,
            key_constraint_name: create.key_constraint_name.filter(|_| has_key),
            key_index_id,
            checks: create.checks,
        };
        let mut changes = Vec::with_capacity(sequences.len() + 1);
        let mut depends_on = create.depends_on;
        for (sequence_id, owned) in sequences {
            for column in table.columns.iter_mut().filter(|c| c.column.id == owned.column) {
                if let Generation::Identity { sequence, .. } = &mut column.generation {
                    *sequence = sequence_id;
                }
            }
            let def = SequenceDef { owned_by: Some((id, owned.column)), ..owned.def };
            let name = NewName { schema: create.name.schema, name: owned.name };
            let kind = ObjectKind::Sequence(def);
            let sequence = self.new_object(sequence_id, &name, kind, create.definition.clone());
            changes.push(CatalogChange::Create(sequence));
            depends_on.push(sequence_id);
        }
        let schema = table.relation_schema();
        let object = self.new_object(id, &create.name, ObjectKind::Table(table), create.definition);
        changes.push(CatalogChange::Create(object.with_depends_on(depends_on)));
        let start = Start::Table { id, schema, name: create.name.name };
        Ok(Plan::new("CREATE TABLE", changes).starting(start))
    }
}
