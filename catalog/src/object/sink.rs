//! A sink: `CREATE SINK … FROM relation WITH (connector = …)`. A job with the sink's number writes the
//! relation's changes outside.

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
