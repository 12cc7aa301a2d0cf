//! The catalog's log: one file of checksummed records, each a batch of changes that holds as a whole.
//!
//! ```text
//!   file    "WEIRCAT\n" | format version u32 | crc32 of the twelve bytes before u32
//!           | base length u64 | crc32 of the base length u32 | record*
//!   record  length u32 | crc32 of the length u32 | crc32 of the payload u32 | payload (postcard)
//! ```
//! Numbers are little-endian. A record is appended with one write and fsynced before anyone is told. A crash can
//! leave a torn record at the end, which was never acknowledged and is cut off: the file ends early, or sectors that did
//! not reach the disk are zeros. Any other damage is corruption (XX001), and all damage is to what a sound record follows
//! and to the first bytes up to the base length, which were durable before the file got its name.

use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_common::seam::{File, FileSystem};
use weir_common::torn::is_torn;
use weir_common::{Error, ObjectId, Result, SqlState};

use crate::change::CatalogChange;
use crate::sequences::SequencePoint;

const MAGIC: &[u8; 8] = b"WEIRCAT\n";
const FORMAT_VERSION: u32 = 6;
const HEADER_LEN: usize = 28;
const RECORD_HEADER_LEN: usize = 12;

/// One atomic batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// Applied all or not at all.
    pub changes: Vec<CatalogChange>,
    /// Ids below this may have been handed out.
    pub reserved_id: u32,
    /// Sequences that have moved: values up to here may have been handed out.
    pub sequences: Vec<(ObjectId, SequencePoint)>,
    /// How the record stands to a transaction that changes rows too.
    pub part: Part,
}

/// Changes of the catalog alone hold as they are logged. Those of a transaction that changes rows too are *prepared*
/// first and hold when the rows are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    #[default]
    Whole,
    /// The changes hold if the transaction's rows are in the log of rows.
    Prepared(CatalogTransaction),
    /// The changes prepared by this transaction hold.
    Committed(CatalogTransaction),
}

/// Names a transaction in the catalog's log and in the log of rows; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CatalogTransaction(pub u32);

impl LogRecord {
    /// Changes alone.
    pub(crate) fn of_changes(changes: Vec<CatalogChange>, reserved_id: u32) -> LogRecord {
        LogRecord { changes, reserved_id, sequences: Vec::new(), part: Part::Whole }
    }
}

/// The log, open for appending.
pub(crate) struct CatalogLog {
    file: Box<dyn File>,
    path: String,
    /// Bytes of whole records.
    len: u64,
    /// Whether an append failed so that the end of the file is unknown.
    is_broken: bool,
}

impl CatalogLog {
    /// The records of the log at `path`; none when there is no file. Cuts a torn tail off.
    pub(crate) fn read(fs: &dyn FileSystem, path: &Path) -> Result<Vec<LogRecord>> {
        if !fs.exists(path) {
            return Ok(Vec::new());
        }
        let name = path.display();
        let bytes = fs.read(path).map_err(|e| Error::io(format!("read file \"{name}\""), &e))?;
        let (records, sound_len) = decode(&bytes).map_err(|e| e.in_file(path))?;
        if sound_len < bytes.len() {
            tracing::info!(file = %name, bytes = bytes.len() - sound_len, "cutting an unfinished record off the catalog log");
            fail::fail_point!(weir_common::failpoint::CATALOG_BEFORE_CUT);
            let cut = |e| Error::io(format!("cut file \"{name}\""), &e);
            let mut file = fs.open_append(path).map_err(cut)?;
            file.truncate(sound_len as u64).map_err(cut)?;
            file.sync().map_err(cut)?;
        }
        Ok(records)
    }

    /// Opens the log at `path` for appending, creating it when missing.
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path) -> Result<CatalogLog> {
        let name = path.display().to_string();
        let failed = |e| Error::io(format!("open file \"{name}\""), &e);
        let mut file = fs.open_append(path).map_err(failed)?;
        if file.is_empty().map_err(failed)? {
            file.append(&header(HEADER_LEN)).map_err(failed)?;
        }
        // What is here may never have been synced: a crash can leave whole records in the page cache only.
        file.sync().map_err(failed)?;
        sync_parent(fs, path)?;
        let len = file.len().map_err(failed)?;
        Ok(CatalogLog { file, path: name, len, is_broken: false })
    }

    /// Atomically replaces the log at `path` by one with this record alone, and opens it.
    pub(crate) fn rewrite(fs: &dyn FileSystem, path: &Path, record: &LogRecord) -> Result<CatalogLog> {
        let new_path = path.with_extension("log.new");
        let failed = |e| Error::io(format!("write file \"{}\"", new_path.display()), &e);
        if fs.exists(&new_path) {
            fs.remove(&new_path).map_err(failed)?;
        }
        let mut file = fs.open_append(&new_path).map_err(failed)?;
        let mut bytes = vec![0; HEADER_LEN];
        encode_record(record, &mut bytes)?;
        let header = header(bytes.len());
        bytes[..HEADER_LEN].copy_from_slice(&header);
        file.append(&bytes).map_err(failed)?;
        file.sync().map_err(failed)?;
        drop(file);
        fail::fail_point!(weir_common::failpoint::CATALOG_BEFORE_RENAME);
        fs.rename(&new_path, path).map_err(failed)?;
        fail::fail_point!(weir_common::failpoint::CATALOG_AFTER_RENAME);
        sync_parent(fs, path)?;
        CatalogLog::open(fs, path)
    }

    /// Appends a record and makes it durable. A record that does not fit on the disk is taken back; after any other
    /// error the end of the file is unknown, and the log is closed.
    pub(crate) fn append(&mut self, record: &LogRecord) -> Result<()> {
        if self.is_broken {
            return Err(Error::new(SqlState::IO_ERROR, "the catalog cannot be changed after a failed write")
                .with_hint("Restart the server; it recovers every change that was acknowledged."));
        }
        let mut bytes = Vec::new();
        encode_record(record, &mut bytes)?;
        self.is_broken = true;
        if let Err(e) = self.file.append(&bytes) {
            let error = Error::io(format!("write to file \"{}\"", self.path), &e);
            let is_taken_back = self.file.truncate(self.len).is_ok();
            self.is_broken = error.state() != SqlState::DISK_FULL || !is_taken_back;
            return Err(error);
        }
        fail::fail_point!(weir_common::failpoint::CATALOG_BEFORE_SYNC);
        self.file.sync().map_err(|e| Error::io(format!("fsync file \"{}\"", self.path), &e))?;
        fail::fail_point!(weir_common::failpoint::CATALOG_AFTER_SYNC);
        (self.len, self.is_broken) = (self.len + bytes.len() as u64, false);
        Ok(())
    }
}

