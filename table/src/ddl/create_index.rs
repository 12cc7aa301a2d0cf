//! CREATE INDEX: the entries are made first, while others read and write the relation; then the index gets its name.
//!
//! So the catalog names no index that is not complete, and a crash in between leaves nothing of it.

use weir_catalog::{CatalogChange, IndexColumn, IndexDef, ObjectKind};
use weir_common::{Error, ObjectId, Result, SqlState};
use weir_planner::bound::{BoundAlter, BoundCreateIndex, NewName, UniqueKey};

use super::{Plan, Planner, Start};
use crate::indexes::relation_index;
use crate::outcome::Outcome;
use crate::session::Session;
use crate::transaction::Block;

const TAG: &str = "CREATE INDEX";

impl Session {
    /// Runs a CREATE INDEX.
    pub(crate) async fn create_index(&mut self, create: BoundCreateIndex) -> Result<Outcome> {
        self.transaction.check_ddl(TAG, self.default_read_only())?;
        if create.concurrently && self.transaction.block() == Block::Explicit {
            let message = "CREATE INDEX CONCURRENTLY cannot run inside a transaction block";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let is_own_block = self.enter_block().await?;
        let created = self.plan_and_add(create).await;
        self.leave_block(is_own_block, created).await?;
        Ok(Outcome::Command { tag: TAG.to_owned() })
    }

    async fn plan_and_add(&mut self, create: BoundCreateIndex) -> Result<()> {
        let (catalog, session) = (self.catalog(), self.session_info());
        let planner = Planner { env: &self.env, catalog: &catalog, session: &session };
        let mut plan = planner.create_index(create)?;
        self.notices.append(&mut plan.notices);
        self.add_to_draft(plan).await
    }
}

impl Planner<'_> {
    fn unique_index(&self, tag: &'static str, table: ObjectId, key: UniqueKey) -> Result<Plan> {
        let object =
            self.catalog.object(table).ok_or_else(|| Error::internal(format!("no object {table}")))?;
        let (name, index) = index_of(table, object.schema, key);
        let id = self.env.catalog.next_id()?;
        let started = relation_index(self.catalog, id, &name.name, &index)?;
        let index = self.new_object(id, &name, ObjectKind::Index(index), String::new());
        Ok(Plan::create(tag, index.with_depends_on(vec![table])).starting(Start::Index(started)))
    }

    fn create_index(&self, create: BoundCreateIndex) -> Result<Plan> {
        if create.exists {
            return Ok(Plan::skipped(TAG, &create.name));
        }
        self.check_inputs_run(&[create.index.relation])?;
        let id = self.env.catalog.next_id()?;
        let started = relation_index(self.catalog, id, &create.name.name, &create.index)?;
        let relation = create.index.relation;
        let object = self
            .new_object(id, &create.name, ObjectKind::Index(create.index), create.definition)
            .with_depends_on(vec![relation]);
        Ok(Plan::create(TAG, object).starting(Start::Index(started)))
    }
}

impl Session {
    /// The UNIQUE constraints that ALTER TABLE adds and drops.
    pub(super) async fn change_keys(&mut self, table: ObjectId, alter: &BoundAlter) -> Result<()> {
        let tag = "ALTER TABLE";
        if !alter.dropped_keys.is_empty() {
            let changes = alter.dropped_keys.iter().map(|id| CatalogChange::Drop(*id)).collect();
            let stops = alter.dropped_keys.clone();
            self.add_to_draft(Plan { stops, ..Plan::new(tag, changes) }).await?;
        }
        for key in alter.new_keys.clone() {
            let (catalog, session) = (self.catalog(), self.session_info());
            let planner = Planner { env: &self.env, catalog: &catalog, session: &session };
            let plan = planner.unique_index(tag, table, key)?;
            self.add_to_draft(plan).await?;
        }
        Ok(())
    }
}

/// The index that enforces a UNIQUE constraint.
pub(super) fn index_of(table: ObjectId, schema: ObjectId, key: UniqueKey) -> (NewName, IndexDef) {
    let index = IndexDef {
        relation: table,
        columns: key.columns.into_iter().map(IndexColumn::plain).collect(),
        include: Vec::new(),
        unique: true,
        is_constraint: true,
    };
    (NewName { schema, name: key.name }, index)
}
