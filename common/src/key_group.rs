//! Key groups: the fixed unit by which keyed state is owned, routed, checkpointed and rescaled.
//!
//! The group of a key is `xxh3_64(canonical key encoding) % 128`; the canonical encoding is the one of
//! [`crate::key`]. One function serves routing and ownership. With `n` workers, worker
//! `group * n / 128` owns a group, so each worker owns one contiguous range (Flink's assignment).

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::WorkerId;

/// How many key groups there are.
pub const KEY_GROUPS: u16 = 128;

/// One of the [`KEY_GROUPS`] shares of a key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(pub u16);

impl KeyGroup {
    /// The group of a key in its canonical encoding.
    pub fn of(key: &[u8]) -> KeyGroup {
        KeyGroup((xxh3_64(key) % u64::from(KEY_GROUPS)) as u16)
    }

    /// The worker that owns this group among `workers`.
    pub fn owner(self, workers: usize) -> WorkerId {
        WorkerId(usize::from(self.0) * workers / usize::from(KEY_GROUPS))
    }

    /// All groups that `worker` owns among `workers`.
    pub fn owned_by(worker: WorkerId, workers: usize) -> impl Iterator<Item = KeyGroup> {
        (0..KEY_GROUPS).map(KeyGroup).filter(move |g| g.owner(workers) == worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_one_owner_and_ranges_are_contiguous() {
        for workers in 1..9 {
            let owners: Vec<usize> = (0..KEY_GROUPS).map(|g| KeyGroup(g).owner(workers).0).collect();
            assert!(owners.is_sorted());
            assert_eq!(owners[0], 0);
            assert_eq!(owners[127], workers - 1);
            let total: usize = (0..workers).map(|w| KeyGroup::owned_by(WorkerId(w), workers).count()).sum();
            assert_eq!(total, usize::from(KEY_GROUPS));
        }
    }

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // State on disk is placed by this function: a change of these numbers is a change of format.
        assert_eq!(KeyGroup::of(b"").0, 66);
        assert_eq!(KeyGroup::of(b"weir"), KeyGroup::of(b"weir"));
    }
}
