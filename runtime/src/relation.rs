//! `Relation`: a table or a view's result at run time: its rows by version, and its changelog.
//!
//! The changelog is the only coupling between jobs; see [`Changelog`] for who keeps what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use weir_common::{ChangeBatch, Epoch, JobId, ObjectId, Result};
use weir_exec::event_time::greatest;
use weir_storage::relation::RelationStore;
use weir_storage::spill::Spill;

use crate::changelog::{Changelog, Kept, Reader};
use crate::event_time::{EventTimes, News, TimeSpec};
use crate::index::RelationIndex;

/// A table or a view's result.
pub struct Relation {
    pub id: ObjectId,
    /// For error messages.
    pub name: String,
    /// The name of the primary key's constraint.
    pub key_name: Option<String>,
    pub store: Arc<RelationStore>,
    /// The job that writes it; `None` for a table.
    pub producer: Option<JobId>,
    /// The durable base rows hold everything up to here.
    base: AtomicU64,
    changelog: Mutex<Changelog>,
    /// Of its columns that have one.
    pub event_times: EventTimes,
    /// Of a table with a WATERMARK.
    pub time: Option<TimeSpec>,
    indexes: RwLock<Vec<Arc<RelationIndex>>>,
}

impl Relation {
    /// A relation with this changelog, which has no readers.
    pub fn new(
        id: ObjectId,
        name: String,
        store: Arc<RelationStore>,
        producer: Option<JobId>,
        base: Epoch,
        changelog: Changelog,
    ) -> Relation {
        let base = AtomicU64::new(base.0);
        let (changelog, indexes) = (Mutex::new(changelog), RwLock::default());
        let event_times = EventTimes::default();
        let (key_name, time) = (None, None);
        Relation { id, name, key_name, store, producer, base, changelog, event_times, time, indexes }
    }

    /// The same, of a table with this name of its primary key's constraint, and this event time.
    #[must_use]
    pub fn of_table(self, key_name: Option<String>, time: Option<TimeSpec>) -> Relation {
        Relation { key_name, time, ..self }
    }

    /// The durable base rows hold everything up to here.
    pub fn base_epoch(&self) -> Epoch {
        Epoch(self.base.load(Ordering::Acquire))
    }

    /// A batch with everything up to `epoch` is durable.
    pub fn flushed(&self, epoch: Epoch) {
        self.store.flushed(epoch);
        self.base.fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// From now on commits are checked by this index, if it is unique.
    pub fn add_index(&self, index: Arc<RelationIndex>) {
        self.indexes.write().push(index);
    }

    /// Forgets an index.
    pub fn remove_index(&self, id: ObjectId) {
        self.indexes.write().retain(|index| index.spec.id != id);
        self.store.detach_index(id);
    }

    /// Its indexes.
    pub fn indexes(&self) -> Vec<Arc<RelationIndex>> {
        self.indexes.read().clone()
    }

    /// From now on keeps changes for `job`, which needs nothing up to `from`.
    pub fn subscribe(&self, job: JobId, from: Epoch) {
        self.changelog.lock().subscribe(Reader::Job(job), from);
    }

    /// Forgets a job.
    pub fn unsubscribe(&self, job: JobId) {
        self.changelog.lock().unsubscribe(Reader::Job(job));
    }

    /// `job` needs nothing up to `epoch` any more.
    pub fn release(&self, job: JobId, epoch: Epoch) {
        self.changelog.lock().release(Reader::Job(job), epoch);
    }

    /// Drops what was kept for subscriptions until before `now`.
    pub fn expire(&self, now: Duration) {
        self.changelog.lock().expire(now);
    }

    /// The changelog, for a subscription.
    pub fn changelog(&self) -> parking_lot::MutexGuard<'_, Changelog> {
        self.changelog.lock()
    }

    /// Applies changes of `epoch`, made by `worker`, to the rows and to the changelog.
    pub fn apply(&self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        for batch in changes {
            self.store.apply(epoch, batch)?;
        }
        self.append(worker, epoch, changes);
        Ok(())
    }

    /// Appends changes to the changelog alone, if anyone reads it. Those of a table may advance its event time.
    pub fn append(&self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) {
        if let Some(time) = &self.time {
            changes.iter().for_each(|batch| self.advance_time(time, epoch, batch));
        }
        self.changelog.lock().append(worker, epoch, changes);
    }

    fn advance_time(&self, time: &TimeSpec, epoch: Epoch, batch: &ChangeBatch) {
        let before = self.event_times.at(time.column, epoch.previous()).value;
        let latest = greatest(&batch.columns()[time.column], |row| batch.op(row) > 0);
        let most = before.zip(time.max_jump).map(|(before, jump)| before.saturating_add(jump));
        if let Some(latest) = latest {
            let reached = most.map_or(latest, |most| latest.min(most));
            self.note_time(time.column, epoch, News::Upto(reached));
            self.note_time(time.column, epoch, News::Active);
        }
    }

    /// With the end of `epoch` there is news of a column's event time.
    pub fn note_time(&self, column: usize, epoch: Epoch, news: News) {
        let needed = self.changelog.lock().needed_by_jobs().unwrap_or(epoch);
        self.event_times.note(column, epoch, news, needed);
    }

    /// As [`Changelog::entry`].
    pub fn entry(
        &self,
        worker: usize,
        position: u64,
        upper: Epoch,
    ) -> Result<Option<(u64, Epoch, ChangeBatch)>> {
        // A batch on disk is read after the lock is let go.
        let found = self.changelog.lock().entry(worker, position, upper);
        found.map(|(next, epoch, kept)| Ok((next, epoch, kept.load()?))).transpose()
    }

    /// As [`Changelog::take_unpersisted`].
    pub fn take_unpersisted(
        &self,
        upto: Epoch,
        released: &dyn Fn(JobId) -> Option<Epoch>,
    ) -> Vec<(Epoch, Kept)> {
        self.changelog.lock().take_unpersisted(upto, released)
    }

    /// Lets changes wait on disk that only late readers need, if they take `bytes`; that many of them at once.
    /// Returns whether there were any.
    pub fn spill(&self, spill: &Spill, bytes: usize) -> Result<bool> {
        let late = self.changelog.lock().late(self.base_epoch(), bytes);
        let batches: Vec<ChangeBatch> = late.iter().map(|(.., batch)| batch.clone()).collect();
        let on_disk = if batches.is_empty() { Vec::new() } else { spill.write(&batches)? };
        let mut changelog = self.changelog.lock();
        for ((worker, position, _), batch) in late.iter().zip(on_disk) {
            changelog.spilled(*worker, *position, batch);
        }
        Ok(!batches.is_empty())
    }

    /// As [`Changelog::needed_after`].
    pub fn needed_after(&self, job: JobId, epoch: Epoch) -> Option<Epoch> {
        self.changelog.lock().needed_after(job, epoch)
    }

    /// Batches that the changelog keeps.
    pub fn backlog(&self) -> usize {
        self.changelog.lock().backlog()
    }
}
