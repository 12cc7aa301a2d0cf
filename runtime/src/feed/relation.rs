//! The feed of a relation: its snapshot in order of storage keys, on one worker, and what this worker finds in the
//! changelog.

use std::sync::Arc;

use weir_common::key::KeyRange;
use weir_common::{ChangeBatch, Epoch, Error, Result};
use weir_storage::relation::{RelationScan, RelationSnapshot};

use crate::job::{Beginning, Job};
use crate::relation::Relation;
use crate::unread::Unread;

/// A relation as one worker reads it.
pub struct RelationFeed {
    relation: Arc<Relation>,
    project: Vec<usize>,
    worker: usize,
    /// What the state of a resumed job holds, until it has caught up.
    held: Option<Held>,
    /// On the worker that reads the snapshot, until it is through.
    scan: Option<RelationScan>,
    /// In the worker's queue of the changelog.
    position: u64,
}

/// The part of a relation that is in the state of a resumed job.
struct Held {
    after: Epoch,
    unread: Unread,
    /// Knows the storage keys of rows.
    snapshot: RelationSnapshot,
}

/// Whether this worker reads the snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scans {
    Yes,
    No,
}

impl RelationFeed {
    /// A feed of the columns at `project`; `snapshot` is there if the job reads one.
    pub fn open(
        job: &Job,
        (relation, project): (&Arc<Relation>, &[usize]),
        snapshot: Option<RelationSnapshot>,
        unread: &Unread,
        (worker, scans): (usize, Scans),
        batch_rows: usize,
    ) -> RelationFeed {
        let range = match unread {
            Unread::Everything => Some(KeyRange::default()),
            Unread::After(key) => Some(KeyRange::after(key)),
            Unread::Ranges(_) | Unread::Nothing => None,
        };
        let range = range.filter(|_| scans == Scans::Yes);
        let scan = snapshot.as_ref().zip(range).map(|(s, range)| s.scan_range(&range, project, batch_rows));
        let held = match job.start.beginning {
            Beginning::Resumed { after } => {
                snapshot.map(|snapshot| Held { after, unread: unread.clone(), snapshot })
            }
            Beginning::Fresh | Beginning::Restored => None,
        };
        let (relation, project) = (relation.clone(), project.to_vec());
        RelationFeed { relation, project, worker, held, scan, position: 0 }
    }

    /// The next changes of rows that the state of a resumed job holds, up to its start.
    pub fn next_missed(&mut self, job: &Job) -> Result<Option<(Epoch, ChangeBatch)>> {
        let Some(held) = &self.held else { return Ok(None) };
        let upper = job.start.epoch.next();
        while let Some((next, epoch, batch)) = self.relation.entry(self.worker, self.position, upper)? {
            self.position = next;
            let changes = match &held.unread {
                _ if epoch <= held.after => continue,
                Unread::After(key) => held.snapshot.changes_upto(key, &batch)?,
                Unread::Nothing => batch,
                Unread::Everything | Unread::Ranges(_) => continue,
            };
            if !changes.is_empty() {
                job.backfill.caught_up(&changes);
                return Ok(Some((epoch, project(changes, &self.project)?)));
            }
        }
        self.held = None;
        Ok(None)
    }

    /// The next rows of the snapshot, or the next changes after it and below `upper`.
    pub fn next(&mut self, job: &Job, upper: Epoch) -> Result<Option<(Epoch, ChangeBatch)>> {
        let start = job.start.epoch;
        if let Some(rows) = self.scan.as_mut().and_then(Iterator::next) {
            let rows = rows?;
            job.backfill.read_relation(rows.num_rows());
            return Ok(Some((start, ChangeBatch::inserts(rows))));
        }
        self.scan = None;
        while let Some((next, epoch, batch)) = self.relation.entry(self.worker, self.position, upper)? {
            self.position = next;
            if epoch > start {
                return Ok(Some((epoch, project(batch, &self.project)?)));
            }
        }
        Ok(None)
    }

    /// What is left of the snapshot; `None` in the middle of what was read at once.
    pub fn unread(&self) -> Option<Unread> {
        match &self.scan {
            Some(scan) => scan.position().map(|key| Unread::After(key.to_vec())),
            None => Some(Unread::Nothing),
        }
    }
}

fn project(batch: ChangeBatch, columns: &[usize]) -> Result<ChangeBatch> {
    let rows = batch.rows.project(columns).map_err(Error::internal)?;
    Ok(ChangeBatch { rows, ops: batch.ops })
}