fn sync_parent(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs.sync_dir(dir).map_err(|e| Error::io(format!("fsync folder \"{}\"", dir.display()), &e))
}

/// The first bytes of a file of which so many bytes are durable before it has its name.
fn header(base_len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header[16..24].copy_from_slice(&(base_len as u64).to_le_bytes());
    let crc = crc32fast::hash(&header[16..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn encode_record(record: &LogRecord, bytes: &mut Vec<u8>) -> Result<()> {
    let payload = postcard::to_stdvec(record).map_err(Error::internal)?;
    let too_long = |_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the statement changes too much at once");
    let len = u32::try_from(payload.len()).map_err(too_long)?.to_le_bytes();
    bytes.extend_from_slice(&len);
    bytes.extend_from_slice(&crc32fast::hash(&len).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(())
}

/// What is wrong with a log, before the file's name is known.
#[derive(Debug)]
enum Damage {
    Header,
    NewerFormat(u32),
    OlderFormat(u32),
    Record { offset: usize },
}

impl Damage {
    fn in_file(self, path: &Path) -> Error {
        let name = path.display();
        match self {
            Damage::OlderFormat(version) => Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("file \"{name}\" has format version {version}; this server reads {FORMAT_VERSION}"),
            )
            .with_hint("Use the server version that wrote it."),
            Damage::Header => Error::corrupted(format!("file \"{name}\" does not begin as a catalog log")),
            Damage::NewerFormat(version) => Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "file \"{name}\" has format version {version}; this server reads up to {FORMAT_VERSION}"
                ),
            )
            .with_hint("Use the server version that wrote it, or a newer one."),
            Damage::Record { offset } => {
                Error::corrupted(format!("file \"{name}\" has a damaged record at byte {offset}"))
            }
        }
    }
}

/// The records, and how many bytes of the file are sound.
fn decode(bytes: &[u8]) -> Result<(Vec<LogRecord>, usize), Damage> {
    let is_cut = bytes.len() < HEADER_LEN && header(HEADER_LEN).starts_with(bytes);
    if is_cut || (bytes.len() <= HEADER_LEN && bytes.iter().all(|byte| *byte == 0)) {
        return Ok((Vec::new(), 0));
    }
    let base_len = check_header(bytes)?;
    let mut records = Vec::new();
    let mut offset = HEADER_LEN;
    while offset < bytes.len() {
        let Some((payload, end)) = sound_record(bytes, offset) else {
            let sound_later = (offset + 1..bytes.len()).any(|later| sound_record(bytes, later).is_some());
            if sound_later
                || (offset as u64) < base_len
                || !is_torn(bytes, offset, RECORD_HEADER_LEN, record_end(bytes, offset))
            {
                return Err(Damage::Record { offset });
            }
            break;
        };
        records.push(postcard::from_bytes(payload).map_err(|_| Damage::Record { offset })?);
        offset = end;
    }
    Ok((records, offset))
}

/// The base length, if the header is sound.
fn check_header(bytes: &[u8]) -> Result<u64, Damage> {
    let sound = bytes.starts_with(MAGIC) && u32_at(bytes, 12) == bytes.get(..12).map(crc32fast::hash);
    match u32_at(bytes, 8) {
        Some(FORMAT_VERSION) if sound => {
            let base_len = bytes.get(16..24).and_then(|bytes| bytes.first_chunk::<8>());
            let is_base_sound = u32_at(bytes, 24) == base_len.map(|bytes| crc32fast::hash(bytes));
            base_len.filter(|_| is_base_sound).map(|bytes| u64::from_le_bytes(*bytes)).ok_or(Damage::Header)
        }
        Some(version) if sound && version > FORMAT_VERSION => Err(Damage::NewerFormat(version)),
        Some(version) if sound => Err(Damage::OlderFormat(version)),
        _ => Err(Damage::Header),
    }
}

/// Where the record at `offset` ends, if the checksum of its length holds.
fn record_end(bytes: &[u8], offset: usize) -> Option<usize> {
    let len = u32_at(bytes, offset)?;
    let is_sound = u32_at(bytes, offset + 4)? == crc32fast::hash(&len.to_le_bytes());
    (offset + RECORD_HEADER_LEN).checked_add(usize::try_from(len).ok()?).filter(|_| is_sound)
}

/// The payload of a record at `offset` and where the record ends, if its checksums hold.
fn sound_record(bytes: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let end = record_end(bytes, offset)?;
    let payload = bytes.get(offset + RECORD_HEADER_LEN..end)?;
    (u32_at(bytes, offset + 8)? == crc32fast::hash(payload)).then_some((payload, end))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
