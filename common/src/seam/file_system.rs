//! Files, behind a trait: the real ones, ones in memory, and ones that fail on command.

mod failing;
mod memory;
mod os;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use failing::FailingFileSystem;
pub use memory::MemoryFileSystem;
pub use os::OsFileSystem;

/// An open file that is appended to or read at a position.
pub trait File: Send {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything appended durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// How much a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A tree of files. Names are made durable by `sync_dir` of their folder.
pub trait FileSystem: Send + Sync {
    /// Opens for reading and appending, creating the file when missing.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Creates a folder and its parents, durably: it is of no use to sync what is in a folder whose name may be lost.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The files (not folders) in a folder with their lengths in bytes, sorted by path.
    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>>;
    /// Atomically renames, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room on the disk that a path is on.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Whether this path is a folder.
    fn is_dir(&self, path: &Path) -> bool;
    /// Whether there is a file or folder at this path.
    fn exists(&self, path: &Path) -> bool;
}
