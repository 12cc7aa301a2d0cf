//! What stateful operators share at checkpoints: entries in storage order, and scans in chunks.

use weir_common::key::EncodedKeys;
use weir_common::{KeyGroup, Result};

use crate::operator::{StateReader, StateTable};

/// Entries that are encoded or decoded at once.
pub(super) const CHUNK_ROWS: usize = 8192;

/// The key group of each key, and the positions of the keys in (key group, key) order. Storage takes entries
/// in that order several times faster than in another.
pub(super) fn storage_order(
    keys: &EncodedKeys,
    group_of: impl Fn(usize) -> KeyGroup,
) -> Vec<(KeyGroup, u32)> {
    let mut order: Vec<(KeyGroup, u32)> = (0..keys.len()).map(|i| (group_of(i), i as u32)).collect();
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| keys.row(a.1 as usize).cmp(keys.row(b.1 as usize)))
    });
    order
}

/// Takes keys and the value of each.
pub(super) type VisitChunk<'a> = dyn FnMut(&[&[u8]], &[&[u8]]) -> Result<()> + 'a;

/// Visits the keys and values of a table, up to [`CHUNK_ROWS`] at once.
pub(super) fn scan_chunks(
    state: &dyn StateReader,
    table: StateTable,
    visit: &mut VisitChunk<'_>,
) -> Result<()> {
    let mut keys = Concatenated::default();
    let mut values = Concatenated::default();
    state.scan(table, &mut |_, key, value| {
        keys.push(key);
        values.push(value);
        if keys.ends.len() < CHUNK_ROWS {
            return Ok(());
        }
        visit(&keys.slices(), &values.slices())?;
        keys.clear();
        values.clear();
        Ok(())
    })?;
    if keys.ends.is_empty() { Ok(()) } else { visit(&keys.slices(), &values.slices()) }
}

/// Byte strings one behind the other.
#[derive(Default)]
struct Concatenated {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Concatenated {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
