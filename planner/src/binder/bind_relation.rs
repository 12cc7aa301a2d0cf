//! Names of relations: WITH queries, tables, materialized views, sources, system tables, and views, which are
//! expanded here.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column as PlanColumn, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScanBuilder};
use sqlparser::ast::{ObjectName, Spanned};
use weir_catalog::system::{self, SystemTable};
use weir_catalog::{ColumnDef, Object, ObjectKind, ShownColumn, TableDef};
use weir_common::{Column, Error, ObjectId, RelationKey, RelationSchema, Result, SqlState};

use super::scope::{Relation, Scope, ScopeColumn};
use super::{Binder, VIEW_DEPTH, plan_error};
use crate::ast::Statement;
use crate::logical::{RelationKind, RelationSource};
use crate::parser::{self, fold};

/// A name taken apart: schema, if given, and name.
pub(crate) struct RelationName {
    pub schema: Option<String>,
    pub name: String,
}

impl RelationName {
    /// At most `database.schema.name`, where the database is ours.
    pub(crate) fn of(name: &ObjectName) -> Result<RelationName> {
        let mut parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
        let last = parts.pop().ok_or_else(|| Error::internal("an empty name"))?;
        match parts.as_slice() {
            [] => Ok(RelationName { schema: None, name: last }),
            [schema] => Ok(RelationName { schema: Some(schema.clone()), name: last }),
            [database, schema] if database == "weir" => {
                Ok(RelationName { schema: Some(schema.clone()), name: last })
            }
            _ => Err(Error::unsupported(format!("cross-database reference {name}"))),
        }
    }

    fn missing(&self) -> Error {
        let name = self.schema.as_ref().map_or_else(|| self.name.clone(), |s| format!("{s}.{}", self.name));
        Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    }
}

