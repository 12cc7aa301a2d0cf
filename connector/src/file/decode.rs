//! Records of a byte range to columns.
//!
//! A batch is decoded column by column; only when that fails are its records looked at one by one, to find the
//! malformed ones and to skip them or to name the first.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{Field, Schema, SchemaRef};
use csv_core::{ReadRecordResult, Reader as CsvReader, ReaderBuilder};
use weir_common::seam::FileSystem;
use weir_common::text::{parse_array, parse_value};
use weir_common::{ChangeBatch, Column, Error, Result, SqlState, SqlType};

use super::lines;
use crate::source::{MalformedRecord, ReadProgress, SplitRange, SplitReader};

/// What becomes of a malformed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Fail,
    Skip,
}

/// How a file is written.
#[derive(Clone, Debug)]
pub enum Format {
    Csv { delimiter: u8, header: bool, null: String, on_error: OnError },
    Json { on_error: OnError },
}

impl Format {
    pub fn on_error(&self) -> OnError {
        match self {
            Format::Csv { on_error, .. } | Format::Json { on_error } => *on_error,
        }
    }
}

/// Malformed records of one batch that are kept.
const MALFORMED_MAX: usize = 1_000;
/// Bytes read from a file in one step.
const CHUNK: u64 = 1 << 20;

/// One record: its place in the file, and the text of each wanted column.
struct Record {
    offset: u64,
    /// Its text, when it is malformed or may be found to be.
    line: String,
    fields: std::result::Result<Vec<Option<String>>, String>,
}

/// Reads ranges of files.
pub struct RecordReader {
    fs: Arc<dyn FileSystem>,
    format: Format,
    all: Vec<Column>,
    wanted: Vec<Column>,
    schema: SchemaRef,
    path: PathBuf,
    /// Where each wanted column stands in the file's records (CSV).
    places: Vec<usize>,
    /// Fields that a whole record has (CSV).
    width: usize,
    at: u64,
    to: u64,
    /// Bytes read and not decoded yet; they begin at `at`.
    buffer: Vec<u8>,
    progress: ReadProgress,
}

impl RecordReader {
    /// A reader that yields the columns at `project`.
    pub fn new(
        fs: Arc<dyn FileSystem>,
        format: Format,
        all: &[Column],
        project: &[usize],
    ) -> Result<RecordReader> {
        let wanted: Vec<Column> = project
            .iter()
            .map(|p| all.get(*p).cloned())
            .collect::<Option<_>>()
            .ok_or_else(|| Error::internal("a projection beyond the columns of a file source"))?;
        let field = |c: &Column| Field::new(&c.name, c.ty.arrow(), true);
        let schema = Arc::new(Schema::new(wanted.iter().map(field).collect::<Vec<_>>()));
        Ok(RecordReader {
            fs,
            format,
            all: all.to_vec(),
            wanted,
            schema,
            path: PathBuf::new(),
            places: Vec::new(),
            width: 0,
            at: 0,
            to: 0,
            buffer: Vec::new(),
            progress: ReadProgress::default(),
        })
    }

    /// Finds the columns in the file's header; without one they stand as declared.
    fn locate_columns(&mut self) -> Result<()> {
        let position = |name: &str, names: &[String]| names.iter().position(|n| n == name);
        let declared: Vec<String> = self.all.iter().map(|c| c.name.clone()).collect();
        let names = match &self.format {
            Format::Csv { header: true, delimiter, .. } => {
                let end = lines::first_line_end(self.fs.as_ref(), &self.path, 0, self.to)?.unwrap_or(self.to);
                let line = lines::read(self.fs.as_ref(), &self.path, 0, end)?;
                if self.at == 0 {
                    self.at = end.min(self.to);
                }
                split_csv(&line, *delimiter)
            }
            _ => declared,
        };
        self.width = names.len();
        self.places.clear();
        for column in &self.wanted {
            let place = position(&column.name, &names).ok_or_else(|| {
                let message = format!(
                    "file \"{}\" has no column \"{}\" in its header, which names {}",
                    self.path.display(),
                    column.name,
                    if names.is_empty() { "none".to_string() } else { names.join(", ") }
                );
                Error::new(SqlState::BAD_COPY_FILE_FORMAT, message)
                    .with_detail(format!("The range up to byte {} was to be read.", self.to))
            })?;
            self.places.push(place);
        }
        Ok(())
    }

