//! ALTER TABLE and RENAME: a draft of the new definition, then what the rows must become and be for it.
//!
//! ```text
//!   draft (new columns are there, NULL in every row) ─► UPDATE to their defaults, or from columns of another type
//!     ─► draft (those are hidden, the new ones in their places) ─► constraints checked ─► COMMIT
//! ```
//! Outside a block it is a block of its own. Views go on: columns are only added at the end, and a name that a view
//! uses is not changed (2BP01).

use std::sync::Arc;

use futures::TryStreamExt;
use weir_catalog::{CatalogChange, CatalogSnapshot, Object, ObjectKind, TableDef, quote_identifier};
use weir_common::{Column, Error, ObjectId, Result, SqlState};
use weir_planner::bound::{BoundAlter, DropKind, FilledColumn};
use weir_planner::{BindContext, BoundStatement, ParamTypes, ParamValues, index_expressions};

use super::{Plan, Start};
use crate::outcome::{Notice, Outcome};
use crate::query::Purpose;
use crate::session::Session;

impl Session {
    /// Runs ALTER TABLE, or the RENAME of another relation.
    pub(crate) async fn alter(&mut self, alter: BoundAlter) -> Result<Outcome> {
        let tag = tag(alter.kind);
        self.transaction.check_ddl(tag, self.default_read_only())?;
        self.notices.extend(alter.notices.iter().map(|notice| Notice::notice(notice.clone())));
        let Some(id) = alter.object else { return Ok(Outcome::Command { tag: tag.to_string() }) };
        let is_own_block = self.enter_block().await?;
        let done = self.alter_in_block(id, &alter).await;
        self.leave_block(is_own_block, done).await?;
        Ok(Outcome::Command { tag: tag.to_string() })
    }

    async fn alter_in_block(&mut self, id: ObjectId, alter: &BoundAlter) -> Result<()> {
        let catalog = self.catalog();
        let object = catalog.object(id).cloned().ok_or_else(|| Error::internal(format!("no object {id}")))?;
        if let (ObjectKind::Table(_), Some(lock)) = (&object.kind, self.lock(&object).await?) {
            self.transaction.keep_lock(id, lock);
        }
        self.check_retyped(&catalog, &object, alter)?;
        let mut plan = plan(&object, alter);
        let after = catalog.with(&plan.changes)?;
        match alter.dropped.is_empty() {
            true => self.check_dependents(&catalog, &after, &object, alter.renames)?,
            false => self.drop_along((&catalog, &after), &object, alter, &mut plan)?,
        }
        self.notices.append(&mut plan.notices);
        self.add_to_draft(plan).await?;
        self.conform_own_writes(id)?;
        self.fill(&object, alter).await?;
        if !alter.retyped.is_empty() {
            let catalog = self.catalog();
            let filled = catalog.object(id).map(|object| Object::clone(object));
            let filled = filled.ok_or_else(|| Error::internal(format!("no object {id}")))?;
            self.add_to_draft(replace(filled, alter.finished(), tag(alter.kind))).await?;
        }
        self.check_rows(&object, alter).await?;
        self.change_keys(id, alter).await
    }

    /// What the block wrote to the table before has the new columns too, NULL.
    fn conform_own_writes(&mut self, id: ObjectId) -> Result<()> {
        let schema = self.catalog().object(id).and_then(|object| object.relation_schema());
        let (Some(schema), Some(writes)) = (schema, self.transaction.writes.get_mut(&id)) else {
            return Ok(());
        };
        let schema = schema.arrow();
        writes.iter_mut().try_for_each(|batch| batch.conform(&schema).map(|conformed| *batch = conformed))
    }

    /// Gives new columns their values in the rows there are.
    async fn fill(&mut self, object: &Object, alter: &BoundAlter) -> Result<()> {
        if alter.filled.is_empty() {
            return Ok(());
        }
        let set = |column: &FilledColumn| {
            format!("{} = {}", quote_identifier(&column.name), column.value.as_deref().unwrap_or("DEFAULT"))
        };
        let set: Vec<String> = alter.filled.iter().map(set).collect();
        let table = self.qualified(object, &alter.name);
        let bound = self.bind_text(&format!("UPDATE {table} SET {}", set.join(", ")))?;
        self.run_rows(bound).await.map(|_| ())
    }

