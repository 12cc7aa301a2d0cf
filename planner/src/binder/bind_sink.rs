//! CREATE SINK: what it reads, and for a sink into a table how its columns become the table's.

use std::collections::BTreeSet;

use sqlparser::ast::{ObjectName, Spanned};
use weir_catalog::{ColumnDef, ObjectKind, TableDef};
use weir_common::{Error, ObjectId, Result, SqlState};

use super::Binder;
use super::bind_query::Bound;
use super::scope::{Relation, Scope};
use crate::ast::{CreateSink, SinkInput};
use crate::bound::{BoundCreateSink, BoundSinkTable};

impl Binder<'_> {
    pub(crate) fn bind_create_sink(&self, create: &CreateSink, sql: &str) -> Result<BoundCreateSink> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        self.continuous.set(true);
        let (from, input) = self.sink_input(&create.input)?;
        let mut depends_on = self.dependencies();
        let (into, query) = match &create.into {
            None => {
                let query = self.bound_query(Bound { relation: input, ordered: false })?;
                (None, self.name_columns(query, &[])?)
            }
            Some((table, columns)) => {
                let (into, rows) = self.sink_table(table, columns, input)?;
                self.check_no_cycle((into.table, &into.name), &depends_on)?;
                depends_on.push(into.table);
                (Some(into), self.bound_query(Bound { relation: rows, ordered: false })?)
            }
        };
        Ok(BoundCreateSink {
            name,
            if_not_exists: create.if_not_exists,
            exists,
            from,
            into,
            query,
            options: create.options.clone(),
            definition: sql.to_owned(),
            depends_on,
        })
    }

    fn sink_input(&self, input: &SinkInput) -> Result<(Option<ObjectId>, Relation)> {
        match input {
            SinkInput::Query(query) => Ok((None, self.bind_query(query, &Scope::default())?.relation)),
            SinkInput::Relation(name) => {
                let object = self.find_object(name)?;
                let rows = self.bind_object(object, None);
                Ok((Some(object.id), rows.map_err(|e| e.at(self.span_position(name.span())))?))
            }
        }
    }

    /// The input's columns as values of the table's, as INSERT takes them.
    fn sink_table(
        &self,
        name: &ObjectName,
        columns: &[ObjectName],
        input: Relation,
    ) -> Result<(BoundSinkTable, Relation)> {
        let (object, table) = self.target_table(name, "write into")?;
        let mut targets = self.insert_targets(columns, &object, &table)?;
        let mut rows = self.assigned_rows(input, &targets, columns.is_empty())?;
        targets.truncate(rows.columns.len());
        for (column, target) in rows.columns.iter_mut().zip(&targets) {
            column.name.clone_from(&target.column.name);
        }
        let into = BoundSinkTable {
            table: object.id,
            name: object.name.clone(),
            columns: targets.iter().map(|target| target.column.id).collect(),
            key: key_among(&table, &targets),
        };
        Ok((into, rows))
    }

    /// Error 42P17 when what a job reads is made, directly or not, from the table it writes.
    pub(super) fn check_no_cycle(&self, (table, name): (ObjectId, &str), inputs: &[ObjectId]) -> Result<()> {
        let catalog = &self.cx.catalog;
        let mut seen = BTreeSet::new();
        let mut open = inputs.to_vec();
        while let Some(id) = open.pop() {
            if id == table {
                let message = format!("what writes into table \"{name}\" cannot read what is made from it");
                return Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                    .with_hint("Its rows would go round for ever: write into another table."));
            }
            if !seen.insert(id) {
                continue;
            }
            open.extend(catalog.object(id).iter().flat_map(|object| &object.depends_on));
            for object in catalog.user_objects() {
                if let ObjectKind::Sink(sink) = &object.kind
                    && sink.into_table().is_some_and(|written| written.table == id)
                {
                    open.extend(object.depends_on.iter().filter(|read| **read != id));
                }
            }
        }
        Ok(())
    }
}

/// The positions of the table's primary key among the columns that are written.
fn key_among(table: &TableDef, targets: &[ColumnDef]) -> Option<Vec<usize>> {
    let position = |id: &u16| targets.iter().position(|target| target.column.id == *id);
    let key: Option<Vec<usize>> = table.primary_key.iter().map(position).collect();
    key.filter(|key| !key.is_empty())
}
