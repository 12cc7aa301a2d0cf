//! Finding line ends in a file without reading all of it.

use std::path::Path;

use weir_common::seam::FileSystem;
use weir_common::{Error, Result};

/// Bytes looked at in one step.
const CHUNK: u64 = 64 * 1024;

/// The offset after the last newline in `from..to`; `from` when there is none.
pub fn last_line_end(fs: &dyn FileSystem, path: &Path, from: u64, to: u64) -> Result<u64> {
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(CHUNK).max(from);
        let bytes = read(fs, path, start, end)?;
        if let Some(i) = bytes.iter().rposition(|b| *b == b'\n') {
            return Ok(start + i as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

/// The offset after the first newline in `from..to`.
pub fn first_line_end(fs: &dyn FileSystem, path: &Path, from: u64, to: u64) -> Result<Option<u64>> {
    let mut start = from;
    while start < to {
        let bytes = read(fs, path, start, to.min(start + CHUNK))?;
        if let Some(i) = bytes.iter().position(|b| *b == b'\n') {
            return Ok(Some(start + i as u64 + 1));
        }
        start += CHUNK;
    }
    Ok(None)
}

/// How many newlines there are before `offset`: for the line number of a message.
pub fn lines_before(fs: &dyn FileSystem, path: &Path, offset: u64) -> Result<u64> {
    let (mut lines, mut start) = (0, 0);
    while start < offset {
        let bytes = read(fs, path, start, offset.min(start + CHUNK))?;
        lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
        start += CHUNK;
    }
    Ok(lines)
}

/// The bytes `from..to`; fewer when the file has become shorter.
pub fn read(fs: &dyn FileSystem, path: &Path, from: u64, to: u64) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::io(format!("read \"{}\"", path.display()), &e);
    let mut file = fs.open_read(path).map_err(failed)?;
    let mut bytes = vec![0; (to - from) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(from + filled as u64, &mut bytes[filled..]).map_err(failed)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
