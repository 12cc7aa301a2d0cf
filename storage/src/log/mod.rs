//! `Log`: the write-ahead log of table changes and source bindings, in numbered segment files.
//!
//! A commit appends a record and syncs before anyone is told (group commit: several records, one sync). At
//! start the runtime replays what the last checkpoint does not have; after a checkpoint it trims.
//!
//! Invariants: segments have consecutive numbers; records of a segment were appended in order; only the end
//! of the last segment can be torn, and it is cut off when the log opens. A full disk is survived: what did not fit is
//! taken back. After any other failure nobody knows what is on disk, so the log takes nothing any more until it is
//! opened again.

mod record;
mod segment;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_common::seam::{File, FileSystem};
use weir_common::{Epoch, Error, Result, SqlState};

pub use self::record::{DeliveredUpto, LogRecord};
use self::segment::{End, HEADER_BYTES};

/// A segment is followed by a new one when it is this long.
const SEGMENT_BYTES: u64 = 64 << 20;
/// A segment longer than this is closed by a trim, so that a later trim can remove it.
const TRIM_BYTES: u64 = 4 << 20;

/// The write-ahead log.
pub struct Log {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    /// Older segments, none of which is written any more.
    closed: Vec<Segment>,
    current: Segment,
    file: Box<dyn File>,
    /// Bytes of the current segment that are durable.
    synced: u64,
    /// Records appended since the last sync.
    buffer: Vec<u8>,
    buffered_epoch: Epoch,
    /// What [`Log::state_version`] tells.
    state_version: u64,
    /// Why the log takes nothing any more.
    broken: Option<Error>,
}

struct Segment {
    number: u64,
    path: PathBuf,
    /// The greatest epoch of its records; `None` when it has none.
    newest: Option<Epoch>,
    /// See [`Log::state_version`].
    state_version: u64,
}

impl Log {
    /// Opens the log in folder `dir`, creating it; cuts off a torn tail.
    ///
    /// Errors: XX001 naming the file when a record that was acknowledged is damaged or a segment is missing;
    /// 55000 for a newer format; 58030.
    pub fn open(fs: Arc<dyn FileSystem>, dir: PathBuf) -> Result<Log> {
        fs.create_dir_all(&dir).map_err(|e| Error::io(format!("create {}", dir.display()), &e))?;
        let mut closed = segments(&*fs, &dir)?;
        let current = closed.pop();
        for segment in &mut closed {
            if let End::Torn(at) = scan(&*fs, segment)? {
                let path = segment.path.display();
                return Err(Error::corrupted(format!(
                    "{path}: the log ends at byte {at}, and a later file follows"
                )));
            }
        }
        let (current, file, synced) = match current {
            Some(segment) => reopen(&*fs, segment)?,
            None => create(&*fs, &dir, 1, 0)?,
        };
        let buffer = Vec::new();
        let buffered_epoch = Epoch::ZERO;
        let versions = closed.iter().chain([&current]).map(|segment| segment.state_version);
        let state_version = versions.max().unwrap_or(0);
        Ok(Log {
            fs,
            dir,
            closed,
            current,
            file,
            synced,
            buffer,
            buffered_epoch,
            state_version,
            broken: None,
        })
    }

    /// The version that the state backend had when records were last removed. An older one has lost what they said.
    pub fn state_version(&self) -> u64 {
        self.state_version
    }

    /// Whether it takes records: always but after a failure other than a full disk.
    pub fn is_usable(&self) -> bool {
        self.broken.is_none()
    }

    /// Makes a record durable, and all that were appended before. On an error it is gone; while the log is usable, those
    /// before wait for the next sync.
    pub fn commit(&mut self, record: &LogRecord) -> Result<()> {
        let (bytes, epoch) = (self.buffer.len(), self.buffered_epoch);
        self.append(record)?;
        self.sync().inspect_err(|_| {
            self.buffer.truncate(bytes);
            self.buffered_epoch = epoch;
        })
    }

    /// Adds a record to what the next sync writes.
    pub fn append(&mut self, record: &LogRecord) -> Result<()> {
        self.check_usable()?;
        segment::push_frame(&mut self.buffer, self.synced, |out| record.encode(out))?;
        self.buffered_epoch = self.buffered_epoch.max(record.epoch);
        Ok(())
    }

