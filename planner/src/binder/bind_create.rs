//! CREATE TABLE, SOURCE, VIEW, MATERIALIZED VIEW.

use std::collections::BTreeSet;

use sqlparser::ast::{Ident, ObjectName, Spanned};
use weir_catalog::{ColumnDef, Generation, ObjectKind};
use weir_common::types::NumericType;
use weir_common::{Column, Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::bind_columns::Elements;
use super::bind_relation::RelationName;
use super::bind_state_ttl::state_ttl;
use super::bind_watermark::check_options;
use crate::ast::{CreateSource, CreateTable, CreateTableAs, CreateView};
use crate::bound::{
    BoundCreateSource, BoundCreateTable, BoundCreateTableAs, BoundCreateView, BoundQuery, Emission, NewName,
    columns_of,
};
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_create_table(&self, create: &CreateTable, sql: &str) -> Result<BoundCreateTable> {
        if !create.options.is_empty() {
            return Err(Error::unsupported("WITH options of a table")
                .with_hint("CREATE SOURCE reads from outside; a table has no options."));
        }
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let Elements { mut columns, keys, unique_keys, checks, sequences } =
            self.bind_columns(&name, &create.columns, &create.constraints)?;
        self.check_generated(&name.name, &columns)?;
        let checks = self.bind_checks(&name.name, &columns, &checks)?;
        let depends_on = self.used_sequences.take().into_iter().collect();
        let mut keys = keys.into_iter();
        let key = keys.next();
        if keys.next().is_some() {
            let message = format!("multiple primary keys for table \"{}\" are not allowed", name.name);
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        let primary_key =
            key.as_ref().map(|k| self.bind_key_columns(k, &mut columns)).transpose()?.unwrap_or_default();
        let key_constraint_name = key.map(|k| k.constraint.unwrap_or_else(|| self.key_name(&name)));
        let plain: Vec<Column> = columns.iter().map(|c| c.column.clone()).collect();
        let taken: Vec<String> =
            key_constraint_name.iter().chain(std::iter::once(&name.name)).cloned().collect();
        let unique_keys = self.bind_unique_keys(&name, &plain, &unique_keys, &taken)?;
        create.watermark.as_ref().map_or(Ok(()), |w| check_options(&w.options, false))?;
        let watermark = create.watermark.as_ref().map(|w| self.bind_watermark(w, &plain)).transpose()?;
        let definition = sql.to_owned();
        let if_not_exists = create.if_not_exists;
        Ok(BoundCreateTable {
            name,
            if_not_exists,
            exists,
            columns,
            primary_key,
            key_constraint_name,
            checks,
            unique_keys,
            sequences,
            depends_on,
            watermark,
            definition,
        })
    }

    pub(crate) fn bind_create_table_as(
        &self,
        create: &CreateTableAs,
        sql: &str,
    ) -> Result<BoundCreateTableAs> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let query = self.name_columns(self.bind_top_query(&create.query)?, &create.columns)?;
        let mut columns = columns_of(&query);
        for (column, output) in columns.iter_mut().zip(&query.columns) {
            // The scale of a computed numeric is that of these rows, not a limit for others.
            if output.origin.is_none() && matches!(column.ty, SqlType::Numeric(_)) {
                column.ty = SqlType::Numeric(NumericType::UNCONSTRAINED);
            }
        }
        let table = BoundCreateTable {
            name,
            if_not_exists: create.if_not_exists,
            exists,
            columns: columns.into_iter().map(|column| ColumnDef::plain(column, None)).collect(),
            primary_key: Vec::new(),
            key_constraint_name: None,
            unique_keys: Vec::new(),
            checks: Vec::new(),
            sequences: Vec::new(),
            depends_on: Vec::new(),
            watermark: None,
            definition: sql.to_owned(),
        };
        Ok(BoundCreateTableAs { table, query_sql: create.with_data.then(|| create.query_sql.clone()) })
    }

    fn key_name(&self, table: &NewName) -> String {
        self.cx.catalog.free_name(table.schema, &format!("{}_pkey", table.name))
    }

    pub(crate) fn bind_create_source(&self, create: &CreateSource, sql: &str) -> Result<BoundCreateSource> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let Elements { columns, checks, sequences, unique_keys, .. } =
            self.bind_columns(&name, &create.columns, &create.constraints)?;
        let is_generated = |c: &ColumnDef| c.generation != Generation::Nothing;
        if !unique_keys.is_empty() {
            return Err(Error::unsupported("UNIQUE of a source")
                .with_hint("Use DISTINCT ON, or GROUP BY, in the query."));
        }
        if !checks.is_empty() || !sequences.is_empty() || columns.iter().any(is_generated) {
            return Err(Error::unsupported("CHECK and generated columns of a source")
                .with_hint("Filter and compute in the query."));
        }
        if let Some(column) = columns.iter().find(|c| c.default_sql.is_some()) {
            let what = format!("DEFAULT of column \"{}\" of a source", column.column.name);
            return Err(Error::unsupported(what).with_hint("Use coalesce() in the query."));
        }
        let columns: Vec<Column> = columns.into_iter().map(|c| c.column).collect();
        let watermark = create.watermark.clone();
        watermark.as_ref().map_or(Ok(()), |watermark| check_options(&watermark.options, true))?;
        if let Some(watermark) = watermark.as_ref().filter(|_| !columns.is_empty()) {
            self.bind_watermark(watermark, &columns)?;
        }
        let mut options = create.options.clone();
        let depends_on = self.set_error_options(&create.on_error, &mut options)?;
        Ok(BoundCreateSource {
            name,
            if_not_exists: create.if_not_exists,
            exists,
            columns,
            watermark,
            options,
            definition: sql.to_owned(),
            depends_on,
        })
    }

    pub(crate) fn bind_create_view(&self, create: &CreateView, sql: &str) -> Result<BoundCreateView> {
        let (name, taken) = self.new_name(&create.name, create.if_not_exists || create.or_replace)?;
        let replaces = match (create.or_replace, self.cx.catalog.find_in(name.schema, &name.name)) {
            (true, Some(object)) if matches!(object.kind, ObjectKind::View(_)) => Some(object.id),
            (true, Some(object)) => {
                let message = format!("\"{}\" is not a view", object.name);
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
            _ => None,
        };
        self.continuous.set(create.materialized);
        let query = self.bind_top_query(&create.query)?;
        let query = self.name_columns(query, &create.columns)?;
        let mut depends_on = self.dependencies();
        let letters = self.bind_on_error(&create.on_error, &mut depends_on)?;
        let late = self.bind_late_rows(create.emission.late_into.as_ref(), &mut depends_on)?;
        let emission = Emission {
            on_close: create.emission.on_close,
            late,
            lateness_micros: self.lateness(create.emission.lateness.as_ref())?,
        };
        Ok(BoundCreateView {
            name,
            if_not_exists: create.if_not_exists,
            exists: taken && !create.or_replace,
            replaces,
            query,
            query_sql: create.query_sql.clone(),
            definition: sql.to_owned(),
            depends_on,
            letters,
            emission,
            ttl: state_ttl(&create.emission.ttl)?,
            emission_sql: create.emission.to_sql(),
        })
    }

    pub(crate) fn dependencies(&self) -> Vec<ObjectId> {
        self.depends_on.borrow().iter().copied().collect()
    }

    /// Gives the columns of a view the names of its column list, and sees that they are distinct.
    pub(crate) fn name_columns(&self, mut query: BoundQuery, names: &[Ident]) -> Result<BoundQuery> {
        if names.len() > query.columns.len() {
            let message = "CREATE VIEW specifies more column names than columns";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        for (column, name) in query.columns.iter_mut().zip(names) {
            column.name = fold(name);
        }
        let mut seen = BTreeSet::new();
        match query.columns.iter().find(|c| !seen.insert(&c.name)) {
            None => Ok(query),
            Some(twice) => {
                let message = format!("column \"{}\" specified more than once", twice.name);
                Err(Error::new(SqlState::DUPLICATE_COLUMN, message)
                    .with_hint("Give the columns names with AS."))
            }
        }
    }

    /// A name for a new object; whether it is taken, which is an error (42P07) unless `forgiven`.
    pub(crate) fn new_name(&self, name: &ObjectName, forgiven: bool) -> Result<(NewName, bool)> {
        let position = self.span_position(name.span());
        let RelationName { schema, name } = RelationName::of(name).map_err(|e| e.at(position))?;
        let path = &self.cx.session.search_path;
        let catalog = &self.cx.catalog;
        let schema_name = match &schema {
            Some(schema) => schema,
            None => path.iter().find(|s| catalog.schema_id(s).is_some()).ok_or_else(|| {
                Error::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in")
                    .at(position)
            })?,
        };
        let schema = catalog.schema_id(schema_name).ok_or_else(|| {
            let message = format!("schema \"{schema_name}\" does not exist");
            Error::new(SqlState::INVALID_SCHEMA_NAME, message).at(position)
        })?;
        if matches!(schema_name.as_str(), "pg_catalog" | "information_schema" | "sys") {
            let message = format!("permission denied to create \"{schema_name}.{name}\"");
            let detail = "System catalog modifications are currently disallowed.";
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .with_detail(detail)
                .at(position));
        }
        let taken = catalog.is_name_taken(schema, &name);
        if taken && !forgiven {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        Ok((NewName { schema, name }, taken))
    }
}
