//! `pg_get_viewdef`, `pg_get_indexdef`, `pg_get_constraintdef`, `pg_get_expr` and the like: objects as SQL text.

use weir_common::SqlType::{Bool, Int4, Oid, Regclass, Text};
use weir_common::{Error, ObjectId, Result, SqlState};

use super::reg::quote_identifier;
use super::row::Row;
use super::visibility::is_visible;
use super::{FunctionContext, SystemFunction, lenient, strict};
use crate::index_entry::{EntryColumn, IndexEntry};
use crate::object::{Object, ObjectKind};
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
    let index = IndexEntry::find(&cx.catalog, row.oid(0)?);
    Ok(index.map(|index| index.definition(cx.catalog.schema_name(index.relation.schema))).into())
}

/// Column 0 is the whole index; a pretty-printed one names its table without the schema when that is visible.
fn indexdef_column(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let Some(index) = IndexEntry::find(&cx.catalog, row.oid(0)?) else { return Ok(Value::Null) };
    let number = row.int(1)?;
    if number == 0 {
        let is_short = row.bool(2)? && is_visible(cx, index.relation.id) == Some(true);
        let schema = if is_short { None } else { cx.catalog.schema_name(index.relation.schema) };
        return Ok(index.definition(schema).into());
    }
    let mut columns: Vec<String> = index.columns.iter().map(EntryColumn::text).collect();
    columns.extend(index.include.iter().map(|column| quote_identifier(&column.name)));
    let position = usize::try_from(number - 1).ok();
    Ok(position.and_then(|position| columns.get(position)).cloned().unwrap_or_default().into())
}

fn constraintdef(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let oid = row.oid(0)?;
    let mut keys = IndexEntry::all(&cx.catalog).filter(|index| index.constraint.is_some());
    match keys.find(|index| constraint_oid(index.oid) == oid) {
        Some(index) => Ok(index.constraint_definition().into()),
        None => Ok(check_definition(&cx.catalog, oid).into()),
    }
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

/// The object a relation's OID means: the relation itself, or the table of an index.
pub(super) fn relation_object(catalog: &CatalogSnapshot, oid: ObjectId) -> Option<&Object> {
    catalog.object(oid).or_else(|| catalog.index_owner(oid)).map(AsRef::as_ref)
}