    /// Makes every appended record durable. On an error none of them is: when the disk is full they wait for the next
    /// sync, after any other error the log is closed.
    pub fn sync(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.file.append(&self.buffer) {
            let error = Error::io(format!("write to {}", self.current.path.display()), &e);
            return Err(self.take_back(error));
        }
        fail::fail_point!(weir_common::failpoint::LOG_BEFORE_SYNC, |_| {
            Err(self.close(Error::internal("failpoint before the log's sync")))
        });
        if let Err(e) = self.file.sync() {
            let error = Error::io(format!("sync {}", self.current.path.display()), &e);
            return Err(self.close(error));
        }
        self.synced += self.buffer.len() as u64;
        // A large commit leaves no large buffer behind.
        self.buffer = Vec::new();
        self.current.newest = self.current.newest.max(Some(std::mem::take(&mut self.buffered_epoch)));
        fail::fail_point!(weir_common::failpoint::LOG_AFTER_SYNC, |_| {
            Err(self.close(Error::internal("failpoint after the log's sync")))
        });
        if self.synced >= SEGMENT_BYTES
            && let Err(error) = self.roll()
        {
            // The records are durable: the next ones hear of it, if it matters to them.
            tracing::info!("the log goes on in a long file: {error}");
        }
        Ok(())
    }

    /// Visits the durable records of epochs after `after`, in the order they were appended.
    pub fn replay(&self, after: Epoch, visit: &mut dyn FnMut(LogRecord) -> Result<()>) -> Result<()> {
        for segment in self.closed.iter().chain([&self.current]) {
            if segment.newest.is_none_or(|newest| newest <= after) {
                continue;
            }
            let bytes = read(&*self.fs, &segment.path)?;
            segment::read(&segment.path, &bytes, &mut |payload| {
                if LogRecord::epoch_of(payload)? <= after {
                    return Ok(());
                }
                let record = LogRecord::decode(payload)
                    .map_err(|error| error.with_context(format!("reading {}", segment.path.display())))?;
                visit(record)
            })?;
        }
        Ok(())
    }

    /// Removes segments all of whose records are of epochs up to `upto`, which the state backend holds in this version.
    pub fn trim(&mut self, upto: Epoch, state_version: u64) -> Result<()> {
        self.check_usable()?;
        let is_done = self.current.newest.is_some_and(|newest| newest <= upto);
        let is_removable = |segment: &Segment| segment.newest.is_none_or(|newest| newest <= upto);
        if is_done || self.synced > TRIM_BYTES || self.closed.first().is_some_and(is_removable) {
            self.sync()?;
            self.state_version = self.state_version.max(state_version);
            self.roll()?;
        }
        let mut removed = Ok(false);
        // From the oldest on, so that numbers stay consecutive whenever this is cut short.
        while removed.is_ok() && self.closed.first().is_some_and(is_removable) {
            removed = remove(&*self.fs, &self.closed[0].path).map(|()| true);
            if removed.is_ok() {
                self.closed.remove(0);
            }
        }
        let synced =
            removed.and_then(|removed| if removed { sync_dir(&*self.fs, &self.dir) } else { Ok(()) });
        synced.map_err(|error| self.close(error))
    }

    /// Begins a new segment; everything appended has been synced. On a full disk the one before goes on.
    fn roll(&mut self) -> Result<()> {
        fail::fail_point!(weir_common::failpoint::LOG_BEFORE_ROLL);
        let number = self.current.number + 1;
        let (next, file, synced) = match create(&*self.fs, &self.dir, number, self.state_version) {
            Ok(created) => created,
            Err(error) if error.state() == SqlState::DISK_FULL => {
                // A file that stays would be taken for the end of the log.
                let gone = remove(&*self.fs, &segment_path(&self.dir, number));
                return Err(match gone.and_then(|()| sync_dir(&*self.fs, &self.dir)) {
                    Ok(()) => error,
                    Err(_) => self.close(error),
                });
            }
            Err(error) => return Err(self.close(error)),
        };
        self.closed.push(std::mem::replace(&mut self.current, next));
        self.file = file;
        self.synced = synced;
        fail::fail_point!(weir_common::failpoint::LOG_AFTER_ROLL);
        Ok(())
    }