    /// Errors 23502 and 23514 when a row breaks what is required from now on.
    async fn check_rows(&mut self, object: &Object, alter: &BoundAlter) -> Result<()> {
        let name = &alter.name;
        for column in &alter.not_null {
            if self.has_row(object, name, &format!("{} IS NULL", quote_identifier(column))).await? {
                let message = format!("column \"{column}\" of relation \"{name}\" contains null values");
                return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message));
            }
        }
        for check in &alter.must_hold {
            if self.has_row(object, name, &format!("NOT ({})", check.condition_sql)).await? {
                let (constraint, relation) = (&check.name, name);
                let message = format!(
                    "check constraint \"{constraint}\" of relation \"{relation}\" is violated by some row"
                );
                return Err(Error::new(SqlState::CHECK_VIOLATION, message));
            }
        }
        Ok(())
    }

    async fn has_row(&mut self, object: &Object, name: &str, condition: &str) -> Result<bool> {
        let table = self.qualified(object, name);
        let bound = self.bind_text(&format!("SELECT 1 FROM {table} WHERE {condition} LIMIT 1"))?;
        let BoundStatement::Query(query) = bound else { return Err(Error::internal("a SELECT is a query")) };
        let mut rows = self.query_stream(&query, Purpose::Write).await?;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn bind_text(&self, sql: &str) -> Result<BoundStatement> {
        let parsed = weir_planner::parse(sql)?;
        let statement = parsed.first().ok_or_else(|| Error::internal("no statement"))?;
        Ok(self.bind(statement, ParamTypes::declared(Vec::new()), ParamValues::Described)?.0)
    }

    pub(crate) fn qualified(&self, object: &Object, name: &str) -> String {
        let catalog = self.catalog();
        let schema = catalog.schema_name(object.schema).unwrap_or("public");
        format!("{}.{}", quote_identifier(schema), quote_identifier(name))
    }

    /// Error 2BP01 when a view over the object would mean something else. A materialized view runs by its plan: new
    /// columns are nothing to it, but its text must still name what it reads.
    fn check_dependents(
        &self,
        before: &CatalogSnapshot,
        after: &CatalogSnapshot,
        object: &Object,
        renames: bool,
    ) -> Result<()> {
        let mut broken = Vec::new();
        for view in all_dependents(before, object.id) {
            let Some(view) = before.object(view) else { continue };
            let (sql, is_bound_by_text) = match &view.kind {
                ObjectKind::View(def) => (&def.query_sql, true),
                ObjectKind::MaterializedView(def) => (&def.query_sql, renames),
                ObjectKind::Index(def) => {
                    // Its expressions are kept as text, its columns are not.
                    if index_expressions(&Arc::new(after.clone()), def).is_err() {
                        broken.push(format!("index {} depends on table {}", view.name, object.name));
                    }
                    continue;
                }
                _ => continue,
            };
            if is_bound_by_text && !self.still_means(after, sql, &view.columns()) {
                let (noun, other) = (view.kind.noun(), object.kind.noun());
                broken.push(format!("{noun} {} depends on {other} {}", view.name, object.name));
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        let (noun, name) = (object.kind.noun(), &object.name);
        let message = format!("cannot alter {noun} {name} because other objects depend on it");
        Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_detail(broken.join("\n"))
            .with_hint("Drop them first and create them again; a view that names its columns keeps them."))
    }

    pub(super) fn still_means(&self, catalog: &CatalogSnapshot, sql: &str, columns: &[Column]) -> bool {
        let context = BindContext::new(Arc::new(catalog.clone()), self.session_info());
        let parsed = weir_planner::parse(sql).unwrap_or_default();
        let bound = parsed.first().map(|statement| weir_planner::bind(statement, &context));
        let Some(Ok(BoundStatement::Query(query))) = bound else { return false };
        query.columns.len() == columns.len()
            && query.columns.iter().zip(columns).all(|(output, column)| output.ty == column.ty)
    }
}

/// The relation with its new name and definition.
fn plan(object: &Object, alter: &BoundAlter) -> Plan {
    let mut changed = Object { name: alter.name.clone(), ..object.clone() };
    let more = alter.depends_on.iter().filter(|id| !object.depends_on.contains(id));
    changed.depends_on.extend(more);
    for dropped in &alter.dropped {
        changed.column_comments.remove(&dropped.number);
    }
    replace(changed, alter.table.clone(), tag(alter.kind))
}

/// The object with another definition of its table, if there is one.
fn replace(mut object: Object, table: Option<TableDef>, tag: &'static str) -> Plan {
    let (id, before) = (object.id, object.relation_schema());
    let Some(table) = table else { return Plan::new(tag, vec![CatalogChange::Replace(object)]) };
    object.kind = ObjectKind::Table(table);
    let after = object.relation_schema();
    let plan = Plan::new(tag, vec![CatalogChange::Replace(object)]);
    match (before, after) {
        (Some(before), Some(after)) if before != after => plan.starting(Start::Alter { id, before, after }),
        _ => plan,
    }
}

fn all_dependents(catalog: &CatalogSnapshot, id: ObjectId) -> Vec<ObjectId> {
    let mut found = vec![];
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        for dependent in catalog.dependents(id) {
            if !found.contains(&dependent) {
                found.push(dependent);
                pending.push(dependent);
            }
        }
    }
    found
}

fn tag(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Table => "ALTER TABLE",
        DropKind::View => "ALTER VIEW",
        DropKind::MaterializedView => "ALTER MATERIALIZED VIEW",
        DropKind::Source => "ALTER SOURCE",
        DropKind::Sink => "ALTER SINK",
        DropKind::Sequence => "ALTER SEQUENCE",
        DropKind::Index => "ALTER INDEX",
    }
}
