//! Where data lives: state backends, the rows of relations by version, the write-ahead log, the data folder.
//!
//! ```text
//!   DML, views ──► RelationStore (recent versions in memory) ──checkpoint──► StateBackend (RocksDB or memory)
//!   DML commit ──► Log (fsynced, replayed at start, trimmed after a checkpoint)
//! ```
//! Place in the flow: below the runtime, above `weir-common`. Invariants: nothing here knows SQL or starts a
//! thread (RocksDB's compaction apart); what is read back is checksummed, and damage is XX001, never data.

pub mod backend;
mod batch;
#[cfg(test)]
mod contract;
pub mod data_dir;
pub mod ipc;
pub mod log;
pub mod memory;
pub mod relation;
pub mod rocks;
mod rocks_files;
pub mod spill;

pub use backend::{Keyspace, StateBackend, StateSnapshot, Write, WriteBatch};
pub use data_dir::DataDir;
pub use log::{Log, LogRecord};
pub use memory::MemoryBackend;
pub use relation::{
    IndexBuild, IndexColumns, IndexSnapshot, IndexSpec, IndexStore, PlainColumns, RelationPin, RelationScan,
    RelationSnapshot, RelationStore,
};
pub use rocks::RocksBackend;
