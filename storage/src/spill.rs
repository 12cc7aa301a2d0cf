//! `Spill`: batches that wait on disk until somebody who is late comes for them.
//!
//! Nothing here is durable or has to be: what is spilled can be made again from the log and the checkpoints, so a new
//! process removes what an old one left. A file goes when the last of its batches is let go.
//!
//! ```text
//!   file: [batch, as in `ipc`]*      a `SpilledBatch` knows its place and checksum
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_common::seam::{File, FileSystem};
use weir_common::{ChangeBatch, Error, Result};

use crate::ipc;

/// A folder of spill files.
pub struct Spill {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    next: AtomicU64,
}

/// A batch on disk.
#[derive(Clone)]
pub struct SpilledBatch {
    file: Arc<SpillFile>,
    offset: u64,
    length: usize,
    checksum: u32,
}

struct SpillFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    file: Mutex<Box<dyn File>>,
}

impl Spill {
    /// Uses a folder, whose files it removes. Errors: 58030/53100 from the operating system.
    pub fn open(fs: Arc<dyn FileSystem>, folder: PathBuf) -> Result<Spill> {
        let failed = |action: &str, path: &Path, error: std::io::Error| {
            Error::io(format_args!("{action} \"{}\"", path.display()), &error)
        };
        fs.create_dir_all(&folder).map_err(|e| failed("create", &folder, e))?;
        for (path, _) in fs.list(&folder).map_err(|e| failed("list", &folder, e))? {
            fs.remove(&path).map_err(|e| failed("remove", &path, e))?;
        }
        Ok(Spill { fs, folder, next: AtomicU64::new(0) })
    }

    /// Writes batches into a file of their own.
    pub fn write(&self, batches: &[ChangeBatch]) -> Result<Vec<SpilledBatch>> {
        let path = self.folder.join(format!("{}.spill", self.next.fetch_add(1, Ordering::Relaxed)));
        let failed = |error| Error::io(format_args!("write \"{}\"", path.display()), &error);
        let file = self.fs.open_append(&path).map_err(failed)?;
        let file = Arc::new(SpillFile { fs: self.fs.clone(), path: path.clone(), file: Mutex::new(file) });
        let (mut offset, mut spilled) = (0, Vec::with_capacity(batches.len()));
        for batch in batches {
            let bytes = ipc::encode_batch(batch)?;
            file.file.lock().append(&bytes).map_err(failed)?;
            let (length, checksum) = (bytes.len(), crc32fast::hash(&bytes));
            spilled.push(SpilledBatch { file: file.clone(), offset, length, checksum });
            offset += length as u64;
        }
        Ok(spilled)
    }
}

impl SpilledBatch {
    /// The batch. Errors: 58030 from the operating system, XX001 when it is not what was written.
    pub fn read(&self) -> Result<ChangeBatch> {
        let path = &self.file.path;
        let mut bytes = vec![0; self.length];
        let mut filled = 0;
        let mut file = self.file.file.lock();
        while filled < bytes.len() {
            let read = file.read_at(self.offset + filled as u64, &mut bytes[filled..]);
            match read.map_err(|error| Error::io(format_args!("read \"{}\"", path.display()), &error))? {
                0 => break,
                more => filled += more,
            }
        }
        drop(file);
        if filled < bytes.len() || crc32fast::hash(&bytes) != self.checksum {
            return Err(Error::corrupted(format!(
                "\"{}\" is damaged at byte {}",
                path.display(),
                self.offset
            )));
        }
        ipc::decode_batch(&bytes)
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Err(error) = self.fs.remove(&self.path) {
            tracing::info!("could not remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use weir_common::SqlState;
    use weir_common::seam::MemoryFileSystem;

    use super::*;

    fn rows(values: &[i64]) -> ChangeBatch {
        let array = Arc::new(Int64Array::from(values.to_vec())) as _;
        ChangeBatch::inserts(RecordBatch::try_from_iter([("v", array)]).unwrap())
    }

    fn spill(fs: &Arc<MemoryFileSystem>) -> Spill {
        Spill::open(fs.clone(), PathBuf::from("spill")).unwrap()
    }

    #[test]
    fn batches_come_back_and_their_file_goes_with_the_last() {
        let fs = Arc::new(MemoryFileSystem::default());
        let mut spilled = spill(&fs).write(&[rows(&[1, 2]), rows(&[3])]).unwrap();
        let last = spilled.pop().unwrap();
        assert_eq!(spilled[0].read().unwrap().rows, rows(&[1, 2]).rows);
        drop(spilled);
        assert_eq!(last.read().unwrap().rows, rows(&[3]).rows);
        drop(last);
        assert!(fs.list(Path::new("spill")).unwrap().is_empty());
    }

    #[test]
    fn a_new_process_removes_what_is_left_and_damage_is_seen() {
        let fs = Arc::new(MemoryFileSystem::default());
        let spilled = spill(&fs).write(&[rows(&[1])]).unwrap();
        let (path, length) = fs.list(Path::new("spill")).unwrap().pop().unwrap();
        fs.open_append(&path).unwrap().truncate(length - 1).unwrap();
        assert_eq!(spilled[0].read().unwrap_err().state(), SqlState::DATA_CORRUPTED);
        std::mem::forget(spilled);
        spill(&fs);
        assert!(fs.list(Path::new("spill")).unwrap().is_empty());
    }
}
