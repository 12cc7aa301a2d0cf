//! CREATE TABLE, SOURCE, VIEW, MATERIALIZED VIEW, SINK; DROP.

use std::collections::BTreeSet;

use sqlparser::ast::{
    CheckConstraint, ColumnOption, DataType, Expr as SqlExpr, GeneratedAs, Ident, ObjectName,
    PrimaryKeyConstraint, SequenceOptions as SqlSequenceOptions, Spanned, TableConstraint,
};
use weir_catalog::{ColumnDef, Generation, IdentityKind, ObjectKind, WatermarkDef};
use weir_common::{Column, Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::bind_expr::{ExprContext, strip};
use super::bind_relation::{Found, RelationName};
use super::bind_sequence::sequence_def;
use super::bind_type::sql_type;
use super::scope::{Scope, ScopeColumn};
use crate::ast::{CreateSink, CreateSource, CreateTable, CreateView, SequenceOptions, SinkInput, Watermark};
use crate::bound::{
    BoundCreateSink, BoundCreateSource, BoundCreateTable, BoundCreateView, BoundDrop, BoundQuery, DropKind,
    NewName, OwnedSequence,
};
use crate::parser::fold;

/// A primary key as written: where, its name, its columns.
#[derive(Default)]
pub(crate) struct Key {
    constraint: Option<String>,
    columns: Vec<Ident>,
}

/// The columns of a table with everything that is written beside them.
#[derive(Default)]
pub(crate) struct Elements<'d> {
    pub columns: Vec<ColumnDef>,
    pub keys: Vec<Key>,
    pub checks: Vec<&'d CheckConstraint>,
    pub sequences: Vec<OwnedSequence>,
}