    /// The next records, about `limit` at most; empty at the end of the range.
    fn records(&mut self, limit: usize) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.is_empty() && (self.at < self.to) {
            self.fill()?;
            let whole = self.buffer.iter().rposition(|b| *b == b'\n').map_or(self.buffer.len(), |i| i + 1);
            let mut used = 0;
            while used < whole && records.len() < limit {
                let rest = &self.buffer[used..whole];
                let line_end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |i| i + 1);
                let line = trim(&rest[..line_end]);
                if !line.is_empty() {
                    let fields = self.fields(line);
                    let kept = self.format.on_error() == OnError::Skip;
                    let line = if kept { String::from_utf8_lossy(line).into_owned() } else { String::new() };
                    records.push(Record { offset: self.at + used as u64, line, fields });
                }
                used += line_end;
            }
            self.buffer.drain(..used);
            self.at += used as u64;
        }
        Ok(records)
    }

    /// Reads on until the buffer holds a line end or the range is over.
    fn fill(&mut self) -> Result<()> {
        while !self.buffer.contains(&b'\n') {
            let from = self.at + self.buffer.len() as u64;
            if from >= self.to {
                return Ok(());
            }
            let bytes = lines::read(self.fs.as_ref(), &self.path, from, self.to.min(from + CHUNK))?;
            if bytes.is_empty() {
                let message = format!("file \"{}\" has become shorter than it was", self.path.display());
                return Err(Error::new(SqlState::IO_ERROR, message)
                    .with_hint("Files of a source may only be appended to."));
            }
            self.buffer.extend(bytes);
        }
        Ok(())
    }

    /// The text of each wanted column of one line, or why the line is malformed.
    fn fields(&self, line: &[u8]) -> std::result::Result<Vec<Option<String>>, String> {
        let text =
            std::str::from_utf8(line).map_err(|_| "invalid byte sequence for encoding UTF8".to_owned())?;
        match &self.format {
            Format::Csv { delimiter, null, .. } => {
                let fields = split_csv(line, *delimiter);
                if fields.len() != self.width {
                    return Err(format!("{} fields where {} were expected", fields.len(), self.width));
                }
                let value = |place: &usize| Some(&fields[*place]).filter(|f| *f != null).cloned();
                Ok(self.places.iter().map(value).collect())
            }
            Format::Json { .. } => {
                let object: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(text).map_err(|e| e.to_string())?;
                Ok(self
                    .wanted
                    .iter()
                    .map(|c| object.get(&c.name).and_then(|value| json_text(value, &c.ty)))
                    .collect())
            }
        }
    }

    /// The batch of these records; malformed ones are skipped or are the error.
    fn batch(&mut self, mut records: Vec<Record>) -> Result<ChangeBatch> {
        self.progress.rows += records.len() as u64;
        loop {
            if records.iter().all(|r| r.fields.is_ok())
                && let Ok(columns) = self.columns(&records)
            {
                let rows = weir_common::change::record_batch(self.schema.clone(), columns, records.len())?;
                return Ok(ChangeBatch::inserts(rows));
            }
            let before = records.len();
            let mut whole = Vec::with_capacity(before);
            for record in records {
                match self.malformed(&record) {
                    None => whole.push(record),
                    Some(reason) if self.format.on_error() == OnError::Skip => self.skip(&record, &reason),
                    Some(reason) => return Err(self.located(&record, &reason)),
                }
            }
            if whole.len() == before {
                return Err(Error::internal("a batch of well-formed records could not be decoded"));
            }
            records = whole;
        }
    }

    fn columns(&self, records: &[Record]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::with_capacity(self.wanted.len());
        for (i, column) in self.wanted.iter().enumerate() {
            let mut texts = StringBuilder::new();
            for record in records {
                texts.append_option(record.fields.as_ref().ok().and_then(|f| f[i].as_deref()));
            }
            columns.push(parse_array(&column.ty, &texts.finish())?);
        }
        Ok(columns)
    }

    /// Why a record is malformed, if it is.
    fn malformed(&self, record: &Record) -> Option<String> {
        let fields = match &record.fields {
            Ok(fields) => fields,
            Err(reason) => return Some(reason.clone()),
        };
        let wrong = |(field, column): (&Option<String>, &Column)| {
            let error = parse_value(&column.ty, field.as_deref()?).err()?;
            Some(format!("column \"{}\": {}", column.name, error.message()))
        };
        fields.iter().zip(&self.wanted).find_map(wrong)
    }

    /// Counts a record that is left out, and keeps it if it is one of the first.
    fn skip(&mut self, record: &Record, reason: &str) {
        self.progress.skipped += 1;
        if self.progress.malformed.len() < MALFORMED_MAX {
            let error = self.located(record, reason);
            self.progress.malformed.push(MalformedRecord { text: record.line.clone(), error });
        }
    }

    fn located(&self, record: &Record, reason: &str) -> Error {
        let line = lines::lines_before(self.fs.as_ref(), &self.path, record.offset).map_or(0, |n| n + 1);
        let message = format!("malformed record in file \"{}\", line {line}: {reason}", self.path.display());
        Error::new(SqlState::BAD_COPY_FILE_FORMAT, message)
            .with_hint("With on_error = 'skip' such records are skipped and counted.")
    }
}