    /// Undoes a write for which there was no room; after any other error, and when that fails too, the log is closed.
    fn take_back(&mut self, error: Error) -> Error {
        match self.file.truncate(self.synced) {
            Ok(()) if error.state() == SqlState::DISK_FULL => error,
            _ => self.close(error),
        }
    }

    fn close(&mut self, error: Error) -> Error {
        self.broken = Some(error.clone());
        error
    }

    fn check_usable(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(error) => {
                Err(error.clone().with_hint("The log takes no more commits after this; restart the server."))
            }
        }
    }
}

fn read(fs: &dyn FileSystem, path: &Path) -> Result<Vec<u8>> {
    fs.read(path).map_err(|e| Error::io(format!("read {}", path.display()), &e))
}

/// The segments in a folder, by number, without gaps.
fn segments(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<Segment>> {
    let files = fs.list(dir).map_err(|e| Error::io(format!("list {}", dir.display()), &e))?;
    let number = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".log")?.parse::<u64>().ok();
    let mut segments: Vec<Segment> = files
        .into_iter()
        .filter_map(|(path, _)| {
            Some(Segment { number: number(&path)?, path, newest: None, state_version: 0 })
        })
        .collect();
    segments.sort_by_key(|segment| segment.number);
    for pair in segments.windows(2) {
        if pair[0].number + 1 != pair[1].number {
            let missing = segment_path(dir, pair[0].number + 1);
            return Err(Error::corrupted(format!("{}: the log file is missing", missing.display())));
        }
    }
    Ok(segments)
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

/// Checks a segment and finds its newest epoch.
fn scan(fs: &dyn FileSystem, segment: &mut Segment) -> Result<End> {
    let bytes = read(fs, &segment.path)?;
    segment.state_version = segment::state_version(&bytes);
    segment::read(&segment.path, &bytes, &mut |payload| {
        segment.newest = segment.newest.max(Some(LogRecord::epoch_of(payload)?));
        Ok(())
    })
}

type Opened = (Segment, Box<dyn File>, u64);

/// Opens the last segment for appending, without its torn tail.
fn reopen(fs: &dyn FileSystem, mut segment: Segment) -> Result<Opened> {
    let end = scan(fs, &mut segment)?;
    let failed = |e: std::io::Error| Error::io(format!("open {}", segment.path.display()), &e);
    let mut file = fs.open_append(&segment.path).map_err(failed)?;
    if let End::Torn(at) = end {
        fail::fail_point!(weir_common::failpoint::LOG_BEFORE_CUT);
        tracing::info!(file = %segment.path.display(), at, "cut off a write that was never acknowledged");
        file.truncate(at as u64).map_err(failed)?;
        if at < HEADER_BYTES {
            // Those before it are still there, and know the state's version.
            segment.state_version = 0;
            file.append(&segment::header(0)).map_err(failed)?;
        }
    }
    // What is here may never have been synced: a crash can leave whole records in the page cache only.
    file.sync().map_err(failed)?;
    let len = file.len().map_err(failed)?;
    Ok((segment, file, len))
}

fn create(fs: &dyn FileSystem, dir: &Path, number: u64, state_version: u64) -> Result<Opened> {
    let path = segment_path(dir, number);
    let failed = |e: std::io::Error| Error::io(format!("create {}", path.display()), &e);
    let mut file = fs.open_append(&path).map_err(failed)?;
    file.append(&segment::header(state_version)).map_err(failed)?;
    file.sync().map_err(failed)?;
    fs.sync_dir(dir).map_err(failed)?;
    Ok((Segment { number, path, newest: None, state_version }, file, HEADER_BYTES as u64))
}

fn remove(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    fs.remove(path).map_err(|e| Error::io(format!("remove {}", path.display()), &e))?;
    fail::fail_point!(weir_common::failpoint::LOG_AFTER_REMOVE);
    Ok(())
}

fn sync_dir(fs: &dyn FileSystem, dir: &Path) -> Result<()> {
    fs.sync_dir(dir).map_err(|e| Error::io(format!("sync {}", dir.display()), &e))
}
