//! `Catalog`: the durable, shared catalog. Readers take a snapshot; writers apply batches one at a time.
//!
//! ```text
//!   apply(batch) ─► check against the current snapshot ─► append to the log, fsync ─► publish
//! ```
//! A batch that is refused leaves no trace; a batch that is published is durable. One for which the disk has no room is
//! refused; when an append fails otherwise the state of the file is unknown, so the catalog refuses every later change
//! until the server is restarted.
//!
//! A transaction that changes rows too goes in two steps, so that a crash leaves all of it or nothing:
//!
//! ```text
//!   prepare(batch) ─► append to the log, fsync ─► the rows become durable, naming the transaction ─► commit: publish
//! ```
//! What was prepared and neither committed nor aborted is decided at the next start by whether the log of rows names
//! the transaction.
//!
//! Ids are reserved in the log in blocks before they are handed out, so an id is never handed out twice, even
//! when its object was never created or the server died in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use weir_common::seam::FileSystem;
use weir_common::{Error, ObjectId, Result, SqlState};

use crate::change::CatalogChange;
use crate::log::{CatalogLog, CatalogTransaction, LogRecord, Part};
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
    /// Sequences that open transaction blocks have created: their values can be drawn already.
    drafts: HashMap<ObjectId, Arc<Object>>,
}

