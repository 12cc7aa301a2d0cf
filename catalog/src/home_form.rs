//! `SHOW CREATE`: an object as the one statement that makes it, in the home form of the dialect.
//!
//! Made from the definition, not from the text the user wrote, so every spelling prints the same. Options that hold
//! secrets print as `<redacted>`.

use std::collections::BTreeMap;

use weir_common::text::interval;
use weir_common::{Column, ObjectId};

use crate::functions::reg::quote_identifier;
use crate::index_entry::IndexEntry;
use crate::object::{
    ColumnDef, Generation, IdentityKind, Object, ObjectKind, SequenceDef, SinkDef, SourceDef, TableDef,
    WatermarkDef,
};
use crate::snapshot::{CatalogSnapshot, PUBLIC};

/// Parts of option names whose values are secret.
const SECRET_OPTIONS: [&str; 5] = ["password", "secret", "token", "access_key", "credential"];

/// The statement that makes the object, with a semicolon.
pub fn home_form(catalog: &CatalogSnapshot, object: &Object) -> String {
    let name = qualified(catalog, object);
    match &object.kind {
        ObjectKind::Schema => format!("CREATE SCHEMA {name};"),
        ObjectKind::Table(table) => format!("CREATE TABLE {name} {};", table_body(catalog, object, table)),
        ObjectKind::Index(_) => index_form(catalog, object),
        ObjectKind::View(view) => format!("CREATE VIEW {name} AS\n{};", query(&view.query_sql)),
        ObjectKind::MaterializedView(view) => {
            let (options, emission) = (&view.options_sql, &view.emission_sql);
            let (query, on_error) = (query(&view.query_sql), on_error(object));
            format!("CREATE MATERIALIZED VIEW {name}{options} AS\n{query}{emission}{on_error};")
        }
        ObjectKind::Source(source) => {
            let policy = on_error(object);
            let is_clause =
                |option: &str| !policy.is_empty() && ["on_error", "dead_letters"].contains(&option);
            let options = source.options.iter().filter(|(option, _)| !is_clause(option));
            let options = options.map(|(option, value)| (option.clone(), value.clone())).collect();
            format!("CREATE SOURCE {name} {}{}{policy};", source_body(source), with_options(&options))
        }
        ObjectKind::Sequence(sequence) => format!("CREATE SEQUENCE {name}{};", sequence_body(sequence)),
        ObjectKind::Sink(sink) if catalog.object(sink.from).is_none() => {
            format!("{};", query(&object.definition))
        }
        ObjectKind::Sink(sink) => format!("CREATE SINK {name} {};", sink_body(catalog, sink)),
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

/// `ON ERROR …` as written at the end of the object's definition.
fn on_error(object: &Object) -> String {
    let words: Vec<&str> = object.definition.trim_end_matches(';').split_whitespace().collect();
    let begins = |at: &usize| {
        words[*at].eq_ignore_ascii_case("ON")
            && words.get(at + 1).is_some_and(|w| w.eq_ignore_ascii_case("ERROR"))
    };
    let last = words.len().saturating_sub(4);
    let found = (last..words.len()).find(begins).map(|at| &words[at..]);
    found.map_or_else(String::new, |clause| format!("\n{}", clause.join(" ")))
}

fn query(sql: &str) -> &str {
    sql.trim().trim_end_matches(';').trim_end()
}

/// `CREATE INDEX i ON t USING btree (a);`
fn index_form(catalog: &CatalogSnapshot, object: &Object) -> String {
    let Some(entry) = IndexEntry::of_object(catalog, object) else { return String::new() };
    let schema = catalog.schema_name(object.schema).filter(|_| object.schema != PUBLIC);
    format!("{};", entry.definition(schema))
}

fn table_body(catalog: &CatalogSnapshot, object: &Object, table: &TableDef) -> String {
    let mut lines: Vec<String> = table.shown().iter().map(|c| column_line(table, c.def)).collect();
    lines.extend(key_line(object, table));
    lines.extend(unique_lines(catalog, object));
    lines.extend(table.checks.iter().map(|check| {
        format!("CONSTRAINT {} CHECK ({})", quote_identifier(&check.name), check.condition_sql)
    }));
    let columns: Vec<Column> = table.columns.iter().map(|c| c.column.clone()).collect();
    lines.extend(watermark_line(table.watermark.as_ref(), &columns));
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
    match &column.generation {
        Generation::Nothing | Generation::Dropped(_) => {}
        Generation::Stored(sql) => line.push_str(&format!(" GENERATED ALWAYS AS ({sql}) STORED")),
        Generation::Identity { kind: IdentityKind::Always, .. } => {
            line.push_str(" GENERATED ALWAYS AS IDENTITY");
        }
        Generation::Identity { kind: IdentityKind::ByDefault, .. } => {
            line.push_str(" GENERATED BY DEFAULT AS IDENTITY");
        }
    }
    line
}

fn sequence_body(sequence: &SequenceDef) -> String {
    let SequenceDef { ty, start, increment, min, max, cycle, .. } = sequence;
    let cycle = if *cycle { " CYCLE" } else { "" };
    format!(" AS {ty} START WITH {start} INCREMENT BY {increment} MINVALUE {min} MAXVALUE {max}{cycle}")
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

/// `CONSTRAINT t_a_key UNIQUE (a)`
fn unique_lines(catalog: &CatalogSnapshot, object: &Object) -> Vec<String> {
    let entries =
        catalog.indexes_of(object.id).filter_map(|(index, _)| IndexEntry::of_object(catalog, index));
    let line = |entry: IndexEntry<'_>| {
        let definition = entry.constraint_definition()?;
        Some(format!("CONSTRAINT {} {definition}", quote_identifier(entry.name)))
    };
    entries.filter_map(line).collect()
}

fn watermark_line(watermark: Option<&WatermarkDef>, columns: &[Column]) -> Option<String> {
    let watermark = watermark?;
    let column = columns.iter().find(|c| c.id == watermark.column)?;
    let length = |micros: i64| {
        let mut written = String::new();
        interval::write(interval::from_parts(0, 0, micros).ok()?, &mut written);
        Some(written)
    };
    let options = [
        ("alignment_group", watermark.alignment_group.clone()),
        ("idle_timeout", watermark.idle_timeout_micros.and_then(length)),
        ("max_drift", watermark.max_drift_micros.and_then(length)),
        ("max_jump", watermark.max_jump_micros.and_then(length)),
    ];
    let options: Vec<String> =
        options.iter().filter_map(|(name, value)| Some(option_line(name, value.as_ref()?))).collect();
    let options = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    Some(format!("WATERMARK FOR {} AS {}{options}", quote_identifier(&column.name), watermark.expression_sql))
}

fn source_body(source: &SourceDef) -> String {
    let mut lines: Vec<String> = source.columns.iter().map(column_declaration).collect();
    lines.extend(watermark_line(source.watermark.as_ref(), &source.columns));
    parenthesized(&lines)
}

fn sink_body(catalog: &CatalogSnapshot, sink: &SinkDef) -> String {
    let from = name_of(catalog, sink.from);
    let Some(into) = sink.into_table() else {
        return format!("FROM {from}{}", with_options(&sink.options));
    };
    let target = catalog.object(into.table).and_then(|object| match &object.kind {
        ObjectKind::Table(table) => Some(table),
        _ => None,
    });
    let column = |id: &u16| target?.columns.iter().find(|c| c.column.id == *id).map(|c| &c.column.name);
    let columns: Vec<String> =
        into.columns.iter().filter_map(column).map(|name| quote_identifier(name)).collect();
    format!("INTO {} ({}) FROM {from}", name_of(catalog, into.table), columns.join(", "))
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
