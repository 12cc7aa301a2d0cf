//! Randomness in SQL: `gen_random_uuid()` and the bits under `random()`.
//!
//! Not a seam: PostgreSQL defines these functions as unpredictable, and the planner refuses volatile functions
//! where determinism matters.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::FixedSizeBinaryBuilder;
use weir_common::{Error, SqlType};

use super::registry::Table;

pub(crate) fn register(t: &mut Table) {
    t.volatile("gen_random_uuid", &[], SqlType::Uuid, |call| {
        let mut builder = FixedSizeBinaryBuilder::with_capacity(call.rows, 16);
        for _ in 0..call.rows {
            builder.append_value(version_4()).map_err(Error::internal)?;
        }
        Ok(Arc::new(builder.finish()))
    });
}

fn version_4() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random_u64().to_le_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

thread_local! {
    static KEY: RandomState = RandomState::new();
    static COUNTER: Cell<u64> = const { Cell::new(0) };
}

/// The next random bits: a keyed hash (SipHash) of a counter, with a key of the thread that the standard library
/// drew from the operating system.
pub(crate) fn random_u64() -> u64 {
    let count = COUNTER.with(|counter| counter.replace(counter.get().wrapping_add(1)));
    KEY.with(|key| key.hash_one(count))
}
