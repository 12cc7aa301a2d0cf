//! The file sink: changes as files of a folder, exactly once.
//!
//! Each worker collects the lines of the epochs between two checkpoints in memory and writes them, at the
//! checkpoint, into `part-EPOCH-WORKER.EXT.tmp`; when the checkpoint is durable the file gets its name without
//! `.tmp`. After a crash files up to the checkpoint's epoch are named, later ones removed: their rows come again.
//! The first column, `op`, is `insert` or `delete`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_common::seam::FileSystem;
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{ChangeBatch, Column, Epoch, Error, Result, WorkerId};

use crate::options::Options;
use crate::sink::{Sink, SinkWriter};

const OPTIONS: [&str; 2] = ["path", "format"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Csv,
    Json,
}

struct FileSink {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    format: LineFormat,
    columns: Vec<Column>,
}

/// The sink that the options describe; its folder is created.
pub fn create(
    given: &BTreeMap<String, String>,
    columns: &[Column],
    fs: Arc<dyn FileSystem>,
) -> Result<Arc<dyn Sink>> {
    let options = Options::checked(given, &OPTIONS, &[])?;
    let dir = PathBuf::from(options.required("path")?);
    let format = match options.choice("format", &["csv", "json"])? {
        Some("json") => LineFormat::Json,
        _ => LineFormat::Csv,
    };
    fs.create_dir_all(&dir).map_err(|e| Error::io(format!("create folder \"{}\"", dir.display()), &e))?;
    Ok(Arc::new(FileSink { fs, dir, format, columns: columns.to_vec() }))
}

impl FileSink {
    /// Files that are prepared and not visible, with their epochs.
    fn prepared(&self) -> Result<Vec<(Epoch, PathBuf)>> {
        let files = self.fs.list(&self.dir).map_err(|e| io("read folder", &self.dir, &e))?;
        Ok(files.into_iter().filter_map(|(path, _)| Some((prepared_epoch(&path)?, path))).collect())
    }
}

impl Sink for FileSink {
    fn recover(&self, checkpoint: Epoch) -> Result<()> {
        for (epoch, path) in self.prepared()? {
            if epoch > checkpoint {
                self.fs.remove(&path).map_err(|e| io("remove", &path, &e))?;
            }
        }
        self.commit(checkpoint)
    }

    fn writer(&self, worker: WorkerId) -> Result<Box<dyn SinkWriter>> {
        let (fs, dir, format) = (self.fs.clone(), self.dir.clone(), self.format);
        let options = FormatOptions::default();
        let columns =
            self.columns.iter().map(|c| (c.name.clone(), Formatter::new(&c.ty, &options))).collect();
        Ok(Box::new(Writer { fs, dir, format, columns, worker, lines: String::new() }))
    }

    fn commit(&self, epoch: Epoch) -> Result<()> {
        for (prepared, path) in self.prepared()? {
            if prepared <= epoch {
                self.fs.rename(&path, &path.with_extension("")).map_err(|e| io("rename", &path, &e))?;
                fail::fail_point!(weir_common::failpoint::SINK_AFTER_RENAME);
            }
        }
        self.fs.sync_dir(&self.dir).map_err(|e| io("sync folder", &self.dir, &e))
    }
}

struct Writer {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    format: LineFormat,
    columns: Vec<(String, Formatter)>,
    worker: WorkerId,
    lines: String,
}

impl SinkWriter for Writer {
    fn write(&mut self, _: Epoch, batch: &ChangeBatch) -> Result<()> {
        for row in 0..batch.len() {
            let op = if batch.op(row) > 0 { "insert" } else { "delete" };
            match self.format {
                LineFormat::Csv => self.csv_line(op, batch, row),
                LineFormat::Json => self.json_line(op, batch, row),
            }
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let (extension, header) = match self.format {
            LineFormat::Csv => ("csv", self.csv_header()),
            LineFormat::Json => ("json", String::new()),
        };
        let path = self.dir.join(format!("part-{:020}-{:03}.{extension}.tmp", epoch.0, self.worker.0));
        let failed = |e: std::io::Error| io("write", &path, &e);
        if self.fs.exists(&path) {
            self.fs.remove(&path).map_err(failed)?;
        }
        let mut file = self.fs.open_append(&path).map_err(failed)?;
        file.append(header.as_bytes()).map_err(failed)?;
        file.append(self.lines.as_bytes()).map_err(failed)?;
        file.sync().map_err(failed)?;
        self.lines.clear();
        self.fs.sync_dir(&self.dir).map_err(|e| io("sync folder", &self.dir, &e))?;
        fail::fail_point!(weir_common::failpoint::SINK_AFTER_PREPARE);
        Ok(())
    }
}

impl Writer {
    fn csv_header(&self) -> String {
        let names = self.columns.iter().map(|(name, _)| quoted(name));
        let mut header: Vec<String> = vec!["op".to_owned()];
        header.extend(names);
        header.join(",") + "\n"
    }

    fn csv_line(&mut self, op: &str, batch: &ChangeBatch, row: usize) {
        self.lines.push_str(op);
        for ((_, formatter), column) in self.columns.iter().zip(batch.columns()) {
            self.lines.push(',');
            if !column.is_null(row) {
                let mut text = String::new();
                formatter.write(column.as_ref(), row, &mut text);
                self.lines.push_str(&quoted(&text));
            }
        }
        self.lines.push('\n');
    }

    fn json_line(&mut self, op: &str, batch: &ChangeBatch, row: usize) {
        let mut object = serde_json::Map::new();
        object.insert("op".to_owned(), op.into());
        for ((name, formatter), column) in self.columns.iter().zip(batch.columns()) {
            let mut text = String::new();
            formatter.write(column.as_ref(), row, &mut text);
            let number = column.data_type().is_numeric();
            let value = match serde_json::from_str(&text) {
                _ if column.is_null(row) => serde_json::Value::Null,
                Ok(parsed) if number => parsed,
                _ => text.into(),
            };
            object.insert(name.clone(), value);
        }
        self.lines.push_str(&serde_json::Value::Object(object).to_string());
        self.lines.push('\n');
    }
}

/// CSV quoting, where needed; the empty string is quoted, NULL is not.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn prepared_epoch(path: &Path) -> Option<Epoch> {
    let name = path.file_name()?.to_str()?.strip_prefix("part-")?;
    name.ends_with(".tmp").then(|| name.split('-').next()?.parse().ok().map(Epoch))?
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("{what} \"{}\"", path.display()), error)
}
