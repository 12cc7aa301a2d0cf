//! A small catalog, and running bound queries on memory tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use weir_catalog::{
    Catalog, CatalogChange, ColumnDef, MaterializedViewDef, Object, ObjectKind, SourceDef, TableDef, ViewDef,
};
use weir_common::seam::OsFileSystem;
use weir_common::text::{self, FormatOptions, Formatter};
use weir_common::types::NumericType;
use weir_common::{Column, ObjectId, RelationKey, RelationSchema, Result, SqlType};

use crate::bound::{BoundQuery, BoundStatement};
use crate::context::{BindContext, SessionInfo};
use crate::logical::{RelationKind, RelationSource, replace_scans};
use crate::{bind, parse};

/// `2024-03-01 10:00:00 UTC`: what `now()` is in tests.
pub(super) const NOW: i64 = 1_709_287_200_000_000;

fn columns(list: &[(&str, SqlType)]) -> Vec<Column> {
    let column = |(i, (name, ty)): (usize, &(&str, SqlType))| Column {
        id: i as u16 + 1,
        name: (*name).to_owned(),
        ty: ty.clone(),
        nullable: i > 0,
    };
    list.iter().enumerate().map(column).collect()
}

fn orders() -> Vec<Column> {
    columns(&[
        ("id", SqlType::Int8),
        ("customer", SqlType::Int4),
        ("amount", SqlType::Numeric(NumericType::fixed(10, 2))),
        ("note", SqlType::Varchar(Some(10))),
        ("ts", SqlType::Timestamptz),
    ])
}

fn customers() -> Vec<Column> {
    columns(&[
        ("id", SqlType::Int4),
        ("name", SqlType::Text),
        ("tags", SqlType::Array(Box::new(SqlType::Text))),
    ])
}

const ORDERS: [&[&str]; 4] = [
    &["1", "1", "10.50", "a", "2024-01-01 00:00:00+00"],
    &["2", "1", "20.00", "b", "2024-01-02 00:00:00+00"],
    &["3", "2", "5.25", "∅", "2024-01-03 00:00:00+00"],
    &["4", "∅", "1.00", "d", "∅"],
];
const CUSTOMERS: [&[&str]; 3] = [&["1", "ann", "{x,y}"], &["2", "bob", "{}"], &["3", "cid", "∅"]];

fn table(columns: Vec<Column>, default: Option<(&str, &str)>) -> ObjectKind {
    let column = |column: Column| {
        let default = default.filter(|(name, _)| *name == column.name).map(|(_, sql)| sql.to_owned());
        ColumnDef::plain(column, default)
    };
    ObjectKind::Table(TableDef {
        columns: columns.into_iter().map(column).collect(),
        primary_key: vec![1],
        key_constraint_name: None,
        key_index_id: None,
        checks: Vec::new(),
        watermark: None,
    })
}

/// Tables `orders` and `customers`, source `bids`, view `big` and materialized view `totals`.
pub(super) fn context() -> BindContext {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(Arc::new(OsFileSystem), dir.path()).unwrap();
    let public = catalog.snapshot().schema_id("public").unwrap();
    let big = ViewDef {
        columns: columns(&[("id", SqlType::Int8), ("doubled", SqlType::Numeric(NumericType::fixed(38, 2)))]),
        query_sql: "SELECT id, amount * 2 AS doubled FROM orders WHERE amount > 9".into(),
    };
    let totals = MaterializedViewDef {
        schema: RelationSchema { columns: columns(&[("n", SqlType::Int8)]), key: RelationKey::Bag },
        query_sql: "SELECT count(*) AS n FROM orders".into(),
        options_sql: String::new(),
        emission_sql: String::new(),
        watermarks: Vec::new(),
        grows: false,
        plan: Vec::new(),
    };
    let bids = SourceDef {
        columns: columns(&[("auction", SqlType::Int8), ("price", SqlType::Int8)]),
        options: Default::default(),
        watermark: None,
    };
    let kinds = [
        ("orders", table(orders(), Some(("note", "'new'")))),
        ("customers", table(customers(), None)),
        ("bids", ObjectKind::Source(bids)),
        ("big", ObjectKind::View(big)),
        ("totals", ObjectKind::MaterializedView(totals)),
    ];
    let changes = kinds.into_iter().enumerate().map(|(i, (name, kind))| {
        CatalogChange::Create(Object::new(ObjectId(16384 + i as u32), public, name, "weir", kind))
    });
    catalog.apply(changes.collect()).unwrap();
    let session = SessionInfo { now_micros: NOW, ..SessionInfo::default() };
    BindContext::new(catalog.snapshot(), session)
}

pub(super) fn bind_one(sql: &str, cx: &BindContext) -> Result<BoundStatement> {
    let statements = parse(sql)?;
    assert_eq!(statements.len(), 1, "{sql}");
    bind(&statements[0], cx)
}

pub(super) fn bind_query(sql: &str) -> BoundQuery {
    match bind_one(sql, &context()).unwrap_or_else(|e| panic!("{sql}: {e:?} at {:?}", e.position())) {
        BoundStatement::Query(query) => query,
        other => panic!("{sql} is {other:?}"),
    }
}

/// Rows as text: columns by `|`, NULL as `∅`.
pub(super) fn rows(sql: &str) -> Vec<String> {
    run(&bind_query(sql)).unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

pub(super) fn run(query: &BoundQuery) -> Result<Vec<String>> {
    let plan = replace_scans(query.plan.clone(), |relation| Ok(Arc::new(memory_table(relation)?)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async {
        let frame = SessionContext::new().execute_logical_plan(plan).await?;
        frame.collect().await
    });
    let batches = batches.map_err(weir_exec::error::from_datafusion)?;
    let mut rows = Vec::new();
    for batch in &batches {
        for (column, shown) in batch.columns().iter().zip(&query.columns) {
            assert_eq!(*column.data_type(), shown.ty.arrow(), "column {}", shown.name);
        }
        rows.extend((0..batch.num_rows()).map(|row| format_row(batch, row, query)));
    }
    Ok(rows)
}

fn format_row(batch: &RecordBatch, row: usize, query: &BoundQuery) -> String {
    let options = FormatOptions::default();
    let cells = batch.columns().iter().zip(&query.columns).map(|(column, shown)| {
        Formatter::new(&shown.ty, &options).format(column, row).unwrap_or_else(|| "∅".into())
    });
    cells.collect::<Vec<_>>().join("|")
}

fn memory_table(relation: &RelationSource) -> Result<MemTable> {
    let rows: &[&[&str]] = match (relation.kind, relation.name.as_str()) {
        (RelationKind::Table, "orders") => &ORDERS,
        (RelationKind::Table, "customers") => &CUSTOMERS,
        _ => &[],
    };
    let arrays: Result<Vec<_>> = relation
        .columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let values = rows.iter().map(|row| (row[i] != "∅").then_some(row[i])).collect();
            text::parse_array(&column.ty, &values)
        })
        .collect();
    let batch = RecordBatch::try_new(relation.schema.clone(), arrays?).unwrap();
    Ok(MemTable::try_new(relation.schema.clone(), vec![vec![batch]]).unwrap())
}
