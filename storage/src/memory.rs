//! `MemoryBackend`: the state backend without a disk, for tests and for jobs that keep nothing.
//!
//! Snapshots share the maps with the backend; the first write to a keyspace after a snapshot copies its map
//! (of references). "Durable" here means: as long as the backend lives.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use weir_common::Result;

use crate::backend::{Keyspace, StateBackend, StateSnapshot, Write, WriteBatch};

type Map = BTreeMap<Bytes, Bytes>;

/// An ordered map in memory.
#[derive(Default)]
pub struct MemoryBackend {
    maps: RwLock<Maps>,
}

#[derive(Clone, Default)]
struct Maps {
    meta: Arc<Map>,
    state: Arc<Map>,
    relation: Arc<Map>,
    changelog: Arc<Map>,
    /// How many batches were written.
    version: u64,
}

impl Maps {
    fn of(&self, space: Keyspace) -> &Map {
        match space {
            Keyspace::Meta => &self.meta,
            Keyspace::State => &self.state,
            Keyspace::Relation => &self.relation,
            Keyspace::Changelog => &self.changelog,
        }
    }

    fn of_mut(&mut self, space: Keyspace) -> &mut Map {
        Arc::make_mut(match space {
            Keyspace::Meta => &mut self.meta,
            Keyspace::State => &mut self.state,
            Keyspace::Relation => &mut self.relation,
            Keyspace::Changelog => &mut self.changelog,
        })
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
        let map = self.of(space);
        keys.iter().map(|key| map.get(*key).cloned()).collect()
    }
}

impl StateBackend for MemoryBackend {
    fn write(&self, batch: WriteBatch) -> Result<()> {
        let mut maps = self.maps.write();
        maps.version += 1;
        batch.drain(|write| match write {
            Write::Put(space, key, value) => {
                maps.of_mut(space).insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            }
            Write::Delete(space, key) => {
                maps.of_mut(space).remove(key);
            }
            Write::DeleteRange(space, start, end) => {
                maps.of_mut(space).retain(|key, _| key < start || key >= end);
            }
        });
        Ok(())
    }

    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.maps.read().of(space).get(key).cloned())
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        Ok(self.maps.read().points(space, keys))
    }

    fn snapshot(&self) -> Arc<dyn StateSnapshot> {
        Arc::new(MemorySnapshot(self.maps.read().clone()))
    }

    fn version(&self) -> u64 {
        self.maps.read().version
    }

    fn size_bytes(&self) -> u64 {
        let maps = self.maps.read();
        let all = [&maps.meta, &maps.state, &maps.relation, &maps.changelog];
        all.iter().flat_map(|map| map.iter()).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

struct MemorySnapshot(Maps);

impl StateSnapshot for MemorySnapshot {
    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.of(space).get(key).cloned())
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        Ok(self.0.points(space, keys))
    }

    fn range(
        &self,
        space: Keyspace,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        if is_empty_range(start, end) {
            return Ok(Vec::new());
        }
        let entries = self.0.of(space).range::<[u8], _>((start, end));
        Ok(entries.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Whether no key can lie between the bounds; `BTreeMap::range` panics on such.
fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
    }
}
