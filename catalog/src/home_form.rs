//! `SHOW CREATE`: an object as the one statement that makes it, in the home form of the dialect.
//!
//! Made from the definition, not from the text the user wrote, so every spelling prints the same. Options that hold
//! secrets print as `<redacted>`.

use std::collections::BTreeMap;

use weir_common::{Column, ObjectId};

use crate::functions::reg::quote_identifier;
use crate::object::{ColumnDef, Object, ObjectKind, SinkDef, SourceDef, TableDef};
use crate::snapshot::{CatalogSnapshot, PUBLIC};

/// Parts of option names whose values are secret.
const SECRET_OPTIONS: [&str; 5] = ["password", "secret", "token", "access_key", "credential"];

/// The statement that makes the object, with a semicolon.
pub fn home_form(catalog: &CatalogSnapshot, object: &Object) -> String {
    let name = qualified(catalog, object);
    match &object.kind {
        ObjectKind::Schema => format!("CREATE SCHEMA {name};"),
        ObjectKind::Table(table) => format!("CREATE TABLE {name} {};", table_body(object, table)),
        ObjectKind::View(view) => format!("CREATE VIEW {name} AS\n{};", query(&view.query_sql)),
        ObjectKind::MaterializedView(view) => {
            format!("CREATE MATERIALIZED VIEW {name} AS\n{};", query(&view.query_sql))
        }
        ObjectKind::Source(source) => {
            format!("CREATE SOURCE {name} {}{};", source_body(source), with_options(&source.options))
        }
        ObjectKind::Sink(sink) => {
            format!("CREATE SINK {name} {}{};", sink_body(catalog, sink), with_options(&sink.options))
        }
    }
}

/// The name as a statement needs it: without the schema in `public`.
fn qualified(catalog: &CatalogSnapshot, object: &Object) -> String {
    let name = quote_identifier(&object.name);
    match catalog.schema_name(object.schema) {
        Some(schema) if object.schema != PUBLIC => format!("{}.{name}", quote_identifier(schema)),
        _ => name,
    }
}

fn query(sql: &str) -> &str {
    sql.trim().trim_end_matches(';').trim_end()
}

fn table_body(object: &Object, table: &TableDef) -> String {
    let mut lines: Vec<String> = table.columns.iter().map(|column| column_line(table, column)).collect();
    lines.extend(key_line(object, table));
    parenthesized(&lines)
}

fn column_line(table: &TableDef, column: &ColumnDef) -> String {
    let mut line = column_declaration(&column.column);
    let is_sole_key = table.primary_key == [column.column.id];
    if !column.column.nullable && !is_sole_key && !table.primary_key.contains(&column.column.id) {
        line.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default_sql {
        line.push_str(" DEFAULT ");
        line.push_str(default);
    }
    line
}

fn column_declaration(column: &Column) -> String {
    format!("{} {}", quote_identifier(&column.name), column.ty)
}

/// `PRIMARY KEY (a, b)`, with the constraint's name when it is not the one PostgreSQL would choose.
fn key_line(object: &Object, table: &TableDef) -> Option<String> {
    let (_, name) = table.key_index()?;
    let columns: Vec<String> =
        table.key_positions().into_iter().map(|i| quote_identifier(&table.columns[i].column.name)).collect();
    let constraint = if name == format!("{}_pkey", object.name) {
        String::new()
    } else {
        format!("CONSTRAINT {} ", quote_identifier(name))
    };
    Some(format!("{constraint}PRIMARY KEY ({})", columns.join(", ")))
}

fn source_body(source: &SourceDef) -> String {
    let mut lines: Vec<String> = source.columns.iter().map(column_declaration).collect();
    if let Some(watermark) = &source.watermark
        && let Some(column) = source.columns.iter().find(|column| column.id == watermark.column)
    {
        lines.push(format!(
            "WATERMARK FOR {} AS {}",
            quote_identifier(&column.name),
            watermark.expression_sql
        ));
    }
    parenthesized(&lines)
}

fn sink_body(catalog: &CatalogSnapshot, sink: &SinkDef) -> String {
    format!("FROM {}", name_of(catalog, sink.from))
}

fn name_of(catalog: &CatalogSnapshot, id: ObjectId) -> String {
    catalog.object(id).map_or_else(|| id.to_string(), |object| qualified(catalog, object))
}

fn parenthesized(lines: &[String]) -> String {
    if lines.is_empty() { "()".to_owned() } else { format!("(\n    {}\n)", lines.join(",\n    ")) }
}

/// `WITH (connector = 'datagen', …)`, the connector first.
fn with_options(options: &BTreeMap<String, String>) -> String {
    if options.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(&String, &String)> = options.iter().collect();
    pairs.sort_by_key(|(name, _)| name.as_str() != "connector");
    let lines: Vec<String> = pairs.into_iter().map(|(name, value)| option_line(name, value)).collect();
    format!("\nWITH {}", parenthesized(&lines))
}

fn option_line(name: &str, value: &str) -> String {
    let is_secret =
        SECRET_OPTIONS.iter().any(|secret| name.to_lowercase().replace('.', "_").contains(secret));
    let value = if is_secret { "<redacted>" } else { value };
    format!("{} = '{}'", option_name(name), value.replace('\'', "''"))
}

/// Dots are allowed in option names without quotes.
fn option_name(name: &str) -> String {
    name.split('.').map(quote_identifier).collect::<Vec<_>>().join(".")
}
