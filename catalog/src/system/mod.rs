//! The virtual tables of `pg_catalog`, `information_schema` and `sys`.
//!
//! A [`SystemTable`] has PostgreSQL 15's columns in PostgreSQL's order, as `relations.txt` lists them, and a
//! function that pushes its rows, made from a [`SystemContext`], which is plain data. Tables that never have a row
//! in Weir (triggers, publications, …) have no such function. Related tables share a file; rows that are the same in
//! every database (types, casts, operators, …) are `.tsv` files in `data/`, taken from PostgreSQL 15.

mod constraints;
mod context;
mod database;
mod depend;
mod information_schema;
mod pg_attribute;
mod pg_class;
mod pg_description;
mod pg_namespace;
mod pg_settings;
mod pg_stat;
mod relation;
mod relations;
pub(crate) mod rows;
mod statics;
mod sys;
#[cfg(test)]
mod tests;
pub(crate) mod types;
mod views;

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::RecordBatch;
use weir_common::{Column, ObjectId, Result};

pub use context::{
    Activity, BackfillRow, CheckpointRow, JobRow, PreparedStatement, RelationSize, Setting, SourceRow,
    SystemContext, WatermarkRow,
};
pub(crate) use pg_settings::preset;
pub(crate) use relation::{RelationEntry, check_oid, constraint_oid, rewrite_oid};
use rows::Rows;

/// A virtual table.
pub struct SystemTable {
    /// The schema it is in.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its OID; PostgreSQL's for PostgreSQL's tables.
    pub oid: ObjectId,
    /// `pg_class.relkind`: `r` where PostgreSQL has a table, `v` where it has a view.
    pub relkind: &'static str,
    /// Its columns, in the order of `SELECT *`.
    pub columns: Vec<Column>,
    push_rows: PushRows,
}

type PushRows = fn(&SystemContext, &mut Rows<'_>);

impl SystemTable {
    /// All of its rows: a batch of the columns' Arrow types, named as they are.
    pub fn rows(&self, cx: &SystemContext) -> Result<RecordBatch> {
        let mut rows = Rows::new(&self.columns);
        (self.push_rows)(cx, &mut rows);
        rows.finish()
    }
}

/// The table of this name.
pub fn find(schema: &str, name: &str) -> Option<&'static SystemTable> {
    static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static SystemTable>> =
        LazyLock::new(|| tables().iter().map(|table| ((table.schema, table.name), table)).collect());
    BY_NAME.get(&(schema, name)).copied()
}

/// The table with this OID.
pub fn find_oid(oid: ObjectId) -> Option<&'static SystemTable> {
    tables().iter().find(|table| table.oid == oid)
}

/// Every virtual table.
pub fn tables() -> &'static [SystemTable] {
    static TABLES: LazyLock<Vec<SystemTable>> = LazyLock::new(|| {
        let table = |declared: relations::Declaration| SystemTable {
            push_rows: rows_of(declared.schema, declared.name),
            schema: declared.schema,
            name: declared.name,
            oid: declared.oid,
            relkind: declared.kind,
            columns: declared.columns,
        };
        relations::declarations().into_iter().map(table).collect()
    });
    &TABLES
}

/// What makes the rows of a table.
fn rows_of(schema: &str, name: &str) -> PushRows {
    match schema {
        "pg_catalog" => pg_catalog_rows(name),
        "information_schema" => information_schema::rows_of(name),
        _ => sys::rows_of(name),
    }
}

fn pg_catalog_rows(name: &str) -> PushRows {
    match name {
        "pg_class" => pg_class::pg_class,
        "pg_attribute" => pg_attribute::pg_attribute,
        "pg_attrdef" => pg_attribute::pg_attrdef,
        "pg_namespace" => pg_namespace::pg_namespace,
        "pg_index" => constraints::pg_index,
        "pg_constraint" => constraints::pg_constraint,
        "pg_sequence" => constraints::pg_sequence,
        "pg_sequences" => constraints::pg_sequences,
        "pg_description" => pg_description::pg_description,
        "pg_depend" => depend::pg_depend,
        "pg_rewrite" => depend::pg_rewrite,
        "pg_views" => views::pg_views,
        "pg_matviews" => views::pg_matviews,
        "pg_tables" => views::pg_tables,
        "pg_indexes" => views::pg_indexes,
        "pg_database" => database::pg_database,
        "pg_roles" => database::pg_roles,
        "pg_authid" => database::pg_authid,
        "pg_user" => database::pg_user,
        "pg_shadow" => database::pg_shadow,
        "pg_tablespace" => database::pg_tablespace,
        "pg_settings" => pg_settings::pg_settings,
        "pg_stat_activity" => pg_stat::pg_stat_activity,
        "pg_stat_user_tables" => pg_stat::pg_stat_user_tables,
        "pg_stat_all_tables" => pg_stat::pg_stat_user_tables,
        "pg_stat_database" => pg_stat::pg_stat_database,
        "pg_prepared_statements" => pg_stat::pg_prepared_statements,
        other => statics::rows_of(other),
    }
}

/// The rows of a table that has none.
fn no_rows(_: &SystemContext, _: &mut Rows<'_>) {}