impl Binder<'_> {
    pub(crate) fn bind_create_table(&self, create: &CreateTable, sql: &str) -> Result<BoundCreateTable> {
        if !create.options.is_empty() {
            return Err(Error::unsupported("WITH options of a table")
                .with_hint("CREATE SOURCE reads from outside; a table has no options."));
        }
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let Elements { mut columns, keys, checks, sequences } =
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
            sequences,
            depends_on,
            definition,
        })
    }

    fn key_name(&self, table: &NewName) -> String {
        self.cx.catalog.free_name(table.schema, &format!("{}_pkey", table.name))
    }

    pub(crate) fn bind_create_source(&self, create: &CreateSource, sql: &str) -> Result<BoundCreateSource> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let Elements { columns, checks, sequences, .. } =
            self.bind_columns(&name, &create.columns, &create.constraints)?;
        let is_generated = |c: &ColumnDef| c.generation != Generation::Nothing;
        if !checks.is_empty() || !sequences.is_empty() || columns.iter().any(is_generated) {
            return Err(Error::unsupported("CHECK and generated columns of a source")
                .with_hint("Filter and compute in the query."));
        }
        if let Some(column) = columns.iter().find(|c| c.default_sql.is_some()) {
            let what = format!("DEFAULT of column \"{}\" of a source", column.column.name);
            return Err(Error::unsupported(what).with_hint("Use coalesce() in the query."));
        }
        let columns: Vec<Column> = columns.into_iter().map(|c| c.column).collect();
        let watermark = create.watermark.as_ref().map(|w| self.bind_watermark(w, &columns)).transpose()?;
        Ok(BoundCreateSource {
            name,
            if_not_exists: create.if_not_exists,
            exists,
            columns,
            watermark,
            options: create.options.clone(),
            definition: sql.to_owned(),
        })
    }

    fn bind_watermark(&self, watermark: &Watermark, columns: &[Column]) -> Result<WatermarkDef> {
        let wanted = fold(&watermark.column);
        let position = self.span_position(watermark.column.span);
        let column = columns.iter().find(|c| c.name == wanted).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{wanted}\" does not exist")).at(position)
        })?;
        if !matches!(column.ty, SqlType::Timestamp | SqlType::Timestamptz) {
            let message = format!("a watermark column must be a timestamp, \"{wanted}\" is {}", column.ty);
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(position));
        }
        let scope_column = |c: &Column| ScopeColumn {
            table: None,
            schema: None,
            name: c.name.clone(),
            column: datafusion::common::Column::new_unqualified(c.name.clone()),
            ty: c.ty.clone(),
            origin: None,
            merged: false,
        };
        let scope_columns: Vec<ScopeColumn> = columns.iter().map(scope_column).collect();
        let scope = Scope { columns: &scope_columns, ..Scope::default() };
        let typed = self.bind_expr(&watermark.expression, ExprContext::plain(&scope, "WATERMARK"))?;
        self.assign(typed, &wanted, &column.ty)?;
        Ok(WatermarkDef { column: column.id, expression_sql: watermark.expression.to_string() })
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
        Ok(BoundCreateView {
            name,
            if_not_exists: create.if_not_exists,
            exists: taken && !create.or_replace,
            replaces,
            query,
            query_sql: create.query_sql.clone(),
            definition: sql.to_owned(),
            depends_on: self.dependencies(),
        })
    }

    fn dependencies(&self) -> Vec<ObjectId> {
        self.depends_on.borrow().iter().copied().collect()
    }

    /// Gives the columns of a view the names of its column list, and sees that they are distinct.
    fn name_columns(&self, mut query: BoundQuery, names: &[Ident]) -> Result<BoundQuery> {
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

    pub(crate) fn bind_create_sink(&self, create: &CreateSink, sql: &str) -> Result<BoundCreateSink> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        self.continuous.set(true);
        let (from, query) = match &create.input {
            SinkInput::Query(query) => (None, self.bind_top_query(query)?),
            SinkInput::Relation(relation) => {
                let object = self.find_object(relation)?;
                let bound =
                    self.bind_object(object, None).map_err(|e| e.at(self.span_position(relation.span())))?;
                let bound = super::bind_query::Bound { relation: bound, ordered: false };
                (Some(object.id), self.bound_query(bound)?)
            }
        };
        let query = self.name_columns(query, &[])?;
        Ok(BoundCreateSink {
            name,
            if_not_exists: create.if_not_exists,
            exists,
            from,
            query,
            options: create.options.clone(),
            definition: sql.to_owned(),
            depends_on: self.dependencies(),
        })
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

    fn bind_columns<'d>(
        &self,
        table: &NewName,
        definitions: &'d [sqlparser::ast::ColumnDef],
        constraints: &'d [TableConstraint],
    ) -> Result<Elements<'d>> {
        let mut elements = Elements::default();
        for definition in definitions {
            let column = self.bind_column(table, definition, &mut elements)?;
            let columns = &mut elements.columns;
            if columns.iter().any(|c| c.column.name == column.column.name) {
                let message = format!("column \"{}\" specified more than once", column.column.name);
                let position = self.span_position(definition.name.span);
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(position));
            }
            columns.push(column);
        }
        if elements.columns.len() > 1600 {
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, "tables can have at most 1600 columns"));
        }
        for constraint in constraints {
            match constraint {
                TableConstraint::PrimaryKey(key) => elements.keys.push(key_of(key)?),
                TableConstraint::Check(check) => elements.checks.push(check),
                other => return Err(unsupported_constraint(other)),
            }
        }
        Ok(elements)
    }

    pub(crate) fn bind_column<'d>(
        &self,
        table: &NewName,
        definition: &'d sqlparser::ast::ColumnDef,
        elements: &mut Elements<'d>,
    ) -> Result<ColumnDef> {
        let name = fold(&definition.name);
        let position = self.span_position(definition.name.span);
        let serial = serial_type(&definition.data_type);
        let ty = serial.clone().map_or_else(|| sql_type(&definition.data_type), Ok);
        let ty = ty.map_err(|e| e.at(position))?;
        let ty = storable(ty, &name).map_err(|e| e.at(position))?;
        let id = u16::try_from(elements.columns.len() + 1).unwrap_or(u16::MAX);
        let mut column = Column { id, name: name.clone(), ty, nullable: serial.is_none() };
        let mut default_sql = None;
        let mut generation = Generation::Nothing;
        if let Some(ty) = serial {
            let sequence = self.column_sequence(table, &column, &SequenceOptions::default(), ty)?;
            default_sql = Some(format!("nextval('{}'::regclass)", quoted(&sequence.name)));
            elements.sequences.push(sequence);
        }
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::Default(expr) => {
                    self.check_default(expr, &column)?;
                    default_sql = Some(expr.to_string());
                }
                ColumnOption::PrimaryKey(_) => {
                    let constraint = option.name.as_ref().map(fold);
                    elements.keys.push(Key { constraint, columns: vec![definition.name.clone()] });
                }
                ColumnOption::Collation(_) => {}
                ColumnOption::Check(check) => elements.checks.push(check),
                ColumnOption::Generated { generation_expr: Some(expr), .. } => {
                    generation = Generation::Stored(expr.to_string());
                }
                ColumnOption::Generated { generated_as, sequence_options, .. } => {
                    let options = identity_options(sequence_options.as_deref().unwrap_or_default())?;
                    let sequence = self.column_sequence(table, &column, &options, column.ty.clone())?;
                    let kind = match generated_as {
                        GeneratedAs::ByDefault => IdentityKind::ByDefault,
                        _ => IdentityKind::Always,
                    };
                    generation = Generation::Identity { kind, sequence: ObjectId(0) };
                    column.nullable = false;
                    elements.sequences.push(sequence);
                }
                other => return Err(unsupported_option(other).at(position)),
            }
        }
        if default_sql.is_some() && generation != Generation::Nothing {
            let message = format!(
                "both default and generation expression specified for column \"{name}\" of table \"{}\"",
                table.name
            );
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        Ok(ColumnDef { column, default_sql, generation })
    }

    /// The sequence that a serial or identity column brings along: `t_c_seq`.
    fn column_sequence(
        &self,
        table: &NewName,
        column: &Column,
        options: &SequenceOptions,
        ty: SqlType,
    ) -> Result<OwnedSequence> {
        if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
            let message = "identity column type must be smallint, integer, or bigint";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let name = self.cx.catalog.free_name(table.schema, &format!("{}_{}_seq", table.name, column.name));
        Ok(OwnedSequence { column: column.id, name, def: sequence_def(options, ty)? })
    }

    pub(crate) fn check_default(&self, expr: &SqlExpr, column: &Column) -> Result<()> {
        let scope = Scope::default();
        self.note_sequences(expr);
        let typed = self.bind_expr(expr, ExprContext::plain(&scope, "DEFAULT expressions")).map_err(|e| {
            match (e.state(), strip(expr)) {
                (SqlState::UNDEFINED_COLUMN, SqlExpr::Identifier(_)) => Error::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot use column reference in DEFAULT expression",
                )
                .at(self.position(expr)),
                _ => e,
            }
        })?;
        let from = typed.ty.clone();
        self.assign(typed, &column.name, &column.ty).map(|_| ()).map_err(|e| match e.state() {
            SqlState::DATATYPE_MISMATCH => {
                let message = format!(
                    "column \"{}\" is of type {} but default expression is of type {}",
                    column.name,
                    column.ty.name(),
                    from.name()
                );
                Error::new(SqlState::DATATYPE_MISMATCH, message)
                    .with_hint("You will need to rewrite or cast the expression.")
            }
            _ => e,
        })
    }

    /// Notes the sequences that a default names as `nextval('s')`.
    fn note_sequences(&self, expr: &SqlExpr) {
        let _ = sqlparser::ast::visit_expressions(expr, |e| {
            if let SqlExpr::Value(value) = e
                && let sqlparser::ast::Value::SingleQuotedString(text) = &value.value
                && let Ok((SqlExpr::Identifier(name), _)) = crate::parser::parse_expression(text)
                && let Some(object) = self.cx.catalog.find(None, &fold(&name), &self.cx.session.search_path)
                && matches!(object.kind, ObjectKind::Sequence(_))
            {
                self.used_sequences.borrow_mut().insert(object.id);
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
    }

    fn bind_key_columns(&self, key: &Key, columns: &mut [ColumnDef]) -> Result<Vec<u16>> {
        let mut ids = Vec::with_capacity(key.columns.len());
        for ident in &key.columns {
            let wanted = fold(ident);
            let position = self.span_position(ident.span);
            let column = columns.iter_mut().find(|c| c.column.name == wanted).ok_or_else(|| {
                let message = format!("column \"{wanted}\" named in key does not exist");
                Error::new(SqlState::UNDEFINED_COLUMN, message).at(position)
            })?;
            column.column.nullable = false;
            if ids.contains(&column.column.id) {
                let message = format!("column \"{wanted}\" appears twice in primary key constraint");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(position));
            }
            ids.push(column.column.id);
        }
        Ok(ids)
    }

    pub(crate) fn bind_drop(
        &self,
        kind: DropKind,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<BoundDrop> {
        let mut drop = BoundDrop { kind, objects: Vec::new(), missing: Vec::new(), cascade, if_exists };
        for name in names {
            let wanted = RelationName::of(name)?;
            match self.lookup(&wanted) {
                Some(Found::Object(object)) if is_kind(&object.kind, kind) => {
                    if !drop.objects.contains(&object.id) {
                        drop.objects.push(object.id);
                    }
                }
                Some(Found::Object(object)) => {
                    let message = format!("\"{}\" is not a {}", object.name, kind.noun());
                    let right = object.kind.noun();
                    return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                        .with_hint(format!("Use DROP {} to remove a {right}.", right.to_uppercase())));
                }
                Some(Found::System(table)) => {
                    let message = format!("permission denied: \"{}\" is a system catalog", table.name);
                    return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
                }
                None if if_exists => drop.missing.push(wanted.name),
                None => {
                    let message = format!("{} \"{}\" does not exist", kind.noun(), wanted.name);
                    return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
                }
            }
        }
        Ok(drop)
    }
}

pub(crate) fn is_kind(kind: &ObjectKind, wanted: DropKind) -> bool {
    matches!(
        (kind, wanted),
        (ObjectKind::Table(_), DropKind::Table)
            | (ObjectKind::View(_), DropKind::View)
            | (ObjectKind::MaterializedView(_), DropKind::MaterializedView)
            | (ObjectKind::Source(_), DropKind::Source)
            | (ObjectKind::Sink(_), DropKind::Sink)
            | (ObjectKind::Sequence(_), DropKind::Sequence)
    )
}

fn key_of(key: &PrimaryKeyConstraint) -> Result<Key> {
    let columns: Result<Vec<Ident>> = key
        .columns
        .iter()
        .map(|c| match &c.column.expr {
            SqlExpr::Identifier(name) => Ok(name.clone()),
            other => Err(Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\""))),
        })
        .collect();
    Ok(Key { constraint: key.name.as_ref().map(fold), columns: columns? })
}

