//! `Catalog`: the durable, shared catalog. Readers take a snapshot; writers apply batches one at a time.
//!
//! ```text
//!   apply(batch) ─► check against the current snapshot ─► append to the log, fsync ─► publish
//! ```
//! A batch that is refused leaves no trace; a batch that is published is durable. When an append fails half-way
//! the state of the file is unknown, so the catalog refuses every later change until the server is restarted.
//!
//! Ids are reserved in the log in blocks before they are handed out, so an id is never handed out twice, even
//! when its object was never created or the server died in between.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use weir_common::seam::FileSystem;
use weir_common::{Error, ObjectId, Result, SqlState};

use crate::change::CatalogChange;
use crate::log::{CatalogLog, LogRecord};
use crate::object::{Object, ObjectKind, SequenceDef};
use crate::sequences::{SequencePoint, Sequences};
use crate::snapshot::CatalogSnapshot;

/// The log's file in the data folder.
const LOG_FILE: &str = "catalog.log";
/// Ids that one log record reserves.
const RESERVED_IDS: u32 = 64;

/// The catalog of a server.
pub struct Catalog {
    snapshot: RwLock<Arc<CatalogSnapshot>>,
    writer: Mutex<Writer>,
}

struct Writer {
    log: CatalogLog,
    next_id: u32,
    /// Ids below this are reserved in the log.
    reserved_id: u32,
    sequences: Sequences,
    /// Whether an append failed, so that the end of the log is unknown.
    failed: bool,
}

impl Catalog {
    /// Opens the catalog in the folder `path`, creating it when missing, and compacts its log.
    pub fn open(fs: Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Catalog> {
        let dir = path.as_ref();
        fs.create_dir_all(dir).map_err(|e| Error::io(format!("create folder \"{}\"", dir.display()), &e))?;
        let file = dir.join(LOG_FILE);
        let mut snapshot = CatalogSnapshot::new();
        let mut reserved_id = ObjectId::FIRST_USER.0;
        let mut sequences = Sequences::default();
        let records = CatalogLog::read(&*fs, &file)?;
        for record in &records {
            let context = |e: Error| Error::corrupted(format!("file \"{}\": {e}", file.display()));
            snapshot = snapshot.apply(&record.changes).map_err(context)?;
            reserved_id = reserved_id.max(record.reserved_id);
            sequences_after(&mut sequences, record);
        }
        let log = if records.len() <= 1 {
            CatalogLog::open(&*fs, &file)?
        } else {
            CatalogLog::rewrite(&*fs, &file, &compacted(&snapshot, reserved_id, &sequences))?
        };
        let writer = Writer { log, next_id: reserved_id, reserved_id, sequences, failed: false };
        Ok(Catalog { snapshot: RwLock::new(Arc::new(snapshot)), writer: Mutex::new(writer) })
    }

    /// The catalog as it is now.
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.snapshot.read().clone()
    }

    /// An id that was never handed out before.
    pub fn next_id(&self) -> Result<ObjectId> {
        let mut writer = self.writer.lock();
        if writer.next_id == writer.reserved_id {
            let reserved_id = writer.reserved_id.checked_add(RESERVED_IDS).ok_or_else(out_of_ids)?;
            writer.append(&LogRecord::of_changes(Vec::new(), reserved_id))?;
        }
        let id = ObjectId(writer.next_id);
        writer.next_id += 1;
        Ok(id)
    }

    /// Applies a batch, all or nothing; it is durable and published when this returns.
    pub fn apply(&self, changes: Vec<CatalogChange>) -> Result<Arc<CatalogSnapshot>> {
        let mut writer = self.writer.lock();
        let next = Arc::new(self.snapshot().apply(&changes)?);
        let reserved_id = writer.reserved_id;
        let record = LogRecord::of_changes(changes, reserved_id);
        writer.append(&record)?;
        sequences_after(&mut writer.sequences, &record);
        *self.snapshot.write() = next.clone();
        Ok(next)
    }

    /// The next values of a sequence: durable before they are returned, so never given twice.
    pub fn next_values(&self, sequence: ObjectId, count: usize) -> Result<Vec<i64>> {
        let mut writer = self.writer.lock();
        let snapshot = self.snapshot();
        let (object, def) = sequence_of(&snapshot, sequence)?;
        let drawn = writer.sequences.draw(sequence, &object.name, def, count)?;
        if let Some(point) = drawn.log {
            writer.log_sequence(sequence, point)?;
        }
        Ok(writer.sequences.take(sequence, drawn))
    }

    /// `setval`: durable when it returns.
    pub fn set_sequence(&self, sequence: ObjectId, point: SequencePoint) -> Result<()> {
        let mut writer = self.writer.lock();
        let snapshot = self.snapshot();
        let (object, def) = sequence_of(&snapshot, sequence)?;
        let value = point.last_value;
        if !(def.min..=def.max).contains(&value) {
            let (name, min, max) = (&object.name, def.min, def.max);
            let message =
                format!("setval: value {value} is out of bounds for sequence \"{name}\" ({min}..{max})");
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        writer.log_sequence(sequence, point)?;
        writer.sequences.set(sequence, point);
        Ok(())
    }

    /// Where a sequence stands.
    pub fn sequence_point(&self, sequence: ObjectId) -> Result<SequencePoint> {
        let writer = self.writer.lock();
        let snapshot = self.snapshot();
        let (_, def) = sequence_of(&snapshot, sequence)?;
        let at_start = SequencePoint { last_value: def.start, is_called: false };
        Ok(writer.sequences.point(sequence).unwrap_or(at_start))
    }
}

impl Writer {
    fn log_sequence(&mut self, sequence: ObjectId, point: SequencePoint) -> Result<()> {
        let reserved_id = self.reserved_id;
        self.append(&LogRecord { changes: Vec::new(), reserved_id, sequences: vec![(sequence, point)] })
    }

    fn append(&mut self, record: &LogRecord) -> Result<()> {
        if self.failed {
            return Err(Error::new(SqlState::IO_ERROR, "the catalog cannot be changed after a failed write")
                .with_hint("Restart the server; it recovers every change that was acknowledged."));
        }
        let appended = self.log.append(record);
        self.failed = appended.is_err();
        appended?;
        self.reserved_id = self.reserved_id.max(record.reserved_id);
        Ok(())
    }
}

/// One record that makes the whole catalog: schemas first, then by id, so that what is read comes first.
fn compacted(snapshot: &CatalogSnapshot, reserved_id: u32, sequences: &Sequences) -> LogRecord {
    let changes = snapshot.user_objects().map(|o| CatalogChange::Create(o.as_ref().clone())).collect();
    LogRecord { changes, reserved_id, sequences: sequences.points() }
}

/// What a record says of sequences: those dropped are forgotten, others have moved.
fn sequences_after(sequences: &mut Sequences, record: &LogRecord) {
    for change in &record.changes {
        if let CatalogChange::Drop(id) = change {
            sequences.forget(*id);
        }
    }
    for (id, point) in &record.sequences {
        sequences.set(*id, *point);
    }
}

/// The sequence with this id: 42P01 when there is none, 42809 for anything else.
fn sequence_of(snapshot: &CatalogSnapshot, id: ObjectId) -> Result<(&Object, &SequenceDef)> {
    let missing = || Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"));
    let object = snapshot.object(id).ok_or_else(missing)?;
    match &object.kind {
        ObjectKind::Sequence(def) => Ok((object, def)),
        _ => {
            let message = format!("\"{}\" is not a sequence", object.name);
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

fn out_of_ids() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "no object ids are left")
}
