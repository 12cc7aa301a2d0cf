//! CREATE TABLE: a stored table; nothing of it is in the relation store until the first commit. The sequences of its
//! serial and identity columns come with it, and the indexes of its UNIQUE constraints, in one change of the catalog.

use std::sync::Arc;

use weir_catalog::{CatalogChange, Generation, ObjectKind, SequenceDef, TableDef};
use weir_common::{ObjectId, Result};
use weir_planner::bound::{BoundCreateTable, NewName, UniqueKey};

use super::create_index::index_of;
use super::{Plan, Planner, Start};
use crate::indexes::relation_index;
use crate::recovery::table_spec;

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
            watermark: create.watermark,
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
        let spec = table_spec(id, &create.name.name, &table);
        let definition = create.definition;
        let object = self.new_object(id, &create.name, ObjectKind::Table(table), definition.clone());
        changes.push(CatalogChange::Create(object.with_depends_on(depends_on)));
        let plan = Plan::new("CREATE TABLE", changes).starting(Start::Table(spec));
        self.with_unique_keys(plan, (id, create.name.schema), create.unique_keys, &definition)
    }

    /// Adds the indexes of the UNIQUE constraints of a table that the plan creates.
    fn with_unique_keys(
        &self,
        mut plan: Plan,
        (table, schema): (ObjectId, ObjectId),
        keys: Vec<UniqueKey>,
        definition: &str,
    ) -> Result<Plan> {
        // Columns of an index are found in the catalog, which has the table from then on.
        let with_table = Arc::new(self.catalog.with(&plan.changes)?);
        for key in keys {
            let id = self.env.catalog.next_id()?;
            let (name, index) = index_of(table, schema, key);
            plan.starts.push(Start::NewIndex(relation_index(&with_table, id, &name.name, &index)?));
            let object = self.new_object(id, &name, ObjectKind::Index(index), definition.to_owned());
            plan.changes.push(CatalogChange::Create(object.with_depends_on(vec![table])));
        }
        Ok(plan)
    }
}
