//! One file of the log: a header and framed records.
//!
//! ```text
//!   header  "WEIRLOG\0" | version u32 | CRC32 of both u32
//!   frame   "WREC" | payload length u32 | synced u64 | CRC32 u32 | payload
//! ```
//! All numbers little-endian. A frame's CRC covers its length, `synced` and payload. `synced` is how much of
//! the file was durable when the frame was written: it tells a torn tail (nothing after the damage says that
//! the damaged bytes had been durable) from damage to acknowledged records (something does).

use std::path::Path;

use weir_common::{Error, Result, SqlState};

const MAGIC: [u8; 8] = *b"WEIRLOG\0";
const VERSION: u32 = 2;
pub(super) const HEADER_BYTES: usize = 16;
const FRAME_MAGIC: [u8; 4] = *b"WREC";
const FRAME_BYTES: usize = 20;

/// The first bytes of a segment.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
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
    let crc = frame_crc(frame);
    frame[16..20].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn frame_crc(frame: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[4..16]);
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
            if durable_after(&bytes[at..]) > at as u64 {
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
    if bytes.len() >= HEADER_BYTES && bytes[..HEADER_BYTES] == header() {
        return Ok(true);
    }
    if durable_after(bytes) == 0 && bytes.len() <= HEADER_BYTES {
        return Ok(false);
    }
    if bytes.len() >= HEADER_BYTES && bytes[..8] == MAGIC {
        let crc = crc32fast::hash(&bytes[..12]);
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if bytes[12..16] == crc.to_le_bytes() {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("{} has log format {version}, this server reads format {VERSION}", path.display()),
            )
            .with_hint("Start the version of Weir that wrote it."));
        }
    }
    Err(Error::corrupted(format!("{}: the header of the log file is damaged", path.display())))
}

/// The whole, undamaged frame that these bytes begin with.
fn frame_at(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.first_chunk::<FRAME_BYTES>()?;
    if head[..4] != FRAME_MAGIC {
        return None;
    }
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let frame = bytes.get(..FRAME_BYTES.checked_add(len)?)?;
    (head[16..20] == frame_crc(frame).to_le_bytes()).then_some(frame)
}

/// How much of the file had been durable, by the word of the frames that can still be found here; 0 if none.
fn durable_after(bytes: &[u8]) -> u64 {
    let mut durable = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == FRAME_MAGIC) {
        at += found;
        match frame_at(&bytes[at..]) {
            Some(frame) => {
                let synced = frame[8..16].first_chunk::<8>().map_or(0, |synced| u64::from_le_bytes(*synced));
                durable = durable.max(synced);
                at += frame.len();
            }
            None => at += 1,
        }
    }
    durable
}
