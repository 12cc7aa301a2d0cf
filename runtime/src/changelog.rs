//! `Changelog`: a relation's changes by epoch, in memory, for whoever reads them.
//!
//! Entries are kept until every reader has released them; nobody waits for a reader. What only late readers need can
//! wait on disk ([`Spill`]). Every worker has a queue of
//! its own: what worker `w` of the producing job wrote is read by worker `w` of each consuming job, so a queue is in
//! epoch order without any coordination.
//!
//! Readers are jobs, which release what a checkpoint of theirs holds, and subscriptions, which release what they gave out
//! a while ago: what is on its way may be lost with the connection. A subscription that ends is *parked*: what it had not
//! released stays for a while, so that its client can come back and go on. Subscriptions must not fill memory: when entries
//! kept for them alone exceed a bound, the parked ones, what was given out, and then the slowest are dropped, and learn it
//! when they read next. What they need is on disk with the relation's checkpoint, so that they can go on after a restart.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use weir_common::{ChangeBatch, Epoch, JobId, Result};
use weir_storage::spill::SpilledBatch;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    Job(JobId),
    Subscription(u64),
}

/// The changes of one relation.
pub struct Changelog {
    queues: Vec<Queue>,
    readers: HashMap<Reader, Position>,
    /// Of subscriptions that ended: the epoch up to which nothing is needed, and until when it is kept.
    parked: Vec<(Epoch, Duration)>,
    /// Changes up to here may be missing.
    forgotten: Epoch,
    /// Entries up to here are on disk for jobs that lag.
    persisted: Epoch,
    bytes: usize,
    /// What may be kept for subscriptions.
    subscription_bytes_max: usize,
    /// Whether there is a record on disk of what subscriptions need.
    recorded: bool,
}

/// What becomes of the record of what subscriptions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// They need changes after this epoch.
    Write(Epoch),
    Delete,
    Nothing,
}

/// How far a reader is.
#[derive(Clone, Copy)]
struct Position {
    /// It needs nothing up to here.
    released: Epoch,
    /// It has been given everything up to here.
    given: Epoch,
}

/// A batch, wherever it is.
#[derive(Clone)]
pub enum Kept {
    Memory(ChangeBatch),
    Disk(SpilledBatch),
}

impl Kept {
    /// The batch; may read a file.
    pub fn load(self) -> Result<ChangeBatch> {
        match self {
            Kept::Memory(batch) => Ok(batch),
            Kept::Disk(spilled) => spilled.read(),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Kept::Memory(batch) => batch.memory_size(),
            Kept::Disk(_) => 0,
        }
    }
}

/// Entries on their way to disk: worker, position, batch.
pub type Late = Vec<(usize, u64, ChangeBatch)>;

#[derive(Default)]
struct Queue {
    /// Position of the first entry, counted from the beginning of time.
    first: u64,
    entries: VecDeque<(Epoch, Kept)>,
}

impl Changelog {
    /// Without readers; changes up to `base` are not in it.
    pub fn new(workers: usize, base: Epoch, subscription_bytes_max: usize) -> Changelog {
        Changelog {
            queues: (0..workers).map(|_| Queue::default()).collect(),
            readers: HashMap::new(),
            parked: Vec::new(),
            forgotten: base,
            persisted: Epoch::ZERO,
            bytes: 0,
            subscription_bytes_max,
            recorded: false,
        }
    }

    /// From now on keeps changes after `from` for a reader.
    pub fn subscribe(&mut self, reader: Reader, from: Epoch) {
        self.readers.insert(reader, Position { released: from, given: from });
    }

    /// Whether every change after `from` is there.
    pub fn reaches_back_to(&self, from: Epoch) -> bool {
        self.forgotten <= from
    }

    /// Whether the reader is known: a subscription may have been dropped.
    pub fn knows(&self, reader: Reader) -> bool {
        self.readers.contains_key(&reader)
    }

    /// Forgets a reader.
    pub fn unsubscribe(&mut self, reader: Reader) {
        self.readers.remove(&reader);
        self.trim();
    }