/// Types a stored column can have.
fn storable(ty: SqlType, column: &str) -> Result<SqlType> {
    match ty {
        SqlType::Unknown | SqlType::Void => {
            let message = format!("column \"{column}\" has pseudo-type {}", ty.name());
            Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message))
        }
        ty => Ok(ty),
    }
}

fn unsupported_option(option: &ColumnOption) -> Error {
    match option {
        ColumnOption::Unique(_) => unique(),
        ColumnOption::ForeignKey(_) => references(),
        other => Error::unsupported(format!("column option {other}")),
    }
}

pub(crate) fn unsupported_constraint(constraint: &TableConstraint) -> Error {
    match constraint {
        TableConstraint::Unique(_) => unique(),
        TableConstraint::ForeignKey(_) => references(),
        other => Error::unsupported(format!("constraint {other}")),
    }
}

fn unique() -> Error {
    Error::unsupported("UNIQUE").with_hint("Declare the columns as the PRIMARY KEY.")
}

fn references() -> Error {
    Error::unsupported("REFERENCES").with_hint("Leave the foreign key out; join on the column.")
}

/// `serial` and its kin: the integer type.
fn serial_type(ty: &DataType) -> Option<SqlType> {
    let DataType::Custom(name, _) = ty else { return None };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(SqlType::Int2),
        "serial" | "serial4" => Some(SqlType::Int4),
        "bigserial" | "serial8" => Some(SqlType::Int8),
        _ => None,
    }
}

/// A sequence's name inside of a string literal.
fn quoted(name: &str) -> String {
    weir_catalog::quote_identifier(name).replace('\'', "''")
}

fn identity_options(options: &[SqlSequenceOptions]) -> Result<SequenceOptions> {
    let mut read = SequenceOptions::default();
    let number = |expr: &SqlExpr| {
        expr.to_string()
            .parse::<i64>()
            .map_err(|_| Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{expr}\"")))
    };
    for option in options {
        match option {
            SqlSequenceOptions::IncrementBy(expr, _) => read.increment = Some(number(expr)?),
            SqlSequenceOptions::MinValue(expr) => read.min = expr.as_ref().map(number).transpose()?,
            SqlSequenceOptions::MaxValue(expr) => read.max = expr.as_ref().map(number).transpose()?,
            SqlSequenceOptions::StartWith(expr, _) => read.start = Some(number(expr)?),
            SqlSequenceOptions::Cache(_) => {}
            SqlSequenceOptions::Cycle(no) => read.cycle = !no,
        }
    }
    Ok(read)
}
