//! Files that fail on command: a test runs a piece of work with N = 1, 2, 3 … until no failure is met.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{DiskSpace, File, FileSystem};

/// A file system whose Nth operation fails, counting every operation on it and on its files from 1. Asking
/// whether something exists, or how long a file is, does not count. Clones share the count.
#[derive(Clone)]
pub struct FailingFileSystem {
    inner: Arc<dyn FileSystem>,
    count: Arc<Count>,
}

struct Count {
    seen: AtomicU64,
    failing: u64,
    kind: io::ErrorKind,
}

impl Count {
    fn step(&self) -> io::Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.failing {
            return Err(io::Error::new(self.kind, "injected fault"));
        }
        Ok(())
    }
}

impl FailingFileSystem {
    /// `inner`, whose operation number `nth` (from 1) fails with `kind`; 0 never fails.
    pub fn new(inner: Arc<dyn FileSystem>, nth: u64, kind: io::ErrorKind) -> FailingFileSystem {
        FailingFileSystem { inner, count: Arc::new(Count { seen: AtomicU64::new(0), failing: nth, kind }) }
    }

    /// How many operations there were so far.
    pub fn operations(&self) -> u64 {
        self.count.seen.load(Ordering::SeqCst)
    }

    /// Whether the failure has happened.
    pub fn has_failed(&self) -> bool {
        self.count.failing > 0 && self.operations() >= self.count.failing
    }
}

struct FailingFile {
    inner: Box<dyn File>,
    count: Arc<Count>,
}

impl File for FailingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.count.step() {
            // As a full disk does: part of the write arrives.
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.count.step()?;
        self.inner.sync()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.count.step()?;
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.count.step()?;
        self.inner.truncate(len)
    }
}

impl FileSystem for FailingFileSystem {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count.step()?;
        Ok(Box::new(FailingFile { inner: self.inner.open_append(path)?, count: self.count.clone() }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count.step()?;
        Ok(Box::new(FailingFile { inner: self.inner.open_read(path)?, count: self.count.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.count.step()?;
        self.inner.read(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.count.step()?;
        self.inner.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.count.step()?;
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count.step()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count.step()?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.count.step()?;
        self.inner.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.space(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.inner.is_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }
}
