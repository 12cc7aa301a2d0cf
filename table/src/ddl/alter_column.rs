//! What reads a column that ALTER TABLE drops or gives another type.
//!
//! A view depends on the columns that its query names. PostgreSQL's answers: a drop without CASCADE, and another type, are
//! refused; CASCADE drops the views, and what reads them.

use std::sync::Arc;

use weir_catalog::{CatalogChange, CatalogSnapshot, Object, ObjectKind};
use weir_common::{Error, ObjectId, Result, SqlState};
use weir_planner::bound::BoundAlter;
use weir_planner::{BindContext, BoundStatement, index_expressions, reads_column};

use super::Plan;
use super::drop::cascade_notice;
use crate::session::Session;

impl Session {
    /// Error 0A000 when a view reads a column that gets another type.
    pub(super) fn check_retyped(
        &self,
        catalog: &CatalogSnapshot,
        object: &Object,
        alter: &BoundAlter,
    ) -> Result<()> {
        for retyped in &alter.retyped {
            if let Some(index) = indexes_over(catalog, object, &retyped.name, retyped.from)?.first() {
                let name = catalog.object(*index).map_or("", |index| index.name.as_str());
                let what = format!("another type for a column of the index \"{name}\"");
                return Err(Error::unsupported(what).with_hint("Drop the index first."));
            }
            let reader = readers(catalog, object.id)
                .find(|reader| self.names_column(catalog, reader, object.id, &retyped.name));
            if let Some(reader) = reader {
                let message = "cannot alter type of a column used by a view or rule";
                let (noun, view, column) = (reader.kind.noun(), &reader.name, &retyped.name);
                return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                    .with_detail(format!("rule _RETURN on {noun} {view} depends on column \"{column}\"")));
            }
        }
        Ok(())
    }

    /// Adds to the plan the drop of everything that reads a dropped column; 2BP01 without CASCADE.
    pub(super) fn drop_along(
        &self,
        (before, after): (&CatalogSnapshot, &CatalogSnapshot),
        object: &Object,
        alter: &BoundAlter,
        plan: &mut Plan,
    ) -> Result<()> {
        let mut along: Vec<ObjectId> = Vec::new();
        for dropped in &alter.dropped {
            let reads = |reader: &&Arc<Object>| {
                // With a `*` that meant less when the view was made, the text says nothing about the column.
                let names = || {
                    self.is_same(before, reader)
                        && self.names_column(before, reader, object.id, &dropped.name)
                };
                !self.is_same(after, reader) || names()
            };
            let direct: Vec<ObjectId> = readers(before, object.id).filter(reads).map(|r| r.id).collect();
            if !direct.is_empty() && !dropped.cascade {
                return Err(still_read(before, object, &dropped.name, &direct));
            }
            along.extend(direct);
        }
        let mut indexes = Vec::new();
        for dropped in &alter.dropped {
            indexes.extend(indexes_over(before, object, &dropped.name, dropped.number)?);
        }
        indexes.dedup();
        let order = before.drop_order(&along, true)?;
        plan.notices.extend(cascade_notice(before, &order, &[]));
        let drops = order.iter().map(|id| CatalogChange::Drop(*id));
        plan.changes.splice(0..0, drops.chain(indexes.iter().map(|id| CatalogChange::Drop(*id))));
        plan.stops.extend(indexes);
        let sequences = owned_sequences(before, object.id, alter);
        for change in &mut plan.changes {
            if let CatalogChange::Replace(table) = change {
                table.depends_on.retain(|id| !sequences.contains(id));
            }
        }
        plan.changes.extend(sequences.iter().map(|id| CatalogChange::Drop(*id)));
        plan.stops.extend(order.into_iter().chain(sequences));
        Ok(())
    }

    /// Whether the query of a view names a column of the table. A sink is taken to name all.
    fn names_column(
        &self,
        catalog: &CatalogSnapshot,
        reader: &Object,
        table: ObjectId,
        column: &str,
    ) -> bool {
        let Some(sql) = query_sql(reader) else { return true };
        let context = BindContext::new(Arc::new(catalog.clone()), self.session_info());
        let parsed = weir_planner::parse(sql).unwrap_or_default();
        match parsed.first().map(|statement| weir_planner::bind(statement, &context)) {
            Some(Ok(BoundStatement::Query(query))) => reads_column(&query.plan, table, column),
            _ => true,
        }
    }

    /// Whether the text of a view still gives the columns that the view has.
    fn is_same(&self, catalog: &CatalogSnapshot, reader: &Object) -> bool {
        query_sql(reader).is_some_and(|sql| self.still_means(catalog, sql, &reader.columns()))
    }
}

/// The objects that read a relation themselves, but for its indexes.
fn readers(catalog: &CatalogSnapshot, id: ObjectId) -> impl Iterator<Item = &Arc<Object>> {
    let readers = catalog.dependents(id).into_iter().filter_map(|reader| catalog.object(reader));
    readers.filter(|reader| !matches!(reader.kind, ObjectKind::Index(_)))
}

/// The indexes that hold a column, those of UNIQUE constraints among them: they go with it.
fn indexes_over(
    catalog: &CatalogSnapshot,
    table: &Object,
    column: &str,
    number: u16,
) -> Result<Vec<ObjectId>> {
    let shared = Arc::new(catalog.clone());
    let mut found = Vec::new();
    for (object, index) in catalog.indexes_of(table.id) {
        let is_plain = index.plain_columns().chain(index.include.iter().copied()).any(|c| c == number);
        let in_expression = || -> Result<bool> {
            let exprs = index_expressions(&shared, index)?;
            Ok(exprs.iter().any(|(expr, _)| expr.column_refs().iter().any(|c| c.name == column)))
        };
        if is_plain || in_expression()? {
            found.push(object.id);
        }
    }
    Ok(found)
}

fn query_sql(reader: &Object) -> Option<&str> {
    match &reader.kind {
        ObjectKind::View(view) => Some(&view.query_sql),
        ObjectKind::MaterializedView(view) => Some(&view.query_sql),
        _ => None,
    }
}

/// PostgreSQL's refusal, near dependents before far ones.
fn still_read(catalog: &CatalogSnapshot, object: &Object, column: &str, direct: &[ObjectId]) -> Error {
    let named = |id: &ObjectId| {
        catalog.object(*id).map_or_else(|| id.to_string(), |o| format!("{} {}", o.kind.noun(), o.name))
    };
    let mut lines: Vec<String> = direct
        .iter()
        .map(|id| format!("{} depends on column {column} of table {}", named(id), object.name))
        .collect();
    let mut queue = direct.to_vec();
    let mut next = 0;
    while let Some(id) = queue.get(next).copied() {
        next += 1;
        for reader in catalog.dependents(id) {
            if !queue.contains(&reader) {
                lines.push(format!("{} depends on {}", named(&reader), named(&id)));
                queue.push(reader);
            }
        }
    }
    let message =
        format!("cannot drop column {column} of table {} because other objects depend on it", object.name);
    Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

/// The sequences of serial and identity columns that are dropped.
fn owned_sequences(catalog: &CatalogSnapshot, table: ObjectId, alter: &BoundAlter) -> Vec<ObjectId> {
    let is_owned = |object: &&Arc<Object>| match &object.kind {
        ObjectKind::Sequence(sequence) => sequence.owned_by.is_some_and(|(owner, column)| {
            owner == table && alter.dropped.iter().any(|d| d.number == column)
        }),
        _ => false,
    };
    catalog.user_objects().filter(is_owned).map(|object| object.id).collect()
}
