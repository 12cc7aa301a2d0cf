//! `Relation`: a table or a view's result at run time: its rows by version, and its changelog.
//!
//! The changelog is the only coupling between jobs. Entries are kept in memory for the jobs that read the
//! relation until each of them has a checkpoint behind them; nobody waits for a reader. Every worker has a queue
//! of its own: what worker `w` of the producing job wrote is read by worker `w` of each consuming job, so a
//! queue is in epoch order without any coordination.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_common::{ChangeBatch, Epoch, JobId, ObjectId, Result};
use weir_storage::relation::RelationStore;

/// A table or a view's result.
pub struct Relation {
    pub id: ObjectId,
    /// For error messages.
    pub name: String,
    pub store: Arc<RelationStore>,
    /// The job that writes it; `None` for a table.
    pub producer: Option<JobId>,
    /// The durable base rows hold everything up to here.
    base: AtomicU64,
    changelog: Mutex<Changelog>,
}

struct Changelog {
    queues: Vec<Queue>,
    /// Each reading job, with the epoch up to which it needs nothing any more.
    consumers: HashMap<JobId, Epoch>,
    /// Entries up to here are on disk for readers that lag.
    persisted: Epoch,
}

#[derive(Default)]
struct Queue {
    /// Position of the first entry, counted from the beginning of time.
    first: u64,
    entries: VecDeque<(Epoch, ChangeBatch)>,
}

impl Relation {
    /// A relation without readers.
    pub fn new(
        id: ObjectId,
        name: String,
        store: Arc<RelationStore>,
        producer: Option<JobId>,
        base: Epoch,
        workers: usize,
    ) -> Arc<Relation> {
        let queues = (0..workers).map(|_| Queue::default()).collect();
        let changelog = Changelog { queues, consumers: HashMap::new(), persisted: Epoch::ZERO };
        let base = AtomicU64::new(base.0);
        Arc::new(Relation { id, name, store, producer, base, changelog: Mutex::new(changelog) })
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

    /// From now on keeps changes for `job`, which needs nothing up to `from`.
    pub fn subscribe(&self, job: JobId, from: Epoch) {
        self.changelog.lock().consumers.insert(job, from);
    }

    /// Forgets a reader.
    pub fn unsubscribe(&self, job: JobId) {
        let mut log = self.changelog.lock();
        log.consumers.remove(&job);
        log.trim();
    }

    /// `job` needs nothing up to `epoch` any more.
    pub fn release(&self, job: JobId, epoch: Epoch) {
        let mut log = self.changelog.lock();
        if let Some(released) = log.consumers.get_mut(&job) {
            *released = (*released).max(epoch);
            log.trim();
        }
    }

    /// Applies changes of `epoch`, made by `worker`, to the rows and to the changelog.
    pub fn apply(&self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        for batch in changes {
            self.store.apply(epoch, batch)?;
        }
        self.append(worker, epoch, changes);
        Ok(())
    }

    /// Appends changes to the changelog alone, if anyone reads it.
    pub fn append(&self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) {
        let mut log = self.changelog.lock();
        if log.consumers.is_empty() {
            return;
        }
        log.queues[worker].entries.extend(changes.iter().map(|batch| (epoch, batch.clone())));
    }

    /// The entry at or after `position` of a worker's queue, if its epoch is below `upper`, and the position to
    /// go on from.
    pub fn entry(&self, worker: usize, position: u64, upper: Epoch) -> Option<(u64, Epoch, ChangeBatch)> {
        let log = self.changelog.lock();
        let queue = &log.queues[worker];
        let position = position.max(queue.first);
        let (epoch, batch) = queue.entries.get((position - queue.first) as usize)?;
        (*epoch < upper).then(|| (position + 1, *epoch, batch.clone()))
    }

    /// Entries that a lagging reader still needs and that are not on disk yet, up to `upto`; they count as being
    /// on disk from now on. `released` gives each reader's epoch as it will be after the checkpoint under way.
    pub fn take_unpersisted(
        &self,
        upto: Epoch,
        released: &dyn Fn(JobId) -> Option<Epoch>,
    ) -> Vec<(Epoch, ChangeBatch)> {
        let mut log = self.changelog.lock();
        let need =
            log.consumers.iter().map(|(job, epoch)| released(*job).unwrap_or(*epoch).max(*epoch)).min();
        let from = match need {
            Some(epoch) if epoch < upto => epoch.max(log.persisted),
            _ => return Vec::new(),
        };
        log.persisted = upto;
        let entries = log.queues.iter().flat_map(|q| q.entries.iter());
        let mut kept: Vec<_> = entries.filter(|(e, _)| *e > from && *e <= upto).cloned().collect();
        kept.sort_by_key(|(epoch, _)| *epoch);
        kept
    }

    /// With `job` at `epoch`, nobody needs changes up to the epoch returned; `None` while nobody reads.
    pub fn needed_after(&self, job: JobId, epoch: Epoch) -> Option<Epoch> {
        let log = self.changelog.lock();
        log.consumers.iter().map(|(id, released)| if *id == job { epoch } else { *released }).min()
    }

    /// Batches that the changelog holds in memory.
    pub fn backlog(&self) -> usize {
        self.changelog.lock().queues.iter().map(|q| q.entries.len()).sum()
    }
}

impl Changelog {
    fn trim(&mut self) {
        let needed = self.consumers.values().min().copied().unwrap_or(Epoch::MAX);
        for queue in &mut self.queues {
            while queue.entries.front().is_some_and(|(epoch, _)| *epoch <= needed) {
                queue.entries.pop_front();
                queue.first += 1;
            }
        }
    }
}
