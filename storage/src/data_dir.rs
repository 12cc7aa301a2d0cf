//! `DataDir`: the folder of a server: locked by one process, marked with the version of its formats.
//!
//! ```text
//!   LOCK         locked while a server runs
//!   FORMAT       "weir data directory, format 6, checksum " and the CRC32 of what is before the second comma
//!   catalog.log  the catalog
//!   log/         the write-ahead log
//!   state/       the state backend
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use weir_common::seam::{FileSystem, OsFileSystem};
use weir_common::{Error, Result, SqlState};

/// The format of everything in the folder that this build reads and writes.
const FORMAT: u32 = 6;
const FORMAT_PREFIX: &str = "weir data directory, format ";

/// An open, locked data folder. The lock is let go when this is dropped, or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens or creates the folder.
    ///
    /// Errors: 55006 naming the lock file when another server has it; 55000 when it is not a data folder or
    /// one of a newer version; 58030.
    pub fn open(path: impl AsRef<Path>) -> Result<DataDir> {
        let path = path.as_ref().to_owned();
        create_dir(&path)?;
        let lock = lock(&path)?;
        check_format(&path)?;
        let dir = DataDir { path, _lock: lock };
        create_dir(&dir.log_dir())?;
        create_dir(&dir.state_dir())?;
        Ok(dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the write-ahead log lives.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the state backend lives.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The catalog's file.
    pub fn catalog_file(&self) -> PathBuf {
        self.path.join("catalog.log")
    }
}

fn create_dir(path: &Path) -> Result<()> {
    let failed = |e| Error::io(format!("create folder {}", path.display()), &e);
    OsFileSystem.create_dir_all(path).map_err(failed)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let failed = |e: &std::io::Error| Error::io(format!("lock {}", path.display()), e);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            SqlState::OBJECT_IN_USE,
            format!("data directory is in use: another server holds the lock file \"{}\"", path.display()),
        )
        .with_hint("Stop the other server, or use another data directory.")),
    }
}

fn check_format(dir: &Path) -> Result<()> {
    let path = dir.join("FORMAT");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return begin_format(dir, &path),
        Err(e) => return Err(Error::io(format!("read {}", path.display()), &e)),
    };
    match parse_format(text.trim_end()) {
        Some(FORMAT) => Ok(()),
        Some(version) => Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "data directory {} has format {version}, this server reads format {FORMAT}",
                dir.display()
            ),
        )
        .with_hint("Start the version of Weir that wrote it.")),
        None => Err(Error::corrupted(format!("{} is not a format file", path.display()))),
    }
}

/// What a folder of a format is marked with.
fn format_line(version: u32) -> String {
    let text = format!("{FORMAT_PREFIX}{version}");
    let checksum = crc32fast::hash(text.as_bytes());
    format!("{text}, checksum {checksum:08x}")
}

/// The version in such a line; the first one had no checksum.
fn parse_format(line: &str) -> Option<u32> {
    let version = line.strip_prefix(FORMAT_PREFIX)?.split(',').next()?.parse().ok()?;
    let is_first = version == 1 && line.len() == FORMAT_PREFIX.len() + 1;
    (is_first || line == format_line(version)).then_some(version)
}

/// Marks a new folder. One that has other files in it is somebody else's.
fn begin_format(dir: &Path, path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(format!("create {}", path.display()), &e);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "LOCK" && name != "lost+found" && name != "FORMAT.new" {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("{} is neither empty nor a data directory", dir.display()),
            )
            .with_detail(format!("It contains \"{}\" and no FORMAT file.", name.display()))
            .with_hint("Use an empty folder, or one that Weir made."));
        }
    }
    let fresh = dir.join("FORMAT.new");
    let mut file = File::create(&fresh).map_err(failed)?;
    writeln!(file, "{}", format_line(FORMAT)).and_then(|()| file.sync_all()).map_err(failed)?;
    fail::fail_point!(weir_common::failpoint::DATA_DIR_BEFORE_FORMAT);
    fs::rename(&fresh, path).map_err(failed)?;
    sync_dir(dir).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_opener_is_told_of_the_lock() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = DataDir::open(dir.path())?;
        let error = DataDir::open(dir.path()).expect_err("the folder is locked");
        assert_eq!(error.state(), SqlState::OBJECT_IN_USE);
        assert!(error.message().contains(&*dir.path().join("LOCK").to_string_lossy()), "{error}");
        drop(first);
        DataDir::open(dir.path()).map(drop)
    }

    #[test]
    fn a_lock_held_by_another_process_counts_too() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let lock = dir.path().join("LOCK");
        let mut other = std::process::Command::new("flock")
            .arg(&lock)
            .args(["sh", "-c", "echo locked; read line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("flock of util-linux");
        let mut word = [0; 6];
        let mut output = other.stdout.take().expect("a piped output");
        std::io::Read::read_exact(&mut output, &mut word)
            .expect("the other process tells when it has the lock");
        let error = DataDir::open(dir.path()).expect_err("the folder is locked");
        assert_eq!(error.state(), SqlState::OBJECT_IN_USE);
        drop(other.stdin.take());
        other.wait().expect("the other process ends with its input");
        DataDir::open(dir.path()).expect("the lock is free");
    }

    #[test]
    fn newer_and_damaged_formats_are_refused() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        drop(DataDir::open(dir.path())?);
        let format = dir.path().join("FORMAT");
        let whole = fs::read(&format).expect("a format file");
        for version in [1, FORMAT - 1, FORMAT + 1] {
            let line = if version == 1 { format!("{FORMAT_PREFIX}1") } else { format_line(version) };
            fs::write(&format, line).expect("a written file");
            let error = DataDir::open(dir.path()).expect_err("another format");
            assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(error.message().contains(&format!("has format {version}")), "{error}");
        }
        // The end of the line is no part of it.
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x01;
            fs::write(&format, damaged).expect("a written file");
            let error = DataDir::open(dir.path()).expect_err("a damaged format file");
            assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "byte {at}: {error}");
            assert!(error.message().contains("FORMAT"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("thesis.tex"), "x").expect("a written file");
        let error = DataDir::open(dir.path()).expect_err("a folder with a thesis in it");
        assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(!dir.path().join("FORMAT").exists());
    }
}
