//! One file of the log: a header and framed records.
//!
//! ```text
//!   header  "WEIRLOG\0" | version u32 | CRC32 of both u32 | state version u64 | CRC32 of all before u32
//!   frame   "WREC" | payload length u32 | synced u64 | CRC32 of these u32 | CRC32 of these and payload u32 | payload
//! ```
//! All numbers little-endian. The state version is that of the state backend when records before this file were last
//! let go of: an older backend has lost them.
//!
//! A crash can cut short the last write, of which nobody was told. What it leaves is *torn*: the file ends early, or
//! sectors that did not reach the disk are zeros. Any other damage is to acknowledged records, and so is a torn look of
//! bytes that a later frame says had been durable: `synced` is how much of the file was when the frame was written.

use std::path::Path;

use weir_common::torn::is_torn;
use weir_common::{Error, Result, SqlState};

const MAGIC: [u8; 8] = *b"WEIRLOG\0";
const VERSION: u32 = 3;
pub(super) const HEADER_BYTES: usize = 28;
const FRAME_MAGIC: [u8; 4] = *b"WREC";
/// What of a frame comes before its payload, and what of that before the checksums.
const FRAME_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 16;

/// The first bytes of a segment.
pub(super) fn header(state_version: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header[16..24].copy_from_slice(&state_version.to_le_bytes());
    let crc = crc32fast::hash(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The state version in the header of a segment that [`read`] has found sound.
pub(super) fn state_version(bytes: &[u8]) -> u64 {
    u64_at(bytes, 16).unwrap_or(0)
}

/// Appends a frame whose payload `write` appends.
pub(super) fn push_frame(
    out: &mut Vec<u8>,
    synced: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    let written = write(out).and_then(|()| {
        u32::try_from(out.len() - start - FRAME_BYTES)
            .map_err(|_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a commit exceeds 4 GiB"))
    });
    let len = match written {
        Ok(len) => len,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    let frame = &mut out[start..];
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&synced.to_le_bytes());
    let head_crc = crc32fast::hash(&frame[..FRAME_HEAD_BYTES]);
    frame[16..20].copy_from_slice(&head_crc.to_le_bytes());
    let crc = frame_crc(frame);
    frame[20..24].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn frame_crc(frame: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[..FRAME_HEAD_BYTES]);
    crc.update(&frame[FRAME_BYTES..]);
    crc.finalize()
}

/// How a segment's bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole frame.
    Clean,
    /// A write that was never acknowledged begins here.
    Torn(usize),
}

/// Visits the payloads of a segment in order. XX001 naming the file when acknowledged bytes are damaged.
pub(super) fn read(path: &Path, bytes: &[u8], visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<End> {
    if !check_header(path, bytes)? {
        return Ok(End::Torn(0));
    }
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let Some(frame) = frame_at(&bytes[at..]) else {
            let end = frame_len(&bytes[at..]).map(|len| at.saturating_add(len));
            if durable_after(&bytes[at..]) > at as u64 || !is_torn(bytes, at, FRAME_BYTES, end) {
                return Err(Error::corrupted(format!(
                    "{}: a record at byte {at} is damaged",
                    path.display()
                )));
            }
            return Ok(End::Torn(at));
        };
        visit(&frame[FRAME_BYTES..])?;
        at += frame.len();
    }
    Ok(End::Clean)
}

/// Whether the header is whole: `false` when the file's creation was cut short.
fn check_header(path: &Path, bytes: &[u8]) -> Result<bool> {
    if bytes.len() >= HEADER_BYTES && bytes[..HEADER_BYTES] == header(state_version(bytes)) {
        return Ok(true);
    }
    let is_unwritten = bytes.len() < HEADER_BYTES || bytes.iter().all(|byte| *byte == 0);
    if is_unwritten && bytes.len() <= HEADER_BYTES {
        return Ok(false);
    }
    if bytes.len() >= HEADER_BYTES && bytes[..8] == MAGIC {
        let crc = crc32fast::hash(&bytes[..12]);
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if bytes[12..16] == crc.to_le_bytes() && version != VERSION {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("{} has log format {version}, this server reads format {VERSION}", path.display()),
            )
            .with_hint("Start the version of Weir that wrote it."));
        }
    }
    Err(Error::corrupted(format!("{}: the header of the log file is damaged", path.display())))
}

/// The length of the frame that these bytes begin with, by its head.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<FRAME_BYTES>()?;
    let is_head =
        head[..4] == FRAME_MAGIC && head[16..20] == crc32fast::hash(&head[..FRAME_HEAD_BYTES]).to_le_bytes();
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    is_head.then(|| FRAME_BYTES.saturating_add(len))
}

/// The whole, undamaged frame that these bytes begin with.
fn frame_at(bytes: &[u8]) -> Option<&[u8]> {
    let frame = bytes.get(..frame_len(bytes)?)?;
    (frame[20..24] == frame_crc(frame).to_le_bytes()).then_some(frame)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// How much of the file had been durable, by the word of the frames that can still be found here; 0 if none.
fn durable_after(bytes: &[u8]) -> u64 {
    let mut durable = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == FRAME_MAGIC) {
        at += found;
        match frame_at(&bytes[at..]) {
            Some(frame) => {
                durable = durable.max(u64_at(frame, 8).unwrap_or(0));
                at += frame.len();
            }
            None => at += 1,
        }
    }
    durable
}
