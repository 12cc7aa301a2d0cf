//! `pg_get_viewdef`, `pg_get_indexdef`, `pg_get_constraintdef`, `pg_get_expr` and the like: objects as SQL text.

use weir_common::SqlType::{Bool, Int4, Oid, Regclass, Text};
use weir_common::{Column, Error, ObjectId, Result, SqlState};

use super::reg::quote_identifier;
use super::row::Row;
use super::visibility::is_visible;
use super::{FunctionContext, SystemFunction, lenient, strict};
use crate::object::{Object, ObjectKind, TableDef};
use crate::snapshot::CatalogSnapshot;
use crate::system::rows::Value;
use crate::system::{check_oid, constraint_oid, rewrite_oid};

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![
        strict("pg_get_viewdef", &[Regclass], Text, viewdef),
        strict("pg_get_viewdef", &[Regclass, Bool], Text, viewdef),
        strict("pg_get_indexdef", &[Oid], Text, indexdef),
        strict("pg_get_indexdef", &[Oid, Int4, Bool], Text, indexdef_column),
        strict("pg_get_constraintdef", &[Oid], Text, constraintdef),
        strict("pg_get_constraintdef", &[Oid, Bool], Text, constraintdef),
        strict("pg_get_expr", &[Text, Oid], Text, |_, row| Ok(row.text(0)?.into())),
        strict("pg_get_expr", &[Text, Oid, Bool], Text, |_, row| Ok(row.text(0)?.into())),
        strict("pg_get_ruledef", &[Oid], Text, ruledef),
        strict("pg_get_ruledef", &[Oid, Bool], Text, ruledef),
        // Of what a catalog never holds: partitions, statistics, triggers.
        lenient("pg_get_partkeydef", &[Oid], Text, |_, _| Ok(Value::Null)),
        lenient("pg_get_partition_constraintdef", &[Oid], Text, |_, _| Ok(Value::Null)),
        lenient("pg_get_statisticsobjdef_columns", &[Oid], Text, |_, _| Ok(Value::Null)),
        strict("pg_get_serial_sequence", &[Text, Text], Text, serial_sequence),
        lenient("pg_get_triggerdef", &[Oid], Text, |_, _| Ok(Value::Null)),
        lenient("pg_get_triggerdef", &[Oid, Bool], Text, |_, _| Ok(Value::Null)),
    ]
}

fn viewdef(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    Ok(cx.catalog.object(row.oid(0)?).and_then(|object| view_definition(object)).into())
}

/// The query of a view, as `pg_get_viewdef` prints it: after a blank, with a semicolon.
pub(crate) fn view_definition(object: &Object) -> Option<String> {
    let sql = match &object.kind {
        ObjectKind::View(view) => &view.query_sql,
        ObjectKind::MaterializedView(view) => &view.query_sql,
        _ => return None,
    };
    Some(format!(" {};", sql.trim().trim_end_matches(';').trim_end()))
}

fn indexdef(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let table = cx.catalog.index_owner(row.oid(0)?);
    Ok(table.and_then(|table| index_definition(&cx.catalog, table)).into())
}

/// Column 0 is the whole index; a pretty-printed one names its table without the schema when that is visible.
fn indexdef_column(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let Some(table) = cx.catalog.index_owner(row.oid(0)?) else { return Ok(Value::Null) };
    let number = row.int(1)?;
    if number == 0 {
        let is_short = row.bool(2)? && is_visible(cx, table.id) == Some(true);
        let schema = if is_short { None } else { cx.catalog.schema_name(table.schema) };
        return Ok(create_index(table, schema).into());
    }
    let columns = key_columns(table);
    let position = usize::try_from(number - 1).ok();
    let column = position.and_then(|position| columns.get(position));
    Ok(column.map_or_else(String::new, |column| quote_identifier(&column.name)).into())
}

/// `CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)`
pub(crate) fn index_definition(catalog: &CatalogSnapshot, table: &Object) -> Option<String> {
    create_index(table, catalog.schema_name(table.schema))
}

