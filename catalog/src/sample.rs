//! A small catalog for tests: a table with a key, a view, a materialized view, a source and a sink.

use std::sync::Arc;

use weir_common::{Column, ObjectId, RelationKey, RelationSchema, SqlType};

use crate::change::CatalogChange;
use crate::object::{
    ColumnDef, MaterializedViewDef, Object, ObjectKind, SinkDef, SourceDef, TableDef, ViewDef, WatermarkDef,
};
use crate::snapshot::{CatalogSnapshot, PUBLIC, ROLE};

pub(crate) const T: ObjectId = ObjectId(16384);
pub(crate) const T_PKEY: ObjectId = ObjectId(16385);
pub(crate) const V: ObjectId = ObjectId(16386);
pub(crate) const MV: ObjectId = ObjectId(16387);
pub(crate) const BIDS: ObjectId = ObjectId(16388);
pub(crate) const OUT: ObjectId = ObjectId(16389);

pub(crate) fn column(id: u16, name: &str, ty: SqlType) -> Column {
    Column { id, name: name.to_owned(), ty, nullable: true }
}

/// `CREATE TABLE t (id int PRIMARY KEY, name varchar(20) DEFAULT 'x')`
pub(crate) fn table() -> Object {
    let id = Column { nullable: false, ..column(1, "id", SqlType::Int4) };
    let name = column(2, "name", SqlType::Varchar(Some(20)));
    let def = TableDef {
        columns: vec![
            ColumnDef::plain(id, None),
            ColumnDef::plain(name, Some("'x'::character varying".to_owned())),
        ],
        primary_key: vec![1],
        key_constraint_name: Some("t_pkey".to_owned()),
        key_index_id: Some(T_PKEY),
        checks: Vec::new(),
        watermark: None,
    };
    let mut table = Object::new(T, PUBLIC, "t", ROLE, ObjectKind::Table(def));
    table.comment = Some("people".to_owned());
    table.column_comments.insert(2, "given name".to_owned());
    table
}

pub(crate) fn view() -> Object {
    let def =
        ViewDef { columns: vec![column(1, "id", SqlType::Int4)], query_sql: "SELECT id FROM t".to_owned() };
    Object::new(V, PUBLIC, "v", ROLE, ObjectKind::View(def)).with_depends_on(vec![T])
}

pub(crate) fn materialized_view() -> Object {
    let schema = RelationSchema { columns: vec![column(1, "n", SqlType::Int8)], key: RelationKey::Bag };
    let def = MaterializedViewDef {
        schema,
        query_sql: "SELECT count(*) AS n FROM v;".to_owned(),
        options_sql: String::new(),
        emission_sql: String::new(),
        watermarks: Vec::new(),
        grows: false,
        plan: vec![1, 2],
    };
    Object::new(MV, PUBLIC, "mv", ROLE, ObjectKind::MaterializedView(def)).with_depends_on(vec![V])
}

pub(crate) fn source() -> Object {
    let def = SourceDef {
        columns: vec![column(1, "price", SqlType::Int8), column(2, "ts", SqlType::Timestamptz)],
        options: [("connector", "datagen"), ("rate", "5"), ("api.token", "hush")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        watermark: Some(WatermarkDef::new(2, "ts - INTERVAL '5 seconds'")),
    };
    Object::new(BIDS, PUBLIC, "bids", ROLE, ObjectKind::Source(def))
}

pub(crate) fn sink() -> Object {
    let def = SinkDef { from: MV, columns: Vec::new(), options: Default::default(), plan: Vec::new() };
    Object::new(OUT, PUBLIC, "out", ROLE, ObjectKind::Sink(def)).with_depends_on(vec![MV])
}

pub(crate) fn changes() -> Vec<CatalogChange> {
    [table(), view(), materialized_view(), source(), sink()].map(CatalogChange::Create).to_vec()
}

pub(crate) fn snapshot() -> Arc<CatalogSnapshot> {
    Arc::new(CatalogSnapshot::new().apply(&changes()).expect("the sample is valid"))
}