    /// Forgets a subscription, but keeps what it has not seen until `deadline`.
    pub fn park(&mut self, reader: Reader, deadline: Duration) {
        if let Some(position) = self.readers.remove(&reader) {
            self.parked.push((position.released, deadline));
        }
    }

    /// After a restart: keeps what subscriptions need after `released` until `deadline`, for their clients to come back.
    pub fn restore_parked(&mut self, released: Epoch, deadline: Duration) {
        self.parked.push((released, deadline));
        self.forgotten = released;
        self.recorded = true;
    }

    /// After a restart: what anybody needs up to `upto` is on disk.
    pub fn restored_upto(&mut self, upto: Epoch) {
        self.persisted = upto;
    }

    /// What a checkpoint makes of the record of what subscriptions need.
    pub fn record_change(&mut self) -> RecordChange {
        match self.subscriptions_need_after() {
            Some(after) => {
                self.recorded = true;
                RecordChange::Write(after)
            }
            None if std::mem::take(&mut self.recorded) => RecordChange::Delete,
            None => RecordChange::Nothing,
        }
    }

    /// The epoch up to which no subscription needs anything; `None` while there is none.
    pub fn subscriptions_need_after(&self) -> Option<Epoch> {
        let live = self.readers.iter().filter(|(reader, _)| matches!(reader, Reader::Subscription(_)));
        let live = live.map(|(_, position)| position.released);
        live.chain(self.parked.iter().map(|(released, _)| *released)).min()
    }

    /// The epoch up to which no job needs anything; `None` while there is none.
    pub fn needed_by_jobs(&self) -> Option<Epoch> {
        let jobs = self.readers.iter().filter(|(reader, _)| matches!(reader, Reader::Job(_)));
        jobs.map(|(_, position)| position.released).min()
    }

    /// Drops what was parked until before `now`.
    pub fn expire(&mut self, now: Duration) {
        let before = self.parked.len();
        self.parked.retain(|(_, deadline)| *deadline > now);
        if self.parked.len() < before {
            self.trim();
        }
    }

    /// A reader needs nothing up to `epoch` any more.
    pub fn release(&mut self, reader: Reader, epoch: Epoch) {
        if let Some(position) = self.readers.get_mut(&reader) {
            position.released = position.released.max(epoch);
            position.given = position.given.max(epoch);
            self.trim();
        }
    }

    /// A reader was given everything up to `epoch`, and may still ask for it again.
    pub fn give(&mut self, reader: Reader, epoch: Epoch) {
        if let Some(position) = self.readers.get_mut(&reader) {
            position.given = position.given.max(epoch);
        }
    }

    /// Appends changes, if anyone reads them.
    pub fn append(&mut self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) {
        if self.readers.is_empty() && self.parked.is_empty() {
            self.forgotten = self.forgotten.max(epoch);
            return;
        }
        self.bytes += changes.iter().map(ChangeBatch::memory_size).sum::<usize>();
        self.queues[worker].entries.extend(changes.iter().map(|batch| (epoch, Kept::Memory(batch.clone()))));
        while self.bytes > self.subscription_bytes_max && self.drop_slowest_subscription() {}
    }

    /// The entry at or after `position` of a worker's queue, if its epoch is below `upper`, and the position to
    /// go on from.
    pub fn entry(&self, worker: usize, position: u64, upper: Epoch) -> Option<(u64, Epoch, Kept)> {
        let queue = &self.queues[worker];
        let position = position.max(queue.first);
        let (epoch, batch) = queue.entries.get((position - queue.first) as usize)?;
        (*epoch < upper).then(|| (position + 1, *epoch, batch.clone()))
    }

    /// All entries after `after` and below `upper`, in epoch order.
    pub fn between(&self, after: Epoch, upper: Epoch) -> Vec<(Epoch, Kept)> {
        let mut found = Vec::new();
        for queue in &self.queues {
            let from = queue.entries.partition_point(|(epoch, _)| *epoch <= after);
            found.extend(queue.entries.iter().skip(from).take_while(|(epoch, _)| *epoch < upper).cloned());
        }
        found.sort_by_key(|(epoch, _)| *epoch);
        found
    }