impl SplitReader for RecordReader {
    fn start(&mut self, range: &SplitRange) -> Result<()> {
        self.path = PathBuf::from(&range.split);
        (self.at, self.to) = (range.from, range.to);
        self.buffer.clear();
        self.locate_columns()
    }

    fn next(&mut self, batch_rows: usize) -> Result<Option<ChangeBatch>> {
        let records = self.records(batch_rows)?;
        if records.is_empty() { Ok(None) } else { self.batch(records).map(Some) }
    }

    fn position(&self) -> u64 {
        self.at
    }

    fn take_progress(&mut self) -> ReadProgress {
        std::mem::take(&mut self.progress)
    }
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The fields of one CSV line, quotes removed.
fn split_csv(line: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader: CsvReader = ReaderBuilder::new().delimiter(delimiter).build();
    let line = trim(line);
    let mut output = vec![0; line.len() + 1];
    let mut ends = vec![0; line.len() + 2];
    let (mut written, mut count) = (0, 0);
    let mut input = line;
    loop {
        let (result, read, out, fields) =
            reader.read_record(input, &mut output[written..], &mut ends[count..]);
        input = &input[read..];
        written += out;
        count += fields;
        if matches!(result, ReadRecordResult::Record | ReadRecordResult::End) {
            break;
        }
    }
    let mut start = 0;
    let field = |end: &usize| {
        let text = String::from_utf8_lossy(&output[start..*end]).into_owned();
        start = *end;
        text
    };
    ends[..count].iter().map(field).collect()
}

/// A JSON value in the text form that types read; `None` for null.
fn json_text(value: &serde_json::Value, ty: &SqlType) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        other if matches!(ty, SqlType::Json | SqlType::Jsonb) => Some(other.to_string()),
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Texts of one column, for tests and sinks that compare what was written.
#[cfg(test)]
pub fn texts(batch: &ChangeBatch, column: usize) -> arrow::array::StringArray {
    let cast = arrow::compute::cast(&batch.columns()[column], &arrow::datatypes::DataType::Utf8).unwrap();
    arrow::array::AsArray::as_string::<i32>(&cast).clone()
}