/// What a relation name means.
pub(crate) enum Found<'c> {
    Object(&'c Arc<Object>),
    System(&'static SystemTable),
}

impl Binder<'_> {
    /// The object or system table a name means; 42P01 at the name.
    pub(crate) fn find_relation(&self, name: &ObjectName) -> Result<Found<'_>> {
        let position = self.span_position(name.span());
        let wanted = RelationName::of(name).map_err(|e| e.at(position))?;
        self.lookup(&wanted).ok_or_else(|| wanted.missing().at(position))
    }

    /// The object a name means.
    pub(crate) fn find_object(&self, name: &ObjectName) -> Result<&Arc<Object>> {
        match self.find_relation(name)? {
            Found::Object(object) => Ok(object),
            Found::System(table) => {
                let message = format!("permission denied: \"{}\" is a system catalog", table.name);
                Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message).at(self.span_position(name.span())))
            }
        }
    }

    pub(crate) fn lookup(&self, wanted: &RelationName) -> Option<Found<'_>> {
        let catalog = &self.cx.catalog;
        let RelationName { schema, name } = wanted;
        let path = &self.cx.session.search_path;
        let system = match schema.as_deref() {
            Some(schema) => system::find(schema, name),
            None => system::find("pg_catalog", name)
                .or_else(|| path.iter().find_map(|schema| system::find(schema, name))),
        };
        system.map(Found::System).or_else(|| catalog.find(schema.as_deref(), name, path).map(Found::Object))
    }

    /// A relation in FROM, by whatever kind of name it has.
    pub(crate) fn bind_named_relation(
        &self,
        name: &ObjectName,
        alias: Option<&str>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let position = self.span_position(name.span());
        let wanted = RelationName::of(name).map_err(|e| e.at(position))?;
        if wanted.schema.is_none()
            && let Some((cte, seen)) = scope.find_cte(&wanted.name)
        {
            return self.bind_cte(cte, &seen).map_err(|e| e.at(position));
        }
        let found = self.lookup(&wanted).ok_or_else(|| wanted.missing().at(position))?;
        match found {
            Found::System(table) => self.scan_system(table, alias),
            Found::Object(object) => self.bind_object(object, alias).map_err(|e| e.at(position)),
        }
    }

    /// A scan of an object, or a view's expansion.
    pub(crate) fn bind_object(&self, object: &Arc<Object>, alias: Option<&str>) -> Result<Relation> {
        let stored = self.bind_stored(object, alias)?;
        let ObjectKind::Table(table) = &object.kind else { return Ok(stored) };
        if !table.columns.iter().any(ColumnDef::is_dropped) {
            return Ok(stored);
        }
        let columns = shown_columns(table, &stored.columns);
        let plan = LogicalPlanBuilder::from(stored.plan)
            .project(columns.iter().map(|c| Expr::Column(c.column.clone())))
            .and_then(LogicalPlanBuilder::build)
            .map_err(plan_error)?;
        Ok(Relation { plan, columns })
    }

    /// As [`Binder::bind_object`], with the columns of a table that were dropped, all in their stored places.
    pub(crate) fn bind_stored(&self, object: &Arc<Object>, alias: Option<&str>) -> Result<Relation> {
        if self.view_depth.get() == 0 {
            self.depends_on.borrow_mut().insert(object.id);
        }
        let kind = match &object.kind {
            ObjectKind::Table(_) => RelationKind::Table,
            ObjectKind::MaterializedView(_) => RelationKind::MaterializedView,
            ObjectKind::Source(_) => RelationKind::Source,
            ObjectKind::View(view) => return self.expand_view(object, &view.query_sql, &view.columns),
            ObjectKind::Sequence(_) => {
                let mut row = self.sequence_row(object.id)?;
                self.rename(&mut row.columns, &object.name, &[])?;
                return Ok(row);
            }
            ObjectKind::Index(_) => {
                let message = format!("cannot open relation \"{}\"", object.name);
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .with_detail("This operation is not supported for indexes."));
            }
            ObjectKind::Sink(_) | ObjectKind::Schema => {
                let message =
                    format!("\"{}\" is a {}, which cannot be read", object.name, object.kind.noun());
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
        };
        self.relations.borrow_mut().insert(object.id);
        let schema = object.relation_schema().ok_or_else(|| Error::internal("a relation without columns"))?;
        let schema_name = self.cx.catalog.schema_name(object.schema).unwrap_or("public").to_owned();
        let mut source = source(object.id, kind, schema_name, object.name.clone(), schema);
        if self.continuous.get() {
            source.watermarks = self.watermarks_of(object)?;
            source.grows = matches!(&object.kind, ObjectKind::MaterializedView(view) if view.grows);
        }
        self.scan(source, alias)
    }

    fn scan_system(&self, table: &'static SystemTable, alias: Option<&str>) -> Result<Relation> {
        if self.continuous.get() {
            return Err(Error::unsupported(format!(
                "system table \"{}\" in a materialized view",
                table.name
            ))
            .with_hint("Read it directly."));
        }
        let schema = RelationSchema { columns: table.columns.clone(), key: RelationKey::Bag };
        let source = source(table.oid, RelationKind::System, table.schema.into(), table.name.into(), schema);
        self.scan(source, alias)
    }

    fn scan(&self, source: RelationSource, alias: Option<&str>) -> Result<Relation> {
        let scan_name = self.scan_name(alias.unwrap_or(&source.name));
        let table = TableReference::bare(scan_name);
        let column = |c: &Column| ScopeColumn {
            table: Some(source.name.clone()),
            schema: Some(source.schema_name.clone()),
            name: c.name.clone(),
            column: PlanColumn::new(Some(table.clone()), c.name.clone()),
            ty: c.ty.clone(),
            origin: Some((source.object, c.id)),
            merged: false,
        };
        let columns = source.columns.iter().map(column).collect();
        let scan = TableScanBuilder::new(table, Arc::new(source)).build().map_err(plan_error)?;
        Ok(Relation { plan: LogicalPlan::TableScan(scan), columns })
    }

    /// A scan of rows that the session gives when the plan runs; the columns are found by the names given.
    pub(crate) fn given_rows(&self, columns: Vec<ScopeColumn>) -> Result<Relation> {
        let stored = |(i, c): (usize, &ScopeColumn)| Column {
            id: u16::try_from(i + 1).unwrap_or(u16::MAX),
            name: format!("c{}", i + 1),
            ty: c.ty.clone(),
            nullable: true,
        };
        let schema = RelationSchema {
            columns: columns.iter().enumerate().map(stored).collect(),
            key: RelationKey::Bag,
        };
        let source = source(ObjectId(0), RelationKind::Given, String::new(), "rows".to_owned(), schema);
        let scanned = self.scan(source, None)?;
        let columns = columns.into_iter().zip(scanned.columns);
        let columns = columns.map(|(c, scanned)| ScopeColumn { column: scanned.column, ..c }).collect();
        Ok(Relation { plan: scanned.plan, columns })
    }

    /// A name for a scan that no other scan of the statement has.
    fn scan_name(&self, wanted: &str) -> String {
        let mut taken = self.scan_names.borrow_mut();
        let numbered = (1..).map(|n| format!("{wanted}_{n}"));
        let mut candidates = std::iter::once(wanted.to_owned()).chain(numbered);
        let name = candidates.find(|name| !taken.contains(name)).expect("some number is free");
        taken.insert(name.clone());
        name
    }

    fn expand_view(&self, object: &Object, query_sql: &str, columns: &[Column]) -> Result<Relation> {
        if self.view_depth.get() >= VIEW_DEPTH {
            return Err(parser::too_deep());
        }
        let parsed = parser::parse(query_sql)?;
        let Some((Statement::Query(query), source)) = parsed.first().map(|p| (&p.statement, &p.source))
        else {
            return Err(Error::internal(format!("view \"{}\" is not a query", object.name)));
        };
        self.view_depth.set(self.view_depth.get() + 1);
        let bound = self.repeated(|| {
            let bind = || self.bind_query(query, &Scope::default());
            self.within_text(Arc::clone(source), bind).map(|bound| bound.relation)
        });
        self.view_depth.set(self.view_depth.get() - 1);
        let mut relation = self.settle(bound?)?;
        let schema = self.cx.catalog.schema_name(object.schema).map(str::to_owned);
        for (scope_column, column) in relation.columns.iter_mut().zip(columns) {
            scope_column.table = Some(object.name.clone());
            scope_column.schema = schema.clone();
            scope_column.name = column.name.clone();
            scope_column.origin = Some((object.id, column.id));
        }
        Ok(relation)
    }

    /// Gives columns the name of their FROM item, and the names of an alias's column list.
    pub(crate) fn rename(
        &self,
        columns: &mut [ScopeColumn],
        table: &str,
        names: &[sqlparser::ast::Ident],
    ) -> Result<()> {
        if names.len() > columns.len() {
            let message = format!(
                "table \"{table}\" has {} columns available but {} columns specified",
                columns.len(),
                names.len()
            );
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        for (i, column) in columns.iter_mut().enumerate() {
            column.table = Some(table.to_owned());
            column.schema = None;
            if let Some(name) = names.get(i) {
                column.name = fold(name);
            }
        }
        Ok(())
    }
}

/// The columns that statements see, of all a table's in their stored places.
pub(crate) fn shown_columns(table: &TableDef, stored: &[ScopeColumn]) -> Vec<ScopeColumn> {
    let shown = table.shown().into_iter();
    let column = |shown: ShownColumn<'_>| {
        let column = stored.get(shown.position)?;
        let origin = column.origin.map(|(object, _)| (object, shown.number));
        Some(ScopeColumn { origin, ..column.clone() })
    };
    shown.filter_map(column).collect()
}

fn source(
    object: ObjectId,
    kind: RelationKind,
    schema_name: String,
    name: String,
    schema: RelationSchema,
) -> RelationSource {
    // DataFusion finds columns by name: the scan's are the relation's, which are distinct.
    let fields: Vec<Field> = schema.columns.iter().map(|c| Field::new(&c.name, c.ty.arrow(), true)).collect();
    RelationSource {
        object,
        kind,
        schema_name,
        name,
        schema: Arc::new(Schema::new(fields)),
        columns: schema.columns,
        key: schema.key,
        watermarks: Vec::new(),
        grows: false,
    }
}