    /// Entries that a lagging job or a subscription still needs and that are not on disk yet, up to `upto`; they count as
    /// being on disk from now on. `released` gives each job's epoch as it will be after the checkpoint under way.
    pub fn take_unpersisted(
        &mut self,
        upto: Epoch,
        released: &dyn Fn(JobId) -> Option<Epoch>,
    ) -> Vec<(Epoch, Kept)> {
        let jobs = self.jobs().map(|(job, epoch)| released(job).unwrap_or(epoch).max(epoch));
        let need = jobs.chain(self.subscriptions_need_after()).min();
        let from = match need {
            Some(epoch) if epoch < upto => epoch.max(self.persisted),
            _ => return Vec::new(),
        };
        self.persisted = upto;
        self.between(from, upto.next())
    }

    /// As [`Self::take_unpersisted`], of what subscriptions alone need: a job that lags finds a table's changes in the log.
    pub fn take_unpersisted_for_subscriptions(&mut self, upto: Epoch) -> Vec<(Epoch, Kept)> {
        let from = match self.subscriptions_need_after() {
            Some(epoch) if epoch < upto => epoch.max(self.persisted),
            _ => return Vec::new(),
        };
        self.persisted = upto;
        self.between(from, upto.next())
    }

    /// With `job` at `epoch`, nobody needs changes up to the epoch returned; `None` while nobody reads.
    pub fn needed_after(&self, job: JobId, epoch: Epoch) -> Option<Epoch> {
        let jobs = self.jobs().map(|(id, released)| if id == job { epoch } else { released });
        jobs.chain(self.subscriptions_need_after()).min()
    }

    /// The epoch up to which nobody needs anything, `upto` without any reader, with each job's epoch as it will be; `None`
    /// when nothing is on disk.
    pub fn unneeded(&self, released: &dyn Fn(JobId) -> Option<Epoch>, upto: Epoch) -> Option<Epoch> {
        let jobs = self.jobs().map(|(job, epoch)| released(job).unwrap_or(epoch).max(epoch));
        let needed = jobs.chain(self.subscriptions_need_after()).min();
        (self.persisted > Epoch::ZERO).then(|| needed.unwrap_or(upto))
    }

    /// As [`Self::unneeded`], with jobs left aside.
    pub fn unneeded_by_subscriptions(&self, upto: Epoch) -> Option<Epoch> {
        (self.persisted > Epoch::ZERO).then(|| self.subscriptions_need_after().unwrap_or(upto))
    }

    /// Entries in memory of which all is durable elsewhere up to `durable`, or that the fastest reader is through
    /// with: up to `bytes` of the oldest of them, if there are at least so many.
    pub fn late(&self, durable: Epoch, bytes: usize) -> Late {
        let upto =
            self.readers.values().map(|reader| reader.released).max().unwrap_or(Epoch::ZERO).max(durable);
        let (mut found, mut sum) = (Late::new(), 0);
        for (worker, queue) in self.queues.iter().enumerate() {
            for ((epoch, kept), position) in queue.entries.iter().zip(queue.first..) {
                match kept {
                    _ if *epoch > upto || sum >= bytes => break,
                    Kept::Memory(batch) => {
                        sum += batch.memory_size();
                        found.push((worker, position, batch.clone()));
                    }
                    Kept::Disk(_) => {}
                }
            }
        }
        if sum < bytes { Late::new() } else { found }
    }

