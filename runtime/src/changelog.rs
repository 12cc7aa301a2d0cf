//! `Changelog`: a relation's changes by epoch, in memory, for whoever reads them.
//!
//! Entries are kept until every reader has released them; nobody waits for a reader. Every worker has a queue of
//! its own: what worker `w` of the producing job wrote is read by worker `w` of each consuming job, so a queue is in
//! epoch order without any coordination.
//!
//! Readers are jobs, which release what a checkpoint of theirs holds, and subscriptions, which release what they have
//! given out. A subscription that ends is *parked*: what it had not seen stays for a while, so that its client can come
//! back and go on. Subscriptions must not fill memory: when entries kept for them alone exceed a bound, the parked
//! ones and then the slowest are dropped, and learn it when they read next.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use weir_common::{ChangeBatch, Epoch, JobId};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    Job(JobId),
    Subscription(u64),
}

/// The changes of one relation.
pub struct Changelog {
    queues: Vec<Queue>,
    /// Each reader, with the epoch up to which it needs nothing any more.
    readers: HashMap<Reader, Epoch>,
    /// Of subscriptions that ended: the epoch up to which nothing is needed, and until when it is kept.
    parked: Vec<(Epoch, Duration)>,
    /// Changes up to here may be missing.
    forgotten: Epoch,
    /// Entries up to here are on disk for jobs that lag.
    persisted: Epoch,
    bytes: usize,
    /// What may be kept for subscriptions.
    subscription_bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    /// Position of the first entry, counted from the beginning of time.
    first: u64,
    entries: VecDeque<(Epoch, ChangeBatch)>,
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
        }
    }

    /// From now on keeps changes after `from` for a reader.
    pub fn subscribe(&mut self, reader: Reader, from: Epoch) {
        self.readers.insert(reader, from);
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
        if let Some(released) = self.readers.remove(&reader) {
            self.parked.push((released, deadline));
        }
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
        if let Some(released) = self.readers.get_mut(&reader) {
            *released = (*released).max(epoch);
            self.trim();
        }
    }

    /// Appends changes, if anyone reads them.
    pub fn append(&mut self, worker: usize, epoch: Epoch, changes: &[ChangeBatch]) {
        if self.readers.is_empty() && self.parked.is_empty() {
            self.forgotten = self.forgotten.max(epoch);
            return;
        }
        self.bytes += changes.iter().map(ChangeBatch::memory_size).sum::<usize>();
        self.queues[worker].entries.extend(changes.iter().map(|batch| (epoch, batch.clone())));
        while self.bytes > self.subscription_bytes_max && self.drop_slowest_subscription() {}
    }

    /// The entry at or after `position` of a worker's queue, if its epoch is below `upper`, and the position to
    /// go on from.
    pub fn entry(&self, worker: usize, position: u64, upper: Epoch) -> Option<(u64, Epoch, ChangeBatch)> {
        let queue = &self.queues[worker];
        let position = position.max(queue.first);
        let (epoch, batch) = queue.entries.get((position - queue.first) as usize)?;
        (*epoch < upper).then(|| (position + 1, *epoch, batch.clone()))
    }

    /// All entries after `after` and below `upper`, in epoch order.
    pub fn between(&self, after: Epoch, upper: Epoch) -> Vec<(Epoch, ChangeBatch)> {
        let mut found = Vec::new();
        for queue in &self.queues {
            let from = queue.entries.partition_point(|(epoch, _)| *epoch <= after);
            found.extend(queue.entries.iter().skip(from).take_while(|(epoch, _)| *epoch < upper).cloned());
        }
        found.sort_by_key(|(epoch, _)| *epoch);
        found
    }

    /// Entries that a lagging job still needs and that are not on disk yet, up to `upto`; they count as being on
    /// disk from now on. `released` gives each job's epoch as it will be after the checkpoint under way.
    pub fn take_unpersisted(
        &mut self,
        upto: Epoch,
        released: &dyn Fn(JobId) -> Option<Epoch>,
    ) -> Vec<(Epoch, ChangeBatch)> {
        let need = self.jobs().map(|(job, epoch)| released(job).unwrap_or(epoch).max(epoch)).min();
        let from = match need {
            Some(epoch) if epoch < upto => epoch.max(self.persisted),
            _ => return Vec::new(),
        };
        self.persisted = upto;
        self.between(from, upto.next())
    }

    /// With `job` at `epoch`, no job needs changes up to the epoch returned; `None` while no job reads.
    pub fn needed_after(&self, job: JobId, epoch: Epoch) -> Option<Epoch> {
        self.jobs().map(|(id, released)| if id == job { epoch } else { released }).min()
    }

    /// Batches in memory.
    pub fn backlog(&self) -> usize {
        self.queues.iter().map(|queue| queue.entries.len()).sum()
    }

    fn jobs(&self) -> impl Iterator<Item = (JobId, Epoch)> {
        self.readers.iter().filter_map(|(reader, epoch)| match reader {
            Reader::Job(job) => Some((*job, *epoch)),
            Reader::Subscription(_) => None,
        })
    }

    /// Drops the parked or subscribed reader that holds most; false when that would set nothing free.
    fn drop_slowest_subscription(&mut self) -> bool {
        if let Some(at) = (0..self.parked.len()).min_by_key(|at| self.parked[*at].0) {
            self.parked.swap_remove(at);
        } else {
            let subscriptions = self.readers.iter().filter(|(r, _)| matches!(r, Reader::Subscription(_)));
            let Some(slowest) = subscriptions.min_by_key(|(_, epoch)| **epoch).map(|(r, _)| *r) else {
                return false;
            };
            let released = self.readers.get(&slowest).copied().unwrap_or(Epoch::ZERO);
            if self.jobs().any(|(_, epoch)| epoch <= released) {
                // A job needs all of it anyway.
                return false;
            }
            self.readers.remove(&slowest);
        }
        self.trim();
        true
    }

    fn trim(&mut self) {
        let read = self.readers.values().copied();
        let needed = read.chain(self.parked.iter().map(|(epoch, _)| *epoch)).min().unwrap_or(Epoch::MAX);
        for queue in &mut self.queues {
            while let Some((epoch, batch)) = queue.entries.front()
                && *epoch <= needed
            {
                self.forgotten = self.forgotten.max(*epoch);
                self.bytes -= batch.memory_size();
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

    use super::*;

    fn rows(values: &[i64]) -> ChangeBatch {
        let array = Arc::new(Int64Array::from(values.to_vec())) as _;
        ChangeBatch::inserts(RecordBatch::try_from_iter([("v", array)]).unwrap())
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