fn create_index(table: &Object, schema: Option<&str>) -> Option<String> {
    let (_, name) = table.key_index()?;
    let schema = schema.map_or_else(String::new, |schema| format!("{}.", quote_identifier(schema)));
    Some(format!(
        "CREATE UNIQUE INDEX {} ON {schema}{} USING btree ({})",
        quote_identifier(name),
        quote_identifier(&table.name),
        column_list(&key_columns(table)),
    ))
}

fn constraintdef(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let oid = row.oid(0)?;
    let has_constraint =
        |object: &&Object| object.key_index().is_some_and(|(index, _)| constraint_oid(index) == oid);
    let table = cx.catalog.user_objects().map(AsRef::as_ref).find(has_constraint);
    if table.is_none() {
        return Ok(check_definition(&cx.catalog, oid).into());
    }
    Ok(table.map(|table| format!("PRIMARY KEY ({})", column_list(&key_columns(table)))).into())
}

/// `CHECK ((n > 0))`
fn check_definition(catalog: &CatalogSnapshot, oid: ObjectId) -> Option<String> {
    let definition = |object: &Object| match &object.kind {
        ObjectKind::Table(table) => {
            let mut checks = table.checks.iter().enumerate();
            let found = checks.find(|(i, _)| check_oid(object.id, *i) == oid);
            found.map(|(_, check)| format!("CHECK (({}))", check.condition_sql))
        }
        _ => None,
    };
    catalog.user_objects().find_map(|object| definition(object))
}

/// The sequence that belongs to a column, as `public.t_id_seq`.
fn serial_sequence(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let (name, column) = (row.text(0)?, row.text(1)?);
    let unquoted = |part: &str| part.trim_matches('"').to_owned();
    let (schema, name) = match name.split_once('.') {
        Some((schema, name)) => (Some(unquoted(schema)), unquoted(name)),
        None => (None, unquoted(name)),
    };
    let table = cx.catalog.find(schema.as_deref(), &name, &cx.search_path).ok_or_else(|| {
        Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    })?;
    let found = table.columns().into_iter().find(|c| c.name == column).ok_or_else(|| {
        let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
        Error::new(SqlState::UNDEFINED_COLUMN, message)
    })?;
    let is_its = |object: &&Object| match &object.kind {
        ObjectKind::Sequence(sequence) => sequence.owned_by == Some((table.id, found.id)),
        _ => false,
    };
    let sequence = cx.catalog.user_objects().map(AsRef::as_ref).find(is_its);
    let qualified = sequence.map(|sequence| {
        let schema = cx.catalog.schema_name(sequence.schema).unwrap_or_default();
        format!("{}.{}", quote_identifier(schema), quote_identifier(&sequence.name))
    });
    Ok(qualified.into())
}

fn ruledef(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let oid = row.oid(0)?;
    let view = cx.catalog.user_objects().find(|object| rewrite_oid(object.id) == oid);
    Ok(view.and_then(|view| rule_definition(&cx.catalog, view)).into())
}

fn rule_definition(catalog: &CatalogSnapshot, view: &Object) -> Option<String> {
    let query = view_definition(view)?;
    let schema = catalog.schema_name(view.schema)?;
    let (schema, name) = (quote_identifier(schema), quote_identifier(&view.name));
    Some(format!("CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {schema}.{name} DO INSTEAD {query}"))
}

fn key_columns(table: &Object) -> Vec<&Column> {
    let columns = |def: &'_ TableDef| def.key_positions();
    match &table.kind {
        ObjectKind::Table(def) => {
            columns(def).into_iter().map(|position| &def.columns[position].column).collect()
        }
        _ => Vec::new(),
    }
}

/// `a, "B"`
fn column_list(columns: &[&Column]) -> String {
    columns.iter().map(|column| quote_identifier(&column.name)).collect::<Vec<_>>().join(", ")
}

/// The object a relation's OID means: the relation itself, or the table of an index.
pub(super) fn relation_object(catalog: &CatalogSnapshot, oid: ObjectId) -> Option<&Object> {
    catalog.object(oid).or_else(|| catalog.index_owner(oid)).map(AsRef::as_ref)
}
