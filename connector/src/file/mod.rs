//! `file`: a file, or all files of a folder, in CSV or newline-delimited JSON, followed as they grow.
//!
//! A split is a file's path, its offsets are bytes; only whole lines are read, so a line that is still being
//! written waits for its newline (or for the file to rest a second). Files are taken in the order of their
//! names; hidden ones and `*.tmp` are left alone. A file must only be appended to.
//!
//! Options: `path`, `format` (`csv`, `json`), `header`, `delimiter`, `null` (the text that means NULL),
//! `on_error`: `fail` stops the job and names file and line, `skip` leaves the record out, counts it, and puts it into
//! the table with the number `dead_letters` (of ON ERROR INTO), without it into `sys.dead_letters`.

mod decode;
mod lines;
mod sink;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_common::seam::{FileSystem, OsFileSystem};
use weir_common::{Column, Error, ObjectId, Result, SqlState};

use crate::options::{Options, invalid};
use crate::source::{Discovery, Reading, Source, SourceOffsets, SplitRange, SplitReader};
use decode::{Format, OnError, RecordReader};
pub use sink::create as create_sink;

const OPTIONS: [&str; 7] = ["path", "format", "header", "delimiter", "null", "on_error", "dead_letters"];
/// Bytes a row is taken to have when a budget of rows is turned into bytes.
const BYTES_A_ROW: u64 = 64;
/// A last line without newline counts as whole when its file has not changed for this long.
const REST_MICROS: u64 = 1_000_000;

/// A file or folder.
pub struct FileSource {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    format: Format,
    columns: Vec<Column>,
    dead_letters: Option<ObjectId>,
    /// When each unfinished last line was first seen, with the file's length then.
    resting: Mutex<HashMap<PathBuf, (u64, u64)>>,
}

/// The source that the options describe; 58P01 when there is nothing at its path.
pub fn create(given: &BTreeMap<String, String>, columns: &[Column]) -> Result<Arc<dyn Source>> {
    let options = Options::checked(given, &OPTIONS, &[])?;
    let path = PathBuf::from(options.required("path")?);
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
    if !fs.exists(&path) {
        return Err(missing(&path));
    }
    let format = format(&options)?;
    let skips = format.on_error() == OnError::Skip;
    let given = options.text("dead_letters").and_then(|id| id.parse().ok()).map(ObjectId);
    let dead_letters = skips.then(|| given.unwrap_or(ObjectId::DEAD_LETTERS));
    let (columns, resting) = (columns.to_vec(), Mutex::default());
    Ok(Arc::new(FileSource { fs, path, format, columns, dead_letters, resting }))
}

fn format(options: &Options<'_>) -> Result<Format> {
    options.required("format")?;
    let on_error = match options.choice("on_error", &["fail", "skip"])? {
        Some("skip") => OnError::Skip,
        _ => OnError::Fail,
    };
    if options.choice("format", &["csv", "json"])? == Some("json") {
        return Ok(Format::Json { on_error });
    }
    let delimiter = match options.text("delimiter").unwrap_or(",") {
        "\\t" | "\t" => b'\t',
        one if one.len() == 1 => one.as_bytes()[0],
        other => return Err(invalid("delimiter", other, "one character")),
    };
    let header = options.flag("header")?.unwrap_or(false);
    let null = options.text("null").unwrap_or("").to_owned();
    Ok(Format::Csv { delimiter, header, null, on_error })
}

fn missing(path: &std::path::Path) -> Error {
    let message = format!("could not open \"{}\": No such file or directory", path.display());
    Error::new(SqlState::UNDEFINED_FILE, message)
}

impl FileSource {
    /// The files with their lengths, in the order of their names.
    fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        if !self.fs.exists(&self.path) {
            return Err(missing(&self.path));
        }
        let what = || format!("read \"{}\"", self.path.display());
        if !self.fs.is_dir(&self.path) {
            let file = self.fs.open_read(&self.path).map_err(|e| Error::io(what(), &e))?;
            return Ok(vec![(self.path.clone(), file.len().map_err(|e| Error::io(what(), &e))?)]);
        }
        let mut files = self.fs.list(&self.path).map_err(|e| Error::io(what(), &e))?;
        files.retain(|(path, _)| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            !name.starts_with('.') && !name.ends_with(".tmp")
        });
        Ok(files)
    }

    /// Up to where whole lines reach in `from..length`, within `budget` bytes.
    fn whole_lines(&self, path: &PathBuf, from: u64, length: u64, budget: u64, now: u64) -> Result<u64> {
        let within = length.min(from.saturating_add(budget.max(1)));
        let mut end = lines::last_line_end(self.fs.as_ref(), path, from, within)?;
        if end == from && within < length {
            end = lines::first_line_end(self.fs.as_ref(), path, within, length)?.unwrap_or(from);
        }
        let mut resting = self.resting.lock();
        if end == length {
            resting.remove(path);
            return Ok(end);
        }
        if within == length {
            let (seen, since) = *resting.entry(path.clone()).or_insert((length, now));
            if seen != length {
                resting.insert(path.clone(), (length, now));
            } else if now.saturating_sub(since) >= REST_MICROS {
                return Ok(length);
            }
        }
        Ok(end)
    }
}

impl Source for FileSource {
    fn discover(&self, bound: &SourceOffsets, budget_rows: u64, reading: &Reading) -> Result<Discovery> {
        let mut budget = budget_rows.saturating_mul(BYTES_A_ROW);
        let mut found = Discovery::default();
        for (path, length) in self.files()? {
            let split = path.to_string_lossy().into_owned();
            let from = bound.get(&split).copied().unwrap_or(0);
            if length <= from {
                continue;
            }
            if budget == 0 {
                found.more = true;
                break;
            }
            let to = self.whole_lines(&path, from, length, budget, reading.elapsed_micros)?;
            if to > from {
                budget = budget.saturating_sub(to - from);
                found.more |= to < length && budget == 0;
                found.ranges.push(SplitRange { split, from, to });
            }
        }
        Ok(found)
    }

    fn is_at_rest(&self) -> bool {
        true
    }

    fn dead_letters(&self) -> Option<ObjectId> {
        self.dead_letters
    }

    fn reader(&self, project: &[usize]) -> Result<Box<dyn SplitReader>> {
        let reader = RecordReader::new(self.fs.clone(), self.format.clone(), &self.columns, project)?;
        Ok(Box::new(reader))
    }
}

#[cfg(test)]
mod tests;
