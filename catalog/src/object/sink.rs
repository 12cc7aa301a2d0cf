//! A sink: `CREATE SINK … FROM relation WITH (connector = …)`. A job with the sink's number writes the
//! relation's changes outside, or with `INTO` into a table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_common::{Column, ObjectId};

/// What a sink reads and where it writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkDef {
    /// The relation whose changes it writes.
    pub from: ObjectId,
    /// The columns it writes.
    pub columns: Vec<Column>,
    /// `WITH (…)`, `connector` among them.
    pub options: BTreeMap<String, String>,
    /// The encoded job graph; opaque here.
    pub plan: Vec<u8>,
}

/// The connector of a sink into a table; no user writes it.
const TABLE_CONNECTOR: &str = "table";

/// The table that a sink writes into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTable {
    pub table: ObjectId,
    /// The ids of the table's columns that the sink's columns go into.
    pub columns: Vec<u16>,
}

impl SinkDef {
    /// The table it writes into; `None` when it writes outside.
    pub fn into_table(&self) -> Option<SinkTable> {
        if self.options.get("connector").is_none_or(|connector| connector != TABLE_CONNECTOR) {
            return None;
        }
        let table = self.options.get("table")?.parse().ok().map(ObjectId)?;
        let columns = self.options.get("columns")?.split(',').map(|id| id.parse().ok());
        Some(SinkTable { table, columns: columns.collect::<Option<_>>()? })
    }
}

impl SinkTable {
    /// The options by which a sink's definition says it.
    pub fn options(&self) -> BTreeMap<String, String> {
        let columns: Vec<String> = self.columns.iter().map(u16::to_string).collect();
        BTreeMap::from([
            ("connector".to_owned(), TABLE_CONNECTOR.to_owned()),
            ("table".to_owned(), self.table.0.to_string()),
            ("columns".to_owned(), columns.join(",")),
        ])
    }
}
