//! `StateBackend`: an ordered, atomic, durable map, which is where state lives across restarts.
//!
//! Four keyspaces share one backend, so one write batch can make a job's state, its view's rows, the change
//! log kept for its readers and its checkpoint record durable together. One contract suite (`contract.rs`)
//! runs on every implementation.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use weir_common::Result;
use weir_common::key::after_prefix;

pub use crate::batch::{Write, WriteBatch};

/// A part of the backend with keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keyspace {
    /// Checkpoint records and other small facts.
    Meta,
    /// Operators' state: `job | operator | state table | key group | key` → row.
    State,
    /// Rows of relations: `relation | storage key` → row.
    Relation,
    /// Change logs kept for readers that lag: `relation | epoch | sequence` → batch.
    Changelog,
}

impl Keyspace {
    /// All of them, in order of their numbers.
    pub const ALL: [Keyspace; 4] = [Keyspace::Meta, Keyspace::State, Keyspace::Relation, Keyspace::Changelog];
}

/// An ordered map with atomic batches and snapshots.
///
/// Errors: 58030/53100 from the operating system, XX001 naming the file when what is read back is damaged.
pub trait StateBackend: Send + Sync {
    /// Applies the whole batch, durably (survives power loss) when the call returns.
    fn write(&self, batch: WriteBatch) -> Result<()>;
    /// The value of a key now.
    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>>;
    /// The values of many keys, in their order; faster when the keys are sorted.
    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;
    /// A view of the map that later writes do not change.
    fn snapshot(&self) -> Arc<dyn StateSnapshot>;
    /// Bytes on disk or in memory, roughly.
    fn size_bytes(&self) -> u64;
    /// A number that grows with every write; lower than it was before only when writes are lost.
    fn version(&self) -> u64;
}

/// The map at one moment.
pub trait StateSnapshot: Send + Sync {
    /// The value of a key.
    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>>;
    /// The values of many keys, in their order.
    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;
    /// Up to `limit` entries of a key range, in key order. A scan goes on with `Bound::Excluded(last key)`.
    fn range(
        &self,
        space: Keyspace,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>>;
    /// The entries whose keys begin with each of these, which are in order; for prefixes that few keys have.
    fn prefixes(&self, space: Keyspace, prefixes: &[&[u8]]) -> Result<Vec<Vec<(Bytes, Bytes)>>> {
        let entries = |prefix: &&[u8]| {
            let end = after_prefix(prefix);
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            self.range(space, Bound::Included(prefix), end, usize::MAX)
        };
        prefixes.iter().map(entries).collect()
    }
}
