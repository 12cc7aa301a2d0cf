//! How an append that a crash cut short is told from damage, at the end of a file.

/// What a disk writes whole, in bytes: a sector at least.
const SECTOR_BYTES: usize = 512;

/// Whether an append that a crash cut short can have left what is at `start` instead of a sound record. `end` is where
/// the record ends by its head of `head_bytes`, if the head is sound.
///
/// Either the file ends before the record does, or some of its sectors were never written: these are zero.
pub fn is_torn(bytes: &[u8], start: usize, head_bytes: usize, end: Option<usize>) -> bool {
    let end = match end {
        Some(end) if end > bytes.len() => return true,
        Some(end) => end,
        None if bytes.len() - start < head_bytes => return true,
        None => bytes.len(),
    };
    let mut at = start;
    while at < end {
        let next = (at + 1).next_multiple_of(SECTOR_BYTES).min(end);
        if bytes[at..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_torn_when_bytes_are_missing_or_a_sector_is_unwritten() {
        let bytes = [1; 3 * SECTOR_BYTES];
        assert!(is_torn(&bytes, 100, 8, Some(bytes.len() + 1)), "cut off");
        assert!(is_torn(&bytes, bytes.len() - 7, 8, None), "cut off in its head");
        assert!(!is_torn(&bytes, 100, 8, Some(bytes.len())) && !is_torn(&bytes, 100, 8, None), "damaged");
        let mut holed = bytes;
        holed[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0);
        assert!(is_torn(&holed, 100, 8, None));
        assert!(!is_torn(&holed, 100, 8, Some(SECTOR_BYTES)), "the hole is behind it");
        holed[2 * SECTOR_BYTES - 1] = 1;
        assert!(!is_torn(&holed, 100, 8, None));
    }
}