    /// An entry is on disk, if it is still needed.
    pub fn spilled(&mut self, worker: usize, position: u64, batch: SpilledBatch) {
        let queue = &mut self.queues[worker];
        let at = position.checked_sub(queue.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, kept)) = at.and_then(|at| queue.entries.get_mut(at)) {
            self.bytes -= kept.memory_bytes();
            *kept = Kept::Disk(batch);
        }
    }

    /// Batches that are kept.
    pub fn backlog(&self) -> usize {
        self.queues.iter().map(|queue| queue.entries.len()).sum()
    }

    fn jobs(&self) -> impl Iterator<Item = (JobId, Epoch)> {
        self.readers.iter().filter_map(|(reader, position)| match reader {
            Reader::Job(job) => Some((*job, position.released)),
            Reader::Subscription(_) => None,
        })
    }

    /// Drops the parked or subscribed reader that holds most; false when that would set nothing free.
    fn drop_slowest_subscription(&mut self) -> bool {
        if let Some(at) = (0..self.parked.len()).min_by_key(|at| self.parked[*at].0) {
            self.parked.swap_remove(at);
            self.trim();
            return true;
        }
        let subscriptions = self.readers.iter().filter(|(r, _)| matches!(r, Reader::Subscription(_)));
        let Some((slowest, position)) =
            subscriptions.min_by_key(|(_, position)| position.released).map(|(r, p)| (*r, *p))
        else {
            return false;
        };
        if self.jobs().any(|(_, epoch)| epoch <= position.released) {
            // A job needs all of it anyway.
            return false;
        }
        match position.given > position.released {
            true => self.release(slowest, position.given),
            false => self.unsubscribe(slowest),
        }
        true
    }

    fn trim(&mut self) {
        let read = self.readers.values().map(|position| position.released);
        let needed = read.chain(self.parked.iter().map(|(epoch, _)| *epoch)).min().unwrap_or(Epoch::MAX);
        for queue in &mut self.queues {
            while let Some((epoch, batch)) = queue.entries.front()
                && *epoch <= needed
            {
                self.forgotten = self.forgotten.max(*epoch);
                self.bytes -= batch.memory_bytes();
                queue.entries.pop_front();
                queue.first += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use weir_common::seam::{FileSystem, MemoryFileSystem};
    use weir_storage::spill::Spill;

    use super::*;

    fn rows(values: &[i64]) -> ChangeBatch {
        let array = Arc::new(Int64Array::from(values.to_vec())) as _;
        ChangeBatch::inserts(RecordBatch::try_from_iter([("v", array)]).unwrap())
    }

    #[test]
    fn what_late_readers_need_can_wait_on_disk() {
        let fs = Arc::new(MemoryFileSystem::default());
        let spill = Spill::open(fs.clone(), "spill".into()).unwrap();
        let mut log = Changelog::new(2, Epoch::ZERO, usize::MAX);
        log.subscribe(Reader::Job(JobId(1)), Epoch::ZERO);
        log.subscribe(Reader::Job(JobId(2)), Epoch::ZERO);
        (1..=6).for_each(|epoch| log.append((epoch % 2) as usize, Epoch(epoch), &[rows(&[epoch as i64])]));
        let size = rows(&[1]).memory_size();
        assert!(log.late(Epoch::ZERO, size).is_empty(), "nobody is late");
        log.release(Reader::Job(JobId(1)), Epoch(3));
        assert!(log.late(Epoch::ZERO, size * 4).is_empty(), "not worth a file");
        let late = log.late(Epoch::ZERO, size * 3);
        let batches: Vec<ChangeBatch> = late.iter().map(|(.., batch)| batch.clone()).collect();
        let on_disk = spill.write(&batches).unwrap();
        for ((worker, position, _), batch) in late.into_iter().zip(on_disk) {
            log.spilled(worker, position, batch);
        }
        assert_eq!(log.bytes, size * 3);
        let loaded = log.between(Epoch::ZERO, Epoch::MAX).into_iter().map(|(_, kept)| kept.load().unwrap());
        let expected: Vec<_> = (1..=6).map(|v| rows(&[v]).rows).collect();
        assert_eq!(loaded.map(|batch| batch.rows).collect::<Vec<_>>(), expected);
        let (_, epoch, kept) = log.entry(1, 0, Epoch::MAX).unwrap();
        assert!(epoch == Epoch(1) && matches!(kept, Kept::Disk(_)));
        drop(kept);
        log.release(Reader::Job(JobId(2)), Epoch(6));
        log.release(Reader::Job(JobId(1)), Epoch(6));
        assert_eq!((log.bytes, log.backlog()), (0, 0));
        assert!(fs.list(std::path::Path::new("spill")).unwrap().is_empty());
    }

    fn epochs(log: &Changelog) -> Vec<u64> {
        log.between(Epoch::ZERO, Epoch::MAX).into_iter().map(|(epoch, _)| epoch.0).collect()
    }

    #[test]
    fn entries_live_as_long_as_somebody_needs_them() {
        let mut log = Changelog::new(2, Epoch(3), usize::MAX);
        log.append(0, Epoch(4), &[rows(&[1])]);
        assert!(!log.reaches_back_to(Epoch(3)) && log.reaches_back_to(Epoch(4)));
        log.subscribe(Reader::Job(JobId(1)), Epoch(4));
        log.subscribe(Reader::Subscription(1), Epoch(4));
        (5..8).for_each(|epoch| log.append((epoch % 2) as usize, Epoch(epoch), &[rows(&[1])]));
        log.release(Reader::Job(JobId(1)), Epoch(7));
        assert_eq!(epochs(&log), [5, 6, 7]);
        log.release(Reader::Subscription(1), Epoch(5));
        assert_eq!(epochs(&log), [6, 7]);
        log.park(Reader::Subscription(1), Duration::from_secs(9));
        log.expire(Duration::from_secs(8));
        assert!(epochs(&log) == [6, 7] && log.reaches_back_to(Epoch(5)) && !log.reaches_back_to(Epoch(4)));
        log.expire(Duration::from_secs(9));
        assert!(epochs(&log).is_empty() && log.backlog() == 0);
    }

    #[test]
    fn what_was_given_out_stays_unless_memory_is_short() {
        let bytes = rows(&[1]).memory_size();
        let mut log = Changelog::new(1, Epoch::ZERO, bytes * 3);
        log.subscribe(Reader::Subscription(1), Epoch::ZERO);
        (1..=3).for_each(|epoch| log.append(0, Epoch(epoch), &[rows(&[1])]));
        log.give(Reader::Subscription(1), Epoch(2));
        assert_eq!((epochs(&log), log.subscriptions_need_after()), (vec![1, 2, 3], Some(Epoch::ZERO)));
        log.append(0, Epoch(4), &[rows(&[1])]);
        assert!(log.knows(Reader::Subscription(1)));
        assert_eq!((epochs(&log), log.subscriptions_need_after()), (vec![3, 4], Some(Epoch(2))));
    }

    #[test]
    fn a_subscription_is_kept_on_disk_for() {
        let mut log = Changelog::new(1, Epoch::ZERO, usize::MAX);
        log.subscribe(Reader::Subscription(1), Epoch(1));
        (1..=4).for_each(|epoch| log.append(0, Epoch(epoch), &[rows(&[1])]));
        let taken = |entries: Vec<(Epoch, Kept)>| entries.iter().map(|(e, _)| e.0).collect::<Vec<_>>();
        assert_eq!(taken(log.take_unpersisted_for_subscriptions(Epoch(3))), [2, 3]);
        assert_eq!(taken(log.take_unpersisted_for_subscriptions(Epoch(4))), [4]);
        let mut restored = Changelog::new(1, Epoch(4), usize::MAX);
        restored.restore_parked(Epoch(1), Duration::from_secs(9));
        (2..=4).for_each(|epoch| restored.append(0, Epoch(epoch), &[rows(&[1])]));
        assert!(restored.reaches_back_to(Epoch(1)) && !restored.reaches_back_to(Epoch(0)));
        assert_eq!(epochs(&restored), [2, 3, 4]);
    }

    #[test]
    fn slow_subscriptions_are_dropped_and_jobs_are_not() {
        let bytes = rows(&[1]).memory_size();
        let mut log = Changelog::new(1, Epoch::ZERO, bytes * 3);
        log.subscribe(Reader::Job(JobId(1)), Epoch::ZERO);
        log.subscribe(Reader::Subscription(1), Epoch::ZERO);
        (1..=3).for_each(|epoch| log.append(0, Epoch(epoch), &[rows(&[1])]));
        log.append(0, Epoch(4), &[rows(&[1])]);
        assert!(log.knows(Reader::Subscription(1)), "the job holds the same entries");
        log.release(Reader::Job(JobId(1)), Epoch(4));
        log.append(0, Epoch(5), &[rows(&[1])]);
        assert!(!log.knows(Reader::Subscription(1)));
        assert_eq!(epochs(&log), [5]);
    }
}
