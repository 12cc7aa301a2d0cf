//! Connectors: external sources and sinks, and the formats they speak.
//!
//! Place in the flow: at the side of the runtime, which decides what is read when, and when what was written
//! becomes visible. A connector keeps no state of its own outside what the runtime checkpoints.

mod blackhole;
mod datagen;
mod file;
mod generator;
mod nexmark;
mod options;
pub mod sink;
pub mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_common::seam::FileSystem;
use weir_common::{Column, Error, Result, SqlState};

use options::{Options, nearest};
pub use sink::{Sink, SinkWriter};
pub use source::{
    Discovery, MalformedRecord, ReadProgress, Reading, Source, SourceOffsets, Split, SplitRange, SplitReader,
};

const SOURCES: [&str; 3] = ["nexmark", "datagen", "file"];
const SINKS: [&str; 2] = ["blackhole", "file"];

/// The source that a WITH clause describes. Errors: 22023 for options, 58P01 for a missing file or folder.
pub fn create_source(options: &BTreeMap<String, String>, columns: &[Column]) -> Result<Arc<dyn Source>> {
    match connector(options, &SOURCES)? {
        "nexmark" => nexmark::create(options, columns),
        "datagen" => datagen::create(options, columns),
        _ => file::create(options, columns),
    }
}

/// The columns of a source that the user gave none for, where the connector knows them.
pub fn source_columns(options: &BTreeMap<String, String>) -> Result<Option<Vec<Column>>> {
    match connector(options, &SOURCES)? {
        "nexmark" => nexmark::columns(options).map(Some),
        _ => Ok(None),
    }
}

/// The sink that a WITH clause describes, for rows of these columns.
pub fn create_sink(
    options: &BTreeMap<String, String>,
    columns: &[Column],
    fs: Arc<dyn FileSystem>,
) -> Result<Arc<dyn Sink>> {
    match connector(options, &SINKS)? {
        "blackhole" => {
            Options::checked(options, &[], &[])?;
            Ok(Arc::new(blackhole::Blackhole))
        }
        _ => file::create_sink(options, columns, fs),
    }
}

fn connector(options: &BTreeMap<String, String>, known: &[&'static str]) -> Result<&'static str> {
    let missing = || {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, "option \"connector\" is required")
            .with_hint(format!("Add WITH (connector = '…'): one of {}.", known.join(", ")))
    };
    let name = options.get("connector").ok_or_else(missing)?;
    known.iter().find(|k| **k == name.as_str()).copied().ok_or_else(|| {
        let hint = match nearest(name, known) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => format!("Connectors are: {}.", known.join(", ")),
        };
        Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unknown connector \"{name}\"")).with_hint(hint)
    })
}
