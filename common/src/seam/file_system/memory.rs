//! Files in memory, for tests: fast, and able to lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DiskSpace, File, FileSystem};

/// A tree of files in memory. Clones share the same files.
#[derive(Clone, Default)]
pub struct MemoryFileSystem {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<Mutex<Contents>>>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    /// How many of them would survive a power loss.
    synced: usize,
}

impl MemoryFileSystem {
    /// A power loss: each file keeps only what was synced.
    pub fn lose_unsynced(&self) {
        for file in self.tree.lock().files.values() {
            let mut file = file.lock();
            let synced = file.synced;
            file.bytes.truncate(synced);
        }
    }

    /// Replaces a file's bytes, as a fault of the disk would.
    pub fn overwrite(&self, path: &Path, bytes: Vec<u8>) {
        let contents = Contents { synced: bytes.len(), bytes };
        self.tree.lock().files.insert(path.to_owned(), Arc::new(Mutex::new(contents)));
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Contents>>> {
        self.tree.lock().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct MemoryFile(Arc<Mutex<Contents>>);

impl File for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.synced = contents.bytes.len();
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let contents = self.0.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.bytes.len());
        let len = buffer.len().min(contents.bytes.len() - start);
        buffer[..len].copy_from_slice(&contents.bytes[start..start + len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().bytes.len() as u64)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.bytes.resize(usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?, 0);
        contents.synced = contents.synced.min(contents.bytes.len());
        Ok(())
    }
}

impl FileSystem for MemoryFileSystem {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut tree = self.tree.lock();
        Ok(Box::new(MemoryFile(tree.files.entry(path.to_owned()).or_default().clone())))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(MemoryFile(self.file(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.file(path)?.lock().bytes.clone())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        tree.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let tree = self.tree.lock();
        let inside = tree.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside.map(|(path, file)| (path.clone(), file.lock().bytes.len() as u64)).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let file = tree.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tree.lock().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free: u64::MAX, total: u64::MAX })
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.tree.lock().dirs.contains(path)
    }

    fn exists(&self, path: &Path) -> bool {
        let tree = self.tree.lock();
        tree.files.contains_key(path) || tree.dirs.contains(path)
    }
}
