//! What RocksDB does not see of its own files: a record of the MANIFEST whose length is damaged.
//!
//! RocksDB writes records into blocks of 32 KiB (its `log_format.h`):
//!
//! ```text
//!   CRC32C u32, masked | payload length u16 | type u8 | payload      little-endian; the CRC is of type and payload
//! ```
//! The length has no checksum of its own. When it is damaged so that the record seems to go beyond the end of the file,
//! RocksDB takes it for a write that was never finished and leaves out the record and all that follow; of the MANIFEST
//! these say which files hold data, and the files are removed. Here such a record is told from a torn one: with its true
//! length, which is some smaller one, its CRC holds.

use std::path::{Path, PathBuf};

use weir_common::{Error, Result};

const BLOCK_BYTES: usize = 32 << 10;
const HEAD_BYTES: usize = 7;
/// What RocksDB adds to a CRC that it stores (`crc32c.h`).
const MASK_DELTA: u32 = 0xa282_ead8;
/// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// XX001 naming the file that CURRENT names, if it is damaged where RocksDB would not say so.
pub(crate) fn check_manifest(folder: &Path) -> Result<()> {
    let Ok(name) = std::fs::read_to_string(folder.join("CURRENT")) else {
        // A new database, or one that RocksDB complains of.
        return Ok(());
    };
    let path: PathBuf = folder.join(name.trim_end());
    let Ok(bytes) = std::fs::read(&path) else {
        let missing = format!(
            "{}: it names {}, which cannot be read",
            folder.join("CURRENT").display(),
            name.trim_end()
        );
        return Err(Error::corrupted(missing));
    };
    match hidden_damage(&bytes) {
        None => Ok(()),
        Some(at) => Err(Error::corrupted(format!("{}: a record at byte {at} is damaged", path.display()))),
    }
}

/// Where a record is that seems to go beyond its block or the file, and does not.
fn hidden_damage(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let block_end = (at + 1).next_multiple_of(BLOCK_BYTES);
        if block_end - at < HEAD_BYTES {
            at = block_end;
            continue;
        }
        let rest = &bytes[at..block_end.min(bytes.len())];
        let head = rest.first_chunk::<HEAD_BYTES>()?;
        let len = usize::from(u16::from_le_bytes([head[4], head[5]]));
        if HEAD_BYTES + len > rest.len() {
            let expected = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            return has_prefix_of_crc(&rest[HEAD_BYTES - 1..], expected).then_some(at);
        }
        at += HEAD_BYTES + len;
    }
    None
}

/// Whether some beginning of the bytes, of one byte at least, has this masked CRC.
fn has_prefix_of_crc(bytes: &[u8], masked: u32) -> bool {
    let mut crc = !0;
    bytes.iter().any(|byte| {
        crc = (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 }
        });
        (!crc).rotate_right(15).wrapping_add(MASK_DELTA) == masked
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Keyspace, StateBackend, WriteBatch};
    use crate::rocks::RocksBackend;

    #[test]
    fn a_damaged_length_is_seen_and_a_torn_end_is_none() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for value in 0..3u8 {
            // What the log of the last time holds goes into a table, of which the MANIFEST says so.
            let backend = RocksBackend::open(dir.path(), 8 << 20)?;
            let mut batch = WriteBatch::default();
            batch.put(Keyspace::Meta, &[value], &[value]);
            backend.write(batch)?;
        }
        let current = std::fs::read_to_string(dir.path().join("CURRENT")).expect("CURRENT");
        let whole = std::fs::read(dir.path().join(current.trim_end())).expect("a MANIFEST");
        assert_eq!(hidden_damage(&whole), None);
        let mut starts = vec![0];
        while let Some(at) = starts.last().copied().filter(|at| *at < whole.len()) {
            starts.push(at + HEAD_BYTES + usize::from(u16::from_le_bytes([whole[at + 4], whole[at + 5]])));
        }
        assert_eq!(starts.pop(), Some(whole.len()));
        assert!(starts.len() > 2, "some records");
        for at in starts {
            let mut damaged = whole.clone();
            damaged[at + 5] ^= 0x41;
            assert_eq!(hidden_damage(&damaged), Some(at));
            assert_eq!(hidden_damage(&whole[..at + 9]), None, "cut off");
        }
        Ok(())
    }
}