impl Catalog {
    /// Opens the catalog in the folder `path`, creating it when missing, where no transaction was left undecided.
    pub fn open(fs: Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Catalog> {
        Catalog::recover(fs, path, |_| Ok(false))
    }

    /// Opens the catalog in the folder `path`, creating it when missing, and compacts its log. `committed` tells of a
    /// transaction that a crash left undecided whether its rows are durable.
    pub fn recover(
        fs: Arc<dyn FileSystem>,
        path: impl AsRef<Path>,
        committed: impl FnOnce(CatalogTransaction) -> Result<bool>,
    ) -> Result<Catalog> {
        let dir = path.as_ref();
        fs.create_dir_all(dir).map_err(|e| Error::io(format!("create folder \"{}\"", dir.display()), &e))?;
        let file = dir.join(LOG_FILE);
        let records = CatalogLog::read(&*fs, &file)?;
        let context = |e: Error| Error::corrupted(format!("file \"{}\": {e}", file.display()));
        let mut replayed = Replayed::default();
        records.iter().try_for_each(|record| replayed.take(record).map_err(context))?;
        if let Some((transaction, changes)) = replayed.prepared.take()
            && committed(transaction)?
        {
            replayed.change(&changes).map_err(context)?;
        }
        let Replayed { snapshot, reserved_id, sequences, .. } = replayed;
        let log = if records.len() <= 1 && records.iter().all(|record| record.part == Part::Whole) {
            CatalogLog::open(&*fs, &file)?
        } else {
            CatalogLog::rewrite(&*fs, &file, &compacted(&snapshot, reserved_id, &sequences))?
        };
        let drafts = HashMap::new();
        let writer = Writer { log, next_id: reserved_id, reserved_id, sequences, drafts };
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
        forget_dropped(&mut writer.sequences, &record.changes);
        *self.snapshot.write() = next.clone();
        Ok(next)
    }

    /// The first step of a transaction that changes rows too: the batch is checked and durable, and holds from
    /// [`Self::commit`] on. One at a time; no other batch may be applied in between.
    pub fn prepare(&self, changes: Vec<CatalogChange>) -> Result<Prepared> {
        let transaction = CatalogTransaction(self.next_id()?.0);
        let mut writer = self.writer.lock();
        self.snapshot().apply(&changes)?;
        let part = Part::Prepared(transaction);
        let reserved_id = writer.reserved_id;
        writer.append(&LogRecord { part, ..LogRecord::of_changes(changes.clone(), reserved_id) })?;
        Ok(Prepared { transaction, changes })
    }

    /// The second step, when the transaction's rows are durable: publishes the batch. That the log says so too spares
    /// the next start the question; it holds without.
    pub fn commit(&self, prepared: Prepared) -> Result<Arc<CatalogSnapshot>> {
        let mut writer = self.writer.lock();
        let next = Arc::new(self.snapshot().apply(&prepared.changes)?);
        let part = Part::Committed(prepared.transaction);
        let reserved_id = writer.reserved_id;
        let logged = writer.append(&LogRecord { part, ..LogRecord::of_changes(Vec::new(), reserved_id) });
        forget_dropped(&mut writer.sequences, &prepared.changes);
        *self.snapshot.write() = next.clone();
        logged.map(|()| next)
    }

    /// Lets values of a block's new sequences be drawn before the block commits.
    pub fn add_drafts(&self, changes: &[CatalogChange]) {
        let mut writer = self.writer.lock();
        for change in changes {
            if let CatalogChange::Create(object) = change
                && matches!(object.kind, ObjectKind::Sequence(_))
            {
                writer.drafts.insert(object.id, Arc::new(object.clone()));
            }
        }
    }

    /// The block of these changes has ended; `kept`: by a commit.
    pub fn end_drafts(&self, changes: &[CatalogChange], kept: bool) {
        let mut writer = self.writer.lock();
        for change in changes {
            if let CatalogChange::Create(object) = change
                && writer.drafts.remove(&object.id).is_some()
                && !kept
            {
                writer.sequences.forget(object.id);
            }
        }
    }

    /// The next values of a sequence: durable before they are returned, so never given twice.
    pub fn next_values(&self, sequence: ObjectId, count: usize) -> Result<Vec<i64>> {
        let mut writer = self.writer.lock();
        let object = self.sequence_object(&writer, sequence)?;
        let drawn = writer.sequences.draw(sequence, &object.name, sequence_def(&object)?, count)?;
        if let Some(point) = drawn.log {
            writer.log_sequence(sequence, point)?;
        }
        Ok(writer.sequences.take(sequence, drawn))
    }

    /// `setval`: durable when it returns.
    pub fn set_sequence(&self, sequence: ObjectId, point: SequencePoint) -> Result<()> {
        let mut writer = self.writer.lock();
        let object = self.sequence_object(&writer, sequence)?;
        let def = sequence_def(&object)?;
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
        let object = self.sequence_object(&writer, sequence)?;
        let at_start = SequencePoint { last_value: sequence_def(&object)?.start, is_called: false };
        Ok(writer.sequences.point(sequence).unwrap_or(at_start))
    }

    /// The sequence with this id, of an open block too: 42P01 when there is none.
    fn sequence_object(&self, writer: &Writer, id: ObjectId) -> Result<Arc<Object>> {
        let missing =
            || Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"));
        self.snapshot().object(id).or_else(|| writer.drafts.get(&id)).cloned().ok_or_else(missing)
    }
}

/// What [`Catalog::prepare`] has made durable.
#[derive(Debug)]
pub struct Prepared {
    /// What the log of rows has to name.
    pub transaction: CatalogTransaction,
    changes: Vec<CatalogChange>,
}

/// The catalog as the log's records make it.
struct Replayed {
    snapshot: CatalogSnapshot,
    reserved_id: u32,
    sequences: Sequences,
    /// Changes that hold only if their transaction does. The next change of the catalog says that they do not.
    prepared: Option<(CatalogTransaction, Vec<CatalogChange>)>,
}

impl Default for Replayed {
    fn default() -> Self {
        Replayed {
            snapshot: CatalogSnapshot::new(),
            reserved_id: ObjectId::FIRST_USER.0,
            sequences: Sequences::default(),
            prepared: None,
        }
    }
}

impl Replayed {
    fn take(&mut self, record: &LogRecord) -> Result<()> {
        self.reserved_id = self.reserved_id.max(record.reserved_id);
        for (id, point) in &record.sequences {
            self.sequences.set(*id, *point);
        }
        match record.part {
            Part::Prepared(transaction) => self.prepared = Some((transaction, record.changes.clone())),
            Part::Committed(transaction) => match self.prepared.take() {
                Some((prepared, changes)) if prepared == transaction => self.change(&changes)?,
                _ => return Err(Error::internal("a transaction was committed that was not prepared")),
            },
            Part::Whole if record.changes.is_empty() => {}
            Part::Whole => {
                self.prepared = None;
                self.change(&record.changes)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, changes: &[CatalogChange]) -> Result<()> {
        self.snapshot = self.snapshot.apply(changes)?;
        forget_dropped(&mut self.sequences, changes);
        Ok(())
    }
}

impl Writer {
    fn log_sequence(&mut self, sequence: ObjectId, point: SequencePoint) -> Result<()> {
        let reserved_id = self.reserved_id;
        let sequences = vec![(sequence, point)];
        self.append(&LogRecord { sequences, ..LogRecord::of_changes(Vec::new(), reserved_id) })
    }

    fn append(&mut self, record: &LogRecord) -> Result<()> {
        self.log.append(record)?;
        self.reserved_id = self.reserved_id.max(record.reserved_id);
        Ok(())
    }
}

/// One record that makes the whole catalog: schemas first, then by id, so that what is read comes first.
fn compacted(snapshot: &CatalogSnapshot, reserved_id: u32, sequences: &Sequences) -> LogRecord {
    let changes = snapshot.user_objects().map(|o| CatalogChange::Create(o.as_ref().clone())).collect();
    // Sequences of blocks that were rolled back have no object.
    let exists = |(id, _): &(ObjectId, SequencePoint)| snapshot.object(*id).is_some();
    let sequences = sequences.points().into_iter().filter(exists).collect();
    LogRecord { sequences, ..LogRecord::of_changes(changes, reserved_id) }
}

/// Sequences that were dropped are forgotten.
fn forget_dropped(sequences: &mut Sequences, changes: &[CatalogChange]) {
    for change in changes {
        if let CatalogChange::Drop(id) = change {
            sequences.forget(*id);
        }
    }
}

/// A sequence's definition: 42809 for anything else.
fn sequence_def(object: &Object) -> Result<&SequenceDef> {
    match &object.kind {
        ObjectKind::Sequence(def) => Ok(def),
        _ => {
            let message = format!("\"{}\" is not a sequence", object.name);
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

fn out_of_ids() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "no object ids are left")
}
